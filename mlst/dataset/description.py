"""What a built dataset says of itself: the record beside each clip, the index with a row per clip, the lock, and
`dataset.json`.

Columns and types follow from the record types alone, so that JSON, Parquet and the card cannot disagree.
"""

import dataclasses
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlst.records import (
    Box,
    Probe,
    Shard,
    Source,
    Statistics,
    Stream,
    Upstream,
    canonical_json,
    decode,
    digest,
    encode,
)

R = TypeVar("R")

FORMAT = "mlst/1"
"""Raised with every change that makes an older reader misread a dataset."""

INDEX = "metadata/clips.parquet"
LOCK = "sources.lock.jsonl"
LEVELS = "levels.toml"
RECIPE = "recipe.toml"
CARD = "README.md"
ATTRIBUTION = "ATTRIBUTION.md"
EXCLUSIONS = "exclusions.txt"
"""Only where something is excluded."""
DATASET = "dataset.json"

FRACTION = re.compile(r"-?\d{1,40}/[1-9]\d{0,39}")
ROW_GROUP = 10_000
UNPACKED = 1_000
"""Rows of an index that are unpacked at a time: 8 MB."""
EVERY = range(sys.maxsize)
PREFIX = {"statistics": "", "box": "box_", "flags": "flag_", "info": ""}
"""What stands before the columns of a nested record in the index."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Which of `mlst.levels.flags` a clip carries; one field per flag."""

    black: bool
    frozen: bool
    static: bool
    stutter: bool
    flash: bool
    interlaced: bool
    low_resolution: bool
    borderline_s: bool
    borderline_t: bool
    borderline: bool
    spatial_disagree: bool
    temporal_disagree: bool


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """The JSON beside a clip's video, and the first columns of its row in the index."""

    key: str
    source: str
    url: str
    title: str
    channel: str
    licence: str
    provenance: str
    group: str
    """What its split was decided by."""
    split: str
    level: str
    """`s0t0` ... `s2t2`."""
    number: int
    """1 ... 9."""
    s: int
    t: int
    margin_s: float
    """|ln(value / nearest threshold)| of the statistic that decides `s`."""
    margin_t: float
    start: Fraction
    """Seconds on the source's own clock, exact; half open."""
    end: Fraction
    start_seconds: float
    """The same rounded to a double."""
    end_seconds: float
    shot: int
    shot_start: int
    """Frames [shot_start, shot_end) of the decoded file are the clip's shot."""
    shot_end: int
    first_frame: int
    """Frames first_frame, first_frame + stride ... below end_frame were taken."""
    end_frame: int
    frames: int
    stride: int
    start_pts: int
    end_pts: int
    time_base: Fraction
    rate: Fraction
    """Frames per second of the clip."""
    source_width: int
    source_height: int
    box: Box
    statistics: Statistics
    flags: Flags


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the index: the clip, and where its video lies."""

    info: ClipInfo
    fingerprint: str
    shard: str
    offset: int
    """The video is `size` bytes from here in the shard: one ranged read fetches it."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LockRow:
    """What was really fetched of a source. Its identity is `probe.packets_sha256`, which a new container does not
    change: a site's headers, and with them `size` and `sha256`, differ from download to download."""

    source: Source
    upstream: Upstream
    probe: Probe
    stream: Stream
    origin: Fraction
    size: int
    """Bytes of the file; of a span, of the part that was fetched."""
    sha256: str
    """Of the same."""
    candidates: int
    chosen: int


@dataclass(frozen=True, slots=True)
class Share:
    """Expected share of the groups in a split."""

    split: str
    share: float


@dataclass(frozen=True, slots=True)
class SplitRule:
    """All that `mlst.levels.splits.split_of` needs besides the group."""

    shares: tuple[Share, ...]
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


@cache
def fields_of(kind: type) -> Mapping[str, type]:
    """Name and type of a record's fields, in their order."""
    return get_type_hints(kind)


@cache
def columns(kind: type) -> tuple[tuple[str, type], ...]:
    """Name and type of the flat columns of a record: nested records are taken apart, with their `PREFIX`."""
    flat: list[tuple[str, type]] = []
    for name, hint in fields_of(kind).items():
        if dataclasses.is_dataclass(hint):
            flat += [(PREFIX[name] + inner, leaf) for inner, leaf in columns(hint)]
        else:
            flat.append((name, hint))
    return tuple(flat)


