"""Tables that name the videos of a folder: CSV, JSON Lines or Parquet, and the episodes of LeRobot 3."""

import csv
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collection.audit.places import PlaceError
from collection.doctor.rules import Finding
from collection.doctor.said import COLUMNS, Said, file_of, from_json, said
from mlst.dataset.parquet import check_unpacked, damage, longest_texts
from mlst.inside import content, file_in, opened, regular_files
from mlst.tars import LARGEST_RECORD, VIDEOS

SUFFIXES = (".csv", ".jsonl", ".parquet")
LARGEST_TABLE = 1 << 30
"""Bytes of a table that is read, as it is and unpacked."""
MOST_ROWS = 5_000_000
BATCH = 256
"""Rows of a Parquet file that are written out at a time: a text may have a megabyte."""
LARGEST_INFO = 1 << 24
VIDEO_PATH = re.compile(r"([^{}]|\{video_key\}|\{(chunk|file)_index(:0?\d?d)?\})+", re.DOTALL)
"""What LeRobot writes of placeholders: another format may ask for gigabytes of zeros."""
EPISODES = re.compile(r"meta/episodes/.*\.parquet", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """What a table says of each file that it names."""

    name: str
    """"" where there is none."""
    rows: Mapping[str, Said]
    findings: tuple[Finding, ...]


def read_table(names: Mapping[str, Path]) -> Table:
    """The first table at the top of a folder whose rows name videos; one called metadata comes first."""
    tops = [name for name in names if "/" not in name and Path(name).suffix.lower() in SUFFIXES]
    for name in sorted(tops, key=lambda name: (not name.startswith("metadata"), name)):
        try:
            table = _table(name, _rows(names[name], COLUMNS))
        except (OSError, ValueError, csv.Error, pa.ArrowException) as why:
            return Table(name, {}, (Finding("table", name, f"cannot be read: {str(why)[:160]}"),))
        if any(Path(file).suffix.lower() in VIDEOS for file in table.rows):
            return table
    return Table("", {}, ())


def _table(name: str, rows: Iterable[Mapping[str, Any]]) -> Table:
    known: dict[str, Said] = {}
    findings = []
    for number, row in enumerate(_bounded(rows), 1):
        file = file_of(row)
        if not file:
            findings.append(Finding("table", f"{name}:{number}", "the row names no file"))
        elif file in known:
            findings.append(Finding("key", file, f"{name} has two rows for it"))
        known[file] = said(row)
    known.pop("", None)
    return Table(name, known, tuple(findings))


def _bounded(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows, up to what memory is meant for. Raises ValueError: a text that is stored once may be in every row."""
    left = LARGEST_TABLE
    for number, row in enumerate(rows, 1):
        left -= sum(len(value) for value in row.values() if isinstance(value, str))
        if number > MOST_ROWS or left < 0:
            raise ValueError(f"more than {MOST_ROWS} rows, or {LARGEST_TABLE} characters, are not read")
        yield row


def _rows(path: Path, columns: Container[str]) -> Iterator[Mapping[str, Any]]:
    """Rows with some columns at least."""
    if path.stat().st_size > LARGEST_TABLE:
        raise ValueError(f"{path.stat().st_size} bytes; at most {LARGEST_TABLE} are read")
    if path.suffix.lower() == ".parquet":
        yield from _of_parquet(path, columns)
    elif path.suffix.lower() == ".jsonl":
        with path.open(encoding="utf-8") as file:
            while line := file.readline(LARGEST_RECORD):
                value = from_json(line)
                yield value if isinstance(value, dict) else {}
    else:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)


def _of_parquet(path: Path, columns: Container[str]) -> Iterator[Mapping[str, Any]]:
    with opened(path) as file, damage(path.name):
        metadata = pq.read_metadata(file)
        flat = {i: metadata.schema.column(i).path for i in range(metadata.num_columns)}
        wanted = {i: name for i, name in flat.items() if name in columns}
        check_unpacked(file, metadata, tuple(wanted), LARGEST_TABLE)
        parquet = pq.ParquetFile(file, metadata=metadata, read_dictionary=list(wanted.values()), pre_buffer=False)
        for batch in parquet.iter_batches(BATCH, columns=list(wanted.values())):
            longest_texts(batch)
            yield from batch.to_pylist()


def lerobot(place: Path) -> Table:
    """What `meta/` says of every file of videos. Raises `PlaceError` where it is not LeRobot 3."""
    try:
        info = from_json(content(file_in(place, "meta/info.json"), LARGEST_INFO))
        version, features = str(info["codebase_version"]), dict(info["features"])
        if not version.startswith("v3"):
            raise ValueError(f"codebase_version is {version!r}, not v3")
        path, fps = str(info["video_path"]), float(info["fps"])
        if not VIDEO_PATH.fullmatch(path):
            raise ValueError(f"video_path is {path[:200]!r}")
        told = {f"videos/{name}/{kind}_index" for name in features for kind in ("chunk", "file")} | {"length"}
        tables = [file for name, file in regular_files(place).items() if EPISODES.fullmatch(name)]
        episodes = list(_bounded(row for file in tables for row in _rows(file, told)))
        known, findings = _videos(path, fps, features, episodes), []
        total = sum(int(row["length"]) for row in episodes)
    except (OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError, pa.ArrowException) as why:
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
