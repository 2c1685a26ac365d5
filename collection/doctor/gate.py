"""Can there be a transition among some thumbs at all? What is cheap to tell, before the shot detector looks at them.

The detector costs several times what decoding a small clip does, and most clips have nothing for it. The gate stays
shut where no frame differs from the next in its edges, no run of frames leads from one picture to another along the
straight line between them, none is flat while others are not, and nothing rushes. Its limits are wider than the
detector's own; what that costs and loses is in docs/doctor.md.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors import Thumb
from collection.detectors.features import detail

Vectors = NDArray[np.float32]
Bytes = NDArray[np.uint8]

STEP = 3.0
"""Least change of a cut, the sum of the mean absolute differences of Y, U, V: the detector's `threshold`."""
LONELY = 0.45
"""A change that stands out is at least this share of either neighbour; half in the detector."""
EDGES_LEFT = 0.6
"""Across a cut the edges correlate less than this; the detector asks for 0.55."""
EVIDENCE = 0.8
"""Prominence times change of histogram of a cut at least; the detector asks for 1."""
LEAP, CALM = 3.6, 0.5
"""Times the usual change around it, from which a leap within a take may be one, and the largest change around it, of
its own; the detector asks for 4.2 and 0.4."""
AROUND = 4
"""Changes to either side that a leap is compared with."""
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
SPREAD = 0.55
"""How much of the picture changes from end to end at least; the detector asks for 0.58."""
RESTLESS, BESIDE = 0.85, 4
"""Share of the change across a transition that the pictures up to so many compared ones beside it change by at most;
the detector asks for 0.8."""
UNEXPLAINED = 0.45
"""Share of the change to the middle and on that motion leaves at least; the detector asks for 0.5 of moves, for 0.6
to 0.74 otherwise, with finer flow."""
TRIES = 4
"""Runs that are looked at, the most likely first."""
_FLOW = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
FLAT = 10.0
"""Standard deviation of a flat picture, codes."""
EXPLAINED = 0.2
"""Share of the change that the motion of a camera explains at least: large steps are explained in part only."""
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
    pairs = list(pairwise(thumbs))
    norms = [cv2.norm(a.u, b.u, cv2.NORM_L1) + cv2.norm(a.v, b.v, cv2.NORM_L1) for a, b in pairs]
    chroma = np.array(norms) / thumbs[0].u.size
    return _rushes(moves) or _steps(thumbs, moves + chroma) or _fades(thumbs) or _leads(thumbs, EVERY * stride)


def _rushes(moves: NDArray[np.float64]) -> bool:
    return len(moves) > 2 and bool(np.lib.stride_tricks.sliding_window_view(moves, 3).min(axis=1).max() >= RUSH)


def _steps(thumbs: Sequence[Thumb], changes: NDArray[np.float64]) -> bool:
    """Whether the picture or the motion may leap."""
    padded = np.pad(changes, AROUND)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)[:, [0, 1, 2, 3, 5, 6, 7, 8]]
    largest = around.max(axis=1)
    usual = (around.sum(axis=1) - largest) / (2 * AROUND - 1)
    leaps = (changes >= STEP) & (largest <= CALM * changes) & (changes >= LEAP * (usual + 0.5))
    near = around[:, 1:7]
    prominent = changes / ((near.sum(axis=1) - near.max(axis=1)) / 5 + 1)
    stands = (changes >= STEP) & (changes >= LONELY * around[:, 3:5].max(axis=1))
    pairs = ((prominent[at], thumbs[at], thumbs[at + 1]) for at in np.flatnonzero(stands).tolist())
    return bool(leaps.any()) or any(
        sure * _histograms(a, b) >= EVIDENCE and detail(a.y, b.y) <= EDGES_LEFT for sure, a, b in pairs
    )


def _histograms(a: Thumb, b: Thumb) -> float:
    """L1 distance of the relative histograms of luma plus half of those of chroma, 32 bins, 0..4."""
    y, u, v = (
        np.abs(np.bincount(p.ravel() >> 3, minlength=32) - np.bincount(q.ravel() >> 3, minlength=32)).sum() / p.size
        for p, q in ((a.y, b.y), (a.u, b.u), (a.v, b.v))
    )
    return float(y + (u + v) / 2)


def _fades(thumbs: Sequence[Thumb]) -> bool:
    """Whether some pictures are flat and others not."""
    spread = np.array([cv2.meanStdDev(one.y)[1][0, 0] for one in thumbs[::EVERY]])
    return bool((spread < FLAT).any() and (spread >= FLAT).any())


