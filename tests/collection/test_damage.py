"""Damage is found and mended: a workspace and a dataset of which something is lost, cut off or changed."""

import errno
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collection.engine.stage import DONE, FAILED, Outcome, Stage
from collection.order import read_order
from collection.pack.standing import note
from collection.pipeline import Built, NotPackedError, build, stages
from collection.report.status import remember
from collection.upkeep.check import check
from collection.upkeep.repair import Repaired, RepairError, repair
from collection.upkeep.takedown import takedown
from collection.workspace.folder import Workspace, WorkspaceBusyError
from collection.workspace.store import written
from mlst.dataset.description import DATASET, read_json
from mlst.exits import UserError, of_the_system
from mlst.files import UNFINISHED
from tests.collection.upkeep import upkeep
from tests.synthetic import Spec, texture, write

pytestmark = pytest.mark.slow

RECIPE = upkeep.RECIPE.replace("size = 32", "size = 16\nlength = 6\nstep = 6\nmargin = 0")
OTHER = RECIPE + "splits = { test = 1.0 }\n"
NAMES = ("one", "two")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two videos, a recipe, a dataset and its workspace."""
    folder = tmp_path_factory.mktemp("whole")
    for seed, name in enumerate(NAMES):
        write(folder / f"{name}.mp4", Spec(26, 96, 64), lambda n, h, w, seed=seed: texture(n, h, w, seed))
    upkeep.made(folder, [upkeep.source(name, f"{name}.mp4") for name in NAMES], RECIPE)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """With its hard links."""
    subprocess.run(["cp", "-a", whole, tmp_path / "copy"], check=True)
    return tmp_path / "copy"


def again(folder: Path, recipe: str = RECIPE, **changes: Any) -> Built:
    """The same command again."""
    (folder / "recipe.toml").write_text(recipe)
    order = read_order(folder / "recipe.toml", upkeep.ACCESS)
    return build(order, folder / "dataset", replace(upkeep.driver(folder / "work"), **changes))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, in place."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def cut(path: Path) -> None:
    """Lose the second half of a file."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


HARM = {"flip": flip, "cut": cut, "lose": Path.unlink}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("place", ["work", "dataset"])
def test_whatever_is_damaged_the_next_build_gives_the_same_bytes(copy: Path, place: str, harm: str) -> None:
    """One file after the other. Shards have two names, so that damage in one place is damage in the other."""
    right = files(copy / "dataset")
    paths = sorted(path for path in (copy / place).rglob("*") if path.is_file() and path.stat().st_size)
    assert len(paths) >= 8
    for path in paths:
        if path.exists():  # a run of its own may have replaced it
            HARM[harm](path)
            built = again(copy)
            assert files(copy / "dataset") == right, path
            if place == "dataset" and path.name != DATASET:
                assert built.mended == (str(path.relative_to(copy / place)),)
            assert again(copy).mended == ()
    assert [path.name for path in copy.iterdir() if path.name.startswith(".")] == []


def test_what_no_program_did_is_found_by_reading_everything(copy: Path) -> None:
    """A disk that loses a bit changes no time of the file: it is as if the time had been noted afterwards."""
    (shard, *_) = sorted((copy / "dataset").rglob("*.tar"))
    right = files(copy / "dataset")
    out, work = Workspace(copy / "dataset", ""), Workspace(copy / "work", "")
    flip(shard)
    (clips, *_) = sorted((copy / "work").glob("scan-*/clips/*"))
    flip(clips)
    note(out, work, read_json(copy / "dataset" / DATASET).files)
    assert again(copy).mended == ()
    assert files(copy / "dataset") != right
    order = read_order(copy / "recipe.toml", upkeep.ACCESS)
    packed = {f"{path.parent.name}/{path.name}" for path in (copy / "work").glob("pack-*/*") if path.samefile(shard)}
    assert check(work, stages(order), out) == {str(clips.relative_to(copy / "work")), *packed}
    built = again(copy)
    assert built.mended == (str(shard.relative_to(copy / "dataset")),)
    assert [result.fresh for result in built.results] == [0, 0, len(packed)]
    assert files(copy / "dataset") == right
    assert check(work, stages(order), out) == frozenset()


