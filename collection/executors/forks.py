"""Processes from the fork server of `multiprocessing`, started and awaited with few system calls.

`multiprocessing.Process` does the same at twice the CPU time, on both sides: it describes the program anew for each
process, and keeps a list of all. Used of it is `forkserver.connect_to_new_process`, and that a server's fork reads two
pickles, what to prepare and an object whose `_bootstrap` it calls: so it is in Python 3.11 to 3.13.
"""

import contextlib
import math
import os
import pickle
import select
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, spawn
from typing import Any

_NUMBER = struct.Struct("q")
"""How the server tells of a process: its id when it has been started, its exit code when it has ended."""
LONGEST = 1e6
"""Seconds that poll(2) waits at most: it takes an int of milliseconds."""


class LostServerError(Exception):
    """The fork server was killed before it could tell how a process ended: nothing is known of its work."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A process, as its driver sees it. All are open files of the driver."""

    pid: int
    pipe: int
    """To read what the process writes."""
    status: int
    """Where the server tells of it."""
    leash: int
    """When this is closed, the other end of which the process has, it knows that it is alone."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a process does: `call(*arguments, pipe, leash)`, with its own ends of both."""

    call: Callable[..., None]
    arguments: tuple[Any, ...]

    def _bootstrap(self, leash: int) -> int:
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        (pipe,) = forkserver.get_inherited_fds()  # type: ignore[misc]  # typeshed: None
        try:
            self.call(*self.arguments, pipe, leash)
        except SystemExit as why:
            return why.code if isinstance(why.code, int) else 1
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(AttributeError, ValueError, OSError):
                    stream.flush()
        return 0


def prepared() -> bytes:
    """What all processes are told before their task: where modules are found, and the folder they work in. Not the
    command line, in which a proxy's password may stand."""
    said = spawn.get_preparation_data("worker")
    return pickle.dumps({name: value for name, value in said.items() if name not in ("authkey", "sys_argv")})


def start(before: bytes, task: Task) -> Fork:
    """Start a process. Raises `LostServerError`."""
    data = before + pickle.dumps(task)
    pipe, theirs = os.pipe()
    try:
        try:
            status, leash = forkserver.connect_to_new_process([theirs])
        finally:
            os.close(theirs)
    except (EOFError, OSError) as why:
        os.close(pipe)
        if isinstance(why, EOFError | ConnectionError):
            raise LostServerError from None
        raise
    try:
        with open(leash, "wb", closefd=False) as file:
            file.write(data)
        return Fork(_told(status), pipe, status, leash)
    except (LostServerError, ConnectionError):
        for handle in (pipe, status, leash):  # which ends the process, should there be one
            os.close(handle)
        raise LostServerError from None


def wait(handles: Sequence[int], seconds: float) -> set[int]:
    """Those of some open files that can be read or whose other end is closed, when there is one or time is up."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    return {handle for handle, _ in poll.poll(math.ceil(1000 * max(0.0, min(seconds, LONGEST))))}


def exit_code(process: Fork) -> int:
    """Of a process that has ended, or minus the number of the signal that ended it; can be asked once. Raises
    `LostServerError`."""
    return _told(process.status)


def end(process: Fork) -> None:
    """End a process with everything it started, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if not wait([process.status], 0):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL)
        wait([process.status], LONGEST)
    for handle in (process.pipe, process.status, process.leash):
        os.close(handle)


def _told(status: int) -> int:
    data = b""
    while len(data) < _NUMBER.size:
        part = os.read(status, _NUMBER.size - len(data))
        if not part:
            raise LostServerError
        data += part
    return int(_NUMBER.unpack(data)[0])
