"""Pictures that are put together from two others: one pushes, covers, uncovers or outgrows the other."""

import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors.features import Gram, Plane

Floats = NDArray[np.float32]

WITHIN = (0.25, 0.5, 0.75)
"""Where in a run its frames are put together from the ends."""
LEFT_OVER = 0.5
"""Share of the difference from the nearer end that the best arrangement may leave: whip pans leave 0.6 and more."""


def arranged(gram: Gram, first: int, last: int) -> bool:
    """Whether one arrangement of two frames, ever more of the later one, explains those between them."""
    old, new = _soft(gram.luma(first)), _soft(gram.luma(last))
    between = (gram.luma(first + round(share * (last - first))) for share in WITHIN)
    fits = np.array([_fits(old, new, _soft(frame)) for frame in between])
    left, share = fits[..., 0], fits[..., 1]
    best = int(left.mean(axis=0).argmin())
    rises = np.diff(share[:, best])
    fit = max(left[:, best].mean(), left[1, best]) <= LEFT_OVER
    return bool(fit and rises.min() > 0 and rises.sum() >= 0.2)


def _soft(plane: Plane) -> Floats:
    """Blurred, so that half a pixel does not matter."""
    return np.asarray(cv2.blur(plane.astype(np.float32), (3, 3)))


def _fits(a: Floats, b: Floats, frame: Floats) -> list[tuple[float, float]]:
    """(difference left over, share of b) of the best place of every arrangement."""
    nearer = min(float(np.abs(frame - a).mean()), float(np.abs(frame - b).mean())) + 1.0
    right, below = (a, b, frame), (a.T, b.T, frame.T)
    left_, above = (tuple(p[:, ::-1] for p in way) for way in (right, below))
    ways = (right, left_, below, above)
    found = [fit for p, q, f in ways for fit in _sideways(p, q, f)]
    return [(left / nearer, share) for left, share in (*found, _grown(a, b, frame))]


def _sideways(a: Floats, b: Floats, frame: Floats) -> list[tuple[float, float]]:
    """b comes in from the right: it pushes a, lies over a, or uncovers b as a leaves."""
    width = a.shape[1]
    both = np.concatenate([a, b], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(both, width, axis=1).swapaxes(
        0, 1
    )  # (width + 1, height, width)
    moved = np.abs(windows - frame).sum(axis=1)  # (width + 1, width): by the share of b, columns
    still_a, still_b = np.abs(a - frame).sum(axis=0), np.abs(b - frame).sum(axis=0)
    entered = np.arange(width)[None, :] >= width - np.arange(width + 1)[:, None]
    ways = (moved, np.where(entered, moved, still_a), np.where(entered, still_b, moved))
    sums = [way.sum(axis=1) / frame.size for way in ways]
    return [(float(way.min()), float(way.argmin()) / width) for way in sums]


def _grown(a: Floats, b: Floats, frame: Floats) -> tuple[float, float]:
    """b grows out of the middle of a."""
    height, width = a.shape
    best = (np.inf, 0.0)
    for rows in range(2, height, 2):
        columns = round(width * rows / height)
        top, left = (height - rows) // 2, (width - columns) // 2
        laid = a.copy()
        laid[top : top + rows, left : left + columns] = cv2.resize(b, (columns, rows), interpolation=cv2.INTER_AREA)
        best = min(best, (float(np.abs(laid - frame).mean()), rows / height))
    return best
