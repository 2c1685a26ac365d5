"""Building a published dataset again: exactly, or with what is left of its sources."""

import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from collection.order import keep_exclusions, read_exclusions, read_order, reorder
from collection.pipeline import Built, build
from collection.recipe import RecipeError
from collection.release.prepare import prepare
from collection.upkeep.rebuild import DriftError, held_to_lock, rebuild
from collection.upkeep.takedown import purge, takedown
from collection.workspace.folder import Workspace
from mlst.checking.verify import verify
from mlst.dataset.description import DATASET, EXCLUSIONS, INDEX, LOCK, read_json
from mlst.dataset.diff import diff
from mlst.dataset.index import Row, read_index
from mlst.dataset.lock import read_lock
from mlst.levels.splits import split_of
from tests.collection.upkeep import upkeep
from tests.synthetic import Array, Spec, texture, write

pytestmark = pytest.mark.slow

RECIPE = upkeep.RECIPE.replace("size = 32", "size = 16\nlength = 6\nstep = 6\nmargin = 0").replace(
    "[select]", "[select]\nquota = 6\nsplits = { train = 0.5, test = 0.5 }"
)
SPLITS = {"train": 0.5, "test": 0.5}
KINDS = ((1.2, 0), (0.3, 2), (1.2, 2))
"""Contrast and pixels per frame: three levels."""


def painter(seed: int, contrast: float, speed: int) -> Callable[[int, int, int], Array]:
    def paint(number: int, height: int, width: int) -> Array:
        picture = texture(0, height, width, seed).astype(float)
        picture[0] = np.clip(126 + contrast * (picture[0] - 126), 16, 235)
        return np.ascontiguousarray(np.roll(picture.round().astype(np.uint8), -number * speed, axis=2))

    return paint


def videos(folder: Path, wanted: dict[str, int]) -> list[str]:
    """Videos of every kind, so many in each split: their names."""
    names: list[str] = []
    for kind, (contrast, speed) in enumerate(KINDS):
        left, number = dict(wanted), 0
        while any(left.values()):
            name, number = f"k{kind}n{number}", number + 1
            split = split_of(name, SPLITS, "mlst")
            if left.get(split):
                left[split] -= 1
                write(folder / f"{name}.mp4", Spec(26, 96, 64), painter(len(names), contrast, speed))
                names.append(name)
    return names


def make(folder: Path, names: list[str], recipe: str = RECIPE) -> Built:
    return upkeep.made(folder, [upkeep.source(name, f"{name}.mp4") for name in names], recipe)


