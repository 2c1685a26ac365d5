"""The contract of every registered statistic, and the properties that levels rest on."""

import math
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlst.levels.levels import classify, read_levels
from mlst.pictures.frames import Frames, PictureFormat, shared
from mlst.records import Statistics
from mlst.statistics import audit, luma, measure, motion, statistic
from tests.mlst.pictures.pictures import FULL, LIMITED, clip, codes, pan, texture

P910 = read_levels("p910-240p-v1")
FLIPS_NEARLY = {"dct_energy", "dct_change", "flow_mean", "flow_median", "flow_p95", "flow_camera", "flow_residual"} | {
    f"camera_{name}" for name in ("x", "y", "zoom", "roll", "speed", "residual", "shake")
}
SIGNED = {"camera_x", "camera_y", "camera_zoom", "camera_roll"}
TURNED = {"camera_x", "camera_roll"}
"""Of opposite sign in a mirror."""


def moving(size: tuple[int, int] = (240, 426), step: float = 2.0, count: int = 10, sigma: float = 3.0) -> list[Any]:
    """Views (0.15..0.85) of a pan."""
    return [0.15 + 0.7 * view for view in pan(*size, step, count=count, sigma=sigma)]


def of(views: list[NDArray[Any]], fmt: PictureFormat = FULL, rate: int = 30) -> Statistics:
    return measure(clip([codes(v, fmt) for v in views], fmt, Fraction(rate)))


def blurred(views: list[NDArray[Any]], sigma: float) -> list[NDArray[Any]]:
    return [cv2.GaussianBlur(v, (0, 0), sigma) for v in views]


def resampled(views: list[NDArray[Any]], width: int, height: int) -> list[NDArray[Any]]:
    how = cv2.INTER_AREA if width < views[0].shape[1] else cv2.INTER_CUBIC
    return [cv2.resize(v, (width, height), interpolation=how).clip(0, 1) for v in views]


def test_one_statistic_per_field() -> None:
    assert set(statistic) == {f.name for f in fields(Statistics)}


@pytest.mark.parametrize("name", statistic)
def test_every_statistic_is_documented_and_returns_a_float(name: str) -> None:
    value = statistic[name](clip([codes(v, FULL) for v in moving(count=4)]))
    assert type(value) is float
    assert statistic[name].__doc__


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([8, 10, 12, 16]),
    st.booleans(),
    st.integers(4, 8),
    st.sampled_from(["noise", "black", "white", "above", "ramp"]),
    st.integers(0, 1000),
)
def test_everything_is_finite(
    height: int, width: int, depth: int, full: bool, count: int, kind: str, seed: int
) -> None:
    fmt = PictureFormat(depth, full, Fraction(1))
    top = (1 << depth) - 1
    rng = np.random.default_rng(seed)
    planes = {
        "noise": lambda: rng.integers(0, top + 1, (count, height, width)),
        "black": lambda: np.zeros((count, height, width), int),
        "white": lambda: np.full((count, height, width), fmt.nominal[1]),
        "above": lambda: np.full((count, height, width), top),
        "ramp": lambda: np.broadcast_to(np.linspace(0, top, width).astype(int), (count, height, width)),
    }[kind]()
    statistics = asdict(measure(clip(list(planes.astype(np.uint8 if depth == 8 else np.uint16)), fmt)))
    assert all(math.isfinite(v) for v in statistics.values())
    assert all(v >= 0 and math.copysign(1, v) > 0 for k, v in statistics.items() if k not in {"luma_mean", *SIGNED})


