"""The loop: interrupted equals uninterrupted, schedules, checkpoints, several processes, refusals."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from astm import from_pretrained
from astm.data.clips import ordered_batches
from astm.data.moving_mnist import MovingMnist
from astm.metrics import mse_sum
from astm.predictor import Predictor, model
from astm.pretrained.store import CheckpointError
from astm.training.checkpoint import BEST, LAST, load_predictor, read
from astm.training.optimisation import first_beta, learning_rate, make_optimiser
from astm.training.settings import merge, parse, preset, to_toml
from astm.training.team import Team, TrainError, UnsavedError, loaders
from astm.training.train import PRETRAINED, _Run, train
from mlst.loading import Share
from tests.astm.data.media import experiment, mnist


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mnist(tmp_path_factory.mktemp("mnist"))


class Recorder:
    """Keeps what it hears, and can interrupt after a step."""

    def __init__(self, stop_at=0):
        self.losses, self.scores, self.each, self.first, self.stop_at = {}, {}, {}, -1, stop_at

    def began(self, step, steps, about):
        self.first, self.about = step, about

    def stepped(self, step, loss):
        self.each[step] = loss

    def logged(self, report):
        self.losses[report.step] = report.loss
        if report.step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def validated(self, report):
        self.scores[report.step] = report.score


def same(a, b):
    """Whether two files hold the same tensors, bit for bit."""
    x, y = load_file(a), load_file(b)
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


PLAIN, ALL_STATE = {}, {"accumulate": 2, "ema": 0.9, "precision": "float16"}


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "stop", "more"), [(0, 4, PLAIN), (2, 6, PLAIN), (0, 6, ALL_STATE)])
def test_interrupted_and_continued_equals_uninterrupted(root, tmp_path, workers, stop, more):
    """20 clips in batches of 4: step 6 is in the second epoch; sampling and one cycle change at each step."""
    e = experiment(root, {"run": {"workers": workers}, "train": {"schedule": "onecycle", "clip_norm": 0.05, **more}})
    whole, first, second = Recorder(), Recorder(stop), Recorder()
    assert train(e, tmp_path / "whole", "cpu", [whole]).finished
    halted = train(e, tmp_path / "parts", "cpu", [first])
    assert (halted.finished, halted.progress.step) == (False, stop)
    ended = train(e, tmp_path / "parts", "cpu", [second])
    assert (ended.finished, second.first) == (True, stop)
    assert same(tmp_path / "whole" / LAST, tmp_path / "parts" / LAST)
    assert same(tmp_path / "whole" / BEST, tmp_path / "parts" / BEST)
    assert {**first.losses, **second.losses} == whole.losses
    assert {**first.scores, **second.scores} == whole.scores
    assert read(tmp_path / "parts" / LAST).progress == read(tmp_path / "whole" / LAST).progress == ended.progress
    assert (ended.progress.epoch, ended.progress.position) == (2, 2)


def test_a_killed_run_goes_on_from_its_last_checkpoint(root, tmp_path):
    """Nothing but what `save_every` wrote is left; the log of the lost steps does not stay."""

    class Killed(Exception):
        pass

    class Killer(Recorder):
        def logged(self, report):
            if report.step == 8:
                raise Killed

    e = experiment(root, {"run": {"save_every": 3}})
    with pytest.raises(Killed):
        train(e, tmp_path / "killed", "cpu", [Killer()])
    assert read(tmp_path / "killed" / LAST).progress.step == 6
    train(e, tmp_path / "killed", "cpu")
    train(e, tmp_path / "whole", "cpu")
    assert same(tmp_path / "whole" / LAST, tmp_path / "killed" / LAST)


def test_a_run_killed_before_its_first_checkpoint(root, tmp_path):
    """What it left of the best so far is that of the same settings, or refused; no other run's best is exported."""
    e = experiment(root)
    train(e, tmp_path, "cpu")
    best = (tmp_path / BEST).read_bytes()
    (tmp_path / LAST).unlink()
    with pytest.raises(TrainError, match=r"other settings.*\ntrain.validate_on is 0, was 4"):
        train(experiment(root, {"train": {"validate_on": 0}}), tmp_path, "cpu")
    heard = Recorder()
    assert train(e, tmp_path, "cpu", [heard]).finished
    assert (heard.first, (tmp_path / BEST).read_bytes()) == (-1, best)  # the last one was the best


