"""Loading from a web server, good and bad."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity
import torch

from mlst.dataset.description import DATASET, INDEX
from mlst.loading import CorruptClip, LoadError, ReadError, load, loader, stores
from tests import tiny
from tests.media_server import MediaServer, Page, serving
from tests.mlst.loading.loading import SHORT, decoded, rows_of

torch.set_num_threads(1)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[MediaServer]:
    """A server with the dataset at /sets/tiny; retries do not wait."""
    monkeypatch.setattr(stores, "_BACKOFF", tenacity.wait_none())
    with serving() as media:
        for path in sorted(tiny.built().rglob("*")):
            if path.is_file():
                media.pages[f"/sets/tiny/{path.relative_to(tiny.built()).as_posix()}"] = Page(path.read_bytes())
        yield media


def shard_of(row: int) -> str:
    return "/sets/tiny/" + rows_of(tiny.built(), "train")[row]["shard"]


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_are_those_of_the_folder(site: MediaServer, workers: int) -> None:
    near, far = load(tiny.built(), **SHORT), load(site.url("/sets/tiny/"), **SHORT)
    assert far.fingerprint == near.fingerprint
    pairs = zip(loader(near, 5, seed=4), loader(far, 5, seed=4, workers=workers), strict=True)
    for expected, found in pairs:
        assert found.keys == expected.keys
        assert torch.equal(found.frames, expected.frames)
        assert torch.equal(found.statistics, expected.statistics)


def test_a_clip_is_one_ranged_request(site: MediaServer) -> None:
    clips = load(site.url("/sets/tiny"), **SHORT)
    assert sorted(hit.path for hit in site.hits) == ["/sets/tiny/" + DATASET, "/sets/tiny/" + INDEX]
    site.clear()
    sample, row = clips[3], rows_of(tiny.built(), "train")[3]
    assert [(h.path, h.range) for h in site.hits] == [
        (shard_of(3), f"bytes={row['offset']}-{row['offset'] + row['size'] - 1}")
    ]
    assert site.sent == row["size"]
    with (tiny.built() / row["shard"]).open("rb") as shard:
        shard.seek(row["offset"])
        assert torch.equal(sample.frames, torch.from_numpy(decoded(shard.read(row["size"]))))


def test_a_query_goes_with_every_request(site: MediaServer) -> None:
    clips = load(site.url("/sets/tiny?token=secret"), **SHORT)
    assert "secret" not in clips.store.name
    assert stores.Web("https://me:word@example.org/a b?c=d#e").url("x/y.tar").endswith("/a b/x/y.tar?c=d")
    assert stores.Web("https://me:word@example.org/a?c=d").name == "https://example.org/a"
    clips[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again(site: MediaServer, status: int) -> None:
    path = shard_of(0)
    site.pages[path] = Page(site.pages[path].body, status=status, failures=stores.ATTEMPTS - 1, retry_after="0")
    assert load(site.url("/sets/tiny"), **SHORT)[0].key
    assert site.count(path) == stores.ATTEMPTS


def test_a_server_may_ask_for_patience(site: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    path, waits = shard_of(0), []
    site.pages[path] = Page(site.pages[path].body, status=429, failures=2, retry_after="7000")
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    clips = load(site.url("/sets/tiny"), **SHORT)
    clips[0]
    assert waits == [stores.LONGEST] * 2


@pytest.mark.parametrize(
    ("page", "message", "requests"),
    [
        ({"status": 503}, "status 503, 6 times", 6),
        ({"cut": 100}, "6 times", 6),
        ({"status": 404}, "status 404, not there", 1),
        ({"status": 403}, "status 403, refused", 1),
        ({"ranges": False}, "ignores range requests", 1),
    ],
)
def test_lasting_failures(site: MediaServer, page: dict[str, Any], message: str, requests: int) -> None:
    """Never skipped: with a server that is down every clip would be."""
    path = shard_of(0)
    site.pages[path] = Page(site.pages[path].body, **page)
    clips = load(site.url("/sets/tiny?token=secret"), errors="skip", **SHORT)
    with pytest.raises(ReadError, match=message) as failure:
        clips.__getitems__([0])
    assert "secret" not in str(failure.value)
    assert site.count(path) == requests


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_BACKOFF", tenacity.wait_none())
    with serving() as media:
        gone = media.url("/x?token=secret")
    with pytest.raises(ReadError, match="refused, 6 times") as failure:
        load(gone)
    assert "secret" not in str(failure.value)


def test_redirects_are_followed(site: MediaServer) -> None:
    path = shard_of(0)
    site.pages["/elsewhere"] = site.pages[path]
    site.pages[path] = Page(location=site.url("/elsewhere"))
    assert load(site.url("/sets/tiny"), **SHORT)[0].key


def test_shards_of_another_build(site: MediaServer) -> None:
    path, row = shard_of(0), rows_of(tiny.built(), "train")[0]
    body = bytearray(site.pages[path].body)
    body[row["offset"] + 300] ^= 1
    site.pages[path] = Page(bytes(body))
    clips = load(site.url("/sets/tiny"), **SHORT)
    with pytest.raises(CorruptClip, match=f"{row['key']} has sha256"):
        clips[0]
    site.pages[path] = Page(bytes(body[: row["offset"] + 9]))
    with pytest.raises(CorruptClip, match=f"{row['key']} ends after 9 of"):
        clips[0]
    site.pages[path] = Page(bytes(body[:9]))
    with pytest.raises(CorruptClip, match=f"{row['key']} ends after 0 of"):
        clips[0]


def test_what_is_no_dataset(site: MediaServer, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"dataset\.json: status 404"):
        load(site.url("/sets"))
    site.pages["/page/" + DATASET] = Page(b"<html>welcome</html>")
    with pytest.raises(LoadError, match="not JSON"):
        load(site.url("/page"))
    site.pages["/sets/tiny/" + INDEX] = Page(site.pages["/sets/tiny/" + INDEX].body + b"more")
    with pytest.raises(ReadError, match="has more than"):
        load(site.url("/sets/tiny"), **SHORT)
