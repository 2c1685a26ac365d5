"""Small readers of each layout, written from its own description: nothing of `collection.export` is used."""

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

CAMERA = "observation.images.clip"


@dataclass(frozen=True)
class Clip:
    """What a reader finds of a clip."""

    split: str
    mp4: bytes
    columns: Mapping[str, Any]
    times: tuple[float, ...] = ()
    """Seconds at which its frames are, where the layout says so."""


def folder(out: Path) -> Iterator[Clip]:
    """`metadata.jsonl` beside the files that it names."""
    for table in out.rglob("metadata.jsonl"):
        for line in table.read_text().splitlines():
            columns = json.loads(line)
            yield Clip(
                table.relative_to(out).parts[0], (table.parent / columns.pop("file_name")).read_bytes(), columns
            )


def parquet(out: Path) -> Iterator[Clip]:
    """A split's name before the first dash."""
    for path in (out / "data").iterdir():
        for columns in pq.read_table(path).to_pylist():
            yield Clip(path.name.partition("-")[0], columns.pop("mp4")["bytes"], columns)


def lance(out: Path) -> Iterator[Clip]:
    """Lance's own reader."""
    from lance import dataset

    for path in out.glob("*.lance"):
        for columns in dataset(str(path)).to_table().to_pylist():
            yield Clip(path.stem, columns.pop("mp4"), columns)


def mds(out: Path) -> Iterator[Clip]:
    """Samples at the places in the head of each shard of `index.json`; truth values are numbers there."""
    read = {
        "str": bytes.decode,
        "bytes": bytes,
        "int": lambda data: struct.unpack("<q", data)[0],
        "float64": lambda data: struct.unpack("<d", data)[0],
        "uint8": lambda data: bool(data[0]),
    }
    for index in out.glob("*/index.json"):
        for shard in json.loads(index.read_text())["shards"]:
            data = (index.parent / shard["raw_data"]["basename"]).read_bytes()
            assert len(data) == shard["raw_data"]["bytes"]
            (count,) = struct.unpack_from("<I", data)
            assert count == shard["samples"]
            for place in range(count):
                begin, end = struct.unpack_from("<II", data, 4 * (1 + place))
                columns, at = {}, begin + 4 * shard["column_sizes"].count(None)
                sizes = iter(struct.unpack_from(f"<{shard['column_sizes'].count(None)}I", data, begin))
                for name, kind, size in zip(
                    shard["column_names"], shard["column_encodings"], shard["column_sizes"], strict=True
                ):
                    length = size or next(sizes)
                    columns[name] = read[kind](data[at : at + length])  # type: ignore[operator]
                    at += length
                assert at == end
                yield Clip(index.parent.name, columns.pop("mp4"), columns)


def lerobot(out: Path) -> Iterator[Clip]:
    """The episodes of each rate, their frames, and the file that each names."""
    for home in out.glob("fps-*"):
        info = json.loads((home / "meta/info.json").read_text())
        frames = pd.concat(map(pd.read_parquet, sorted((home / "data").glob("*/*.parquet"))), ignore_index=True)
        episodes = [
            row
            for path in sorted((home / "meta/episodes").glob("*/*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        tasks = pd.read_parquet(home / "meta/tasks.parquet")
        assert (len(frames), len(episodes)) == (info["total_frames"], info["total_episodes"])
        assert list(frames["index"]) == list(range(len(frames)))
        assert (frames["timestamp"] - frames["frame_index"] / info["fps"]).abs().max() < 1e-4
        spans = {split: range(*map(int, span.split(":"))) for split, span in info["splits"].items()}
        for number, episode in enumerate(episodes):
            assert number == episode["episode_index"]
            mine = frames[episode["dataset_from_index"] : episode["dataset_to_index"]]
            assert (mine["episode_index"] == number).all()
            assert [tasks.iloc[task].name for task in mine["task_index"].unique()] == episode["tasks"]
            where = {kind: episode[f"videos/{CAMERA}/{kind}_index"] for kind in ("chunk", "file")}
            path = info["video_path"].format(video_key=CAMERA, chunk_index=where["chunk"], file_index=where["file"])
            yield Clip(
                next(split for split, span in spans.items() if number in span),
                (home / path).read_bytes(),
                {name.removeprefix("clip/"): value for name, value in episode.items() if name.startswith("clip/")},
                tuple(episode[f"videos/{CAMERA}/from_timestamp"] + mine["timestamp"]),
            )


READERS: Mapping[str, Callable[[Path], Iterator[Clip]]] = {
    "folder": folder,
    "parquet": parquet,
    "lance": lance,
    "mds": mds,
    "lerobot": lerobot,
}
