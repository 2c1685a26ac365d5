"""What a long command shows: bars with rates and time left on a terminal, else a line per stage; JSON for scripts."""

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from collection.stage import DONE, FAILED, REJECTED, Outcome

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress and messages; standard output is for results."""


class Bars:
    """A bar per stage on a terminal; where there is none, one line when a stage has ended."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[tally]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            Remaining(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = TaskID(0)
        self._stage, self._known, self._began = "", 0, 0.0
        self._tally: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, stage: str, total: int, known: int) -> None:
        """A stage starts with `total` items, `known` of which are finished already."""
        self._stage, self._known, self._began = stage, known, time.monotonic()
        self._tally = Counter()
        self._task = self._bars.add_task(stage, total=total, completed=known, tally=_tally(self._tally), rate="")

    def outcome(self, outcome: Outcome) -> None:
        """One more item has ended."""
        self._tally[outcome.status] += 1
        seconds = max(time.monotonic() - self._began, 1e-3)
        rate = f"{self._tally.total() / seconds:.2f}/s"
        self._bars.update(self._task, advance=1, tally=_tally(self._tally), rate=rate)

    def end(self) -> None:
        """The stage is over."""
        if not console.is_terminal:
            seconds = time.monotonic() - self._began
            console.print(f"{self._stage}: {_tally(self._tally)}, {self._known} known before, {seconds:.1f} s")


@contextlib.contextmanager
def counted(what: str, unit: str) -> Iterator[Callable[[int, int], object]]:
    """A bar for something that says how many of how many are done; silent where there is no terminal."""
    columns = (TextColumn("{task.description:<8}"), BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn(unit))
    times = (TimeElapsedColumn(), TextColumn("left"), Remaining())
    with Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class JsonLines:
    """One JSON object per event on standard error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, stage: str, total: int, known: int) -> None:
        """A stage starts with `total` items, `known` of which are finished already."""
        self._say(event="begin", stage=stage, total=total, known=known)

    def outcome(self, outcome: Outcome) -> None:
        """One more item has ended."""
        self._say(event="outcome", key=outcome.key, status=outcome.status, kind=outcome.kind)

    def end(self) -> None:
        """The stage is over."""
        self._say(event="end")

    @staticmethod
    def _say(**event: str | int) -> None:
        print(json.dumps(event), file=sys.stderr, flush=True)


def _tally(tally: Counter[str]) -> str:
    told = [DONE, *(status for status in (REJECTED, FAILED) if tally[status])]
    return " ".join(f"{tally[status]} {status}" for status in told)
