"""What an item's files have to be before they are moved to the workspace."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from collection.engine.stage import DONE, FAILED, Outcome, Stage
from collection.executors.staging import staged
from collection.workspace.folder import Workspace
from tests.collection.engine.stages import Text
from tests.collection.sandbox.hijacked import Hijacked

NAME = "hijacked/clips/drip.txt"


def linked(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to("/etc/hosts")


def linked_above(path: Path) -> None:
    path.parent.symlink_to(path.parents[1])
    (path.parents[1] / path.name).write_text("elsewhere")


def linked_higher(path: Path) -> None:
    os.rename(path.parents[1], path.parents[2] / "other")
    path.parents[1].symlink_to(path.parents[2] / "other")
    path.parent.mkdir()
    path.write_text("elsewhere")


MADE: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "a folder": lambda path: path.mkdir(parents=True),
    "a pipe": lambda path: (path.parent.mkdir(), os.mkfifo(path))[1],
    "a link": linked,
    "a file below a link": linked_above,
    "a file far below a link": linked_higher,
}


def kept(root: Path, make: Callable[[Path], None]) -> Outcome[Text]:
    def worker(stage: Stage[str, Text], item: str, work: Workspace) -> Outcome[Text]:
        make(work.root / NAME)
        return Outcome(item, DONE, "", "", (Text(item, NAME),))

    return staged(Hijacked(), "drip", Workspace(root, "hijacked"), "", worker)  # type: ignore[arg-type]


@pytest.mark.parametrize("made", MADE)
def test_only_plain_files_are_kept(tmp_path: Path, made: str) -> None:
    outcome = kept(tmp_path, MADE[made])
    assert (outcome.status, outcome.kind) == (FAILED, "message")
    assert [path.name for path in tmp_path.rglob("*")] == ["hijacked"]


def test_a_plain_file_is_kept(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.parent.mkdir()
        path.write_text("drip")

    assert kept(tmp_path, make).status == DONE
    assert (tmp_path / NAME).read_text() == "drip"
