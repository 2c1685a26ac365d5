"""The training loop: one process, or several started by `torchrun`; interrupted and continued equals uninterrupted.

Everything that happens at a step is a function of the settings, the step and the rank: the batch, the learning rate,
the random numbers. So a run's state is its weights, its optimiser and the step.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch import distributed as dist

from astm.data import Pairs, open_clips
from astm.data.clips import ordered_batches, position, training_batches
from astm.metrics import mse_sum
from astm.predictor import Predictor
from astm.pretrained.store import load_weights
from astm.training import checkpoint
from astm.training.checkpoint import BEST, LAST, START, Progress
from astm.training.graphs import Replayed
from astm.training.settings import Experiment, TrainSettings, to_toml
from mlst.draws import stream
from mlst.exits import Exit, UserError, of_the_system
from mlst.files import clean, write
from mlst.loading import Share

EXPERIMENT, PRETRAINED = "experiment.toml", "pretrained"
"""In a run's folder: all its settings, and its best model as `from_pretrained` reads it."""


class TrainError(UserError, RuntimeError):
    """Training that cannot start or continue; the message names the remedy."""


class DivergedError(TrainError):
    """A loss or gradient that is not finite."""

    exit_code = Exit.WRONG


class UnsavedError(TrainError):
    """The disk does not take a checkpoint."""

    exit_code = Exit.WRONG


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


class Listener(Protocol):
    """Hears how training goes; only in the process of rank 0."""

    def began(self, step: int, steps: int, about: str) -> None:
        """Training starts, or resumes, after `step` of `steps` batches."""

    def logged(self, report: Logged) -> None:
        """Some more steps are done."""

    def validated(self, report: Validated) -> None:
        """The validation clips were scored."""


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


@dataclass(frozen=True, slots=True)
class Team:
    """The processes that train together, and this one's place and device."""

    share: Share
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes files."""
        return self.share.rank == 0

    def total(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        if self.share.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()


class _Loss(nn.Module):
    """A predictor's loss as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, past: Tensor, future: Tensor, step: int, seed: int) -> Tensor:
        return self.predictor.loss(past, future, step, seed)


def train(experiment: Experiment, out: Path, device: str = "auto", listeners: Sequence[Listener] = ()) -> Trained:
    """Train a model, from the beginning or from where the run in `out` was interrupted.

    Parameters
    ----------
    out: the run's folder: `last.safetensors`, `best.safetensors`, `experiment.toml`, and at the end `pretrained/`.
    device: `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:1`.

    Raises
    ------
    TrainError: a model without parameters, a run in `out` with other settings, a loss that is not finite, or a
        disk that takes no checkpoint.
    DataError: missing or unfit data. CheckpointError: an unreadable run.
    """
    began = time.monotonic()
    with _team(device) as team, _stopping() as stop:
        run = _Run(experiment, out, team)
        if run.progress.step < experiment.train.steps:
            loss = run.go_on(stop, listeners if team.leads else ())
        else:
            loss = math.nan
        finished = run.progress.step == experiment.train.steps
        if finished and team.leads:
            run.export()
    number = 0 if finished else stop.number or signal.SIGTERM
    return Trained(finished, number, run.progress, loss, time.monotonic() - began)


