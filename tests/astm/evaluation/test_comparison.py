"""Paired comparisons against SciPy on independent clips, hand-made videos, and simulated truth."""

import json

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from astm.cli.commands import app
from astm.evaluation.clip_scores import FILE, ClipScores, labelled, read_clip_scores, write_clip_scores
from astm.evaluation.comparison import RESAMPLES, bootstrap_t, by_video, compare, interval, student
from astm.results import EvaluationError
from benchmarks.intervals import coverage, paired


def scores(label, values, metric="mse_sum", videos=None, levels=None, fingerprint="f"):
    keys = tuple(f"k{i:03d}" for i in range(len(values)))
    levels = levels or ("all",) * len(keys)
    return ClipScores(
        label, fingerprint, keys, tuple(videos or keys), tuple(levels), {metric: np.array(values, float)}
    )


def turned(given):
    """The same clips in another order."""
    values = {name: column[::-1] for name, column in given.values.items()}
    return ClipScores(given.label, "f", given.keys[::-1], given.videos[::-1], given.levels[::-1], values)


def test_independent_clips_have_students_interval():
    values = np.random.default_rng(0).normal(3, 2, 12)
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert student(*by_video(values, np.arange(12).astype(str))) == pytest.approx(expected)


def test_independent_clips_have_the_bootstrap_of_their_t():
    """Resample by resample with SciPy's standard error; Hesterberg's tail for n = 10 is 0.86 %, not 2.5 %."""
    values = np.random.default_rng(7).lognormal(0, 1, 10)
    drawn = values[np.random.default_rng(0).integers(10, size=(RESAMPLES, 10))]
    t = [(sample.mean() - values.mean()) / stats.sem(sample) for sample in drawn]
    tail = stats.norm.cdf(-np.sqrt(10 / 9) * 2.262157)
    assert tail == pytest.approx(0.0086, abs=5e-5)
    low, high = values.mean() - np.quantile(t, [1 - tail, tail]) * stats.sem(values)
    assert bootstrap_t(*by_video(values, np.arange(10).astype(str))) == pytest.approx((low, high))


def test_copies_of_a_clip_in_its_video_say_nothing_new():
    values = np.random.default_rng(1).lognormal(0, 1, 10)
    videos = np.array(list("abcdefghij"))
    once = interval(values, videos)
    assert interval(values.repeat(3), videos.repeat(3)) == pytest.approx(once)
    alone = interval(values.repeat(3), np.arange(30).astype(str))
    assert alone[1] - alone[0] < 0.7 * (once[1] - once[0]), "as if they were independent"


def test_the_interval_holds_both():
    values, videos = np.random.default_rng(2).lognormal(0, 1, 10), np.arange(10).astype(str)
    parts = [method(*by_video(values, videos)) for method in (student, bootstrap_t)]
    assert interval(values, videos) == (min(low for low, _ in parts), max(high for _, high in parts))
    assert parts[1][1] > parts[0][1], "the bootstrap follows the skew"
    assert interval(values, videos) == interval(values, videos)


@pytest.mark.parametrize("count", [2, 5])
def test_equal_values_have_no_width(count):
    assert interval(np.full(count, 2.0), np.arange(count).astype(str)) == pytest.approx((2, 2))


def test_two_videos():
    low, high = interval(np.array([1.0, 2.0]), np.array(["a", "b"]))
    assert low < 1
    assert high > 2


@pytest.mark.parametrize(("metric", "winner"), [("mse_sum", "a"), ("ssim_wang", "b")])
def test_clips_are_paired_by_key(metric, winner):
    base = np.random.default_rng(3).lognormal(0, 1, 20)
    (found,) = compare(scores("a", base, metric), turned(scores("b", base + 1, metric)))
    assert (found.clips, found.videos, found.better) == (20, 20, winner)
    assert (found.difference, found.low, found.high) == pytest.approx((-1, -1, -1))
    (back,) = compare(scores("b", base + 1, metric), scores("a", base, metric))
    assert (back.difference, back.better) == (pytest.approx(1), winner)


