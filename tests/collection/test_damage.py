"""Damage is found and mended: a workspace and a dataset of which something is lost, cut off or changed."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collection.engine.stage import FAILED, Outcome, Stage
from collection.order import read_order
from collection.pipeline import Built, NotPackedError, build
from collection.workspace.folder import Workspace
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
    return Path(shutil.copytree(whole, tmp_path / "copy"))


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
