"""The index as a page reads it at once: `metadata/viewer.bin`, 36 bytes per clip and the sources as JSON.

The file: `MAGIC`, the length of the header (uint32), the header (JSON), the columns that it names one after another,
the sources (JSON, a list per property). Everything but the length begins at a multiple of 8 bytes; numbers are
little-endian. A million clips of 100,000 sources are 36 + 15 MB.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlst.dataset.description import INDEX, THRESHOLDS, Dataset
from mlst.dataset.index import Flags, index_columns, read_index_columns
from mlst.dataset.shards import BLOCK
from mlst.levels.levels import read_levels
from mlst.records import SPLITS

TABLE = "metadata/viewer.bin"
MAGIC = b"MLSTVIEW\0\0\0\0"
"""12 bytes, so that the header begins at 16."""
SOURCE = ("title", "channel", "licence", "url")
"""Columns of the index that are the same in all clips of a source."""
PLAIN = ("key", "source", "split", "s", "t", "shard", "offset", "size", "start_seconds", "end_seconds")
TYPES = {"u4": "Uint32Array", "u2": "Uint16Array", "u1": "Uint8Array", "f4": "Float32Array"}
"""What JavaScript calls them."""


def table_bytes(folder: Path, dataset: Dataset) -> bytes:
    """The table of the dataset in `folder`. Raises ValueError for keys or places that are not those of a dataset."""
    index, levels = folder / INDEX, read_levels(folder / THRESHOLDS)
    flags = [field.name for field in fields(Flags) if f"flag_{field.name}" in index_columns(index)]
    deciding = {"texture": levels.s.column, "motion": levels.t.column}
    wanted = {*PLAIN, *SOURCE, *deciding.values(), *(f"flag_{name}" for name in flags)}
    rows = read_index_columns(index, sorted(wanted))
    shards = [shard.path for shard in dataset.shards]
    sources, of_source = _encoded(rows["source"])
    columns = {
        "source": of_source.astype("<u4"),
        "start": _starts(rows).astype("<u4"),
        "block": _blocks(rows).astype("<u4"),
        "size": rows["size"].to_numpy().astype("<u4"),
        **{name: rows[column].to_numpy().astype("<f4") for name, column in deciding.items()},
        "seconds": (rows["end_seconds"].to_numpy() - rows["start_seconds"].to_numpy()).astype("<f4"),
        "shard": _places(rows["shard"], shards).astype("<u4"),
        "flags": _bits(rows, flags).astype("<u2"),
        "level": (3 * rows["t"].to_numpy() + rows["s"].to_numpy()).astype("<u1"),
        "split": _places(rows["split"], SPLITS).astype("<u1"),
    }
    first = np.unique(of_source, return_index=True)[1]
    told = {"id": sources, **{name: rows[name].take(pa.array(first)).to_pylist() for name in SOURCE}}
    header = {
        "format": "mlst-viewer/1",
        **{name: getattr(dataset, name) for name in ("name", "version", "title", "fingerprint", "frames", "clips")},
        "splits": list(SPLITS),
        "flags": flags,
        "shards": shards,
        "axes": [{"title": axis.title, "cuts": list(axis.cuts)} for axis in (levels.s, levels.t)],
        "columns": [[name, TYPES[values.dtype.str[1:]]] for name, values in columns.items()],
    }
    return _joined(header, columns, told)


def _joined(header: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], sources: Mapping[str, Any]) -> bytes:
    text = _padded(_json(header))
    parts = [MAGIC, len(text).to_bytes(4, "little"), text]
    parts += [_padded(values.tobytes(), b"\0") for values in columns.values()]
    return b"".join([*parts, _json(sources)])


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def _padded(data: bytes, filler: bytes = b" ") -> bytes:
    return data + filler * (-len(data) % 8)


def _encoded(column: Any) -> tuple[list[str], NDArray[Any]]:
    """The values of a column in the order in which they come, and the place of each row's."""
    joined = column.combine_chunks().dictionary_encode()
    joined = joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
    values, first, places = np.unique(joined.indices.to_numpy(), return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    names = joined.dictionary.take(pa.array(values[np.argsort(first)])).to_pylist()
    return names, np.asarray(rank[places])


def _places(column: Any, among: Any) -> NDArray[Any]:
    names, places = _encoded(column)
    at = {name: n for n, name in enumerate(among)}
    if strange := [name for name in names if name not in at]:
        raise ValueError(f"{INDEX}: {strange[0][:100]!r} is not one that dataset.json names")
    return np.asarray(np.array([at[name] for name in names], np.int64)[places])


def _starts(rows: Any) -> NDArray[Any]:
    """Milliseconds, as the keys say them: `<source>_<9 digits>`."""
    digits = pc.utf8_slice_codeunits(rows["key"], -9)
    named = pc.binary_join_element_wise(rows["source"].cast(pa.string()), digits, "_")
    if not pc.all(pc.equal(named, rows["key"])).as_py():
        raise ValueError(f"{INDEX}: a key is not its source and nine digits; run `mlst verify`")
    return np.asarray(digits.cast(pa.int64()).to_numpy())


def _blocks(rows: Any) -> NDArray[Any]:
    """Where videos lie in their shards, in tar's blocks."""
    offsets = rows["offset"].to_numpy()
    if (
        (offsets % BLOCK).any()
        or offsets.max(initial=0) >= BLOCK << 32
        or rows["size"].to_numpy().max(initial=0) >> 32
    ):
        raise ValueError(f"{INDEX}: a clip does not lie at a block of a shard; run `mlst verify`")
    return np.asarray(offsets // BLOCK)


def _bits(rows: Any, flags: list[str]) -> NDArray[Any]:
    """Which flags a clip carries, a bit each."""
    bits = np.zeros(len(rows), np.int64)
    for bit, name in enumerate(flags):
        bits |= rows[f"flag_{name}"].to_numpy().astype(np.int64) << bit
    return bits
