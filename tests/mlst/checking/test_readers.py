"""`mlst verify --readers`, by the real `datasets` and `webdataset`, on a sound dataset and on damaged ones."""

import shutil
from pathlib import Path

import pytest

from mlst.checking.readers import READERS, compare_readers
from mlst.dataset.description import CARD, DATASET, read_json
from tests import tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))


def first(folder: Path, split: str) -> Path:
    return folder / next(shard.path for shard in read_json(folder / DATASET).shards if split in shard.path)


def test_a_sound_dataset_is_read_alike() -> None:
    assert compare_readers(tiny.built()) == ()


def test_a_split_that_the_card_hides_is_not_read_by_datasets(copy: Path) -> None:
    hidden = first(copy, "train").relative_to(copy).as_posix()
    path = copy / CARD
    _, front, text = path.read_text().split("---\n", 2)
    shown = sorted({s.path for s in read_json(copy / DATASET).shards if "train" in s.path} - {hidden})
    lines = "".join(f"    - {name}\n" for name in shown)
    front = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path:\n{lines}"
    path.write_text(f"---\n{front}---\n{text}")
    findings = [one for one in compare_readers(copy) if "train" not in one.detail]
    assert {one.path for one in findings if one.path} == {hidden}
    assert {one.detail for one in findings if one.path} == {"datasets does not read this clip"}


def test_a_key_with_a_dot_is_another_clip_to_each_reader(copy: Path) -> None:
    shard = first(copy, "test")
    content = shard.read_bytes()
    header = bytearray(content[:512])
    name = bytes(header[: header.index(0)])
    header[3:4] = b"."
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    shard.write_bytes(bytes(header) + content[512:])
    findings = compare_readers(copy)
    assert {one.rule for one in findings} == {"readers"}
    assert {reader for reader in READERS for one in findings if one.detail.startswith(reader)} == set(READERS), name


def test_a_shard_cut_off_in_a_clip(copy: Path) -> None:
    shard = first(copy, "validation")
    shard.write_bytes(shard.read_bytes()[:1500])
    details = [one.detail for one in compare_readers(copy)]
    assert details
    assert all("validation" in detail or "read" in detail for detail in details)
