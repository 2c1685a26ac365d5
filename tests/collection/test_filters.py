"""The contract of clip filters: their pictures are encoded, nothing else changes, and datasets say which it was."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import collection
from collection.engine.stage import FAILED, Retry, attempt
from collection.filters import NO_FILTER, ClipFilter, check_same, filtered, find_filter
from collection.recipe import RecipeError
from collection.scan.stage import ScanStage
from collection.starting.lists import take
from collection.workspace.folder import Workspace, workspace_of
from mlst.dataset.description import LOCK, read_dataset
from mlst.dataset.lock import Footage, read_lock
from mlst.records import FIRST
from tests.collection.scan.test_stage import pictures, scanned, settings, video
from tests.synthetic import Spec, write

NAME = "tests.collection.grey_corner:grey_corner"


def with_filter(name: str) -> ScanStage:
    return ScanStage(settings(), "brightest", FIRST, find_filter(name))


def test_planes_are_what_the_function_makes_of_them() -> None:
    frames = [np.random.default_rng(n).integers(16, 235, (24, 16), np.uint8) for n in range(3)]
    before = np.stack(frames)
    after = np.stack(filtered(frames, find_filter(NAME)))
    assert (np.stack(frames) == before).all(), "what was given is left as it was"
    grey = np.zeros(before.shape, bool)
    grey[:, :8, :8] = True
    chroma = grey[:, 16:].reshape(3, 2, 8, 8)
    chroma[..., :4, :4] = True
    assert (after[grey] == np.where(np.nonzero(grey)[1] < 16, 126, 128)).all()
    assert (after[~grey] == before[~grey]).all()
    assert (np.stack(filtered(frames, find_filter(NAME))) == after).all()
    assert filtered(frames, NO_FILTER) is frames


def test_clips_are_changed_and_what_was_measured_is_not(tmp_path: Path) -> None:
    item = video(write(tmp_path / "a.mp4", Spec(frames=16)))
    plain, blob = scanned(item, tmp_path, settings())
    outcome = attempt(with_filter(NAME), item, Workspace(tmp_path, "scan"))
    (scan,) = outcome.outputs
    assert scan.stream.filter == find_filter(NAME).identity
    assert scan.stream.filter.startswith(f"{NAME} 1 sha256:")
    changed = (tmp_path / scan.file).read_bytes()
    for one, other in zip(scan.clips, plain.clips, strict=True):
        assert replace(one, offset=0, size=0, sha256="") == replace(other, offset=0, size=0, sha256="")
        for grey, seen in zip(pictures(one, changed), pictures(other, blob), strict=True):
            assert abs(grey[:48, :48].astype(int) - 126).max() <= 8
            assert abs(grey[50:].astype(int) - seen[50:]).mean() <= 2
            assert abs(seen[:48, :48].astype(int) - 126).max() > 8


def test_settings_change_with_a_filter_alone() -> None:
    none, some = ScanStage(settings(), "brightest", FIRST), with_filter(NAME)
    assert "filter" not in none.settings()
    other = replace(some, filter=replace(some.filter, sha256="0" * 64))
    assert len({str(stage.settings()) for stage in (none, some, other)}) == 3


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("fails", r"ZeroDivisionError: no face \(grey_corner\.py:\d+\)"),
        ("leaves", r"SystemExit: 3"),
        ("crops", r"gave .*uint8 \(10, 94, 96\)"),
        ("floats", "gave .*float64"),
        ("two", "gave"),
    ],
)
def test_what_a_filter_does_wrong_is_an_outcome(tmp_path: Path, function: str, words: str) -> None:
    item = video(write(tmp_path / "a.mp4", Spec(frames=16)))
    stage = with_filter(f"tests.collection.grey_corner:{function}")
    outcome = attempt(stage, item, Workspace(tmp_path, "scan"))
    assert (outcome.status, outcome.kind) == (FAILED, "filter")
    assert re.search(words, outcome.detail), outcome.detail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grey", "write package.module:function"),
        ("os.path:join; x", "write package.module:function"),
        ("no.such.module:f", "cannot be imported: ModuleNotFoundError"),
        ("tests.collection.grey_corner:none", "has no function 'none'"),
        ("tests.collection.grey_corner:NO_FUNCTION", "has no function"),
        ("os.path:join", "states no version"),
    ],
)
def test_names_that_are_no_filter(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_filter(name)


def test_another_version_on_a_worker_is_noticed() -> None:
    with pytest.raises(Retry, match="the build began with"):
        check_same(replace(find_filter(NAME), version="2"))
    with pytest.raises(Retry, match="cannot be imported"):
        check_same(ClipFilter("no.such:f", "1", "", NO_FILTER.function))


@pytest.mark.slow
def test_a_build_with_a_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "clips").mkdir()
    (tmp_path / "code").mkdir()
    shutil.copy(Path(__file__).parent / "grey_corner.py", tmp_path / "code" / "my_filters.py")
    write(tmp_path / "clips" / "a.mp4", Spec(frames=44))
    words = (tmp_path / "clips", tmp_path / "data")
    recipe = tmp_path / "data.recipe.toml"
    take(words[0], str(words[1]), workspace_of(str(words[1]), ""))
    recipe.write_text(recipe.read_text().replace("size = 256 ", 'filter = "my_filters:none"\nsize = 64 '))
    with pytest.raises(RecipeError, match="has no function 'none'"):
        collection.build(*words, workers=1)
    recipe.write_text(recipe.read_text().replace("my_filters:none", "my_filters:grey_corner"))
    made = collection.build(*words, workers=1)
    assert (made.failed, made.dataset.clips) == (0, 1)
    (row,) = read_lock(words[1] / LOCK)
    identity = find_filter("my_filters:grey_corner").identity
    assert row.stream.filter == identity
    tool = next(tool for tool in read_dataset(words[1]).tools if tool.name.startswith("filter"))
    assert f"{tool.name} {tool.version}" == f"filter {identity}"
    plain = Footage()
    plain.add(replace(row, stream=replace(row.stream, filter="")))
    assert plain.hexdigest() != made.dataset.footage


def test_a_module_that_ends_the_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_module_that_leaves.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="cannot be imported: SystemExit: 0"):
        find_filter("a_module_that_leaves:any")
