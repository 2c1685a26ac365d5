"""Bars and what only looks like bars, under the rule `edges`; `tests/barred.py` has clips through real codecs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.bars import EARLY, SLACK, Tally, decoded, judge, sides
from mlst.pictures import bars
from mlst.pictures.bars import ACTIVE_SHARE, edges
from mlst.pictures.frames import Area, PictureFormat, reduce
from tests.barred import HOLD_OUT, LETTER, NONE, PILLAR, TOP, TUNING, UNEVEN, WINDOW, Case
from tests.mlst.pictures.pictures import FULL, LIMITED, codes, picture, texture

CASES = {case.name: case for case in (*TUNING, *HOLD_OUT)}


def found(planes: list[NDArray[Any]], fmt: PictureFormat = LIMITED) -> Area:
    return edges([reduce(picture(y, fmt), fmt) for y in planes], fmt)


def scene(height: int = 360, width: int = 640, seed: int = 0, fmt: PictureFormat = LIMITED) -> NDArray[Any]:
    return codes(0.2 + 0.6 * texture(height, width, seed), fmt)


def padded(y: NDArray[Any], left: int, top: int, right: int, bottom: int, black: int = 16) -> NDArray[Any]:
    return np.pad(y, ((top, bottom), (left, right)), constant_values=black)


@pytest.mark.parametrize(
    "bars",
    [(0, 60, 0, 60), (80, 0, 80, 0), (50, 40, 50, 40), (0, 63, 0, 58), (0, 2, 0, 2), (0, 50, 0, 0), (0, 0, 120, 0)],
)
@pytest.mark.parametrize("fmt", [LIMITED, FULL, PictureFormat(10, False, LIMITED.sar)], ids=["limited", "full", "10"])
def test_bars_are_cut_at_their_edge(bars: tuple[int, int, int, int], fmt: PictureFormat) -> None:
    planes = [padded(scene(seed=i, fmt=fmt), *bars, black=fmt.nominal[0]) for i in range(3)]
    height, width = planes[0].shape
    area = found(planes, fmt)
    cut = np.array([area.left, area.top, width - area.right, height - area.bottom])
    side = np.array([width, height, width, height])
    assert ((cut > 0) == (np.array(bars) > 0)).all()
    assert (cut >= bars).all()
    assert (cut - bars <= np.maximum(2, SLACK * side)).all()


def test_ringing_in_a_bar_is_no_picture() -> None:
    """What defeats the brightest sample: a flicker of 25 codes beside the edge."""
    rng = np.random.default_rng(0)
    planes = [padded(scene(seed=i), 0, 60, 0, 60) for i in range(12)]
    for y in planes:
        for row, swing in ((52, 8), (58, 25), (422, 25), (430, 8)):
            y[row] += rng.integers(0, swing + 1, y.shape[1]).astype(np.uint8) * (rng.random(y.shape[1]) < 0.2)
    assert found(planes) == found([padded(scene(seed=i), 0, 60, 0, 60) for i in range(12)])


@pytest.mark.parametrize("place", ["above", "across"])
def test_a_night_is_no_bar(place: str) -> None:
    """Lights that stand at ragged heights, and a lamp, before black."""
    night = np.full((360, 640), 16, np.uint8)
    if place == "above":
        for x, height in enumerate(np.random.default_rng(1).integers(60, 200, 64)):
            night[360 - height :, 10 * x : 10 * x + 10] = 120
    else:
        night[150:210, 300:340] = 200
    assert found([night] * 3) == Area(0, 0, 640, 360)


def test_what_is_all_dark_or_tiny_is_whole() -> None:
    assert found([np.full((90, 120), 16, np.uint8)]) == Area(0, 0, 120, 90)
    assert found([np.full((1, 1), 200, np.uint8)]) == Area(0, 0, 1, 1)
    assert found([np.full((2, 700), 16, np.uint8)]) == Area(0, 0, 700, 2)


def test_a_frame_in_the_dark_shows_no_edge() -> None:
    """A scene that comes out of black has the bars of its bright frames."""
    bright = [padded(scene(seed=i), 0, 60, 0, 60) for i in range(4)]
    black = [np.full_like(bright[0], 16)] * 8
    assert found(black + bright) == found(bright)


@pytest.mark.parametrize("depth", [8, 12, 16])
def test_frames_are_ranked_and_added_exactly(depth: int) -> None:
    largest, rng = (1 << depth) - 1, np.random.default_rng(depth)
    dtype = np.uint8 if depth == 8 else np.uint16
    frames = [(largest - rng.integers(0, 3, (240, 427))).astype(dtype) for _ in range(12)]
    expected = sorted(frames, key=lambda frame: frame.sum(dtype=np.int64))[6:]
    assert all(a is b for a, b in zip(bars._bright(frames), expected, strict=True))
    assert np.array_equal(bars._sum(frames), np.sum(frames, axis=0, dtype=np.int64))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([8, 10]))
@settings(deadline=None, max_examples=60)
def test_any_picture_has_an_area_and_its_mirror_image_the_mirrored_one(h: int, w: int, seed: int, depth: int) -> None:
    fmt = PictureFormat(depth, False, LIMITED.sar)
    rng = np.random.default_rng(seed)
    y = np.full((h, w), 16 << (depth - 8), np.uint8 if depth == 8 else np.uint16)
    top, left = rng.integers(0, h), rng.integers(0, w)
    y[top : top + rng.integers(1, h + 1), left : left + rng.integers(1, w + 1)] = rng.integers(17, 235) << (depth - 8)
    area = found([y, y], fmt)
    assert 0 <= area.left < area.right <= w
    assert 0 <= area.top < area.bottom <= h
    assert area.right - area.left >= ACTIVE_SHARE**2 * w
    mirrored = found([np.ascontiguousarray(y[::-1, ::-1])] * 2, fmt)
    assert mirrored == Area(w - area.right, h - area.bottom, w - area.left, h - area.top)


@pytest.mark.parametrize(
    "name",
    [
        "signer, subtitles in the bar",
        "signer, bar at the left",
        "water, letterbox, small",
        "stars, low rate",
        "vignette",
    ],
)
def test_through_a_codec(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    frames, fmt, _ = decoded(case.write(tmp_path / "case.mkv"))
    assert judge(case, sides("edges", frames, fmt), Tally())


def test_cases_are_of_all_kinds_and_of_other_scenes() -> None:
    every = (*TUNING, *HOLD_OUT)
    assert len({case.name for case in every}) == len(every) >= 40
    assert {LETTER, PILLAR, WINDOW, TOP, UNEVEN, NONE} <= {case.bars for case in HOLD_OUT}
    assert not {id(case.paint) for case in TUNING} & {id(case.paint) for case in HOLD_OUT}


def test_a_cut_is_judged_by_where_it_is() -> None:
    case = Case("", lambda *_: np.zeros(0, np.uint8), (0, 0.1, 0, 0), "h264")
    for cut, right in ((0.1, True), (0.099 + SLACK, True), (0.1 - 2 * EARLY, False), (0.2, False), (0.0, False)):
        assert judge(case, (0, cut, 0, 0), Tally()) == right
    assert not judge(case, (0, 0.1, 0.1, 0), Tally())