def _leads(thumbs: Sequence[Thumb], step: int) -> bool:
    """Whether frames lead from one picture to another, the middle being a part of each, and not by motion."""
    chosen = [one.y for one in thumbs[::step]]
    vectors = [cv2.resize(one, (32, 18), interpolation=cv2.INTER_AREA).ravel() for one in chosen]
    runs = sorted(_runs(np.stack(vectors).astype(np.float32)), reverse=True)[:TRIES]
    return any(_unlike(chosen[first], chosen[first + lag], chosen[first + 2 * lag]) for _, first, lag in runs)


def _runs(real: Vectors) -> Iterator[tuple[float, int, int]]:
    """Score, first of the compared pictures and half the length of the best run of each length."""
    for lag in range(1, min(REACH // EVERY, (len(real) - 1) // 2) + 1):
        first, middle, last = real[: -2 * lag], real[lag:-lag], real[2 * lag :]
        whole, old, new = _distance(first, last), _distance(first, middle), _distance(middle, last)
        along = (old - new + whole) / (2 * whole + 1e-6)
        off = np.sqrt(np.maximum(0, old / (whole + 1e-6) - along * along))
        good = (whole >= APART * APART) & (off <= OFF) & (along > 0.2) & (along < 0.8) & _calm(real, whole, lag)
        score = np.where(good, np.sqrt(whole) * (1 - off), 0)
        best = int(score.argmax())
        if score[best] > 0:
            yield float(score[best]), best, lag


def _unlike(a: Bytes, m: Bytes, b: Bytes) -> bool:
    """Whether the ends of a run show different things, and motion does not lead from one to the other."""
    if _spread(a, b) < SPREAD or detail(a, b) >= OTHER_EDGES:
        return False
    return _left(a, m) + _left(m, b) >= 2 * UNEXPLAINED


def _left(a: Bytes, b: Bytes) -> float:
    """Share of the change that is left when a picture is moved along the optical flow to the next."""
    flow = _FLOW.calc(b, a, None)
    y, x = np.indices(a.shape, np.float32)
    moved = cv2.remap(a, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(cv2.norm(moved, b, cv2.NORM_L1) / (cv2.norm(a, b, cv2.NORM_L1) + a.size / 2))


def _calm(real: Vectors, whole: NDArray[np.float32], lag: int) -> NDArray[np.bool_]:
    """Of runs of 2 * lag steps, whether pictures change less beside them than across them."""
    beside, at = min(lag, BESIDE), np.arange(len(whole))
    before = _distance(real[np.maximum(0, at - beside)], real[at])
    after = _distance(real[at + 2 * lag], real[np.minimum(len(real) - 1, at + 2 * lag + beside)])
    return np.asarray(np.maximum(before, after) <= RESTLESS * RESTLESS * whole)


def _spread(a: Bytes, b: Bytes) -> float:
    """Mean over root mean square of the difference without its mean, 0..1: how much of the picture changes."""
    change = cv2.subtract(b, a, dtype=cv2.CV_32F)
    change -= change.mean()
    return float(np.abs(change).mean() / (np.sqrt(np.vdot(change, change) / change.size) + 1e-4))


def _distance(a: Vectors, b: Vectors) -> NDArray[np.float32]:
    """(N,) mean squared differences of rows."""
    difference = a - b
    return np.asarray(np.einsum("ij,ij->i", difference, difference) / a.shape[1], np.float32)


def may_pan(a: Bytes, b: Bytes) -> bool:
    """Whether one affine motion of the whole picture explains some of the change from a thumb to another, to first
    order (Lucas and Kanade 1981, An iterative image registration technique, with six parameters)."""
    first, change = a.astype(np.float32), cv2.subtract(b, a, dtype=cv2.CV_32F)
    right, down = cv2.Sobel(first, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(first, cv2.CV_32F, 0, 1, scale=0.125)
    slopes = np.stack([slope * place for slope in (right, down) for place in _places(*a.shape)]).reshape(6, -1)
    against = slopes @ change.ravel()
    explained = against @ np.linalg.solve(slopes @ slopes.T + np.eye(6, dtype=np.float32), against)
    return bool(explained >= EXPLAINED * cv2.norm(change, cv2.NORM_L2SQR))


@cache
def _places(height: int, width: int) -> NDArray[np.float32]:
    """(3, height, width) 1, x and y, in widths from the middle."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([np.ones_like(x), x / width - 0.5, (y - height / 2) / width])
