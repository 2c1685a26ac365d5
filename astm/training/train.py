"""The training loop: one process, or several started by `torchrun`; interrupted and continued equals uninterrupted.

Everything that happens at a step is a function of the settings, the step and the rank: the batch, the learning rate,
the random numbers. So a run's state is its weights, their average, its optimiser, the scale of its loss and the step.
"""

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from astm.data import Pairs, open_clips
from astm.data.clips import ordered_batches, position, training_batches
from astm.evaluation.evaluate import to_bytes
from astm.metrics import mse_sum
from astm.predictor import Predictor
from astm.pretrained.store import load_weights
from astm.training import checkpoint
from astm.training.checkpoint import BEST, LAST, START, Checkpoint, Progress, State
from astm.training.graphs import Replayed
from astm.training.optimisation import Average, first_beta, learning_rate, make_optimiser, make_scaler, mixed
from astm.training.settings import Change, Experiment, Override, TrainSettings, to_toml
from astm.training.starting import start_from
from astm.training.team import (
    DivergedError,
    Stop,
    Team,
    TrainError,
    UnsavedError,
    default_threads,
    joined,
    loaders,
    stopping,
)
from astm.versions import write_versions
from mlst.draws import stream
from mlst.exits import of_the_system
from mlst.files import clean, write
from mlst.text import number_of

EXPERIMENT, PRETRAINED = "experiment.toml", "pretrained"
"""In a run's folder: all its settings, and its best model as `from_pretrained` reads it."""
SHOWN = 3
"""Validation clips in a picture."""


@dataclass(frozen=True, slots=True)
class Logged:
    """What is said every `run.log_every` steps."""

    step: int
    steps: int
    loss: float
    """Mean since the last time."""
    gradient: float
    """Norm of the last gradient, before clipping."""
    lr: float
    clips_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Validated:
    """What is said after each validation."""

    step: int
    score: float
    """Mean `mse_sum` of the validation clips."""
    best: bool
    picture: NDArray[np.uint8]
    """(H, W, 3): of the first clips the true frames, and below them the predicted ones."""


class Listener(Protocol):
    """Hears how training goes; only in the process of rank 0."""

    def began(self, step: int, steps: int, about: str) -> None:
        """Training starts, or resumes, after `step` of `steps` batches; `about` has a line for each thing to know."""

    def stepped(self, step: int, loss: float) -> None:
        """A step is done."""

    def logged(self, report: Logged) -> None:
        """Some more steps are done."""

    def validated(self, report: Validated) -> None:
        """The validation clips were scored."""


@dataclass(frozen=True, slots=True)
class Continuing:
    """How to continue the run that a folder holds."""

    overridden: frozenset[str]
    """Settings (`train.lr`) that may differ from those it was made with, from here on."""
    rollback: bool
    """Whether to go back to its best weights, with the optimiser that they had, rather than on from the last ones."""


AS_IT_IS = Continuing(frozenset(), rollback=False)


@dataclass(frozen=True, slots=True)
class Trained:
    """How training ended."""

    finished: bool
    """False after SIGTERM or SIGINT; the same command resumes from there."""
    signal: int
    """The number of the signal that ended it, SIGTERM where another process got it; 0 when finished."""
    progress: Progress
    loss: float
    """Of the last step of this process; NaN if there was none to do."""
    seconds: float


