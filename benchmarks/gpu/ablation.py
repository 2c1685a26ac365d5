"""Does EIFAG help at this scale: `astm` against `astm_basic` on the same sequences, seed by seed."""

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.forms import Job
from benchmarks.gpu.training import METRICS, SEEDS

RESAMPLES, CONFIDENCE = 2000, 0.95
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Quantile 0.975 of Student's distribution for the mean of so many seeds."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of `astm` less `astm_basic` in one metric."""

    metric: str
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    mean: float
    low: float
    """Of the interval over sequences, given these seeds: whole sequences are drawn, with all their seeds."""
    high: float
    low_over_seeds: float
    """Of Student's interval of the mean over seeds, which counts what other seeds may do; the mean for one seed."""
    high_over_seeds: float


def run(job: Job) -> None:
    """Write `ablation.json`: a difference for each metric, over the seeds that both models finished."""
    found = {seed: pair(job, seed) for seed in SEEDS}
    seeds = tuple(seed for seed in SEEDS if found[seed])
    differences = [difference(name, seeds, [found[seed][name] for seed in seeds]) for name in METRICS if seeds]
    text = json.dumps([asdict(d) for d in differences], indent=1) + "\n"
    (job.out / "ablation.json").write_text(text)
    for d in differences:
        print(f"astm - astm_basic, {d.metric}: {d.mean:.4f} [{d.low:.4f}, {d.high:.4f}], by seed {d.by_seed}")


def pair(job: Job, seed: int) -> dict[str, NDArray[np.float64]]:
    """(N,) differences by metric; {} unless both models finished with this seed."""
    scores = []
    for name in ("astm", "astm_basic"):
        path = job.out / "training" / f"{name}-{seed}.json"
        if not path.exists() or json.loads(path.read_text())["outcome"] != "finished":
            return {}
        with np.load(path.with_suffix(".npz")) as arrays:
            scores.append({key: arrays[key].mean(axis=1, dtype=np.float64) for key in METRICS})
    return {key: scores[0][key] - scores[1][key] for key in METRICS}


def difference(name: str, seeds: tuple[int, ...], by_seed: list[NDArray[np.float64]]) -> Difference:
    """From (N,) differences of each seed."""
    table = np.stack(by_seed)
    means = table.mean(axis=1)
    low, high = over_sequences(table)
    spread = STUDENT[len(means)] * means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0.0
    mean = float(means.mean())
    return Difference(name, seeds, tuple(means.tolist()), mean, low, high, mean - spread, mean + spread)


def over_sequences(table: NDArray[np.float64]) -> tuple[float, float]:
    """Bootstrap interval of the mean of a table (seeds, N): a sequence is drawn with all its seeds."""
    generator, clips = np.random.default_rng(0), table.mean(axis=0)
    means = [clips[generator.integers(len(clips), size=len(clips))].mean() for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
