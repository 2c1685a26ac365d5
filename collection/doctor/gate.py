"""Can there be a transition among some thumbs at all? What is cheap to tell, before the shot detector looks at them.

The detector costs several times what decoding a small clip does, and most clips have nothing for it. The gate stays
shut where no frame differs from the next in its edges, no run of frames leads from one picture to another along the
straight line between them, none is flat while others are not, and nothing rushes. Its limits are wider than the
detector's own; what that costs and loses is in docs/doctor.md.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors import Thumb

Vectors = NDArray[np.float32]
Bytes = NDArray[np.uint8]

STEP = 3.0
"""Least change of a cut, the sum of the mean absolute differences of Y, U, V: the detector's `threshold`."""
LONELY = 0.5
"""Share of the change that neither neighbour exceeds by so much: a change that stands out is no less than half."""
EDGES_LEFT = 0.7
"""Across a cut the edges correlate less than this; the detector asks for 0.55, and for 0.97 of leaps within a take."""
LEAP = 3.0
"""Times the usual change beside it, from which a leap may be one; the detector asks for 4.2."""
EVERY = 2
"""One in so many frames is compared with others farther off, at 30 frames per second."""
REACH = 36
"""Frames to either side: twice as many are a transition's longest."""
APART = 8.5
"""Root mean square difference of the ends of a transition; the detector asks for 9."""
OFF = 0.7
"""How far the middle may lie from the line between the ends: 0.46 in a dissolve at most, 0.65 in a wipe, 0.87 where
three pictures have nothing in common."""
OTHER_EDGES = 0.5
"""Correlation of the edges of the ends at most; the detector asks for 0.4."""
FLAT = 10.0
"""Standard deviation of a flat picture, codes."""
RUSH = 14.0
"""Mean absolute difference of luma of frames that rush by: a push or slide changes the whole picture in a second."""


def may_hold_transition(thumbs: Sequence[Thumb], moves: NDArray[np.float64], stride: int) -> bool:
    """Whether the detector has to look.

    Parameters
    ----------
    moves: (N - 1,) mean absolute differences of luma of neighbours.
    stride: frames of which the detector looks at one for gradual transitions.
    """
    if len(thumbs) < 2:
        return False
    return _rushes(moves) or _steps(thumbs, moves) or _fades(thumbs) or _leads(thumbs, EVERY * stride)


def _rushes(moves: NDArray[np.float64]) -> bool:
    return len(moves) > 2 and bool(np.lib.stride_tricks.sliding_window_view(moves, 3).min(axis=1).max() >= RUSH)


def _steps(thumbs: Sequence[Thumb], moves: NDArray[np.float64]) -> bool:
    """Whether the picture or the motion may leap."""
    lumas = np.pad(moves, 3, constant_values=0.0)
    beside = np.stack([lumas[i : i + len(moves)] for i in (0, 1, 2, 4, 5, 6)])
    largest = beside[2:4].max(axis=0)
    usual = (beside.sum(axis=0) - beside.max(axis=0)) / 5
    for at in np.flatnonzero((moves >= LONELY * largest) & (moves > 0.3 * STEP)).tolist():
        a, b = thumbs[at], thumbs[at + 1]
        chroma = cv2.norm(a.u, b.u, cv2.NORM_L1) + cv2.norm(a.v, b.v, cv2.NORM_L1)
        change = moves[at] + chroma / a.u.size
        if change >= STEP and (moves[at] > LEAP * (usual[at] + 0.5) or edges_alike(a.y, b.y) < EDGES_LEFT):
            return True
    return False


def _fades(thumbs: Sequence[Thumb]) -> bool:
    """Whether some pictures are flat and others not."""
    spread = np.array([one.y.std() for one in thumbs[:: max(1, EVERY)]])
    return bool((spread < FLAT).any() and (spread >= FLAT).any())


def _leads(thumbs: Sequence[Thumb], step: int) -> bool:
    """Whether a run of frames leads from one picture to another, its middle being a part of each."""
    chosen = thumbs[::step]
    vectors = np.stack([cv2.resize(one.y, (32, 18), interpolation=cv2.INTER_AREA).ravel() for one in chosen])
    real = vectors.astype(np.float32)
    for lag in range(1, REACH // EVERY + 1):
        if 2 * lag >= len(real):
            return False
        first, middle, last = real[: -2 * lag], real[lag:-lag], real[2 * lag :]
        whole, old, new = _distance(first, last), _distance(first, middle), _distance(middle, last)
        along = (old - new + whole) / (2 * whole + 1e-6)
        off = np.sqrt(np.maximum(0, old / (whole + 1e-6) - along * along))
        for at in np.flatnonzero((whole >= APART * APART) & (off <= OFF) & (along > 0.1) & (along < 0.9)).tolist():
            if edges_alike(chosen[at].y, chosen[at + 2 * lag].y) < OTHER_EDGES:
                return True
    return False


def _distance(a: Vectors, b: Vectors) -> NDArray[np.float32]:
    """(N,) mean squared differences of rows."""
    difference = a - b
    return np.asarray(np.einsum("ij,ij->i", difference, difference) / a.shape[1], np.float32)


def edges_alike(a: Bytes, b: Bytes) -> float:
    """Correlation of what a 7x7 mean leaves of two pictures, -1..1; 1 where there is nothing."""
    p, q = _edges(a), _edges(b)
    floor = 0.25 * p.size
    return float((np.vdot(p, q) + floor) / (np.sqrt(np.vdot(p, p) * np.vdot(q, q)) + floor))


def _edges(picture: Bytes) -> NDArray[np.float32]:
    real = picture.astype(np.float32)
    return np.asarray(real - cv2.blur(real, (7, 7)), np.float32)
