"""What a build tells the report."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from collection.report.status import Line
from collection.report.story import (
    STORY,
    UNKNOWN,
    Copy,
    Cutting,
    LeftOut,
    Part,
    Problem,
    Story,
    keep,
    kept,
    lacking,
    timelines,
)
from collection.workspace.folder import Workspace
from mlst.records import Shot, Transition
from tests import tiny


def test_a_timeline_has_shots_and_what_lies_between_on_the_sources_own_clock() -> None:
    scan = tiny.scan("a", [(0, 0)], [b"x"])
    shots = tuple(Shot(a, b, a * 512, b * 512) for a, b in ((0, 30), (30, 60), (75, 90)))
    cuts = (Transition("cut", 30, 30), Transition("dissolve", 60, 75))
    scan = replace(scan, shots=shots, transitions=cuts)
    video = replace(tiny.video("a", scan), origin=Fraction(-1))
    (found,) = timelines([(video, scan)])
    assert found == Cutting(
        "a",
        (
            Part("shot", 1.0, 2.0),
            Part("cut", 2.0, 2.0),
            Part("shot", 2.0, 3.0),
            Part("dissolve", 3.0, 3.5),
            Part("shot", 3.5, 4.0),
        ),
    )


def test_a_workspace_tells_the_story_of_its_dataset_and_of_no_other(tmp_path: Path) -> None:
    told = Story(
        (Line("fetch", "rejected", "gone.private", 2),),
        (Problem("fetch", "a@1", "gone.private", "said", ""),),
        (("scan", 3.5),),
        (Cutting("a", (Part("shot", 0.0, 1.0),)),),
        (LeftOut("s0t0", "quota", 3),),
        (Copy("a_0", "b_0", "duplicate"),),
    )
    assert kept(tmp_path / "none", "f" * 64) == UNKNOWN
    assert lacking(tmp_path / "none", "f" * 64).startswith("there is no folder ")
    assert "has no story.json" in lacking(tmp_path, "f" * 64)
    keep(Workspace(tmp_path, "scan-1"), "f" * 64, told)
    assert kept(tmp_path, "f" * 64) == told
    assert lacking(tmp_path, "f" * 64) == ""
    assert "is another dataset, or another version of it" in lacking(tmp_path, "e" * 64)
    assert kept(tmp_path, "e" * 64) == UNKNOWN
    (tmp_path / STORY).write_text("{}")
    assert kept(tmp_path, "f" * 64) == UNKNOWN
