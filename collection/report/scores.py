"""What was measured on a dataset, as `astm evaluate` writes it."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mlst.dataset.card import Measured
from mlst.dataset.description import INDEX
from mlst.dataset.index import read_index_columns
from mlst.exits import UserError
from mlst.problems import first_problem
from mlst.text import number_of


class ScoresError(UserError, ValueError):
    """A file that holds no results."""


class _Score(BaseModel):
    model_config = ConfigDict(extra="ignore")
    metric: str
    mean: float


class _Group(BaseModel):
    level: str
    clips: int
    scores: list[_Score]


class _Evaluation(BaseModel):
    label: str
    split: str
    protocol: str
    dataset: str = ""
    """What kind it was of: `mlst` for ours."""
    fingerprint: str = ""
    """Of its clips: of the dataset, and of how it was read."""
    past: int = 0
    horizon: int = 0
    size: int = 0
    channels: int = 0
    groups: list[_Group]


ALL = "all"
"""What results call the group of all clips."""
CLIPS = "clips.parquet"
"""File beside results with the scores of every clip."""


def measured_on(dataset: Path, path: Path) -> Iterator[Measured]:
    """The same of a file that is of the dataset in a folder, by its fingerprint. Raises `ScoresError`.

    Results that do not say what they were read from, as those of predictions in files, must be of its clips, each of
    the level and the split that it has there, or of no more than it has where the file of clips is not beside them.
    """
    index = read_index_columns(dataset / INDEX, ["key", "level", "split"])
    found = _read(path)
    for split in sorted({one.split for one in found}):
        chosen = index.filter(pc.field("split") == split)
        levels = dict(zip(chosen["key"].to_pylist(), chosen["level"].to_pylist(), strict=True))
        here = [one for one in found if one.split == split]
        if wrong := _other(dataset, here) or _foreign(path, here, levels):
            raise ScoresError(f"{path} is not of {dataset}: {wrong}; run `astm evaluate` on this dataset")
    yield from read_measured(path)


def _other(dataset: Path, found: Sequence[_Evaluation]) -> str:
    """Why results that were read from a dataset are of another; "" where they are of this, or were read from none."""
    from mlst.loading import load  # noqa: PLC0415, which imports torch

    for one in found:
        if one.dataset != "mlst":
            continue
        some = [group.level for group in one.groups if group.level != ALL]
        how: dict[str, Any] = {"past": one.past, "horizon": one.horizon, "size": one.size}
        how["colour"] = "grey" if one.channels == 1 else "rgb"
        try:
            own = {load(dataset, split=one.split, levels=levels, **how).fingerprint for levels in (None, some)}
        except UserError as why:
            return str(why)
        if one.fingerprint not in own:
            return (
                f"{one.label} was scored on clips with the fingerprint {one.fingerprint[:16]}, of another dataset; "
                f"those of this one have {' or '.join(sorted(each[:16] for each in own))}"
            )
    return ""


def _foreign(path: Path, found: Sequence[_Evaluation], levels: Mapping[str, str]) -> str:
    """Why results of a split are not of its clips, whose levels are given by key; "" where they may be."""
    fingerprints = {one.fingerprint for one in found}
    strange = [key for key, level in _clips(path, fingerprints) if levels.get(key) != level]
    if strange:
        return f"{len(strange)} of the clips that were scored, such as {strange[0]}, are not there or of another level"
    there = Counter(levels.values()) + Counter({ALL: len(levels)})
    for group in (group for one in found for group in one.groups):
        if group.clips > there[group.level]:
            scored = number_of(group.clips, f"clip of level {group.level} was", f"clips of level {group.level} were")
            return f"{scored} scored, and it has {there[group.level]}"
    return ""


def _clips(path: Path, fingerprints: Collection[str]) -> Iterator[tuple[str, str]]:
    """Keys and levels of the clips that were scored, where a file beside the results tells."""
    if (path.parent / CLIPS).exists():
        table = pq.read_table(path.parent / CLIPS, columns=["fingerprint", "key", "level"])
        yield from ((row["key"], row["level"]) for row in table.to_pylist() if row["fingerprint"] in fingerprints)


def read_measured(path: Path) -> Iterator[Measured]:
    """What cards and reports show of a file that `astm evaluate` wrote. Raises `ScoresError`."""
    for one in _read(path):
        means: dict[str, list[tuple[str, int, float]]] = {}
        for group in one.groups:
            for score in group.scores:
                means.setdefault(score.metric, []).append((group.level, group.clips, score.mean))
        for metric, groups in means.items():
            yield Measured(one.label, one.split, one.protocol, metric, tuple(groups))


def _read(path: Path) -> list[_Evaluation]:
    try:
        return TypeAdapter(list[_Evaluation]).validate_json(path.read_bytes())
    except OSError as why:
        raise ScoresError(f"{path} is not a result of `astm evaluate`: {why}") from None
    except ValidationError as why:
        raise ScoresError(f"{path} is not a result of `astm evaluate`: {first_problem(why)}") from None
