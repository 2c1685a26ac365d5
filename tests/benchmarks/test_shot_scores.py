"""The evaluator against cases worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.shot_scores import Evaluation, Score, evaluate, gap, leaks, match
from mlst.records import Transition


def cut(at: int) -> Transition:
    return Transition("cut", at, at)


def dissolve(start: int, end: int) -> Transition:
    return Transition("dissolve", start, end)


@pytest.mark.parametrize(
    ("a", "b", "frames"),
    [
        (cut(10), cut(10), 0),
        (cut(10), cut(13), 3),
        (dissolve(10, 20), cut(15), 0),
        (dissolve(10, 20), cut(20), 0),
        (dissolve(10, 20), cut(22), 2),
        (dissolve(10, 20), dissolve(18, 30), 0),
        (dissolve(10, 20), dissolve(25, 30), 5),
    ],
)
def test_gap(a: Transition, b: Transition, frames: int) -> None:
    assert gap(a, b) == gap(b, a) == frames


def test_each_transition_counts_once() -> None:
    assert match([cut(10)], [cut(10), cut(11)], 1) == Score(1, 1, 0)
    assert match([cut(10), cut(11)], [cut(10)], 1) == Score(1, 0, 1)
    assert match([dissolve(10, 20)], [cut(10), cut(20)], 0) == Score(1, 1, 0)


def test_the_nearest_is_taken_first() -> None:
    assert match([cut(10), cut(12)], [cut(12), cut(14)], 2) == Score(1, 1, 1)
    assert match([cut(10), cut(12)], [cut(11), cut(13)], 1) == Score(2, 0, 0)


@pytest.mark.parametrize(("tolerance", "hits"), [(0, 1), (1, 2), (2, 3)])
def test_tolerance(tolerance: int, hits: int) -> None:
    found = [cut(10), cut(51), cut(98)]
    assert match([cut(10), cut(50), cut(100)], found, tolerance) == Score(hits, 3 - hits, 3 - hits)


def test_kinds_are_scored_apart_and_together() -> None:
    truth = [cut(10), dissolve(50, 60), Transition("fade", 90, 110)]
    found = [cut(10), cut(55), Transition("fade", 85, 105), cut(200)]
    e = evaluate(truth, found, frames=400, tolerance=0)
    assert e.overall == Score(3, 1, 0)
    assert (e.cut, e.dissolve, e.fade) == (Score(1, 2, 0), Score(0, 0, 1), Score(1, 0, 0))
    assert e.gradual.recall == 1
    assert e.false_per_1000 == 2.5


def test_leaks_are_gradual_frames_outside_every_transition_and_its_margin() -> None:
    assert leaks([dissolve(50, 60), cut(10)], [cut(55)], margin=2) == (10, 6)
    assert leaks([dissolve(50, 60)], [dissolve(52, 58)], margin=2) == (10, 0)
    assert leaks([], [cut(3)], margin=2) == (0, 0)


def test_rates() -> None:
    assert (Score(8, 2, 8).precision, Score(8, 2, 8).recall) == (0.8, 0.5)
    assert Score(8, 2, 8).f1 == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    assert (Score().precision, Score().recall, Score().f1) == (1, 1, 1)


cuts = st.lists(st.integers(0, 60), unique=True, max_size=12).map(lambda at: [cut(i) for i in sorted(at)])


@given(truth=cuts, found=cuts, tolerance=st.integers(0, 3))
def test_properties(truth: list[Transition], found: list[Transition], tolerance: int) -> None:
    score = match(truth, found, tolerance)
    assert score.hits + score.missed == len(truth)
    assert score.hits + score.false == len(found)
    assert match(truth, truth, tolerance) == Score(len(truth), 0, 0)
    mirrored = match(found, truth, tolerance)
    assert (mirrored.hits, mirrored.false, mirrored.missed) == (score.hits, score.missed, score.false)
    both = evaluate(truth, found, 61, tolerance) + evaluate(found, truth, 61, tolerance)
    assert both.overall == score + mirrored
    assert both + Evaluation() == both
