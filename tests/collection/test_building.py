"""`collection.build` makes what `mlst build` makes, says what came of it, and can be cut off."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import collection
from collection.building import Silent
from collection.cli.commands import app
from collection.recipe import RecipeError
from collection.report.status import read_note
from collection.starting.template import StartError
from collection.workspace.folder import Workspace, WorkspaceError
from tests.collection.cli.test_main import hashes
from tests.synthetic import Spec, write


class StopError(Exception):
    """The caller has had enough."""


class Stopping(Silent):
    """Ends the build when the first video has been fetched."""

    def outcome(self, stage: str, outcome: Any) -> None:
        """Raise, whatever it was."""
        raise StopError(stage)


@pytest.mark.slow
def test_a_build_that_was_cut_off_goes_on_and_is_that_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write(tmp_path / "clips" / "a.mp4", Spec(frames=44))
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"")
    words = (tmp_path / "clips", tmp_path / "data")
    with pytest.raises(StopError, match="fetch"):
        collection.build(*words, workers=1, watcher=Stopping())
    assert read_note(Workspace(tmp_path / "data-work", "")).spent

    recipe = tmp_path / "data.recipe.toml"
    recipe.write_text(recipe.read_text().replace("size = 256 ", "size = 64 "))
    made = collection.build(*words, workers=1)
    assert (made.recipe, made.work, made.changed, made.failed, made.ok) == (recipe, f"{words[1]}-work", True, 0, True)
    assert (made.dataset.clips, made.dataset.name) == (1, "data")
    assert made.report is not None
    assert made.report.clips == 1
    assert Path(made.page).stat().st_size > 10_000
    scan = next(one for one in made.spent if one.stage == "scan")
    assert (scan.items, scan.frames) == (1, 44)
    assert scan.cpu_seconds > 0
    assert scan.bytes > 100

    before = hashes(words[1])
    again = collection.build(*words, workers=1, check=True)
    assert (again.changed, again.report, again.ok) == (False, None, True)
    assert sum(one.items for one in again.spent) == 0
    ran = CliRunner().invoke(app, ["build", str(words[0]), "--out", str(words[1])])
    assert ran.exit_code == 0, ran.output
    assert "Nothing to do" in ran.output
    assert hashes(words[1]) == before


@pytest.mark.parametrize(
    ("given", "work", "error"),
    [
        ("none.toml", "", RecipeError),
        ("none", "", StartError),
        (".", "", StartError),
        ("none.toml", "data/inside", WorkspaceError),
    ],
)
def test_what_the_user_can_put_right_is_typed_and_nothing_is_made(
    tmp_path: Path, given: str, work: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        collection.build(tmp_path / given, tmp_path / "data", work=tmp_path / work if work else "")
    assert list(tmp_path.iterdir()) == []


def test_the_package_offers_no_more_than_it_names() -> None:
    assert {name for name in collection.__all__ if not hasattr(collection, name)} == set()
    with pytest.raises(AttributeError, match="has no attribute 'bild'"):
        collection.bild  # noqa: B018
