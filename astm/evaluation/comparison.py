"""Two models on the same clips: paired differences, with intervals that know that clips of a video are alike."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from astm.evaluation.clip_scores import ClipScores
from astm.metrics import LOWER_IS_BETTER, widest
from astm.results import ALL, EvaluationError
from mlst.text import number_of

RESAMPLES, CONFIDENCE = 2000, 0.95
METHOD = (
    f"{CONFIDENCE:.0%} intervals that hold both the bootstrap of t ({RESAMPLES} resamples of videos, seed 0) and "
    "Student's t over videos, cut to what two values of the metric can differ by"
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
    """Of the interval of the difference, which ends where no two values of the metric differ by more."""
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

    Videos are resampled, not clips (Field, Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x). Student's t
    misses skew, which the bootstrap of t takes from the data, and is surer than it where there is none; the interval
    holds both. `benchmarks.intervals` simulates how often each holds the truth.
    """
    sums, counts = by_video(values, videos)
    t_low, t_high = student(sums, counts)
    b_low, b_high = bootstrap_t(sums, counts)
    return min(t_low, b_low), max(t_high, b_high)


def by_video(values: NDArray[np.float64], videos: NDArray[np.str_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and count, (V,), of each video's values."""
    _, place = np.unique(videos, return_inverse=True)
    return np.bincount(place, values).astype(np.float64), np.bincount(place).astype(np.float64)


def student(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of a ratio of sums over V videos, V - 1 degrees of freedom, its error linearised."""
    mean, error = _linearised(sums[None], counts[None])
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(sums) - 1) * error[0]
    return float(mean[0] - reach), float(mean[0] + reach)


def bootstrap_t(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    """Bootstrap-t interval (Efron 1982) of a ratio of sums over V videos, the same for the same values.

    With the tails that Hesterberg (2015, https://doi.org/10.1080/00031305.2015.1089789) gives percentile intervals of
    few values, since quantiles of few are too near each other here too. Resamples without spread say nothing of t and
    are left out; of videos that are all the same, the interval is their mean.
    """
    n = len(sums)
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    mean, error = _linearised(sums[None], counts[None])
    means, errors = _linearised(sums[drawn], counts[drawn])
    spread = errors > 1e-12 * float(error[0])
    if not error[0] or not spread.any():
        return float(mean[0]), float(mean[0])
    t = (means[spread] - mean[0]) / errors[spread]
    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    low, high = np.quantile(t, [tail, 1 - tail])
    return float(mean[0] - high * error[0]), float(mean[0] - low * error[0])


def _linearised(
    sums: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ratios of sums over V videos (R, V), and their standard errors, linearised: (R,) each."""
    n, mean = sums.shape[1], sums.sum(axis=1) / counts.sum(axis=1)
    squares = ((sums - mean[:, None] * counts) ** 2).sum(axis=1)
    return mean, np.sqrt(n / (n - 1) * squares) / counts.sum(axis=1)


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
            f"{a.label} ({number_of(len(a.keys), 'clip')} of {a.fingerprint[:16]}) and {b.label} "
            f"({number_of(len(b.keys), 'clip')} of "
            f"{b.fingerprint[:16]}) were not scored on the same clips; evaluate both with the same data and --count"
        )
    if not names:
        raise EvaluationError(f"{a.label} and {b.label} have no metric in common; use the same --metrics for both")
    if len(set(a.videos)) < 2:
        count = number_of(len(a.keys), "clip is", "clips are all")
        raise EvaluationError(f"{count} of one video, which has no interval; evaluate more")


def _difference(
    metric: str,
    level: str,
    labels: tuple[str, str],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    videos: NDArray[np.str_],
) -> Difference:
    low, high = np.clip(interval(a - b, videos), -widest(metric), widest(metric)).tolist()
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
