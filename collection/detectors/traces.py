"""What a gradual transition leaves in the frames around each one, measured at several distances in time.

Motion carries edges along, a dissolve fades them in and out where they are, a wipe replaces them place by place. No
single distance shows that in every shot, so the same ratios are taken of the frames 1, 2, 4 ... 32 before and after.
Sums are of integers and ratios are rounded, so every machine measures the same.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors.features import (
    COLUMNS,
    EDGE_FLOOR,
    ROWS,
    Bytes,
    Gram,
    Matrix,
    Vector,
    Vectors,
    distances,
    multiply,
)
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
        gram, ratios = self.gram, np.empty((len(frames), SIZE))
        measure(frames, gram.count - 1, self._products, gram.rows, gram.squares, ratios)
        return ratios


@twin
def measure(frames: Counts, last: int, products: Matrix, rows: Vectors, squares: Vector, ratios: Matrix) -> bool:
    """Write what is measured of n frames, none behind `last`, into (n, 96). Returns True.

    `products`, `rows` and `squares` are those of `Traces` and `Gram`: of frame f at f % `len(rows)`.
    """
    frames = frames[:, None]
    parts = (*_of_edges(frames, products), *_of_pictures(frames, last, rows, squares), *_of_pixels(frames, last, rows))
    raw = np.stack(parts, axis=-1).reshape(ratios.shape)
    ratios[:] = np.rint(np.clip(raw, -2, 2) * STEP) / STEP
    return True


def _of_edges(c: Counts, products: Matrix) -> tuple[Matrix, ...]:
    """Eight (n, 6): how edges agree, how strong they are, and what of them the frames beside make up."""

    def product(frames: Counts, back: int | Counts) -> Matrix:
        return np.asarray(products[frames % len(products), back])

    at, far = np.arange(len(LAGS)), np.arange(1, len(LAGS) + 1)
    floor = EDGE_FLOOR * 36 * 64
    old, mid, new = (product(f, 0) for f in (np.maximum(0, c - LAGS), c, c + LAGS))
    before, after, across = product(c, at + 1), product(c + LAGS, at + 1), product(c + LAGS, far + 1)
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


def _three(c: Counts, last: int, kept: int) -> tuple[Counts, Counts, Counts]:
    """(n, 6) places of the frames before, of those in the middle, and of those behind."""
    old, new = np.maximum(0, c - LAGS) % kept, np.minimum(last, c + LAGS) % kept
    return old, np.broadcast_to(c % kept, old.shape), new


def _of_pictures(c: Counts, last: int, rows: Vectors, squares: Vector) -> tuple[Matrix, ...]:
    """Three (n, 6): how far the pictures beside are apart, and where between them the one in the middle is."""
    old, mid, new = _three(c, last, len(rows))
    before, after, across = (distances(rows, squares, p, q) ** 2 for p, q in ((old, mid), (mid, new), (old, new)))
    total = before + after + across + NOISE
    return across / (across + CLEAR), (before - after) / total, (before + after) / total


def _of_pixels(c: Counts, last: int, rows: Vectors) -> tuple[Matrix, ...]:
    """Five (n, 6): whether pixels are like those before or behind, and in which places."""
    old, mid, new = (rows[f, :PIXELS].reshape(*f.shape, ROWS, COLUMNS) for f in _three(c, last, len(rows)))
    before, after, step = (np.subtract(p, q, dtype=np.int16) for p, q in ((mid, old), (new, mid), (new, old)))
    before, after, across = np.abs(before), np.abs(after), np.abs(step)
    nearer, turned = np.minimum(before, after), after < before
    seams = (turned[..., 1:] != turned[..., :-1]) * np.minimum(across[..., 1:], across[..., :-1])
    real = step.astype(np.float64)
    total = _sum(across) + PIXELS
    return (
        _sum(nearer) / total,
        _sum(across * (5 * nearer < across)) / total,
        _sum(seams) / total,
        _sum(across) * _sum(across) / ((np.einsum("nkij,nkij->nk", real, real) + PIXELS) * PIXELS),
        np.abs(_sum(step)) / total,
    )


def _sum(values: NDArray[np.signedinteger]) -> Matrix:
    """Over the last two axes."""
    return np.asarray(values.sum(axis=(-2, -1), dtype=np.int64), np.float64)
