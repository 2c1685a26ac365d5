import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import mlcroissant
import pytest

from mlst.dataset.croissant import CROISSANT, MEDIA_TYPES, croissant
from mlst.dataset.description import DATASET, INDEX, read_json
from mlst.dataset.index import index_names, read_index
from tests import tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset with its croissant.json beside it."""
    copy = Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))
    dataset = read_json(copy / DATASET)
    (copy / CROISSANT).write_bytes(croissant(dataset, dataset.files))
    return copy


def test_mlcroissant_finds_nothing_wrong(folder: Path) -> None:
    issues = mlcroissant.Dataset(jsonld=str(folder / CROISSANT)).metadata.issues
    assert issues.errors == set()
    assert {text.split('"')[1] for text in issues.warnings} == {"https://schema.org/datePublished"}


def test_mlcroissant_reads_the_clips(folder: Path) -> None:
    """It checks the sha256 of the file that it reads, too."""
    records = list(mlcroissant.Dataset(jsonld=str(folder / CROISSANT)).records("clips"))
    rows = list(read_index(folder / INDEX))
    assert [record["clips/key"].decode() for record in records] == [row.info.key for row in rows]
    assert [record["clips/si"] for record in records] == [row.info.statistics.si for row in rows]
    assert [record["clips/offset"] for record in records] == [row.offset for row in rows]
    assert records[0].keys() == {f"clips/{name}" for name in index_names(read_json(folder / DATASET).statistics)}


def test_every_file_has_its_sha256(folder: Path) -> None:
    listed = {file["@id"]: file for file in json.loads((folder / CROISSANT).read_bytes())["distribution"]}
    assert set(listed) == {file.path for file in read_json(folder / DATASET).files}
    for path, file in listed.items():
        data = (folder / path).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"
        assert file["encodingFormat"] in MEDIA_TYPES.values()


def test_same_dataset_same_bytes() -> None:
    dataset = read_json(tiny.built() / DATASET)
    assert croissant(dataset, dataset.files) == croissant(dataset, dataset.files[::-1])


def test_hostile_title_is_only_text(tmp_path: Path) -> None:
    dataset = replace(read_json(tiny.built() / DATASET), title='"}\u202e\x00 {"@id": "x', description="")
    (tmp_path / CROISSANT).write_bytes(croissant(dataset, dataset.files))
    metadata = mlcroissant.Dataset(jsonld=str(tmp_path / CROISSANT)).metadata
    assert metadata.description == '"} {"@id": "x'
    assert metadata.issues.errors == set()
