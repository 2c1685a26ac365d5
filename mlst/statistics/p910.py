"""Spatial and temporal information, ITU-T P.910 (10/2023), clause 7.8 and annex B.

SI is the population standard deviation of the 3x3 Sobel gradient's magnitude over the inside of the picture (without
its one-pixel border), TI that of the difference from the frame before, both on a 0..255 scale. Two scales are used:

* "legacy", as in the editions up to 2008: luma codes clipped to their nominal range and stretched to 0..255. Levels
  are decided on it: the published distributions use it.
* "PQ", as in the editions since 2022: codes through a display model (BT.1886 simplified to a gamma of 2.4, 0.1 to
  300 cd/m2) and the PQ transfer function of SMPTE ST 2084, times 255. Every source counts as SDR.

All sums are of integers: results depend neither on the order of summation nor on SIMD width. Codes in the PQ scale are
rounded to 2^-20 of the range. Gradient magnitudes are irrational and rounded: of 8-bit codes to single precision, else
to 2^-20 code, in the PQ scale to 2^-20 of the range.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.native import twin
from mlst.pictures.frames import Frames, Plane, nominal, shared
from mlst.statistics.base import statistic

PQ_BITS = 20
"""Fixed-point bits of the PQ scale: gradients, 4 * 2^20 at most, are still exact in single precision."""
EXACT = 2.0**53
"""Integers below are exact in float64, and so are sums of such while they stay below."""
Values = NDArray[np.float64] | NDArray[np.float32] | NDArray[np.uint8]
Sums = tuple[int, int, int]
"""Pixels, sum, sum of squares."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Integer pictures and what makes 0..255 of them."""

    table: Values
    """(2^depth,) integer value of each code: bytes for the legacy scale of 8-bit codes, doubles for that of others,
    singles of at most 2^20 for the PQ scale."""
    unit: float
    """Size of integer 1 on the 0..255 scale."""
    fraction_bits: int
    """To which gradient magnitudes are rounded."""


@cache
def legacy(depth: int, full_range: bool) -> Scale:
    """Codes clipped to the nominal range."""
    lo, hi = nominal(depth, full_range)
    values = np.arange(1 << depth).clip(lo, hi) - float(lo)
    return Scale(values.astype(np.uint8), 255 / (hi - lo), 23) if depth == 8 else Scale(values, 255 / (hi - lo), 20)


@cache
def pq(depth: int, full_range: bool) -> Scale:
    """Codes through the display model and the PQ function, in fixed point."""
    lo, hi = nominal(depth, full_range)
    normal = (np.arange(1 << depth).clip(lo, hi) - lo) / (hi - lo)
    light = (300 - 0.1) * normal**2.4 + 0.1
    power = (light / 10_000) ** 0.1593017578125
    signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return Scale(np.rint(signal * 2**PQ_BITS).astype(np.float32), 255 / 2**PQ_BITS, 0)


def looked_up(codes: Plane, table: Values) -> Values:
    """The integers that a `Scale.table` gives for the codes of an (H, W) plane."""
    if codes.dtype == np.uint8:
        return cast(Values, cv2.LUT(codes, table))
    return table.take(codes, mode="clip")


@twin
def gradients(codes: Plane, places: tuple[int, ...], table: Values, fraction_bits: int) -> tuple[Sums, ...]:
    """`spatial_sums` of the pictures at `places` of (N, H, W) codes, in the scale that `table` is of."""
    return tuple(spatial_sums(looked_up(codes[i], table), fraction_bits) for i in places)


@twin
def changes(codes: Plane, places: tuple[int, ...], table: Values) -> tuple[Sums, ...]:
    """`temporal_sums` of each of the pictures at `places` of (N, H, W) codes and the one before, in that scale."""
    pictures = (looked_up(codes[i], table) for i in places)
    return tuple(temporal_sums(later, earlier) for earlier, later in pairwise(pictures))


def spatial_sums(picture: Values, fraction_bits: int) -> Sums:
    """(pixels, sum of magnitudes * 2^fraction_bits, sum of squared magnitudes) of the Sobel gradient, exactly.

    `picture`: (H, W) integers as of a `Scale`, the border is left out. Squares of singles are rounded to single
    precision, which leaves integers. Single magnitudes of bytes are whole multiples of 2^-23.
    """
    if min(picture.shape) < 3:
        return 1, 0, 0
    wide = cv2.CV_64F if picture.dtype == np.float64 else cv2.CV_32F
    x, y = (cv2.Sobel(picture, wide, *axes) for axes in ((1, 0), (0, 1)))
    squares = np.multiply(x, x, out=x)
    squares += np.multiply(y, y, out=y)
    magnitudes = np.sqrt(squares, out=y)
    if fraction_bits:
        magnitudes *= 2**fraction_bits
    if picture.dtype != np.uint8:
        np.rint(magnitudes, out=magnitudes)
    inner = squares[1:-1, 1:-1]
    return inner.size, _exact(magnitudes[1:-1, 1:-1]), _exact(inner)