def test_two_builds_with_one_dataset(tmp_path: Path) -> None:
    place = tmp_path / "data"
    with written(str(place), ""):
        refused = pytest.raises(WorkspaceBusyError, match="being written by another command")
        with refused, written(str(place), "elsewhere"):
            pass
        (place / "file").touch()
    assert [path.name for path in place.iterdir()] == ["file"]
    with written(str(tmp_path / "new"), ""):
        pass
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("harm", HARM)
def test_a_dataset_is_mended_from_its_workspace(copy: Path, harm: str) -> None:
    """Without the recipe and the sources; a shard that has two names is packed again."""
    remember(Workspace(copy / "work", ""), "upkeep", "1.0.0", stages(read_order(copy / "recipe.toml", upkeep.ACCESS)))
    right, work = files(copy / "dataset"), Workspace(copy / "work", "")
    for path in [*copy.glob("*.mp4"), copy / "recipe.toml"]:
        path.unlink()
    for name in sorted(right):
        HARM[harm](copy / "dataset" / name)
        assert repair(copy / "dataset", work) == Repaired((name,), ())
        assert files(copy / "dataset") == right, name
    for path in [*(copy / "dataset").rglob("*.tar"), *(copy / "work").glob("scan-*/clips/one-*")]:
        flip(path)
    found = repair(copy / "dataset", work)
    assert found.left
    assert all(name.endswith(".tar") for name in found.left)


def test_a_repair_does_not_undo_a_takedown(copy: Path) -> None:
    takedown(copy / "dataset", ["one"])
    (copy / "dataset" / DATASET).write_text("{")
    with pytest.raises(RepairError, match=r"has other exclusions\.txt"):
        repair(copy / "dataset", Workspace(copy / "work", ""))


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_that_is_not_what_was_scanned_is_scanned_again(copy: Path, name: str) -> None:
    """Its video was removed after the scan, so it is fetched again too."""
    (clips,) = (copy / "work").glob(f"scan-*/clips/{name}-*.bin")
    whole = clips.read_bytes()
    flip(clips)
    built = again(copy, OTHER)
    assert clips.read_bytes() == whole
    assert built.dataset.clips == 2 * 4
    assert built.results[2].outcomes.counts.keys() == {("done", "")}
    shutil.rmtree(copy / "work")
    now = files(copy / "dataset")
    again(copy, OTHER)
    assert files(copy / "dataset") == now


def test_a_damaged_clip_whose_source_is_gone_is_taken_from_the_dataset(copy: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", copy, tmp_path / "sound"], check=True)
    again(tmp_path / "sound", OTHER)
    right = files(tmp_path / "sound" / "dataset")
    for clips in (copy / "work").glob("scan-*/clips/*.bin"):
        flip(clips)
    for video in copy.glob("*.mp4"):
        video.unlink()
    built = again(copy, OTHER)
    assert built.results[0].fresh == built.results[1].fresh == 0
    assert files(copy / "dataset") == right


class NoShards:
    """Cannot write a shard."""

    def __call__(self, stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome]:
        """See `Executor`."""
        if stage.name != "pack":
            yield from upkeep.Here()(stage, items, work)
        else:
            yield from (Outcome(stage.key(item), FAILED, "disk_full", "No space left", ()) for item in items)


def test_a_dataset_is_not_replaced_while_a_shard_is_missing(copy: Path) -> None:
    before = files(copy / "dataset")
    with pytest.raises(NotPackedError, match=r"of \d shards could not be written \(\d disk_full\)") as why:
        again(copy, OTHER, executor=NoShards())
    assert why.value.exit_code == 3
    assert files(copy / "dataset") == before
    assert again(copy, OTHER).results[2].fresh


@pytest.mark.parametrize(("number", "step"), [(errno.ENOSPC, 3), (errno.EIO, 7)])
def test_a_disk_that_fails_at_any_write(copy: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int) -> None:
    """At the first one, then a few later on every run, until a run gets through."""
    right, real, left = files(copy / "dataset"), os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(number, os.strerror(number))
        real(handle)

    shutil.rmtree(copy / "work")
    shutil.rmtree(copy / "dataset")
    monkeypatch.setattr(os, "fsync", fsync)
    kinds = Counter[str]()
    for writes in range(0, 400, step):
        left = writes
        try:
            built = again(copy)
        except (OSError, UserError) as why:
            kinds["told" if isinstance(why, UserError) or of_the_system(why) else f"a bug: {why!r}"] += 1
            continue
        if all(status == DONE for result in built.results for status, _ in result.outcomes.counts):
            break
        kinds.update(kind for result in built.results for _, kind in result.outcomes.counts)
    assert kinds["told"]
    assert not [kind for kind in kinds if kind.startswith(("a bug", "error"))]
    assert files(copy / "dataset") == right
    assert not [path for path in copy.rglob("*") if UNFINISHED.fullmatch(path.name)]
