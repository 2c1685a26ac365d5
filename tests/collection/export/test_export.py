"""`mlst export`: what other libraries read is what the index says, whatever was there before."""

import atexit
import hashlib
import io
import json
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from typer.testing import CliRunner

from collection.cli.commands import app
from collection.doctor import tables
from collection.export.origin import ExportError
from collection.export.write import FORMATS, export
from mlst.dataset.description import INDEX, LOCK
from mlst.dataset.index import Row, flat, read_index, write_index
from tests import tiny
from tests.collection.export import readers


@cache
def source() -> Path:
    """A dataset of 12 clips in a few shards."""
    folder = Path(tempfile.mkdtemp(prefix="mlst-export-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tiny.build(folder / "work", folder / "dataset", tiny.material(folder / "work", 4), shard_bytes=1 << 15)
    return folder / "dataset"


@cache
def rows() -> dict[str, Row]:
    return {row.info.key: row for row in read_index(source() / INDEX)}


LACKING = pytest.mark.skipif(not find_spec("lance"), reason="no Lance here: pip install 'mlst[lance]'")
EVERY = [pytest.param(name, marks=LACKING) if name == "lance" else name for name in sorted(FORMATS)]
ENDINGS = (".mp4", ".parquet", ".jsonl", ".mds", ".lance")


@pytest.fixture(scope="module", params=EVERY)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A format, and a dataset in it."""
    out = tmp_path_factory.mktemp("made") / request.param
    ran = CliRunner().invoke(app, ["export", str(source()), "--out", str(out), "--format", request.param, "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["clips"] == len(rows()) == 12
    return request.param, out


@pytest.fixture
def copy(made: tuple[str, Path], tmp_path: Path) -> tuple[str, Path]:
    return made[0], Path(shutil.copytree(made[1], tmp_path / "export"))


def wanted(row: Row) -> dict[str, object]:
    return {name: value for name, value in flat(row).items() if name not in ("shard", "offset")}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_clip_and_column_reads_back(made: tuple[str, Path]) -> None:
    """By readers that know nothing of the writers."""
    form, out = made
    read = list(readers.READERS[form](out))
    for clip in read:
        row = rows()[clip.columns["key"]]
        assert hashlib.sha256(clip.mp4).hexdigest() == row.sha256
        assert clip.split == row.info.split
        assert dict(clip.columns) == wanted(row)
    assert sorted(clip.columns["key"] for clip in read) == sorted(rows())


def test_datasets_reads_it_with_splits_and_videos(made: tuple[str, Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    form, out = made
    if form not in ("folder", "parquet"):
        pytest.skip("not for `datasets`")
    where = {"path": "videofolder", "data_dir": str(out)} if form == "folder" else {"path": str(out)}
    column = "video" if form == "folder" else "mp4"
    seen = set()
    for split, clips in datasets.load_dataset(**where, cache_dir=str(tmp_path)).items():
        assert isinstance(clips.features[column], datasets.Video)
        for clip in clips.cast_column(column, datasets.Video(decode=False)):
            video = clip.pop(column)
            row = rows()[clip["key"]]
            assert hashlib.sha256(video["bytes"] or Path(video["path"]).read_bytes()).hexdigest() == row.sha256
            assert split == row.info.split
            clip.pop("label", None)
            assert clip == wanted(row)
            seen.add(clip["key"])
    assert seen == rows().keys()


def test_lerobot_says_when_every_frame_is(made: tuple[str, Path]) -> None:
    """A reader of LeRobot asks a file for `from_timestamp` and the time of a frame, to 0.1 ms."""
    form, out = made
    if form != "lerobot":
        pytest.skip("LeRobot alone")
    for clip in readers.lerobot(out):
        with av.open(io.BytesIO(clip.mp4)) as video:
            times = [float(frame.time) for frame in video.decode(video=0)]
        np.testing.assert_allclose(clip.times, times, atol=1e-4)


def test_the_doctor_finds_nothing_wrong_with_lerobot(made: tuple[str, Path]) -> None:
    form, out = made
    if form != "lerobot":
        pytest.skip("LeRobot alone")
    table = tables.lerobot(out / "fps-30")
    assert not table.findings
    assert {said.frames for said in table.rows.values()} == {tiny.FRAMES}
    assert len(table.rows) == 12


def test_again_there_is_nothing_to_do(made: tuple[str, Path]) -> None:
    form, out = made
    times = {
        path: path.stat().st_mtime_ns
        for path in (out / "data", out / "train", out / "fps-30/data/chunk-000")
        if path.exists()
    }
    done = export(source(), out, form)
    assert (done.clips, done.written, done.files) == (12, 0, len(contents(out)))
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_what_is_damaged_missing_or_unfinished_is_written_again(copy: tuple[str, Path]) -> None:
    form, out = copy
    before = contents(out)
    clips = sorted(path for path in out.rglob("*") if path.suffix in ENDINGS and path.is_file())
    clips[0].unlink()
    for path, change in ((clips[1], lambda b: b[:-1] + bytes([b[-1] ^ 1])), (clips[-1], lambda b: b + b"x")):
        path.write_bytes(change(path.read_bytes()))
    (clips[2].parent / f".{clips[2].name}.0000.part").write_bytes(b"half")
    assert export(source(), out, form).written > 0
    if form != "lance":  # whose files have names of its choosing
        assert contents(out).items() >= before.items()
    assert len(list(readers.READERS[form](out))) == 12


def test_a_wrong_byte_of_a_video_is_seen(copy: tuple[str, Path]) -> None:
    """Each format says by itself what does not read back."""
    form, out = copy
    content = next(
        (path, place) for path in sorted(out.rglob("*")) if path.suffix in ENDINGS and path.is_file()
        if (place := path.read_bytes().find(b"mdat")) >= 0
    )  # fmt: skip
    data = bytearray(content[0].read_bytes())
    data[content[1] + 20] ^= 1
    content[0].write_bytes(data)
    assert export(source(), out, form).written == 1


@pytest.mark.parametrize("stranger", ["note.txt", "train/s0t0/note.mp4"])
def test_a_folder_with_something_else_is_refused(copy: tuple[str, Path], stranger: str) -> None:
    form, out = copy
    (out / stranger).parent.mkdir(parents=True, exist_ok=True)
    (out / stranger).write_text("mine")
    before = contents(out)
    with pytest.raises(ExportError, match="no part of it"):
        export(source(), out, form)
    with pytest.raises(ExportError, match="something else than this export"):
        export(source(), out, next(name for name in FORMATS if name != form))
    assert contents(out) == before


def test_refusals(tmp_path: Path) -> None:
    data = Path(shutil.copytree(source(), tmp_path / "data"))
    with pytest.raises(ExportError, match="choices are folder, parquet, lerobot, lance, mds"):
        export(data, tmp_path / "out", "zip")
    with pytest.raises(ExportError, match="lie in each other"):
        export(data, data / "export", "folder")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train").symlink_to(tmp_path)
    with pytest.raises(ExportError, match="leads through 'train', which is a link"):
        export(data, tmp_path / "out", "folder")
    first = next(iter(rows().values()))
    shard = data / first.shard
    content = bytearray(shard.read_bytes())
    content[first.offset + 50] ^= 1
    shard.write_bytes(content)
    for name in ["folder", *(["lance"] if find_spec("lance") else [])]:  # which takes errors through a library
        with pytest.raises(ExportError, match=rf"{first.info.key} in {first.shard} is not the clip"):
            export(data, tmp_path / name, name)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("folder", lambda row: replace(row, info=replace(row.info, key="../../x")), "does not match"),
        ("lerobot", lambda row: replace(row, info=replace(row.info, rate="../x")), "rate '../x' is none"),
        ("folder", lambda row: replace(row, info=replace(row.info, level="../x")), "not in the order"),
        ("parquet", lambda row: replace(row, shard="../secret"), "not the plain relative path"),
        ("parquet", lambda row: replace(row, size=1 << 40), "at most"),
        ("mds", lambda row: replace(row, size=1 << 40), "at most"),
    ],
)
def test_a_hostile_index(tmp_path: Path, name: str, change, said: str) -> None:  # type: ignore[no-untyped-def]
    data = Path(shutil.copytree(source(), tmp_path / "data"))
    index = list(rows().values())
    with (data / INDEX).open("wb") as file:
        write_index(file, [change(index[0]), *index[1:]])
    with pytest.raises(ExportError, match=said):
        export(data, tmp_path / "out", name)
    assert not list(tmp_path.rglob("*secret*"))
    assert not list(tmp_path.rglob("x*"))


def test_a_dataset_that_is_none(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("")
    ran = CliRunner().invoke(app, ["export", str(tmp_path), "--out", str(tmp_path.parent / "o"), "--format", "folder"])
    assert isinstance(ran.exception, SystemExit)
    assert ran.exit_code == 2


def test_from_an_object_store_as_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.put(str(source()), "/export-me", recursive=True)
    try:
        export(source(), tmp_path / "here", "folder")
        export("memory://export-me", tmp_path / "there", "folder")
        assert contents(tmp_path / "there") == contents(tmp_path / "here")
        store.pipe_file(f"/export-me/{INDEX}", b"x" * store.size(f"/export-me/{INDEX}"))
        shutil.rmtree(tmp_path / "cache")
        with pytest.raises(ExportError, match="is not the file that"):
            export("memory://export-me", tmp_path / "other", "folder")
    finally:
        store.rm("/export-me", recursive=True)


@pytest.mark.parametrize(("place", "said"), [("memory://nothing", "not there"), ("nowhere", "nowhere")])
def test_places_without_a_dataset(tmp_path: Path, place: str, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        export(place, tmp_path / "out", "folder")
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    ran = CliRunner().invoke(app, ["export", str(source()), "--out", str(tmp_path / "out"), "--format", "folder"])
    assert ran.exit_code == 2
    assert "give another path" in ran.output
    assert (tmp_path / "out").read_text() == "mine"
