"""What a study found, from what was measured: pure, and ready for JSON and the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from collection.study.bits import Costs
from collection.study.numbers import Estimate, Reals, correlations, estimate, explained, steps, thirds
from collection.study.pieces import Piece, known
from collection.study.renditions import Remakes
from collection.study.sweeps import Swept
from mlst.levels.levels import LEVELS, Axis, Levels, classify, margin
from mlst.records import STATISTICS

AXES = ("s", "t")
YARDSTICKS = {
    "intra": "intra bits, 256 x 256",
    "intra_canonical": "intra bits, canonical",
    "inter": "inter bits, 256 x 256, per second",
    "inter_canonical": "inter bits, canonical, 10 Hz, per second",
    "copy_last": "error of copy_last",
}
"""Fields of `Costs`, and what they are called."""
MAIN = {"s": "intra", "t": "inter"}
"""The yardstick that the columns of an axis are ordered by."""
BANDS = (0.0, 0.05, 0.10, 0.20, 0.40)
"""Margins, as relative distances from a cut, at which bands of stability begin."""
CUTS = np.linspace(0.15, 0.85, 29)
"""Quantiles of a sample at which cuts are tried."""
LEAST_ERROR = 1e-8
"""Of copy_last, for its logarithm: far below half a code."""


@dataclass(frozen=True, slots=True)
class Share:
    """A level and how much of what was studied is in it."""

    level: str
    clips: int
    share: float
    share_by_group: float
    """Where every group counts the same."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A column against a yardstick."""

    yardstick: str
    correlation: Estimate
    """Spearman."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a column would be worth as the decider of an axis."""

    name: str
    flips: float
    """Share of renditions whose third of the sample differs from the clip's."""
    crossings: float
    """The same of two cuts, on average over the quantiles `CUTS`: no matter which clips happen to be near one."""
    meanings: tuple[Meaning, ...]

    def of(self, yardstick: str) -> Estimate:
        """Its correlation with a yardstick. Raises StopIteration."""
        return next(one.correlation for one in self.meanings if one.yardstick == yardstick)


@dataclass(frozen=True, slots=True)
class Band:
    """Renditions of clips at some distance from the nearest cut."""

    since: float
    """Relative distance, as `margin_s` and `margin_t` are."""
    renditions: int
    flips: float


@dataclass(frozen=True, slots=True)
class Stability:
    """How often an axis's label changes."""

    axis: str
    column: str
    flips: Estimate
    confusion: tuple[tuple[int, ...], ...]
    """Rows: the clip; columns: its rendition."""
    bands: tuple[Band, ...]
    margin: int
    """% of a cut."""
    beyond: int
    """Renditions of clips outside the margin."""
    kept: Estimate
    """Share of those that keep their label."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What one kind of rendition does."""

    rendition: str
    clips: int
    s: float
    t: float
    either: float


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How wrong copy_last is in a level."""

    level: str
    clips: int
    error: Estimate


@dataclass(frozen=True, slots=True)
class Explained:
    """R2 of the logarithm of copy_last's error."""

    labels: str
    share: float


