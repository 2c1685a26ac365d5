"""Media in a process that has the network, or in the driver: looked at in a confined fork of it.

What the fork wants of a file that only its parent can reach it asks for, offset and length, over a pipe: so network
and libav are never in one process.
"""

import contextlib
import os
import select
import signal
import struct
import time
from collections.abc import Callable
from typing import Never

from collection.engine.stage import DONE, FAILED, LONGEST, REJECTED, Needs, Out, Outcome, Rejected, Retry, ended
from collection.sandbox.kernel import confine
from collection.sandbox.outcome import epitaph, message, received
from mlst.sandbox.kernel import Room

Fetch = Callable[[int, int], bytes]
"""Gives the bytes of a file at an offset, of a length."""

MOST = 16 << 20
"""Bytes that a fork may ask for at once."""
PIECE = 1 << 20
GRACE = 5.0
"""Seconds that a fork has to exit after it has answered."""
_REQUEST, _LENGTH = struct.Struct("<QQ"), struct.Struct("<Q")


def apart(kind: type[Out], call: Callable[[], Out], needs: Needs, room: Room) -> Out:
    """The record that `call` gives in a confined fork of this process.

    Raises what `call` raises of `Rejected` and `Retry`, and `Retry` for any other end.
    """
    return served(kind, lambda _: call(), needs, room, _nothing)


def served(kind: type[Out], call: Callable[[Fetch], Out], needs: Needs, room: Room, fetch: Fetch) -> Out:
    """As `apart`; `call` is given what asks this process for bytes, which come from `fetch`.

    What `fetch` raises is raised here, and the fork is ended.
    """
    data = forked(lambda ask: message(ended("", needs, lambda: [call(ask)])), needs, room, fetch)
    outcome = received(data, kind, "")
    if outcome.status == DONE and len(outcome.outputs) == 1:
        return outcome.outputs[0]
    raise (Rejected if outcome.status == REJECTED else Retry)(outcome.kind, outcome.detail)


def forked(call: Callable[[Fetch], bytes], needs: Needs, room: Room, fetch: Fetch) -> bytes:
    """The bytes that `call` gives in a confined fork of this process; `Retry` where it gives none, or too late."""
    result, ask, answer = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            confine(needs, room, {result[1], ask[1], answer[0]})
            data = call(lambda offset, length: _asked(ask[1], answer[0], offset, length))
            os.close(ask[1])
            _write(result[1], data)
            os._exit(0)
        os._exit(1)
    for theirs in (result[1], ask[1], answer[0]):
        os.close(theirs)
    end, data = time.monotonic() + needs.seconds, b""
    try:
        _serve(ask[0], answer[1], fetch, end)
        data = _read(result[0], LONGEST, end)
    finally:
        for ours in (result[0], ask[0], answer[1]):
            os.close(ours)
        code = _over(child, end)
    if code == 0:
        return data
    failure = _late(needs) if time.monotonic() >= end else epitaph(code, needs, "")
    raise Retry(failure.kind, failure.detail)


def _nothing(offset: int, length: int) -> Never:
    raise ValueError(f"a confined process asked for {length} bytes at {offset} of nothing")


def _late(needs: Needs) -> Outcome[Never]:
    return Outcome("", FAILED, "timeout", f"no outcome within {needs.seconds:g} s", ())


def _asked(ask: int, answer: int, offset: int, length: int) -> bytes:
    """The fork's side: bytes that its parent fetches."""
    os.write(ask, _REQUEST.pack(offset, length))
    (size,) = _LENGTH.unpack(_exactly(answer, _LENGTH.size))
    return _exactly(answer, size)


def _exactly(file: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(file, min(PIECE, size - len(data)))
        if not part:
            raise EOFError("the parent has gone, or fetched nothing")
        data += part
    return bytes(data)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _serve(ask: int, answer: int, fetch: Fetch, end: float) -> None:
    """The parent's side: answer requests until the fork has no more of them, is gone, or is late."""
    while len(request := _read(ask, _REQUEST.size, end)) == _REQUEST.size:
        offset, length = _REQUEST.unpack(request)
        if length > MOST:
            raise ValueError(f"a confined process asked for {length} bytes at once, not at most {MOST}")
        data = fetch(offset, length)
        if not _send(answer, _LENGTH.pack(len(data)) + data, end):
            return


def _read(file: int, size: int, end: float) -> bytes:
    """At most `size` bytes, fewer where the other side ends before or time is up."""
    data = bytearray()
    while len(data) < size and select.select([file], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(file, min(PIECE, size - len(data)))
        if not part:
            break
        data += part
    return bytes(data)


def _send(file: int, data: bytes, end: float) -> bool:
    """Whether the other side took it all in time."""
    os.set_blocking(file, False)
    left = memoryview(data)
    while left and select.select([], [file], [], max(0.0, end - time.monotonic()))[1]:
        try:
            left = left[os.write(file, left) :]
        except BrokenPipeError:
            break
    return not left


def _over(child: int, end: float) -> int:
    """The exit code of a fork, which is killed when its time is up or an error has ended the work on it."""
    until = min(end, time.monotonic() + GRACE)
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
