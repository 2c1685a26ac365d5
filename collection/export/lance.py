"""`lance`: a Lance dataset per split, with the mp4 in a column beside those of the index."""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa

from collection.export.pieces import Format, Piece, described, groups
from mlst.dataset.index import Row
from mlst.inside import place_in

FRAGMENT = 1 << 30
"""Bytes of videos after which what is written becomes a version of the dataset: so much is lost by an interruption."""
BATCH = 16
"""Clips that are read back at a time."""
DAMAGED = (OSError, ValueError, RuntimeError, pa.ArrowException)
"""What Lance raises of a dataset that is missing or broken."""
VIDEO = "mp4"


class Lance(Format):
    """`train.lance`."""

    by = ("split",)
    most = sys.maxsize
    load = 'import lance\n\nclips = lance.dataset("FOLDER/train.lance")'

    def write(self, out: Path, piece: Piece) -> None:
        """Write what is missing at the end; the dataset anew where a row of it is wrong."""
        import lance  # noqa: PLC0415, of the extra `lance`

        path = _path(out, piece)
        there = _right(path, piece)
        if not there and path.exists():
            shutil.rmtree(path)
        left = groups(piece, there)
        for group in left:
            failed: list[BaseException] = []
            batches = _batches(piece, group, left, failed)
            try:
                reader = pa.RecordBatchReader.from_batches(_schema(piece), batches)
                lance.write_dataset(reader, str(path), mode="append" if path.exists() else "create")
            except DAMAGED as why:
                raise (failed or [why])[0] from None

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """Clips whose row is another one or missing; the dataset where it cannot be read or has more rows."""
        try:
            for row, same in _compared(_path(out, piece), piece):
                if not same:
                    yield f"{piece.values[0]}.lance: {row.info.key if row else 'one clip too many'}"
        except DAMAGED:
            yield f"{piece.values[0]}.lance"

    def names(self, piece: Piece) -> Iterator[str]:
        """The folder, whose files have names of Lance's choosing."""
        yield f"{piece.values[0]}.lance/"


def _path(out: Path, piece: Piece) -> Path:
    return place_in(out, f"{piece.values[0]}.lance/.place").parent


def _right(path: Path, piece: Piece) -> int:
    """Rows that are there, if all of them are as they should be; else 0."""
    rows = 0
    try:
        for row, same in _compared(path, piece):
            if row is None or same is False:
                return 0
            if same is None:
                return rows
            rows += 1
    except DAMAGED:
        return 0
    return rows


def _compared(path: Path, piece: Piece) -> Iterator[tuple[Row | None, bool | None]]:
    """Each row that should be there, and whether it is the same; None for what the dataset has not, or has too much.

    Raises one of `DAMAGED`.
    """
    import lance  # noqa: PLC0415, of the extra `lance`

    if not path.is_dir():
        raise FileNotFoundError(path)
    dataset = lance.dataset(str(path))
    if not dataset.schema.equals(_schema(piece)):
        raise ValueError(f"{path.name} has other columns")
    batches = dataset.scanner(batch_size=BATCH, batch_readahead=1, fragment_readahead=1).to_batches()
    found = (values for batch in batches for values in batch.to_pylist())
    for row, values in zip_longest(piece.rows(), found):
        yield row, None if row is None or values is None else _same(row, values)


def _same(row: Row, values: dict[str, Any]) -> bool:
    video = values.pop(VIDEO)
    return hashlib.sha256(video).hexdigest() == row.sha256 and values == described(row)


def _batches(
    piece: Piece, first: list[tuple[Row, bytes]], left: Iterator[list[tuple[Row, bytes]]], failed: list[BaseException]
) -> Iterator[Any]:
    """Tables of a fragment. What is raised on the way goes through Lance, which keeps its text alone."""
    schema, size, group = _schema(piece), 0, first
    try:
        while group:
            table = [{**described(row), VIDEO: mp4} for row, mp4 in group]
            yield pa.RecordBatch.from_pylist(table, schema=schema)
            size += sum(row.size for row, _ in group)
            group = next(left, []) if size < FRAGMENT else []
    except Exception as why:
        failed.append(why)
        raise


def _schema(piece: Piece) -> Any:
    return pa.schema([*piece.fields, pa.field(VIDEO, pa.large_binary(), nullable=False)])
