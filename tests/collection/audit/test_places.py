"""Where clips lie: datasets of ours, folders, tars."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from collection.audit.places import Piece, PlaceError, cut_by, drawn, pieces
from mlst.dataset.description import DATASET, INDEX
from mlst.dataset.index import read_index
from tests import tiny


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def content(piece: Piece) -> bytes:
    with piece.file.open("rb") as file:
        file.seek(piece.offset)
        return file.read(piece.size)


def test_clips_of_a_dataset_are_those_of_its_index() -> None:
    found = list(pieces(tiny.built()))
    rows = list(read_index(tiny.built() / INDEX))
    assert [(piece.key, piece.source) for piece in found] == [(row.info.key, row.info.source) for row in rows]
    assert all(content(piece)[4:8] == b"ftyp" for piece in found)
    assert cut_by(tiny.built()) == "mlst"


def test_the_shards_of_a_dataset_alone_have_the_same_clips() -> None:
    whole = {(piece.source, content(piece)) for piece in pieces(tiny.built())}
    assert {(piece.source, content(piece)) for piece in pieces(tiny.built() / "data")} == whole
    assert cut_by(tiny.built() / "data") == ""


def test_videos_of_a_folder_and_members_of_tars(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "Film.MP4").write_bytes(b"film")
    (tmp_path / "notes.txt").write_bytes(b"no video")
    members = {
        "x/1.mp4": b"one",
        "x/1.json": json.dumps({"source": "s"}).encode(),
        "x/2.json": b"[not json",
        "x/2.txt": b"caption",
        "x/2.b.webm": b"two",
        "x/3.txt": b"no video",
        "x/4.json": b"[" * 10**5,
        "x/4.mkv": b"four",
    }
    tar(tmp_path / "a.tar", members)
    found = list(pieces(tmp_path))
    assert [(piece.key, piece.source, content(piece)) for piece in found] == [
        ("a.tar/x/1.mp4", "s", b"one"),
        ("a.tar/x/2.b.webm", "", b"two"),
        ("a.tar/x/4.mkv", "", b"four"),
        ("b/Film.MP4", "", b"film"),
    ]
    assert [piece.key for piece in pieces(tmp_path / "a.tar")] == [piece.key for piece in found[:3]]


def test_places_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="does not exist; give a built dataset, a folder of videos, or WebDataset"):
        list(pieces(tmp_path / "nowhere"))
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(PlaceError, match=str(tmp_path)):
        list(pieces(tmp_path))
    (tmp_path / DATASET).write_text("{}")
    with pytest.raises(PlaceError, match=r"clips\.parquet"):
        list(pieces(tmp_path))


def test_samples_do_not_depend_on_order_and_grow() -> None:
    found = [Piece(f"clip {n}", "", Path("file"), n, 1) for n in range(1000)]
    few, more = drawn(found, 20, 1), drawn(reversed(found), 50, 1)
    assert few.total == more.total == 1000
    assert set(few.pieces) < set(more.pieces)
    assert set(few.pieces) != set(drawn(found, 20, 2).pieces)
    assert set(drawn(found, 5000, 1).pieces) == set(found)
    assert 300 < sum(piece.offset for piece in more.pieces) / 50 < 700


def test_links_that_lead_out_and_pipes_are_not_read_nor_damaged_tars(tmp_path: Path) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    place.mkdir()
    outside.write_bytes(b"secret")
    tar(place / "a.tar", {"1.mp4": b"one" * 999})
    for name in ("b.mp4", "b.tar"):
        (place / name).symlink_to(outside)
    for name in ("c.mp4", "c.tar"):
        os.mkfifo(place / name)
    (place / "within.mp4").symlink_to("a.tar")
    assert [piece.key for piece in pieces(place)] == ["a.tar/1.mp4", "within.mp4"]
    os.truncate(place / "a.tar", 1024)
    with pytest.raises(PlaceError, match=r"a\.tar: '1\.mp4' ends behind the end of the file"):
        list(pieces(place))
