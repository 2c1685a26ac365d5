"""The checkpoint that comes with the package: `astm`, for as many steps as fit into the time."""

import json
import math
import time
from dataclasses import asdict, dataclass

import torch

from astm.training.optimisation import make_optimiser
from astm.training.train import train
from benchmarks.gpu.forms import Job, experiment
from benchmarks.gpu.speed import step, timed
from benchmarks.gpu.training import BATCH, Curve, before
from benchmarks.gpu.ways import Precision, Way, prepare, set_precision

STARTING, PART = 15.0, 0.92
"""Seconds, and part of the rest, that are not for steps and for steps."""
FORM = ("model.patch=4", "model.hidden=40")
"""Weights of 5 MB, on a finer grid than the other small forms."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What takes the least time on this device."""

    way: Way
    precision: Precision
    step_ms: float


def run(job: Job, until: float) -> None:
    """Train, until time is up, and leave the best weights in `bundled/pretrained`."""
    began = time.monotonic()
    ways: tuple[tuple[Way, Precision], ...] = (("eager", "bfloat16"), ("graph", "bfloat16"))
    if job.smoke:
        ways = (("eager", "tf32"),)
    chosen = min((attempted(job, *way) for way in ways), key=lambda c: c.step_ms)
    left = until - time.time() - STARTING
    steps = 3 if job.smoke else max(int(PART * left * 1e3 / chosen.step_ms) // 100 * 100, 100)
    set_precision(chosen.precision)
    curve = Curve()
    settings = experiment("astm", "small", job, *FORM, *recipe(chosen, steps, job.smoke))
    trained = before(until, lambda: train(settings, job.out / "bundled", job.device, [curve]))
    told = {
        "chosen": asdict(chosen),
        "finished": trained.finished,
        "seconds": round(time.monotonic() - began, 1),
        "training_seconds": round(trained.seconds, 1),
        "losses": [[r.step, round(r.loss, 6), round(r.clips_per_second, 1)] for r in curve.heard],
        "validation": [[r.step, round(r.score, 3)] for r in curve.scores],
    }
    (job.out / "bundled.json").write_text(json.dumps(told, indent=1) + "\n")
    print(told["chosen"], trained.progress, told["seconds"])


def recipe(chosen: Chosen, steps: int, smoke: bool) -> tuple[str, ...]:
    """Settings of the run."""
    precision = "bfloat16" if chosen.precision == "bfloat16" else "float32"
    return (
        f"model.sampling_steps={max(steps // 20, 1)}",
        f"train.steps={steps}",
        f"train.batch_size={2 if smoke else BATCH}",
        f"train.precision={precision}",
        f"train.graphs={str(chosen.way == 'graph').lower()}",
        f"train.validate_every={max(steps // 15, 1)}",
        f"train.validate_on={2 if smoke else 256}",
        f"run.log_every={max(steps // 60, 1)}",
        f"run.save_every={steps}",
        f"run.workers={0 if smoke else 8}",
    )


def attempted(job: Job, way: Way, precision: Precision) -> Chosen:
    """As `measured`; endless where it fails."""
    try:
        return measured(job, way, precision)
    except RuntimeError as why:
        print(f"{way}, {precision}: {why}")
        return Chosen(way, precision, math.inf)


def measured(job: Job, way: Way, precision: Precision) -> Chosen:
    """Milliseconds of a step."""
    device = torch.device(job.device)
    set_precision(precision)
    settings = experiment("astm", "small", job, *FORM, "model.sampling_steps=0")
    torch.backends.cudnn.benchmark = device.type == "cuda"
    predictor = settings.predictor().to(device)
    past, future = torch.rand(2, 2 if job.smoke else BATCH, 10, 1, 64, 64, device=device)
    optimiser = make_optimiser(predictor, settings.train, device)
    ready = prepare(predictor, way, precision, past, future)
    return Chosen(way, precision, 1e3 * timed(lambda: step(ready, predictor, optimiser, past, future), job))
