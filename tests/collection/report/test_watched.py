"""A build that runs elsewhere is watched until it has ended."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collection.cli.outcomes import print_standing
from collection.report.status import NOTE, Line, NoBuildError, Note, Spent, finish, watched
from collection.workspace.folder import Workspace
from mlst.records import canonical_json

COST = Spent("rest", 0, 1.0, 1.0, 0, 0.0, 0, 0.0)


def begun(folder: Path) -> Workspace:
    """A workspace as a build leaves it that has begun."""
    note = Note("r", "1.0.0", ("fetch-1", "scan-1", "pack-1"))
    (folder / NOTE).write_text(canonical_json(note))
    return Workspace(folder, "")


def steps(*those: Callable[[], object]) -> Callable[[], object]:
    """Something else happens at each wait."""
    left = list(reversed(those))

    def step() -> None:
        left.pop()()

    return step


def test_every_change_is_told_once_until_the_build_has_ended(tmp_path: Path) -> None:
    work = begun(tmp_path)
    opened = []

    @contextlib.contextmanager
    def look() -> Iterator[Workspace]:
        opened.append(1)
        yield work

    def more() -> None:
        (tmp_path / "fetch-1").mkdir()
        (tmp_path / "fetch-1" / "items.txt").write_text("a\nb\n")

    seen = list(watched(look, steps(lambda: None, more, lambda: finish(work, (COST,)))))
    assert seen == [[], [Line("fetch", "pending", "", 2)]]
    assert len(opened) == 4


def test_where_no_build_has_run_there_is_nothing_to_watch(tmp_path: Path) -> None:
    with pytest.raises(NoBuildError):
        next(watched(lambda: contextlib.nullcontext(Workspace(tmp_path, "")), lambda: None))


def test_a_line_holds_every_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [Line("fetch", "done", "", 3), Line("fetch", "failed", "blocked.rate", 1), Line("scan", "done", "", 2)]
    print_standing(lines, as_json=False)
    assert capsys.readouterr().out == "fetch: 3 done, 1 failed blocked.rate; scan: 2 done\n"