def test_a_gpu_is_fed_by_as_many_workers_as_there_are_cores_for(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [loaders(-1, cuda, world) for world in (1, 2, 4, 8)] == [4, 3, 1, 0]
    assert loaders(-1, cpu, 1) == 0
    assert loaders(2, cpu, 1) == loaders(2, cuda, 8) == 2


def test_graphs_change_nothing_on_a_cpu(root, tmp_path):
    for graphs in (False, True):
        train(experiment(root, {"train": {"graphs": graphs}}), tmp_path / str(graphs), "cpu")
    assert same(tmp_path / "False" / LAST, tmp_path / "True" / LAST)


def test_graphs_are_refused_where_a_step_draws_numbers_of_its_own(root, tmp_path):
    e = parse(
        merge(preset("moving_mnist", "tiny", "savp_vae"), {"data": {"root": str(root)}, "train": {"graphs": True}})
    )
    with pytest.raises(TrainError, match=r"savp_vae draws numbers .* set train\.graphs=false"):
        train(e, tmp_path, "cpu")


def test_a_step_that_cannot_be_recorded_says_what_to_set(root, tmp_path):
    run = _Run(experiment(root, {"train": {"graphs": True}}), tmp_path, Team(Share(0, 1), torch.device("cpu")))
    batch = next(ordered_batches(run.clips, 4, 4, 0, torch.device("cpu")))
    with pytest.raises(TrainError, match=r"CUDA graph .* set train\.graphs=false"):
        run.recorded(batch)  # a CPU has none


def test_workers_change_nothing(root, tmp_path):
    for workers in (0, 2):
        train(experiment(root, {"run": {"workers": workers}}), tmp_path / str(workers), "cpu")
    assert same(tmp_path / "0" / LAST, tmp_path / "2" / LAST)


def test_seeds_change_weights_and_order(root, tmp_path):
    for seed in (0, 1):
        train(experiment(root, {"train": {"seed": seed, "steps": 2}}), tmp_path / str(seed), "cpu")
    assert not same(tmp_path / "0" / LAST, tmp_path / "1" / LAST)


def test_training_helps_and_the_best_is_kept(root, tmp_path):
    e = experiment(root, {"train": {"steps": 60, "lr": 0.01, "validate_every": 10, "validate_on": 6}})
    heard = Recorder()
    ended = train(e, tmp_path, "cpu", [heard])
    assert heard.losses[60] < 0.7 * heard.losses[2]
    assert list(heard.scores) == [10, 20, 30, 40, 50, 60]
    assert ended.progress.best == min(heard.scores.values())
    assert heard.scores[ended.progress.best_step] == ended.progress.best
    best = from_pretrained(tmp_path / PRETRAINED)
    assert all(torch.equal(best.state_dict()[n], t) for n, t in read(tmp_path / BEST).state.weights.items())
    clips = MovingMnist(e.data_settings, "validation")
    (batch,) = ordered_batches(clips, 0, 6, 0, torch.device("cpu"))
    with torch.no_grad():
        score = mse_sum(best(batch.past, 2), batch.future).mean()
    assert float(score) == pytest.approx(ended.progress.best, rel=1e-6)


def test_the_test_split_is_never_opened(root, tmp_path, monkeypatch):
    asked = []
    original = MovingMnist.__init__
    monkeypatch.setattr(
        MovingMnist, "__init__", lambda self, s, split: (asked.append(split), original(self, s, split))[1]
    )
    train(experiment(root), tmp_path, "cpu")
    assert asked == ["train", "validation"]


def test_a_finished_run_is_left_alone(root, tmp_path):
    e = experiment(root, {"train": {"steps": 2}})
    train(e, tmp_path, "cpu")
    before = (tmp_path / LAST).stat().st_mtime_ns
    heard = Recorder()
    assert train(e, tmp_path, "cpu", [heard]).finished
    assert (heard.first, (tmp_path / LAST).stat().st_mtime_ns) == (-1, before)


def test_without_validation_the_last_is_the_best(root, tmp_path):
    train(experiment(root, {"train": {"steps": 2, "validate_on": 0}}), tmp_path, "cpu")
    assert not (tmp_path / BEST).exists()
    weights = from_pretrained(tmp_path / PRETRAINED).state_dict()
    assert all(torch.equal(weights[n], t) for n, t in read(tmp_path / LAST).state.weights.items())


def test_every_setting_is_written(root, tmp_path):
    e = experiment(root, {"train": {"steps": 1}})
    train(e, tmp_path, "cpu")
    assert (tmp_path / "experiment.toml").read_text() == to_toml(e.tree())
    assert read(tmp_path / LAST).experiment == e


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"ema": 0.9, "lr": 0.1},
        {"checkpoint": True},
        {"reverse_input": True},
        {"optimiser": "adamw", "weight_decay": 0.1},
        {"optimiser": "rmsprop"},
        {"betas": [0.5, 0.9]},
        {"clip_norm": 0.001, "lr": 0.1},
        {"schedule": "exponential", "decay_every": 1, "decay_from": 1},
    ],
    ids=lambda change: "-".join(map(str, next(iter(change.items())))),
)
def test_settings_have_an_effect(root, tmp_path, change):
    """Each changes the weights; recomputing activations must not, and less is kept with it (see test_models)."""
    base = experiment(root, {"train": {"steps": 3, "validate_on": 0}})
    train(base, tmp_path / "base", "cpu")
    ended = train(experiment(root, {"train": {"steps": 3, "validate_on": 0, **change}}), tmp_path / "changed", "cpu")
    assert math.isfinite(ended.loss)
    x, y = read(tmp_path / "base" / LAST).state.weights, read(tmp_path / "changed" / LAST).state.weights
    equal = all(torch.allclose(x[name], y[name], rtol=1e-5, atol=1e-7) for name in x)
    assert equal == ("checkpoint" in change)


