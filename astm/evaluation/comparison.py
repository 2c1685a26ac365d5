"""Two models on the same clips: paired differences, with intervals that know that clips of a video are alike."""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from astm.evaluation.clip_scores import ClipScores
from astm.metrics import LOWER_IS_BETTER
from astm.results import ALL, EvaluationError

RESAMPLES, CONFIDENCE = 2000, 0.95
METHOD = (
    f"{CONFIDENCE:.0%} intervals that hold both the BCa bootstrap ({RESAMPLES} resamples of videos, seed 0) and "
    "Student's t over videos"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two models on the same clips."""

    metric: str
    level: str
    clips: int
    videos: int
    a: float
    """Mean of the first model."""
    b: float
    difference: float
    """a - b."""
    low: float
    """Of the interval of the difference."""
    high: float
    better: str
    """Label of the model that the whole interval favours; empty where it holds 0."""


def compare(a: ClipScores, b: ClipScores) -> tuple[Difference, ...]:
    """Differences of every metric that both have: of all clips, and of each level if there are several.

    A level whose clips are of a single video is left out: one video has no interval.

    Raises
    ------
    EvaluationError: the models were not scored on the same clips, all of one video, or by no common metric.
    """
    names = [name for name in a.values if name in b.values]
    _check(a, b, names)
    place = {key: i for i, key in enumerate(b.keys)}
    order = np.array([place[key] for key in a.keys])
    levels, videos = np.array(a.levels), np.array(a.videos)
    found = sorted(set(a.levels))
    groups = [(ALL, np.ones(len(levels), bool)), *((level, levels == level) for level in found if len(found) > 1)]
    return tuple(
        _difference(name, level, (a.label, b.label), a.values[name][rows], b.values[name][order][rows], videos[rows])
        for name in names
        for level, rows in groups
        if len(set(videos[rows])) > 1
    )


def interval(values: NDArray[np.float64], videos: NDArray[np.str_]) -> tuple[float, float]:
    """Interval of the mean of (N,) values, each of one of at least two videos.

    Videos are resampled, not clips (Field, Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x). Of few
    videos the bootstrap's interval is too narrow, even if bias-corrected and accelerated (BCa, Efron 1987,
    https://doi.org/10.1080/01621459.1987.10478410) and widened as Hesterberg 2015 does
    (https://doi.org/10.1080/00031305.2015.1089789); Student's t misses skew. The interval holds both: see
    `benchmarks.intervals` for how often each covers the truth.
    """
    sums, counts = by_video(values, videos)
    t_low, t_high = student(sums, counts)
    b_low, b_high = bca(sums, counts)
    return float(np.fmin(t_low, b_low)), float(np.fmax(t_high, b_high))


def by_video(values: NDArray[np.float64], videos: NDArray[np.str_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and count, (V,), of each video's values."""
    _, place = np.unique(videos, return_inverse=True)
    return np.bincount(place, values).astype(np.float64), np.bincount(place).astype(np.float64)


def student(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of a ratio of sums over V videos, V - 1 degrees of freedom, its error linearised."""
    n, mean = len(sums), sums.sum() / counts.sum()
    error = math.sqrt(n / (n - 1) * float(((sums - mean * counts) ** 2).sum())) / counts.sum()
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * error
    return float(mean - reach), float(mean + reach)


def bca(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    """BCa interval of a ratio of sums over V videos, widened for small V; NaN where all videos are the same."""
    n = len(sums)
    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate data, which the NaN says too
        found = stats.bootstrap(
            (sums, counts),
            lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=100,
            confidence_level=1 - 2 * tail,
            method="BCa",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return float(found.low), float(found.high)


def markdown(a: str, b: str, differences: Sequence[Difference]) -> str:
    """A table of the differences."""
    a, b = (label.replace("|", "\\|") for label in (a, b))
    lines = [
        f"{a} - {b}. {METHOD}.",
        "",
        f"| metric | level | clips | videos | {a} | {b} | difference | interval | better |",
        "| --- " * 9 + "|",
    ]
    for d in differences:
        arrow = "↓" if d.metric.startswith(LOWER_IS_BETTER) else "↑"
        lines.append(
            f"| {d.metric} {arrow} | {d.level} | {d.clips} | {d.videos} | {d.a:.4g} | {d.b:.4g} | {d.difference:.3g} "
            f"| [{d.low:.3g}, {d.high:.3g}] | {d.better or 'not decided'} |"
        )
    return "\n".join(lines) + "\n"


def to_json(differences: Sequence[Difference]) -> str:
    """A list with an object for each difference."""
    return json.dumps([asdict(difference) for difference in differences], indent=1) + "\n"


def _check(a: ClipScores, b: ClipScores, names: Sequence[str]) -> None:
    if a.fingerprint != b.fingerprint or set(a.keys) != set(b.keys):
        raise EvaluationError(
            f"{a.label} ({len(a.keys)} clips of {a.fingerprint[:16]}) and {b.label} ({len(b.keys)} clips of "
            f"{b.fingerprint[:16]}) were not scored on the same clips; evaluate both with the same data and --count"
        )
    if not names:
        raise EvaluationError(f"{a.label} and {b.label} have no metric in common; use the same --metrics for both")
    if len(set(a.videos)) < 2:
        raise EvaluationError(f"all {len(a.keys)} clips are of one video, which has no interval; evaluate more")


def _difference(
    metric: str,
    level: str,
    labels: tuple[str, str],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    videos: NDArray[np.str_],
) -> Difference:
    low, high = interval(a - b, videos)
    winner = "" if low <= 0 <= high else labels[(high < 0) != metric.startswith(LOWER_IS_BETTER)]
    return Difference(
        metric=metric,
        level=level,
        clips=len(a),
        videos=len(set(videos)),
        a=float(a.mean()),
        b=float(b.mean()),
        difference=float((a - b).mean()),
        low=low,
        high=high,
        better=winner,
    )
