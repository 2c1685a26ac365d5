"""Taking sources out of a built dataset."""

import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from collection.upkeep import takedown as module
from collection.upkeep.takedown import STAGE, TakedownError, _recipe, takedown
from mlst.checking.verify import verify
from mlst.dataset.description import DATASET, EXCLUSIONS, INDEX, LOCK, RECIPE, read_json
from mlst.dataset.diff import diff
from mlst.dataset.index import read_index
from mlst.dataset.lock import read_lock
from mlst.dataset.shards import PATH, open_shard, write_shard
from tests import tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


def everything(folder: Path) -> bytes:
    """All bytes of all files, and all values of the index, which is compressed."""
    index = repr(pq.read_table(folder / INDEX).to_pylist()).encode()
    return b"".join([*content(folder).values(), index, "\n".join(content(folder)).encode()])


def test_nothing_of_a_source_remains(folder: Path) -> None:
    name = next(read_index(folder / INDEX)).info.source
    row = next(row for row in read_lock(folder / LOCK) if row.source.id == name)
    videos = [row.sha256.encode() for row in read_index(folder / INDEX) if row.info.source == name]
    mp4s = [s.mp4 for shard in read_json(folder / DATASET).shards for s, _ in open_shard(folder / shard.path)
            if s.key.startswith(name + "_")]  # fmt: skip
    traces = [name.encode(), row.source.title.encode(), row.probe.packets_sha256.encode(), *videos, *mp4s]
    before = everything(folder)
    assert all(trace in before for trace in traces)
    done = takedown(folder, [name])
    after = everything(folder)
    assert [trace for trace in traces if trace in after] == []
    assert (done.sources, done.clips, done.version) == ((name,), len(videos), "2.0.0")
    assert verify(folder, 0).findings == ()


def test_only_the_shards_that_held_it_change(folder: Path) -> None:
    rows = list(read_index(folder / INDEX))
    name = rows[0].info.source
    held = {row.shard for row in rows if row.info.source == name}
    before = {PATH.fullmatch(path).groups(): data for path, data in content(folder).items() if path[:5] == "data/"}  # type: ignore[union-attr]
    left = {shard: {row.info.source for row in rows if row.shard == shard} - {name} for shard in held}
    done = takedown(folder, [name])
    after = {path: data for path, data in content(folder).items() if path[:5] == "data/"}
    untouched = {data for (level, split, index, count), data in before.items()
                 if f"data/{level}/{split}-{index}-of-{count}.tar" not in held}  # fmt: skip
    assert untouched <= set(after.values())
    assert len(after) == len(before) - sum(not others for others in left.values())
    assert len(done.rewritten) == len(held)
    assert {row.info.key: row for row in read_index(folder / INDEX)}.keys() == {
        row.info.key for row in rows if row.info.source != name
    }
    found = diff(tiny.built(), folder)
    assert (found.added, found.moved, found.changed, found.described) == ((), (), (), ())
    assert {setting.name for setting in found.settings} == {"version", "recipe.version", "recipe.exclusions"}


def test_shards_are_numbered_anew_where_one_is_left_empty(tmp_path: Path) -> None:
    """Every shard holds one clip, so every shard of the source vanishes."""
    made = tiny.material(tmp_path / "work", count=9)
    dataset = tiny.build(tmp_path / "work", tmp_path / "data", made, shard_bytes=1)
    assert all(shard.clips == 1 for shard in dataset.shards)
    row = next(row for row in read_index(tmp_path / "data" / INDEX) if row.shard.endswith("-00000-of-00002.tar"))
    done = takedown(tmp_path / "data", [row.info.source])
    assert verify(tmp_path / "data", 0).findings == ()
    assert row.shard.replace("00002", "00001") in done.renamed
    assert len(read_json(tmp_path / "data" / DATASET).shards) == len(dataset.shards) - 3


def test_all_spans_of_a_video_go_together(tmp_path: Path) -> None:
    made = tiny.material(tmp_path / "work", count=9)
    one, two, *_ = made.sources
    made.sources[two] = replace(made.sources[two], url=made.sources[one].url, group=made.sources[one].group)
    tiny.build(tmp_path / "work", tmp_path / "data", made)
    assert takedown(tmp_path / "data", [one]).sources == tuple(sorted((one, two)))
    assert verify(tmp_path / "data", 0).findings == ()


def test_recipe_keeps_everything_else(folder: Path) -> None:
    before = (folder / RECIPE).read_text()
    takedown(folder, [next(read_lock(folder / LOCK)).source.id])
    after = (folder / RECIPE).read_text()
    assert after.replace('exclusions = "exclusions.txt"\n', "") == before.replace('"1.0.0"', '"2.0.0"')
    assert tomllib.loads(after) == tomllib.loads(before) | {"version": "2.0.0", "exclusions": "exclusions.txt"}


@pytest.mark.parametrize(
    "text",
    [
        "# why\nname = \"x\" # kept\nversion = '1.0.0'\n\n[scan]\nsize = 64 # as it was\n",
        'exclusions = "old.txt" # mine\nversion = "1.0.0"\nname = "x"\n[a]\nversion = "1.0.0"\n',
        'version="1.0.0"\r\nname="x"',
        'title = """\nversion = "9.9.9"\n"""\nversion = "1.0.0"\n[[a]]\nb = 1\n',
    ],
)
def test_recipes_that_people_write_are_edited_in_place(text: str) -> None:
    changed = _recipe(text.encode(), "2.0.0").decode()
    assert tomllib.loads(changed) == tomllib.loads(text) | {"version": "2.0.0", "exclusions": EXCLUSIONS}
    assert [line for line in text.split("\n") if "#" in line and line not in changed and "old.txt" not in line] == []


