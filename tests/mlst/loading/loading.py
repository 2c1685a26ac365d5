"""What the tests of loading share: the truth by other libraries, and datasets that are broken on purpose."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
from numpy.typing import NDArray

from mlst.dataset.description import DATASET, INDEX, dataset_fingerprint, read_json, write_json
from tests import tiny

PAST, HORIZON = 2, 4
SHORT: Any = {"past": PAST, "horizon": HORIZON}


def decoded(video: bytes) -> NDArray[np.uint8]:
    """(T, C, H, W), by PyAV's own conversion."""
    with av.open(io.BytesIO(video)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]).transpose(0, 3, 1, 2)


def by_webdataset(folder: Path, split: str) -> dict[str, bytes]:
    """Every mp4 of a split, as webdataset reads it."""
    shards = sorted(map(str, folder.glob(f"data/*/{split}-*.tar")))
    return {clip["__key__"]: clip["mp4"] for clip in webdataset.WebDataset(shards, shardshuffle=False)}


def copied(folder: Path) -> Path:
    """A dataset of one's own."""
    return Path(shutil.copytree(tiny.built(), folder / "dataset"))


def rows_of(folder: Path, split: str) -> list[dict[str, Any]]:
    """The index of a split."""
    return [row for row in pq.read_table(folder / INDEX).to_pylist() if row["split"] == split]


def flip(folder: Path, row: dict[str, Any]) -> None:
    """Invert a byte in the middle of a clip."""
    with (folder / row["shard"]).open("r+b") as shard:
        shard.seek(row["offset"] + row["size"] // 2)
        byte = shard.read(1)[0]
        shard.seek(-1, 1)
        shard.write(bytes([byte ^ 255]))


def forged(folder: Path, change: Callable[[dict[str, Any]], None], rows: Iterable[int] = (0,)) -> None:
    """Change rows of the index, and make `dataset.json` agree with it, as somebody malicious would."""
    table = pq.read_table(folder / INDEX)
    values = table.to_pylist()
    for row in rows:
        change(values[row])
    pq.write_table(pa.Table.from_pylist(values, schema=table.schema), folder / INDEX)
    vouch(folder)


def vouch(folder: Path) -> None:
    """Rewrite size and hash of the index, and the fingerprint, in `dataset.json`."""
    from dataclasses import replace

    data, dataset = (folder / INDEX).read_bytes(), read_json(folder / DATASET)
    files = tuple(
        replace(f, size=len(data), sha256=hashlib.sha256(data).hexdigest()) if f.path == INDEX else f
        for f in dataset.files
    )
    (folder / DATASET).write_bytes(
        write_json(replace(dataset, files=files, fingerprint=dataset_fingerprint(files, dataset.footage)))
    )


def through_json(state: Any) -> Any:
    """As from a file."""
    return json.loads(json.dumps(state))
