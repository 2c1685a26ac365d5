"""Thresholds, classification, margins, calibration, flags."""

import hashlib
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlst.levels.calibration import LEAST_SHOTS, calibrate, fitted, quantile
from mlst.levels.flags import flag, flags
from mlst.levels.levels import (
    DEFAULT,
    LEVELS,
    ActivePicture,
    Cuts,
    Level,
    Levels,
    classify,
    find_levels,
    margin,
    margins,
    read_levels,
    rendered,
    step,
    write_levels,
)
from mlst.pictures.bars import active_picture
from mlst.records import Statistics

ZERO = Statistics(**dict.fromkeys((f.name for f in fields(Statistics)), 0.0))
MIDDLE = replace(ZERO, si=86.0, ti10=18.2, dct_energy=60.0, flow_mean=10.0, scale=0.5, comb_ratio=0.0)
V1 = "p910-240p-v1"
P910 = read_levels(V1)
TEXT = find_levels(V1, Path()).read_text(encoding="utf-8")


def corpus(shots: int, per_shot: int = 2, seed: int = 0) -> tuple[list[Statistics], list[str]]:
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(size=(shots, 4)) * (0.4, 0.9, 0.5, 0.9) + (4.2, 2.5, 3.6, 1.5))
    measured = [
        replace(ZERO, si=v[0], ti10=v[1], dct_energy=v[2], flow_mean=v[3])
        for v in values.tolist()
        for _ in range(per_shot)
    ]
    return measured, [f"shot{i}" for i in range(shots) for _ in range(per_shot)]


def cuts_of(levels: Levels) -> dict[str, Cuts]:
    return {name: cuts for a in (levels.s, levels.t) for name, cuts in ((a.column, a.cuts), (a.second, a.second_cuts))}


def test_nine_levels() -> None:
    assert [level.number for level in LEVELS] == list(range(1, 10))
    assert Level(0, 2).number == 7
    assert (Level(0, 2).name, Level(0, 2).label) == ("s0t2", "S0T2")
    assert len({level.name for level in LEVELS}) == 9


def test_default_thresholds() -> None:
    assert (P910.id, P910.s.cuts, P910.t.cuts) == (V1, (71.2, 103.9), (13.5, 24.5))
    assert P910.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert "c.6764328" in P910.provenance.corpus


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (71.199, 0), (71.2, 1), (103.899, 1), (103.9, 2), (math.inf, 2)]
)
def test_steps_are_half_open(value: float, expected: int) -> None:
    assert step(value, P910.s.cuts) == expected


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_classify_looks_at_si_and_ti10_alone(si: float, ti10: float) -> None:
    statistics = replace(MIDDLE, si=si, ti10=ti10)
    level = classify(statistics, P910)
    assert level == Level(step(si, P910.s.cuts), step(ti10, P910.t.cuts))
    assert level == classify(replace(ZERO, si=si, ti10=ti10), P910)


@given(st.floats(0, 1e6))
def test_margin(value: float) -> None:
    found = margin(value, P910.s.cuts)
    assert math.isfinite(found)
    assert found >= 0
    if value > 1:
        assert margin(103.9 * 71.2 / value, P910.s.cuts) == pytest.approx(found, rel=1e-6, abs=1e-9)


def test_margin_is_to_the_nearest_cut() -> None:
    assert margin(71.2, P910.s.cuts) == 0
    assert margin(71.2 * 1.1, P910.s.cuts) == pytest.approx(math.log(1.1))
    assert margin(103.9 / 1.05, P910.s.cuts) == pytest.approx(math.log(1.05))
    assert margins(replace(ZERO, si=71.2, ti10=24.5), P910) == (0, 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, set()),
        ({"black_ratio": 0.5}, {"black"}),
        ({"freeze_ratio": 0.9}, {"frozen"}),
        ({"freeze_ratio": 0.89}, set()),
        ({"ti10": 0.99, "flow_mean": 0.0}, {"static"}),
        ({"duplicate_ratio": 0.2}, {"stutter"}),
        ({"flash_count": 1.0}, {"flash"}),
        ({"comb_ratio": 0.0005}, {"interlaced"}),
        ({"scale": 1.01}, {"low_resolution"}),
        ({"scale": 1.0}, set()),
        ({"si": 71.2 * 1.09}, {"borderline", "borderline_s"}),
        ({"si": 71.2 / 1.09}, {"borderline", "borderline_s"}),
        ({"si": 71.2 / 1.11}, set()),
        ({"ti10": 24.5 * 1.19}, {"borderline", "borderline_t"}),
        ({"ti10": 24.5 * 1.21}, set()),
        ({"si": 200.0, "dct_energy": 1.0}, {"spatial_disagree"}),
        ({"si": 200.0, "dct_energy": 60.0}, set()),
        ({"ti10": 50.0, "flow_mean": 0.1}, {"temporal_disagree"}),
        ({"ti10": 5.0, "flow_mean": 40.0}, {"temporal_disagree"}),
    ],
)
def test_flags(change: dict[str, float], expected: set[str]) -> None:
    assert set(flags(replace(MIDDLE, **change), P910)) == expected


