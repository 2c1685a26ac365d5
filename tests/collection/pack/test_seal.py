import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from collection.pack.seal import Body, Contents, seal, tabulate
from mlst.dataset.card import BUILT, Release
from mlst.dataset.croissant import CROISSANT
from mlst.dataset.description import (
    ATTRIBUTION,
    CARD,
    DATASET,
    INDEX,
    LOCK,
    RECIPE,
    THRESHOLDS,
    Dataset,
    read_json,
    write_json,
)
from mlst.dataset.index import read_index
from mlst.dataset.lock import read_lock
from tests import tiny


@pytest.fixture
def built() -> Dataset:
    return read_json(tiny.built() / DATASET)


def contents(dataset: Dataset) -> Contents:
    """What `tiny.built` is made from, read back; the lock's counts are wrong, as they are before clips are chosen."""
    folder = tiny.built()
    lock = [replace(row, chosen=99) for row in read_lock(folder / LOCK)]
    texts = {name: (folder / name).read_bytes() for name in (RECIPE, THRESHOLDS)}
    return Contents(dataset.shards, read_index(folder / INDEX), lock, texts)


def emptied(dataset: Dataset) -> Dataset:
    """The description without anything that is counted or hashed."""
    return replace(dataset, fingerprint="", footage="", sources=0, clips=0, cells=(), shards=(), files=())


def test_all_but_the_shards_follows_from_contents_and_draft(tmp_path: Path, built: Dataset) -> None:
    described, files = seal(tmp_path, tabulate(tmp_path, emptied(built), contents(built)), BUILT)
    assert write_json(described) == (tiny.built() / DATASET).read_bytes()
    assert files == built.files
    for name in (ATTRIBUTION, CARD, INDEX, LOCK, RECIPE, THRESHOLDS):
        assert (tmp_path / name).read_bytes() == (tiny.built() / name).read_bytes(), name


def test_a_source_without_clips_stays_in_the_lock_and_is_not_credited(tmp_path: Path, built: Dataset) -> None:
    gone = next(read_lock(tiny.built() / LOCK)).source.id
    whole = contents(built)
    body = tabulate(tmp_path, built, replace(whole, rows=[row for row in whole.rows if row.info.source != gone]))
    assert [row.chosen for row in read_lock(tmp_path / LOCK) if row.source.id == gone] == [0]
    assert gone not in {source.id for source in body.sources}
    assert body.dataset.sources == built.sources - 1
    assert body.dataset.footage == built.footage


@pytest.mark.parametrize("pixels", [True, False])
def test_a_release_has_metadata_and_one_without_pixels_keeps_the_description(
    tmp_path: Path, built: Dataset, pixels: bool
) -> None:
    whole = tabulate(tmp_path, emptied(built), contents(built))
    body = Body(built, whole.files, whole.sources, whole.clips)
    described, files = seal(tmp_path, body, Release(pixels, "sources.csv", (), (), ()))
    by_path = {file.path: file for file in files}
    assert by_path[CROISSANT].sha256 == hashlib.sha256((tmp_path / CROISSANT).read_bytes()).hexdigest()
    assert list(by_path) == sorted(by_path)
    assert described.files == (files if pixels else built.files)