class _Run:
    """What a run holds in memory."""

    def __init__(self, experiment: Experiment, out: Path, team: Team) -> None:
        self.experiment, self.settings, self.out, self.team = experiment, experiment.train, out, team
        if team.device.type == "cuda":
            torch.backends.cudnn.benchmark = experiment.run.autotune
        torch.manual_seed(self.settings.seed)
        self.predictor = experiment.predictor().to(team.device)
        if next(self.predictor.parameters(), None) is None:
            raise TrainError(f"{experiment.model} has no parameters, nothing to train; evaluate it directly")
        if self.settings.graphs and (self.predictor.steady_from == math.inf or team.share.world > 1):
            raise TrainError(
                f"train.graphs is for one process and models whose loss settles; {experiment.model} draws numbers of "
                f"its own at each step, or there are {team.share.world} processes; set train.graphs=false"
            )
        self.optimiser = make_optimiser(self.predictor, self.settings, team.device)
        self.progress = self._resume()
        self.clips = open_clips(experiment.data, experiment.data_settings, "train")
        self.held = [open_clips(experiment.data, experiment.data_settings, "validation")] if self.validates else []
        if team.leads:
            clean(out)
            clean(out / PRETRAINED)
            write(out / EXPERIMENT, to_toml(experiment.tree()))

    @property
    def workers(self) -> int:
        """Processes that load data."""
        return loaders(self.experiment.run.workers, self.team.device, self.team.share.world)

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return self.settings.validate_on > 0

    def _resume(self) -> Progress:
        path = next((path for name in (LAST, BEST) if (path := self.out / name).is_file()), None)
        if path is None:
            return START
        earlier = checkpoint.read(path)
        if differences := self.experiment.difference(earlier.experiment):
            raise TrainError(
                f"{self.out} holds a run with other settings; give another folder, or the same settings:\n"
                + "\n".join(differences)
            )
        if path.name == BEST:  # interrupted before the first `save_every`
            return START
        load_weights(self.predictor, earlier.weights, str(path))
        checkpoint.restore_optimiser(self.optimiser, earlier.optimiser)
        return earlier.progress

    def go_on(self, stop: "Stop", listeners: Sequence[Listener]) -> float:
        """Train until all steps are done or `stop` is set; returns the last loss."""
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
            listener.began(first, s.steps, self.clips.protocol)
        for done in range(first + 1, s.steps + 1):
            batch = next(batches)
            if replays and done - 1 >= self.predictor.steady_from:
                net, replays = self.recorded(batch), False
            loss, gradient = self.update(net, batch, done - 1)
            losses.append(loss)
            self.progress = Progress(
                done, *position(self.clips, s.batch_size, done), self.progress.best, self.progress.best_step
            )
            ending = done == s.steps
            if done % every.log_every == 0 or ending:
                report = clock.report(done, sum(losses) / len(losses), gradient)
                losses.clear()
                for listener in listeners:
                    listener.logged(report)
            if self.validates and (done % s.validate_every == 0 or ending):
                scored = self.validate()
                for listener in listeners:
                    listener.validated(scored)
            halted = team.total(float(stop.number > 0))[0] > 0
            if done % every.save_every == 0 or ending or halted:
                self.save(LAST)
            if halted:
                break
        return loss

    def recorded(self, batch: Pairs) -> nn.Module:
        """The loss as CUDA graphs, recorded on a batch."""
        try:
            return Replayed(self.predictor, batch.past, batch.future, self.settings.precision)
        except RuntimeError as why:
            raise TrainError(f"this step cannot be recorded as a CUDA graph ({why}); set train.graphs=false") from why

    def update(self, net: nn.Module, batch: Pairs, step: int) -> tuple[float, float]:
        """One step on a batch; the loss, and the norm of its gradient."""
        s, rank = self.settings, self.team.share.rank
        seed = s.seed * self.team.share.world + rank
        torch.manual_seed(int(stream("step", seed, step)) >> 1)  # for models that draw from the global generator
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(s, step)
            if "betas" in group:
                group["betas"] = (first_beta(s, step), s.betas[1])
        for past, future in _directions(batch, s.reverse_input):
            with torch.autocast(self.team.device.type, torch.bfloat16, enabled=s.precision == "bfloat16"):
                loss = net(past, future, step, seed)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.predictor.parameters(), s.clip_norm or math.inf)
            value, gradient = torch.stack([loss.detach().double(), norm.double()]).tolist()
            if not (math.isfinite(value) and math.isfinite(gradient)):
                raise DivergedError(
                    f"step {step}: loss {value}, gradient norm {gradient}, on the clips {', '.join(batch.keys)}; "
                    f"the weights before it are in {self.out / LAST} if saved. Lower train.lr or set train.clip_norm"
                )
            self.optimiser.step()
        return value, gradient

    def validate(self) -> Validated:
        """Score the validation clips, and keep the weights if they are the best so far."""
        batches = ordered_batches(
            self.held[0],
            self.settings.validate_on,
            self.settings.batch_size,
            self.workers,
            self.team.device,
            self.team.share,
        )
        total, count = self.team.total(*score(self.predictor, batches, self.settings.precision))
        mean, step = total / count, self.progress.step
        best = mean < self.progress.best
        if best:
            p = self.progress
            self.progress = Progress(p.step, p.epoch, p.position, mean, step)
            self.save(BEST)
        return Validated(step, mean, best)

    def save(self, name: str) -> None:
        """Write a checkpoint; the best one without the optimiser. Raises `UnsavedError`."""
        if not self.team.leads:
            return
        optimiser = checkpoint.optimiser_tensors(self.optimiser) if name == LAST else {}
        try:
            checkpoint.save(self.out / name, self.experiment, self.progress, self.predictor, optimiser)
        except OSError as why:
            kept = " and ".join(name for name in (LAST, BEST) if (self.out / name).is_file()) or "no earlier one"
            raise UnsavedError(
                f"the checkpoint of step {self.progress.step} cannot be saved; {self.out} keeps {kept}. "
                f"{of_the_system(why) or why}, and run the same command again"
            ) from why

    def export(self) -> None:
        """Write the best weights the way `from_pretrained` reads them."""
        predictor = checkpoint.load_predictor(str(checkpoint.find(self.out)))
        about = self.clips.protocol, self.clips.fingerprint
        predictor.origin = checkpoint.origin(self.experiment, self.progress, *about)
        predictor.save_pretrained(self.out / PRETRAINED)


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


