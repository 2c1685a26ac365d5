"""The checkpoint that comes with the package: `astm`, for as many steps as fit into the time.

The way that took the least time of a step when `speed --forms bundled` measured is tried first, and if it fails the
next, each in a process of its own: after an error of cuDNN nothing more can be done in one.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from astm.training.train import train
from benchmarks.gpu.forms import BATCHES, Job, experiment
from benchmarks.gpu.speed import caches
from benchmarks.gpu.training import Curve, before
from benchmarks.gpu.ways import Precision, Way, set_precision

STARTING, PART = 14.0, 0.9
"""Seconds, and part of the rest, that are not for steps and for steps."""


SLOW_MS = 200.0
"""Of an eager step where none was measured."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """How the steps are computed."""

    way: Way
    precision: Precision
    step_ms: float

    def steps(self, seconds: float) -> int:
        """As many as fit, a multiple of 100."""
        return max(int(PART * (seconds - STARTING) * 1e3 / self.step_ms) // 100 * 100, 100)


def run(job: Job, until: float) -> None:
    """Train, until time is up, and leave the best weights in `bundled/pretrained`."""
    for chosen in ways(job):
        if (job.out / "bundled.json").exists() or time.time() > until - 60:
            return
        command = [sys.executable, "-m", "benchmarks.gpu", "bundled-run", "--out", str(job.out), "--data"]
        command += [str(job.root), "--device", job.device, "--until", str(until), *(["--smoke"] if job.smoke else [])]
        subprocess.run([*command, "--chosen", json.dumps(asdict(chosen))], env=caches(job), check=False)


def ways(job: Job) -> list[Chosen]:
    """The fastest first, at the end one that needs nothing."""
    found: list[Chosen] = []
    for path in (job.out / "speed").glob("bundled-*.json"):
        row = json.loads(path.read_text())
        if row["outcome"] == "measured":
            found.append(Chosen(row["way"], row["precision"], row["step_ms"]))
    return [*sorted(found, key=lambda chosen: chosen.step_ms), Chosen("eager", "bfloat16", SLOW_MS)]


def one(job: Job, chosen: Chosen, until: float) -> None:
    """Train in one way."""
    began = time.monotonic()
    steps = 3 if job.smoke else chosen.steps(until - time.time())
    set_precision(chosen.precision)
    curve = Curve()
    settings = experiment("astm", "bundled", job, *recipe(chosen, steps, job.smoke))
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
    print(told["chosen"], trained.progress, told["seconds"], flush=True)


def recipe(chosen: Chosen, steps: int, smoke: bool) -> tuple[str, ...]:
    """Settings of the run."""
    precision = "bfloat16" if chosen.precision == "bfloat16" and not smoke else "float32"
    return (
        "model.sampling_steps=0",  # which no graph can replay
        "data.test_count=200",
        f"train.steps={steps}",
        f"train.batch_size={2 if smoke else BATCHES['bundled']}",
        f"train.precision={precision}",
        f"train.compile={str(chosen.way.startswith('compiled')).lower()}",
        f"train.graphs={str(chosen.way.endswith('graph')).lower()}",
        f"train.validate_every={max(steps // 4, 1)}",
        f"train.validate_on={2 if smoke else 200}",
        f"run.log_every={max(steps // 40, 1)}",
        f"run.save_every={max(steps // 3, 1)}",
        f"run.workers={0 if smoke else 6}",
    )