def test_rmsprop_is_that_of_tensorflow_from_zero(root):
    """ms = 0.9 ms + 0.1 g^2; w -= lr g / sqrt(ms + 1e-10)."""
    s = experiment(root, {"train": {"optimiser": "rmsprop", "lr": 0.01}}).train
    net = Predictor()
    net.w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]).double())
    optimiser = make_optimiser(net, s, torch.device("cpu"))
    w, ms = net.w.detach().clone(), torch.zeros(3).double()
    for step in range(20):
        net.w.grad = torch.tensor([1.0, 0.3, -0.01]).double() * (step % 4 - 1.5)
        optimiser.step()
        ms = 0.9 * ms + 0.1 * net.w.grad**2
        w = w - 0.01 * net.w.grad / (ms + 1e-10).sqrt()
    torch.testing.assert_close(net.w.detach(), w, rtol=2e-5, atol=0)


def test_rmsprop_goes_on_exactly(root, tmp_path):
    e = experiment(root, {"train": {"optimiser": "rmsprop", "schedule": "onecycle", "steps": 6, "validate_on": 0}})
    train(e, tmp_path / "whole", "cpu")
    assert not train(e, tmp_path / "parts", "cpu", [Recorder(4)]).finished
    train(e, tmp_path / "parts", "cpu")
    assert same(tmp_path / "whole" / LAST, tmp_path / "parts" / LAST)


def test_one_cycle_equals_pytorch(root):
    s = experiment(root, {"train": {"steps": 50, "lr": 0.02, "schedule": "onecycle"}}).train
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.02, total_steps=50)
    for step in range(50):
        group = optimiser.param_groups[0]
        assert learning_rate(s, step) == pytest.approx(group["lr"], rel=1e-9)
        assert first_beta(s, step) == pytest.approx(group["betas"][0], rel=1e-9)
        optimiser.step()
        if step < 49:
            schedule.step()


def test_exponential_schedule(root):
    s = experiment(root, {"train": {"schedule": "exponential", "lr": 1.0, "decay_from": 10, "decay_every": 5}}).train
    assert [learning_rate(s, step) for step in (0, 9, 14, 15, 19, 20)] == pytest.approx([1, 1, 1, 0.9, 0.9, 0.81])


def test_linear_schedule(root):
    s = experiment(root, {"train": {"schedule": "linear", "lr": 2.0, "decay_from": 10, "steps": 20}}).train
    assert [learning_rate(s, step) for step in (0, 10, 11, 15, 19)] == pytest.approx([2, 2, 1.8, 1, 0.2])


