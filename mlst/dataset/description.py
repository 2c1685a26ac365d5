"""`dataset.json`: what a built dataset says of itself, and the names of the files that it lists."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mlst.dataset.about import UNSAID, About
from mlst.dataset.schema import parse_json, record_of
from mlst.inside import check_files, content, plain
from mlst.records import FIRST, SPLITS, Count, Shard, digest, encode, later

FORMAT = "mlst/1"
"""Raised with every change that makes an older reader misread a dataset."""

INDEX = "metadata/clips.parquet"
LOCK = "sources.lock.jsonl"
THRESHOLDS = "levels.toml"
RECIPE = "recipe.toml"
CARD = "README.md"
ATTRIBUTION = "ATTRIBUTION.md"
EXCLUSIONS = "exclusions.txt"
"""Only where something is excluded."""
REVIEW = "review.csv"
"""Only where a person's marks had a part in the selection."""
DATASET = "dataset.json"
GROUPS = ("group", "source", "channel")
"""By what sources may be kept in one split, see `mlst.levels.splits.split_group`."""
NAMED = (INDEX, LOCK, THRESHOLDS, RECIPE, CARD, ATTRIBUTION, EXCLUSIONS, REVIEW)
LARGEST = 64 << 20
"""Bytes of `dataset.json` that are read."""

INDEX_ROW, LOCK_ROW, OTHERS = 1 << 18, 1 << 16, 1 << 30
"""Bytes at most: of the index for a clip, of other tables for a source, and of any file but shards besides. What is
larger is not even hashed: it may be a hole without end."""

Side = Annotated[int, Field(ge=2, le=4096)]
"""Pixels; recipes give at most 1024."""
Frames = Annotated[int, Field(ge=1, le=10_000)]
"""Of a clip; recipes give at most 1000."""


@dataclass(frozen=True, slots=True)
class SplitShare:
    """Expected share of the groups in a split."""

    split: str
    share: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class SplitRule:
    """All that `mlst.levels.splits.split_of` needs besides the group."""

    shares: tuple[SplitShare, ...]
    salt: str
    group: str
    """`group`, `source` or `channel`."""

    def mapping(self) -> dict[str, float]:
        """Shares by split."""
        return {share.split: share.share for share in self.shares}


@dataclass(frozen=True, slots=True)
class Cell:
    """One level in one split."""

    level: str
    split: str
    clips: Count
    frames: Count
    seconds: float
    size: Count
    """Bytes of its shards."""
    shards: Count


@dataclass(frozen=True, slots=True)
class File:
    """A file of the dataset; the path is relative to it, with `/`."""

    path: str
    size: Count
    sha256: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A program or library that had a part in the bytes."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """`dataset.json`: written last, lists every other file."""

    format: str
    name: str
    version: str
    title: str
    description: str
    licence: str
    contact: str
    fingerprint: str
    """Over format, recipe, levels, footage, index and shards: equal for equal datasets."""
    footage: str
    """`footage_of` the lock."""
    side: Side
    """Width and height of every clip, pixels."""
    frames: Frames
    """Frames of every clip."""
    split_rule: SplitRule
    sources: Count
    """Sources with at least one clip."""
    clips: Count
    cells: tuple[Cell, ...]
    """Only those with clips, in the order of the shards."""
    shards: tuple[Shard, ...]
    tools: tuple[Tool, ...]
    files: tuple[File, ...]
    """Every file but this one, by path."""
    statistics: tuple[str, ...] = later(FIRST)
    """What was measured of every clip, in the order of the index."""
    about: About = later(UNSAID)
    """What only its maker knows."""


def write_json(dataset: Dataset) -> bytes:
    """The text of `dataset.json`: sorted keys, one value per line."""
    return (json.dumps(encode(dataset), sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Dataset:
    """What `dataset.json` says. Raises ValueError where it is not one of ours, OSError if unreadable."""
    return parse_dataset(content(path, LARGEST), path.name)


def read_dataset(folder: Path) -> Dataset:
    """`read_json` of the dataset in `folder`, of which every file that is there is a regular file inside.

    Whatever else a command reads of a dataset, or writes there, it does after this.
    """
    dataset = read_json(folder / DATASET)
    check_files(folder, {*NAMED, *(file.path for file in dataset.files)})
    return dataset


def parse_dataset(text: bytes, name: str) -> Dataset:
    """`read_json` of bytes; errors call them `name`."""
    value = parse_json(text, name)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{name}: not a dataset of format {FORMAT!r}")
    dataset = record_of(Dataset, value, name)
    for paths in ([file.path for file in dataset.files], [shard.path for shard in dataset.shards]):
        twice = [path for path, count in Counter(map(plain, paths)).items() if count > 1]
        if twice or DATASET in paths:
            raise ValueError(f"{name}: {(twice or [DATASET])[0]!r} is listed twice, or is this file itself")
    for file in dataset.files:
        most = INDEX_ROW * (dataset.clips + 1) if file.path == INDEX else OTHERS + LOCK_ROW * dataset.sources
        if file.size > most and not file.path.startswith("data/"):
            raise ValueError(f"{name}: {file.path!r} of {file.size} bytes; it cannot have more than {most}")
    splits = [share.split for share in dataset.split_rule.shares]
    if not splits or len(set(splits)) < len(splits) or not set(splits) <= set(SPLITS):
        raise ValueError(f"{name}: split_rule has shares for {', '.join(splits[:10]) or 'no split'}")
    if dataset.split_rule.group not in GROUPS:
        raise ValueError(f"{name}: split_rule.group is none of {', '.join(GROUPS)}")
    return dataset


def dataset_fingerprint(files: Iterable[File], footage: str) -> str:
    """`Dataset.fingerprint`: over the format, the footage, and those files that make the dataset what it is; the card
    does not, nor the lock beyond the footage."""
    kept = sorted((f.path, f.sha256) for f in files if f.path in (RECIPE, THRESHOLDS, INDEX) or f.path[:5] == "data/")
    return digest([FORMAT, footage, kept])
