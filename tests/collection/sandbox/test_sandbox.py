"""What a worker can still do, tried from inside one."""

import ctypes
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from collection.engine.stage import DONE, FAILED, Expected, Needs, Outcome, Rejected, Retry
from collection.executors import executor
from collection.sandbox.apart import apart
from collection.sandbox.kernel import confine
from collection.sandbox.outcome import epitaph, judged, received
from collection.workspace.folder import Workspace
from mlst.records import canonical_json
from mlst.sandbox.kernel import Room, missing
from mlst.sandbox.limits import FILE_BYTES, OPEN_FILES, limit_files
from tests.collection.engine.stages import Text

SEALED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1) if SEALED else -1
OFFLINE, ONLINE = Needs(20.0, 4 << 30, network=False), Needs(20.0, 0, network=True)
NOTHING = Room((), ())

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of the Linux kernel")
sealed = pytest.mark.skipif(not SEALED, reason="seccomp filters are for x86-64 and aarch64")


def connect() -> object:
    return socket.create_connection(("127.0.0.1", 9), timeout=1)


def in_a_thread() -> object:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(tried(connect)))
    thread.start()
    thread.join()
    return found[0]


def uring() -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(425, 1, ctypes.create_string_buffer(120)), ctypes.get_errno()


def numbers() -> object:
    return float((np.ones((300, 300)) @ np.ones((300, 300))).sum())


def many_files() -> object:
    files: list[int] = []
    try:
        while len(files) < 10 * OPEN_FILES:
            files.append(os.open(__file__, os.O_RDONLY))
    except OSError as why:
        return len(files), why.errno
    finally:
        for file in files:
            os.close(file)
    return len(files), 0


ACTIONS: dict[str, Callable[[], object]] = {
    "connect": connect,
    "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "name": lambda: socket.getaddrinfo("mlst.example", 80),
    "thread": in_a_thread,
    "child": os.fork,
    "session": os.setsid,
    "group": lambda: os.setpgid(0, 0),
    "exec": lambda: subprocess.run(["true"], check=True).returncode,
    "uring": uring,
    "numbers": numbers,
    "files": many_files,
    "core": lambda: resource.getrlimit(resource.RLIMIT_CORE)[0],
    "temporary": lambda: tempfile.mkstemp()[1],
    "read": lambda: len(Path(__file__).read_bytes()),
    "nowhere": lambda: Path(os.devnull).write_bytes(b"lost"),
    "signal": lambda: os.kill(os.getppid(), 0),
    "segfault": lambda: (tempfile.mkstemp(), os.kill(os.getpid(), signal.SIGSEGV)),
}


def tried(action: Callable[[], object]) -> object:
    """What an action gives, or the error that it meets."""
    try:
        return action()
    except OSError as why:
        return f"{type(why).__name__} {why}"


@dataclass(frozen=True, slots=True)
class Inside:
    """Does what an item names inside the worker and says what came of it."""

    outside: str
    name: ClassVar[str] = "inside"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Text
    needs: ClassVar[Needs] = OFFLINE

    def settings(self) -> Any:
        return {}

    def key(self, item: str) -> str:
        return item

    def reads(self, item: str) -> Iterable[Any]:
        return ()

    def expects(self, item: str) -> Expected:
        return Expected(("a", "large"), 1 << 20)

    def check(self, item: str, outputs: tuple[Text, ...]) -> None:
        pass

    def __call__(self, item: str, work: Workspace) -> Iterable[Text]:
        if item in ACTIONS:
            yield Text(json.dumps(tried(ACTIONS[item])), "")
        if item == "write":
            yield Text(str(tried(lambda: (Path(self.outside) / "x").write_text("x"))), "")
        if item == "large":
            with work.create("large") as (file, name):
                file.seek(FILE_BYTES)
                file.write(b"x")
        if item == "work":
            with work.create("a") as (file, name):
                file.write(b"x")
            yield Text(item, name)


@dataclass(frozen=True, slots=True)
class Online(Inside):
    """The same with a network."""

    needs: ClassVar[Needs] = ONLINE


def inside(stage: Inside, items: Iterable[str], root: Path) -> dict[str, Outcome]:
    root.mkdir()
    return {o.key: o for o in executor["local"](workers=2)(stage, items, Workspace(root, "inside"))}


def said(outcome: Outcome) -> Any:
    assert outcome.status == DONE, outcome
    return json.loads(outcome.outputs[0].item)


@sealed
def test_a_worker_without_network_has_none(tmp_path: Path) -> None:
    items = [name for name in ACTIONS if name != "signal"]
    found = inside(Inside(""), items, tmp_path / "work")
    for name in ("connect", "datagram", "unix", "thread", "child", "session", "group", "exec"):
        assert said(found[name]).startswith("PermissionError"), name
    assert said(found["name"]).startswith("gaierror")
    assert said(found["uring"]) == [-1, 38]
    assert said(found["numbers"]) == 300.0**3
    assert OPEN_FILES - 30 < said(found["files"])[0] < OPEN_FILES
    assert said(found["core"]) == 0
    assert said(found["read"]) > 0
    assert (found["segfault"].status, found["segfault"].kind) == ("failed", "crashed")
    assert not Path(said(found["temporary"])).parent.exists()


def test_a_worker_with_network_keeps_it(tmp_path: Path) -> None:
    found = inside(Online(str(tmp_path)), ["connect", "exec", "write"], tmp_path / "work")
    assert "refused" in said(found["connect"])
    assert said(found["exec"]) == 0
    assert found["write"].outputs[0].item == "1"