class Diverging(Predictor):
    """Fine until step 3, then not a number."""

    def __init__(self, settings=None):
        super().__init__(settings)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, past, horizon):
        return self.scale * past[:, -1:].repeat(1, horizon, 1, 1, 1)

    def loss(self, past, future, step, seed=0):
        loss = super().loss(past, future, step, seed)
        return loss * float("nan") if step == 3 else loss


def test_not_a_number_stops_with_step_and_clips(root, tmp_path, monkeypatch):
    monkeypatch.setitem(model._entries, "test_diverging", Diverging)
    e = experiment(root)
    diverging = type(e)("test_diverging", Diverging.Settings(), e.data, e.data_settings, e.train, e.run)
    keys = MovingMnist(e.data_settings, "train").order(0, 0)[12:16]
    with pytest.raises(TrainError, match=r"step 3: loss nan") as refused:
        train(diverging, tmp_path, "cpu")
    assert all(f"train-{key:08d}" in str(refused.value) for key in keys)
    assert not (tmp_path / LAST).exists()


class Drifting(Diverging):
    """Starts as `copy_last`, and what it is trained for makes it worse."""

    def loss(self, past, future, step, seed=0):
        return (self.scale - 9) ** 2


def test_the_best_is_kept_when_training_harms(root, tmp_path, monkeypatch):
    monkeypatch.setitem(model._entries, "test_drifting", Drifting)
    e = experiment(root, {"train": {"lr": 0.1, "steps": 6, "validate_every": 2}})
    ended = train(
        type(e)("test_drifting", Drifting.Settings(), e.data, e.data_settings, e.train, e.run), tmp_path, "cpu"
    )
    assert ended.progress.best_step == 2
    scale = {name: float(read(tmp_path / name).state.weights["scale"]) for name in (BEST, LAST)}
    assert scale == {BEST: pytest.approx(1.2, abs=0.01), LAST: pytest.approx(1.6, abs=0.02)}
    assert float(from_pretrained(tmp_path / PRETRAINED).scale) == scale[BEST]


def test_refusals(root, tmp_path):
    e = experiment(root, {"train": {"steps": 1}})
    train(e, tmp_path, "cpu")
    other = experiment(root, {"train": {"steps": 1, "lr": 0.5}, "run": {"workers": 1}, "model": {"hidden": [8]}})
    with pytest.raises(TrainError, match=r"model.hidden is \[8\], was \[4\]\ntrain.lr is 0.5, was 0.001$"):
        train(other, tmp_path, "cpu")
    with pytest.raises(TrainError, match=r"copy_last has no parameters"):
        train(
            type(e)("copy_last", model["copy_last"].Settings(), e.data, e.data_settings, e.train, e.run),
            tmp_path / "x",
        )
    with pytest.raises(TrainError, match=r"no device 'gpu'"):
        train(e, tmp_path, "gpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04pickle", "not a readable safetensors file .*pickled checkpoints are never loaded"),
        (b"", "not a readable safetensors file"),
        (None, "was not written by `astm train`"),
    ],
)
def test_foreign_and_corrupt_checkpoints(tmp_path, content, message):
    path = tmp_path / LAST
    if content is None:
        save_file({"w": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_predictor(str(path))
    with pytest.raises(CheckpointError, match=message):
        load_predictor(str(tmp_path))


def test_a_truncated_checkpoint_is_refused(root, tmp_path):
    train(experiment(root, {"train": {"steps": 1}}), tmp_path, "cpu")
    data = (tmp_path / LAST).read_bytes()
    for size in (10, 500, len(data) - 100):
        (tmp_path / "x.safetensors").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"not a readable safetensors file"):
            read(tmp_path / "x.safetensors")


def test_a_flipped_bit_in_a_checkpoint_is_noticed(root, tmp_path):
    train(experiment(root, {"train": {"steps": 1}}), tmp_path, "cpu")
    data = bytearray((tmp_path / LAST).read_bytes())
    data[-100] ^= 1
    (tmp_path / LAST).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"it is damaged"):
        read(tmp_path / LAST)


