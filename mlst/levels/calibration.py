"""Cuts at quantiles of a corpus of one's own, with intervals that say how well it determines them."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlst.exits import UserError
from mlst.levels.levels import DEFAULT, Axis, Cuts, Levels, Provenance, rendered
from mlst.records import Statistics

LEAST_SHOTS = 300
"""Fewer shots do not determine a quantile."""
THIRDS = (1 / 3, 2 / 3)
RESAMPLES, CONFIDENCE = 1000, 0.95
"""Of the bootstrap."""
SEED = 910
DIGITS = 6
"""Significant digits of a cut in a thresholds file."""

Reals = NDArray[np.float64]


class CorpusError(UserError, ValueError):
    """A corpus, or quantiles of it, that thresholds cannot be derived from."""


def calibrate(
    measured: Sequence[Statistics],
    shots: Sequence[str],
    like: Levels,
    *,
    id: str,
    corpus: str,
    corpus_sha256: str,
    quantiles: tuple[float, float] = THIRDS,
) -> Levels:
    """Thresholds at quantiles of a corpus's clips; `shots` names the shot of each clip.

    `like` is the definition that the clips were measured for: cuts of its statistics are fitted, the rest of it stays.
    Raises `CorpusError` below `LEAST_SHOTS` shots, and as `fitted`.
    """
    count = len(set(shots))
    if count < LEAST_SHOTS:
        raise CorpusError(
            f"thresholds need a corpus of at least {LEAST_SHOTS} shots, {corpus!r} has {count}: add sources, or use "
            f"the thresholds {DEFAULT!r} that come with mlst"
        )
    method = f"quantiles {quantiles[0]:.6g} and {quantiles[1]:.6g} over clips, numpy linear"
    provenance = Provenance(corpus, corpus_sha256, len(measured), count, method, {})
    return fitted(replace(like, id=id, provenance=provenance), measured, shots, np.ones(len(measured)), quantiles)


def fitted(
    levels: Levels,
    measured: Sequence[Statistics],
    groups: Sequence[str],
    weights: Reals,
    quantiles: tuple[float, float] = THIRDS,
) -> Levels:
    """`levels` with cuts at quantiles of what was measured, and their intervals.

    Intervals are from a bootstrap that draws whole groups, since clips of one shot or film are alike; its seed is
    fixed. Raises `CorpusError` for unordered quantiles, or where two cuts coincide.
    """
    if not len(measured) == len(groups) == len(weights):
        raise ValueError(
            f"one group and weight per clip is needed, got {len(measured)} clips, {len(groups)} groups, "
            f"{len(weights)} weights"
        )
    if not 0 < quantiles[0] < quantiles[1] < 1:
        raise CorpusError(f"quantiles must be two rising shares between 0 and 1, got {quantiles}")
    axes = (levels.s, levels.t)
    columns = {name: np.array([getattr(s, name) for s in measured]) for a in axes for name in (a.column, a.second)}
    cuts = {name: _cuts(column, weights, quantiles) for name, column in columns.items()}
    for name, (low, high) in cuts.items():
        if not 0 < low < high:
            corpus = levels.provenance.corpus
            raise CorpusError(f"{name} of {corpus!r} has quantiles {low} and {high}: they must be positive and differ")
    draws = list(_draws(groups))
    intervals = {axis.column: _intervals(columns[axis.column], weights, draws, quantiles) for axis in axes}
    new = replace(
        levels,
        s=_refitted(levels.s, cuts),
        t=_refitted(levels.t, cuts),
        provenance=replace(levels.provenance, intervals=intervals),
    )
    return replace(new, sha256=hashlib.sha256(rendered(new).encode()).hexdigest())


def _refitted(axis: Axis, cuts: Mapping[str, Cuts]) -> Axis:
    return replace(axis, cuts=cuts[axis.column], second_cuts=cuts[axis.second])


def _cuts(values: Reals, weights: Reals, quantiles: tuple[float, float]) -> Cuts:
    low, high = quantile(values, weights, quantiles)
    return _rounded(low), _rounded(high)


def quantile(values: Reals, weights: Reals, shares: Sequence[float]) -> Reals:
    """Quantiles of weighted values: numpy's `linear` where all weigh the same, else the inverse distribution."""
    if (weights == weights[0]).all():
        return np.quantile(values, shares, method="linear")
    return np.quantile(values, shares, method="inverted_cdf", weights=weights)


def _draws(groups: Sequence[str]) -> Iterator[NDArray[np.intp]]:
    """Positions that the bootstrap draws."""
    _, labels = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    rng = np.random.default_rng(SEED)
    for _ in range(RESAMPLES):
        yield np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])


def _intervals(
    values: Reals, weights: Reals, draws: Iterable[NDArray[np.intp]], quantiles: tuple[float, float]
) -> tuple[Cuts, ...]:
    """Percentile bootstrap of each quantile."""
    drawn = [quantile(values[at], weights[at], quantiles) for at in draws]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return tuple((_rounded(a), _rounded(b)) for a, b in zip(low, high, strict=True))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
