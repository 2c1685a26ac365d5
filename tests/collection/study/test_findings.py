"""What a study concludes, from measurements that are made up so that the answer is known."""

from dataclasses import fields, replace
from fractions import Fraction

import pytest

from collection.study.bits import Costs
from collection.study.findings import Seen, Study, find
from collection.study.pieces import Piece, sample
from collection.study.renditions import Remade, Remakes
from collection.study.sweeps import Swept
from mlst.levels.levels import read_levels
from mlst.records import STATISTICS, Statistics

ZERO = Statistics(**dict.fromkeys((f.name for f in fields(Statistics)), 0.0))
P910 = read_levels("p910-240p-v1")
COUNT = 30


def statistics(n: int) -> Statistics:
    """SI does not rise with `n`, the gradient does, and TI does."""
    return replace(ZERO, si=20.0 + 97 * n % 150, gradient_mean=1.0 + n, ti10=1.0 + n, scale=0.5)


def piece(n: int, group: str) -> Piece:
    return Piece(f"{group}_{n:09d}", group, "a.mp4", 0, 1, True, Fraction(n), 30, 1, statistics(n))


PIECES = [piece(n, f"g{n // 3}") for n in range(COUNT)]


def seen(move: float) -> Seen:
    costs = [Costs(p.key, p.group, n + 1.0, n + 1.0, n + 1.0, n + 1.0, 1e-4 * (n + 1)) for n, p in enumerate(PIECES)]
    remakes = [
        Remakes(p.key, p.group, p.statistics, (Remade("moved", replace(p.statistics, si=p.statistics.si * move)),))
        for p in PIECES
    ]
    scores = {"mse of a model": {p.key: -float(n) for n, p in enumerate(PIECES[:9])}}
    rising = Swept(
        "sweep", "codes", (0.0, 1.0), "s", (replace(ZERO, si=2.0), replace(ZERO, si=1.0, gradient_mean=1.0))
    )
    return Seen(PIECES, costs, remakes, [rising], scores)


@pytest.fixture(scope="module")
def study() -> Study:
    return find("here", P910, seen(1.05))


def test_columns_are_judged_by_the_yardsticks(study: Study) -> None:
    by_name = {column.name: column for column in study.columns}
    perfect = by_name["gradient_mean"].of("intra bits, 256 x 256")
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx((1, 1, 1))
    assert abs(by_name["si"].of("intra bits, 256 x 256").value) < 0.3
    assert by_name["gradient_mean"].of("mse of a model").value == pytest.approx(-1)
    assert (by_name["ti10"].crossings, by_name["gradient_mean"].flips) == (0, 0)
    assert 0 < by_name["si"].crossings < 0.3
    assert ("s", "gradient_mean") in study.better
    assert not [column for axis, column in study.better if axis == "t"]


def test_flips_are_counted_by_axis_rendition_and_distance(study: Study) -> None:
    s, t = study.stability
    crossing = sum(any(p.statistics.si < cut <= p.statistics.si * 1.05 for cut in (71.2, 103.9)) for p in PIECES)
    assert crossing > 0
    assert s.flips.value == pytest.approx(crossing / COUNT)
    assert t.flips.value == 0
    assert sum(map(sum, s.confusion)) == COUNT
    assert sum(s.confusion[n][n] for n in range(3)) == COUNT - crossing
    assert sum(band.flips * band.renditions for band in s.bands) == pytest.approx(crossing)
    assert s.bands[0].flips == 1 or s.bands[1].flips < s.bands[0].flips
    assert (s.kept.value, s.margin) == (1, 10)
    (row,) = study.renditions
    assert (row.s, row.t, row.either) == pytest.approx((crossing / COUNT, 0, crossing / COUNT))


def test_levels_are_counted_and_explain_the_error(study: Study) -> None:
    assert sum(share.clips for share in study.levels) == COUNT
    assert sum(share.share_by_group for share in study.levels) == pytest.approx(1)
    explained = {one.labels: one.share for one in study.explained}
    assert explained["t"] > 0.5 > explained["s"]
    assert explained["all nine"] >= explained["t"]


def test_sweeps_say_which_columns_rise(study: Study) -> None:
    rises = {rise.column: rise.monotone for rise in study.sweeps[0].columns}
    assert rises["gradient_mean"]
    assert not rises["si"]


def test_columns_that_not_every_clip_has_are_left_out() -> None:
    older = [replace(one, statistics=replace(one.statistics, camera_x=None)) for one in PIECES]
    names = {column.name for column in find("here", P910, replace(seen(1.0), pieces=older)).columns}
    assert names == set(STATISTICS) - {"camera_x"}


def test_a_sample_takes_turns() -> None:
    many = [*PIECES, *(piece(1000 + n, "film") for n in range(100))]
    chosen = sample(many, 22)
    groups = [one.group for one in chosen]
    assert len(chosen) == 22
    assert {groups.count(group) for group in set(groups)} == {2}
    assert sample(many, 1000) == sorted(many, key=lambda one: one.key)
    assert sample(many[::-1], 22) == chosen