def test_what_can_be_loaded_is_said(tmp_path):
    with pytest.raises(CheckpointError, match=r"without weights: copy_last"):
        load_predictor(str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match=r"holds no best.safetensors"):
        load_predictor(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"'convlstm' must be trained first"):
        load_predictor("convlstm")
    assert load_predictor("copy_last")(torch.rand(1, 2, 1, 8, 8), 3).shape == (1, 3, 1, 8, 8)


DIES_SAVING = """
import os, signal, sys
from astm.pretrained import tensors
from astm.training import train
from pathlib import Path
from tests.astm.data.media import experiment
written = tensors.save_file

def save_file(weights, path, metadata):
    written(weights, path, metadata)
    os.kill(os.getpid(), signal.SIGKILL)

tensors.save_file = save_file
train.train(experiment(Path(sys.argv[1]), {"train": {"steps": 2}}), Path(sys.argv[2]), "cpu")
"""


@pytest.mark.slow
def test_what_a_kill_inside_a_save_leaves_is_gone_at_the_next_start(root, tmp_path):
    for _ in range(2):
        died = subprocess.run([sys.executable, "-c", DIES_SAVING, str(root), str(tmp_path / "a")], check=False)
        assert died.returncode == -signal.SIGKILL
        assert len(list((tmp_path / "a").glob(".*"))) == 1
    train(experiment(root, {"train": {"steps": 2}}), tmp_path / "a", "cpu")
    train(experiment(root, {"train": {"steps": 2}}), tmp_path / "b", "cpu")
    assert list((tmp_path / "a").rglob(".*")) == []
    assert same(tmp_path / "a" / LAST, tmp_path / "b" / LAST)


@pytest.mark.slow
def test_a_full_disk_stops_with_a_remedy_and_the_checkpoint_before_stays(root, tmp_path):
    """A limit on the size of files stands for the disk: it is met inside safetensors, too."""
    e = experiment(root, {"train": {"steps": 4, "validate_on": 0}, "run": {"save_every": 2, "log_every": 1}})

    class Shrinks(Recorder):
        def logged(self, report):
            if report.step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(UnsavedError, match=r"step 4 cannot be saved; .*keeps last.safetensors. .*ulimit -f"):
            train(e, tmp_path / "a", "cpu", [Shrinks()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read(tmp_path / "a" / LAST).progress.step == 2
    assert list((tmp_path / "a").glob(".*")) == []
    train(e, tmp_path / "a", "cpu")
    train(e, tmp_path / "b", "cpu")
    assert same(tmp_path / "a" / LAST, tmp_path / "b" / LAST)


def test_signals_are_handed_back(root, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train(experiment(root, {"train": {"steps": 1}}), tmp_path, "cpu")
    assert signal.getsignal(signal.SIGTERM) is before
    worker = threading.Thread(
        target=train, args=(experiment(root, {"train": {"steps": 1}}), tmp_path / "thread", "cpu")
    )
    worker.start()
    worker.join()
    assert (tmp_path / "thread" / LAST).is_file()


@pytest.mark.slow
def test_two_processes_equal_one(root, tmp_path):
    """Without sampling, whose draws differ by rank, halves of each batch give the whole batch's gradient; so do halves
    of these, in parts that do not wait for the other process."""
    e = experiment(root, {"model": {"sampling_steps": 0}, "train": {"steps": 4, "lr": 1e-3}})
    train(e, tmp_path / "one", "cpu")
    e = experiment(root, {"model": {"sampling_steps": 0}, "train": {"steps": 4, "lr": 1e-3, "accumulate": 2}})
    settings = [f"{t}.{k}={json.dumps(v)}" for t, values in e.tree().items() for k, v in values.items() if k != "name"]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"),
        *("-m", "astm", "train", e.model, "--preset", "", "--out", str(tmp_path / "two"), "--device", "cpu"),
        *settings,
    ]
    here = Path(__file__).parents[3]
    ran = subprocess.run(
        command,
        cwd=here,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    one, two = read(tmp_path / "one" / LAST), read(tmp_path / "two" / LAST)
    assert one.progress.step == two.progress.step == 4
    assert one.progress.best == pytest.approx(two.progress.best, rel=1e-4)
    for name, tensor in one.state.weights.items():
        assert torch.allclose(tensor, two.state.weights[name], atol=2e-5), name
