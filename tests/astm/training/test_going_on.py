"""Runs that go on: weights to start from, changed settings, going back, averages, parts of batches, early ends."""

import json
import math
import re
import tomllib
from dataclasses import replace

import pytest
import torch

from astm import create, from_pretrained
from astm.data.clips import ordered_batches
from astm.predictor import Predictor, model
from astm.pretrained.store import CheckpointError
from astm.training import optimisation
from astm.training.checkpoint import BEST, LAST, load_predictor, read
from astm.training.settings import SettingsError, overridden, parse
from astm.training.starting import start_from
from astm.training.team import DivergedError, Team, TrainError
from astm.training.train import AS_IT_IS, EXPERIMENT, PRETRAINED, Continuing, _Run, _wrapped, train
from mlst.loading import Share
from tests.astm.data.media import experiment, mnist


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mnist(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A run of 4 steps."""
    out = tmp_path_factory.mktemp("finished")
    train(short(root), out, "cpu")
    return out


def short(root, train=(), model=()):
    changes = {"steps": 4, "validate_every": 2, **dict(train)}
    return experiment(root, {"train": changes, "model": dict(model)})


def changing(**settings):
    return Continuing(overridden(f"train.{name}={json.dumps(value)}" for name, value in settings.items()), False)


def copied(folder, to):
    to.mkdir()
    for name in (LAST, BEST):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


class Heard:
    def __init__(self):
        self.about, self.first, self.steps, self.pictures = "", -1, [], []

    def began(self, step, steps, about):
        self.first, self.about = step, about

    def stepped(self, step, loss):
        self.steps.append(step)

    def logged(self, report):
        pass

    def validated(self, report):
        self.pictures.append(report.picture)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(root, tmp_path):
    """To rounding, where the model draws nothing."""
    gradients = []
    for parts in (1, 2, 4):
        e = short(root, {"accumulate": parts, "validate_on": 0}, {"sampling_steps": 0})
        made = _Run(e, tmp_path / str(parts), Team(Share(0, 1), torch.device("cpu")))
        batch = next(ordered_batches(made.clips, 4, 4, 0, torch.device("cpu")))
        loss = made.backward(_wrapped(made.predictor, made.team), batch.past, batch.future, 3, 0)
        gradients.append({name: weight.grad for name, weight in made.predictor.named_parameters()} | {"loss": loss})
    for others in gradients[1:]:
        for name, whole in gradients[0].items():
            torch.testing.assert_close(others[name], whole, rtol=1e-4, atol=1e-7)


def test_parts_that_do_not_divide_a_batch_are_refused(root, tmp_path):
    with pytest.raises(TrainError, match=r"batch_size 4 is not a multiple of 3: 1 process\(es\)"):
        train(short(root, {"accumulate": 3}), tmp_path, "cpu")


def test_the_average_is_validated_and_published(root, tmp_path):
    """Its recursion, computed beside it; not the weights of the last step are published, but it."""
    e = short(root, {"ema": 0.5, "lr": 1e-2, "validate_every": 1, "steps": 3})
    seen = []
    follow = optimisation.Average.follow

    def recorded(average, predictor, step):
        follow(average, predictor, step)
        seen.append({name: tensor.clone() for name, tensor in predictor.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimisation.Average, "follow", recorded)
        train(e, tmp_path, "cpu")
    torch.manual_seed(0)
    expected = e.predictor().state_dict()
    for step, weights in enumerate(seen):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * weights[name] for name in expected}
    last = read(tmp_path / LAST)
    for name, tensor in last.state.average.items():
        torch.testing.assert_close(tensor, expected[name])
        assert not torch.equal(tensor, last.state.weights[name])
    published = from_pretrained(tmp_path / PRETRAINED).state_dict()
    assert all(torch.equal(published[name], tensor) for name, tensor in read(tmp_path / BEST).state.average.items())


def test_an_overflow_in_half_precision_leaves_out_a_step(root, tmp_path, monkeypatch):
    """From a scale that overflows at once: it is halved until gradients fit, and then weights move."""
    monkeypatch.setattr(optimisation, "SCALE", 2.0**40)
    e = short(root, {"precision": "float16", "validate_on": 0, "steps": 1})
    train(e, tmp_path, "cpu")
    torch.manual_seed(0)
    fresh, after = e.predictor().state_dict(), read(tmp_path / LAST).state
    assert all(torch.equal(fresh[name], tensor) for name, tensor in after.weights.items())
    assert after.scaler["scale"] == 2.0**39
    longer = short(root, {"precision": "float16", "validate_on": 0, "steps": 40})
    train(longer, tmp_path, "cpu", (), changing(steps=40))
    after = read(tmp_path / LAST).state
    assert 2.0**10 < after.scaler["scale"] < 2.0**39
    assert not any(torch.equal(fresh[name], tensor) for name, tensor in after.weights.items())


def test_weights_are_taken_where_they_fit(root, finished, tmp_path):
    heard = Heard()
    train(short(root, {"start": str(finished), "steps": 1, "lr": 1e-9}), tmp_path / "same", "cpu", [heard])
    given = read(finished / BEST).state.weights
    assert f"starts from {finished}: {len(given)} of {len(given)} tensors (100.0% of the weights)" in heard.about
    for name, tensor in read(tmp_path / "same" / LAST).state.weights.items():
        torch.testing.assert_close(tensor, given[name], rtol=0, atol=1e-7)
    torch.manual_seed(3)
    fresh = create("convlstm", hidden=(4, 4), kernel=3, patch=8)
    taken = start_from(fresh, str(finished))
    assert 0 < taken.tensors < taken.all_tensors
    assert 0 < taken.values < taken.all_values == sum(tensor.numel() for tensor in fresh.state_dict().values())
    assert taken.fresh
    assert "stay random: " in str(taken)


def test_weights_that_do_not_fit_are_refused(root, finished, tmp_path):
    with pytest.raises(CheckpointError, match=r"no tensor of copy_last has name and shape"):
        train(short(root, {"start": "copy_last"}), tmp_path, "cpu")
    with pytest.raises(TrainError, match=r"train.start is 'x', was ''"):
        train(short(root, {"start": "x"}), finished, "cpu")


def test_a_finished_run_goes_on_with_other_settings(root, finished, tmp_path):
    out, heard = copied(finished, tmp_path / "run"), Heard()
    longer = short(root, {"steps": 6, "lr": 1e-4, "schedule": "linear"})
    with pytest.raises(TrainError, match=r"or those of train as --override:\ntrain.lr is 0.0001, was 0.001\n"):
        train(longer, out, "cpu", (), changing(steps=6))
    ended = train(longer, out, "cpu", [heard], changing(steps=6, lr=1e-4, schedule="linear"))
    assert (ended.finished, ended.progress.step, heard.first, heard.steps) == (True, 6, 4, [5, 6])
    assert "from step 4 on train.lr is 0.0001, was 0.001" in heard.about
    written = tomllib.loads((out / EXPERIMENT).read_text())
    assert written["train"]["steps"] == 6
    assert {(c["step"], c["setting"], c["before"], c["now"]) for c in written["overrides"]} == {
        (4, "train.lr", "0.001", "0.0001"),
        (4, "train.schedule", "'constant'", "'linear'"),
        (4, "train.steps", "4", "6"),
    }
    assert parse(written) == longer
    assert "overrides" in from_pretrained(out / PRETRAINED).origin.recipe
    before = (out / LAST).read_bytes()
    assert train(longer, out, "cpu").finished  # now they are the run's
    assert (out / LAST).read_bytes() == before
    with pytest.raises(TrainError, match=r"has done 6 steps already; train.steps cannot be 5"):
        train(short(root, {"steps": 5}), out, "cpu", (), changing(steps=5, lr=1e-3, schedule="constant"))


def test_an_overridden_run_is_as_exact_as_any(root, finished, tmp_path):
    """Interrupted right after the change or not."""
    longer, how = short(root, {"steps": 7, "clip_norm": 0.01}), changing(steps=7, clip_norm=0.01)

    class Dies(Heard):
        def stepped(self, step, loss):
            if step == 6:
                raise KeyError

    train(longer, copied(finished, tmp_path / "whole"), "cpu", (), how)
    with pytest.raises(KeyError):
        train(longer, copied(finished, tmp_path / "parts"), "cpu", [Dies()], how)
    assert read(tmp_path / "parts" / LAST).overrides == read(tmp_path / "whole" / LAST).overrides
    train(longer, tmp_path / "parts", "cpu")
    assert (tmp_path / "whole" / LAST).read_bytes() == (tmp_path / "parts" / LAST).read_bytes()


@pytest.mark.parametrize("change", ["train.seed=1", "train.batch_size=2", "model.hidden=[8]", "data.size=64"])
def test_what_a_run_keeps_to_its_end(change):
    with pytest.raises(SettingsError, match=r"keeps .* to its end, start another one; --override"):
        overridden([change])


class Fragile(Predictor):
    """Not a number from step 3 on, unless it learns slowly."""

    slow = False

    def __init__(self, settings=None):
        super().__init__(settings)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, past, horizon):
        return self.scale * past[:, -1:].repeat(1, horizon, 1, 1, 1)

    def loss(self, past, future, step, seed=0):
        loss = super().loss(past, future, step, seed)
        return loss * float("nan") if step == 3 and not Fragile.slow else loss


@pytest.mark.parametrize("advice", ["--override train.lr=", "--override train.clip_norm=", "--rollback"])
def test_the_advice_after_not_a_number_is_taken(root, tmp_path, monkeypatch, advice):
    monkeypatch.setitem(model._entries, "test_fragile", Fragile)
    monkeypatch.setattr(Fragile, "slow", False)
    e = replace(short(root, {"steps": 5}), model="test_fragile", model_settings=Fragile.Settings())
    with pytest.raises(DivergedError, match=r"step 3: loss nan") as refused:
        train(e, tmp_path, "cpu")
    said = str(refused.value)
    assert f"{tmp_path / BEST} is of step 2" in said
    assert "go back to its best step, 2" in said
    lr, clip = (float(re.search(rf"--override train.{name}=(\S+?)[,\s]", said)[1]) for name in ("lr", "clip_norm"))
    assert (lr, clip) == (0.0005, 1.0)
    changes = {"lr": lr} if "lr" in advice else {"clip_norm": clip} if "clip" in advice else {}
    how = replace(changing(**changes), rollback="rollback" in advice)
    changed, heard = replace(e, train=e.train.model_copy(update=changes)), Heard()
    monkeypatch.setattr(Fragile, "slow", True)
    ended = train(changed, tmp_path, "cpu", [heard], how)
    assert (ended.finished, heard.first) == (True, 2)


def test_a_run_goes_back_to_its_best(root, tmp_path):
    """Optimiser included: it then repeats what it did, to the bit."""
    e = short(root, {"steps": 8, "validate_every": 3})
    train(e, tmp_path, "cpu")
    last = (tmp_path / LAST).read_bytes()
    best = read(tmp_path / BEST).progress.step
    heard = Heard()
    train(e, tmp_path, "cpu", [heard], replace(AS_IT_IS, rollback=True))
    assert heard.first == (best if best < 8 else -1)
    assert (tmp_path / LAST).read_bytes() == last


def test_training_ends_early_and_stays_ended(root, tmp_path):
    e = short(root, {"steps": 50, "lr": 1e-30, "patience": 2, "validate_every": 3, "weight_decay": 0.0})
    ended = train(e, tmp_path, "cpu")
    assert (ended.finished, ended.progress.step, ended.progress.best_step) == (True, 9, 3)
    assert (tmp_path / PRETRAINED).is_dir()
    heard = Heard()
    assert train(e, tmp_path, "cpu", [heard]).finished
    assert heard.first == -1
    patient = replace(e, train=e.train.model_copy(update={"patience": 3}))
    assert train(patient, tmp_path, "cpu", [heard], changing(patience=3)).progress.step == 12


def test_minutes_save_as_well_as_steps(root, tmp_path):
    class Dies(Heard):
        def stepped(self, step, loss):
            if step == 3:
                raise KeyError

    base = short(root, {"validate_on": 0})
    for minutes, step in ((1e-9, 2), (0, 0)):
        out = tmp_path / str(minutes)
        e = replace(base, run=base.run.model_copy(update={"save_minutes": minutes}))
        with pytest.raises(KeyError):
            train(e, out, "cpu", [Dies()])
        assert (read(out / LAST).progress.step if (out / LAST).is_file() else 0) == step


def test_scheduled_sampling_that_outlasts_training_is_doubted(root, tmp_path):
    heard = Heard()
    train(short(root, {"steps": 2, "validate_on": 0}, {"sampling_steps": 2}), tmp_path / "a", "cpu", [heard])
    assert "scheduled sampling ends at step 2, training at 2" in heard.about
    train(short(root, {"steps": 2, "validate_on": 0}, {"sampling_steps": 1}), tmp_path / "b", "cpu", [heard])
    assert "sampling" not in heard.about


def test_a_validation_has_a_picture(root, tmp_path):
    heard = Heard()
    train(short(root), tmp_path, "cpu", [heard])
    assert [picture.shape for picture in heard.pictures] == [(3 * 2 * 32, 5 * 32, 3)] * 2
    true, predicted = heard.pictures[0][:32], heard.pictures[0][32:64]
    assert true[:, : 3 * 32].any()
    assert not predicted[:, : 3 * 32].any()
    assert predicted[:, 3 * 32 :].any()


def test_a_run_keeps_its_threads(root, tmp_path, monkeypatch):
    monkeypatch.setattr("astm.training.train.default_threads", lambda: 1)
    e = short(root, {"steps": 2, "validate_on": 0})
    free = replace(e, run=e.run.model_copy(update={"threads": 0}))
    heard = Heard()
    train(free, tmp_path, "cpu", [heard])
    assert "CPU threads: 1; run.threads sets another number" in heard.about
    assert read(tmp_path / LAST).experiment.run.threads == 1
    monkeypatch.setattr("astm.training.train.default_threads", lambda: math.nan)  # it is not asked again
    train(replace(free, train=free.train.model_copy(update={"steps": 3})), tmp_path, "cpu", (), changing(steps=3))
    assert torch.get_num_threads() == 1


def test_a_model_is_read_with_the_average(root, tmp_path):
    train(short(root, {"ema": 0.9, "validate_on": 0}), tmp_path, "cpu")
    state = read(tmp_path / LAST).state
    own = load_predictor(str(tmp_path)).state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.average.items())
