"""Places that were made to harm: all of them end in findings or a `PlaceError`, and nothing outside is read."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collection.audit.places import PlaceError
from collection.doctor import tables
from collection.doctor.distant import here
from collection.doctor.said import Said
from collection.doctor.survey import survey
from tests.collection.doctor import defects
from tests.collection.doctor.test_doctor import diagnosis

HUGE = "1" + "0" * 400
DEEP = "[" * 100_000
INFO: dict[str, Any] = {
    "codebase_version": "v3.0",
    "features": {"cam": {"dtype": "video", "shape": [2, 4], "names": ["height", "width"]}},
    "fps": 5,
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}
EPISODE: dict[str, Any] = {"length": [5], "videos/cam/chunk_index": [0], "videos/cam/file_index": [0]}


def lerobot(place: Path, info: str, episode: dict[str, Any]) -> None:
    (place / "meta" / "episodes").mkdir(parents=True)
    (place / "meta" / "info.json").write_text(info)
    pq.write_table(pa.table(episode), place / "meta" / "episodes" / "a.parquet")


INFOS = {
    "a width of gigabytes": {"video_path": "{chunk_index:99999999999d}"},
    "an attribute": {"video_path": "{chunk_index.real}"},
    "features": {"features": {"cam": 5}},
    "infinite": {"features": {"cam": {"dtype": "video", "shape": [float("inf")], "names": ["width"]}}},
    "fps": {"fps": int(HUGE)},
}


@pytest.mark.parametrize("name", INFOS)
def test_lerobot(tmp_path: Path, name: str) -> None:
    lerobot(tmp_path, json.dumps(INFO | INFOS[name]), EPISODE)
    with pytest.raises(PlaceError, match="not the metadata of a LeRobot dataset"):
        survey(here(tmp_path))


def test_lerobot_with_odd_files(tmp_path: Path) -> None:
    lerobot(tmp_path / "deep", DEEP, EPISODE)
    lerobot(tmp_path / "infinite", json.dumps(INFO), EPISODE | {"length": [float("inf")]})
    lerobot(tmp_path / "holes", json.dumps(INFO), EPISODE)
    os.truncate(tmp_path / "holes" / "meta" / "info.json", 1 << 40)
    for name in ("deep", "infinite", "holes"):
        with pytest.raises(PlaceError, match="not the metadata"):
            survey(here(tmp_path / name))
    lerobot(tmp_path / "pipe", json.dumps(INFO), EPISODE)
    os.mkfifo(tmp_path / "pipe" / "meta" / "episodes" / "b.parquet")
    (tmp_path / "pipe" / "a.mp4").write_bytes(b"")
    assert {one.rule for one in survey(here(tmp_path / "pipe")).findings} >= {"unlisted"}


@pytest.mark.parametrize(
    "line", [f'{{"file_name": "a.mp4", "frames": {HUGE}}}', DEEP, '{"file_name": "a.mp4", "fps": NaN}']
)
def test_tables(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "m.jsonl").write_text(f"{line}\n")
    found = survey(here(tmp_path))
    assert found.entries[0].said == Said()
    assert ("table" in {one.rule for one in found.findings}) is (line == DEEP)


def test_a_number_of_a_record(tmp_path: Path) -> None:
    place = defects.shards(tmp_path / "set", defects.with_record(f'{{"frames": {HUGE}}}'.encode()))
    assert survey(here(place)).entries


def test_tables_that_unpack_to_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setattr(tables, "LARGEST_TABLE", 1 << 16)
    monkeypatch.setattr(tables, "MOST_ROWS", 500)

    def said(table: Any) -> list[str]:
        pq.write_table(table, tmp_path / "m.parquet", compression="zstd")
        return [one.detail for one in survey(here(tmp_path)).findings if one.rule == "table"]

    named = pa.array(["a.mp4"])
    assert not said(pa.table({"file_name": named, "pictures": [b"\0" * (1 << 20)]})), "not asked for"
    assert "unpacks to more" in said(pa.table({"file_name": named, "license": ["x" * (1 << 17)]}))[0]
    assert "characters" in said(pa.table({"file_name": named, "license": ["x" * 1000]}).take([0] * 400))[0]
    assert "rows" in said(pa.table({"file_name": named}).take([0] * 501))[0]


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(*records: bytes) -> bytes:
    body = b"".join(records)
    return header("p", b"x", len(body)) + body.ljust(512, b"\0") + header("a.mp4", b"0", 1024) + bytes(2048)


TARS: dict[str, Callable[[], bytes]] = {
    "names upon names": lambda: (header("x", b"L", 3) + b"abc".ljust(512, b"\0")) * 2000 + header("a.mp4", b"0", 0),
    "negative": lambda: pax(b"13 size=-512\n"),
    "backwards": lambda: pax(b"14 size=-1536\n"),
    "sparse": lambda: pax(b"25 GNU.sparse.map=1,abc,3\n"),
}


@pytest.mark.parametrize("name", TARS)
def test_tars(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(TARS[name]() + bytes(1024))
    found = survey(here(tmp_path))
    assert "tar" in {one.rule for one in found.findings}
    assert all(entry.piece.size >= 0 for entry in found.entries)


def test_a_tar_of_holes_is_not_read_to_its_end(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.mp4"), io.BytesIO())
    os.truncate(tmp_path / "a.tar", 1 << 40)
    assert "are no tar" in next(one.detail for one in survey(here(tmp_path)).findings if one.rule == "tar")


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    outside.write_text("license: mit\nfile_name\n")
    place.mkdir()
    for name in ("README.md", "metadata.csv", "b.mp4"):
        (place / name).symlink_to(outside)
    (place / "round.mp4").symlink_to("round.mp4")
    (place / "a.mp4").write_bytes(b"")
    (place / "within.mp4").symlink_to("a.mp4")
    found = survey(here(place))
    assert [entry.piece.key for entry in found.entries] == ["a.mp4", "within.mp4"]
    assert {one.where for one in found.findings if one.rule == "link"} == {"README.md", "metadata.csv", "b.mp4"}
    assert "licence" in {one.rule for one in found.findings}


def test_files_of_holes_are_not_copied(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for name in ("a.mp4", "README.md"):
        (place / name).touch()
        os.truncate(place / name, 1 << 40)
    found = diagnosis(place, tmp_path / "room")
    assert any(one.rule == "decode" and "too_large" in one.detail for one in found.findings)