def test_again_it_does_nothing_and_more_can_go(folder: Path) -> None:
    one, two, *_ = [row.source.id for row in read_lock(folder / LOCK)]
    takedown(folder, [one])
    before = content(folder)
    assert takedown(folder, [one]).sources == ()
    assert content(folder) == before
    assert takedown(folder, [one, two]).sources == (two,)
    assert read_json(folder / DATASET).version == "3.0.0"
    assert verify(folder, 0).findings == ()


def test_same_result_at_once_or_one_by_one(folder: Path, tmp_path: Path) -> None:
    one, two, *_ = [row.source.id for row in read_lock(folder / LOCK)]
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    takedown(folder, [two, one])
    for name in (one, two):
        takedown(other, [name])
    differ = {path for path in content(folder) if content(folder)[path] != content(other)[path]}
    assert differ == {"recipe.toml", "dataset.json", "README.md", "croissant.json"}, "only the version is another"


def test_any_link_to_a_video_names_it_and_does_so_again(tmp_path: Path) -> None:
    """Also where the source has an id of its own."""
    made = tiny.material(tmp_path / "work", count=9)
    one = next(iter(made.sources))
    made.sources[one] = replace(made.sources[one], url="https://www.youtube.com/watch?v=-2X4mB4hyLA", group="g")
    tiny.build(tmp_path / "work", tmp_path / "data", made)
    assert takedown(tmp_path / "data", ["https://youtu.be/-2X4mB4hyLA?t=3"]).sources == (one,)
    for name in ("https://youtu.be/-2X4mB4hyLA", "-2X4mB4hyLA", "youtube.com/shorts/-2X4mB4hyLA", one):
        assert takedown(tmp_path / "data", [name]).sources == ()
    with pytest.raises(TakedownError, match="not the id or address"):
        takedown(tmp_path / "data", ["https://www.youtube.com/@someone"])


def test_unknown_names_are_refused_and_nothing_changes(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(TakedownError, match="'nobody' is not the id"):
        takedown(folder, [next(read_lock(folder / LOCK)).source.id, "nobody"])
    assert content(folder) == before


def test_the_last_source_cannot_go(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(TakedownError, match="no clips would be left"):
        takedown(folder, [row.source.id for row in read_lock(folder / LOCK)])
    takedown(folder, [next(read_lock(folder / LOCK)).source.id])
    assert before.keys() < content(folder).keys()


@pytest.mark.parametrize("path", ["../outside.tar", "/etc/passwd"])
def test_paths_outside_the_dataset_are_refused(folder: Path, path: str) -> None:
    text = (folder / DATASET).read_text()
    first = read_json(folder / DATASET).shards[0].path
    (folder / DATASET).write_text(text.replace(first, path))
    with pytest.raises(TakedownError, match="plain relative path"):
        takedown(folder, [next(read_lock(folder / LOCK)).source.id])


def test_a_shard_that_was_changed_is_not_sealed_again(folder: Path) -> None:
    rows = list(read_index(folder / INDEX))
    cell = next(row for row in rows if sum(other.shard == row.shard for other in rows) > 1)
    other = next(row for row in rows if row.shard == cell.shard and row.info.source != cell.info.source)
    data = bytearray((folder / cell.shard).read_bytes())
    data[other.offset + 100] ^= 1
    (folder / cell.shard).write_bytes(data)
    with pytest.raises(TakedownError, match="mlst verify"):
        takedown(folder, [cell.info.source])


def test_a_clip_that_its_shard_lost_is_not_forgotten(tmp_path: Path) -> None:
    """Its row would go without a word, and the dataset would be found sound without it."""
    tiny.build(tmp_path / "work", tmp_path / "data", tiny.material(tmp_path / "work"), shard_bytes=1 << 20)
    rows = list(read_index(tmp_path / "data" / INDEX))
    shard = next(
        row.shard for row in rows if len({other.info.source for other in rows if other.shard == row.shard}) > 2
    )
    gone, lost, *_ = dict.fromkeys(row.info.source for row in rows if row.shard == shard)
    left = [sample for sample, _ in open_shard(tmp_path / "data" / shard) if not sample.key.startswith(lost)]
    with (tmp_path / "data" / shard).open("wb") as file:
        write_shard(file, left)
    before = content(tmp_path / "data")
    with pytest.raises(TakedownError, match=rf"{lost}_.* is in the index but not in the shard; run `mlst verify`"):
        takedown(tmp_path / "data", [gone])
    assert {path: data for path, data in content(tmp_path / "data").items() if STAGE not in path} == before


class Killed(BaseException):
    """Stands for SIGKILL: nothing behind it runs."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process ends at the `step`-th call that changes names of files."""
    calls = 0

    def counted(real):  # type: ignore[no-untyped-def]
        def call(*args, **more):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == step:
                raise Killed
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted(os.replace))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(module.shutil, "rmtree", counted(shutil.rmtree))
        yield


@pytest.mark.slow
def test_killed_anywhere_the_same_command_ends_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(read_index(folder / INDEX)).info.source
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    takedown(whole, [name])
    step, finished = 1, False
    while not finished:
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        try:
            with killed_at(step, monkeypatch):
                takedown(copy, [name])
            finished = True
        except Killed:
            takedown(copy, [name])
        assert content(copy) == content(whole), f"killed at step {step}"
        shutil.rmtree(copy)
        step += 1
    assert step > 15
    assert not (whole / STAGE).exists()


def test_exclusions_hold_hashes_only(folder: Path) -> None:
    row = next(read_lock(folder / LOCK))
    takedown(folder, [row.source.url])
    text = (folder / EXCLUSIONS).read_text()
    assert len(text.splitlines()) == 4
    assert row.source.id not in text
