"""Tables that name the videos of a folder: CSV, JSON Lines or Parquet, and the episodes of LeRobot 3."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collection.audit.places import VIDEOS, PlaceError
from collection.doctor.rules import Finding
from collection.doctor.said import Said, file_of, said

SUFFIXES = (".csv", ".jsonl", ".parquet")
LARGEST_TABLE = 1 << 30
"""Bytes of a table that is read."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a table says of each file that it names."""

    name: str
    """"" where there is none."""
    rows: Mapping[str, Said]
    findings: tuple[Finding, ...]


def read_table(folder: Path, names: Mapping[str, Path]) -> Table:
    """The first table at the top of a folder whose rows name videos; one called metadata comes first."""
    tops = [name for name in names if "/" not in name and Path(name).suffix.lower() in SUFFIXES]
    for name in sorted(tops, key=lambda name: (not name.startswith("metadata"), name)):
        try:
            rows = list(_rows(names[name]))
        except (OSError, ValueError, csv.Error, pa.ArrowException) as why:
            return Table(name, {}, (Finding("table", name, f"cannot be read: {str(why)[:160]}"),))
        if any(Path(file_of(row)).suffix.lower() in VIDEOS for row in rows):
            return _table(name, rows)
    return Table("", {}, ())


def _table(name: str, rows: Iterable[Mapping[str, Any]]) -> Table:
    known: dict[str, Said] = {}
    findings = []
    for number, row in enumerate(rows, 1):
        file = file_of(row)
        if not file:
            findings.append(Finding("table", f"{name}:{number}", "the row names no file"))
        elif file in known:
            findings.append(Finding("key", file, f"{name} has two rows for it"))
        known[file] = said(row)
    known.pop("", None)
    return Table(name, known, tuple(findings))


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.stat().st_size > LARGEST_TABLE:
        raise ValueError(f"{path.stat().st_size} bytes; at most {LARGEST_TABLE} are read")
    if path.suffix.lower() == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    elif path.suffix.lower() == ".jsonl":
        with path.open(encoding="utf-8") as file:
            for line in file:
                value = json.loads(line)
                yield value if isinstance(value, dict) else {}
    else:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)


def lerobot(place: Path) -> Table:
    """What `meta/` says of every file of videos. Raises `PlaceError` where it is not LeRobot 3."""
    try:
        info = json.loads((place / "meta" / "info.json").read_bytes())
        version, features = str(info["codebase_version"]), dict(info["features"])
        if not version.startswith("v3"):
            raise ValueError(f"codebase_version is {version!r}, not v3")
        path, fps = str(info["video_path"]), float(info["fps"])
        episodes = [row for file in sorted((place / "meta" / "episodes").rglob("*.parquet")) for row in _rows(file)]
        known, findings = _videos(path, fps, features, episodes), []
        total = sum(int(row["length"]) for row in episodes)
    except (OSError, KeyError, TypeError, ValueError, IndexError, pa.ArrowException) as why:
        raise PlaceError(f"{place / 'meta'}: not the metadata of a LeRobot dataset, version 3: {why!r}") from None
    for name, count in (("total_frames", total), ("total_episodes", len(episodes))):
        if name in info and info[name] != count:
            findings.append(Finding("frames", "meta/info.json", f"{name} is {info[name]}, the episodes have {count}"))
    return Table("meta/episodes", known, tuple(findings))


def _videos(
    path: str, fps: float, features: Mapping[str, Any], episodes: Iterable[Mapping[str, Any]]
) -> dict[str, Said]:
    """Frames of every file, summed over the episodes in it."""
    cameras = {name: value for name, value in features.items() if value.get("dtype") == "video"}
    frames: dict[tuple[str, str], int] = {}
    for row in episodes:
        for name in cameras:
            place = {kind: int(row[f"videos/{name}/{kind}_index"]) for kind in ("chunk", "file")}
            file = path.format(video_key=name, chunk_index=place["chunk"], file_index=place["file"])
            frames[file, name] = frames.get((file, name), 0) + int(row["length"])
    return {file: _said_of(cameras[name], fps, count) for (file, name), count in frames.items()}


def _said_of(camera: Mapping[str, Any], fps: float, frames: int) -> Said:
    names, shape = list(camera.get("names") or ()), list(camera.get("shape") or ())
    sizes = dict(zip(names, shape, strict=False))
    return Said(frames, fps, 0.0, int(sizes.get("width") or 0), int(sizes.get("height") or 0))
