"""Seconds and bytes of a training step and of a prediction, each case in a process and a file of its own.

Some processes start at a time, and take turns on the device by a lock; what they compile, they compile side by side.
One that is too slow is ended, and says so.
"""

import fcntl
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from astm.predictor import Predictor, model
from astm.size import count_parameters
from astm.training.optimisation import make_optimiser
from benchmarks.gpu.forms import Case, Form, Job, cases, experiment
from benchmarks.gpu.ways import Ready, prepare, set_precision

Outcome: TypeAlias = Literal["measured", "out of memory", "no such way", "failed", "died"]
SECONDS, LEAST, MOST, WARM_UP = 0.4, 3, 40, 2
"""A measurement lasts about so long, at least and at most so many steps, after these at most."""
PATIENCE = 4.0
"""Seconds after which one step is enough."""
PIXEL_BY_PIXEL = ("vpn",)
"""A prediction takes 40,960 passes through the decoder: not timed."""
AT_ONCE = 3
"""Processes that start, compile or wait for the device: no more, because a step that waits for its kernels to be
launched takes longer where all cores are busy."""
LIFE = 300.0
"""Seconds for a process, the time that it waits included."""
SMOKE = ("small-simvp-graph-tf32", "paper-astm-eager-float32", "paper-simvp-channels_last-tf32")


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one case."""

    outcome: Outcome
    why: str
    """What was raised, in short; "" if measured."""
    parameters: int
    step_ms: float
    """Median of forward pass, backward pass, clipping and Adam."""
    samples_per_s: float
    """Sequences trained on."""
    predict_ms: float
    """A prediction of the batch without gradients; 0 where it was not timed."""
    peak_mib: float
    """Most memory in tensors while training and recording; 0 on a CPU."""
    first_s: float
    """Until the first step was done: kernels chosen, compiled, recorded."""
    loss: float
    """Of the first batch, the same for every way of a model."""


def run(job: Job, forms: Sequence[Form], until: float) -> None:
    """Measure every case of these forms that is not measured yet, as far as time (`time.time()`) allows."""
    (job.out / "speed").mkdir(parents=True, exist_ok=True)
    left = [case for case in cases(job.smoke) if case.form in forms]
    left = [case for case in left if not file(job, case).exists()]
    if job.smoke:
        for case in left:
            if case.name in SMOKE:
                one(job, case.name)
        return
    at_work: list[tuple[Case, subprocess.Popen[bytes], float]] = []
    while (left or at_work) and time.time() < until:
        while left and len(at_work) < AT_ONCE:
            case = left.pop(0)
            at_work.append((case, _start(job, case), time.time()))
        time.sleep(0.05)
        for case, child, began in at_work.copy():
            if overdue(job, case, began):
                _end(child)
            if child.poll() is not None:
                at_work.remove((case, child, began))
                bury(job, case)
    for _, child, _ in at_work:
        _end(child)


def file(job: Job, case: Case) -> Path:
    """Of its result."""
    return job.out / "speed" / f"{case.name}.json"


def _start(job: Job, case: Case) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "benchmarks.gpu", "case", "--case", case.name, "--out", str(job.out)]
    command += ["--data", str(job.root), "--device", job.device]
    return subprocess.Popen(command, env=caches(job))


def caches(job: Job) -> dict[str, str]:
    """The environment of a process, with what others have compiled."""
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(job.out.resolve() / "inductor"), "TORCHINDUCTOR_COMPILE_THREADS": "4"}
    return {**os.environ, **cache}


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.wait()


def begun(job: Job, case: Case) -> Path:
    """The file that lies there while a case has the device."""
    return file(job, case).with_suffix(".begun")


def overdue(job: Job, case: Case, started: float) -> bool:
    """Whether a process has been at its case for too long."""
    try:
        on_device = time.time() - begun(job, case).stat().st_mtime
    except FileNotFoundError:
        on_device = 0.0
    return on_device > case.patience or time.time() - started > LIFE


def bury(job: Job, case: Case) -> None:
    """What began and did not end took its process along: say so, and do not try again."""
    if begun(job, case).exists():
        died = Speed("died", f"its process ended, or was ended after {case.patience:.0f} s", 0, *[0.0] * 6)
        keep(job, case, died)


def keep(job: Job, case: Case, speed: Speed) -> None:
    """Write the result of a case."""
    file(job, case).write_text(json.dumps({**asdict(case), **asdict(speed)}, indent=1) + "\n")
    begun(job, case).unlink(missing_ok=True)
    told = f"{speed.step_ms:.1f} ms, {speed.peak_mib:.0f} MiB, first {speed.first_s:.1f} s {speed.why[:100]}"
    print(f"{case.name}: {speed.outcome} {told}", flush=True)


def one(job: Job, name: str) -> None:
    """Measure the case of this name; a failure is a result."""
    case = named(job, name)
    keep(job, case, attempt(case, job))


def named(job: Job, name: str) -> Case:
    """The case of this name."""
    return next(case for case in cases(job.smoke) if case.name == name)


def attempt(case: Case, job: Job) -> Speed:
    """The speed, or why there is none."""
    try:
        return measure(case, job)
    except torch.OutOfMemoryError as why:
        outcome: Outcome = "out of memory"
        text = str(why)
    except NotImplementedError as why:
        outcome, text = "no such way", str(why)
    except Exception as why:  # whatever a compiler or a driver raises is the result
        outcome, text = "failed", f"{type(why).__name__}: {why}"
    return Speed(outcome, " ".join(text.split())[:300], 0, *[0.0] * 6)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, and what it is measured on: the same weights and random pictures for every way of a model."""

    predictor: Predictor
    optimiser: torch.optim.Optimizer
    past: Tensor
    future: Tensor


