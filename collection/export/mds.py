"""`mds`: shards of MosaicML Streaming, one for each shard of the dataset, and an `index.json` per split.

A shard is the number of samples and where each begins and the last ends (uint32, little endian, from the beginning of
the file), a JSON that says what `index.json` says of columns, and the samples: sizes of those columns that have no
fixed size (uint32), then all columns by name (docs.mosaicml.com, "Dataset Format", version 2).
"""

import hashlib
import json
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from collection.export.origin import ExportError
from collection.export.pieces import Format, Piece, described
from mlst.dataset.index import Row
from mlst.files import atomic, clean
from mlst.inside import opened, place_in

ENCODINGS: Mapping[str, tuple[str, int | None]] = {
    "string": ("str", None),
    "int64": ("int", 8),
    "double": ("float64", 8),
    "bool": ("uint8", 1),
}
"""What MDS calls an Arrow type, and bytes of a value; it has no truth values, which become 0 and 1."""
LARGEST = (1 << 32) - 1
"""Bytes of a shard: places in it are uint32."""
VIDEO = "mp4"


class Mds(Format):
    """`train/shard.00000.mds`."""

    by = ("split", "shard")
    most = sys.maxsize
    load = (
        "from streaming import StreamingDataset\n\n"
        'clips = StreamingDataset(local="FOLDER", split="train", batch_size=8)'
    )

    def write(self, out: Path, piece: Piece) -> None:
        """Write the file anew."""
        path = place_in(out, _name(piece))
        with atomic(path) as file:
            file.write(_head(piece))
            for row in piece.rows():
                before, after = _sample(row)
                file.write(before)
                file.write(piece.video(row))
                file.write(after)
        clean(path.parent)

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """Clips whose sample is another one; the file where its head is, or where there is more behind the last."""
        head = _head(piece)
        try:
            with opened(place_in(out, _name(piece))) as file:
                if file.read(len(head)) != head:
                    yield _name(piece)
                    return
                for row in piece.rows():
                    before, after = _sample(row)
                    found = file.read(len(before)), file.read(row.size), file.read(len(after))
                    if (found[0], hashlib.sha256(found[1]).hexdigest(), found[2]) != (before, row.sha256, after):
                        yield f"{_name(piece)}: {row.info.key}"
                if file.read(1):
                    yield _name(piece)
        except (OSError, ValueError):
            yield _name(piece)

    def names(self, piece: Piece) -> Iterator[str]:
        """One file."""
        yield _name(piece)

    def closing(self, out: Path, parts: Sequence[Piece]) -> Mapping[str, Callable[[], bytes]]:
        """`train/index.json`, which lists the shards."""
        splits = dict.fromkeys(piece.values[0] for piece in parts)
        return {
            f"{split}/index.json": partial(_index, out, [piece for piece in parts if piece.values[0] == split])
            for split in splits
        }


def _name(piece: Piece) -> str:
    return f"{piece.values[0]}/shard.{piece.number:05d}.mds"


def _head(piece: Piece) -> bytes:
    """Everything before the first sample."""
    config = json.dumps(_config(piece), sort_keys=True).encode()
    sizes = [piece.size(row) + sum(map(len, _sample(row))) for row in piece.rows()]
    places = np.cumsum([4 + 4 * (len(sizes) + 1) + len(config), *sizes], dtype=np.int64)
    if places[-1] > LARGEST:
        raise ExportError(
            f"{_name(piece)} has {places[-1]} bytes; MDS takes at most {LARGEST}: build with a smaller shard_bytes"
        )
    return struct.pack("<I", len(sizes)) + places.astype("<u4").tobytes() + config


def _config(piece: Piece) -> dict[str, Any]:
    """Columns by name, and what else a shard says of itself."""
    columns = {field.name: ENCODINGS[str(field.type)] for field in piece.fields} | {VIDEO: ("bytes", None)}
    names = sorted(columns)
    return {
        "column_encodings": [columns[name][0] for name in names],
        "column_names": names,
        "column_sizes": [columns[name][1] for name in names],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": None,
        "version": 2,
    }


def _sample(row: Row) -> tuple[bytes, bytes]:
    """What stands before the video of a clip, and what behind it."""
    columns = described(row)
    values = {name: _encoded(value) for name, value in columns.items()}
    lengths = {name: len(values[name]) for name, value in columns.items() if isinstance(value, str)}
    lengths[VIDEO] = row.size
    head = b"".join(struct.pack("<I", lengths[name]) for name in sorted(lengths))
    before = b"".join(values[name] for name in sorted(values) if name < VIDEO)
    return head + before, b"".join(values[name] for name in sorted(values) if name > VIDEO)


def _encoded(value: str | bool | int | float) -> bytes:
    if isinstance(value, str):
        return value.encode()
    kinds: Mapping[type, str] = {bool: "<B", int: "<q", float: "<d"}
    return struct.pack(kinds[type(value)], value)


def _index(out: Path, parts: Sequence[Piece]) -> bytes:
    shards = []
    for piece in parts:
        path = place_in(out, _name(piece))
        raw = {"basename": path.name, "bytes": path.stat().st_size, "hashes": {}}
        shards.append({**_config(piece), "raw_data": raw, "samples": piece.clips, "zip_data": None})
    return json.dumps({"shards": shards, "version": 2}, sort_keys=True).encode()
