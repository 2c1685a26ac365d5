"""Where commands print, and what a long one shows of what it counts; JSON for scripts."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from collection.engine.stage import Outcome
from collection.report.display import Ticker, pause
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


@contextlib.contextmanager
def ticking(say: Callable[[], str]) -> Iterator[None]:
    """Lines of what `say` says every few seconds, where there is no terminal."""
    with contextlib.nullcontext() if console.is_terminal else Ticker(lambda: console.print(say()), pause):
        yield


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Say what is being done that counts nothing."""
    with console.status(what), ticking(lambda: what):
        yield


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
        ticking(lambda: f"{what} {now[0]}"),
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

    def start(self, stage: str, key: str) -> None:
        """An item is handed to a worker."""
        self._say(event="start", stage=stage, key=key)

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
