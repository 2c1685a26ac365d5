"""A dataset taken apart: some clips at a time, each as the index says it is."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Protocol

from collection.export.origin import ExportError, Origin, readable
from mlst.dataset.description import INDEX
from mlst.dataset.index import Row, flat, index_columns, index_schema, read_index, read_index_batches
from mlst.dataset.shards import KEY, largest_clip
from mlst.levels.levels import LEVELS
from mlst.records import SPLITS

HOME = ("shard", "offset")
"""Columns that say where a clip lies in its dataset, and nothing once it has left it."""
GROUP, GROUP_BYTES = 1_000, 64 << 20
"""Clips, and bytes of their videos, after which a table is written: that much is in memory at a time."""
SHELF = ("split", "level", "shard")
"""Columns by which the rows of an index stand together."""
BATCH = 10_000
"""Rows of which a few columns are in memory while a dataset is taken apart."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Clips that agree in the columns by which a format takes a dataset apart, in the order of the index."""

    origin: Origin
    values: tuple[str, ...]
    """Of these columns."""
    number: int
    """Among the pieces that agree with it in the first of the columns, from 0."""
    count: int
    """How many these are."""
    first: int
    """Clips of those of them with lower numbers."""
    runs: tuple[range, ...]
    """Its rows of the index, ascending."""
    fields: tuple[Any, ...]
    """The Arrow fields of what `described` gives."""
    largest: int
    """Bytes of a video at most."""

    @property
    def index(self) -> Path:
        return self.origin.folder / INDEX

    @property
    def clips(self) -> int:
        return sum(map(len, self.runs))

    def rows(self) -> Iterator[Row]:
        """Its rows, a few in memory at a time. Raises `ExportError` where they cannot be read."""
        with readable(self.origin.name):
            yield from _picked(self.index, self.runs)

    def size(self, row: Row) -> int:
        """Bytes of the mp4 of a clip. Raises `ExportError` where the index says more than is read."""
        if row.size > self.largest:
            raise ExportError(f"{row.info.key} has {row.size} bytes in {INDEX}, at most {self.largest} are read")
        return row.size

    def video(self, row: Row) -> bytes:
        """The mp4 of a clip. Raises `ExportError` where it is not what the index says."""
        size = self.size(row)
        with readable(self.origin.name):
            content = self.origin.read(row.shard, row.offset, size)
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise ExportError(
                f"{row.info.key} in {row.shard} is not the clip of {INDEX}; "
                f"run `mlst verify --repair {self.origin.name}`"
            )
        return content


class Format(Protocol):
    """A layout: how a piece is written, and what of it does not read back."""

    by: tuple[str, ...]
    """Columns of the index in which the clips of a piece agree, `split` among them."""
    most: int
    """Clips of a piece."""
    load: str
    """Python that reads an export, for its README; `FOLDER` is its folder."""

    def write(self, out: Path, piece: Piece) -> None:
        """Write the files of a piece, each whole or not at all; those that are right may stay."""

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """The files and clips of a piece that are missing, or are not what the index says, read from the disk."""

    def names(self, piece: Piece) -> Iterable[str]:
        """The files of a piece, relative to the export's folder; one that ends in `/` is a folder of the format's."""

    def closing(self, out: Path, parts: Sequence[Piece]) -> Mapping[str, Callable[[], bytes]]:
        """Files that are written last, because they speak of all pieces: names, and what makes their contents."""
        del out, parts
        return {}


def pieces(origin: Origin, by: tuple[str, ...], most: int) -> tuple[Piece, ...]:
    """All clips of a dataset, those together that agree in the columns `by`, at most so many; splits in their order.

    Raises `ExportError` for an index that cannot be read, in which rows of one shard do not stand together, or that
    has a strange level or split.
    """
    columns = tuple(dict.fromkeys((*SHELF, *by)))
    with readable(origin.name):
        schema = index_schema(index_columns(origin.folder / INDEX))
        shelves = [(values, sum(1 for _ in rows)) for values, rows in groupby(_places(origin.folder / INDEX, columns))]
    _check(origin.name, [values[: len(SHELF)] for values, _ in shelves])
    runs: dict[tuple[str, ...], list[range]] = {}
    first = 0
    for values, rows in shelves:
        named = dict(zip(columns, values, strict=True))
        runs.setdefault(tuple(named[name] for name in by), []).append(range(first, first + rows))
        first += rows
    groups = sorted(runs, key=lambda values: SPLITS.index(values[by.index("split")]))
    cuts = [(values, cut) for values in groups for cut in _cut(runs[values], most)]
    counts = Counter(values[0] for values, _ in cuts)
    numbers, clips = Counter[str](), Counter[str]()
    fields = tuple(field for field in schema if field.name not in HOME)
    made, largest = list[Piece](), largest_clip(origin.dataset.side, origin.dataset.frames)
    for values, cut in cuts:
        top = values[0]
        made.append(Piece(origin, values, numbers[top], counts[top], clips[top], cut, fields, largest))
        numbers[top] += 1
        clips[top] += made[-1].clips
    return tuple(made)


def described(row: Row) -> dict[str, Any]:
    """The columns of a clip but those of `HOME`. Raises `ExportError` for a key that cannot be a file's name."""
    if not KEY.fullmatch(row.info.key):
        raise ExportError(f"key {row.info.key[:100]!a} does not match {KEY.pattern}; run `mlst verify`")
    return {name: value for name, value in flat(row).items() if name not in HOME}


def groups(piece: Piece, skip: int) -> Iterator[list[tuple[Row, bytes]]]:
    """The clips of a piece but for the first `skip`, with their mp4, as many as one table is to hold at a time."""
    group, size = list[tuple[Row, bytes]](), 0
    for row in islice(piece.rows(), skip, None):
        group.append((row, piece.video(row)))
        size += row.size
        if len(group) == GROUP or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _check(name: str, shelves: Iterable[tuple[str, ...]]) -> None:
    """Raise `ExportError` where a shelf is met twice or has a strange name."""
    met = [values for values, _ in groupby(shelves)]
    known = {level.name for level in LEVELS}
    strange = any(level not in known or split not in SPLITS for split, level, _ in met)
    if strange or len(set(met)) != len(met):
        raise ExportError(f"{name}: {INDEX} is not in the order of its shards; run `mlst verify {name}`")


def _cut(runs: Iterable[range], most: int) -> Iterator[tuple[range, ...]]:
    """Rows in parts of at most `most`."""
    part, room = list[range](), most
    for run in runs:
        left = run
        while left:
            part.append(left[:room])
            left, room = left[room:], room - len(part[-1])
            if not room:
                yield tuple(part)
                part, room = [], most
    if part:
        yield tuple(part)


def _picked(index: Path, runs: Sequence[range]) -> Iterator[Row]:
    """The rows of ascending runs, in one pass from the first to the last."""
    span = range(runs[0].start, runs[-1].stop)
    numbers = chain.from_iterable(runs)
    wanted = next(numbers)
    for number, row in zip(span, read_index(index, span), strict=False):
        if number == wanted:
            yield row
            wanted = next(numbers, -1)


def _places(index: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for batch in read_index_batches(index, list(columns), BATCH):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)
