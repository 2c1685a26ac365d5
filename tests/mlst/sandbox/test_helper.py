"""A helper's process is confined, answers, and is replaced when it crashes, hangs or raises."""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlst.sandbox.helper import LONGEST, Helper, Lost, Work, _memory
from mlst.sandbox.kernel import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def work(request: bytes, shared: memoryview) -> bytes:
    """What the tests ask for: a name of one of the functions below, and its argument."""
    name, _, argument = request.partition(b" ")
    return WORKS[name.decode()](argument, shared)


def fill(argument: bytes, shared: memoryview) -> bytes:
    shared[: len(argument)] = argument
    return b"filled"


def refused(call: Callable[[], object]) -> bytes:
    try:
        call()
    except OSError as why:
        return errno.errorcode[why.errno or 0].encode()
    return b"done"


WORKS: dict[str, Callable[[bytes, memoryview], bytes]] = {
    "size": lambda argument, _: str(len(argument)).encode(),
    "pid": lambda *_: str(os.getpid()).encode(),
    "fill": fill,
    "read": lambda argument, _: refused(lambda: open(argument, "rb").close()),
    "write": lambda argument, _: refused(lambda: open(argument, "wb").close()),
    "socket": lambda *_: refused(socket.socket),
    "start": lambda *_: refused(os.fork),
    "environment": lambda *_: " ".join(sorted(os.environ)).encode(),
    "crash": lambda *_: os.abort(),
    "hang": lambda *_: time.sleep(60) or b"",
    "raise": lambda *_: str(1 // 0).encode(),
    "long": lambda *_: bytes(LONGEST + 1),
    "fat": lambda *_: bytes(bytearray(8 << 30)[:1]),
}


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    with Helper(Work(work, shared=4096, seconds=5.0, memory=4 << 30)) as made:
        yield made


def test_answers_requests_of_any_size_and_shares_memory(helper: Helper) -> None:
    assert [helper.ask(b"size " + bytes(size)) for size in (0, 1, 300_000)] == [b"0", b"1", b"300000"]
    assert helper.ask(b"fill seen by both") == b"filled"
    assert bytes(helper.shared[:12]) == b"seen by both"


def test_is_one_process_that_is_confined(helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("secret")
    assert helper.ask(b"pid") == helper.ask(b"pid") != str(os.getpid()).encode()
    assert helper.ask(b"read " + bytes(tmp_path / "secret")) == b"EACCES"
    assert helper.ask(b"write " + bytes(tmp_path / "new")) == b"EACCES"
    assert helper.ask(b"socket") == helper.ask(b"start") == b"EPERM"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    helper.close()
    assert b"TOKEN" not in helper.ask(b"environment")


def test_memory_cannot_be_made_shorter_under_who_reads_it() -> None:
    file = _memory(4096)
    assert refused(lambda: os.ftruncate(file, 0)) == refused(lambda: os.ftruncate(file, 8192)) == b"EPERM"
    os.close(file)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ("crash", "killed by signal 6"),
        ("raise", "ZeroDivisionError"),
        ("long", f"answered {LONGEST + 2} bytes"),
        ("fat", "MemoryError"),
    ],
)
def test_what_it_does_wrong_is_typed_and_the_next_request_answered(helper: Helper, request_: str, told: str) -> None:
    with pytest.raises(Lost, match=told):
        helper.ask(request_.encode())
    assert helper.ask(b"size 1234") == b"4"


def test_one_that_hangs_is_killed() -> None:
    with Helper(Work(work, shared=0, seconds=0.3, memory=4 << 30)) as slow:
        first = int(slow.ask(b"pid"))
        with pytest.raises(Lost, match="in time"):
            slow.ask(b"hang")
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert int(slow.ask(b"pid")) != first


def test_a_fork_starts_a_process_of_its_own(helper: Helper) -> None:
    first, (read, write) = helper.ask(b"pid"), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, helper.ask(b"pid"))
            helper.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) not in (b"", first)
    assert helper.ask(b"pid") == first
    os.close(read)
    os.close(write)
