"""The columns of `metadata/clips.parquet` that the report looks at."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from collection.workspace.folder import Span, Workspace
from mlst.dataset.index import read_index_columns
from mlst.dataset.shards import LARGEST, PATH
from mlst.inside import file_in, opened
from mlst.levels.levels import Levels


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One clip of a built dataset."""

    key: str
    source: str
    shot: int
    """Number within its source."""
    level: str
    s: int
    t: int
    split: str
    texture: float
    """The statistic that decides `s`."""
    motion: float
    """The statistic that decides `t`."""
    frames: int
    rate: str
    """Frames per second, a fraction: `30000/1001`."""
    shard: str
    offset: int
    size: int


def in_turns(rows: Sequence[ReportRow]) -> list[ReportRow]:
    """Rows in the order in which few of them show most: one of each source, then a second of each, from another shot
    where there is one, and so on; within that, as they were."""
    order: dict[str, list[int]] = {}
    again: dict[tuple[str, int], int] = {}
    for place, row in enumerate(rows):
        again[row.source, row.shot] = turn = again.get((row.source, row.shot), -1) + 1
        order.setdefault(row.source, []).append(turn * len(rows) + place)
    turns = ((n, code % len(rows)) for codes in order.values() for n, code in enumerate(sorted(codes)))
    return [rows[place] for _, place in sorted(turns)]


def clip_bytes(dataset: Workspace, row: ReportRow) -> bytes:
    """The encoded video of a clip, MP4. Raises ValueError where the index names no shard of the dataset."""
    if not PATH.fullmatch(row.shard):
        raise ValueError(f"the index says that {row.key} lies in {row.shard[:200]!r}, which is not a shard")
    folder = dataset.spans([Span(row.shard, row.offset, row.size)])
    return read_span(file_in(folder, row.shard), row.offset, row.size)


def read_span(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` of a file."""
    with opened(path) as file:
        file.seek(offset)
        return file.read(min(size, LARGEST))


def read_rows(index: Path, levels: Levels) -> list[ReportRow]:
    """All clips in the file `index`, in its order; `levels` says what decides."""
    deciding = {"texture": levels.s.column, "motion": levels.t.column}
    names = {field.name: deciding.get(field.name, field.name) for field in fields(ReportRow)}
    table = read_index_columns(index, sorted(set(names.values()))).to_pylist()
    return [ReportRow(**{name: row[column] for name, column in names.items()}) for row in table]
