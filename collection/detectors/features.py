"""What the `mlst` detector measures on thumbs: pure functions of one pair of frames or one run of them."""

from collections import deque
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.native import twin

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Vectors = NDArray[np.int8]
Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Frames = int | Places

CONTRAST_FLOOR = (0.03 * 255) ** 2
"""C2 of SSIM (Wang et al. 2004): keeps the similarity of two flat pictures at 1."""

EDGE_FLOOR = 0.25
"""Mean square of what a 7x7 mean leaves of a picture without edges: half a code of rounding."""

UNCHANGED, ENOUGH = 4, 0.4
"""Codes of luma up to which a pixel counts as unchanged, since encoding changes it by so much, and the least share of
changed ones that stands for the picture: bars that come or go over a still change less of its middle."""

DARK = 32
"""Luma code, 0..255, that no pixel of a dark thumb exceeds; many fades end at codes that are not quite black."""

BINS = 32
"""Of a plane's histogram."""

_FLOW = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


@dataclass(frozen=True, slots=True)
class Small:
    """What is kept of a thumb: its planes."""

    y: Bytes
    u: Bytes
    v: Bytes


def change(a: Small, b: Small) -> float:
    """Sum over Y, U, V of the mean absolute differences, 0..765."""
    return differing(a.y, b.y) / a.y.size + differing(a.u, b.u) / a.u.size + differing(a.v, b.v) / a.v.size


@twin
def differing(a: Bytes, b: Bytes) -> int:
    """Sum of the absolute differences of two planes of one shape."""
    return int(cv2.norm(a, b, cv2.NORM_L1))


def histogram_change(a: Small, b: Small) -> float:
    """L1 distance of the relative Y histograms plus the mean of those of U and V, 0..4."""
    y, u, v = (apart_in_histogram(p, q) / p.size for p, q in ((a.y, b.y), (a.u, b.u), (a.v, b.v)))
    return y + (u + v) / 2