def rows(dataset: Path) -> dict[str, Row]:
    return {row.info.key: row for row in read_index(dataset / INDEX)}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two sources in each of six cells, each of which needs fewer clips than one of them has."""
    folder = tmp_path_factory.mktemp("many")
    names = videos(folder, {"train": 2, "test": 2})
    built = make(folder, names)
    assert {(cell.clips) for cell in built.dataset.cells} == {3}
    assert len(built.dataset.cells) == 6
    assert built.selection.reasons()["quota"] >= 24
    return folder, names


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("few")
    names = videos(folder, {"train": 1})
    make(folder, names)
    return folder, names


def test_with_a_third_of_the_sources_gone(many: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, names = many
    cells = {(name[:2], split_of(name, SPLITS, "mlst")): name for name in names}
    lost = list(cells.values())[:4]
    for name in set(names) - set(lost):
        shutil.copy(folder / f"{name}.mp4", tmp_path / f"{name}.mp4")
    old = folder / "dataset"
    built = build(reorder(old, tmp_path, upkeep.ACCESS), tmp_path / "new", upkeep.driver(tmp_path / "work"))
    assert Counter(o.kind for o in built.results[0].outcomes) == {"": 8, "gone.missing": 4}
    before, after = rows(old), rows(tmp_path / "new")
    surviving = {key: row for key, row in before.items() if row.info.source not in lost}
    assert len(surviving) < len(before)
    for key, row in surviving.items():
        now = after[key]
        assert (now.info, now.sha256) == (row.info, row.sha256)
    found = diff(old, tmp_path / "new")
    assert {clip.key for clip in found.removed} == before.keys() - surviving.keys()
    assert (found.moved, found.changed, found.described, found.settings) == ((), (), (), ())
    assert found.sources_removed == tuple(sorted(lost))
    assert all(cell.before == cell.after == 3 for cell in found.cells), "quotas are filled from the reserves"
    assert verify(tmp_path / "new", 0).ok


def test_locked_gives_the_same_bytes(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = few
    old = folder / "dataset"
    order = held_to_lock(reorder(old, folder, upkeep.ACCESS), old)
    rebuild(order, old, tmp_path / "new", upkeep.driver(tmp_path / "work"))
    assert diff(old, tmp_path / "new").same_bytes
    for file in read_json(old / DATASET).files:
        assert (tmp_path / "new" / file.path).read_bytes() == (old / file.path).read_bytes()


def test_locked_refuses_other_packets_and_losses(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, (one, two, three) = few
    upkeep.remux(folder / f"{one}.mp4", tmp_path / f"{one}.mkv")
    (tmp_path / f"{one}.mkv").rename(tmp_path / f"{one}.mp4")
    upkeep.reencode(folder / f"{two}.mp4", tmp_path / f"{two}.mp4")
    old = folder / "dataset"
    order = held_to_lock(reorder(old, tmp_path, upkeep.ACCESS), old)
    with pytest.raises(DriftError, match="2 sources") as caught:
        rebuild(order, old, tmp_path / "new", upkeep.driver(tmp_path / "work"))
    kinds = {outcome.key.partition("@")[0]: outcome.kind for outcome in caught.value.refused}
    assert kinds == {two: "drift.changed", three: "gone.missing"}
    assert not (tmp_path / "new").exists()


def test_a_locked_rebuild_takes_nothing_from_an_earlier_one(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    """In one workspace, after a build that took what it got."""
    folder, names = few
    for name in names:
        shutil.copy(folder / f"{name}.mp4", tmp_path / f"{name}.mp4")
    upkeep.reencode(folder / f"{names[0]}.mp4", tmp_path / f"{names[0]}.mp4")
    old, do = folder / "dataset", upkeep.driver(tmp_path / "work")
    order = reorder(old, tmp_path, upkeep.ACCESS)
    build(order, tmp_path / "new", do)
    found = diff(old, tmp_path / "new")
    assert found.sources_changed == (names[0],)
    assert not found.equal
    with pytest.raises(DriftError, match="1 source is not"):
        rebuild(held_to_lock(order, old), old, tmp_path / "newer", do)


def test_what_travels_with_an_item_does_not_grow_with_the_lock(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = few
    long = Path(shutil.copytree(folder / "dataset", tmp_path / "long"))
    lines = (long / LOCK).read_text().splitlines()
    rows = [lines[0].replace('"id":"', f'"id":"a{n}') for n in range(500)]
    (long / LOCK).write_text("\n".join(sorted([*rows, *lines])) + "\n")
    sizes = [
        len(pickle.dumps(held_to_lock(reorder(old, folder, upkeep.ACCESS), old).fetch))
        for old in (folder / "dataset", long)
    ]
    assert sizes[0] == sizes[1] < 5000


def test_footage_makes_the_fingerprint_and_wrapping_does_not(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, names = few
    for name in names:
        shutil.copy(folder / f"{name}.mp4", tmp_path / f"{name}.mp4")
    with (tmp_path / f"{names[0]}.mp4").open("ab") as file:
        file.write(b"\0\0\0\x10free12345678")
    old = folder / "dataset"
    order = held_to_lock(reorder(old, tmp_path, upkeep.ACCESS), old)
    rebuild(order, old, tmp_path / "new", upkeep.driver(tmp_path / "work"))
    new = read_json(tmp_path / "new" / DATASET)
    assert new.fingerprint == read_json(old / DATASET).fingerprint
    found = diff(old, tmp_path / "new")
    assert found.equal
    assert not found.same_bytes, "the lock has another hash of the file"


# exclusions


def test_an_excluded_source_is_refused_though_it_was_fetched_before(
    few: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, names = few
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    takedown(copy / "dataset", [names[0]])
    shutil.copy(copy / "dataset" / EXCLUSIONS, copy / EXCLUSIONS)
    (copy / "recipe.toml").write_text(RECIPE.replace("sources =", 'exclusions = "exclusions.txt"\nsources ='))
    order = read_order(copy / "recipe.toml", upkeep.ACCESS)
    built = build(order, copy / "dataset", upkeep.driver(copy / "work"))
    assert Counter((o.status, o.kind) for o in built.results[0].outcomes) == {
        ("done", ""): 2,
        ("rejected", "excluded"): 1,
    }
    assert names[0] not in {row.source.id for row in read_lock(copy / "dataset" / "sources.lock.jsonl")}
    assert (copy / "dataset" / EXCLUSIONS).read_bytes() == (copy / EXCLUSIONS).read_bytes()
    assert verify(copy / "dataset", 0).findings == ()


def test_a_build_cannot_forget_exclusions(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, names = few
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    order = read_order(copy / "recipe.toml", upkeep.ACCESS)
    keep_exclusions(Workspace(copy / "dataset", ""), order.exclusions_txt)
    takedown(copy / "dataset", [names[0]])
    with pytest.raises(RecipeError, match=r"excludes sources .* copy it"):
        keep_exclusions(Workspace(copy / "dataset", ""), order.exclusions_txt)
    again = reorder(copy / "dataset", copy, upkeep.ACCESS)
    keep_exclusions(Workspace(copy / "dataset", ""), again.exclusions_txt)
    assert {source.id for source in again.sources} == set(names) - {names[0]}


def test_a_dataset_of_a_list_of_ids_is_enough(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Without shards, as `mlst publish --mode ids` makes it."""
    folder, names = few
    dataset = Path(shutil.copytree(folder / "dataset", tmp_path / "dataset"))
    takedown(dataset, [names[0]])
    prepare(dataset, tmp_path / "bare", "ids", [], 0)
    assert not list((tmp_path / "bare").rglob("*.tar"))
    order = reorder(tmp_path / "bare", folder, upkeep.ACCESS)
    assert order == reorder(dataset, folder, upkeep.ACCESS)
    assert order.preferred == rows(dataset).keys()
    assert read_exclusions(tmp_path / "bare" / EXCLUSIONS).holds(names[0])


def test_purge_leaves_no_trace_in_the_workspace(few: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, names = few
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    takedown(copy / "dataset", [names[0]])

    def traces() -> list[str]:
        name = names[0].encode()
        paths = [path for path in (copy / "work").rglob("*") if path.is_file()]
        return [str(path) for path in paths if name in path.read_bytes() or names[0] in path.name]

    assert len(traces()) > 3
    assert purge(copy / "work", read_exclusions(copy / "dataset" / EXCLUSIONS)) == (names[0],)
    assert traces() == []
    order = reorder(copy / "dataset", copy, upkeep.ACCESS)
    built = build(order, copy / "again", upkeep.driver(copy / "work"))
    assert [result.fresh for result in built.results[:2]] == [0, 0], "the others are not done again"
