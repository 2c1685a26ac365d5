"""What a log holds of a command that counts: lines, where there is no terminal."""

import pytest

from collection.cli import console
from collection.cli.console import busy, counted
from tests.collection.report.test_display import Log, at_once


def test_what_counts_and_what_takes_long_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(console.console, "_file", log)
    monkeypatch.setattr(console, "pause", at_once)
    with counted("verify", "shards") as tell:
        log.until(lambda line: line == "verify begun")
        tell(3, 7)
        log.until(lambda line: line == "verify 3 of 7 shards")
    with busy("writing the report"):
        log.until(lambda line: line == "writing the report")
