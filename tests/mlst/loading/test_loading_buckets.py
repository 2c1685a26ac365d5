"""Loading from what fsspec reads: its memory, files by URL, and an S3 server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from mlst.dataset.description import DATASET, INDEX
from mlst.loading import Changed, CorruptClip, LoadError, Missing, ReadError, load, loader
from tests import tiny
from tests.mlst.loading.loading import SHORT, copied, forged, rows_of

PLACE = "memory://sets/tiny"


@pytest.fixture
def store() -> Iterator[Any]:
    """fsspec's memory, with the dataset."""
    system = fsspec.filesystem("memory")
    system.put(str(tiny.built()), "/sets/tiny", recursive=True)
    yield system
    system.rm("/sets", recursive=True)


def shard_of(row: int) -> str:
    return "/sets/tiny/" + rows_of(tiny.built(), "train")[row]["shard"]


def check_alike(place: str, workers: int) -> None:
    near, far = load(tiny.built(), **SHORT), load(place, **SHORT)
    assert far.fingerprint == near.fingerprint
    pairs = zip(loader(near, 5, seed=4), loader(far, 5, seed=4, workers=workers), strict=True)
    for expected, found in pairs:
        assert found.keys == expected.keys
        assert torch.equal(found.frames, expected.frames)


def test_frames_are_those_of_the_folder(store: Any) -> None:
    check_alike(PLACE, 0)


def test_workers_read_for_themselves(tmp_path: Path) -> None:
    check_alike(f"file://{copied(tmp_path)}", 2)


@pytest.mark.slow
def test_an_s3_bucket() -> None:
    from tests.s3_server import files, s3_server

    with s3_server() as url:
        files().put(str(tiny.built()), f"{url}/tiny", recursive=True)
        check_alike(f"{url}/tiny", 2)
        clips = load(f"{url}/tiny", **SHORT)
        files().pipe(f"{url}/tiny/{rows_of(tiny.built(), 'train')[0]['shard']}", b"short")
        with pytest.raises(CorruptClip, match="ends after 0 of"):
            clips[0]
        with pytest.raises(Missing, match=r"s3://footage/none: dataset\.json is not there"):
            load("s3://footage/none")


def test_the_index_is_kept(store: Any, cache: Path) -> None:
    load(PLACE, **SHORT)
    (kept,) = (cache / "index").iterdir()
    assert kept.read_bytes() == (tiny.built() / INDEX).read_bytes()
    store.rm(f"/sets/tiny/{INDEX}")
    assert load(PLACE, **SHORT)[0].key
    kept.write_bytes(b"damaged")
    with pytest.raises(Missing, match=f"{INDEX} is not there"):
        load(PLACE, **SHORT)


def test_a_cache_that_cannot_be_written_does_no_harm(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert load(PLACE, **SHORT)[0].key


def test_objects_that_vanish(store: Any) -> None:
    clips = load(PLACE, errors="skip", **SHORT)
    store.rm(shard_of(0))
    with pytest.raises(Missing, match=r"clip .* is not there; a release without pixels"):
        list(loader(clips, 4))
    store.rm(f"/sets/tiny/{DATASET}")
    with pytest.raises(Changed, match="memory://sets/tiny was replaced or removed since it was loaded"):
        clips[0]


@pytest.mark.parametrize("place", [PLACE, "folder"])
def test_a_dataset_that_is_replaced_is_not_skipped_clip_by_clip(place: str, store: Any, tmp_path: Path) -> None:
    """By one with other bytes in the same shards."""
    folder = copied(tmp_path)
    clips, shard = load(folder if place == "folder" else place, errors="skip", **SHORT), shard_of(0)
    inside = shard.removeprefix("/sets/tiny/")
    (folder / inside).write_bytes(bytes((folder / inside).stat().st_size))
    store.put_file(str(folder / inside), shard)
    with pytest.raises(CorruptClip, match="has sha256"):
        clips[0]
    forged(folder, lambda row: row.update(sha256="0" * 64))
    store.put_file(str(folder / DATASET), f"/sets/tiny/{DATASET}")
    with pytest.raises(Changed, match="load it again"):
        clips[0]


def test_objects_are_bounded(store: Any) -> None:
    store.pipe(f"/sets/tiny/{INDEX}", bytes(10_000_000))
    with pytest.raises(ReadError, match=f"{INDEX} has 10000000 bytes, more than"):
        load(PLACE, **SHORT)


@pytest.mark.parametrize(
    ("place", "kind", "told"),
    [
        ("nonsense://a/b", ReadError, "nonsense://a/b: dataset.json cannot be read: ValueError: Protocol not known"),
        ("memory://none", Missing, r"memory://none: dataset\.json is not there"),
        ("ftp://127.0.0.1:1/a", ReadError, "ftp://127.0.0.1:1/a: .*refused"),
    ],
)
def test_places_that_are_none(place: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        load(place)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr("fsspec.url_to_fs", missing)
    with pytest.raises(LoadError, match=r"gs://bucket/set: .* for gs:// run `pip install gcsfs`"):
        load("gs://bucket/set")


def test_credentials_are_not_told() -> None:
    with pytest.raises(ReadError) as caught:
        load("ftp://me:secret@127.0.0.1:1/a?token=secret")
    assert "secret" not in str(caught.value)
