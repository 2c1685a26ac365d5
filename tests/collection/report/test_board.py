"""What a build is doing is counted right, and the time left does not jump."""

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from collection.engine.stage import Outcome
from collection.report.board import ENOUGH, SHOWN, Board, Countdown, Now
from collection.report.display import ended, line, rough, span, warning
from tests.collection.engine.stages import Text


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def outcome(key: str, kind: str = "", status: str = "") -> Outcome[object]:
    found = status or ("rejected" if kind else "done")
    return Outcome(key, found, kind, "said\nwhy", ())  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def board(clock: Clock) -> Board:
    return Board(lambda: 35_000_000_000, clock)


def test_stages_stand_side_by_side_with_reasons_bytes_and_items_in_work(clock: Clock) -> None:
    told = board(clock)
    assert line(told.now()) == "reading the list of sources; 0 s passed; 35.0 GB of disk left"
    told.begin("fetch", 10, 4)
    told.begin("scan", 6, 0)
    told.start("fetch", "a@1")
    told.start("fetch", "b@1")
    clock.now = 2.0
    told.outcome("fetch", Outcome("a@1", "done", "", "", (Text("abc", "f"),)))
    told.start("fetch", "c@1")
    clock.now = 3.0
    told.outcome("fetch", outcome("b@1", "gone.private"))
    clock.now = 45.0
    assert line(told.now()) == (
        "fetch 6 of 10 (1 done, 1 gone.private, 4 known before), 40.0/min, 3 bytes; scan 0 of 6 (0 done); "
        "in work: c 43 s; 45 s passed; 35.0 GB of disk left"
    )
    told.fewer("scan")
    told.end("fetch")
    fetch, scan = told.now().stages
    assert (fetch.seconds, fetch.over, scan.total, scan.over) == (3.0, True, 5, False)
    assert ended(fetch) == "fetch: 1 done, 1 gone.private, 4 known before, 3 bytes, 3 s"
    told.end("scan")
    assert told.now().step == "choosing clips"


def test_those_in_work_longest_come_first_and_the_rest_is_counted(clock: Clock) -> None:
    told = board(clock)
    told.begin("scan", 100, 0)
    for number in range(SHOWN + 3):
        clock.now = float(number)
        told.start("scan", f"v{number}@x")
    now = told.now()
    assert [one.key for one in now.doing] == [f"v{number}" for number in range(SHOWN)]
    assert now.in_work == SHOWN + 3
    assert f"in work: v0 10 s, v1 9 s, v2 8 s, {SHOWN} more;" in line(now)


def test_stages_take_turns_so_that_a_wave_of_scans_does_not_slow_fetching(clock: Clock) -> None:
    told = board(clock)
    told.begin("fetch", 40, 0)
    told.begin("scan", 40, 0)
    for stage, seconds in (("fetch", 1.0), ("scan", 5.0)):
        for number in range(20):
            told.start(stage, str(number))
            clock.now += seconds
            told.outcome(stage, outcome(str(number)))
    now = told.now()
    assert [one.per_second for one in now.stages] == pytest.approx([1.0, 0.2])
    assert now.seconds_left == pytest.approx(20 * 1.0 + 20 * 5.0)
    told.start("fetch", "next")
    clock.now += 0.5
    assert told.now().seconds_left == pytest.approx(119.5, abs=0.5)


def test_nothing_is_said_of_the_time_left_before_every_stage_has_shown_its_pace(clock: Clock) -> None:
    told = board(clock)
    told.begin("scan", 2 * ENOUGH, 0)
    for number in range(ENOUGH):
        assert told.now().seconds_left is None
        clock.now += 1.0
        told.outcome("scan", outcome(str(number)))
    assert told.now().seconds_left == pytest.approx(ENOUGH)


def looks(seed: int, slow_after: int) -> Iterator[tuple[float, Now]]:
    """A build of 400 videos whose scans take 1 to 200 s, two at a time, looked at every second; the second half may be
    slower."""
    draw, clock = random.Random(seed), Clock()
    told = board(clock)
    told.begin("scan", 400, 0)
    running: dict[str, float] = {}
    begun = done = 0
    while done < 400:
        while len(running) < 2 and begun < 400:
            length = min(200.0, draw.lognormvariate(2.0, 1.2)) * (3 if begun >= slow_after else 1)
            running[str(begun)] = clock.now + length
            told.start("scan", str(begun))
            begun += 1
        clock.now += 1.0
        for key in [key for key, end in running.items() if end <= clock.now]:
            del running[key]
            told.outcome("scan", outcome(key))
            done += 1
        yield clock.now, told.now()


@pytest.mark.parametrize("slow_after", [400, 200])
def test_the_time_left_does_not_jump(slow_after: int) -> None:
    seen = [(at, now.seconds_left) for at, now in looks(1, slow_after) if now.seconds_left is not None]
    steps = [abs(after - before + 1.0) / before for (_, before), (_, after) in pairwise(seen) if before > 60]
    assert max(steps) < 0.03
    over = seen[-1][0]
    wrong = [abs(at + left - over) / (over - at) for at, left in seen if 0.5 < at / over < 0.9]
    assert max(wrong) < 0.7


def test_a_countdown_counts_down_and_drifts() -> None:
    shown = Countdown()
    assert shown.left(100.0, 0.0) == 100.0
    assert shown.left(90.0, 10.0) == pytest.approx(90.0)
    assert 80.0 < shown.left(1000.0, 11.0) < 125.0
    assert shown.left(1000.0, 400.0) == pytest.approx(1000.0, rel=0.01)
    assert shown.left(None, 401.0) is None
    assert shown.left(5.0, 402.0) == 5.0


@pytest.mark.parametrize(
    ("seconds", "said"), [(3, "10 s"), (44, "40 s"), (200, "3 min"), (18_600, "5 h 10 min"), (300_000, "3 days")]
)
def test_estimates_are_rounded(seconds: float, said: str) -> None:
    assert rough(seconds) == said


def test_times_that_passed_are_not() -> None:
    assert (span(42.4), span(190)) == ("42 s", "0:03:10")


def test_a_warning_says_what_happened_and_what_helps() -> None:
    said = warning("fetch", Outcome("a@1", "failed", "blocked.rate", "first\nslow down", ()))
    assert said.startswith("fetch: blocked.rate; a: slow down; ")
    assert said.endswith(" (others of the kind are only counted)")