def temporal_sums(picture: Values, previous: Values) -> Sums:
    """(pixels, sum, sum of squares) of the difference of two (H, W) pictures of integers as of a `Scale`, exactly."""
    if picture.dtype == np.uint8:
        total = int(cv2.sumElems(picture)[0]) - int(cv2.sumElems(previous)[0])
        # Exact in any order, which cv2.norm's NORM_L2SQR is not: these sums are of integers.
        mean, spread = (float(found[0, 0]) for found in cv2.meanStdDev(cv2.absdiff(picture, previous)))
        return picture.size, total, round(picture.size * (mean * mean + spread * spread))
    difference = np.subtract(picture, previous)
    wide = difference.astype(np.float64)
    squares = float(np.vdot(wide, wide))
    total = int(cv2.sumElems(difference)[0])
    return difference.size, total, int(squares) if squares < EXACT else _exact(np.square(wide))


def deviation(n: int, total: int, squares: int, fraction_bits: int = 0) -> float:
    """Population standard deviation from integer sums, `total` in units of 2^-fraction_bits."""
    scaled = (n * squares << 2 * fraction_bits) - total * total
    return math.sqrt(max(0, scaled) / (n * n << 2 * fraction_bits))


def _exact(values: NDArray[np.float64] | NDArray[np.float32]) -> int:
    """Sum of a (H, W) array of integers in 0..2^53, W below 2^10.

    While it is below 2^53 no addition was rounded; else rows are added in int64 and then as Python integers.
    """
    total = cv2.sumElems(values)[0]
    return int(total) if total < EXACT else sum(values.astype(np.int64).sum(axis=1).tolist())


def _legacy(frames: Frames) -> Scale:
    return legacy(frames.format.depth, frames.format.full_range)


def _pq(frames: Frames) -> Scale:
    return pq(frames.format.depth, frames.format.full_range)


@shared
def spatial(frames: Frames) -> NDArray[np.float64]:
    """(G, 2) SI and mean gradient magnitude of every grid frame, legacy scale."""
    scale, bits = _legacy(frames), _legacy(frames).fraction_bits
    sums = gradients(frames.luma, frames.grid, scale.table, bits)
    rows = [(deviation(*found, bits) * scale.unit, found[1] / (found[0] << bits) * scale.unit) for found in sums]
    return np.array(rows)


@shared
def temporal(frames: Frames) -> NDArray[np.float64]:
    """(N - 1,) TI between neighbouring frames of the clip, legacy scale."""
    return _ti(frames, tuple(range(len(frames.luma))), _legacy(frames))


@shared
def temporal10(frames: Frames) -> NDArray[np.float64]:
    """(G - 1,) TI between neighbours on the 10 Hz grid, legacy scale."""
    return _ti(frames, frames.grid, _legacy(frames))


def _ti(frames: Frames, places: tuple[int, ...], scale: Scale) -> NDArray[np.float64]:
    return np.array([deviation(*found) * scale.unit for found in changes(frames.luma, places, scale.table)])


@statistic
def si(frames: Frames) -> float:
    """Mean SI over the grid: the recommended average of P.910 (10/2023), clause 7.8."""
    return float(spatial(frames)[:, 0].mean())


@statistic
def si_p95(frames: Frames) -> float:
    """95th percentile of SI over the grid."""
    return float(np.percentile(spatial(frames)[:, 0], 95))


@statistic
def si_std(frames: Frames) -> float:
    """Standard deviation of SI over the grid."""
    return float(spatial(frames)[:, 0].std())


@statistic
def si_pq(frames: Frames) -> float:
    """Mean SI over the grid in the PQ scale."""
    scale, bits = _pq(frames), _pq(frames).fraction_bits
    values = [deviation(*found, bits) for found in gradients(frames.luma, frames.grid, scale.table, bits)]
    return float(np.mean(values)) * scale.unit


@statistic
def ti(frames: Frames) -> float:
    """Mean TI between neighbouring frames, whatever their rate."""
    return float(temporal(frames).mean())


@statistic
def ti10(frames: Frames) -> float:
    """Mean TI between grid neighbours: hardly depends on the frame rate."""
    return float(temporal10(frames).mean())


@statistic
def ti10_p95(frames: Frames) -> float:
    """95th percentile of TI between grid neighbours."""
    return float(np.percentile(temporal10(frames), 95))


@statistic
def ti10_max(frames: Frames) -> float:
    """Largest TI between grid neighbours: the aggregation of P.910 before 2022."""
    return float(temporal10(frames).max())


@statistic
def ti_pq(frames: Frames) -> float:
    """Mean TI between grid neighbours in the PQ scale."""
    return float(_ti(frames, frames.grid, _pq(frames)).mean())
