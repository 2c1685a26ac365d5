"""The canonical picture: size, box, grid, and that it does not depend on how content is stored."""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlst.pictures import frames as fr
from mlst.pictures.bars import ACTIVE_SHARE, active_span, brightest
from mlst.pictures.frames import PictureFormat, canonical, canonical_size, grid, reduce
from mlst.pictures.scaling import scaled, scaled_420
from tests.mlst.pictures.pictures import FULL, LIMITED, clip, codes, pan, picture, texture, times

BLACK = codes(np.zeros(1), LIMITED)[0]


def barred(y: NDArray[Any], top: int, bottom: int, left: int = 0, right: int = 0) -> NDArray[Any]:
    return np.pad(y, ((top, bottom), (left, right)), constant_values=BLACK)


@pytest.mark.parametrize(
    ("width", "height", "sar", "expected"),
    [
        (640, 360, Fraction(1), (426, 240)),
        (360, 640, Fraction(1), (240, 426)),
        (720, 480, Fraction(8, 9), (320, 240)),
        (720, 576, Fraction(64, 45), (426, 240)),
        (1, 1, Fraction(1), (240, 240)),
        (3840, 200, Fraction(1), (960, 240)),
    ],
)
def test_size(width: int, height: int, sar: Fraction, expected: tuple[int, int]) -> None:
    assert canonical_size(width * sar, Fraction(height)) == expected


@pytest.mark.parametrize("size", [(360, 640), (1080, 1920), (241, 321), (97, 133), (2, 3), (1, 1), (1, 700)])
@pytest.mark.parametrize("depth", [8, 10])
def test_any_size_has_a_canonical_picture(size: tuple[int, int], depth: int) -> None:
    fmt = PictureFormat(depth, False, Fraction(1))
    made = clip([codes(texture(*size, seed=i), fmt) for i in range(4)], fmt)
    assert min(made.luma.shape[1:]) == 240
    assert made.luma.dtype == made.chroma.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert min(made.chroma.shape[2:]) <= 60
    assert made.luma.shape[0] == 4
    assert len(made.chroma) == len(made.grid) == len(made.luma8) == 2
    assert made.low_resolution == (min(size) < 240)


