"""Where workers cannot be confined, commands say so, or refuse."""

import platform

import pytest

from collection.cli import options, running
from collection.executors import Local, Ray
from mlst.exits import Exit
from mlst.sandbox.kernel import missing


def test_a_machine_that_cannot_confine_is_refused_where_that_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(running.SandboxError, match="Landlock") as refusal:
        running.crew(options.Working(2, require_sandbox=True))
    assert refusal.value.exit_code == Exit.UNUSABLE


def test_elsewhere_it_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert running.crew(options.Working(2)) == Local(2)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("no full sandbox: ")
    assert told.err.count("\n") == 1


@pytest.mark.skipif(bool(missing()), reason="this machine cannot confine")
def test_nothing_is_said_where_all_is_well(capfd: pytest.CaptureFixture[str]) -> None:
    assert running.crew(options.Working(2, require_sandbox=True)) == Local(2, required=True)
    assert running.crew(options.Working(2, "ray", "host:1", require_sandbox=True)) == Ray(2, "host:1", required=True)
    assert capfd.readouterr() == ("", "")
