"""A build that runs elsewhere is watched until it has ended or is gone."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from collection.report.board import Board
from collection.report.status import NOTE, NoBuildError, Note, Spent, finish
from collection.report.watch import BEAT, ENDED, GONE, MISSED, NOTHING, PROGRESS, RUNNING, Seen, told, watched
from collection.workspace.folder import Workspace
from mlst.records import canonical_json

COST = Spent("rest", 0, 1.0, 1.0, 0, 0.0, 0, 0.0)


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    """A workspace as a build leaves it that has begun."""
    (tmp_path / NOTE).write_text(canonical_json(Note("r", "1.0.0", ("fetch-1", "scan-1", "pack-1"))))
    return Workspace(tmp_path, "")


def steps(*those: Callable[[], object]) -> Callable[[], object]:
    """Something else happens at each wait."""
    left = list(reversed(those))
    return lambda: left.pop()()  # noqa: PLW0108, another one each time


def build(work: Workspace) -> None:
    """Leaves what a build tells others, whose first stage has begun."""
    board = Board(lambda: 5, lambda: 0.0)
    with told(work, board):
        board.begin("fetch", 2, 0)


def test_a_build_is_seen_as_it_goes_and_when_it_has_ended(work: Workspace) -> None:
    seen = list(
        watched(lambda: contextlib.nullcontext(work), steps(lambda: build(work), lambda: finish(work, (COST,))))
    )
    assert [one.state for one in seen] == [RUNNING, RUNNING, ENDED]
    assert seen[0] == Seen(RUNNING, NOTHING.now)
    assert '"disk_left":null' in canonical_json(seen[0])
    assert '"seconds_left":null' in canonical_json(seen[1])
    assert seen[1].now == seen[2].now
    assert (seen[1].now.stages[0].total, seen[1].now.disk_left) == (2, 5)


def test_a_build_without_a_sign_of_life_is_gone(work: Workspace) -> None:
    build(work)
    clock = iter([0.0, 0.0, 1.0, MISSED * BEAT, MISSED * BEAT + 1])
    states = [one.state for one in watched(lambda: contextlib.nullcontext(work), lambda: None, lambda: next(clock))]
    assert states == [RUNNING, RUNNING, GONE]


def test_a_file_of_another_version_says_nothing(work: Workspace) -> None:
    (work.root / PROGRESS).write_text('{"beats": 3}')
    finish(work, (COST,))
    assert list(watched(lambda: contextlib.nullcontext(work), list)) == [Seen(ENDED, NOTHING.now)]


def test_where_no_build_has_run_there_is_nothing_to_watch(tmp_path: Path) -> None:
    with pytest.raises(NoBuildError):
        next(watched(lambda: contextlib.nullcontext(Workspace(tmp_path, "")), lambda: None))
