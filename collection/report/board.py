"""What a build is doing: its stages side by side, the items in work, and the time left. For displays of this process,
and through a file of the workspace (`watch`) for those of others."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import exp

from collection.engine.stage import Outcome
from collection.report.status import Line, tally
from collection.workspace.damage import parts

MEMORY = 200
"""Items over which the cost of one is averaged: fewer follow every long video, more miss that a site got slower."""
ENOUGH = 5
"""Items of a stage that have ended before it says how long the rest will take."""
INERTIA = 30.0
"""Seconds in which the time left moves most of the way (1 - 1/e) to a new estimate; otherwise it counts down."""
SHOWN = 8
"""Items in work that are told of, those first that take longest."""
AFTER = {
    "": "reading the list of sources",
    "scan": "choosing clips",
    "pack": "finishing: index, card, report, verification",
}
"""What a build does when the stage last under way has ended, or none has begun."""


@dataclass(frozen=True, slots=True)
class StageNow:
    """Where one stage stands."""

    stage: str
    total: int
    """Items there will be, as far as is known."""
    known: int
    """Those that earlier runs had finished."""
    outcomes: tuple[Line, ...]
    """Of this run."""
    bytes: int
    """Written to the workspace by this run."""
    seconds: float
    """That this run spent on the stage. Stages take turns: they add up to no more than the wall clock."""
    per_second: float
    """Items, while it is the stage's turn."""
    over: bool

    @property
    def ended(self) -> int:
        """Items that have an outcome."""
        return self.known + sum(line.count for line in self.outcomes)


@dataclass(frozen=True, slots=True)
class Doing:
    """An item that a worker was given."""

    stage: str
    key: str
    seconds: float
    """Since then."""


@dataclass(frozen=True, slots=True)
class Now:
    """A build at one moment."""

    stages: tuple[StageNow, ...]
    doing: tuple[Doing, ...]
    """`SHOWN` at most, those first that take longest."""
    in_work: int
    """All of them."""
    step: str
    """What is done between stages; "" while one is under way."""
    seconds: float
    """Since it began."""
    seconds_left: float | None
    """Of the stages under way; None where that cannot be said yet."""
    disk_left: int | None
    """Bytes, on the disk of the workspace; None where that cannot be asked."""


class Pace:
    """Seconds per item: the mean over the last items, in which each counts less the longer ago it ended."""

    def __init__(self) -> None:
        self._seconds, self._items, self.ended = 0.0, 0.0, 0

    def add(self, seconds: float) -> None:
        """An item has ended, so long after the one before it."""
        self._seconds = self._seconds * (1 - 1 / MEMORY) + seconds
        self._items = self._items * (1 - 1 / MEMORY) + 1
        self.ended += 1

    def cost(self, waited: float) -> float:
        """Of the next item, when it has been waited for so long: what is late is counted before it ends, so that
        nothing jumps when it does. 0.0 before the first has ended."""
        if not self.ended:
            return 0.0
        return max(self._seconds / self._items, (self._seconds + waited) / (self._items + 1))


class Countdown:
    """The time left as it is shown: it counts down, and drifts to what is estimated instead of jumping there."""

    def __init__(self) -> None:
        self._left: float | None = None
        self._then = 0.0

    def left(self, estimate: float | None, now: float) -> float | None:
        """Seconds left at the time `now`; None as long as there is no estimate."""
        passed, self._then = now - self._then, now
        if estimate is None or self._left is None:
            self._left = estimate
        else:
            aim = max(self._left - passed, 0.0)
            self._left = aim + (estimate - aim) * (1 - exp(-passed / INERTIA))
        return self._left


@dataclass(slots=True)
class _Stage:
    """What is counted of a stage."""

    total: int
    known: int
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: int = 0
    seconds: float = 0.0
    pace: Pace = field(default_factory=Pace)
    over: bool = False


class Board:
    """A watcher that knows at any moment, for any thread, what the build is doing."""

    def __init__(self, disk: Callable[[], int | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._disk, self._clock, self._lock = disk, clock, threading.Lock()
        self._stages: dict[str, _Stage] = defaultdict(lambda: _Stage(0, 0))
        self._doing: dict[tuple[str, str], float] = {}
        self._began = self._then = clock()
        self._countdown = Countdown()

    def begin(self, stage: str, total: int, known: int) -> None:
        """See `Watcher.begin`."""
        with self._lock:
            self._stages[stage] = _Stage(total, known)
            self._then = self._clock()

    def start(self, stage: str, key: str) -> None:
        """See `Watcher.start`."""
        with self._lock:
            now = self._clock()
            if not self._doing:  # nobody worked until now
                self._then = now
            self._doing[stage, key] = now

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """See `Watcher.outcome`."""
        size = sum(part.size for part in parts(outcome.outputs))
        with self._lock:
            now, one = self._clock(), self._stages[stage]
            passed, self._then = now - self._then, now
            self._doing.pop((stage, outcome.key), None)
            one.counts[outcome.status, outcome.kind] += 1
            one.bytes += size
            one.seconds += passed
            one.pace.add(passed)

    def fewer(self, stage: str) -> None:
        """See `Watcher.fewer`."""
        with self._lock:
            self._stages[stage].total -= 1

    def end(self, stage: str) -> None:
        """See `Watcher.end`."""
        with self._lock:
            self._stages[stage].over = True
            self._doing = {item: began for item, began in self._doing.items() if item[0] != stage}
            self._then = self._clock()

    def now(self) -> Now:
        """What it is doing."""
        disk = self._disk()
        with self._lock:
            at = self._clock()
            stages = tuple(_standing(name, one) for name, one in self._stages.items())
            doing = sorted((began, stage, key) for (stage, key), began in self._doing.items())
            return Now(
                stages,
                tuple(Doing(stage, key.partition("@")[0], at - began) for began, stage, key in doing[:SHOWN]),
                len(doing),
                _step(stages),
                at - self._began,
                self._countdown.left(self._estimate(at), at),
                disk,
            )

    def _estimate(self, at: float) -> float | None:
        """Seconds that the stages under way will take: for each, its items by the cost of one, once it is known."""
        going = {name: one for name, one in self._stages.items() if not one.over}
        left = {name: one.total - one.known - one.pace.ended for name, one in going.items()}
        if not going or any(count and going[name].pace.ended < ENOUGH for name, count in left.items()):
            return None
        turn = next(iter(self._doing), ("", ""))[0]  # stages take turns: the time since the last outcome is one's own
        waits = {turn: at - self._then}
        return sum(count * going[name].pace.cost(waits.get(name, 0.0)) for name, count in left.items())


def _standing(name: str, one: _Stage) -> StageNow:
    cost = one.pace.cost(0.0)
    rate = 1 / cost if cost else 0.0
    outcomes = tuple(tally(name, one.counts))
    return StageNow(name, one.total, one.known, outcomes, one.bytes, one.seconds, rate, one.over)


def _step(stages: Iterable[StageNow]) -> str:
    """What is done while no stage is under way."""
    begun = list(stages)
    if any(not one.over for one in begun):
        return ""
    last = begun[-1].stage if begun else ""
    return AFTER.get(last, f"{last} is over")
