"""Stages whose workers lie or litter; importable, because workers unpickle them by name, and quick to import."""

import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from collection.engine.stage import DONE, Expected, Needs, Outcome, Retry
from collection.workspace.folder import Workspace
from mlst.records import canonical_json
from tests.collection.engine.stages import Text

GOOD = canonical_json(Outcome("drip", DONE, "", "", (Text("drip", "hijacked/drip.txt"),))).encode()


@dataclass(frozen=True, slots=True)
class Hijacked:
    """Does with its own end of the driver's pipe what an item names, as code in a decoder's process could."""

    name: ClassVar[str] = "hijacked"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Text
    needs: ClassVar[Needs] = Needs(seconds=5.0, memory=0, network=False)

    def settings(self) -> Any:
        return {}

    def key(self, item: str) -> str:
        return item

    def reads(self, item: str) -> Iterable[Any]:
        return ()

    def expects(self, item: str) -> Expected:
        return Expected(("drip.txt",), 1 << 20)

    def check(self, item: str, outputs: tuple[Text, ...]) -> None:
        pass

    def __call__(self, item: str, work: Workspace) -> Iterator[Text]:
        pipe = next(file for file in range(3, 99) if is_pipe(file))
        if item == "drip":
            with work.create("drip.txt"):
                pass
        act(item, pipe)
        yield Text(item, "")


def is_pipe(file: int) -> bool:
    """Whether an open file is a pipe that can be written to."""
    try:
        return stat.S_ISFIFO(os.fstat(file).st_mode) and os.write(file, b"") == 0
    except OSError:
        return False


def act(item: str, pipe: int) -> None:
    """Write to the pipe, and mostly never return."""
    match item:
        case "half":
            os.write(pipe, GOOD[:20])
            time.sleep(60)
        case "trickle":
            while True:
                os.write(pipe, b"x")
                time.sleep(0.01)
        case "flood":
            while True:
                os.write(pipe, b"x" * (1 << 16))
        case "half-and-exit":
            os.write(pipe, GOOD[:20])
            os._exit(0)
        case "child":
            os.write(pipe, GOOD[:20])
            if os.fork():
                os._exit(0)
            time.sleep(60)
        case "drip":
            for byte in GOOD + b"\n":
                os.write(pipe, bytes([byte]))
            time.sleep(60)


@dataclass(frozen=True, slots=True)
class Littering(Hijacked):
    """Writes a temporary file and hangs, but for the items `quick`, and `look`, which says what files it found."""

    name: ClassVar[str] = "littering"
    needs: ClassVar[Needs] = Needs(seconds=60.0, memory=0, network=False)

    def __call__(self, item: str, work: Workspace) -> Iterator[Text]:
        if item == "look":
            raise Retry("seen", " ".join(os.listdir(tempfile.gettempdir())))
        path = Path(tempfile.mkdtemp()) / f"{item}.tmp"
        path.write_text("much")
        if item != "quick":
            time.sleep(60)
        yield Text(item, "")
