"""The GPU benchmark: its plain ASTM gives the same frames as ours, and all its parts run on a CPU."""

import gzip
import json
import os
import sys
import time

import numpy as np
import pytest
import torch

from astm import create
from benchmarks import model_steps
from benchmarks.figures import read
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import ablation
from benchmarks.gpu.forms import Job, cases, models
from benchmarks.gpu.speed import Subject, begun, bury, file, overdue, step
from benchmarks.gpu.training import Alone, decided, fastest
from benchmarks.gpu.ways import prepare
from benchmarks.suite import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    root, generator = tmp_path_factory.mktemp("mnist"), np.random.default_rng(0)
    for name, count in (("train-images-idx3-ubyte", 20), ("t10k-images-idx3-ubyte", 10)):
        header = np.array([2051, count, 28, 28], ">i4").tobytes()
        data = header + generator.integers(0, 256, (count, 28, 28), np.uint8).tobytes()
        (root / f"{name}.gz").write_bytes(gzip.compress(data, 1))
    return root


def small(**settings):
    torch.manual_seed(0)
    common = {"layers": 2, "hidden": 4, "patch": 8, "kernel": (3, 3, 3), "tau": 3, "sampling_steps": 0}
    return create("astm", **{**common, "encoder": "conv", **settings}).double()


@pytest.mark.parametrize("way", ["plain", "folded", "channels_last"])
def test_every_way_gives_the_same_frames_and_gradients(way):
    past, future = torch.rand(2, 2, 5, 1, 16, 16, dtype=torch.float64)
    ours, other = small(), small()
    ready = prepare(other, way, "float32", past, future)
    ours.loss(past, future, 0).backward()
    ready.loss(past, future, 0).backward()
    torch.testing.assert_close(ready.net(past, 4), ours(past, 4), rtol=0, atol=1e-12)
    for (name, mine), theirs in zip(ours.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, mine.grad, rtol=1e-5, atol=1e-8, msg=name)


def test_a_step_is_taken_as_a_graph(monkeypatch):
    """In place of what CUDA would record, the pass itself."""
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda passed, sample, **_: passed)
    past, future = torch.rand(2, 2, 5, 1, 16, 16, dtype=torch.float64)
    ours, other = small(), small()
    ready = prepare(other, "graph", "float32", past, future)
    subject = Subject(other, torch.optim.SGD(other.parameters(), lr=1e-3), past, future)
    expected = float(ours.loss(past, future, 0).detach())
    assert step(ready, subject) == pytest.approx(expected, rel=1e-6)


def test_what_began_and_did_not_end_is_told(tmp_path):
    job, case = Job(tmp_path, tmp_path, "cpu", True), cases(True)[0]
    (tmp_path / "speed").mkdir()
    bury(job, case)
    assert not file(job, case).exists()
    begun(job, case).touch()
    assert not overdue(job, case, time.time())
    os.utime(begun(job, case), (0, 0))
    assert overdue(job, case, time.time())
    bury(job, case)
    assert json.loads(file(job, case).read_text())["outcome"] == "died"
    assert not begun(job, case).exists()


def test_the_plain_form_refuses_what_it_does_not_compute():
    past = torch.rand(1, 2, 1, 16, 16, dtype=torch.float64)
    with pytest.raises(ValueError, match="no norm"):
        prepare(small(norm="group"), "plain", "float32", past, past)
    with pytest.raises(NotImplementedError, match="for astm"):
        prepare(create("convlstm"), "folded", "float32", past, past)


def test_a_difference_counts_whole_sequences():
    by_seed = [np.array([1.0, 3.0] * 50), np.array([1.0, 3.0] * 50) + 10]
    found = ablation.difference("mse_sum", (0, 1), by_seed)
    assert found.by_seed == (2.0, 12.0)
    assert found.mean == 7.0
    assert found.high - found.low < 0.5  # seeds are given
    assert found.high_over_seeds - found.mean == pytest.approx(12.706 * 5)  # two seeds, 10 apart, say little
    alone = ablation.difference("mse_sum", (0,), by_seed[:1])
    assert alone.low_over_seeds == alone.high_over_seeds == alone.mean


def test_the_fastest_way_that_all_models_have_is_taken():
    steps = {
        ("tf32", "eager"): {"astm": 40.0, "astm_basic": 30.0, "predrnn_pp": 20.0, "simvp": 10.0},
        ("tf32", "graph"): {"astm": 20.0, "astm_basic": 15.0, "predrnn_pp": 10.0, "simvp": 5.0},
        ("bfloat16", "graph"): {"astm": 1.0},
    }
    alone = fastest(steps)
    assert (alone.precision, alone.way) == ("tf32", "graph")
    recipe = decided(alone, 3.0, 400.0)
    assert recipe.steps % 40 == 0
    assert recipe.steps * 3.0 * 0.05 < 400
    slow = Alone("tf32", "graph", steps["tf32", "eager"], steps["tf32", "eager"])
    assert decided(slow, 3.0, 400.0).steps < recipe.steps


def test_everything_runs_on_a_cpu_and_nothing_is_done_twice(mnist, tmp_path, monkeypatch, capsys):
    options = ["--smoke", "--device", "cpu", "--data", str(mnist), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu", "all", *options])
    command.main()
    report = json.loads((tmp_path / "report.json").read_text())
    assert max(report["differences"].values()) < 1e-4
    outcomes = {row["way"]: row["outcome"] for row in report["speed"]}
    assert outcomes["eager"] == "measured"
    assert outcomes["graph"] == "failed"  # there is none on a CPU, and that is a result
    trained = {(row["model"], row["outcome"]) for row in report["training"]}
    assert trained >= {("astm", "finished"), ("simvp", "finished")}
    assert report["ablation"][0]["metric"] == "mse_sum"
    capsys.readouterr()
    command.main()
    assert "measured" not in capsys.readouterr().out


def test_the_suite_takes_a_step_of_every_model():
    assert sorted(MODELS) == sorted(models())


def test_what_a_step_keeps_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["model_steps", "crevnet", "--count", "--json", str(tmp_path / "steps.json")])
    model_steps.main()
    (kept,) = read(tmp_path / "steps.json")
    assert kept.measured > 0
