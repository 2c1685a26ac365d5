"""What a build is doing, for other processes: its driver renews a file of the workspace, and they read it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, Literal

from collection.report.board import Board, Now
from collection.report.status import read_note
from collection.workspace.folder import Workspace
from collection.workspace.store import Stored
from mlst.exits import UserError
from mlst.records import canonical_json, decode_json

PROGRESS = "progress.json"
BEAT, BEAT_OF_STORE = 2.0, 15.0
"""Seconds between two versions of the file; every one is a request where the workspace is in a store."""
MISSED = 5
"""Beats without which a build is taken to be gone: `kill -9`, or a machine without power, ends it without a word."""

RUNNING: Final = "running"
ENDED: Final = "ended"
GONE: Final = "gone"


@dataclass(frozen=True, slots=True)
class Beat:
    """What the file holds."""

    number: int
    """Another in each version."""
    every: float
    """Seconds from one version to the next."""
    now: Now


@dataclass(frozen=True, slots=True)
class Seen:
    """A build that runs elsewhere, at one look."""

    state: Literal["running", "ended", "gone"]
    now: Now


NOTHING = Beat(-1, BEAT, Now((), (), 0, "begun", 0.0, None, None))
"""Of a build that has said nothing yet."""


@contextlib.contextmanager
def told(work: Workspace, board: Board) -> Iterator[None]:
    """Keep the file of a build while it runs, and its last version afterwards."""
    over = threading.Event()
    every = BEAT_OF_STORE if isinstance(work, Stored) else BEAT
    thread = threading.Thread(target=_beat, args=(work, board, every, over), daemon=True, name="progress file")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat(work: Workspace, board: Board, every: float, over: threading.Event) -> None:
    last = False
    for number in count():
        # A build does not fail for this file: what a full disk or a lost store does not take is left out.
        with contextlib.suppress(OSError, UserError), replace(work, folder="").create(PROGRESS) as (file, _):
            file.write(canonical_json(Beat(number, every, board.now())).encode())
        if last:
            return
        last = over.wait(every)


def watched(
    look: Callable[[], AbstractContextManager[Workspace]],
    wait: Callable[[], object],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Seen]:
    """A build that runs elsewhere at every look, until it has ended or is gone. Raises `NoBuildError`.

    Each `look` opens the workspace anew, because what is read of a store is kept until it is closed.
    """
    before, since = NOTHING, clock()
    while True:
        with look() as work:
            ended = bool(read_note(work).spent)  # read first: what is read afterwards is complete
            beat = _read(work)
        if beat != before:
            before, since = beat, clock()
        gone = clock() - since > MISSED * beat.every
        yield Seen(ENDED if ended else GONE if gone else RUNNING, beat.now)
        if ended or gone:
            return
        wait()


def _read(work: Workspace) -> Beat:
    """The last beat; `NOTHING` where there is none, or one of another version of this program."""
    with contextlib.suppress(ValueError):
        if work.exists(PROGRESS):
            return decode_json(Beat, work.path(PROGRESS).read_bytes())
    return NOTHING
