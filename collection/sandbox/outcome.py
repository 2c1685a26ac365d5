"""How an item ends that is done in a process of its own: with a message, or without one.

A message is JSON and not a pickle, and nothing of it is believed unseen: a worker that hostile media has taken over
may send what it likes. It can spoil its own item, but run no code here, speak for no other item, and name no file but
those that an honest worker would have made.
"""

import signal
from collections.abc import Iterator
from typing import Never

from collection.engine.stage import DONE, FAILED, In, Needs, Out, Outcome, Stage
from mlst.records import canonical_json, decode_json

LONGEST_KIND, LONGEST_DETAIL = 64, 1 << 16
"""Characters of the reason and of what is said about it: a traceback at most."""


def message(outcome: Outcome[object]) -> bytes:
    """What a worker sends: a line of JSON, without its end."""
    return canonical_json(outcome).encode()


def judged(data: bytes, stage: Stage[In, Out], item: In, folder: str) -> Outcome[Out]:
    """The outcome of an item in a message; a failure where it is none, or cannot be true of the item.

    `folder` is the stage's in the workspace.
    """
    outcome = received(data, stage.output, stage.key(item))
    try:
        allowed = {f"{folder}/{name}" for name in stage.expects(item).files}
        if odd := sorted(set(files(outcome)) - allowed):
            raise ValueError(f"a file {odd[0]!r}")
        if outcome.status == DONE:
            stage.check(item, outcome.outputs)
    except ValueError as why:
        return _bad(outcome.key, why)
    return outcome


def received(data: bytes, kind: type[Out], key: str) -> Outcome[Out]:
    """The outcome of the item `key`, with outputs of the type `kind`, in a message; a failure where it is not one."""
    try:
        outcome = decode_json(_outcome_of(kind), data)
        if outcome.key != key:
            raise ValueError(f"an outcome of {outcome.key!r}")
        if outcome.outputs and outcome.status != DONE:
            raise ValueError(f"outputs of an item that is {outcome.status}")
        if len(outcome.kind) > LONGEST_KIND or len(outcome.detail) > LONGEST_DETAIL:
            raise ValueError(f"a kind of {len(outcome.kind)} characters, a detail of {len(outcome.detail)}")
    except ValueError as why:
        return _bad(key, why)
    return outcome


def files(outcome: Outcome[object]) -> Iterator[str]:
    """Names of the files that outputs speak of, relative to the workspace."""
    named = (getattr(output, name, "") for output in outcome.outputs for name in ("file", "rows"))
    return filter(None, named)


def _bad(key: str, why: ValueError) -> Outcome[Never]:
    return Outcome(key, FAILED, "message", f"the worker sent no outcome of this item: {ascii(str(why))[:200]}", ())


def _outcome_of(kind: type[Out]) -> type[Outcome[Out]]:
    return Outcome[kind]  # type: ignore[valid-type]  # known when it runs


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
