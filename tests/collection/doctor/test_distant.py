"""Places that are not on this machine: the same findings as of a folder, and little is fetched."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tenacity

from collection.audit.places import PlaceError
from collection.doctor.distant import placed
from collection.doctor.survey import Survey, survey
from mlst.loading import stores
from tests import tiny
from tests.collection.doctor import defects
from tests.collection.doctor.test_doctor import by_place, diagnosis
from tests.media_server import MediaServer, Page, serving

NAMES = "train-{000..003}.tar"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[MediaServer]:
    """A server; retries do not wait."""
    monkeypatch.setattr(stores, "_BACKOFF", tenacity.wait_none())
    with serving() as media:
        yield media


def serve(site: MediaServer, place: Path) -> None:
    for path in place.rglob("*"):
        if path.is_file():
            site.pages[f"/set/{path.relative_to(place).as_posix()}"] = Page(path.read_bytes())


def surveyed(url: str, room: Path) -> Survey:
    """What lies at a URL, with paths as if it lay in the room."""
    room.mkdir()
    with placed(url, room) as there:
        return survey(there)


def near(place: Path, found: Survey, room: Path) -> Survey:
    """The survey of a room as if it were one of the place that was mirrored in it."""
    moved = (
        replace(entry, piece=replace(entry.piece, file=place / entry.piece.file.relative_to(room)))
        for entry in found.entries
    )
    return replace(found, entries=tuple(moved))


@pytest.mark.parametrize("name", ["none", "cut off", "bad header", "apart", "not JSON", "no sample"])
def test_tars_by_their_urls(tmp_path: Path, site: MediaServer, name: str) -> None:
    place = defects.shards(tmp_path / "set", defects.SHARDS[name][1])
    serve(site, place)
    found = surveyed(site.url(f"/set/{NAMES}?key=secret"), tmp_path / "room")
    with placed(str(place), tmp_path) as there:
        assert near(place, found, tmp_path / "room") == survey(there)


def test_large_members_are_not_fetched(tmp_path: Path, site: MediaServer) -> None:
    members = [("a.mp4", os.urandom(1 << 20)), ("a.json", b"{}"), ("b.mp4", os.urandom(1 << 20)), ("b.json", b"{}")]
    place = defects.shards(tmp_path / "set", members)
    serve(site, place)
    found = surveyed(site.url("/set/train-001.tar"), tmp_path / "room")
    assert [entry.piece.key for entry in found.entries] == ["train-001.tar/a.mp4", "train-001.tar/b.mp4"]
    assert site.sent < 1 << 15
    assert os.stat(tmp_path / "room" / "train-001.tar").st_blocks * 512 < 1 << 16


def test_a_dataset_of_ours_at_a_url(tmp_path: Path, site: MediaServer) -> None:
    serve(site, tiny.built())
    found = surveyed(site.url("/set"), tmp_path / "room")
    with placed(str(tiny.built()), tmp_path) as there:
        local = survey(there)
    assert near(tiny.built(), found, tmp_path / "room").entries == local.entries
    assert set(found.findings) <= set(local.findings)
    assert not any(hit.path.endswith(".tar") for hit in site.hits)


@pytest.mark.slow
def test_clips_at_a_url_are_looked_at(tmp_path: Path, site: MediaServer) -> None:
    defects.CLIPS["cut"](tmp_path / "clip.mp4")
    clip = (tmp_path / "clip.mp4").read_bytes()
    record = defects.sample("x")[1][1]
    place = defects.shards(tmp_path / "set", [("cut.mp4", clip), ("cut.json", record)])
    serve(site, place)
    found = diagnosis(site.url(f"/set/{NAMES}"), tmp_path / "room")
    assert by_place(found)["train-001.tar/cut.mp4"] == {"cut"}
    assert found.place == site.url("/set")
    assert by_place(diagnosis(place, tmp_path / "other"))["train-001.tar/cut.mp4"] == {"cut"}
    site.pages["/set/train-001.tar"] = Page(b"", status=503)
    with pytest.raises(PlaceError, match="503"):
        diagnosis(site.url(f"/set/{NAMES}"), tmp_path / "room")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://a\x1b[31m/b", "control characters"),
        ("hf://datasets/one/two/three", "OWNER/NAME"),
        ("http://127.0.0.1:9/a-*.tar", "a web server lists no files"),
        ("http://127.0.0.1:9/a-{1..tar", "a-"),
        ("memory://nothing/here", "no file"),
        ("foo://bar", "cannot be listed"),
    ],
)
def test_urls_that_are_none(tmp_path: Path, site: MediaServer, url: str, words: str) -> None:
    with pytest.raises(PlaceError, match=words):
        surveyed(url, tmp_path / "room")


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe("/out/a/../../../b.mp4", b"")
    try:
        with pytest.raises(PlaceError, match="not the plain relative path"):
            surveyed("memory://out", tmp_path / "room")
    finally:
        files.rm("/out", recursive=True)


@pytest.mark.slow
def test_a_bucket_by_wildcards_and_braces(tmp_path: Path) -> None:
    from tests.s3_server import files, s3_server

    place = defects.shards(tmp_path / "set", defects.SHARDS["not JSON"][1])
    with placed(str(place), tmp_path) as there, s3_server() as url:
        files().put(str(place), f"{url}/set", recursive=True)
        for number, name in enumerate(("", "/train-*.tar", f"/{NAMES}")):
            room = tmp_path / f"room{number}"
            assert near(place, surveyed(f"{url}/set{name}", room), room) == survey(there)


@pytest.mark.slow
def test_a_hub_repository(tmp_path: Path) -> None:
    from tests.hub_server import Hub

    place = defects.shards(tmp_path / "set", defects.SHARDS["not JSON"][1])
    server = Hub(tmp_path / "hub")
    try:
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path), "HF_TOKEN": server.token}
        command = [sys.executable, "-m", "tests.collection.doctor.hub_of_doctor", str(place), str(tmp_path / "room")]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
        assert ran.returncode == 0, ran.stderr
        assert "json train-001.tar/c115" in ran.stdout
        assert "64 clips" in ran.stdout
    finally:
        server.close()
