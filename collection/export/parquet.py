"""`parquet`: a file per shard, whose rows are all columns of the index and the mp4 as `datasets` keeps videos."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collection.export.pieces import HOME, Piece, described
from mlst.dataset.description import INDEX
from mlst.dataset.index import index_columns, index_schema
from mlst.files import atomic, clean
from mlst.inside import opened, place_in

VIDEO = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""How `datasets` keeps a video whose bytes are in the table."""
GROUP, GROUP_BYTES = 1_000, 64 << 20
"""Clips, and bytes of their videos, after which a row group ends: that much is in memory at a time."""
DAMAGED = (OSError, ValueError, pa.ArrowException, UnicodeError)
"""What reading a file that is missing, cut off or of another kind raises."""


class Parquet:
    """`data/train-00000-of-00012.parquet`."""

    by: tuple[str, ...] = ("shard",)
    load = "datasets.load_dataset({out!r})"

    def write(self, out: Path, piece: Piece) -> None:
        """Write the file anew. Videos are not compressed a second time."""
        schema = _schema(piece)
        path = place_in(out, _name(piece))
        squeezed = {name: "none" if name == "mp4.bytes" else "zstd" for name in _leaves(schema)}
        with atomic(path) as file, pq.ParquetWriter(file, schema, compression=squeezed, version="2.6") as writer:
            for group in _groups(piece):
                writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=len(group))
        clean(path.parent)

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """Clips whose video or columns are other ones; the file where it cannot be read or has more or fewer rows."""
        rows = piece.rows()
        try:
            with opened(place_in(out, _name(piece))) as file, pq.ParquetFile(file) as parquet:
                same_columns = parquet.schema_arrow.equals(_schema(piece), check_metadata=True)
                if parquet.metadata.num_rows != len(piece.span) or not same_columns:
                    yield _name(piece)
                    return
                for batch in parquet.iter_batches(batch_size=16):
                    for found, row in zip(batch.to_pylist(), rows, strict=False):
                        video = found.pop("mp4")
                        wanted = (row.sha256, f"{row.info.key}.mp4", described(row))
                        if (hashlib.sha256(video["bytes"]).hexdigest(), video["path"], found) != wanted:
                            yield f"{_name(piece)}: {row.info.key}"
        except DAMAGED:
            yield _name(piece)

    def names(self, piece: Piece) -> Iterator[str]:
        """One file."""
        yield _name(piece)


def _name(piece: Piece) -> str:
    return f"data/{piece.split}-{piece.number:05d}-of-{piece.count:05d}.parquet"


def _groups(piece: Piece) -> Iterator[list[dict[str, Any]]]:
    group, size = list[dict[str, Any]](), 0
    for row in piece.rows():
        video = {"bytes": piece.video(row), "path": f"{row.info.key}.mp4"}
        group.append({**described(row), "mp4": video})
        size += row.size
        if len(group) == GROUP or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _schema(piece: Piece) -> Any:
    """Columns and types, and what `datasets` calls them, so that `mp4` is a video to it."""
    index = index_schema(index_columns(piece.dataset / INDEX))
    fields = [field for field in index if field.name not in HOME]
    features: dict[str, Any] = {field.name: {"dtype": _dtype(field.type), "_type": "Value"} for field in fields}
    features["mp4"] = {"_type": "Video"}
    about = json.dumps({"info": {"features": features}})
    return pa.schema([*fields, pa.field("mp4", VIDEO)], {"huggingface": about})


def _dtype(kind: Any) -> str:
    """What `datasets` calls an Arrow type."""
    return {"double": "float64"}.get(str(kind), str(kind))


def _leaves(schema: Any) -> list[str]:
    return [*(field.name for field in schema if field.name != "mp4"), "mp4.bytes", "mp4.path"]
