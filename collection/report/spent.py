"""What a build cost, by stage: wall clock, CPU time, bytes written and frames decoded. For `build.json`; no byte of a
dataset depends on it."""

import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from collection.engine.stage import Outcome
from collection.executors.local import worker_seconds
from collection.report.board import Board
from collection.report.display import free
from collection.report.status import Spent, finish
from collection.report.watch import told
from collection.workspace.damage import parts
from collection.workspace.folder import Workspace
from mlst.records import Scan

REST = "rest"
"""What is between the stages and after them: selection, the index, the card."""


class Meter(Board):
    """A board that charges the time since it was last told something to the stage that ended an item. Stages take
    turns, so that it belongs to no other."""

    def __init__(self, cpu: Callable[[], float], disk: Callable[[], int | None]) -> None:
        super().__init__(disk)
        self._cpu = cpu
        self._charged = (time.monotonic(), cpu())
        self._spent: dict[str, Spent] = {}

    def begin(self, stage: str, total: int, known: int) -> None:
        """See `Watcher.begin`."""
        self.charge(REST)
        super().begin(stage, total, known)

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """See `Watcher.outcome`."""
        super().outcome(stage, outcome)
        self.charge(stage)
        size = sum(part.size for part in parts(outcome.outputs))
        frames = sum(one.stream.frames for one in outcome.outputs if isinstance(one, Scan))
        now = self._spent[stage]
        self._spent[stage] = replace(now, items=now.items + 1, bytes=now.bytes + size, frames=now.frames + frames)

    def end(self, stage: str) -> None:
        """See `Watcher.end`."""
        super().end(stage)
        self.charge(stage)

    def charge(self, stage: str) -> None:
        """Charge the time since it was last told something to a stage."""
        (wall, cpu), self._charged = self._charged, (time.monotonic(), self._cpu())
        now = self._spent.get(stage, Spent(stage, 0, 0.0, 0.0, 0, 0.0, 0, 0.0))
        more = max(0.0, self._charged[1] - cpu)  # a fork server that was replaced takes its count with it
        self._spent[stage] = replace(
            now, seconds=now.seconds + self._charged[0] - wall, cpu_seconds=now.cpu_seconds + more
        )

    def spent(self) -> tuple[Spent, ...]:
        """What each stage has cost so far, in the order in which they came."""
        self.charge(REST)
        return tuple(map(_with_rates, self._spent.values()))


def _with_rates(one: Spent) -> Spent:
    seconds = max(one.seconds, 1e-6)
    return replace(one, bytes_per_second=one.bytes / seconds, frames_per_second=one.frames / seconds)


@contextlib.contextmanager
def measured(work: Workspace) -> Iterator[Meter]:
    """A meter for a build. Other processes can watch it, and its note gets what was spent when the build ends, in
    whichever way."""
    meter = Meter(cpu_seconds, lambda: free(work.root))
    try:
        with told(work, meter):
            yield meter
    finally:
        finish(work, meter.spent())


def cpu_seconds() -> float:
    """CPU time of this process, of children that have ended, and of the workers of `local` that have; those of a
    cluster are not counted."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + worker_seconds()
