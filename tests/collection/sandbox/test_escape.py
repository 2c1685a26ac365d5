"""Attempts to get out of a real worker, which are all refused; docs/security.md says what each group promises."""

import errno
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from collection.engine.stage import DONE
from collection.executors import Local
from collection.workspace.folder import Workspace
from mlst.sandbox import kernel
from tests.collection.sandbox.escapes import ATTEMPTS, REFUSED, Escaping, Scene, lay, tried

PAGE = Path(__file__).parents[3] / "docs/security.md"

pytestmark = pytest.mark.skipif(bool(kernel.missing()), reason="this machine cannot confine")

Found = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    root = tmp_path_factory.mktemp("inside")
    lay(root)
    before = contents(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "secret")
        stage = Escaping(str(root), os.getpid())
        outcomes = list(Local(2, required=True)(stage, ATTEMPTS, Workspace(root / "work", "scan-1")))
    assert all(outcome.status == DONE for outcome in outcomes), outcomes
    assert contents(root) == before
    return root, {outcome.key: json.loads(outcome.outputs[0].item) for outcome in outcomes}


def contents(root: Path) -> Mapping[str, tuple[int, str]]:
    """Mode and text of every file."""
    return {str(path): (path.stat().st_mode, path.read_text()) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in ATTEMPTS for name in ATTEMPTS[group]])
def test_every_attempt_is_refused(inside: tuple[Path, Found], group: str, name: str) -> None:
    _, found = inside
    assert found[group][name] in {errno.errorcode[number] for number in REFUSED}


def test_there_are_enough() -> None:
    assert sum(map(len, ATTEMPTS.values())) >= 100


HARMLESS = {
    "files": [name for name in ATTEMPTS["files"] if name not in ("set an attribute", "read the driver's memory")],
    "network": ["TCP", "UDP", "a Unix socket", "a Unix socket with a name", "a pair of sockets"],
    "processes": [
        *("fork", "start a program", "signal the driver", "signal the driver's group", "tgkill the driver"),
        *("hold the driver", "signals by an open file", "slow the driver", "bind the driver to a processor"),
        *("change its own limits", "leave its session", "become another user", "let others trace it"),
    ],
    "kernel": [
        *("inotify_init1", "shared memory that stays", "a message queue that stays", "semaphores that stay"),
        *("memfd_create", "personality"),
    ],
}


@pytest.mark.skipif(sys.platform != "linux", reason="calls of Linux")
@pytest.mark.parametrize(("group", "name"), [(group, name) for group in HARMLESS for name in HARMLESS[group]])
def test_without_the_sandbox_the_same_attempt_works(tmp_path: Path, group: str, name: str) -> None:
    lay(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.environ["HF_TOKEN"] = "secret"  # noqa: S105
        scene = Scene(tmp_path, own, os.getppid())
        os.write(writing, tried(ATTEMPTS[group][name], scene).encode() or b"worked")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"worked"


@pytest.mark.parametrize("group", ATTEMPTS)
def test_the_page_on_security_lists_every_attempt(group: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in ATTEMPTS[group] if f"`{name}`" not in text] == []


def test_machines_that_cannot_confine_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel.missing() == ""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "riscv64" in kernel.missing()
