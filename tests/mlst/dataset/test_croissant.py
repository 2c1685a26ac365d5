import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from mlcroissant._src.operation_graph.operations import extract

import mlst
from mlst.checking.lint import advice
from mlst.dataset.about import QUESTIONS, About, Rai, answers
from mlst.dataset.croissant import CROISSANT, MEDIA_TYPES, croissant
from mlst.dataset.description import DATASET, INDEX, LOCK, Dataset, read_json
from mlst.dataset.index import index_names, read_index
from mlst.dataset.lock import LockRow, read_lock
from tests import tiny

SAID = About("2026-11-27", "https://example.org/mlst", ("A. Maker",), Rai(biases="Only rabbits.", uses="Tests."))


def parts() -> tuple[Dataset, list[LockRow]]:
    dataset = read_json(tiny.built() / DATASET)
    files = tuple(file for file in dataset.files if file.path != CROISSANT)
    return replace(dataset, files=files, about=SAID), list(read_lock(tiny.built() / LOCK))


def written(dataset: Dataset, lock: list[LockRow]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(croissant(dataset, dataset.files, lock))
    return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset that says who made it. `mlcroissant` extracts shards into a cache by path alone: one of our own."""
    copy = Path(shutil.copytree(tiny.built(), tmp_path_factory.mktemp("croissant") / "dataset"))
    dataset, lock = parts()
    (copy / CROISSANT).write_bytes(croissant(dataset, dataset.files, lock))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "EXTRACT_PATH", type(extract.EXTRACT_PATH)(copy.parent / "cache"))
        yield copy


@pytest.mark.slow
def test_mlcroissant_finds_nothing_wrong(folder: Path) -> None:
    metadata = mlcroissant.Dataset(jsonld=str(folder / CROISSANT)).metadata
    assert (metadata.issues.errors, metadata.issues.warnings) == (set(), set())
    assert metadata.ctx.is_v1_1()
    assert metadata.data_biases == ["Only rabbits."]
    assert metadata.ctx.is_live_dataset is False


@pytest.mark.slow
def test_mlcroissant_reads_the_index(folder: Path) -> None:
    """It checks the sha256 of the file that it reads, too."""
    records = list(mlcroissant.Dataset(jsonld=str(folder / CROISSANT)).records("clips"))
    rows = list(read_index(folder / INDEX))
    assert [record["clips/key"].decode() for record in records] == [row.info.key for row in rows]
    assert [record["clips/si"] for record in records] == [row.info.statistics.si for row in rows]
    assert [record["clips/offset"] for record in records] == [row.offset for row in rows]
    assert records[0].keys() == {f"clips/{name}" for name in index_names(read_json(folder / DATASET).statistics)}


@pytest.mark.slow
def test_mlcroissant_reads_the_clips_that_mlst_reads(folder: Path) -> None:
    records = list(mlcroissant.Dataset(jsonld=str(folder / CROISSANT)).records("videos"))
    read = {record["videos/key"].decode(): record["videos/mp4"] for record in records}
    rows = {row.info.key: row for row in read_index(folder / INDEX)}
    assert {key: hashlib.sha256(mp4).hexdigest() for key, mp4 in read.items()} == {
        k: r.sha256 for k, r in rows.items()
    }
    clip = mlst.load(folder, past=2, horizon=2)[0]
    assert clip.key in read


def test_every_file_has_its_sha256() -> None:
    dataset, lock = parts()
    listed = {one["@id"]: one for one in written(dataset, lock)["distribution"] if one["@type"] == "cr:FileObject"}
    assert set(listed) == {file.path for file in dataset.files}
    for path, file in listed.items():
        data = (tiny.built() / path).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"
        assert file["encodingFormat"] in MEDIA_TYPES.values()


def test_same_dataset_same_bytes() -> None:
    dataset, lock = parts()
    assert croissant(dataset, dataset.files, lock) == croissant(dataset, dataset.files[::-1], lock)


def test_provenance_names_every_source_with_clips_and_the_build() -> None:
    dataset, lock = parts()
    unused = replace(lock[0], chosen=0, source=replace(lock[0].source, id="unused"))
    value = written(dataset, [*lock, unused])
    origins = {one["@id"]: one for one in value["prov:wasDerivedFrom"]}
    assert set(origins) == {f"{LOCK}#{row.source.id}" for row in lock if row.chosen}
    for row in lock:
        assert row.probe.packets_sha256 in origins[f"{LOCK}#{row.source.id}"]["identifier"]
    build = value["prov:wasGeneratedBy"]
    (recipe,) = (file.sha256 for file in dataset.files if file.path == "recipe.toml")
    assert recipe in build["identifier"]
    assert [one["prov:label"] for one in build["prov:wasAssociatedWith"]] == [tool.name for tool in dataset.tools]


@pytest.mark.parametrize(
    ("licence", "actions", "duties", "forbidden"),
    [
        ("CC-BY-4.0", "Reproduction Distribution DerivativeWorks", "Attribution Notice", ""),
        ("CC-BY-SA-3.0", "Reproduction Distribution DerivativeWorks", "Attribution Notice ShareAlike", ""),
        ("CC-BY-NC-ND-4.0", "Reproduction Distribution", "Attribution Notice", "CommercialUse"),
        ("CC0-1.0", "Reproduction Distribution DerivativeWorks", "", ""),
    ],
)
def test_usage_of_known_licences(licence: str, actions: str, duties: str, forbidden: str) -> None:
    dataset, _ = parts()
    (offer,) = written(replace(dataset, licence=licence), [])["usageInfo"]
    (permission,) = offer["odrl:permission"]

    def said(rules: list[dict[str, Any]]) -> str:
        return " ".join(action["@id"].removeprefix("cc:") for rule in rules for action in rule["odrl:action"])

    assert said([permission]) == actions
    assert said(permission.get("odrl:duty", [])) == duties
    assert said(offer.get("odrl:prohibition", [])) == forbidden
    assert offer["url"] == f"https://spdx.org/licenses/{licence}.html"


@pytest.mark.parametrize("licence", ["other", "unknown", "My licence", ""])
def test_an_unknown_licence_permits_nothing(licence: str) -> None:
    dataset, _ = parts()
    (offer,) = written(replace(dataset, licence=licence), [])["usageInfo"]
    assert set(offer) == {"@type", "name", "url"}
    assert not offer["url"].startswith("https://spdx.org")


def test_what_the_maker_did_not_say_is_not_made_up() -> None:
    dataset, _ = parts()
    silent = answers(replace(dataset, about=About()))
    assert not {"rai:dataBiases", "rai:personalSensitiveInformation", "rai:dataSocialImpact", "rai:dataUseCases"} & {
        *silent
    }
    asked = [sentence.split()[1] for sentence in advice(replace(dataset, about=About())) if "[rai]" in sentence]
    assert asked == ["collection", "biases", "sensitive", "uses", "impact"]
    everything = Rai(**{question.setting: "Said." for question in QUESTIONS})
    assert list(advice(replace(dataset, about=replace(SAID, rai=everything)))) == []
    assert set(answers(replace(dataset, about=replace(SAID, rai=everything)))) == {q.property for q in QUESTIONS}


def test_hostile_title_is_only_text() -> None:
    dataset, lock = parts()
    value = written(replace(dataset, title='"}\u202e\x00 {"@id": "x', description=""), lock)
    assert value["description"] == '"} {"@id": "x'
