"""What a build tells the report."""

from dataclasses import replace
from fractions import Fraction

from collection.report.story import Part, timelines
from mlst.records import Shot, Transition
from tests import tiny


def test_a_timeline_has_shots_and_what_lies_between_on_the_sources_own_clock() -> None:
    scan = tiny.scan("a", [(0, 0)], [b"x"])
    shots = tuple(Shot(a, b, a * 512, b * 512) for a, b in ((0, 30), (30, 60), (75, 90)))
    cuts = (Transition("cut", 30, 30), Transition("dissolve", 60, 75))
    scan = replace(scan, shots=shots, transitions=cuts)
    video = replace(tiny.video("a", scan), origin=Fraction(-1))
    assert timelines([(video, scan)]) == {
        "a": (
            Part("shot", 1.0, 2.0),
            Part("cut", 2.0, 2.0),
            Part("shot", 2.0, 3.0),
            Part("dissolve", 3.0, 3.5),
            Part("shot", 3.5, 4.0),
        )
    }
