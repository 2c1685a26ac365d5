"""Rank correlation, intervals drawn over groups, and thirds: pure functions of arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlst.levels.levels import Cuts

Reals = NDArray[np.float64]

RESAMPLES, CONFIDENCE = 500, 0.95
"""Of the bootstrap."""
EDGES = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
SEED = 910


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its bootstrap interval, drawn over whole groups."""

    value: float
    low: float
    high: float


def ranks(values: Reals) -> Reals:
    """(N,) ranks from 0 on; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts - 1) / 2)[place]


def spearman(a: Reals, b: Reals) -> Reals:
    """(K, Y) rank correlations of the columns of (N, K) and (N, Y); 0 where one of the two is constant."""
    x, y = (_centred(values) for values in (a, b))
    scale = np.sqrt(np.outer((x**2).sum(axis=0), (y**2).sum(axis=0)))
    return np.divide(x.T @ y, scale, out=np.zeros_like(scale), where=scale > 0)


def _centred(values: Reals) -> Reals:
    columns = [ranks(column) for column in values.T]
    return np.stack(columns, axis=1) - (len(values) - 1) / 2


def resamples(groups: Sequence[str]) -> Iterator[NDArray[np.intp]]:
    """Positions drawn by the bootstrap: as many groups as there are, with replacement, each with all its members."""
    _, label = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    members = [np.flatnonzero(label == n) for n in range(int(label.max()) + 1)]
    rng = np.random.default_rng(SEED)
    for _ in range(RESAMPLES):
        yield np.concatenate([members[n] for n in rng.integers(0, len(members), len(members))])


def estimate(figure: Callable[[NDArray[np.intp]], float], groups: Sequence[str]) -> Estimate:
    """`figure` of all positions, with its interval."""
    drawn = [figure(positions) for positions in resamples(groups)]
    low, high = np.quantile(drawn, EDGES)
    return Estimate(float(figure(np.arange(len(groups)))), float(low), float(high))


def correlations(a: Reals, b: Reals, groups: Sequence[str]) -> list[list[Estimate]]:
    """Spearman's rank correlation of every column of (N, K) with every column of (N, Y), with intervals."""
    drawn = [spearman(a[at], b[at]) for at in resamples(groups)]
    low, high = np.quantile(drawn, EDGES, axis=0)
    rows = zip(spearman(a, b).tolist(), low.tolist(), high.tolist(), strict=True)
    return [[Estimate(*each) for each in zip(*row, strict=True)] for row in rows]


def thirds(values: Reals) -> Cuts:
    """Cuts that divide values into three equal parts."""
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    return float(low), float(high)


def steps(values: Reals, cuts: Cuts) -> NDArray[np.intp]:
    """0, 1 or 2 of every value, half open as levels are."""
    return np.searchsorted(np.asarray(cuts), values, side="right")


def explained(values: Reals, labels: NDArray[Any]) -> float:
    """R2 of a value by the mean of its label: the share of its variance that labels explain."""
    total = float(np.sum((values - values.mean()) ** 2))
    rest = sum(float(np.sum((values[labels == n] - values[labels == n].mean()) ** 2)) for n in np.unique(labels))
    return 1 - rest / total if total else 0.0
