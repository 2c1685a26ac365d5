"""How an item ends that is done in a process of its own: with a message, or without one.

A message is JSON and not a pickle, and nothing of it is believed unseen: a worker that hostile media has taken over
may send what it likes. It can spoil its own item, but run no code here, speak for no other item, and name no file
outside the workspace.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Never

from collection.engine.stage import DONE, FAILED, REJECTED, Needs, Out, Outcome, Rejected, Retry, ended
from collection.sandbox.kernel import confine
from mlst.records import canonical_json, decode_json

LONGEST = 1 << 29
"""Bytes of a message: some 400 000 clips of one video."""


def message(outcome: Outcome[object]) -> bytes:
    """What a worker sends: a line of JSON, without its end."""
    return canonical_json(outcome).encode()


def received(data: bytes, kind: type[Out], key: str) -> Outcome[Out]:
    """The outcome of the item `key`, with outputs of the type `kind`, in a message; a failure where it is not one."""
    try:
        outcome = decode_json(_outcome_of(kind), data)
        if outcome.key != key:
            raise ValueError(f"an outcome of {outcome.key!r}")
        if outcome.outputs and outcome.status != DONE:
            raise ValueError(f"outputs of an item that is {outcome.status}")
        for name in _files(outcome):
            if "\0" in name or name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise ValueError(f"a file {name!r}")
    except ValueError as why:
        return Outcome(key, FAILED, "crashed", f"the worker sent no outcome of this item: {ascii(str(why))[:200]}", ())
    return outcome


def _outcome_of(kind: type[Out]) -> type[Outcome[Out]]:
    return Outcome[kind]  # type: ignore[valid-type]  # known when it runs


def _files(outcome: Outcome[object]) -> Iterator[str]:
    return (output.file for output in outcome.outputs if hasattr(output, "file"))


def apart(kind: type[Out], call: Callable[[], Out], needs: Needs) -> Out:
    """The record that `call` gives in a confined fork of this process: for media in a stage that needs the network.

    Raises what `call` raises of `Rejected` and `Retry`, and `Retry` for any other end. The fork may write nowhere and
    has no wall clock of its own: it dies with its group at the deadline of the stage.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            confine(needs, ())
            with os.fdopen(theirs, "wb") as file:
                file.write(message(ended("", needs, lambda: [call()])))
            os._exit(0)
        os._exit(1)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        data = file.read(LONGEST)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    outcome = received(data, kind, "") if code == 0 else epitaph(code, needs, "")
    if outcome.status == DONE and len(outcome.outputs) == 1:
        return outcome.outputs[0]
    raise (Rejected if outcome.status == REJECTED else Retry)(outcome.kind, outcome.detail)


def epitaph(code: int | None, needs: Needs, key: str) -> Outcome[Never]:
    """The outcome of a worker that ended with exit code `code` (minus a signal's number) and sent none."""
    if code == -signal.SIGXCPU:
        return Outcome(key, FAILED, "cpu_time", f"more than {needs.seconds:g} s of CPU time", ())
    if code is None:
        return Outcome(key, FAILED, "crashed", "worker sent no outcome and did not end", ())
    if code < 0:
        return Outcome(key, FAILED, "crashed", f"worker killed by {_signal(-code)}", ())
    return Outcome(key, FAILED, "crashed", f"worker ended with status {code} and no outcome", ())


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
