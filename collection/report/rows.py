"""The columns of `metadata/clips.parquet` that the report looks at."""

from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow.parquet as pq

from collection.workspace.folder import Span, Workspace


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One clip of a built dataset."""

    key: str
    source: str
    level: str
    s: int
    t: int
    split: str
    si: float
    ti10: float
    frames: int
    shard: str
    offset: int
    size: int


def clip_bytes(dataset: Workspace, row: ReportRow) -> bytes:
    """The encoded video of a clip, MP4."""
    folder = dataset.spans([Span(row.shard, row.offset, row.size)])
    return read_span(folder / row.shard, row.offset, row.size)


def read_span(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def read_rows(index: Path) -> list[ReportRow]:
    """All clips in the file `index`, in its order."""
    table = pq.read_table(index, columns=[field.name for field in fields(ReportRow)])
    return [ReportRow(**values) for values in table.to_pylist()]
