"""`mlst status` says what can be done about what failed."""

import pytest

from collection.cli.outcomes import print_status
from collection.report.status import Line


def test_status_ends_with_advice_for_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        Line("fetch", "done", "", 3),
        Line("fetch", "failed", "blocked.sabr", 2),
        Line("fetch", "failed", "blocked.token", 1),
        Line("fetch", "rejected", "gone.private", 1),
    ]
    print_status(lines, as_json=False)
    shown = capsys.readouterr().out
    assert shown.count("blocked.sabr") == 2
    assert "blocked.token: renditions need a PO token" in shown
    assert shown.count("gone.private") == 1