@pytest.mark.parametrize(("metric", "most"), [("ssim_wang", 1.0), ("mse_mean", 1.0), ("psnr_u8", 100.0)])
def test_an_interval_ends_where_two_values_of_the_metric_differ_most(metric, most):
    """Two videos have the widest: Student's t of one degree of freedom is 12.7."""
    (found,) = compare(scores("a", [most, 0], metric), scores("b", [0, most], metric))
    reach = 2.0 if metric == "ssim_wang" else most
    assert (found.low, found.high) == (-reach, reach)
    (free,) = compare(scores("a", [most, 0], "mse_sum"), scores("b", [0, most], "mse_sum"))
    assert free.low < -10 * most


def test_what_is_not_decided():
    values = np.random.default_rng(4).normal(0, 1, (2, 20))
    (found,) = compare(scores("a", values[0]), scores("b", values[1]))
    assert found.low < 0 < found.high
    assert found.better == ""


def test_levels_of_one_video_are_left_out():
    videos, levels = ["v", "w", "v", "w", "x", "x"], ["s0t0"] * 4 + ["s2t2"] * 2
    pair = [scores(label, np.arange(6) * k, videos=videos, levels=levels) for label, k in (("a", 1), ("b", 2))]
    assert [(d.level, d.clips, d.videos, d.difference) for d in compare(*pair)] == [
        ("all", 6, 3, -2.5),
        ("s0t0", 4, 2, -1.5),
    ]


def test_refusals():
    a = scores("a", [1, 2, 3])
    with pytest.raises(
        EvaluationError, match=r"a \(3 clips of f\) and b \(2 clips of f\) were not scored on the same"
    ):
        compare(a, scores("b", [1, 2]))
    with pytest.raises(EvaluationError, match="not scored on the same clips"):
        compare(a, scores("b", [1, 2, 3], fingerprint="g"))
    with pytest.raises(EvaluationError, match="no metric in common"):
        compare(a, scores("b", [1, 2, 3], metric="mae_sum"))
    with pytest.raises(EvaluationError, match="2 clips are all of one video"):
        compare(*(scores(label, [1, 2], videos=["v", "v"]) for label in "ab"))


def test_coverage():
    """At least 93 % of 95 % on differences of lognormal scores, give or take the 200 runs' three standard errors."""
    held, width = coverage(paired, 10, 1, 0.5, 200)
    assert held["both"] > 0.93 - 0.046
    assert width > 1


def test_scores_come_back(tmp_path):
    models = [scores("a", [1, 2]), scores("b", [3, 4], metric="mae_sum")]
    write_clip_scores(tmp_path / FILE, models)
    found = read_clip_scores(tmp_path / FILE)
    assert [(m.label, m.keys, m.videos, m.levels) for m in found] == [
        (m.label, m.keys, m.videos, m.levels) for m in models
    ]
    assert [{name: v.tolist() for name, v in m.values.items()} for m in found] == [
        {"mse_sum": [1, 2]},
        {"mae_sum": [3, 4]},
    ]
    with pytest.raises(EvaluationError, match="0 models are labelled 'c'; the results have a, b"):
        labelled(found, "c")
    (tmp_path / FILE).write_text("nothing")
    with pytest.raises(EvaluationError, match="is not a Parquet file"):
        read_clip_scores(tmp_path / FILE)


def test_command(tmp_path):
    write_clip_scores(tmp_path / FILE, [scores("a", [1, 2, 4]), scores("b", [2, 4, 7])])

    def run(*more):
        return CliRunner().invoke(app, ["compare", *more, "--results", str(tmp_path)])

    assert "| mse_sum ↓ | all | 3 | 3 | 2.333 | 4.333 | -2 |" in run("a", "b").stdout
    assert json.loads(run("b", "a", "--json").stdout)[0]["difference"] == 2
    refused = run("a", "c")
    assert refused.exit_code == 2
    assert "0 models are labelled 'c'" in refused.stderr
