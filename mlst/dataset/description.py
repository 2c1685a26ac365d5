"""`dataset.json`: what a built dataset says of itself, and the names of the files that it lists."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlst.dataset.about import UNSAID, About
from mlst.dataset.schema import parse_json, record_of
from mlst.records import FIRST, Shard, digest, encode, later

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
DATASET = "dataset.json"


@dataclass(frozen=True, slots=True)
class SplitShare:
    """Expected share of the groups in a split."""

    split: str
    share: float


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
    clips: int
    frames: int
    seconds: float
    size: int
    """Bytes of its shards."""
    shards: int


@dataclass(frozen=True, slots=True)
class File:
    """A file of the dataset; the path is relative to it, with `/`."""

    path: str
    size: int
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
    side: int
    """Width and height of every clip, pixels."""
    frames: int
    """Frames of every clip."""
    split_rule: SplitRule
    sources: int
    """Sources with at least one clip."""
    clips: int
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
    return parse_dataset(path.read_bytes(), path.name)


def parse_dataset(text: bytes, name: str) -> Dataset:
    """`read_json` of bytes; errors call them `name`."""
    value = parse_json(text, name)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{name}: not a dataset of format {FORMAT!r}")
    return record_of(Dataset, value, name)


def dataset_fingerprint(files: Iterable[File], footage: str) -> str:
    """`Dataset.fingerprint`: over the format, the footage, and those files that make the dataset what it is; the card
    does not, nor the lock beyond the footage."""
    kept = sorted((f.path, f.sha256) for f in files if f.path in (RECIPE, THRESHOLDS, INDEX) or f.path[:5] == "data/")
    return digest([FORMAT, footage, kept])