def subject(case: Case, job: Job) -> Subject:
    """On the device; this sets the arithmetic of the whole process."""
    device = torch.device(job.device)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    set_precision(case.precision)
    free_running = ("model.sampling_steps=0",) if "sampling_steps" in model[case.model].Settings.model_fields else ()
    settings = experiment(case.model, case.form, job, *free_running)
    torch.manual_seed(0)
    predictor = settings.predictor().to(device)
    predictor.checkpoint = settings.train.checkpoint
    past, future = torch.rand(2, case.batch, 10, 1, 64, 64, generator=torch.Generator().manual_seed(0)).to(device)
    return Subject(predictor, make_optimiser(predictor, settings.train, device), past, future)


def measure(case: Case, job: Job) -> Speed:
    """Time one case. What works side by side is done off the lock: loading libraries and compiling."""
    found = subject(case, job)
    load_libraries(found.past)
    began, first = time.perf_counter(), 0.0
    if case.way.startswith("compiled"):
        ready = prepare(found.predictor, case.way, case.precision, found.past, found.future)
        ready.loss(found.past, found.future, 0).backward()
        first = time.perf_counter() - began
    with gpu(job, case):
        began = time.perf_counter()
        if not case.way.startswith("compiled"):
            ready = prepare(found.predictor, case.way, case.precision, found.past, found.future)
        work = partial(step, ready, found)
        loss = work()
        first += time.perf_counter() - began
        seconds = timed(work, job)
        peak = torch.cuda.max_memory_allocated() / 2**20 if job.device == "cuda" else 0.0
        predicting = 0.0
        if case.model not in PIXEL_BY_PIXEL:
            predicting = timed(lambda: predict(ready.net, found.past, case.precision), job)
    rate = case.batch / seconds
    parameters = count_parameters(found.predictor)
    return Speed("measured", "", parameters, seconds * 1e3, rate, predicting * 1e3, peak, first, loss)


def load_libraries(clips: Tensor) -> None:
    """Let the device start and load what convolutions and products need, by a small one."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False):
        x = clips[:1, :1, :, :8, :8].clone().requires_grad_()
        (nn.Conv2d(1, 8, 3).to(x.device)(x[0]).flatten(2) @ x.new_ones(36, 8)).sum().backward()


def step(ready: Ready, subject: Subject) -> float:
    """One step of training; the loss, which waits for the device. Raises ArithmeticError where there is no number."""
    loss = ready.loss(subject.past, subject.future, 0)
    subject.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(subject.predictor.parameters(), 1.0)
    subject.optimiser.step()
    value, gradient = torch.stack([loss.detach().float(), norm.float()]).tolist()
    if not (math.isfinite(value) and math.isfinite(gradient)):
        raise ArithmeticError(f"loss {value}, gradient norm {gradient}")
    return float(value)


@torch.no_grad()
def predict(net: nn.Module, past: Tensor, precision: str) -> float:
    """Predict ten frames."""
    training = net.training
    net.eval()
    with torch.autocast(past.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        predicted = net(past, 10)
    net.train(training)
    return float(predicted[0, 0, 0, 0, 0])


def timed(work: Callable[[], float], job: Job) -> float:
    """Median seconds."""
    lasting, least, warm_up = (0.0, 1, 0) if job.smoke else (SECONDS, LEAST, WARM_UP)
    began, laps = time.perf_counter(), list[float]()
    for _ in range(warm_up):
        if time.perf_counter() - began < lasting:
            work()
    began = time.perf_counter()
    while not laps or ((spent := time.perf_counter() - began) < PATIENCE and len(laps) < MOST):
        if len(laps) >= least and spent >= lasting:
            break
        start = time.perf_counter()
        work()
        laps.append(time.perf_counter() - start)
    return statistics.median(laps)


@contextmanager
def gpu(job: Job, case: Case) -> Iterator[None]:
    """The device for this process alone."""
    with (job.out / "gpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun(job, case).touch()
        yield


def differences(job: Job) -> dict[str, float]:
    """Largest difference between frames of the paper's ASTM and of its other ways on the same weights."""
    set_precision("float32")
    settings = experiment("astm", "paper", job, *(("model.norm=none",) if job.smoke else ()))
    past = torch.rand(2, 10, 1, 64, 64, generator=torch.Generator().manual_seed(0)).to(job.device)

    def frames(way: Literal["eager", "plain", "folded", "channels_last"]) -> Tensor:
        torch.manual_seed(0)
        predictor: Predictor = settings.predictor().to(job.device)
        with torch.no_grad():
            predicted: Tensor = prepare(predictor, way, "float32", past, past).net(past, 10)
        return predicted

    ours = frames("eager")
    return {way: float((frames(way) - ours).abs().max()) for way in ("plain", "folded", "channels_last")}
