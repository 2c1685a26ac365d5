"""The taxonomy: three spatial times three temporal levels, by frozen thresholds.

The level of a clip depends on that clip and a thresholds file alone, never on the other clips of a dataset; whoever
publishes a level names the file, by id and sha256.
"""

import hashlib
import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlst.exits import UserError
from mlst.problems import problems
from mlst.records import Statistics

DEFAULT = "p910-240p-v1"
"""Thresholds that come with `mlst`."""
MARGIN_S, MARGIN_T = math.log(1.10), math.log(1.20)
"""Clips nearer to a cut than this are borderline: farther away, re-encoding flips hardly a label (docs/levels.md)."""
LEAST_VALUE = 1e-3
"""Smaller statistics count as this in margins: the logarithm of 0 is not finite."""
LEAST_SHOTS = 300
"""Fewer shots do not determine a quantile."""
RESAMPLES, CONFIDENCE = 1000, 0.95
"""Of the bootstrap."""
DIGITS = 6
"""Significant digits of a cut in a thresholds file."""

ActivePicture = Literal["brightest"]
"""Names in `mlst.pictures.bars.active_picture`, which cannot be asked here: it needs OpenCV."""

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
    si_interval: tuple[Cuts, ...]
    """95 % bootstrap interval of each cut; empty where the corpus is not at hand."""
    ti10_interval: tuple[Cuts, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """A thresholds file."""

    id: str
    sha256: str
    """Of the file's bytes."""
    active_picture: ActivePicture
    """Rule of `mlst.pictures.bars` by which the bars were found in the pictures that are measured."""
    si: Cuts
    """Decide `s`."""
    ti10: Cuts
    """Decide `t`."""
    dct_energy: Cuts
    """A second opinion on `s`; decides nothing."""
    flow_mean: Cuts
    """A second opinion on `t`; decides nothing."""
    provenance: Provenance


class CorpusError(UserError, ValueError):
    """A corpus, or quantiles of it, that thresholds cannot be derived from."""


def step(value: float, cuts: Cuts) -> int:
    """0, 1 or 2: half-open, `v < c1`, `c1 <= v < c2`, `c2 <= v`."""
    return (value >= cuts[0]) + (value >= cuts[1])


def classify(statistics: Statistics, levels: Levels) -> Level:
    """The level of a clip."""
    return Level(step(statistics.si, levels.si), step(statistics.ti10, levels.ti10))


def margin(value: float, cuts: Cuts) -> float:
    """|ln(value / nearest cut)|: 0 on a cut, 0.095 ten per cent above it."""
    return min(abs(math.log(max(value, LEAST_VALUE) / cut)) for cut in cuts)


def margins(statistics: Statistics, levels: Levels) -> tuple[float, float]:
    """`(margin_s, margin_t)`: how far a clip is from the next level in texture and in motion."""
    return margin(statistics.si, levels.si), margin(statistics.ti10, levels.ti10)


def find_levels(name: str, folder: Path) -> Path:
    """The thresholds file `name`: a path relative to `folder`, or the name of one that comes with `mlst`.

    Raises ValueError with the choices where there is neither.
    """
    path = folder / name
    if path.is_file():
        return path
    bundled = Path(str(files("mlst.levels") / "thresholds"))
    choices = sorted(p.stem for p in bundled.glob("*.toml"))
    if name in choices:
        return bundled / f"{name}.toml"
    raise ValueError(f"levels = {name!r}: no such file in {folder}, and not one of {', '.join(choices)}")


def read_levels(source: Path | str) -> Levels:
    """The thresholds in a TOML file, given its path or the name of one that comes with `mlst`.

    Raises ValueError, naming file, key and value, for anything missing, unknown, of a wrong type or out of order.
    """
    path = source if isinstance(source, Path) else find_levels(source, Path())
    try:
        content = path.read_bytes()
        file = _File.model_validate(tomllib.loads(content.decode("utf-8")))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such thresholds file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise ValueError(f"{path}: not TOML: {why}") from None
    except ValidationError as why:
        raise ValueError("\n".join(f"{path}: {line}" for line in problems(why, _File))) from None
    return Levels(
        id=file.id,
        sha256=hashlib.sha256(content).hexdigest(),
        active_picture=file.active_picture,
        provenance=Provenance(**{f.name: getattr(file.provenance, f.name) for f in fields(Provenance)}),
        **file.cuts.model_dump(),
    )


def write_levels(levels: Levels, path: Path) -> None:
    """Write a thresholds file; the same thresholds give the same bytes, and `read_levels` gives `levels` again."""
    path.write_text(_render(levels), encoding="utf-8", newline="\n")


def calibrate(
    measured: Sequence[Statistics],
    shots: Sequence[str],
    *,
    id: str,
    corpus: str,
    corpus_sha256: str,
    active_picture: ActivePicture,
    quantiles: tuple[float, float] = (1 / 3, 2 / 3),
) -> Levels:
    """Thresholds at quantiles of a corpus's clips; `shots` names the shot of each clip and `active_picture`
    the rule that they were measured under.

    Intervals are from a bootstrap that draws whole shots, since clips of one shot are alike; its seed is fixed.
    Raises `CorpusError` below `LEAST_SHOTS` shots, for unordered quantiles, or where two cuts coincide.
    """
    if len(measured) != len(shots):
        raise ValueError(f"one shot per clip is needed, got {len(measured)} clips and {len(shots)} shots")
    _, labels = np.unique(np.asarray(shots, dtype=str), return_inverse=True)
    count = int(labels.max()) + 1 if len(labels) else 0
    if count < LEAST_SHOTS:
        raise CorpusError(
            f"thresholds need a corpus of at least {LEAST_SHOTS} shots, {corpus!r} has {count}: add sources, or use "
            f"the thresholds {DEFAULT!r} that come with mlst"
        )
    if not 0 < quantiles[0] < quantiles[1] < 1:
        raise CorpusError(f"quantiles must be two rising shares between 0 and 1, got {quantiles}")
    columns = {name: np.array([getattr(s, name) for s in measured]) for name in _Cuts.model_fields}
    cuts = {name: _cuts(column, quantiles) for name, column in columns.items()}
    for name, (low, high) in cuts.items():
        if not 0 < low < high:
            raise CorpusError(f"{name} of {corpus!r} has quantiles {low} and {high}: they must be positive and differ")
    provenance = Provenance(
        corpus=corpus,
        corpus_sha256=corpus_sha256,
        clips=len(measured),
        shots=count,
        method=f"quantiles {quantiles[0]:.6g} and {quantiles[1]:.6g} over clips, numpy linear",
        si_interval=_intervals(columns["si"], labels, quantiles),
        ti10_interval=_intervals(columns["ti10"], labels, quantiles),
    )
    levels = Levels(id=id, sha256="", active_picture=active_picture, provenance=provenance, **cuts)
    return replace(levels, sha256=hashlib.sha256(_render(levels).encode()).hexdigest())


def _cuts(values: NDArray[np.float64], quantiles: tuple[float, float]) -> Cuts:
    low, high = np.quantile(values, quantiles, method="linear")
    return _rounded(low), _rounded(high)


def _intervals(
    values: NDArray[np.float64], shots: NDArray[np.intp], quantiles: tuple[float, float]
) -> tuple[Cuts, ...]:
    """Percentile bootstrap over shots of each quantile."""
    rng = np.random.default_rng(910)
    members = np.split(np.argsort(shots, kind="stable"), np.cumsum(np.bincount(shots))[:-1])
    drawn = []
    for _ in range(RESAMPLES):
        sample = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        drawn.append(np.quantile(values[sample], quantiles, method="linear"))
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return tuple((_rounded(a), _rounded(b)) for a, b in zip(low, high, strict=True))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _render(levels: Levels) -> str:
    """The text of a thresholds file."""
    import tomli_w  # noqa: PLC0415, of the extra `build`: readers write none

    cuts = {name: getattr(levels, name) for name in _Cuts.model_fields}
    return tomli_w.dumps(
        {
            "id": levels.id,
            "active_picture": levels.active_picture,
            "cuts": cuts,
            "provenance": asdict(levels.provenance),
        }
    )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Real = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Pair = tuple[_Real, _Real]


class _Cuts(_Strict):
    si: _Pair
    ti10: _Pair
    dct_energy: _Pair
    flow_mean: _Pair

    @model_validator(mode="after")
    def _rising(self) -> "_Cuts":
        for name, (low, high) in self:
            if not low < high:
                raise ValueError(f"the cuts of {name} must rise, got {low} and {high}")
        return self


class _Provenance(_Strict):
    corpus: str
    corpus_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    clips: _Count
    shots: _Count
    method: str
    si_interval: tuple[_Pair, ...]
    ti10_interval: tuple[_Pair, ...]


class _File(_Strict):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    active_picture: ActivePicture = "brightest"
    cuts: _Cuts
    provenance: _Provenance
