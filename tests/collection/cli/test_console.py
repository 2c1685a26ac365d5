"""What a log holds of a long command: lines while it runs, without a terminal."""

import threading
from collections.abc import Callable

import pytest

from collection.cli import console
from collection.cli.console import Bars, Ticker, counted, pause
from collection.engine.stage import Outcome


class Log:
    """Stands in for standard error without a terminal; `until` waits for a line."""

    is_terminal = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.more = threading.Condition()

    def print(self, line: str) -> None:
        with self.more:
            self.lines.append(line)
            self.more.notify_all()

    def until(self, found: Callable[[str], bool]) -> str:
        with self.more:
            assert self.more.wait_for(lambda: any(map(found, self.lines)), 20), self.lines
            return next(filter(found, self.lines))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(console.console, "print", made.print)
    monkeypatch.setattr(console.console, "_force_terminal", False)
    return made


def at_once(elapsed: float) -> float:
    return 0.001


def outcome(status: str) -> Outcome[object]:
    return Outcome("k", status, "", "", ())  # type: ignore[arg-type]


def test_the_first_line_comes_within_ten_seconds_and_a_day_fits_a_log() -> None:
    assert pause(0) <= 10
    now, lines = 0.0, 0
    while now < 24 * 3600:
        assert pause(now) <= 30
        now, lines = now + pause(now), lines + 1
    assert lines < 3000


def test_lines_tell_of_the_stages_under_way(log: Log) -> None:
    with Bars(at_once) as bars:
        log.until(lambda line: line == "working")
        bars.begin("fetch", 10, 4)
        bars.begin("scan", 6, 0)
        bars.outcome("fetch", outcome("done"))
        bars.outcome("fetch", outcome("rejected"))
        said = log.until(lambda line: "6 of 10" in line)
        assert said.startswith("fetch 6 of 10 (1 done 1 rejected), ")
        assert said.endswith("; scan 0 of 6 (0 done), 0.00/s")
        assert " left;" in said
        bars.end("fetch")
        log.until(lambda line: line.startswith("scan 0 of 6"))
        bars.fewer("scan")
        log.until(lambda line: line.startswith("scan 0 of 5"))
    count = len(log.lines)
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
    assert len(log.lines) == count


def test_an_error_ends_the_lines(log: Log) -> None:
    with pytest.raises(ZeroDivisionError), Bars(at_once):
        raise ZeroDivisionError
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_terminal_has_bars_and_no_lines(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.console, "_force_terminal", True)
    with Ticker(lambda: "line", at_once):
        assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
    assert log.lines == []


def test_what_counts_has_lines_too(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ticker.__init__, "__defaults__", (at_once,))
    with counted("verify", "shards") as tell:
        log.until(lambda line: line == "verify begun")
        tell(3, 7)
        log.until(lambda line: line == "verify 3 of 7 shards")
