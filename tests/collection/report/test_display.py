"""A build is shown on a terminal, in a notebook and in a log."""

import io
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from collection.engine.stage import Outcome
from collection.report.display import Bars, pause, picture


class Log(io.StringIO):
    """What is printed; `until` waits for a line."""

    def __init__(self) -> None:
        super().__init__()
        self.more = threading.Condition()

    def write(self, text: str) -> int:
        with self.more:
            self.more.notify_all()
            return super().write(text)

    def until(self, found: Callable[[str], bool]) -> str:
        with self.more:
            assert self.more.wait_for(lambda: any(map(found, self.getvalue().splitlines())), 20), self.getvalue()
            return next(filter(found, self.getvalue().splitlines()))


def at_once(elapsed: float) -> float:
    return 0.001


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "progress"]


def failed(key: str) -> Outcome[object]:
    return Outcome(key, "failed", "blocked.rate", "[red]slow\x1b down", ())


def test_the_first_line_comes_within_ten_seconds_and_a_day_fits_a_log() -> None:
    assert pause(0) <= 10
    now, lines = 0.0, 0
    while now < 24 * 3600:
        assert pause(now) <= 30
        now, lines = now + pause(now), lines + 1
    assert lines < 3000


def test_a_log_has_lines_the_end_of_each_stage_and_a_warning_for_each_kind(tmp_path: Path) -> None:
    log = Log()
    with Bars(Console(file=log, soft_wrap=True), tmp_path, at_once) as bars:
        log.until(lambda line: line.startswith("reading the list of sources; 0 s passed; "))
        bars.begin("fetch", 3, 0)
        bars.start("fetch", "a@1")
        log.until(lambda line: "in work: a " in line)
        for key in ("a@1", "b@1", "c@1"):
            bars.outcome("fetch", failed(key))
        log.until(lambda line: line.startswith("fetch 3 of 3 (3 blocked.rate)"))
        bars.end("fetch")
        log.until(lambda line: line.startswith("fetch is over; "))
    assert not threads()
    said = log.getvalue()
    assert "\nfetch: 3 blocked.rate, 0 s\n" in said
    (warned,) = re.findall("^warning: .*$", said, re.MULTILINE)
    assert warned.startswith("warning: fetch: blocked.rate; a: [red]slow")
    assert "\x1b" not in said


def test_an_error_ends_the_lines(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Bars(Console(file=Log()), tmp_path, at_once):
        raise ZeroDivisionError
    assert not threads()


def test_a_terminal_has_bars_and_no_lines(tmp_path: Path) -> None:
    log = Log()
    with Bars(Console(file=log, force_terminal=True, width=100), tmp_path, at_once) as bars:
        assert not threads()
        bars.begin("scan", 2, 1)
        bars.end("scan")
    assert "1 of 2" in log.getvalue()
    assert "━" in log.getvalue()
    assert "scan: " not in log.getvalue()


def test_a_picture_is_html_in_a_notebook(tmp_path: Path) -> None:
    bars = Bars(Console(), tmp_path)
    bars.begin("scan", 2, 1)
    bars.start("scan", "<film>@1")
    html = picture(bars.now())._repr_mimebundle_([], [])["text/html"]
    assert "1 of 2" in html
    assert "&lt;film&gt;" in html
