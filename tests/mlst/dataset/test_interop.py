"""The datasets that we write, read by the libraries that users have; the card's own snippets are run."""

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import datasets
import pandas
import pytest
import webdataset
from datasets import Video, get_dataset_config_names, load_dataset

from mlst.dataset.description import CARD, DATASET, INDEX, read_json
from mlst.dataset.index import Row, columns, index_names, read_index
from mlst.dataset.shards import open_shard
from tests import tiny

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _inside_and_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work inside the dataset's folder without network; hide a torchcodec that finds no FFmpeg libraries."""
    monkeypatch.chdir(tiny.built())
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("socket.socket.connect", refuse)
    if not torchcodec_works():
        monkeypatch.setattr(datasets.config, "TORCHCODEC_AVAILABLE", False)


def refuse(*_: object) -> None:
    raise AssertionError("network")


def torchcodec_works() -> bool:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def expected(level: str, split: str) -> list[Row]:
    """Rows that a loader should give, in its order."""
    return [r for r in read_index(Path(INDEX)) if r.info.split == split and level in ("default", r.info.level)]


def snippets() -> list[str]:
    """Python code blocks of the card."""
    return re.findall(r"```python\n(.*?)```", Path(CARD).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("index", "library"), [(0, "datasets"), (1, "webdataset"), (2, "pandas")])
def test_snippets_of_the_card(index: int, library: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = snippets()[index]
    assert f"import {library}" in code or f"from {library} import" in code
    names: dict[str, Any] = {}
    exec(compile(code, CARD, "exec"), names)  # noqa: S102 - that the card's code runs is what is tested
    rows = expected("s0t0", "train")
    if library == "pandas":
        assert names["mp4"] in {s.mp4 for row in rows for s, _ in open_shard(Path(row.shard))} | other_splits("s0t0")
        return
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[row.info.key, "s0t0"] for row in rows]
    if library == "datasets":
        assert [line.split()[2:] for line in lines] == [[str(r.info.statistics.si), str(r.size)] for r in rows]
    else:
        assert {line.split(maxsplit=2)[2] for line in lines} == {"6 (32, 32, 3)"}


def other_splits(level: str) -> set[bytes]:
    return {sample.mp4 for path in Path("data", level).iterdir() for sample, _ in open_shard(path)}


def configurations() -> list[str]:
    return ["default", *sorted({cell.level for cell in read_json(tiny.built() / DATASET).cells})]


def test_all_configurations_are_found() -> None:
    assert get_dataset_config_names(str(tiny.built())) == configurations()


@pytest.mark.parametrize("streaming", [True, False])
def test_load_dataset_gives_every_clip(streaming: bool) -> None:
    """Every configuration and split, bytes and record equal, types as the card says."""
    names = configurations() if streaming else ["default", "s0t0"]
    for name in names:
        loaded = load_dataset(str(tiny.built()), name, streaming=streaming)
        splits = {c.split for c in read_json(Path(DATASET)).cells if name in ("default", c.level)}
        assert set(loaded) == splits
        for split in splits:
            rows = expected(name, split)
            clips = list(loaded[split].cast_column("mp4", Video(decode=False)))
            assert [clip["__key__"] for clip in clips] == [row.info.key for row in rows]
            for clip, row in zip(clips, rows, strict=True):
                assert clip["mp4"]["bytes"] == read(row)
                assert clip["json"] == json.loads(record(row))


def read(row: Row) -> bytes:
    with Path(row.shard).open("rb") as file:
        file.seek(row.offset)
        return file.read(row.size)


def record(row: Row) -> bytes:
    return next(s.json for s, _ in open_shard(Path(row.shard)) if s.key == row.info.key)


def test_features_are_enforced() -> None:
    features = load_dataset(str(tiny.built()), "s0t0", split="train", streaming=True).features
    assert features["mp4"] == Video()
    assert features["json"]["statistics"]["si"] == datasets.Value("float64")
    assert features["json"]["flags"]["black"] == datasets.Value("bool")
    assert features["json"]["number"] == datasets.Value("int64")


@pytest.mark.skipif(not torchcodec_works(), reason="torchcodec finds no FFmpeg libraries here")
def test_torchcodec_decodes() -> None:
    for clip in load_dataset(str(tiny.built()), "s0t0", split="train", streaming=True):
        assert len(clip["mp4"]) == tiny.FRAMES


def test_webdataset_gives_every_clip() -> None:
    shards = sorted(str(path) for path in Path("data").glob("*/train-*.tar"))
    clips = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    rows = expected("default", "train")
    assert [clip["__key__"] for clip in clips] == [row.info.key for row in rows]
    for clip, row in zip(clips, rows, strict=True):
        assert set(clip) - {"__key__", "__url__", "__local_path__"} == {"mp4", "json"}
        assert clip["mp4"] == read(row)
        assert clip["json"]["level"] == row.info.level


def test_plain_tar_lists_and_extracts(tmp_path: Path) -> None:
    shard = expected("default", "train")[0].shard
    subprocess.run(["tar", "xf", str(Path(shard).absolute()), "-C", tmp_path], check=True, timeout=60)
    listed = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True, timeout=60)
    samples = [sample for sample, _ in open_shard(Path(shard))]
    assert listed.stdout.split() == [s.key + suffix for s in samples for suffix in (".mp4", ".json")]
    for sample in samples:
        assert (tmp_path / f"{sample.key}.mp4").read_bytes() == sample.mp4
    with tarfile.open(shard) as tar:
        assert {member.mtime for member in tar} == {0}


def test_pandas_reads_the_index_and_finds_the_clips() -> None:
    table = pandas.read_parquet(INDEX)
    names = index_names(read_json(Path(DATASET)).statistics)
    assert list(table.columns) == list(names)
    assert not table.isna().any().any()
    kinds: dict[type, Callable[[Any], bool]] = {
        float: pandas.api.types.is_float_dtype,
        int: pandas.api.types.is_integer_dtype,
        bool: pandas.api.types.is_bool_dtype,
    }
    for name, kind in [column for column in columns(Row) if column[0] in names]:
        assert kinds.get(kind, pandas.api.types.is_string_dtype)(table[name].dtype)
    for _, row in table[(table["si"] > 80) & ~table["flag_borderline"]].iterrows():
        with Path(row["shard"]).open("rb") as shard:
            shard.seek(row["offset"])
            with av.open(io.BytesIO(shard.read(row["size"])), "r") as video:
                assert sum(1 for _ in video.decode(video=0)) == tiny.FRAMES
