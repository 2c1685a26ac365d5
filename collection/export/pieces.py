"""A dataset taken apart: the clips of a shard or of a level and split at a time, each as the index says it is."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from mlst.dataset.description import INDEX, Dataset
from mlst.dataset.index import Row, flat, read_index, read_index_batches
from mlst.dataset.shards import KEY, largest_clip
from mlst.exits import UserError
from mlst.inside import file_in, opened
from mlst.levels.levels import LEVELS
from mlst.records import SPLITS

HOME = ("shard", "offset")
"""Columns that say where a clip lies in its dataset, and nothing once it has left it."""
BATCH = 10_000
"""Rows of which three columns are in memory while a dataset is taken apart."""


class ExportError(UserError, ValueError):
    """A dataset that cannot be exported as it is, or a folder that cannot take it; the text names the remedy."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Clips that stand side by side in the index."""

    dataset: Path
    level: str
    split: str
    number: int
    """Among the pieces of its split, from 0."""
    count: int
    """Pieces of its split."""
    span: range
    """Its rows of the index."""
    largest: int
    """Bytes of a video at most."""

    def rows(self) -> Iterator[Row]:
        """Its rows, a few in memory at a time. Raises `ExportError` where they cannot be read."""
        with readable(self.dataset):
            yield from read_index(self.dataset / INDEX, self.span)

    def video(self, row: Row) -> bytes:
        """The mp4 of a clip. Raises `ExportError` where it is not what the index says."""
        if row.size > self.largest:
            raise ExportError(f"{row.info.key} has {row.size} bytes in {INDEX}, at most {self.largest} are read")
        with readable(self.dataset), opened(file_in(self.dataset, row.shard)) as shard:
            shard.seek(row.offset)
            content = shard.read(row.size)
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise ExportError(
                f"{row.info.key} in {row.shard} is not the clip of {INDEX}; run `mlst verify --repair {self.dataset}`"
            )
        return content


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turn what reading a damaged dataset raises into an `ExportError`."""
    try:
        yield
    except ExportError:
        raise
    except (OSError, ValueError) as why:
        raise ExportError(f"{folder}: {why}; run `mlst verify {folder}`") from None


class Format(Protocol):
    """A layout: how a piece is written, and what of it does not read back."""

    by: tuple[str, ...]
    """Columns of the index; a piece is as many rows in a row as agree in them."""
    load: str
    """Python that reads an export, for its README; `{out}` is its folder."""

    def write(self, out: Path, piece: Piece) -> None:
        """Write the files of a piece, each whole or not at all; those that are right may stay."""

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """The files and clips of a piece that are missing, or are not what the index says, read from the disk."""

    def names(self, piece: Piece) -> Iterable[str]:
        """The files of a piece, relative to the export's folder."""


def pieces(folder: Path, dataset: Dataset, by: tuple[str, ...]) -> tuple[Piece, ...]:
    """All clips of a dataset, cut where one of the columns `by` changes.

    Raises `ExportError` for an index that cannot be read, in which rows of one piece do not stand together, or that
    has a strange level or split.
    """
    columns = ("level", "split", *by)
    with readable(folder):
        cuts = [(key, sum(1 for _ in rows)) for key, rows in groupby(_places(folder / INDEX, columns))]
    merged = {key for key, _ in cuts}
    known = {level.name for level in LEVELS}
    if len(merged) != len(cuts) or any(level not in known or split not in SPLITS for level, split, *_ in merged):
        raise ExportError(f"{folder / INDEX} is not in the order of its shards; run `mlst verify {folder}`")
    counts = Counter(split for (_, split, *_), _ in cuts)
    done: Counter[str] = Counter()
    made, first, largest = list[Piece](), 0, largest_clip(dataset.side, dataset.frames)
    for (level, split, *_), rows in cuts:
        span = range(first, first + rows)
        made.append(Piece(folder, level, split, done[split], counts[split], span, largest))
        first, done[split] = span.stop, done[split] + 1
    return tuple(made)


def described(row: Row) -> dict[str, Any]:
    """The columns of a clip but those of `HOME`. Raises `ExportError` for a key that cannot be a file's name."""
    if not KEY.fullmatch(row.info.key):
        raise ExportError(f"key {row.info.key[:100]!a} does not match {KEY.pattern}; run `mlst verify`")
    return {name: value for name, value in flat(row).items() if name not in HOME}


def _places(index: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for batch in read_index_batches(index, list(dict.fromkeys(columns)), BATCH):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)
