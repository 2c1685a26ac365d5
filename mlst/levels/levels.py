"""The taxonomy: three spatial times three temporal levels, by frozen thresholds.

The level of a clip depends on that clip and a thresholds file alone, never on the other clips of a dataset; whoever
publishes a level names the file, by id and sha256.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlst.problems import problems
from mlst.records import ALWAYS, FIRST, STATISTICS, Statistics
from mlst.structured import StructureError, read_toml

DEFAULT = "mlst-240p-v2"
"""Thresholds that come with `mlst`, for recipes that name none."""
LEAST_VALUE = 1e-3
"""Smaller statistics count as this in margins: the logarithm of 0 is not finite."""
TITLES = {
    "si": "SI",
    "ti10": "TI",
    "dct_energy": "DCT energy",
    "dct_change": "DCT change",
    "gradient_mean": "gradient",
}
"""Short names of statistics where their own would not be understood."""

ActivePicture = Literal["brightest", "edges"]
"""Names in `mlst.pictures.bars.active_picture`, which cannot be asked here: it needs OpenCV."""

_THRESHOLDS = Path(str(files("mlst.levels") / "thresholds"))

Cuts = tuple[float, float]
"""Lower and upper cut: below the first is 0, from the second on is 2."""


@dataclass(frozen=True, slots=True)
class Level:
    """One of the nine: `s` texture, `t` motion, each 0, 1 or 2."""

    s: int
    t: int

    @property
    def number(self) -> int:
        """1 to 9: `1 + 3 t + s`."""
        return 1 + 3 * self.t + self.s

    @property
    def name(self) -> str:
        """As in paths: `s0t2`."""
        return f"s{self.s}t{self.t}"

    @property
    def label(self) -> str:
        """As in text: `S0T2`."""
        return f"S{self.s}T{self.t}"


LEVELS = tuple(Level(s, t) for t in range(3) for s in range(3))
"""All nine, by number."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where cuts come from."""

    corpus: str
    """Its name and, where it is published, its citation."""
    corpus_sha256: str
    """Of the list of clips that was measured; "" where only quantiles are published."""
    clips: int
    shots: int
    method: str
    """How cuts were made of it."""
    intervals: Mapping[str, tuple[Cuts, ...]]
    """By statistic, the 95 % bootstrap interval of each cut; empty where the corpus is not at hand."""
    sources: tuple[str, ...] = ()
    """What the corpus was made of: title, address and sha256 of each file; empty where there are too many."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What decides one axis of the levels."""

    column: str
    """The statistic, a field of `Statistics`."""
    cuts: Cuts
    second: str
    """The statistic of a second opinion, which decides nothing."""
    second_cuts: Cuts
    margin: float
    """|ln(value / cut)| below which a clip is borderline: farther away, re-encoding flips hardly a label."""

    @property
    def title(self) -> str:
        """What the statistic is called in text."""
        return TITLES.get(self.column, self.column)

    @property
    def percent(self) -> int:
        """The margin in % of a cut."""
        return round(100 * math.expm1(self.margin))

    def value(self, statistics: Statistics) -> float:
        """Of the deciding statistic."""
        return float(getattr(statistics, self.column))

    def step(self, statistics: Statistics) -> int:
        """0, 1 or 2."""
        return step(self.value(statistics), self.cuts)

    def second_step(self, statistics: Statistics) -> int:
        """0, 1 or 2 by the second opinion."""
        return step(float(getattr(statistics, self.second)), self.second_cuts)

    def distance(self, statistics: Statistics) -> float:
        """How far a clip is from the next level, see `margin`."""
        return margin(self.value(statistics), self.cuts)


@dataclass(frozen=True, slots=True)
class Levels:
    """A definition of the levels with its cuts: a thresholds file."""

    id: str
    sha256: str
    """Of the file's bytes."""
    active_picture: ActivePicture
    """Rule of `mlst.pictures.bars` by which the bars were found in the pictures that are measured."""
    s: Axis
    """Texture."""
    t: Axis
    """Motion."""
    columns: tuple[str, ...]
    """The statistics that are measured where a recipe does not say which, beside those of `needed`."""
    provenance: Provenance

    @property
    def needed(self) -> frozenset[str]:
        """The statistics that decide or are a second opinion, and those that every clip has: flags need them."""
        axes = (self.s, self.t)
        return ALWAYS | {name for axis in axes for name in (axis.column, axis.second)}


def step(value: float, cuts: Cuts) -> int:
    """0, 1 or 2: half-open, `v < c1`, `c1 <= v < c2`, `c2 <= v`."""
    return (value >= cuts[0]) + (value >= cuts[1])


def classify(statistics: Statistics, levels: Levels) -> Level:
    """The level of a clip."""
    return Level(levels.s.step(statistics), levels.t.step(statistics))


def margin(value: float, cuts: Cuts) -> float:
    """|ln(value / nearest cut)|: 0 on a cut, 0.095 ten per cent above it."""
    low, high = cuts
    value = max(value, LEAST_VALUE)
    return min(abs(math.log(value / low)), abs(math.log(value / high)))


def margins(statistics: Statistics, levels: Levels) -> tuple[float, float]:
    """`(margin_s, margin_t)`: how far a clip is from the next level in texture and in motion."""
    return levels.s.distance(statistics), levels.t.distance(statistics)


