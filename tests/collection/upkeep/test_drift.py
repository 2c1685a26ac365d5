"""What `mlst drift` finds out about sources that were left alone, remuxed, re-encoded, trimmed, replaced, deleted,
blocked."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yt_dlp.globals
from yt_dlp.extractor import import_extractors

from collection.engine.run import folder as stage_folder
from collection.engine.stage import Rejected
from collection.order import reorder
from collection.upkeep.drift import (
    ALTERED,
    BYTES,
    CHANGED,
    GONE,
    PACKETS,
    PRESENT,
    REENCODED,
    STATES,
    UNKNOWN,
    Asked,
    Drift,
    DriftStage,
    answered,
    looked,
    refused,
    report,
)
from mlst.dataset.description import INDEX, LOCK
from mlst.dataset.index import read_index
from mlst.dataset.lock import read_lock
from tests import tiny
from tests.collection.fetch.test_stage import LoopbackIE
from tests.collection.upkeep import upkeep
from tests.media_server import MediaServer, Page, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        import_extractors()
        patch.setitem(yt_dlp.globals.extractors.value, "LoopbackIE", LoopbackIE)
        with serving() as media:
            yield media


@pytest.fixture(scope="module")
def built(server: MediaServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with local sources and a dataset of them, of a file on the server, and of a video of the site."""
    folder = tmp_path_factory.mktemp("built")
    for path in (upkeep.RABBIT, upkeep.GIRL, upkeep.SIGNER):
        shutil.copy(path, folder / path.name)
    server.pages["/water.webm"] = Page(upkeep.WATER.read_bytes(), kind="video/webm")
    rows = [
        upkeep.source("rabbit", upkeep.RABBIT.name),
        upkeep.source("girl", upkeep.GIRL.name),
        upkeep.source("signer", upkeep.SIGNER.name),
        upkeep.source("water", server.url("/water.webm")),
        upkeep.source("site", upkeep.watch(server, upkeep.TRACTOR), "2", "5"),
    ]
    done = upkeep.made(folder, rows)
    assert done.dataset.sources == 5
    return folder


@pytest.fixture
def sources(built: Path, server: MediaServer, tmp_path: Path) -> Iterator[Path]:
    """Copies of the local sources to change; what the server has is put back afterwards."""
    for path in (upkeep.RABBIT, upkeep.GIRL, upkeep.SIGNER):
        shutil.copy(path, tmp_path / path.name)
    pages = dict(server.pages)
    server.clear()
    yield tmp_path
    server.pages.clear()
    server.pages.update(pages)


def asked(built: Path, sources: Path, deep: bool) -> dict[str, Drift]:
    dataset, do = built / "dataset", upkeep.driver(sources / "work")
    stage = DriftStage(reorder(dataset, sources, upkeep.ACCESS).fetch, deep)
    drifts = [answered(outcome) for outcome in do(stage, Asked(dataset, deep)).outcomes]
    assert not list((sources / "work" / stage_folder(stage)).glob("media/*")), "nothing that was fetched is left"
    assert [drift.source for drift in drifts] == ["girl", "rabbit", "signer", "site", "water"]
    return {drift.source: drift for drift in drifts}


def states(found: dict[str, Drift]) -> dict[str, str]:
    return {name: ".".join(filter(None, (drift.state, drift.reason))) for name, drift in found.items()}


def test_nothing_has_changed(built: Path, sources: Path, server: MediaServer) -> None:
    assert set(states(asked(built, sources, deep=True)).values()) == {BYTES}
    server.clear()
    assert set(states(asked(built, sources, deep=False)).values()) == {PRESENT}
    assert len(server.hits) == 2, "one request for the file, one for the page of the site, none for its media"


@pytest.mark.slow
def test_remuxed_reencoded_trimmed_and_blocked(built: Path, sources: Path, server: MediaServer) -> None:
    upkeep.remux(upkeep.RABBIT, sources / "other.mkv")
    (sources / "other.mkv").rename(sources / upkeep.RABBIT.name)
    upkeep.reencode(upkeep.GIRL, sources / upkeep.GIRL.name)
    upkeep.remux(upkeep.SIGNER, sources / upkeep.SIGNER.name, until=3.0)
    server.pages["/water.webm"] = Page(status=429)
    found = states(asked(built, sources, deep=True))
    assert found == {
        "rabbit": PACKETS,
        "girl": REENCODED,
        "signer": f"{CHANGED}.length",
        "water": f"{UNKNOWN}.blocked.rate",
        "site": BYTES,
    }
    looks = states(asked(built, sources, deep=False))
    assert looks == dict.fromkeys(("rabbit", "girl", "signer"), ALTERED) | {"water": found["water"], "site": PRESENT}