def make_optimiser(predictor: Predictor, settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """Adam, AdamW or RMSProp over all parameters."""
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(
            predictor.parameters(), settings.lr, alpha=0.9, eps=1e-5, weight_decay=settings.weight_decay
        )
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    fused, decay = device.type == "cuda", settings.weight_decay
    return kind(predictor.parameters(), settings.lr, settings.betas, weight_decay=decay, fused=fused)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Of a step, counted from 0."""
    s = settings
    if s.schedule == "exponential":
        return s.lr * s.decay ** (max(0, step - s.decay_from) // s.decay_every)
    if s.schedule == "linear":
        return s.lr * min(1.0, (s.steps - step) / max(s.steps - s.decay_from, 1))
    if s.schedule == "onecycle":
        low = s.lr / 25
        return _one_cycle(s.steps, step, low, s.lr, low / 10_000)
    return s.lr


def first_beta(settings: TrainSettings, step: int) -> float:
    """Adam's first beta: `onecycle` moves it between 0.95 and 0.85, against the learning rate, as PyTorch's does."""
    if settings.schedule == "onecycle":
        return _one_cycle(settings.steps, step, 0.95, 0.85, 0.95)
    return settings.betas[0]


def _one_cycle(steps: int, step: int, start: float, middle: float, end: float) -> float:
    """Cosine from start to middle in the first 30 % of the steps, then from middle to end."""
    turn = 0.3 * steps - 1
    if step <= turn:
        return _cosine(start, middle, step / turn)
    return _cosine(middle, end, (step - turn) / max(steps - 1 - turn, 1e-9))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


@torch.no_grad()
def score(predictor: Predictor, batches: Iterator[Pairs], precision: str) -> tuple[float, float]:
    """Sum of the clips' mean `mse_sum`, and how many clips."""
    total = count = 0.0
    was_training = predictor.training
    predictor.eval()
    for batch in batches:
        with torch.autocast(batch.past.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            predicted = predictor(batch.past, batch.future.shape[1])
        total += float(mse_sum(predicted, batch.future).mean(dim=1).sum())
        count += len(batch.keys)
    predictor.train(was_training)
    return total, count


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


def loaders(workers: int, device: torch.device, world: int) -> int:
    """Processes that load data for each of `world` processes that train: as many as told, or for -1 as many as fit."""
    if workers >= 0:
        return workers
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(free // world - 1, 0)) if device.type == "cuda" else 0


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto` is CUDA if there is one. Raises `TrainError` for one that is not there."""
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as why:
        raise TrainError(f"no device {name!r}: {why}; choices are auto, cpu, cuda, cuda:0 ...") from None
    return device


@contextlib.contextmanager
def _team(device: str) -> Iterator[Team]:
    """Join the processes that `torchrun` started, if it did."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if world == 1:
        yield Team(Share(0, 1), chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(Share(dist.get_rank(), world), chosen)
    finally:
        dist.destroy_process_group()


@dataclass(slots=True)
class Stop:
    """Which signal asked to end; 0 for none yet."""

    number: int = 0


@contextlib.contextmanager
def _stopping() -> Iterator[Stop]:
    """Notes SIGTERM and SIGINT, so that a step is finished and saved; a second one ends at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: object) -> None:
        stop.number = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