def test_black_white_and_still_are_level_0() -> None:
    for view in (np.zeros((240, 320)), np.ones((240, 320))):
        statistics = of([view] * 4)
        assert (statistics.si, statistics.ti10) == (0, 0)
        assert classify(statistics, P910).number == 1
    still = of([texture(240, 320, 1)] * 4)
    assert still.si > 0
    assert (still.ti, still.ti10, still.dct_change, still.frame_difference) == (0, 0, 0, 0)
    assert classify(still, P910).t == 0
    assert (still.freeze_ratio, still.duplicate_ratio) == (1, 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_short_for_the_grid(count: int) -> None:
    with pytest.raises(ValueError, match=rf"{count} frame\(s\) over 0.*longer"):
        of(moving(count=count))
    slow = of(moving(count=2), rate=10)
    assert slow.ti == slow.ti10 > 0


def test_measuring_is_repeatable_and_independent_of_order() -> None:
    a, b = (lambda: clip([codes(v, FULL) for v in moving()])), (lambda: clip([codes(v, FULL) for v in moving(step=5)]))
    first, second = measure(a()), measure(b())
    assert (measure(b()), measure(a())) == (second, first)
    frames = a()
    backwards = {name: statistic[name](frames) for name in reversed(list(statistic))}
    assert Statistics(**backwards) == first == measure(frames)


def test_what_statistics_share_is_computed_once_per_clip() -> None:
    computed = []
    once = shared(lambda frames: computed.append(frames) or len(computed))
    one, other = (clip([codes(v, FULL) for v in moving(count=4)]) for _ in "ab")
    assert [once(one), once(other), once(one), once(other)] == [1, 2, 1, 2]
    assert motion.flow(one) is motion.flow(one)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
@pytest.mark.parametrize("content", [1.0, 3.0, 8.0])
def test_blur_lowers_si(content: float, sigma: float) -> None:
    views = moving(sigma=content)
    sharp, soft = of(views), of(blurred(views, sigma))
    assert soft.si < sharp.si
    assert soft.si_pq < sharp.si_pq
    assert soft.gradient_mean < sharp.gradient_mean
    assert soft.dct_energy < sharp.dct_energy
    assert classify(soft, P910).s <= classify(sharp, P910).s


@pytest.mark.parametrize("step", [1.0, 4.0])
def test_averaging_frames_lowers_ti(step: float) -> None:
    views = moving(step=step, count=14)
    averaged = [np.mean(views[i : i + 4], axis=0) for i in range(10)]
    sharp, soft = of(views[:10]), of(averaged)
    assert soft.ti < sharp.ti
    assert soft.ti10 < sharp.ti10
    assert classify(soft, P910).t <= classify(sharp, P910).t


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0, 2.0])
def test_speeding_up_never_lowers_ti(step: float) -> None:
    """Frames dropped, time base kept."""
    views = moving(step=step, count=40, sigma=5)
    speeds = [of(views[::k][:10]) for k in (1, 2, 4)]
    assert speeds[0].ti10 < speeds[1].ti10 < speeds[2].ti10
    assert speeds[0].flow_mean < speeds[1].flow_mean < speeds[2].flow_mean
    assert [classify(s, P910).t for s in speeds] == sorted(classify(s, P910).t for s in speeds)


def near(statistics: Statistics, other: Statistics, share: float) -> None:
    for name in ("si", "si_pq", "ti", "ti10", "ti_pq", "gradient_mean", "dct_energy", "luma_mean", "luma_std"):
        assert getattr(other, name) == pytest.approx(getattr(statistics, name), rel=share), name
    assert classify(statistics, P910) == classify(other, P910)


@pytest.mark.parametrize("bars", [(0, 0, 0), (43, 43, 0), (0, 0, 90), (30, 31, 40)])
def test_letterbox_makes_no_difference(bars: tuple[int, int, int]) -> None:
    top, bottom, sides = bars
    views = moving((360, 640), count=4)
    padded = [
        np.pad(codes(v, LIMITED), ((top, bottom), (sides, sides)), constant_values=LIMITED.nominal[0]) for v in views
    ]
    near(of(views, LIMITED), measure(clip(padded, LIMITED)), 0.03)


def test_range_and_depth_make_no_difference() -> None:
    views = moving()
    for depth, full in ((8, False), (10, True), (10, False), (12, False)):
        near(of(views), of(views, PictureFormat(depth, full, Fraction(1))), 0.01)


@pytest.mark.parametrize("size", [(852, 480), (1280, 720), (1917, 1079)])
def test_size_makes_little_difference(size: tuple[int, int]) -> None:
    """Of content that is not finer than the canonical picture."""
    views = moving((480, 852), step=4, sigma=8, count=4)
    near(of(views), of(resampled(views, *size)), 0.02)


def test_frame_rate_makes_little_difference_on_the_grid() -> None:
    """60 and 30 frames per second of the same scene: the grid hits the same moments."""
    views = moving(step=1, count=19, sigma=5)
    fast, slow = of(views, rate=60), of(views[::2], rate=30)
    assert slow.ti > 1.7 * fast.ti
    assert slow.ti10 == fast.ti10
    assert slow.si == fast.si


def flipped(frames: Frames) -> Frames:
    return Frames(
        luma=np.ascontiguousarray(frames.luma[..., ::-1]),
        chroma=np.ascontiguousarray(frames.chroma[..., ::-1]),
        times=frames.times,
        format=frames.format,
        box=frames.box,
        scale=frames.scale,
        defects=frames.defects,
    )


def test_mirror_image() -> None:
    """Exactly equal on the mirrored canonical picture; flow and DCT blocks, which have a direction, nearly."""
    frames = clip([codes(v, LIMITED) for v in moving((360, 640), sigma=2)], LIMITED)
    one, other = asdict(measure(frames)), asdict(measure(flipped(frames)))
    assert {k: v for k, v in one.items() if k not in FLIPS_NEARLY} == {
        k: v for k, v in other.items() if k not in FLIPS_NEARLY
    }
    for name in FLIPS_NEARLY:
        sign = -1 if name in TURNED else 1
        assert sign * other[name] == pytest.approx(one[name], rel=0.05, abs=0.1), name