def misfit(kind: Any, value: Any, place: str) -> str:
    """What is wrong with JSON `value` as a record of type `kind`: a sentence that begins with its place, or "".

    Stricter than `decode`: an int is no float, a bool no int, and null, NaN, missing and unknown fields are refused.
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            return f"{place} is {value!r}, not an object"
        fields = fields_of(kind)  # type: ignore[arg-type]
        if value.keys() != fields.keys():
            return f"{place} has other fields: {', '.join(sorted(value.keys() ^ fields.keys()))}"
        return next(filter(None, (misfit(hint, value[name], f"{place}.{name}") for name, hint in fields.items())), "")
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            return f"{place} is {value!r}, not a list"
        (inner, _) = get_args(kind)
        return next(filter(None, (misfit(inner, item, f"{place}[{i}]") for i, item in enumerate(value))), "")
    if kind is Fraction:
        fits = isinstance(value, str) and FRACTION.fullmatch(value) is not None
        return "" if fits else f"{place} is {value!r}, not a fraction like '1001/30000'"
    fits = type(value) is kind and (kind is not float or math.isfinite(value))
    return "" if fits else f"{place} is {value!r}, not {kind.__name__}"


SCALARS = {str: pa.string(), Fraction: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def index_schema() -> Any:
    """The Arrow schema of the index."""
    return pa.schema([pa.field(name, SCALARS[kind], nullable=False) for name, kind in columns(Row)])


def write_index(file: BinaryIO, rows: Iterable[Row]) -> None:
    """Write the index as Parquet. Equal rows give equal bytes under one version of pyarrow."""
    with pq.ParquetWriter(file, index_schema(), compression="zstd", version="2.6", store_schema=False) as writer:
        for group in _groups(rows):
            flat = [tuple(_flatten(encode(row))) for row in group]
            arrays = [
                pa.array(values, type=SCALARS[kind])
                for values, (_, kind) in zip(zip(*flat, strict=True), columns(Row), strict=True)
            ]
            writer.write_table(pa.table(arrays, schema=index_schema()), row_group_size=ROW_GROUP)


def read_index(path: Path, span: range = EVERY) -> Iterator[Row]:
    """The rows `span` of an index, a row group in memory at a time. Raises ValueError where the schema is not ours, or
    a number not finite."""
    file = pq.ParquetFile(path)
    found, wanted = [str(field) for field in file.schema_arrow], [str(field) for field in index_schema()]
    if found != wanted:
        odd = [f"unexpected {field}" for field in found if field not in wanted]
        odd += [f"no {field}" for field in wanted if field not in found]
        raise ValueError(f"columns differ: {'; '.join(odd) or 'their order'}")
    first = 0
    for group in range(file.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        here = range(max(span.start, first), min(span.stop, last))
        if here:
            table = file.read_row_group(group)
            for name, kind in columns(Row):
                if kind is float and not np.isfinite(table[name].to_numpy()).all():
                    raise ValueError(f"{name} is infinite or no number in one of the rows {first} to {last - 1}")
            for start in range(here.start, here.stop, UNPACKED):
                for values in table.slice(start - first, min(UNPACKED, here.stop - start)).to_pylist():
                    yield decode(Row, _nest(Row, values, ""))
        first = last


def write_json(dataset: Dataset) -> bytes:
    """The text of `dataset.json`: sorted keys, one value per line."""
    return (json.dumps(encode(dataset), sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Dataset:
    """What `dataset.json` says. Raises ValueError where it is not one of ours, OSError if unreadable."""
    return parse_json(path.read_bytes(), path.name)


def parse_json(text: bytes, name: str) -> Dataset:
    """`read_json` of bytes; errors call them `name`."""
    value = _loads(text, name)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{name}: not a dataset of format {FORMAT!r}")
    return _decode(Dataset, value, name)


def write_lock(rows: Iterable[LockRow]) -> Iterator[bytes]:
    """The lines of the lock: canonical JSON. `rows` come by source id."""
    for row in rows:
        yield (canonical_json(row) + "\n").encode()


def read_lock(path: Path) -> Iterator[LockRow]:
    """The rows of a lock. Raises ValueError where a line is not one of ours, OSError if unreadable."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield parse_lock(line, f"{path.name}:{number}")


def parse_lock(line: bytes, place: str) -> LockRow:
    """`read_lock` of one line; errors call it `place`."""
    return _decode(LockRow, _loads(line, place), place)


class Footage:
    """sha256 over what identifies the footage of every source: not what a site says of it, nor how it was wrapped."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, row: LockRow) -> None:
        """The next row of the lock; rows come by source id."""
        self._sha256.update(f"{row.source.id} {row.probe.packets_sha256}\n".encode())

    def hexdigest(self) -> str:
        """Of the rows so far."""
        return self._sha256.hexdigest()


def footage_of(lock: Iterable[LockRow]) -> str:
    """`Footage` of the rows of a lock, which come by source id."""
    footage = Footage()
    for row in lock:
        footage.add(row)
    return footage.hexdigest()


def fingerprint_of(files: Iterable[File], footage: str) -> str:
    """`Dataset.fingerprint`: over the format, the footage, and those files that make the dataset what it is; the card
    does not, nor the lock beyond the footage."""
    kept = sorted((f.path, f.sha256) for f in files if f.path in (RECIPE, LEVELS, INDEX) or f.path[:5] == "data/")
    return digest([FORMAT, footage, kept])


def _loads(text: bytes, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as why:
        raise ValueError(f"{place}: not JSON: {why}") from None


def _decode(kind: type[R], value: Any, place: str) -> R:
    if wrong := misfit(kind, value, place):
        raise ValueError(wrong)
    return decode(kind, value)


def _groups(rows: Iterable[R]) -> Iterator[list[R]]:
    group: list[R] = []
    for row in rows:
        group.append(row)
        if len(group) == ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _flatten(value: Mapping[str, Any]) -> Iterator[Any]:
    for inner in value.values():
        if isinstance(inner, dict):
            yield from _flatten(inner)
        else:
            yield inner


def _nest(kind: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name: _nest(hint, values, prefix + PREFIX[name]) if dataclasses.is_dataclass(hint) else values[prefix + name]
        for name, hint in fields_of(kind).items()
    }