def test_flags_are_sorted_and_cover_what_recipes_name() -> None:
    everything = replace(MIDDLE, black_ratio=1.0, freeze_ratio=1.0, ti10=0.1, scale=2.0, comb_ratio=1.0, si=71.2)
    names = flags(everything, P910)
    assert list(names) == sorted(names)
    assert {"black", "frozen", "static", "borderline", "low_resolution", "interlaced"} <= set(names)
    assert all(flag[name].__doc__ for name in flag)


def test_written_thresholds_are_read_again(tmp_path: Path) -> None:
    levels = calibrate(*corpus(310), P910, id="mine-1", corpus='Mine, "v1" (Süd)', corpus_sha256="a" * 64)
    write_levels(levels, tmp_path / "a.toml")
    again = read_levels(tmp_path / "a.toml")
    assert again == levels
    write_levels(again, tmp_path / "b.toml")
    assert (tmp_path / "a.toml").read_bytes() == (tmp_path / "b.toml").read_bytes()


def test_found_by_path_or_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TEXT, encoding="utf-8")
    assert find_levels("mine.toml", tmp_path) == tmp_path / "mine.toml"
    assert read_levels(find_levels(V1, tmp_path)) == P910
    with pytest.raises(ValueError, match=r"'p910'.*not one of mlst-240p-v2, p910-240p-v1"):
        find_levels("p910", tmp_path)
    with pytest.raises(ValueError, match="no such thresholds file"):
        read_levels(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[cuts]", "[cut]", "cut = "),
        ("si = [71.2, 103.9]", "si = [71.2]", r"cuts\.si"),
        ("si = [71.2, 103.9]", "si = [103.9, 71.2]", "si must rise, got 103.9 and 71.2"),
        ("si = [71.2, 103.9]", "si = [-1.0, 103.9]", r"cuts\.si\.0 = -1"),
        ("si = [71.2, 103.9]", 'si = ["71.2", 103.9]', r"cuts\.si\.0 = '71.2'"),
        ("si = [71.2, 103.9]", "si = [71.2, inf]", r"cuts\.si\.1 = inf"),
        (
            "si = [71.2, 103.9]",
            "",
            "cuts are of dct_energy, flow_mean, ti10, but .*`mlst calibrate`",
        ),
        ("[cuts]", '[decides]\ns = "gradient_mean"\nt = "ti10"\n[cuts]', "what the file names is .*gradient_mean"),
        ("[cuts]", '[decides]\ns = "texture"\nt = "ti10"\n[cuts]', r"decides\.s = 'texture'"),
        ("shots = 3929", "shots = 3929\nfps = 24", r"provenance\.fps = 24"),
        ("shots = 3929", "shots = 39.5", r"provenance\.shots = 39.5"),
        ('corpus_sha256 = ""', 'corpus_sha256 = "abc"', r"provenance\.corpus_sha256 = 'abc'"),
        ('id = "p910-240p-v1"', 'id = "../x"', "id = "),
        ("[cuts]", "[cuts", "not TOML"),
    ],
)
def test_bad_files_are_refused_by_name_and_value(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as refusal:
        read_levels(path)
    assert str(path) in str(refusal.value)


def test_calibrated_cuts_are_the_quantiles() -> None:
    measured, shots = corpus(900)
    levels = calibrate(measured, shots, P910, id="x", corpus="x", corpus_sha256="")
    for name in ("si", "ti10", "dct_energy", "flow_mean"):
        expected = np.quantile([getattr(s, name) for s in measured], [1 / 3, 2 / 3])
        assert cuts_of(levels)[name] == pytest.approx(tuple(expected), rel=1e-5)
    counts = np.bincount([classify(s, levels).s for s in measured])
    assert np.abs(counts - 600).max() <= 2
    narrow = calibrate(measured, shots, P910, id="x", corpus="x", corpus_sha256="", quantiles=(0.4, 0.6))
    assert levels.s.cuts[0] < narrow.s.cuts[0] < narrow.s.cuts[1] < levels.s.cuts[1]


def test_intervals_cover_the_truth_and_count_shots() -> None:
    """Repeating every clip of a shot adds no knowledge: the interval stays, a bootstrap over clips would shrink it."""
    once, often = (calibrate(*corpus(400, n), P910, id="x", corpus="x", corpus_sha256="").provenance for n in (1, 8))
    truth = tuple(math.exp(4.2 + 0.4 * z) for z in (-0.4307, 0.4307))
    widths = []
    for provenance in (once, often):
        assert all(low < t < high for (low, high), t in zip(provenance.intervals["si"], truth, strict=True))
        widths.append([math.log(high / low) for low, high in provenance.intervals["si"]])
    assert widths[1] == pytest.approx(widths[0], rel=0.2)
    assert (once.clips, once.shots, often.clips, often.shots) == (400, 400, 3200, 400)


def test_calibration_is_deterministic_and_does_not_depend_on_order() -> None:
    measured, shots = corpus(320)
    one = calibrate(measured, shots, P910, id="x", corpus="x", corpus_sha256="")
    other = calibrate(measured[::-1], shots[::-1], P910, id="x", corpus="x", corpus_sha256="")
    assert one == other


def test_calibration_refusals() -> None:
    measured, shots = corpus(LEAST_SHOTS - 1, 4)
    with pytest.raises(ValueError, match=r"at least 300 shots, 'mine' has 299.*mlst-240p-v2"):
        calibrate(measured, shots, P910, id="x", corpus="mine", corpus_sha256="")
    with pytest.raises(ValueError, match="'mine' has 0"):
        calibrate([], [], P910, id="x", corpus="mine", corpus_sha256="")
    with pytest.raises(ValueError, match="2 clips, 1 groups"):
        fitted(P910, measured[:2], shots[:1], np.ones(2))
    measured, shots = corpus(LEAST_SHOTS)
    with pytest.raises(ValueError, match=r"\(0.6, 0.4\)"):
        calibrate(measured, shots, P910, id="x", corpus="mine", corpus_sha256="", quantiles=(0.6, 0.4))
    with pytest.raises(ValueError, match="ti10 of 'mine'"):
        calibrate(
            [replace(s, ti10=0.0) for s in measured],
            shots,
            P910,
            id="x",
            corpus="mine",
            corpus_sha256="",
        )


def test_a_definition_names_a_rule_of_the_active_picture(tmp_path: Path) -> None:
    assert set(get_args(ActivePicture)) == set(active_picture)
    path = tmp_path / "a.toml"
    path.write_text('active_picture = "none"\n' + TEXT, encoding="utf-8")
    with pytest.raises(ValueError, match="active_picture"):
        read_levels(path)


def test_a_definition_decides_by_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    names = (
        '[decides]\ns = "dct_energy"\nt = "flow_mean"\n[second]\ns = "si"\nt = "ti10"\n[margins]\ns = 0.5\nt = 0.2\n'
    )
    path.write_text(TEXT.replace("[cuts]", f"{names}[cuts]"), encoding="utf-8")
    levels = read_levels(path)
    clip = replace(MIDDLE, dct_energy=75.0, flow_mean=5.4, si=1.0)
    assert classify(clip, levels) == Level(2, 0)
    assert margins(clip, levels) == (0, pytest.approx(math.log(5.5 / 5.4)))
    assert {"borderline_s", "spatial_disagree"} <= set(flags(clip, levels))
    assert "borderline_s" in flags(replace(clip, dct_energy=75 * 1.49), levels)
    assert "borderline_s" not in flags(replace(clip, dct_energy=75 * 1.51), levels)
    refitted = calibrate(*corpus(310), levels, id="x", corpus="x", corpus_sha256="")
    assert (refitted.s.column, refitted.s.margin) == ("dct_energy", levels.s.margin)
    assert set(refitted.provenance.intervals) == {"dct_energy", "flow_mean"}


def test_weights_count_as_copies() -> None:
    measured, groups = corpus(60, 1)
    heavy = np.array([1.0 + n % 3 for n in range(60)])
    copies = [n for n in range(60) for _ in range(1 + n % 3)]
    one = fitted(P910, measured, groups, heavy)
    values = np.array([measured[n].si for n in copies])
    assert one.s.cuts == pytest.approx(np.quantile(values, [1 / 3, 2 / 3], method="inverted_cdf"), rel=1e-5)
    assert quantile(np.arange(4.0), np.ones(4), [0.5]).tolist() == [1.5]


def test_files_from_before_statistics_were_named_keep_their_intervals(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text(TEXT.replace("si_interval = []", "si_interval = [[70.0, 72.0], [100.0, 105.0]]"), encoding="utf-8")
    assert read_levels(path).provenance.intervals == {"si": ((70.0, 72.0), (100.0, 105.0))}


def test_the_second_definition_is_as_it_was_fitted() -> None:
    path = find_levels(DEFAULT, Path())
    levels = read_levels(path)
    assert rendered(levels).encode() == path.read_bytes()
    assert (levels.s.column, levels.t.column, levels.active_picture) == ("dct_energy", "ti10", "edges")
    for axis in (levels.s, levels.t):
        for cut, (low, high) in zip(axis.cuts, levels.provenance.intervals[axis.column], strict=True):
            assert low < cut < high
    assert len(levels.provenance.sources) == 24
    assert all("https://github.com/" in source and "/work" not in source for source in levels.provenance.sources)
