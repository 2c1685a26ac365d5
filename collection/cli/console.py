"""What a long command shows: bars with rates and time left on a terminal, else lines for a log; JSON for scripts."""

import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from collection.engine.stage import DONE, FAILED, REJECTED, Outcome
from mlst.text import printable

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error: progress and messages."""
results = Console(highlight=False, soft_wrap=True)
"""Standard output: what a command was asked for."""


def safe(text: str) -> str:
    """A stranger's text for the console: printable, lines stay lines, and no markup."""
    return escape(printable(text))


def refuse(text: str) -> None:
    """Print an error."""
    console.print(f"[red]error:[/] {safe(text)}")


FIRST, LONGEST = 5.0, 30.0
"""Seconds before the first line of a log, and between lines of a build that has run for long."""


def pause(elapsed: float) -> float:
    """Seconds to the next line after so many seconds: a tenth of them, from `FIRST` to `LONGEST`. A day makes 2,900
    lines."""
    return min(max(FIRST, elapsed / 10), LONGEST)


class Ticker:
    """Prints what `say` says every few seconds where there is no terminal, for a log; "" is not printed."""

    def __init__(self, say: Callable[[], str], wait: Callable[[float], float] = pause) -> None:
        self._say, self._wait, self._over = say, wait, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="progress")

    def __enter__(self) -> Self:
        if not console.is_terminal:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(self._wait(time.monotonic() - began)):
            if said := self._say():
                console.print(said)


class Bars:
    """A bar per stage on a terminal; where there is none, a line every few seconds and one when a stage has ended."""

    def __init__(self, wait: Callable[[float], float] = pause) -> None:
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
        self._stages: dict[str, _Stage] = {}
        self._ticker = Ticker(self._line, wait)

    def __enter__(self) -> Self:
        self._bars.start()
        self._ticker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.__exit__(kind, error, trace)
        self._bars.stop()

    def begin(self, stage: str, total: int, known: int) -> None:
        """A stage starts with `total` items, `known` of which are finished already."""
        task = self._bars.add_task(stage, total=total, completed=known, tally=_tally(Counter()), rate="")
        self._stages[stage] = _Stage(task, total, known, time.monotonic(), Counter())

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """One more item has ended."""
        now = self._stages[stage]
        now.tally[outcome.status] += 1
        self._bars.update(now.task, advance=1, tally=_tally(now.tally), rate=f"{now.rate():.2f}/s")

    def fewer(self, stage: str) -> None:
        """One item that was counted on will not come."""
        self._stages[stage].total -= 1
        self._bars.update(self._stages[stage].task, total=self._stages[stage].total)

    def end(self, stage: str) -> None:
        """The stage is over."""
        now = self._stages[stage]
        now.over = True
        if not console.is_terminal:
            seconds = time.monotonic() - now.began
            console.print(f"{stage}: {_tally(now.tally)}, {now.known} known before, {seconds:.1f} s")

    def _line(self) -> str:
        """The stages under way, in a line."""
        going = [f"{name} {now.line()}" for name, now in list(self._stages.items()) if not now.over]
        return "; ".join(going) or "working"


@dataclass(slots=True)
class _Stage:
    """What is shown of a stage that is under way."""

    task: TaskID
    total: int
    known: int
    began: float
    tally: Counter[str]
    over: bool = False

    def rate(self) -> float:
        """Items a second."""
        return self.tally.total() / max(time.monotonic() - self.began, 1e-3)

    def line(self) -> str:
        """Where it stands, for a log."""
        ended = self.known + self.tally.total()
        left = self.total - ended
        time_left = f", {timedelta(seconds=round(left / self.rate()))} left" if self.tally and left else ""
        return f"{ended} of {self.total} ({_tally(self.tally)}), {self.rate():.2f}/s{time_left}"


@contextlib.contextmanager
def counted(what: str, unit: str) -> Iterator[Callable[[int, int], object]]:
    """A bar for something that says how many of how many are done; lines where there is no terminal."""
    columns = (TextColumn("{task.description:<8}"), BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn(unit))
    times = (TimeElapsedColumn(), TextColumn("left"), Remaining())
    now = ["begun"]

    def tell(done: int, total: int) -> None:
        now[0] = f"{done} of {total} {unit}"
        bar.update(task, completed=done, total=total)

    with (
        Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar,
        Ticker(lambda: f"{what} {now[0]}"),
    ):
        task = bar.add_task(what, total=None)
        yield tell


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

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """One more item has ended."""
        self._say(event="outcome", stage=stage, key=outcome.key, status=outcome.status, kind=outcome.kind)

    def fewer(self, stage: str) -> None:
        """One item that was counted on will not come."""
        self._say(event="fewer", stage=stage)

    def end(self, stage: str) -> None:
        """The stage is over."""
        self._say(event="end", stage=stage)

    @staticmethod
    def _say(**event: str | int) -> None:
        print(json.dumps(event), file=sys.stderr, flush=True)


def _tally(tally: Counter[str]) -> str:
    told = [DONE, *(status for status in (REJECTED, FAILED) if tally[status])]
    return " ".join(f"{tally[status]} {status}" for status in told)
