"""Moving MNIST under equal budgets: every model sees the same sequences in the same order for as many steps.

Steps, not seconds, are equal, so that a difference between models is not one between their kernels; the seconds of
each run are recorded beside it. A lane is a process that trains all models with one seed; lanes share the GPU.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from astm.data import open_clips
from astm.data.clips import ordered_batches
from astm.evaluation.evaluate import bootstrap
from astm.metrics import metric
from astm.predictor import Predictor, model
from astm.size import count_parameters
from astm.training.checkpoint import load_predictor
from astm.training.train import Logged, Trained, Validated, train
from benchmarks.gpu.forms import BATCHES, TEST_COUNT, TRAINED, Case, Job, experiment
from benchmarks.gpu.speed import caches, step, subject, timed
from benchmarks.gpu.ways import Precision, Way, prepare, set_precision

METRICS = ("mse_sum", "mae_sum", "psnr_frame", "ssim_wang", "ssim_sk_dr2")
SEEDS = (0, 1, 2)
BATCH = BATCHES["small"]
SAMPLING = 0.1
"""Part of the steps with scheduled sampling, which no graph can replay."""
PART = 0.85
"""Of the time that is left, for steps; the rest is slack."""
STARTING, SCORING = {"eager": 6.0, "graph": 8.0, "compiled graph": 25.0}, 10.0
"""Seconds of a run that are not steps."""
WORTH_COMPILING = 0.6
"""Compiling must bring a step below this part of its time."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How all runs of a benchmark are computed and how long they are."""

    precision: Precision
    way: Way
    steps: int
    together: float
    """How much longer a step takes with all lanes at work."""

    def settings(self, name: str, seed: int) -> tuple[str, ...]:
        """For `astm train`. The same for every model."""
        recurrent = "sampling_steps" in model[name].Settings.model_fields
        return (
            *((f"model.sampling_steps={max(int(self.steps * SAMPLING), 1)}",) if recurrent else ()),
            f"train.seed={seed}",
            f"train.steps={self.steps}",
            f"train.batch_size={BATCH}",
            f"train.precision={'bfloat16' if self.precision == 'bfloat16' else 'float32'}",
            f"train.graphs={str(self.way.endswith('graph')).lower()}",
            f"train.compile={str(self.way.startswith('compiled')).lower()}",
            f"train.validate_every={max(self.steps // 8, 1)}",
            "train.validate_on=256",
            f"run.log_every={max(self.steps // 60, 1)}",
            f"run.save_every={self.steps}",
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """A `Listener` that keeps what it hears."""

    heard: list[Logged] = field(default_factory=list)
    scores: list[Validated] = field(default_factory=list)

    def began(self, step: int, steps: int, about: str) -> None:
        """Nothing to keep."""

    def stepped(self, step: int, loss: float) -> None:
        """Nothing to keep."""

    def logged(self, report: Logged) -> None:
        """Keep."""
        self.heard.append(report)

    def validated(self, report: Validated) -> None:
        """Keep."""
        self.scores.append(report)


def run(job: Job, until: float) -> None:
    """Train and score what is not done yet, one lane for each seed, until time is up."""
    (job.out / "training").mkdir(parents=True, exist_ok=True)
    if job.smoke:
        precision, way = ("bfloat16", "graph") if job.device == "cuda" else ("tf32", "eager")
        write_recipe(job, Recipe(precision, way, 2, 1.0))
        lane(job, 0, until)
        lane(job, 1, until)
        return
    common = ["--until", str(until), "--out", str(job.out), "--data", str(job.root), "--device", job.device]
    command = [sys.executable, "-m", "benchmarks.gpu", "training-lane", *common, "--seed"]
    lanes = [subprocess.Popen([*command, str(seed)], env=caches(job)) for seed in SEEDS]
    while any(child.poll() is None for child in lanes) and time.time() < until + 20:
        time.sleep(0.5)
    for child in lanes:
        child.kill()
        child.wait()


def agreed(job: Job, seed: int, until: float) -> Recipe:
    """The recipe of all lanes: the first decides, once all have measured how long a step takes beside the others."""
    path = job.out / "training" / "recipe.json"
    if not path.exists():
        alone = fastest(small_steps(job))
        together = meet(job, "step", seed, step_seconds(job, alone, seed)) / max(alone.step_ms["astm"] / 1e3, 1e-9)
        if seed == SEEDS[0]:
            write_recipe(job, decided(alone, max(together, 1.0), until - time.time()))
        wait_for([path], 60)
    return Recipe(**json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class Alone:
    """How a step of each small model is computed in the least time, alone on the device."""

    precision: Precision
    way: Way
    step_ms: Mapping[str, float]
    eager_ms: Mapping[str, float]
    """Without a graph."""


def small_steps(job: Job) -> dict[tuple[Precision, Way], dict[str, float]]:
    """Milliseconds by way and model, of what was measured."""
    found: dict[tuple[Precision, Way], dict[str, float]] = {}
    for path in sorted((job.out / "speed").glob("small-*.json")):
        row = json.loads(path.read_text())
        if row["outcome"] == "measured":
            found.setdefault((row["precision"], row["way"]), {})[row["model"]] = row["step_ms"]
    return found


def fastest(steps: Mapping[tuple[Precision, Way], Mapping[str, float]]) -> Alone:
    """The way with the least time for all models together; eager and a guess where nothing was measured."""
    guess = dict.fromkeys(TRAINED, 80.0)
    whole = {key: times for key, times in steps.items() if set(times) >= set(TRAINED)}
    if not whole:
        return Alone("bfloat16", "eager", guess, guess)
    weight = {"compiled graph": 1 / WORTH_COMPILING}
    total = {key: sum(times.values()) * weight.get(key[1], 1.0) for key, times in whole.items()}
    precision, way = min(total, key=lambda key: total[key])
    return Alone(precision, way, whole[precision, way], whole.get((precision, "eager"), guess))


def decided(alone: Alone, together: float, left: float) -> Recipe:
    """As many steps as fit into `left` seconds of each lane, a multiple of 40."""
    training = PART * (left - len(TRAINED) * (STARTING[alone.way] + SCORING))
    replayed = together * sum(alone.step_ms[name] for name in TRAINED)
    eager = max(replayed, sum(alone.eager_ms[name] for name in TRAINED))
    steps = training * 1e3 / (SAMPLING * eager + (1 - SAMPLING) * replayed)
    return Recipe(alone.precision, alone.way, min(max(int(steps) // 40 * 40, 40), 12_000), together)


def write_recipe(job: Job, recipe: Recipe) -> None:
    """Settle how runs are computed, also for runs that go on later."""
    temporary = job.out / "training" / "recipe.tmp"
    temporary.write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    temporary.rename(job.out / "training" / "recipe.json")


def meet(job: Job, what: str, seed: int, value: float) -> float:
    """Wait for the other lanes, for a minute at most; the largest of their values."""
    paths = [job.out / "training" / f"{what}-{other}" for other in SEEDS]
    temporary = job.out / "training" / f"{what}-{seed}.tmp"
    temporary.write_text(str(value))
    temporary.rename(paths[SEEDS.index(seed)])
    wait_for(paths, 60)
    return max(float(path.read_text()) for path in paths if path.exists())


def wait_for(paths: list[Path], seconds: float) -> None:
    """Until all files are there, or time is up."""
    end = time.time() + seconds
    while time.time() < end and not all(path.exists() for path in paths):
        time.sleep(0.05)


def step_seconds(job: Job, alone: Alone, seed: int) -> float:
    """Of the small ASTM, now."""
    found = subject(Case("astm", "small", alone.way, alone.precision, BATCH), job)
    ready = prepare(found.predictor, alone.way, alone.precision, found.past, found.future)
    step(ready, found)
    meet(job, "warm", seed, 0.0)
    return timed(lambda: step(ready, found), job)


def lane(job: Job, seed: int, until: float) -> None:
    """Train every model with one seed."""
    recipe = agreed(job, seed, until)
    set_precision(recipe.precision)
    for name in TRAINED:
        path = job.out / "training" / f"{name}-{seed}.json"
        if path.exists() or time.time() > until - SCORING:
            continue
        torch.compiler.reset()  # it compiles the code of a cell for a few signatures only, all models' together
        try:
            result: dict[str, object] = one(job, recipe, name, seed, until)
        except Exception as why:  # whatever is raised is the result, and the other models go on
            result = {"model": name, "seed": seed, "outcome": "failed", "why": f"{type(why).__name__}: {why}"[:500]}
        path.write_text(json.dumps(result, indent=1) + "\n")
        told = {key: result.get(key) for key in ("outcome", "why", "seconds", "steps", "scores")}
        print(f"{name} {seed}: {told}", flush=True)


def one(job: Job, recipe: Recipe, name: str, seed: int, until: float) -> dict[str, object]:
    """Train a model, score it on the fixed test sequences, and keep its curve and its scores."""
    out = job.out / "runs" / f"{name}-{seed}"
    few = ("train.batch_size=2", "train.validate_on=2", "run.workers=0") if job.smoke else ()
    settings = experiment(name, "small", job, *recipe.settings(name, seed), *few)
    curve = Curve()
    trained = before(until - SCORING, lambda: train(settings, out, job.device, [curve]))
    predictor = load_predictor(str(out))
    began = time.monotonic()
    scores = score(job, predictor, name)
    np.savez_compressed(job.out / "training" / f"{name}-{seed}.npz", **scores)
    means = {key: value.mean(axis=1, dtype=np.float64) for key, value in scores.items()}
    return {
        "model": name,
        "seed": seed,
        "outcome": "finished" if trained.finished else "stopped",
        "parameters": count_parameters(predictor),
        "steps": trained.progress.step,
        "best_step": trained.progress.best_step,
        "batch": settings.train.batch_size,
        "recipe": asdict(recipe),
        "seconds": round(trained.seconds, 2),
        "scoring_seconds": round(time.monotonic() - began, 2),
        "test_clips": len(next(iter(means.values()))),
        "scores": {key: [round(float(v.mean()), 4), *(round(b, 4) for b in bootstrap(v))] for key, v in means.items()},
        "per_frame": {key: [round(float(v), 4) for v in value.mean(axis=0)] for key, value in scores.items()},
        "losses": [[r.step, round(r.loss, 6), round(r.clips_per_second, 1)] for r in curve.heard],
        "validation": [[r.step, round(r.score, 3)] for r in curve.scores],
    }


def before(deadline: float, work: Callable[[], Trained]) -> Trained:
    """Do it, told by SIGTERM to finish its step and save once time is up."""
    timer = threading.Timer(max(deadline - time.time(), 0.1), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        return work()
    finally:
        timer.cancel()


@torch.no_grad()
def score(job: Job, predictor: Predictor, name: str) -> dict[str, NDArray[np.float32]]:
    """(N, T) by metric, of the fixed test sequences."""
    device = torch.device(job.device)
    count, batch, workers = (4, 2, 0) if job.smoke else (TEST_COUNT, 250, 2)
    settings = experiment(name, "small", job)
    clips = open_clips("moving_mnist", settings.data_settings, "test")
    predictor = predictor.to(device).eval()
    found: dict[str, list[NDArray[np.float32]]] = {key: [] for key in METRICS}
    for part in ordered_batches(clips, count, batch, workers, device):
        predicted = predictor(part.past, clips.settings.horizon)
        for key in METRICS:
            found[key].append(metric[key](predicted, part.future).float().cpu().numpy())
    return {key: np.concatenate(parts) for key, parts in found.items()}