def find_levels(name: str, folder: Path) -> Path:
    """The thresholds file `name`: a path relative to `folder`, or the name of one that comes with `mlst`.

    Raises ValueError with the choices where there is neither.
    """
    path = folder / name
    if path.is_file():
        return path
    if name in bundled():
        return _THRESHOLDS / f"{name}.toml"
    raise ValueError(f"levels = {name!r}: no such file in {folder}, and not one of {', '.join(bundled())}")


def bundled() -> list[str]:
    """Names of the thresholds that come with `mlst`."""
    return sorted(path.stem for path in _THRESHOLDS.glob("*.toml"))


def read_levels(source: Path | str) -> Levels:
    """The thresholds in a TOML file, given its path or the name of one that comes with `mlst`.

    Raises ValueError, naming file, key and value, for anything missing, unknown, of a wrong type or out of order.
    """
    path = source if isinstance(source, Path) else find_levels(source, Path())
    try:
        content, table = read_toml(path)
        file = _File.model_validate(table)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such thresholds file") from None
    except StructureError as why:
        raise ValueError(f"{path}: not TOML: {why}") from None
    except ValidationError as why:
        raise ValueError("\n".join(f"{path}: {line}" for line in problems(why, _File))) from None
    return Levels(
        id=file.id,
        sha256=hashlib.sha256(content).hexdigest(),
        active_picture=file.active_picture,
        s=_axis(file, "s"),
        t=_axis(file, "t"),
        columns=file.columns,
        provenance=_provenance(file.provenance),
    )


def write_levels(levels: Levels, path: Path) -> None:
    """Write a thresholds file; the same thresholds give the same bytes, and `read_levels` gives `levels` again."""
    path.write_text(rendered(levels), encoding="utf-8", newline="\n")


def rendered(levels: Levels) -> str:
    """The text of a thresholds file."""
    import tomli_w  # noqa: PLC0415, of the extra `build`: readers write none

    axes = {"s": levels.s, "t": levels.t}
    cuts = {name: pair for axis in axes.values() for name, pair in _pairs(axis)}
    return tomli_w.dumps(
        {
            "id": levels.id,
            "active_picture": levels.active_picture,
            **({"columns": list(levels.columns)} if levels.columns != FIRST else {}),
            "decides": {name: axis.column for name, axis in axes.items()},
            "second": {name: axis.second for name, axis in axes.items()},
            "margins": {name: round(math.expm1(axis.margin), 6) for name, axis in axes.items()},
            "cuts": cuts,
            "provenance": asdict(levels.provenance),
        }
    )


def _pairs(axis: Axis) -> tuple[tuple[str, Cuts], tuple[str, Cuts]]:
    return (axis.column, axis.cuts), (axis.second, axis.second_cuts)


def _provenance(read: "_Provenance") -> Provenance:
    old = {"si": read.si_interval, "ti10": read.ti10_interval}
    intervals = {name: pairs for name, pairs in old.items() if pairs} | read.intervals
    plain = {field.name: getattr(read, field.name) for field in fields(Provenance) if field.name != "intervals"}
    return Provenance(**plain, intervals=intervals)


def _axis(file: "_File", name: str) -> Axis:
    column, second = getattr(file.decides, name), getattr(file.second, name)
    share = getattr(file.margins, name)
    return Axis(column, file.cuts[column], second, file.cuts[second], math.log1p(share))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Real = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Pair = tuple[_Real, _Real]
_Column = Literal[STATISTICS]  # type: ignore[valid-type]  # known when it runs


class _Names(_Strict):
    """A statistic for each axis."""

    s: _Column
    t: _Column


class _Shares(_Strict):
    """A relative distance for each axis."""

    s: _Real
    t: _Real


class _Provenance(_Strict):
    corpus: str
    corpus_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    clips: _Count
    shots: _Count
    method: str
    sources: tuple[str, ...] = ()
    intervals: dict[str, tuple[_Pair, ...]] = {}
    si_interval: tuple[_Pair, ...] = ()
    """As is the next: what files had before they named their statistics."""
    ti10_interval: tuple[_Pair, ...] = ()


class _File(_Strict):
    """A file that names no statistics is one of version 1."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    active_picture: ActivePicture = "brightest"
    decides: _Names = _Names(s="si", t="ti10")
    second: _Names = _Names(s="dct_energy", t="flow_mean")
    margins: _Shares = _Shares(s=0.1, t=0.2)
    columns: tuple[_Column, ...] = FIRST
    cuts: dict[str, _Pair]
    provenance: _Provenance

    @model_validator(mode="after")
    def _fitted_for_what_it_names(self) -> "_File":
        needed = [self.decides.s, self.decides.t, self.second.s, self.second.t]
        if sorted(self.cuts) != sorted(needed):
            raise ValueError(
                f"cuts are of {', '.join(sorted(self.cuts)) or 'nothing'}, but what the file names is "
                f"{', '.join(sorted(needed))}: cuts hold for the statistics that they were fitted for; "
                f"fit new ones with `mlst calibrate`"
            )
        for name, (low, high) in self.cuts.items():
            if not low < high:
                raise ValueError(f"the cuts of {name} must rise, got {low} and {high}")
        return self