def test_codes_are_area_means() -> None:
    y = np.random.default_rng(1).integers(16, 236, (480, 640)).astype(np.uint8)
    expected = np.floor(y.reshape(240, 2, 320, 2).mean(axis=(1, 3)) + 0.5)
    assert np.array_equal(clip([y, y], LIMITED).luma[0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((100, 150), (67, 101)),
        ((250, 61), (249, 60)),
        ((480, 854), (256, 256)),
        ((33, 40), (8, 8)),
        ((600, 900), (9, 13)),
    ],
    ids=str,
)
def test_smaller_planes_are_area_means(dtype: type, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Of a picture of soft shapes, within a code or two and nearly without bias."""
    top = np.iinfo(dtype).max
    plane = np.rint(texture(*old, seed=5, sigma=3).clip(0, 1) * top).astype(dtype)
    down, across = (shares(many, few) for many, few in zip(old, new, strict=True))
    found = fr.resized(plane, new[1], new[0])
    difference = found - down @ plane @ across.T
    assert (found.shape, found.dtype) == (new, dtype)
    assert np.abs(difference).max() <= max(1.5, top / 500)
    assert abs(difference.mean()) <= 0.3


def shares(many: int, few: int) -> NDArray[np.float64]:
    """(few, many) of which part of each old line a new line consists."""
    edges = np.arange(few + 1)[:, None] * many / few
    covered = np.clip(edges - np.arange(many), 0, 1)
    return np.diff(covered, axis=0) * few / many


@pytest.mark.parametrize("size", [(480, 854), (271, 333)])
def test_averages_depend_on_nothing_but_the_plane(size: tuple[int, int]) -> None:
    """Not on how its rows lie in memory, nor on what was averaged before or goes on in another thread."""
    draw = np.random.default_rng(6)
    planes = [draw.integers(0, 256, size, np.uint8) for _ in range(24)]
    alone = [scaled(plane, 100, 90) for plane in planes]
    apart = [np.pad(plane, ((0, 0), (0, 33)))[:, : size[1]] for plane in planes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda plane: scaled(plane, 100, 90), apart))
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("size", [(100, 150), (99, 151), (40, 60), (7, 9), (300, 20)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_of_a_picture_are_scaled_each_on_its_own(size: tuple[int, int], dtype: type) -> None:
    draw, half = np.random.default_rng(7), (-(-size[0] // 2), -(-size[1] // 2))
    y, u, v = (draw.integers(0, 256, shape).astype(dtype) for shape in (size, half, half))
    together = scaled_420(y, u, v, 64, 64)
    for found, plane, side in zip(together, (y, u, v), (64, 32, 32), strict=True):
        assert np.array_equal(found, scaled(plane, side, side))


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("size", [(70, 90), (97, 33), (21, 3), (5, 2), (6, 1), (4, 9), (1, 1)])
def test_defects_are_what_their_definition_counts(size: tuple[int, int], depth: int) -> None:
    """In wide integers, which neither end nor wrap; OpenCV's end at the largest code."""
    draw, top = np.random.default_rng(depth), (1 << depth) - 1
    noise = draw.integers(0, top + 1, size)
    alternating = np.where(np.arange(size[0]) % 2, 1, -1)[:, None] * draw.integers(0, top, size[1])
    combed = draw.integers(0, top + 1, size[1]) + alternating + draw.integers(-9, 10, size)
    extreme = np.where(np.arange(size[0]) % 2, top, 0)[:, None] + draw.integers(-top // 3, top // 3, size)
    for y in (noise, combed.clip(0, top), extreme.clip(0, top)):
        for fmt in (PictureFormat(depth, full, Fraction(1)) for full in (False, True)):
            kept = reduce(picture(y.astype(np.uint8 if depth == 8 else np.uint16), fmt), fmt)
            assert (kept.comb, kept.clipped) == (
                plain_comb(y, depth),
                0.0 if fmt.full_range else plain_clipped(y, fmt),
            )


def plain_clipped(y: NDArray[np.int64], fmt: PictureFormat) -> float:
    rows = y[min(2, len(y) - 1) :: fr.SAMPLED_ROWS]
    return float(((rows < fmt.nominal[0]) | (rows > fmt.nominal[1])).mean())


def plain_comb(y: NDArray[np.int64], depth: int) -> float:
    if len(y) < 5 or y.shape[1] < 2:
        return 0.0
    above2, above, here, below, below2 = (y[i : len(y) - 4 + i : fr.SAMPLED_ROWS] for i in range(5))
    steps = np.array([above2 - above, here - above, here - below, below2 - below])
    contrast = np.where((steps > 0).all(axis=0) | (steps < 0).all(axis=0), np.abs(steps).min(axis=0), 0)
    field = np.maximum(abs(above2 - here), abs(below2 - here))
    combed = (contrast > fr.COMB_CODES << (depth - 8)) & (contrast >= fr.COMB_CONTRAST * field)
    return float((combed[:, 1:] & combed[:, :-1]).mean())


def test_box_decimation_first() -> None:
    """What is kept of a large frame is small, and gives nearly what one area step from the whole gives."""
    y = codes(texture(1080, 1920, 3, sigma=12), LIMITED)
    kept = reduce(picture(y, LIMITED), LIMITED)
    assert (kept.k, kept.y.shape) == (2, (540, 960))
    assert kept.y.nbytes + kept.chroma.nbytes < 600_000
    once = cv2.resize(y.astype(np.float32), (426, 240), interpolation=cv2.INTER_AREA)
    assert np.abs(clip([y], LIMITED).luma[0] - once).max() < 1.5


def test_reduced_owns_its_memory() -> None:
    """A decoder reuses its buffers."""
    y = codes(texture(120, 160, 3), LIMITED)
    kept = reduce(picture(y, LIMITED), LIMITED)
    before = kept.y.copy()
    y[:] = 0
    assert np.array_equal(kept.y, before)


@pytest.mark.parametrize("bars", [(60, 60, 0, 0), (0, 0, 80, 80), (40, 40, 50, 50), (63, 58, 0, 0), (2, 2, 0, 0)])
def test_letterbox_is_cropped(bars: tuple[int, int, int, int]) -> None:
    planes = [barred(codes(0.2 + 0.6 * texture(360, 640, i), LIMITED), *bars) for i in range(2)]
    height, width = planes[0].shape
    box = clip(planes, LIMITED).box
    found = np.array([box.top * height, (1 - box.bottom) * height, box.left * width, (1 - box.right) * width])
    edge = found - np.array(bars)
    assert ((edge > 0) == (np.array(bars) > 0)).all()
    assert (edge <= max(height, width) / 200 + 1).all()


def test_bars_with_coding_noise_are_cropped() -> None:
    rng = np.random.default_rng(0)
    y = barred(codes(0.2 + 0.6 * texture(360, 640, 0), LIMITED), 50, 50)
    y[:50] = rng.integers(14, 22, (50, 640))
    assert clip([y, y], LIMITED).box.top > 0.1


def test_dark_picture_is_no_bar() -> None:
    whole = (0.0, 0.0, 1.0, 1.0)

    def box(y: NDArray[Any]) -> tuple[float, ...]:
        found = clip([y, y], LIMITED).box
        return found.left, found.top, found.right, found.bottom

    view = codes(0.2 + 0.6 * texture(360, 640, 0), LIMITED)
    night = view.copy()
    night[:200] = BLACK
    assert box(night) == whole
    lamp = np.full_like(view, BLACK)
    lamp[150:210, 300:340] = 200
    assert box(lamp) == whole
    assert box(np.full_like(view, BLACK)) == whole


def test_a_bright_frame_widens_the_box() -> None:
    """The box is that of the clip: a frame that is dark at its edges takes nothing from the others."""
    view = codes(0.2 + 0.6 * texture(360, 640, 0), LIMITED)
    dark = view.copy()
    dark[:60] = dark[-60:] = BLACK
    assert clip([dark, view], LIMITED).box.top == 0
    assert clip([dark, dark], LIMITED).box.top > 0


@given(st.lists(st.integers(0, 255), min_size=1, max_size=300), st.integers(0, 254))
def test_active_span_is_a_large_part_of_the_side(brightest: list[int], dark: int) -> None:
    start, end = active_span(np.array(brightest), dark)
    assert 0 <= start < end <= len(brightest)
    assert end - start >= ACTIVE_SHARE * len(brightest)
    assert active_span(np.array(brightest)[::-1], dark) == (len(brightest) - end, len(brightest) - start)


@pytest.mark.parametrize(
    ("rate", "step"),
    [
        (Fraction(10), 1),
        (Fraction(24000, 1001), 3),
        (Fraction(25), 3),
        (Fraction(30000, 1001), 3),
        (Fraction(30), 3),
        (Fraction(50), 5),
        (Fraction(60000, 1001), 6),
        (Fraction(5), 1),
    ],
)
def test_grid_of_common_rates(rate: Fraction, step: int) -> None:
    assert grid(times(40, rate)) == tuple(range(0, 40, step))


def test_grid_of_rounded_times() -> None:
    """Matroska rounds to milliseconds; telephones jitter."""
    rounded = [Fraction(round(1000 * t), 1000) for t in times(40, Fraction(30000, 1001))]
    assert grid(rounded) == tuple(range(0, 40, 3))
    jitter = [t + Fraction((-1) ** i, 1000) for i, t in enumerate(times(40))]
    assert grid(jitter) == tuple(range(0, 40, 3))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_grid_neighbours_keep_their_distance(gaps: list[int]) -> None:
    at = [Fraction(sum(gaps[:i]), 1000) for i in range(len(gaps))]
    chosen = grid(at)
    assert chosen[0] == 0
    assert all(at[b] - at[a] >= fr.GRID_STEP for a, b in pairwise(chosen))
    for a, b in zip(chosen, (*chosen[1:], len(at)), strict=True):
        assert all(at[i] - at[a] < fr.GRID_STEP for i in range(a, b))


def test_range_and_depth_make_no_difference() -> None:
    """The same picture stored full or limited, in 8 or 10 bits, differs by rounding alone."""
    views = pan(360, 640, 3, count=5)
    made = [
        clip([codes(view, fmt) for view in views], fmt).luma8.astype(int)
        for fmt in (FULL, LIMITED, PictureFormat(10, True, Fraction(1)), PictureFormat(10, False, Fraction(1)))
    ]
    for other in made[1:]:
        assert np.abs(other - made[0]).max() <= 2


def test_pixel_shape_makes_no_difference() -> None:
    view = 0.2 + 0.6 * texture(480, 640, 2, sigma=6)
    stored = cv2.resize(view, (720, 480), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    square = clip([codes(view, FULL)], FULL)
    oblong = clip([codes(stored, FULL)], PictureFormat(8, True, Fraction(8, 9)))
    assert square.luma.shape == oblong.luma.shape
    assert np.abs(square.luma.astype(int) - oblong.luma).max() <= 3


def test_stride_makes_no_difference() -> None:
    y = codes(texture(241, 323, 1), LIMITED)
    padded = np.zeros((241, 384), np.uint8)
    padded[:, :323] = y
    assert np.array_equal(clip([y], LIMITED).luma, clip([padded[:, :323]], LIMITED).luma)


def test_defects() -> None:
    views = pan(480, 640, 12, count=3, sigma=8)
    first, second = (codes(v, LIMITED) for v in views[:2])
    woven = first.copy()
    woven[1::2] = second[1::2]
    assert reduce(picture(first, LIMITED), LIMITED).comb == 0
    assert reduce(picture(woven, LIMITED), LIMITED).comb > 0.05
    high = codes(views[0], PictureFormat(10, False, Fraction(1)))
    high[1::2] = codes(views[1], PictureFormat(10, False, Fraction(1)))[1::2]
    assert (
        reduce(picture(high, PictureFormat(10, False, Fraction(1))), PictureFormat(10, False, Fraction(1))).comb > 0.05
    )
    grain = np.random.default_rng(1).normal(128, 12, (480, 640)).clip(16, 235).astype(np.uint8)
    assert reduce(picture(grain, LIMITED), LIMITED).comb < 0.0005
    wide = first.copy()
    wide[:, :64] = 250
    assert reduce(picture(wide, LIMITED), LIMITED).clipped == pytest.approx(0.1)
    assert reduce(picture(wide, FULL), FULL).clipped == 0


def test_refusals() -> None:
    kept = reduce(picture(codes(texture(60, 80, 1), FULL), FULL), FULL)
    other = reduce(picture(codes(texture(60, 90, 1), FULL), FULL), FULL)
    with pytest.raises(ValueError, match="0 frames"):
        canonical([], [], FULL, brightest)
    with pytest.raises(ValueError, match="2 frames, 1 times"):
        canonical([kept, kept], [Fraction(0)], FULL, brightest)
    with pytest.raises(ValueError, match="rise"):
        canonical([kept, kept], [Fraction(1), Fraction(1)], FULL, brightest)
    with pytest.raises(ValueError, match=r"\(60, 80\), \(60, 90\)"):
        canonical([kept, other], times(2), FULL, brightest)