class _Loss(nn.Module):
    """A predictor's loss as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, past: Tensor, future: Tensor, step: int, seed: int) -> Tensor:
        return self.predictor.loss(past, future, step, seed)


def train(
    experiment: Experiment,
    out: Path,
    device: str = "auto",
    listeners: Sequence[Listener] = (),
    how: Continuing = AS_IT_IS,
) -> Trained:
    """Train a model, from the beginning or from where the run in `out` was interrupted.

    Parameters
    ----------
    out: the run's folder: `last.safetensors`, `best.safetensors`, `experiment.toml`, and at the end `pretrained/`.
    device: `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:1`.
    how: what may change where `out` holds a run, finished or not.

    Raises
    ------
    TrainError: a model without parameters, a run in `out` with other settings, a loss that is not finite, or a
        disk that takes no checkpoint.
    DataError: missing or unfit data. CheckpointError: an unreadable run, or weights to start from that do not fit.
    """
    began = time.monotonic()
    with joined(device) as team, stopping() as stop:
        run = _Run(experiment, out, team, how)
        loss = math.nan if run.over else run.go_on(stop, listeners if team.leads else ())
        if run.over and team.leads:
            run.export()
    number = 0 if run.over else stop.number or signal.SIGTERM
    return Trained(run.over, number, run.progress, loss, time.monotonic() - began)


class _Run:
    """What a run holds in memory."""

    def __init__(self, experiment: Experiment, out: Path, team: Team, how: Continuing = AS_IT_IS) -> None:
        self.experiment, self.settings, self.out, self.team = experiment, experiment.train, out, team
        found = _found(out, how.rollback)
        earlier = checkpoint.read(found) if found else None
        self.experiment = _with_threads(experiment, earlier, team)
        self.notes = experiment.doubts()
        if team.device.type == "cpu" and not experiment.run.threads:
            self.notes.append(f"CPU threads: {self.experiment.run.threads}; run.threads sets another number")
        if team.device.type == "cuda":
            torch.backends.cudnn.benchmark = experiment.run.autotune
        torch.manual_seed(self.settings.seed)
        self.predictor = experiment.predictor().to(team.device)
        self._check()
        self.optimiser = make_optimiser(self.predictor, self.settings, team.device)
        self.scaler = make_scaler(team.device, self.settings.precision)
        self.progress, self.overrides = START, tuple[Override, ...]()
        self.average: Average | None = None
        if earlier:
            changes = self._changes(earlier, how)
            self._restore(earlier)
        elif self.settings.start:
            self.notes.append(str(start_from(self.predictor, self.settings.start)))
        if self.settings.ema and self.average is None:
            self.average = Average(self.predictor, self.settings.ema)
        self.clips = open_clips(experiment.data, experiment.data_settings, "train")
        self.held = [open_clips(experiment.data, experiment.data_settings, "validation")] if self.validates else []
        if team.leads:
            clean(out)
            clean(out / PRETRAINED)
            write(out / EXPERIMENT, to_toml(self.experiment.tree(), self.overrides))
            write_versions(out, str(team.device))
        if earlier and (changes or how.rollback):
            self.save(LAST)
        self.saved = time.monotonic()

    @property
    def workers(self) -> int:
        """Processes that load data."""
        return loaders(self.experiment.run.workers, self.team.device, self.team.share.world)

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return self.settings.validate_on > 0

    @property
    def judged(self) -> Predictor:
        """The model whose weights are validated and published."""
        return self.average.net if self.average else self.predictor

    @property
    def over(self) -> bool:
        """Whether all steps are done, or the last validations were none the better."""
        s, p = self.settings, self.progress
        tired = self.validates and s.patience > 0 and p.step - p.best_step >= s.patience * s.validate_every
        return p.step >= s.steps or tired

    def _check(self) -> None:
        """Refuse what cannot be trained. Raises `TrainError`."""
        s, world, name = self.settings, self.team.share.world, self.experiment.model
        if next(self.predictor.parameters(), None) is None:
            raise TrainError(f"{name} has no parameters, nothing to train; evaluate it directly")
        if s.batch_size % (world * s.accumulate):
            raise TrainError(
                f"train.batch_size {s.batch_size} is not a multiple of {world * s.accumulate}: {world} process(es) of "
                f"train.accumulate = {s.accumulate} parts; change one of them"
            )
        if s.graphs and (self.predictor.steady_from == math.inf or world > 1 or s.accumulate > 1):
            raise TrainError(
                f"train.graphs is for one process, batches in one part and models whose loss settles; {name} draws "
                f"numbers of its own at each step, or there are {world} processes or {s.accumulate} parts; set "
                f"train.graphs=false"
            )

    def _changes(self, earlier: Checkpoint, how: Continuing) -> list[Change]:
        """What becomes of the settings. Raises `TrainError` where that is not allowed."""
        changes, step = self.experiment.difference(earlier.experiment), earlier.progress.step
        if refused := [change for change in changes if change.setting not in how.overridden]:
            raise TrainError(
                f"{self.out} holds a run with other settings; give another folder, or the same settings, or those of "
                "train as --override:\n" + "\n".join(map(str, refused))
            )
        if self.settings.steps < step:
            raise TrainError(
                f"{self.out} has done {number_of(step, 'step')} already; train.steps cannot be {self.settings.steps}"
            )
        self.notes += [f"from step {step} on {change}" for change in changes]
        self.notes += [f"goes back to step {step}"] if how.rollback else []
        self.overrides = earlier.overrides + tuple(Override(step, c.setting, c.before, c.now) for c in changes)
        return changes

    def _restore(self, earlier: Checkpoint) -> None:
        state, source = earlier.state, str(self.out)
        load_weights(self.predictor, state.weights, source)
        checkpoint.restore_optimiser(self.optimiser, state.optimiser)
        if state.scaler and self.scaler.is_enabled():
            scale, growth = (state.scaler[name].item() for name in ("scale", "growth"))
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)})
        if state.average and self.settings.ema:
            self.average = Average(self.predictor, self.settings.ema)
            load_weights(self.average.net, state.average, source)
        self.progress = earlier.progress

    def go_on(self, stop: Stop, listeners: Sequence[Listener]) -> float:
        """Train until the run is over or `stop` is set; returns the last loss."""
        s, every, team = self.settings, self.experiment.run, self.team
        self.predictor.checkpoint = s.checkpoint
        if s.compile:
            self.predictor.compile_cells()
        net = _wrapped(self.predictor, team)
        replays = s.graphs and team.device.type == "cuda"
        first = self.progress.step
        batches = training_batches(self.clips, s.seed, s.batch_size, first, self.workers, team.device, team.share)
        clock, losses = _Clock(first, s), list[float]()
        for listener in listeners:
            listener.began(first, s.steps, "\n".join([self.clips.protocol, *self.notes]))
        for done in range(first + 1, s.steps + 1):
            batch = next(batches)
            if replays and done - 1 >= self.predictor.steady_from:
                net, replays = self.recorded(batch), False
            loss, gradient = self.update(net, batch, done - 1)
            losses.append(loss)
            epoch, place = position(self.clips, s.batch_size, done)
            self.progress = replace(self.progress, step=done, epoch=epoch, position=place)
            for listener in listeners:
                listener.stepped(done, loss)
            if done % every.log_every == 0 or done == s.steps:
                report = clock.report(done, sum(losses) / len(losses), gradient)
                losses.clear()
                for listener in listeners:
                    listener.logged(report)
            if self.validates and (done % s.validate_every == 0 or done == s.steps):
                scored = self.validate()
                for listener in listeners:
                    listener.validated(scored)
            halted = team.total(float(stop.number > 0))[0] > 0
            if done % every.save_every == 0 or self.over or halted or self.overdue:
                self.save(LAST)
            if self.over or halted:
                break
        return loss

    @property
    def overdue(self) -> bool:
        """Whether the last checkpoint was written too many minutes ago."""
        minutes = self.experiment.run.save_minutes
        return minutes > 0 and time.monotonic() - self.saved >= 60 * minutes

    def recorded(self, batch: Pairs) -> nn.Module:
        """The loss as CUDA graphs, recorded on a batch."""
        try:
            return Replayed(self.predictor, batch.past, batch.future, self.settings.precision)
        except RuntimeError as why:
            raise TrainError(f"this step cannot be recorded as a CUDA graph ({why}); set train.graphs=false") from why

    def update(self, net: nn.Module, batch: Pairs, step: int) -> tuple[float, float]:
        """One step on a batch; the loss, and the norm of its gradient."""
        s, share = self.settings, self.team.share
        seed = s.seed * share.world + share.rank
        torch.manual_seed(int(stream("step", seed, step)) >> 1)  # for models that draw from the global generator
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(s, step)
            if "betas" in group:
                group["betas"] = (first_beta(s, step), s.betas[1])
        for past, future in _directions(batch, s.reverse_input):
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.backward(net, past, future, step, seed)
            self.scaler.unscale_(self.optimiser)
            norm = nn.utils.clip_grad_norm_(self.predictor.parameters(), s.clip_norm or math.inf)
            value, gradient = torch.stack([loss.double(), norm.double()]).tolist()
            overflow = self.scaler.is_enabled() and self.scaler.get_scale() >= 1  # the scaler's business
            if not (math.isfinite(value) and (math.isfinite(gradient) or overflow)):
                raise self.diverged(f"step {step}: loss {value}, gradient norm {gradient}", batch.keys)
            self.scaler.step(self.optimiser)
            self.scaler.update()
        if self.average:
            self.average.follow(self.predictor, step)
        return value, gradient

    def backward(self, net: nn.Module, past: Tensor, future: Tensor, step: int, seed: int) -> Tensor:
        """Add up the gradients of a batch, part by part; its loss."""
        parts, total = self.settings.accumulate, torch.zeros((), device=past.device)
        for i, (p, f) in enumerate(zip(past.chunk(parts), future.chunk(parts), strict=True)):
            alone = isinstance(net, nn.parallel.DistributedDataParallel) and i < parts - 1
            with net.no_sync() if alone else contextlib.nullcontext():  # type: ignore[operator]
                with mixed(self.team.device, self.settings.precision):
                    loss = net(p, f, step, seed * parts + i) / parts
                self.scaler.scale(loss).backward()
            total = total + loss.detach()
        return total

    def diverged(self, what: str, keys: Sequence[str]) -> DivergedError:
        """What to say of a loss or gradient that is not finite, with options that the same command takes."""
        s, kept = self.settings, _found(self.out, rollback=False)
        clip = f"train.clip_norm={s.clip_norm / 2 if s.clip_norm else 1:g}"
        advice = f"run the same command with --override train.lr={s.lr / 2:g} or --override {clip}"
        where = f"{kept} is of step {checkpoint.read(kept).progress.step}" if kept else f"{self.out} keeps no step"
        if (self.out / BEST).is_file():
            advice += f", and with --rollback to go back to its best step, {self.progress.best_step}"
        return DivergedError(f"{what}, on the clips {', '.join(keys)}; {where}. To continue, {advice}")

    def validate(self) -> Validated:
        """Score the validation clips, and keep the weights if they are the best so far."""
        s = self.settings
        batches = ordered_batches(
            self.held[0], s.validate_on, s.batch_size, self.workers, self.team.device, self.team.share
        )
        total, count, picture = score(self.judged, batches, s.precision)
        total, count = self.team.total(total, count)
        mean, step = total / count, self.progress.step
        best = mean < self.progress.best
        if best:
            self.progress = replace(self.progress, best=mean, best_step=step)
            self.save(BEST)
        return Validated(step, mean, best, picture)

    def as_checkpoint(self) -> Checkpoint:
        """All that continuing takes."""
        scaler = self.scaler.state_dict()
        state = State(
            weights=self.predictor.state_dict(),
            average=self.average.net.state_dict() if self.average else {},
            optimiser=checkpoint.optimiser_tensors(self.optimiser),
            scaler={"scale": torch.tensor(scaler["scale"]), "growth": torch.tensor(scaler["_growth_tracker"])}
            if scaler
            else {},
        )
        return Checkpoint(self.experiment, self.overrides, self.progress, state)

    def save(self, name: str) -> None:
        """Write a checkpoint. Raises `UnsavedError`."""
        self.saved = time.monotonic()
        if not self.team.leads:
            return
        try:
            checkpoint.save(self.out / name, self.as_checkpoint())
        except OSError as why:
            kept = " and ".join(name for name in (LAST, BEST) if (self.out / name).is_file()) or "no earlier one"
            raise UnsavedError(
                f"the checkpoint of step {self.progress.step} cannot be saved; {self.out} keeps {kept}. "
                f"{of_the_system(why) or why}, and run the same command again"
            ) from why

    def export(self) -> None:
        """Write the best weights the way `from_pretrained` reads them."""
        path = checkpoint.find(self.out)
        predictor = checkpoint.load_predictor(str(path))
        predictor.origin = checkpoint.origin(checkpoint.read(path), self.clips.protocol, self.clips.fingerprint)
        predictor.save_pretrained(self.out / PRETRAINED)


def _found(out: Path, rollback: bool) -> Path | None:
    """The checkpoint to continue from."""
    names = (BEST, LAST) if rollback else (LAST, BEST)
    return next((path for name in names if (path := out / name).is_file()), None)


def _with_threads(experiment: Experiment, earlier: Checkpoint | None, team: Team) -> Experiment:
    """Set the number of CPU threads, and say which in the settings; sums depend on it, so that a run keeps it."""
    if team.device.type != "cpu":
        return experiment
    kept = earlier.experiment.run.threads if earlier else 0
    threads = experiment.run.threads or kept or default_threads()
    torch.set_num_threads(threads)
    return replace(experiment, run=experiment.run.model_copy(update={"threads": threads}))


class _Clock:
    """Turns steps into rates."""

    def __init__(self, first: int, settings: TrainSettings) -> None:
        self.first, self.settings = first, settings
        self.start = self.before = time.monotonic()
        self.counted = first

    def report(self, done: int, loss: float, gradient: float) -> Logged:
        """What is said after `done` steps."""
        now, s = time.monotonic(), self.settings
        rate = (done - self.counted) * s.batch_size / max(now - self.before, 1e-9)
        left = (now - self.start) / (done - self.first) * (s.steps - done)
        self.before, self.counted = now, done
        return Logged(done, s.steps, loss, gradient, learning_rate(s, done - 1), rate, left)


@torch.no_grad()
def score(predictor: Predictor, batches: Iterator[Pairs], precision: str) -> tuple[float, float, NDArray[np.uint8]]:
    """Sum of the clips' mean `mse_sum`, how many clips, and a picture of the first ones."""
    total = count = 0.0
    picture = np.zeros((0, 0, 3), np.uint8)
    was_training = predictor.training
    predictor.eval()
    for batch in batches:
        with mixed(batch.past.device, precision):
            predicted = predictor(batch.past, batch.future.shape[1])
        total += float(mse_sum(predicted, batch.future).mean(dim=1).sum())
        if not count:
            picture = _pictured(batch, predicted)
        count += len(batch.keys)
    predictor.train(was_training)
    return total, count, picture


