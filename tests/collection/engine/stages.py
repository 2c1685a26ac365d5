"""Small real stages for tests of executors, ledgers and resume; importable, because workers unpickle them by name."""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from collection.engine.stage import Expected, Needs, Rejected, Retry
from collection.workspace.folder import Span, Workspace
from mlst.records import Part


@dataclass(frozen=True, slots=True)
class Text:
    """A file with an item's name in it."""

    item: str
    file: str

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Part(self.file, 0, len(self.item), hashlib.sha256(self.item.encode()).hexdigest()),)


@dataclass(frozen=True, slots=True)
class Odd:
    """Does what its items are called; counts every call in a file of the workspace, so that work done twice shows:
    a confined worker could not."""

    shout: bool
    name: ClassVar[str] = "odd"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Text
    needs: ClassVar[Needs] = Needs(seconds=3.0, memory=1 << 30, network=True)

    def settings(self) -> Any:
        return {"shout": self.shout}

    def key(self, item: str) -> str:
        return item

    def reads(self, item: str) -> Iterable[Span]:
        return ()

    def expects(self, item: str) -> Expected:
        return Expected((f"{item}.txt",), 1 << 20)

    def check(self, item: str, outputs: tuple[Text, ...]) -> None:
        pass

    def __call__(self, item: str, work: Workspace) -> Iterable[Text]:
        note(work, item)
        if item == "lonely" or (item == "orphan" and calls(work.root).count(item) == 1):
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        behave(item)
        with work.create(f"{item}.txt") as (file, name):
            file.write((item.upper() if self.shout else item).encode())
        yield Text(item, name)


def behave(item: str) -> None:
    """What an item's name asks for."""
    match item.split("-", maxsplit=1)[0]:
        case "gone":
            raise Rejected("gone.private", "This video is private")
        case "blocked":
            raise Retry("blocked.rate", "HTTP 429")
        case "bug":
            raise ZeroDivisionError(item)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        case "exit":
            os._exit(7)
        case "hang":
            time.sleep(60)
        case "eat":
            bytearray(2 << 30)
        case "argv":
            if sys.argv[1:]:
                raise Rejected("told", " ".join(sys.argv))
        case "disk":
            with open("/proc/self/mem", "rb") as file:
                file.read(1)  # nothing is mapped at 0: EIO
        case "slow":
            time.sleep(0.5)


def note(work: Workspace, item: str) -> None:
    """Append to the list of calls; one short write is atomic."""
    with (work.root / "calls.txt").open("a") as file:
        file.write(f"{item}\n")
    with (work.root / "pids.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")


def calls(root: Path) -> list[str]:
    """Which items were worked on so far, in order."""
    path = root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def pids(root: Path) -> set[int]:
    """The processes that worked on items so far."""
    path = root / "pids.txt"
    return set(map(int, path.read_text().split())) if path.exists() else set()


class Quiet:
    """Watches and says nothing."""

    def begin(self, *_: object) -> None:
        pass

    start = outcome = fewer = end = begin