def test_mirrored_source() -> None:
    """From the mirrored source too, but for single codes where area averages round."""
    views = moving((360, 640), sigma=2, count=4)
    one, other = of(views), of([np.ascontiguousarray(v[:, ::-1]) for v in views])
    assert (other.si, other.ti, other.ti10) == pytest.approx((one.si, one.ti, one.ti10), rel=1e-4)


def test_luma_columns() -> None:
    planes = [np.random.default_rng(i).integers(0, 256, (240, 320)).astype(np.uint8) for i in range(4)]
    s = measure(clip(planes))
    grid = [p.astype(float) for p in (planes[0], planes[3])]
    assert s.luma_mean == pytest.approx(np.mean([p.mean() for p in grid]))
    assert s.luma_std == pytest.approx(np.mean([p.std() for p in grid]))
    assert (s.luma_p1, s.luma_p99) == tuple(np.percentile(np.stack(grid), [1, 99], method="inverted_cdf"))


@pytest.mark.parametrize("full", [True, False])
def test_colourfulness_equals_the_formula_on_rgb(full: bool) -> None:
    """Hasler and Suesstrunk's metric from RGB, made of Y'CbCr by the equations of BT.601."""
    fmt = PictureFormat(8, full, Fraction(1))
    rng = np.random.default_rng(1)
    chroma = rng.integers(60, 200, (2, 2, 60, 80)).astype(np.uint8)
    frames = clip([codes(texture(120, 160, 1), fmt)] * 4, fmt)
    frames = Frames(frames.luma, chroma, frames.times, fmt, frames.box, 1.0, frames.defects)
    values = []
    for u, v in chroma.astype(float):
        cb, cr = ((c - 128) / (255 if full else 224) for c in (u, v))
        y = 0.5
        r, g, b = 255 * (y + 1.402 * cr), 255 * (y - 0.344136 * cb - 0.714136 * cr), 255 * (y + 1.772 * cb)
        rg, yb = r - g, (r + g) / 2 - b
        values.append(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))
    assert luma.colourfulness(frames) == pytest.approx(np.mean(values), rel=1e-4)


def test_grey_has_no_colour_and_chroma_has() -> None:
    planes = [codes(texture(120, 160, 1), LIMITED)] * 4
    assert luma.colourfulness(clip(planes, LIMITED)) == 0
    assert luma.colourfulness(clip(planes, LIMITED, uv=(90, 200))) > 40


def test_black_frames_are_counted() -> None:
    black, view = np.zeros((240, 320)), texture(240, 320, 1)
    night = view * 0.05
    assert of([black, black, night, view]).black_ratio == 0.75


def test_repeats_are_counted() -> None:
    """Twice each frame: a rate raised by repetition."""
    views = moving(count=5)
    s = of([v for v in views for _ in range(2)])
    assert s.duplicate_ratio == s.freeze_ratio == pytest.approx(5 / 9)
    almost = [codes(views[0], FULL) for _ in range(6)]
    almost[3][100, 100] ^= 1
    frames = clip(almost)
    assert audit.duplicate_ratio(frames) == pytest.approx(3 / 5)
    assert audit.freeze_ratio(frames) == 1


@pytest.mark.parametrize(
    ("levels", "flashes"),
    [
        ((0, 0, 0, 1, 0, 0, 0), 1),
        ((0, 0, 1, 1, 1, 0, 0), 1),
        ((1, 1, 1, 0, 1, 1, 1), 1),
        ((0, 1, 0, 0, 1, 0, 0), 2),
        ((0, 0, 0, 1, 1, 1, 1), 0),
        ((0, 0.25, 0.5, 0.75, 1, 1, 1), 0),
        ((0, 0.5, 1, 1, 1, 1, 1), 0),
        ((0, 1, 1, 1, 1, 1, 1, 1, 1, 0), 0),
    ],
)
def test_flashes(levels: tuple[float, ...], flashes: int) -> None:
    view = texture(120, 160, 1) * 0.5
    assert of([view + 0.3 * level for level in levels]).flash_count == flashes


def test_combing_and_range_reach_the_columns() -> None:
    views = [codes(v, LIMITED) for v in moving((480, 640), step=10, sigma=8)]
    woven = [a.copy() for a in views[:-1]]
    for a, b in zip(woven, views[1:], strict=True):
        a[1::2] = b[1::2]
    assert measure(clip(views, LIMITED)).comb_ratio == 0
    assert measure(clip(woven, LIMITED)).comb_ratio > 0.02
    hot = [v.copy() for v in views]
    for v in hot:
        v[:, :320] = 250
    assert measure(clip(hot, LIMITED)).clipped_ratio == pytest.approx(0.5)
