"""What a gradual transition leaves in the frames around each one, measured at several distances in time.

Motion carries edges along, a dissolve fades them in and out where they are, a wipe replaces them place by place. No
single distance shows that in every shot, so the same ratios are taken of the frames 1, 2, 4 ... 32 before and after.
Sums are of integers and ratios are rounded, so every machine measures the same.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors.features import COLUMNS, EDGE_FLOOR, ROWS, Bytes, Gram, Matrix, Vectors, multiply
from mlst.native import twin

LAGS = np.array([1, 2, 4, 8, 16, 32])
"""Frames from the one in the middle to the two it is compared with."""
REACH = int(LAGS[-1])
STEP = 64
"""Ratios are rounded to 1 / `STEP`."""
EDGE = 63
"""Clipping edges at this keeps sums of products of 36 x 64 of them below 2**24, up to where float32 holds integers."""
NOISE, CLEAR = 4.0, 81.0
"""Mean square differences, in codes, that encoding makes and that pictures have which clearly differ."""
MEASURES = 16
"""At each distance."""
SIZE = MEASURES * len(LAGS)
"""Of what is measured of one frame."""

PIXELS = ROWS * COLUMNS
"""Of the luma of a summary."""

Counts = NDArray[np.int64]


@twin
def find_edges(luma: Bytes, row: Vectors) -> bool:
    """Write the whole codes by which a luma (36, 64) differs from its 7x7 mean, -63..63, into a row (2304,).

    Rounding is never in doubt: 49 times the difference is whole. Returns True.
    """
    real = luma.astype(np.float32)
    row[:] = np.clip(np.rint(real - cv2.blur(real, (7, 7))), -EDGE, EDGE).ravel()
    return True


class Traces:
    """Measures frames that lie `REACH` back."""

    def __init__(self, gram: Gram) -> None:
        self.gram, self.count = gram, 0
        self._kept = gram.keep
        self._edges: Vectors = np.zeros((self._kept, 36 * 64), np.int8)
        rows = np.arange(self._kept)[:, None]
        self._before = (rows - [0, *LAGS, 2 * REACH]) % self._kept
        self._itself = np.repeat(rows, self._before.shape[1], axis=1)
        self._products = np.zeros(self._before.shape)
        """Of the edges of a frame with those of the frame so many before, or with the first."""

    def push(self, luma: Bytes) -> None:
        """The luma of the newest frame of `gram`; behind the end of the video that of its last."""
        at = self.count % self._kept
        find_edges(luma, self._edges[at])
        if self.count == 0:
            self._edges[:] = self._edges[0]
        multiply(self._edges, self._before[at], self._itself[at], self._products[at])
        self.count += 1

    def measured(self, frames: Counts) -> Matrix:
        """(n, 96) multiples of 1/64 in -2..2, of n frames with `REACH` others pushed behind each."""
        parts = (*self._of_edges(frames), *self._of_pictures(frames), *self._of_pixels(frames))
        ratios = np.stack(parts, axis=-1).reshape(len(frames), SIZE)
        return np.asarray(np.rint(np.clip(ratios, -2, 2) * STEP) / STEP)

    def _of_edges(self, frames: Counts) -> tuple[Matrix, ...]:
        """Eight (n, 6): how edges agree, how strong they are, and what of them the frames beside make up."""
        c = frames[:, None]
        at, far = np.arange(len(LAGS)), np.arange(1, len(LAGS) + 1)
        floor = EDGE_FLOOR * 36 * 64
        old, mid, new = (self._product(f, 0) for f in (np.maximum(0, c - LAGS), c, c + LAGS))
        before, after, across = (
            self._product(c, at + 1),
            self._product(c + LAGS, at + 1),
            self._product(c + LAGS, far + 1),
        )
        determinant = old * new - across * across + floor * floor
        a, b = (before * new - after * across) / determinant, (after * old - before * across) / determinant
        return (
            (across + floor) / (np.sqrt(old * new) + floor),
            (before + floor) / (np.sqrt(old * mid) + floor),
            (after + floor) / (np.sqrt(mid * new) + floor),
            (2 * mid - old - new) / (2 * mid + old + new + floor),
            (new - old) / (new + old + floor),
            (a * before + b * after) / (mid + floor),
            a,
            b,
        )

    def _product(self, frames: Counts, back: int | Counts) -> Matrix:
        return np.asarray(self._products[frames % self._kept, back])

    def _of_pictures(self, frames: Counts) -> tuple[Matrix, ...]:
        """Three (n, 6): how far the pictures beside are apart, and where between them the one in the middle is."""
        c, last = frames[:, None], self.gram.count - 1
        old, new = np.maximum(0, c - LAGS), np.minimum(last, c + LAGS)
        before, after, across = (self.gram.distances(p, q) ** 2 for p, q in ((old, c), (c, new), (old, new)))
        total = before + after + across + NOISE
        return across / (across + CLEAR), (before - after) / total, (before + after) / total

    def _of_pixels(self, frames: Counts) -> tuple[Matrix, ...]:
        """Five (n, 6): whether pixels are like those before or behind, and in which places."""
        c, last, keep = frames[:, None], self.gram.count - 1, self.gram.keep
        three = np.maximum(0, c - LAGS), np.repeat(c, len(LAGS), axis=1), np.minimum(last, c + LAGS)
        old, mid, new = ((f % keep).ravel() for f in three)
        sums = np.empty((len(mid), 6))
        add_pixels(self.gram.rows, old, mid, new, sums)
        across, nearer, resolved, seams, squares, step = sums.T.reshape(6, -1, len(LAGS))
        total = across + PIXELS
        return (
            nearer / total,
            resolved / total,
            seams / total,
            across * across / ((squares + PIXELS) * PIXELS),
            np.abs(step) / total,
        )


@twin
def add_pixels(rows: Vectors, old: Counts, mid: Counts, new: Counts, sums: Matrix) -> bool:
    """Write six sums over the luma of n triples of summaries, given by their rows, into (n, 6). Returns True.

    They are of the change from old to new, of the middle's distance from the nearer of both, of the change where that
    distance is small, of the change along the seams between what is nearer to the one and to the other, of its
    square, and of the change with its sign.
    """
    o, c, n = (rows[f, :PIXELS].reshape(-1, ROWS, COLUMNS).astype(np.int16) for f in (old, mid, new))
    before, after, step = np.abs(c - o), np.abs(n - c), n - o
    across, nearer, turned = np.abs(step), np.minimum(before, after), after < before
    seams = (turned[..., 1:] != turned[..., :-1]) * np.minimum(across[..., 1:], across[..., :-1])
    real = step.astype(np.float32)
    sums[:, 4] = np.einsum("nij,nij->n", real, real, dtype=np.float64)
    for at, values in ((0, across), (1, nearer), (2, across * (5 * nearer < across)), (3, seams), (5, step)):
        sums[:, at] = values.sum(axis=(-2, -1), dtype=np.int64)
    return True