@dataclass(frozen=True, slots=True)
class Rise:
    """A column along a sweep."""

    column: str
    values: tuple[float, ...]
    monotone: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    """The columns along a sweep."""

    name: str
    unit: str
    axis: str
    points: tuple[float, ...]
    columns: tuple[Rise, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """Everything."""

    place: str
    thresholds: str
    deciders: tuple[str, str]
    clips: int
    """All there are; of these the levels are counted."""
    groups: int
    priced: int
    """Clips whose costs were measured."""
    remade: int
    """Clips whose renditions were."""
    levels: tuple[Share, ...]
    stability: tuple[Stability, ...]
    renditions: tuple[Changed, ...]
    columns: tuple[Column, ...]
    difficulty: tuple[Difficulty, ...]
    explained: tuple[Explained, ...]
    sweeps: tuple[Sweep, ...]
    better: tuple[tuple[str, str], ...]
    """Axis and column: means more than the decider and flips less."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured."""

    pieces: Sequence[Piece]
    costs: Sequence[Costs]
    remakes: Sequence[Remakes]
    sweeps: Sequence[Swept]
    scores: Mapping[str, Mapping[str, float]]
    """Errors of evaluated models by what they are called, and by clip."""


def find(place: str, levels: Levels, seen: Seen) -> Study:
    """Put together what was measured."""
    columns = tuple(_columns(seen))
    deciders = (levels.s.column, levels.t.column)
    return Study(
        place=place,
        thresholds=levels.id,
        deciders=deciders,
        clips=len(seen.pieces),
        groups=len({piece.group for piece in seen.pieces}),
        priced=len(seen.costs),
        remade=len(seen.remakes),
        levels=tuple(_shares(seen.pieces, levels)),
        stability=tuple(_stability(name, getattr(levels, name), seen.remakes) for name in AXES if seen.remakes),
        renditions=tuple(_changed(seen.remakes, levels)),
        columns=columns,
        difficulty=tuple(_difficulty(seen, levels)),
        explained=tuple(_explained(seen, levels)),
        sweeps=tuple(map(_sweep, seen.sweeps)),
        better=tuple(_better(columns, deciders)),
    )


def _shares(pieces: Sequence[Piece], levels: Levels) -> Iterator[Share]:
    found = [classify(piece.statistics, levels) for piece in pieces]
    sizes = {group: sum(piece.group == group for piece in pieces) for group in {piece.group for piece in pieces}}
    for level in LEVELS:
        inside = [piece for piece, one in zip(pieces, found, strict=True) if one == level]
        weight = sum(1 / sizes[piece.group] for piece in inside) / len(sizes)
        yield Share(level.name, len(inside), len(inside) / len(pieces), weight)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Values of a column before and after, one pair for each rendition."""

    before: Reals
    after: Reals
    groups: tuple[str, ...]


def _pairs(remakes: Sequence[Remakes], column: str) -> _Pairs:
    rows = [
        (getattr(one.before, column), getattr(made.statistics, column), one.group)
        for one in remakes
        for made in one.after
    ]
    before, after, groups = zip(*rows, strict=True)
    return _Pairs(np.array(before), np.array(after), groups)


def _stability(name: str, axis: Axis, remakes: Sequence[Remakes]) -> Stability:
    cuts, pairs = axis.cuts, _pairs(remakes, axis.column)
    old, new = steps(pairs.before, cuts), steps(pairs.after, cuts)
    flipped = (old != new).astype(float)
    far = np.array([margin(value, cuts) for value in pairs.before])
    outside = far >= axis.margin
    beyond = [group for group, is_out in zip(pairs.groups, outside, strict=True) if is_out]
    kept = estimate(lambda at: float(np.mean(1 - flipped[outside][at])), beyond) if beyond else Estimate(1, 0, 1)
    return Stability(
        axis=name,
        column=axis.column,
        margin=axis.percent,
        flips=estimate(lambda at: float(np.mean(flipped[at])), pairs.groups),
        confusion=tuple(tuple(int(np.sum((old == a) & (new == b))) for b in range(3)) for a in range(3)),
        bands=tuple(_bands(far, flipped)),
        beyond=len(beyond),
        kept=kept,
    )


def _bands(far: Reals, flipped: Reals) -> Iterator[Band]:
    edges = [log(1 + since) for since in BANDS]
    for since, low, high in zip(BANDS, edges, [*edges[1:], np.inf], strict=True):
        inside = (far >= low) & (far < high)
        yield Band(since, int(inside.sum()), float(flipped[inside].mean()) if inside.any() else 0.0)


def _changed(remakes: Sequence[Remakes], levels: Levels) -> Iterator[Changed]:
    names = [made.name for made in remakes[0].after] if remakes else []
    for n, name in enumerate(names):
        pairs = [(classify(one.before, levels), classify(one.after[n].statistics, levels)) for one in remakes]
        s, t = (float(np.mean([getattr(a, axis) != getattr(b, axis) for a, b in pairs])) for axis in AXES)
        yield Changed(name, len(pairs), s, t, float(np.mean([a != b for a, b in pairs])))


def _columns(seen: Seen) -> Iterator[Column]:
    costs = {title: {cost.key: getattr(cost, field) for cost in seen.costs} for field, title in YARDSTICKS.items()}
    columns = known(seen.pieces)
    meanings = _meanings(seen.pieces, columns, costs)
    for title, errors in seen.scores.items():
        scored = _meanings(seen.pieces, columns, {title: errors})
        meanings = [(*one, *more) for one, more in zip(meanings, scored, strict=True)]
    for name, one in zip(columns, meanings, strict=True):
        yield Column(name, _flips(name, seen.remakes), _crossings(name, seen.remakes), one)


def _meanings(
    pieces: Sequence[Piece], columns: Sequence[str], yardsticks: Mapping[str, Mapping[str, float]]
) -> list[tuple[Meaning, ...]]:
    """Of every column against yardsticks that are known of the same clips."""
    first = next(iter(yardsticks.values()))
    priced = [piece for piece in pieces if piece.key in first]
    values = np.array([[getattr(piece.statistics, name) for name in columns] for piece in priced])
    wanted = np.array([[of[piece.key] for of in yardsticks.values()] for piece in priced])
    found = correlations(values, wanted, [piece.group for piece in priced])
    return [tuple(map(Meaning, yardsticks, row)) for row in found]


def _flips(column: str, remakes: Sequence[Remakes]) -> float:
    """Of thirds of the clips that were remade."""
    if not remakes:
        return 0.0
    cuts = thirds(np.array([getattr(one.before, column) for one in remakes]))
    pairs = _pairs(remakes, column)
    return float(np.mean(steps(pairs.before, cuts) != steps(pairs.after, cuts)))


def _crossings(column: str, remakes: Sequence[Remakes]) -> float:
    """Of two cuts, on average over cuts at many quantiles of the clips that were remade."""
    if not remakes:
        return 0.0
    cuts = np.quantile([getattr(one.before, column) for one in remakes], CUTS)[:, None]
    pairs = _pairs(remakes, column)
    return 2 * float(np.mean((pairs.before < cuts) != (pairs.after < cuts)))


def _levels(seen: Seen, levels: Levels) -> NDArray[np.intp]:
    """The number of each priced clip's level."""
    statistics = {piece.key: piece.statistics for piece in seen.pieces}
    return np.array([classify(statistics[cost.key], levels).number for cost in seen.costs])


def _difficulty(seen: Seen, levels: Levels) -> Iterator[Difficulty]:
    numbers = _levels(seen, levels)
    errors = np.array([cost.copy_last for cost in seen.costs])
    groups = np.array([cost.group for cost in seen.costs])
    for level in LEVELS:
        inside = np.flatnonzero(numbers == level.number)
        if len(inside):
            wrong = errors[inside]
            mean = estimate(lambda at, wrong=wrong: float(np.mean(wrong[at])), groups[inside].tolist())  # type: ignore[misc]
            yield Difficulty(level.name, len(inside), mean)


def _explained(seen: Seen, levels: Levels) -> Iterator[Explained]:
    numbers = _levels(seen, levels) - 1
    errors = np.log(np.maximum([cost.copy_last for cost in seen.costs], LEAST_ERROR))
    for name, labels in (("s", numbers % 3), ("t", numbers // 3), ("all nine", numbers)):
        yield Explained(name, explained(errors, labels))


def _sweep(one: Swept) -> Sweep:
    rises = []
    for name in STATISTICS:
        values = tuple(getattr(statistics, name) for statistics in one.statistics)
        steps_up = np.diff(values)
        rises.append(Rise(name, values, bool((steps_up > 0).all())))
    return Sweep(one.name, one.unit, one.axis, one.points, tuple(rises))


def _better(columns: Sequence[Column], deciders: tuple[str, str]) -> Iterator[tuple[str, str]]:
    by_name = {column.name: column for column in columns}
    for axis, name in zip(AXES, deciders, strict=True):
        decider, yardstick = by_name[name], YARDSTICKS[MAIN[axis]]
        for column in columns:
            means_more = column.of(yardstick).value > decider.of(yardstick).value
            if means_more and column.flips < decider.flips:
                yield axis, column.name
