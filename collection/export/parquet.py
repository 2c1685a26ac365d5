"""`parquet`: a file per shard, whose rows are all columns of the index and the mp4 as `datasets` keeps videos."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collection.export.pieces import Format, Piece, described, groups
from mlst.dataset.index import Row
from mlst.files import atomic, clean
from mlst.inside import opened, place_in

VIDEO = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""How `datasets` keeps a video whose bytes are in the table."""
DAMAGED = (OSError, ValueError, pa.ArrowException, UnicodeError)
"""What reading a file that is missing, cut off or of another kind raises."""


class Parquet(Format):
    """`data/train-00000-of-00012.parquet`."""

    by = ("split", "shard")
    most = sys.maxsize
    load = 'import datasets\n\nclips = datasets.load_dataset("FOLDER")'

    def write(self, out: Path, piece: Piece) -> None:
        """Write the file anew. Videos are not compressed a second time."""
        schema = _schema(piece)
        path = place_in(out, _name(piece))
        squeezed = {name: "none" if name == "mp4.bytes" else "zstd" for name in _leaves(schema)}
        with atomic(path) as file, pq.ParquetWriter(file, schema, compression=squeezed, version="2.6") as writer:
            for group in groups(piece, 0):
                table = [{**described(row), "mp4": _video(row, mp4)} for row, mp4 in group]
                writer.write_table(pa.Table.from_pylist(table, schema=schema), row_group_size=len(group))
        clean(path.parent)

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """Clips whose video or columns are other ones; the file where it cannot be read or has more or fewer rows."""
        rows = piece.rows()
        try:
            with opened(place_in(out, _name(piece))) as file, pq.ParquetFile(file) as parquet:
                same_columns = parquet.schema_arrow.equals(_schema(piece), check_metadata=True)
                if parquet.metadata.num_rows != piece.clips or not same_columns:
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
    return f"data/{piece.values[0]}-{piece.number:05d}-of-{piece.count:05d}.parquet"


def _video(row: Row, mp4: bytes) -> dict[str, Any]:
    return {"bytes": mp4, "path": f"{row.info.key}.mp4"}


def _schema(piece: Piece) -> Any:
    """Columns and types, and what `datasets` calls them, so that `mp4` is a video to it."""
    fields = piece.fields
    features: dict[str, Any] = {field.name: {"dtype": _dtype(field.type), "_type": "Value"} for field in fields}
    features["mp4"] = {"_type": "Video"}
    about = json.dumps({"info": {"features": features}})
    return pa.schema([*fields, pa.field("mp4", VIDEO)], {"huggingface": about})


def _dtype(kind: Any) -> str:
    """What `datasets` calls an Arrow type."""
    return {"double": "float64"}.get(str(kind), str(kind))


def _leaves(schema: Any) -> list[str]:
    return [*(field.name for field in schema if field.name != "mp4"), "mp4.bytes", "mp4.path"]
