"""How a build is shown while it runs: bars on a terminal and in a notebook, else a line every few seconds."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from collection.engine.stage import FAILED, Outcome
from collection.fetch.reasons import advice
from collection.report.board import Board, Doing, Now, StageNow
from mlst.text import printable

FIRST, LONGEST = 5.0, 30.0
"""Seconds before the first line of a log, and between lines of a build that has run for long."""
OFTEN = 1.0
"""Seconds between two pictures in a notebook."""
NAMED = 3
"""Items in work that a line names."""


def pause(elapsed: float) -> float:
    """Seconds to the next line after so many seconds: a tenth of them, from `FIRST` to `LONGEST`. A day makes 2,900
    lines."""
    return min(max(FIRST, elapsed / 10), LONGEST)


def often(elapsed: float) -> float:
    """Seconds to the next picture."""
    return OFTEN


def free(folder: Path) -> int | None:
    """Bytes that are left on the disk of a folder; None where it is not there."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


class Ticker:
    """Calls `do` every few seconds in a thread of its own; `wait` says how many after so many seconds."""

    def __init__(self, do: Callable[[], object], wait: Callable[[float], float]) -> None:
        self._do, self._wait, self._over = do, wait, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="progress")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(self._wait(time.monotonic() - began)):
            self._do()


class Bars(Board):
    """A board that shows itself on a console while it is entered, and warns once of each kind of failure."""

    def __init__(self, console: Console, disk: Path, wait: Callable[[float], float] = pause) -> None:
        super().__init__(lambda: free(disk))
        self._console, self._warned = console, set[tuple[str, str]]()
        self._shown = showing(console, self.now, wait)

    def __enter__(self) -> Self:
        self._shown.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.__exit__(kind, error, trace)

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """See `Watcher.outcome`."""
        super().outcome(stage, outcome)
        if outcome.status == FAILED and (stage, outcome.kind) not in self._warned:
            self._warned.add((stage, outcome.kind))
            self._say(f"warning: {warning(stage, outcome)}")

    def end(self, stage: str) -> None:
        """See `Watcher.end`."""
        super().end(stage)
        if not (self._console.is_terminal or self._console.is_jupyter):
            self._say(next(ended(one) for one in self.now().stages if one.stage == stage))

    def _say(self, text: str) -> None:
        self._console.print(printable(text), markup=False)


def showing(
    console: Console, now: Callable[[], Now], wait: Callable[[float], float]
) -> contextlib.AbstractContextManager[object]:
    """What shows `now` again and again: a picture where one can be renewed, else lines."""
    if console.is_jupyter:
        return _Notebook(now)
    if console.is_terminal:
        return Live(get_renderable=lambda: picture(now()), console=console, refresh_per_second=4)
    return Ticker(lambda: console.print(printable(line(now())), markup=False), wait)


class _Notebook:
    """One output of a cell, renewed in place. It needs no widgets: the picture is HTML."""

    def __init__(self, now: Callable[[], Now]) -> None:
        self._now, self._ticker = now, Ticker(self._renew, often)
        self._handle: Any = None

    def __enter__(self) -> Self:
        from IPython.display import display  # noqa: PLC0415, only notebooks have it

        self._handle = display(picture(self._now()), display_id=True)
        self._ticker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.__exit__(kind, error, trace)
        self._renew()

    def _renew(self) -> None:
        self._handle.update(picture(self._now()))


def picture(now: Now) -> Table:
    """Stages below one another with bars, then what holds for all of them."""
    stages = Table.grid(*(Column(no_wrap=True) for _ in range(5)), Column(), padding=(0, 2))
    for one in now.stages:
        bar = ProgressBar(total=max(one.total, 1), completed=one.ended if one.total else 1, width=16)
        count = Text(f"{one.ended} of {one.total}", justify="right")
        told = Text(printable(_told(one)))
        stages.add_row(one.stage, bar, count, _rate(one.per_second), decimal(one.bytes), told)
    made = Table.grid()
    made.add_row(stages)
    for said in filter(None, (_doing(now, len(now.doing)), ", ".join(_rest(now)))):
        made.add_row(Text(printable(said), overflow="ellipsis", no_wrap=True))
    return made


def line(now: Now) -> str:
    """The same for a log: the stages under way in a line."""
    going = [_line(one) for one in now.stages if not one.over]
    return "; ".join(filter(None, (*going, _doing(now, NAMED), *_rest(now))))


def ended(one: StageNow) -> str:
    """What a stage came to."""
    size = (decimal(one.bytes),) if one.bytes else ()
    return f"{one.stage}: " + ", ".join((_told(one), *size, span(one.seconds)))


def warning(stage: str, outcome: Outcome[object]) -> str:
    """What the first failure of a kind says of all of them."""
    said = (outcome.detail.strip().splitlines() or [""])[-1]
    parts = (f"{stage}: {outcome.kind}", f"{outcome.key.partition('@')[0]}: {said}", advice(outcome.kind))
    return "; ".join(filter(None, parts)) + " (others of the kind are only counted)"


def span(seconds: float) -> str:
    """A time that has passed: 42 s, 0:03:10."""
    return f"{seconds:.0f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def rough(seconds: float) -> str:
    """A time that is estimated: 40 s, 36 min, 5 h 10 min, 3 days."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{10 * max(1, round(seconds / 10))} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{round(minutes / 1440)} days"


def _line(one: StageNow) -> str:
    parts = (f"{one.stage} {one.ended} of {one.total} ({_told(one)})", _rate(one.per_second), _size(one.bytes))
    return ", ".join(filter(None, parts))


def _told(one: StageNow) -> str:
    """Outcomes by reason."""
    counts = [f"{line.count} {line.kind or line.status}" for line in one.outcomes]
    return ", ".join([*(counts or ["0 done"]), *([f"{one.known} known before"] if one.known else [])])


def _doing(now: Now, most: int) -> str:
    """The items in work, and how long each."""
    named = [_item(one) for one in now.doing[:most]]
    more = [f"{now.in_work - len(named)} more"] if now.in_work > len(named) else []
    return f"in work: {', '.join([*named, *more])}" if named else ""


def _item(one: Doing) -> str:
    return f"{one.key} {span(one.seconds)}"


def _rest(now: Now) -> Iterable[str]:
    """What holds for all stages."""
    if now.step:
        yield now.step
    yield f"{span(now.seconds)} passed"
    if now.seconds_left is not None and not now.step:
        yield f"about {rough(now.seconds_left)} left"
    if now.disk_left is not None:
        yield f"{decimal(now.disk_left)} of disk left"


def _rate(per_second: float) -> str:
    if not per_second:
        return ""
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{60 * per_second:.1f}/min"


def _size(size: int) -> str:
    return decimal(size) if size else ""