def test_a_file_that_grows_too_large_has_a_kind(tmp_path: Path) -> None:
    found = inside(Inside(""), ["large", "work"], tmp_path / "work")
    assert (found["large"].status, found["large"].kind) == ("failed", "file_size")
    assert found["work"].status == DONE
    assert [p.name for p in (tmp_path / "work" / "inside").iterdir()] == ["a"]


@pytest.mark.skipif(LANDLOCK < 1, reason="this kernel has no Landlock")
def test_a_worker_writes_in_its_folders_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    found = inside(Inside(str(outside)), ["write", "work", "nowhere", "signal"], tmp_path / "work")
    assert found["write"].outputs[0].item.startswith("PermissionError")
    assert list(outside.iterdir()) == []
    assert found["work"].status == DONE
    assert said(found["nowhere"]) == 4
    if LANDLOCK >= 6:
        assert said(found["signal"]).startswith("PermissionError")


def spin() -> Text:
    while True:
        pass


def raising(error: BaseException) -> Callable[[], Text]:
    def call() -> Text:
        raise error

    return call


def test_media_is_looked_at_apart() -> None:
    assert apart(Text, lambda: Text("a", "b"), OFFLINE, NOTHING) == Text("a", "b")
    if SEALED:
        assert "PermissionError" in apart(Text, lambda: Text(str(tried(connect)), ""), OFFLINE, NOTHING).item
    assert "refused" in str(tried(connect))
    with pytest.raises(Rejected) as refusal:
        apart(Text, raising(Rejected("corrupt", "no video")), OFFLINE, NOTHING)
    assert (refusal.value.kind, refusal.value.detail) == ("corrupt", "no video")


@pytest.mark.parametrize(
    ("call", "needs", "kind", "detail"),
    [
        (spin, Needs(0.3, 0, network=False), "timeout", "0.3 s"),
        (lambda: Text(str(bytearray(8 << 30)[0]), ""), OFFLINE, "memory", "4294967296 bytes"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), OFFLINE, "crashed", "SIGKILL"),
        (lambda: os._exit(3), OFFLINE, "crashed", "status 3"),
        (raising(ZeroDivisionError("bug")), OFFLINE, "error", "ZeroDivisionError: bug"),
        (lambda: 5, OFFLINE, "message", "no outcome"),
    ],
)
def test_an_odd_end_apart_is_a_failure_with_a_kind(call: Any, needs: Needs, kind: str, detail: str) -> None:
    with pytest.raises(Retry) as failure:
        apart(Text, call, needs, NOTHING)
    assert failure.value.kind == kind
    assert detail in failure.value.detail


@pytest.mark.parametrize(("code", "kind"), [(-signal.SIGXCPU, "cpu_time"), (-11, "crashed"), (-63, "crashed")])
def test_ends_without_a_message(code: int, kind: str) -> None:
    assert epitaph(code, OFFLINE, "a").kind == kind


GOOD = Outcome("a", DONE, "", "", (Text("a", "odd-1/a.txt"),))


@pytest.mark.parametrize(
    "change",
    [
        {"key": "b"},
        {"status": "great"},
        {"status": 1},
        {"kind": None},
        {"outputs": 5},
        {"outputs": [{"item": "a"}]},
        {"outputs": [{"item": "a", "file": 7}]},
        {"outputs": [{"item": 7, "file": "a"}]},
        {"outputs": [{"item": "\ud800", "file": "a"}]},
        {"status": FAILED, "kind": "error"},
        {"status": "pending"},
        {"extra": 1},
        {"kind": "k" * 65},
        {"detail": "d" * (1 << 17)},
    ],
)
def test_a_workers_word_is_checked(change: dict[str, Any]) -> None:
    message = json.loads(canonical_json(GOOD))
    assert received(json.dumps(message).encode(), Text, "a") == GOOD
    bad = received(json.dumps(message | change).encode(), Text, "a")
    assert (bad.key, bad.status, bad.kind, bad.outputs) == ("a", FAILED, "message", ())


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"[]", b"5", b"{}", b"[" * 100_000, b'{"outputs": []}'])
def test_what_is_no_message_is_a_crash(data: bytes) -> None:
    assert received(data, Text, "a").kind == "message"


@pytest.mark.parametrize(
    "name",
    ["inside/b", "a", "../../secret", "/etc/passwd", "build.json", "inside/../build.json", "inside//a", "inside/a\0b"],
)
def test_a_worker_names_no_file_but_its_own(name: str) -> None:
    def told(file: str) -> bytes:
        return canonical_json(Outcome("a", DONE, "", "", (Text("a", file),))).encode()

    assert judged(told("inside/a"), Inside(""), "a", "inside").status == DONE
    bad = judged(told(name), Inside(""), "a", "inside")
    assert (bad.status, bad.kind, bad.outputs) == (FAILED, "message", ())


def test_elsewhere_the_limits_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    def look() -> Text:
        return Text(str(tried(socket.socket)), str(resource.getrlimit(resource.RLIMIT_CORE)[0]))

    found = apart(Text, look, OFFLINE, NOTHING)
    assert found.item.startswith("<socket")
    assert found.file == "0"
    assert "no seccomp filter on riscv64" in missing() or LANDLOCK < 1


def test_limits_are_never_raised() -> None:
    def lowered() -> Text:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        confine(Needs(20.0, 0, network=True), NOTHING, ())
        limit_files()
        return Text(str(resource.getrlimit(resource.RLIMIT_NOFILE)), "")

    assert apart(Text, lowered, ONLINE, NOTHING).item == "(64, 64)"