@twin
def apart_in_histogram(a: Bytes, b: Bytes) -> int:
    """L1 distance of the histograms of `BINS` bins of two planes."""
    one, other = (np.bincount(plane.ravel() // np.uint8(256 // BINS), minlength=BINS) for plane in (a, b))
    return int(np.abs(one - other).sum())


@twin
def extremes(plane: Bytes) -> tuple[int, int]:
    """The least and the largest code of a plane."""
    return int(plane.min()), int(plane.max())


def structure(a: Bytes, b: Bytes) -> float:
    """Contrast-structure term of SSIM (Wang et al. 2004, eq. 12-13) over the whole plane, -1..1.

    A change of brightness alone leaves it near 1.
    """
    p, q = a - a.mean(), b - b.mean()
    return float((2 * (p * q).mean() + CONTRAST_FLOOR) / ((p * p).mean() + (q * q).mean() + CONTRAST_FLOOR))


def detail(a: Bytes, b: Bytes) -> float:
    """Correlation of what a 7x7 mean leaves of the two planes, -1..1.

    Two views of one room share brightness and large shapes but not their edges: across a cut it is near 0, while a
    lamp, a flash or a title over the picture leaves the edges where they were. Pictures without any edges count as
    the same.
    """
    return _correlation(_edges(a), _edges(b))


def detail_of_changed(a: Bytes, b: Bytes) -> float:
    """The same among the pixels that change by more than `UNCHANGED`, if they make up at least `ENOUGH` of the planes.

    Lettering that stays over two shots keeps its edges; this leaves them out.
    """
    changed = cv2.absdiff(a, b) > UNCHANGED
    return _correlation(_edges(a)[changed], _edges(b)[changed]) if changed.mean() >= ENOUGH else detail(a, b)


def _edges(plane: Bytes) -> NDArray[np.float32]:
    real = plane.astype(np.float32)
    return np.asarray(real - cv2.blur(real, (7, 7)), np.float32)


def _correlation(p: NDArray[np.float32], q: NDArray[np.float32]) -> float:
    floor = EDGE_FLOOR * p.size
    return float(((p * q).sum() + floor) / (np.sqrt((p * p).sum() * (q * q).sum()) + floor))


def alike(a: Bytes, b: Bytes) -> bool:
    """Whether two pictures show the same thing in other light, perhaps between bars or behind something small."""
    return detail(a, b) >= 0.5


def middle(plane: Bytes) -> Bytes:
    """What no letterbox covers: half of the height, three quarters of the width."""
    height, width = plane.shape
    return plane[height // 4 : -height // 4, width // 8 : -width // 8]


def spread(a: Bytes, b: Bytes) -> float:
    """How much of the picture changes: mean over root mean square of |b - a| without its mean, 0..1.

    0.8 for normally distributed differences; a passing object or an overlaid title stays below 0.65.
    """
    e = np.subtract(b, a, dtype=np.int32)
    total = int(e.sum())
    about_mean = float(np.abs(e * e.size - total).sum()) / e.size
    squared = float(cv2.norm(b, a, cv2.NORM_L2SQR)) - total * total / e.size
    return float(about_mean / e.size / np.sqrt(squared / e.size + 1e-9))


def lit_as(a: Bytes, b: Bytes) -> Bytes:
    """The picture a with the mean and the contrast of b: as if a lamp had been dimmed or turned up."""
    gain = (b.std() + 1.0) / (a.std() + 1.0)
    return np.asarray(np.clip(np.rint((a - a.mean()) * gain + b.mean()), 0, 255), np.uint8)


def coherence(a: Bytes, b: Bytes) -> float:
    """How much all pixels change in one direction, 0..1: 1 where a lamp goes on, about 0 where things move."""
    return abs(float(np.subtract(b, a, dtype=np.int16).sum())) / (cv2.norm(a, b, cv2.NORM_L1) + 1.0)


def unexplained(a: Bytes, b: Bytes) -> float:
    """Share of the change from a to b that is left when a is moved along the optical flow (DIS), about 0..1.

    On the tuning footage of `tests/splices` motion leaves 0.2 to 0.6, a dissolve at least 0.76.
    """
    lit = lit_as(a, b)
    # Half a code per pixel in the divisor keeps pictures that hardly differ from looking unexplained.
    return _left(lit, b) / (cv2.norm(lit, b, cv2.NORM_L1) + a.size / 2)


def unmoved(a: Bytes, b: Bytes) -> float:
    """Mean difference that is left when a is moved along the optical flow to b, in codes."""
    return _left(a, b) / a.size


def _left(before: Bytes, after: Bytes) -> float:
    """Sum of the absolute differences that the optical flow leaves."""
    flow = _FLOW.calc(after, before, None)
    rows, columns = np.indices(before.shape, np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    moved = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(cv2.norm(moved, after, cv2.NORM_L1))


def is_dark(luma: Bytes) -> bool:
    """Whether no pixel of a thumb's luma exceeds `DARK`."""
    return extremes(luma)[1] <= DARK


ROWS, COLUMNS = 18, 32
"""Of the pictures in a `Gram`; its chroma has half of each."""


GREY = 128
"""Subtracted from codes: sums of products of 864 of them then stay below 2**24, up to where float32 holds integers."""


@twin
def summarise(y: Bytes, u: Bytes, v: Bytes, row: Vectors) -> int:
    """Write luma averaged to (18, 32), then both chroma planes to (9, 16), less `GREY`, into a row (864,).

    Returns the sum of their squares.
    """
    sizes = ((y, (COLUMNS, ROWS)), (u, (COLUMNS // 2, ROWS // 2)), (v, (COLUMNS // 2, ROWS // 2)))
    parts = [cv2.resize(p, size, interpolation=cv2.INTER_AREA).ravel() for p, size in sizes]
    row[:] = np.concatenate(parts).astype(np.int16) - GREY
    real = row.astype(np.float32)
    return int(real @ real)


@twin
def multiply(rows: Vectors, some: Places, others: Places, products: Vector) -> bool:
    """Write the inner products of `rows[some]` and `rows[others]`, both (n,), into (n,), exactly. Returns True.

    The rows are so short that float32 holds the sums, in whatever order.
    """
    used = np.zeros(len(rows), bool)
    used[some] = used[others] = True
    real, places = rows[used].astype(np.float32), np.cumsum(used) - 1
    products[:] = (real @ real.T)[places[some], places[others]]
    return True


def inner_products(rows: Vectors, some: Places, others: Places) -> Matrix:
    """Of rows and rows, pair by pair."""
    i, j = np.broadcast_arrays(some, others)
    products = np.empty(i.shape)
    multiply(rows, i.ravel(), j.ravel(), products.reshape(-1))
    return products


def distances(rows: Vectors, squares: Vector, some: Places, others: Places) -> Matrix:
    """Root mean square differences of rows and rows of summaries, pair by pair; `squares` are their inner ones."""
    squared = squares[some] + squares[others] - 2 * inner_products(rows, some, others)
    return np.asarray(np.sqrt(squared / rows.shape[1]))


class Gram:
    """The last `keep` frames and how far they are apart."""

    size = ROWS * COLUMNS * 3 // 2

    def __init__(self, keep: int) -> None:
        self.keep, self.count = keep, 0
        self.rows: Vectors = np.zeros((keep, self.size), np.int8)
        """Summary of frame n in row n % keep."""
        self.squares: Vector = np.zeros(keep)
        """Sum of the squares of each row."""
        self._frames: deque[Small] = deque(maxlen=keep)

    def push(self, frame: Small) -> None:
        """Add the next frame."""
        at = self.count % self.keep
        self.squares[at] = summarise(frame.y, frame.u, frame.v, self.rows[at])
        self._frames.append(frame)
        self.count += 1

    def small(self, frame: int) -> Small:
        """One of the last `keep` frames."""
        return self._frames[frame - self.count]

    def luma(self, frame: int) -> Bytes:
        """(36, 64) of one of the last `keep` frames."""
        return self.small(frame).y

    def between(self, first: int, last: int) -> Matrix:
        """(n, n) inner products of frames first..last, both among the last `keep`."""
        places = np.arange(first, last + 1) % self.keep
        return inner_products(self.rows, places[:, None], places)

    def distances(self, some: Frames, others: Frames) -> Matrix:
        """Root mean square differences of frames and frames, pair by pair, 0..255."""
        return distances(self.rows, self.squares, np.asarray(some) % self.keep, np.asarray(others) % self.keep)


@dataclass(frozen=True, slots=True)
class Blend:
    """How the frames of a run lie relative to the straight line from the first to the last of them."""

    distance: float
    """Root mean square difference of the first and the last, 0..255."""
    alpha: Vector
    """Where on the line each frame is: 0 at the first, 1 at the last."""
    residual: float
    """Mean distance of the frames between from the line, as a share of its length."""

    @property
    def unevenness(self) -> float:
        """Largest deviation of `alpha` from a steady rise."""
        return float(np.abs(self.alpha - _steady(len(self.alpha))).max())

    @property
    def is_monotone(self) -> bool:
        """Whether `alpha` hardly ever falls."""
        return bool((self.alpha[1:] - self.alpha[:-1]).min() > -0.02)


@cache
def _steady(n: int) -> Vector:
    """(n,) from 0 to 1."""
    return np.linspace(0, 1, n)


def blend(gram: Matrix, size: int) -> Blend:
    """From the inner products of a run of n >= 3 frames, (n, n); `size` is the dimension of a frame."""
    first, last = gram[:, 0], gram[:, -1]
    length = max(1.0, float(gram[0, 0] + gram[-1, -1] - 2 * gram[0, -1]))
    along = last - first - gram[0, -1] + gram[0, 0]
    away = gram.diagonal() - 2 * first + gram[0, 0]
    off = np.sqrt(np.maximum(away - along * along / length, 0) / length)
    return Blend(float(np.sqrt(length / size)), along / length, float(off[1:-1].mean()))
