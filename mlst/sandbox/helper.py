"""A confined process that answers requests, for a program that must not look at a stranger's bytes itself.

    with Helper(Work(check, shared=0, seconds=30.0, memory=2 << 30)) as helper:
        answer = helper.ask(mp4)

The work is a function of a module: it is imported before the process is confined, and given each request with the
shared memory. What it answers may have been written by code hidden in the request: bound it and check it.
"""

import contextlib
import fcntl
import importlib
import mmap
import os
import select
import struct
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mlst.sandbox.descriptors import forget
from mlst.sandbox.kernel import Room, confine, missing
from mlst.sandbox.limits import limit_files, limit_memory

LONGEST = 1 << 20
"""Bytes of an answer."""
START = 60.0
"""Seconds that a process has to import its work and to confine itself."""
GRACE = 2.0
"""Seconds that a process has to end after its last request."""
ENVIRONMENT = ("HOME", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHOME")
"""All that a process is told of the environment."""
SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Threads that libraries start while they are imported would not be confined."""

_LENGTH = struct.Struct("<Q")
_DONE, _FAILED = b"\0", b"\1"

Call = Callable[[bytes, memoryview], bytes]


class Unconfined(RuntimeError):
    """No process can be confined here; the text says what is missing."""


class Lost(Exception):
    """A request without an answer; the text says what became of the process. The next request starts another one."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a helper does, and within which bounds."""

    call: Call
    """A function of a module, given a request and the shared memory."""
    shared: int
    """Bytes of memory that both sides see, 0 at first; for what is too large for an answer."""
    seconds: float
    """For each request."""
    memory: int
    """Bytes of address space."""


class Helper:
    """A confined process at a time, started at the first request; for one thread at a time, and not kept over forks.

    Raises
    ------
    Unconfined: when it is made, where the kernel cannot confine a process.
    """

    def __init__(self, work: Work) -> None:
        if lacking := missing():
            raise Unconfined(lacking)
        self.work = work
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def ask(self, request: bytes) -> bytes:
        """The work's answer. Raises `Lost` where the process crashes, is late, or the work raises."""
        process = self._running()
        try:
            process.send(request, time.monotonic() + self.work.seconds)
            answer = process.receive(time.monotonic() + self.work.seconds)
        except BaseException:
            self.close()  # what it says later would be taken for the answer to the next request
            raise
        if answer[:1] != _DONE:
            raise Lost(f"failed: {answer[1:].decode(errors='replace')[-2000:]!a}")
        return answer[1:]

    @property
    def shared(self) -> memoryview:
        """What the process that answered last has shared."""
        return self._running().shared

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.end()
        self._process = None

    def _running(self) -> "_Process":
        if self._process is None or self._process.owner != os.getpid():
            self._process = _Process(self.work)
        return self._process


class _Process:
    """A process that has confined itself."""

    def __init__(self, work: Work) -> None:
        self.owner, (ask, self._ask), (self._answer, answer) = os.getpid(), os.pipe(), os.pipe()
        memory = _memory(work.shared)
        theirs = (ask, answer, memory)
        named = f"{work.call.__module__}:{work.call.__qualname__}"
        try:
            self.shared = memoryview(mmap.mmap(memory, work.shared)) if work.shared else memoryview(b"")
            self._process = _started(["-c", _SERVE, named, *map(str, (*theirs, work.shared, work.memory))], theirs)
        except BaseException:
            _close((self._ask, self._answer))
            raise
        finally:
            _close(theirs)
        os.set_blocking(self._ask, False)
        self.end = weakref.finalize(self, _end, self.owner, self._process, (self._ask, self._answer))
        lacking = self.receive(time.monotonic() + START).decode(errors="replace")
        if lacking:
            self.end()
            raise Unconfined(lacking[:LONGEST])

    def send(self, request: bytes, until: float) -> None:
        for part in (_LENGTH.pack(len(request)), request):
            left = memoryview(part)
            while left:
                self._wait(self._ask, select.POLLOUT, until)
                try:
                    left = left[os.write(self._ask, left) :]
                except BrokenPipeError:
                    raise Lost(self._epitaph()) from None

    def receive(self, until: float) -> bytes:
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size, until))
        if size > LONGEST:
            raise Lost(f"answered {size} bytes, more than {LONGEST}")
        return self._exactly(size, until)

    def _exactly(self, size: int, until: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(self._answer, select.POLLIN, until)
            part = os.read(self._answer, size - len(data))
            if not part:
                raise Lost(self._epitaph())
            data += part
        return bytes(data)

    def _wait(self, file: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(file, event)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise Lost("gave no answer in time")

    def _epitaph(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(GRACE)
            return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return "closed its pipe"


def _memory(size: int) -> int:
    """A file in memory that cannot be made shorter, which would kill who reads there."""
    file = os.memfd_create("mlst", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return file


def _started(arguments: list[str], files: Iterable[int]) -> "subprocess.Popen[bytes]":
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), **SINGLE}
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=subprocess.DEVNULL,
        pass_fds=tuple(files),
        env=environment,
        process_group=0,  # Ctrl-C is for who asks
    )


def _end(owner: int, process: "subprocess.Popen[bytes]", files: Iterable[int]) -> None:
    if os.getpid() != owner:
        return  # a fork of the owner
    _close(files)
    process.kill()
    process.wait()


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)


_SERVE = "import sys; from mlst.sandbox.helper import serve; serve(sys.argv[1], *map(int, sys.argv[2:]))"


def serve(named: str, ask: int, answer: int, memory: int, shared: int, most: int) -> None:
    """The life of a helper's process."""
    module, _, name = named.partition(":")
    call: Call = getattr(importlib.import_module(module), name)
    view = memoryview(mmap.mmap(memory, shared)) if shared else memoryview(b"")
    os.close(memory)
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError(f"importing {module} started threads, which would not be confined")
    limit_memory(most)
    limit_files()
    forget({ask, answer})
    _send(answer, confine(Room((), ())).encode())
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            (size,) = _LENGTH.unpack(_received(ask, _LENGTH.size))
            _send(answer, _answered(call, _received(ask, size), view))


def _answered(call: Call, request: bytes, view: memoryview) -> bytes:
    try:
        return _DONE + call(request, view)
    except Exception:
        return _FAILED + traceback.format_exc().encode()[-LONGEST // 2 :]


def _send(file: int, data: bytes) -> None:
    left = memoryview(_LENGTH.pack(len(data)) + data)
    while left:
        left = left[os.write(file, left) :]


def _received(file: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(file, size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
