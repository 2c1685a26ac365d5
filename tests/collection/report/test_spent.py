"""What a build cost is charged to the stage that cost it, and stands in the note when the build has ended."""

import json
from pathlib import Path

import pytest

from collection.engine.stage import Outcome
from collection.report.spent import Meter, measured
from collection.report.status import NOTE, read_note, remember
from collection.workspace.folder import Workspace
from tests.collection.engine.stages import Text

ITEM: Outcome[object] = Outcome("k", "done", "", "", ())


def test_time_is_charged_to_the_stage_that_ended_an_item() -> None:
    clock = iter([0.0, 1.0, 11.0, 31.0, 33.0, 133.0, 134.0])
    meter = Meter(lambda: next(clock), lambda: 0)
    meter.begin("fetch", 2, 0)
    meter.outcome("fetch", ITEM)
    meter.outcome("scan", ITEM)
    meter.outcome("fetch", ITEM)
    meter.end("scan")
    found = {one.stage: (one.items, one.cpu_seconds) for one in meter.spent()}
    assert found == {"rest": (0, 2.0), "fetch": (2, 12.0), "scan": (1, 120.0)}


def test_bytes_are_those_of_the_parts_of_what_came_out() -> None:
    meter = Meter(lambda: 0.0, lambda: 0)
    meter.outcome("fetch", Outcome("k", "done", "", "", (Text("abc", "f"), Text("de", "g"))))
    fetch, _ = meter.spent()
    assert fetch.bytes == 5
    assert fetch.bytes_per_second == pytest.approx(5 / fetch.seconds)
    assert (fetch.frames, fetch.frames_per_second) == (0, 0)


def test_a_count_that_goes_back_costs_nothing() -> None:
    clock = iter([50.0, 3.0, 4.0])
    meter = Meter(lambda: next(clock), lambda: 0)
    meter.outcome("scan", ITEM)
    assert {one.stage: one.cpu_seconds for one in meter.spent()} == {"scan": 0.0, "rest": 1.0}


def test_the_note_has_it_when_the_build_has_ended_in_whichever_way(tmp_path: Path) -> None:
    work = Workspace(tmp_path, "")
    remember(work, "r", "1.0.0", [])
    assert "spent" not in json.loads((tmp_path / NOTE).read_text())
    with pytest.raises(ZeroDivisionError):
        fail(work)
    note = read_note(work)
    assert [one.stage for one in note.spent] == ["scan", "rest"]
    assert note.recipe == "r"
    remember(work, "r", "1.0.0", [])
    assert read_note(work).spent == ()


def fail(work: Workspace) -> None:
    """A build that ends in a bug."""
    with measured(work) as meter:
        meter.outcome("scan", ITEM)
        raise ZeroDivisionError


def test_a_note_that_cannot_be_written_fails_no_build(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with measured(Workspace(tmp_path / "file", "")):
        pass
    assert (tmp_path / "file").read_bytes() == b""