@pytest.mark.slow
def test_other_footage_of_the_same_length(built: Path, sources: Path, server: MediaServer) -> None:
    def noise(number: int, height: int, width: int) -> Any:
        return np.random.default_rng(number).integers(0, 255, (height * 3 // 2, width), dtype=np.uint8)

    upkeep.reencode(upkeep.GIRL, sources / upkeep.GIRL.name, noise)
    (sources / upkeep.SIGNER.name).unlink()
    (sources / upkeep.RABBIT.name).write_text("#EXTM3U\n")
    server.pages["/water.webm"] = Page(b"<html>Sign in</html>", kind="text/html")
    upkeep.watch(server, upkeep.TRACTOR, error="Private video")
    found = asked(built, sources, deep=True)
    assert states(found) == {
        "girl": f"{CHANGED}.footage",
        "signer": f"{GONE}.missing",
        "rabbit": f"{CHANGED}.not_media",
        "water": f"{UNKNOWN}.unknown.page",
        "site": f"{GONE}.private",
    }


@pytest.mark.parametrize(
    ("page", "state", "words"),
    [
        ({"error": "Sign in to confirm you're not a bot"}, f"{UNKNOWN}.blocked.bot", "bot"),
        ({"error": "Private video. Sign in"}, f"{GONE}.private", "Private"),
        ({"duration": 8}, ALTERED, "duration was 10 s, is 8 s"),
        ({"license": "all rights reserved"}, ALTERED, "licence was CC BY, is all rights reserved"),
        ({"formats": []}, f"{UNKNOWN}.blocked.formats", ""),
    ],
)
def test_what_a_site_says(
    built: Path, sources: Path, server: MediaServer, page: dict[str, Any], state: str, words: str
) -> None:
    upkeep.watch(server, upkeep.TRACTOR, **page)
    found = asked(built, sources, deep=False)["site"]
    assert (states({"site": found})["site"], words in found.detail) == (state, True)
    assert not server.count("/media/site.webm")


def test_a_file_on_a_server(built: Path, sources: Path, server: MediaServer) -> None:
    for page, state in (
        (Page(status=404), f"{GONE}.missing"),
        (Page(status=403), f"{UNKNOWN}.blocked.forbidden"),
        (Page(status=500), f"{UNKNOWN}.network.http5xx"),
        (Page(upkeep.WATER.read_bytes()[:-1], kind="video/webm"), ALTERED),
    ):
        server.pages["/water.webm"] = page
        shutil.rmtree(sources / "work", ignore_errors=True)
        assert states(asked(built, sources, deep=False))["water"] == state


def test_what_is_unknown_is_asked_again_and_nothing_else(built: Path, sources: Path, server: MediaServer) -> None:
    server.pages["/water.webm"] = Page(upkeep.WATER.read_bytes(), kind="video/webm", status=429, failures=2)
    assert asked(built, sources, deep=False)["water"].state == UNKNOWN
    asked_site = server.count("/watch/abc")
    assert asked(built, sources, deep=False)["water"].state == PRESENT
    assert server.count("/watch/abc") == asked_site


def test_lock_holds_no_url_and_no_secret(built: Path, server: MediaServer) -> None:
    text = (built / "dataset" / LOCK).read_text()
    assert "sEcReT" not in text
    assert "/media/" not in text
    rows = {row.source.id: row for row in read_lock(built / "dataset" / LOCK)}
    said = rows["site"].upstream
    assert (said.format_id, said.revision, said.duration) == ("18", "1577836800000000", 10.0)
    assert said.size == upkeep.TRACTOR.stat().st_size > rows["site"].size
    assert said.tool.startswith("yt-dlp 20")
    assert rows["girl"].upstream.size == rows["girl"].size == upkeep.GIRL.stat().st_size


# pure parts


def row() -> Any:
    return next(read_lock(tiny.built() / LOCK))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"format_id": "243", "size": 1, "revision": "2"}, "format was 134, is 243"),
        ({"size": 1}, "size was 1000, is 1"),
        ({"revision": "2"}, "revision was 1577836800000000, is 2"),
        ({"availability": "unlisted"}, "availability was public, is unlisted"),
        ({"duration": 99.0}, "duration was"),
        ({"duration": 0.0, "size": 0, "revision": "", "availability": ""}, ""),
        ({"title": "Another", "tool": "yt-dlp 2099", "age_limit": 18}, ""),
    ],
)
def test_looks(change: dict[str, Any], words: str) -> None:
    found = looked(row(), replace(row().upstream, **change))
    assert (found.state, found.detail.startswith(words)) == (ALTERED if words else PRESENT, True)
    assert found.detail.count(";") == 0


@pytest.mark.parametrize(
    ("kind", "state", "reason"),
    [
        ("gone.private", GONE, "private"),
        ("gone.region", GONE, "region"),
        ("no_format", GONE, "no_format"),
        ("too_long", CHANGED, "too_long"),
        ("corrupt", CHANGED, "corrupt"),
        ("not_allowed", UNKNOWN, "not_allowed"),
    ],
)
def test_final_refusals(kind: str, state: str, reason: str) -> None:
    assert refused("a", Rejected(kind, "why")) == Drift("a", state, reason, "why")


def test_balance_counts_what_is_lost() -> None:
    rows = list(read_index(tiny.built() / INDEX))
    names = sorted({row.info.source for row in rows})
    of = {name: (CHANGED, GONE, UNKNOWN, REENCODED, BYTES)[i % 5] for i, name in enumerate(names)}
    seen = report(tiny.built(), [Drift(name, state, "", "") for name, state in of.items()])
    lost = {name for name, state in of.items() if state in (CHANGED, GONE)}
    for one in seen.balance:
        inside = [row for row in rows if row.info.level == one.level]
        left = [row for row in inside if row.info.source not in lost]
        assert (one.clips, one.left) == (len(inside), len(left))
        assert one.share_left == len(left) / sum(row.info.source not in lost for row in rows)
    for cell in seen.cells:
        inside = [row for row in rows if (row.info.level, row.info.split) == (cell.level, cell.split)]
        counts = dict(zip(STATES, cell.states, strict=True))
        assert {state: counts[state] for state in STATES} == {
            state: sum(of[row.info.source] == state for row in inside) for state in STATES
        }
    assert sum(cell.clips for cell in seen.cells) == len(rows)


def test_clips_go_to_their_sources() -> None:
    wanted = {one.row.source.id: one.clips for one in Asked(tiny.built(), deep=True)}
    rows = list(read_index(tiny.built() / INDEX))
    assert sum(map(len, wanted.values())) == len(rows)
    for row in rows:
        assert (row.info.start, row.fingerprint) in {
            (clip.start, clip.fingerprint) for clip in wanted[row.info.source]
        }
    assert all(one.clips == () for one in Asked(tiny.built(), deep=False))
