"""The index of a dataset, `metadata/clips.parquet`: a row per clip, with the record that lies beside its video.

Columns and types follow from the record types alone, so that JSON, Parquet and the card cannot disagree.
"""

import dataclasses
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlst.dataset.parquet import batches, damage, longest_texts, open_parquet, read_columns
from mlst.dataset.schema import fields_of, given, is_record, optional
from mlst.inside import opened
from mlst.levels.flags import telling
from mlst.records import Box, Count, Integer, Rational, Statistics, decode, encode, later

ROW_GROUP = 10_000
UNPACKED, UNPACKED_BYTES = 1_000, 64 << 20
"""Rows of an index that are unpacked at a time, 8 MB; fewer where their texts may be longer than so many bytes."""
EVERY = range(sys.maxsize)
PREFIX = {"statistics": "", "box": "box_", "flags": "flag_", "info": ""}
"""What stands before the columns of a nested record in the index."""
SCALARS = {str: pa.string(), Fraction: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


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
    camera_only: bool | None = later(None)
    """None, as for the next, where the camera was not measured."""
    shaky: bool | None = later(None)


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
    number: Count
    """1 ... 9."""
    s: Count
    t: Count
    margin_s: float
    """|ln(value / nearest threshold)| of the statistic that decides `s`."""
    margin_t: float
    start: Rational
    """Seconds on the source's own clock, exact; half open."""
    end: Rational
    start_seconds: float
    """The same rounded to a double."""
    end_seconds: float
    shot: Count
    shot_start: Count
    """Frames [shot_start, shot_end) of the decoded file are the clip's shot."""
    shot_end: Count
    first_frame: Count
    """Frames first_frame, first_frame + stride ... below end_frame were taken."""
    end_frame: Count
    frames: Count
    stride: Count
    start_pts: Integer
    end_pts: Integer
    time_base: Rational
    rate: Rational
    """Frames per second of the clip."""
    source_width: Count
    source_height: Count
    box: Box
    statistics: Statistics
    flags: Flags


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the index: the clip, and where its video lies."""

    info: ClipInfo
    fingerprint: str
    shard: str
    offset: Count
    """The video is `size` bytes from here in the shard: one ranged read fetches it."""
    size: Count
    sha256: str


@cache
def columns(kind: type) -> tuple[tuple[str, type], ...]:
    """Name and type of all flat columns of a record: nested records are taken apart, with their `PREFIX`."""
    found: list[tuple[str, type]] = []
    for name, hint in fields_of(kind).items():
        if dataclasses.is_dataclass(hint):
            found += [(PREFIX[name] + inner, leaf) for inner, leaf in columns(hint)]
        else:
            found.append((name, given(hint)))
    return tuple(found)


@cache
def spare(kind: type) -> frozenset[str]:
    """Those of the flat columns of a record that a dataset may lack: what was not measured."""
    names: set[str] = set()
    for name, hint in fields_of(kind).items():
        if dataclasses.is_dataclass(hint):
            names |= {PREFIX[name] + inner for inner in spare(hint)}
        elif optional(hint):
            names.add(name)
    return frozenset(names)


def index_names(statistics: Collection[str]) -> tuple[str, ...]:
    """Names of the columns of an index of clips of which these `statistics` were measured."""
    here = {*statistics, *(PREFIX["flags"] + name for name in telling(statistics))}
    return tuple(name for name, _ in columns(Row) if name in here or name not in spare(Row))


def index_schema(names: Collection[str]) -> Any:
    """The Arrow schema of an index with those of the spare columns that are among `names`, and all others."""
    here = [(name, kind) for name, kind in columns(Row) if name in names or name not in spare(Row)]
    return pa.schema([pa.field(name, SCALARS[kind], nullable=False) for name, kind in here])


def index_columns(path: Path) -> list[str]:
    """Names of the columns of an index. Raises what `read_index` does."""
    with opened(path) as file:
        return list(open_parquet(file, index_schema, path.name).schema_arrow.names)


def write_index(file: BinaryIO, rows: Iterable[Row]) -> None:
    """Write the index as Parquet. Equal rows give equal bytes under one version of pyarrow.

    Raises ValueError for rows of which some have columns that others have not.
    """
    groups = _groups(rows)
    first = next(groups, [])
    schema = index_schema(flat(first[0]) if first else ())
    with pq.ParquetWriter(file, schema, compression="zstd", version="2.6", store_schema=False) as writer:
        for group in chain([first] if first else [], groups):
            values = [flat(row) for row in group]
            if odd := next((row for row in values if list(row) != schema.names), None):
                wrong = ", ".join(sorted(odd.keys() ^ set(schema.names)))
                raise ValueError(f"{odd['key']}: not all clips have {wrong}; scan every source for the same columns")
            table = pa.Table.from_pylist(values, schema=schema)
            writer.write_table(table, row_group_size=ROW_GROUP)


def flat(row: Row) -> dict[str, Any]:
    """The columns of a row and their values, exact numbers as text."""
    return dict(_flatten(encode(row)))


def read_index(path: Path, span: range = EVERY) -> Iterator[Row]:
    """The rows `span` of an index, a few in memory at a time. Raises ValueError where the file is none of ours or is
    damaged, or a number not finite; OSError where there is none."""
    with opened(path) as file:
        parquet = open_parquet(file, index_schema, path.name)
        first = 0
        for group in range(parquet.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            if max(span.start, first) < min(span.stop, last):
                for batch in batches(parquet, group, parquet.schema_arrow.names, UNPACKED, path.name):
                    yield from _rows(batch, range(max(span.start - first, 0), max(span.stop - first, 0)), path.name)
                    first += len(batch)
            first = last


def read_index_columns(path: Path, names: Sequence[str]) -> Any:
    """Some columns of an index as a table. Raises what `read_index` does."""
    with opened(path) as file:
        return read_columns(file, index_schema, names, path.name)


def read_index_batches(path: Path, names: Sequence[str], rows: int) -> Iterator[Any]:
    """Some columns of an index, at most so many rows at a time. Raises what `read_index` does."""
    with opened(path) as file:
        parquet = open_parquet(file, index_schema, path.name)
        schema = pa.schema([index_schema(parquet.schema_arrow.names).field(name) for name in names])
        for group in range(parquet.num_row_groups):
            for batch in batches(parquet, group, names, rows, path.name):
                step = _fitting(batch, rows)
                for start in range(0, len(batch), step):
                    with damage(path.name):
                        part = batch.slice(start, step).select(names).cast(schema)
                    yield part


def _fitting(batch: Any, most: int) -> int:
    """Rows whose texts can be written out at a time."""
    return min(max(UNPACKED_BYTES // max(longest_texts(batch), 1), 1), most)


def _rows(batch: Any, wanted: range, name: str) -> Iterator[Row]:
    """Those of a batch that are wanted, written out a few at a time."""
    here = batch.schema.names
    for column, kind in columns(Row):
        if kind is float and column in here and not np.isfinite(batch[column].to_numpy()).all():
            raise ValueError(f"{name}: {column} is infinite or no number in a row")
    step = _fitting(batch, UNPACKED)
    for start in range(wanted.start, min(wanted.stop, len(batch)), step):
        with damage(name):
            values = batch.slice(start, min(step, wanted.stop - start)).cast(index_schema(here)).to_pylist()
        for row in values:
            yield decode(Row, _nest(Row, row, ""))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while group := list(islice(left, ROW_GROUP)):
        yield group


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flatten(inner, prefix + PREFIX[name])
        else:
            yield prefix + name, inner


def _nest(kind: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name: _nest(hint, values, prefix + PREFIX[name]) if is_record(hint) else values[prefix + name]
        for name, hint in fields_of(kind).items()
        if is_record(hint) or prefix + name in values
    }