def _pictured(batch: Pairs, predicted: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3): two rows for each of the first clips, true frames above predicted ones."""
    true = torch.cat([batch.past, batch.future], dim=1)[:SHOWN]
    shown = torch.cat([torch.zeros_like(batch.past), predicted.to(batch.past.dtype)], dim=1)[:SHOWN]
    rows = to_bytes(torch.stack([true, shown], dim=1))  # (B, 2, T, C, H, W)
    rows = np.repeat(rows, 3 // rows.shape[3], axis=3)
    b, two, t, c, h, w = rows.shape
    return rows.transpose(0, 1, 4, 2, 5, 3).reshape(b * two * h, t * w, c)


def _directions(batch: Pairs, reverse: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Past and future as they are and, with `reverse`, of the clip played backwards."""
    yield batch.past, batch.future
    if reverse:
        backwards = torch.cat([batch.past, batch.future], dim=1).flip(1)
        yield backwards[:, : batch.past.shape[1]], backwards[:, batch.past.shape[1] :]


def _wrapped(predictor: Predictor, team: Team) -> nn.Module:
    loss = _Loss(predictor)
    if team.share.world == 1:
        return loss
    return nn.parallel.DistributedDataParallel(loss, device_ids=[team.device] if team.device.type == "cuda" else None)
