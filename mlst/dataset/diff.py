"""What two datasets differ in: clips by level and split, sources, settings."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from mlst.dataset.description import DATASET, INDEX, LOCK, RECIPE, THRESHOLDS, Dataset, read_dataset
from mlst.dataset.index import index_columns, read_index_columns
from mlst.dataset.lock import read_lock
from mlst.exits import UserError
from mlst.structured import read_toml

PLACE = ("level", "number", "s", "t", "split", "shard", "offset")
"""Columns of the index that say where a clip is."""


class DiffError(UserError, ValueError):
    """A folder that is not a dataset; the text says why."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A clip that is in one of the datasets only."""

    key: str
    level: str
    split: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A clip that is in another level or split; `/` stands between the two, as in `s0t2/train`."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """How many clips in both datasets differ in a column of the index."""

    column: str
    clips: int


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, threshold or version that differs; "" where it is missing."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class CellChange:
    """One level and split."""

    level: str
    split: str
    before: int
    """Clips."""
    after: int
    added: int
    """In the second dataset only."""
    removed: int
    changed: int
    """In both, with other bytes."""
    arrived: int
    """From another level or split."""
    left: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What is in the second dataset and not in the first, and the other way round; all lists are sorted."""

    added: tuple[Placed, ...]
    removed: tuple[Placed, ...]
    moved: tuple[Moved, ...]
    changed: tuple[Placed, ...]
    """Same key, other bytes; placed as in the second."""
    described: tuple[Change, ...]
    """Columns that differ for clips of the same bytes."""
    sources_added: tuple[str, ...]
    """Ids of the lock."""
    sources_removed: tuple[str, ...]
    sources_changed: tuple[str, ...]
    """Whose packets differ."""
    settings: tuple[Setting, ...]
    cells: tuple[CellChange, ...]
    same_bytes: bool
    """Whether the two descriptions of the datasets are byte for byte the same."""

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        clips = self.added or self.removed or self.moved or self.changed or self.described
        return not (clips or self.sources_added or self.sources_removed or self.sources_changed or self.settings)


def diff(one: Path, two: Path) -> Difference:
    """Compare the datasets in two folders by what they say of themselves. Raises `DiffError`."""
    described = _read(one), _read(two)
    before, after = _index(one), _index(two)
    old, new = _lock(one), _lock(two)
    common = before.select(["key"]).join(after.select(["key"]), "key", join_type="inner")["key"]
    left, right = _only(before, common, True), _only(after, common, True)
    added, removed = _placed(_only(after, common, False)), _placed(_only(before, common, False))
    other = pc.not_equal(left["sha256"], right["sha256"])
    moved = tuple(_moved(left, right))
    changed = _placed(right.filter(other))
    return Difference(
        added=added,
        removed=removed,
        moved=moved,
        changed=changed,
        described=tuple(_described(left.filter(pc.invert(other)), right.filter(pc.invert(other)))),
        sources_added=tuple(sorted(new.keys() - old.keys())),
        sources_removed=tuple(sorted(old.keys() - new.keys())),
        sources_changed=tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
        settings=tuple(_settings(*map(_flat_settings, (one, two), described))),
        cells=tuple(_cells(before, after, (added, removed, changed), moved)),
        same_bytes=(one / DATASET).read_bytes() == (two / DATASET).read_bytes(),
    )


def _read(folder: Path) -> Dataset:
    try:
        return read_dataset(folder)
    except (OSError, ValueError) as why:
        raise DiffError(f"{folder}: not a readable dataset: {why}; run `mlst verify`") from None


def _index(folder: Path) -> Any:
    try:
        table = read_index_columns(folder / INDEX, index_columns(folder / INDEX))
    except (OSError, ValueError) as why:
        raise DiffError(f"{folder}: {why}; run `mlst verify`") from None
    if len(pc.unique(table["key"])) != len(table):
        raise DiffError(f"{folder / INDEX} has duplicate keys; run `mlst verify`")
    return table.sort_by("key")


def _lock(folder: Path) -> dict[str, str]:
    """Hash of the packets of every source."""
    try:
        return {row.source.id: row.probe.packets_sha256 for row in read_lock(folder / LOCK)}
    except (OSError, ValueError) as why:
        raise DiffError(f"{folder}: {why}; run `mlst verify`") from None


def _only(table: Any, keys: Any, inside: bool) -> Any:
    """Rows with one of the keys, or with none of them, in the order of the keys."""
    found = pc.is_in(table["key"], value_set=keys.combine_chunks())
    return table.filter(found if inside else pc.invert(found))


def _placed(table: Any) -> tuple[Placed, ...]:
    columns = (table[name].to_pylist() for name in ("key", "level", "split"))
    return tuple(Placed(*row) for row in zip(*columns, strict=True))


def _moved(left: Any, right: Any) -> Iterator[Moved]:
    for one, two in zip(_placed(left), _placed(right), strict=True):
        if (one.level, one.split) != (two.level, two.split):
            yield Moved(one.key, f"{one.level}/{one.split}", f"{two.level}/{two.split}")


def _described(left: Any, right: Any) -> Iterator[Change]:
    """A column that only one of them has differs for every clip."""
    for name in dict.fromkeys((*left.column_names, *right.column_names)):
        if name not in PLACE:
            both = name in left.column_names and name in right.column_names
            count = (pc.sum(pc.not_equal(left[name], right[name])).as_py() or 0) if both else len(left)
            if count:
                yield Change(name, count)


def _settings(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Setting]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Setting(name, before.get(name, ""), after.get(name, ""))


def _flat_settings(folder: Path, dataset: Dataset) -> dict[str, str]:
    """Recipe, thresholds, and versions of the tools, by name."""
    try:
        parts = {"recipe": read_toml(folder / RECIPE)[1], "levels": read_toml(folder / THRESHOLDS)[1]}
    except (OSError, ValueError) as why:
        raise DiffError(f"{folder}: {why}; run `mlst verify`") from None
    flat = {"format": dataset.format, "version": dataset.version}
    flat |= {f"tool {tool.name}": tool.version for tool in dataset.tools}
    return flat | dict(_flat(parts, ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}".removeprefix("."))
    else:
        yield name, str(value)


def _cells(
    before: Any, after: Any, lists: tuple[tuple[Placed, ...], ...], moved: tuple[Moved, ...]
) -> Iterator[CellChange]:
    counts = [Counter(zip(t["level"].to_pylist(), t["split"].to_pylist(), strict=True)) for t in (before, after)]
    counts += [Counter((clip.level, clip.split) for clip in clips) for clips in lists]
    counts.append(Counter(_cell(clip.after) for clip in moved))
    counts.append(Counter(_cell(clip.before) for clip in moved))
    for level, split in sorted(set().union(*counts)):
        yield CellChange(level, split, *(count[level, split] for count in counts))


def _cell(text: str) -> tuple[str, str]:
    level, _, split = text.partition("/")
    return level, split
