"""Seconds and bytes of a training step and of a prediction, case by case, each in a file of its own.

Processes that measure on one GPU take turns by a lock; what they compile, they compile side by side.
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
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from astm.predictor import Predictor, model
from astm.size import count_parameters
from astm.training.optimisation import make_optimiser
from benchmarks.gpu.forms import COMPILED, Case, Job, compiled_cases, eager_cases, experiment
from benchmarks.gpu.ways import Ready, prepare, set_precision

Outcome: TypeAlias = Literal["measured", "out of memory", "no such way", "failed", "died"]
SECONDS, LEAST, MOST, WARM_UP = 0.8, 3, 40, 3
"""A measurement lasts about so long, at least and at most so many steps, after these at most."""
PIXEL_BY_PIXEL = ("vpn",)
"""A prediction takes 40,960 passes through the decoder: not timed."""
LONGEST = {"eager": 25.0, "compiled": 100.0}
"""Seconds for a case, its waiting for the device included."""
PATIENCE = 4.0
"""Seconds after which one step is enough."""


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


def run(job: Job, until: float) -> None:
    """Measure every case that is not measured yet, as far as time (`time.time()`) allows."""
    (job.out / "speed").mkdir(parents=True, exist_ok=True)
    if job.smoke:
        few = [case for case in eager_cases(job.smoke) if case.precision == "float32"]
        measure_all(job, "eager", few[:5:2], until)
        return
    lanes = ["eager", *COMPILED]
    children = {lane: _start(job, lane, until) for lane in lanes}
    restarts = dict.fromkeys(lanes, 5)
    while children and time.time() < until + 5:
        time.sleep(0.5)
        for lane, child in list(children.items()):
            if overdue(job.out / "speed", lane):
                child.kill()
                child.wait()
            if child.poll() is not None:
                del children[lane]
                bury(job.out / "speed", lane)
                if child.returncode and restarts[lane] and time.time() < until:
                    restarts[lane] -= 1
                    children[lane] = _start(job, lane, until)
    for child in children.values():
        child.kill()
        child.wait()


def _start(job: Job, lane: str, until: float) -> "subprocess.Popen[bytes]":
    for stale in (job.out / "speed").glob(f"*.{lane}"):
        stale.unlink()
    command = [sys.executable, "-m", "benchmarks.gpu", "speed-lane", "--lane", lane, "--until", str(until)]
    command += ["--out", str(job.out), "--data", str(job.root), "--device", job.device]
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(job.out.resolve() / "inductor"), "TORCHINDUCTOR_COMPILE_THREADS": "4"}
    return subprocess.Popen(command, env={**os.environ, **cache})


def lane(job: Job, name: str, until: float) -> None:
    """What one process measures: "eager", or a model compiled."""
    measure_all(job, name, eager_cases(job.smoke) if name == "eager" else compiled_cases(name, job.smoke), until)


def overdue(folder: Path, lane: str) -> bool:
    """Whether a lane has been at one case for too long: cuDNN's search or a compiler may take minutes."""
    allowed = LONGEST["eager" if lane == "eager" else "compiled"]
    return any(time.time() - begun.stat().st_mtime > allowed for begun in folder.glob(f"*.{lane}"))


def bury(folder: Path, lane: str) -> None:
    """What a lane began and did not end took its process along: say so, and do not try again."""
    for begun in folder.glob(f"*.{lane}"):
        case = json.loads(begun.read_text())
        died = Speed("died", "its process ended or was ended, too slow", 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        begun.with_suffix(".json").write_text(json.dumps({**case, **asdict(died)}, indent=1) + "\n")
        begun.unlink()


def measure_all(job: Job, lane: str, cases: Sequence[Case], until: float) -> None:
    """Measure in order, until time is up; a failure is a result."""
    for case in cases:
        path = job.out / "speed" / f"{case.name}.json"
        if path.exists() or time.time() > until:
            continue
        path.with_suffix(f".{lane}").write_text(json.dumps(asdict(case)))
        speed = attempt(case, job)
        path.write_text(json.dumps({**asdict(case), **asdict(speed)}, indent=1) + "\n")
        path.with_suffix(f".{lane}").unlink()
        told = f"{speed.step_ms:.1f} ms {speed.peak_mib:.0f} MiB {speed.why[:100]}"
        print(f"{case.name}: {speed.outcome} {told}", flush=True)


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
    finally:
        if job.device == "cuda":
            torch.cuda.empty_cache()
    return Speed(outcome, " ".join(text.split())[:300], 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def measure(case: Case, job: Job) -> Speed:
    """Time one case on random pictures: the same weights and pictures for every way of a model."""
    device = torch.device(job.device)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    set_precision(case.precision)
    free_running = ("model.sampling_steps=0",) if "sampling_steps" in model[case.model].Settings.model_fields else ()
    settings = experiment(case.model, case.form, job, *free_running)
    torch.manual_seed(0)
    predictor = settings.predictor().to(device)
    past, future = torch.rand(2, case.batch, 10, 1, 64, 64, generator=torch.Generator().manual_seed(0)).to(device)
    optimiser = make_optimiser(predictor, settings.train, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    compiled, began, first = case.way.startswith("compiled"), time.perf_counter(), 0.0
    if compiled:  # off the lock: compilers may work side by side
        ready = prepare(predictor, case.way, case.precision, past, future)
        ready.loss(past, future, 0).backward()
        first = time.perf_counter() - began
    with gpu(job):
        began = time.perf_counter()
        if not compiled:
            ready = prepare(predictor, case.way, case.precision, past, future)
        loss = step(ready, predictor, optimiser, past, future)
        first += time.perf_counter() - began
        seconds = timed(lambda: step(ready, predictor, optimiser, past, future), job)
        peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
        predicting = 0.0
        if case.model not in PIXEL_BY_PIXEL:
            predicting = timed(lambda: predict(ready.net, past, case.precision), job)
    rate = case.batch / seconds
    return Speed("measured", "", count_parameters(predictor), seconds * 1e3, rate, predicting * 1e3, peak, first, loss)


def step(ready: Ready, predictor: nn.Module, optimiser: torch.optim.Optimizer, past: Tensor, future: Tensor) -> float:
    """One step of training; the loss, which waits for the device. Raises ArithmeticError where there is no number."""
    loss = ready.loss(past, future, 0)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(predictor.parameters(), 1.0)
    optimiser.step()
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
def gpu(job: Job) -> Iterator[None]:
    """The device for this process alone."""
    with (job.out / "gpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
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
