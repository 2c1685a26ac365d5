"""What became of every item of a stage: an append-only file of outcomes, and a few numbers per item in memory.

The ledger is a folder of numbered segments, JSON Lines, written by the driver alone. A run adds segments of its own
and never changes an old one, so that a store which can only replace whole files can hold them. A line is a pair: what
is looked at for every item, then the outputs, which are decoded only where somebody asks for them. The last line of a
key counts. Each ends in a CRC-32 of what stands before it, which finds every damage of up to 32 bits in a row; lines
from before there were sums are read without. A torn or damaged line is passed over and its item done again.
"""

import contextlib
import json
import time
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Generic, Self, TypeVar

from collection.engine.stage import DONE, FAILED, Out, Out_co, Outcome, Status
from collection.workspace.folder import Workspace
from mlst.exits import Exit, UserError
from mlst.records import canonical_json, decode, decode_json

SEGMENT = 64 << 20
"""Bytes at which a segment is closed; one more line may go beyond."""

PAUSE = 0.5
"""Seconds between two waits for the disk: an outcome that is lost with the power only means an item done again."""

SHARE = 10
"""At most one part in so many of the time is spent waiting for the disk or the store."""

DETAIL = 4000
"""Characters of a detail that are kept: the end of a traceback says most."""

BLAMELESS = ("blocked", "network", "disk_full", "machine", "unknown", "unreadable", "damaged")
"""Failures that say nothing about the item; they never lead to quarantine."""

PENDING = "pending"
"""Status of an item without an outcome."""

T = TypeVar("T")

_DECODER = json.JSONDecoder()
_BETWEEN = b"},["
"""What stands between the head of a line and its outputs."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a line of the ledger begins with."""

    key: str
    status: Status
    kind: str
    detail: str


class DamagedLedgerError(UserError, ValueError):
    """A line of a ledger was damaged while a build ran."""

    exit_code = Exit.PARTLY


def line_of(outcome: Outcome[object]) -> bytes:
    """An outcome as a line of the ledger: a list of its head, its outputs and their sum."""
    head = Head(outcome.key, outcome.status, outcome.kind, outcome.detail[-DETAIL:])
    body = canonical_json((head, outcome.outputs)).encode().removesuffix(b"]")
    return body + _sum(body)


def _sum(body: bytes) -> bytes:
    """How a line ends that begins with `body`: 13 bytes."""
    return b',"%08x"]\n' % zlib.crc32(body)


def _body(line: bytes) -> bytes:
    """The list of head and outputs in a line without its last bracket. Raises ValueError where the sum is wrong."""
    if line.endswith(b"]]\n"):
        return line[:-2]
    body, told = line[:-13], line[-13:]
    if told != _sum(body):
        raise ValueError("the line is torn, or its sum is not that of its bytes")
    return body


def parse_line(output: type[Out], line: bytes) -> Outcome[Out]:
    """The outcome in a line of the ledger, which has outputs of the type `output`. Raises ValueError."""
    head, outputs = decode_json(_pair(output), _body(line) + b"]")  # type: ignore[arg-type]  # a type is hashable
    return Outcome(head.key, head.status, head.kind, head.detail, outputs)


def outputs_in(output: type[Out], line: bytes) -> tuple[Out, ...]:
    """The outputs in a line of the ledger, whose head is passed over. Raises ValueError."""
    body = _body(line)
    with contextlib.suppress(ValueError):  # a detail with such an end in it, as nothing that is done has
        found: tuple[Out, ...] = decode_json(_outputs(output), body[body.index(_BETWEEN) + len("},") :])  # type: ignore[arg-type]
        return found
    return parse_line(output, line).outputs


def _name(_: type[object], line: bytes) -> str:
    """What stands before the @ of the key in a line. Raises ValueError."""
    body, mark = _body(line), b'"key":"'  # in a detail, quotation marks are escaped
    begin = body.index(mark) + len(mark)
    return body[begin : body.index(b"@", begin)].decode()


@cache
def _pair(output: Any) -> Any:
    """What a line is without its sum."""
    return tuple[Head, tuple[output, ...]]


@cache
def _outputs(output: Any) -> Any:
    return tuple[output, ...]


def _head(line: bytes) -> Head:
    """The head of a line; the rest is not taken apart. Raises ValueError."""
    body, head = _body(line), _told(line)
    if head.status != DONE and not body.endswith(b",[]"):
        raise ValueError(f"outputs of an item that is {head.status}")
    return head


def _told(line: bytes) -> Head:
    """What a line says its head is, right or wrong. Raises ValueError."""
    with contextlib.suppress(ValueError):  # a detail with such an end in it
        return decode_json(Head, line[len("[") : line.index(_BETWEEN) + len("}")])
    try:
        value, _ = _DECODER.raw_decode(line.decode(), len("["))
    except RecursionError as why:
        raise ValueError(f"nested too deep: {why}") from None
    return decode(Head, value)


@dataclass(frozen=True, slots=True)
class Places:
    """Columns with a number per item: where its outcome lies, and how it ended."""

    segment: "array[int]"
    offset: "array[int]"
    length: "array[int]"
    end: "array[int]"
    """Index into a list of (status, kind)."""

    def put(self, row: int, segment: int, offset: int, length: int, end: int) -> None:
        """Set the numbers of an item."""
        self.segment[row], self.offset[row], self.length[row], self.end[row] = segment, offset, length, end

    def grow(self) -> None:
        """Add an item that nothing is known of."""
        for column in (self.segment, self.offset, self.length, self.end):
            column.append(0)

    def pick(self, rows: "array[int]") -> "Places":
        """The same columns for `rows`, in their order."""
        columns = (self.segment, self.offset, self.length, self.end)
        return Places(*(array(column.typecode, map(column.__getitem__, rows)) for column in columns))


@dataclass(frozen=True, slots=True)
class Outcomes(Generic[Out_co]):
    """One outcome per item, in the order of the items; each is read again whenever it is looked at."""

    output: type[Out_co]
    paths: Sequence[Path]
    """Of the segments."""
    ends: Sequence[tuple[str, str]]
    places: Places

    def __len__(self) -> int:
        return len(self.places.end)

    def __iter__(self) -> Iterator[Outcome[Out_co]]:
        """Those there are; pending items have none."""
        return self._read(range(len(self)))

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many ended with which status and kind."""
        return Counter({self.ends[end]: count for end, count in Counter(self.places.end).items()})

    @property
    def undone(self) -> Iterator[Outcome[Out_co]]:
        """Those that are not done."""
        return self._read(row for row, end in enumerate(self.places.end) if self.ends[end][0] != DONE)

    @property
    def outputs(self) -> Iterator[Out_co]:
        """Those of the items that are done."""
        with contextlib.closing(Reader(self.output, self.paths)) as reader:
            for row in self._done():
                yield from reader.outputs(self.places, row)

    def outputs_of(self, names: Collection[str]) -> Iterator[Out_co]:
        """As `outputs`, of the items with one of `names` before the @ of their key; others are not taken apart."""
        with contextlib.closing(Reader(self.output, self.paths)) as reader:
            for row in self._done():
                if reader.name(self.places, row) in names:
                    yield from reader.outputs(self.places, row)

    def _done(self) -> Iterator[int]:
        return (row for row, end in enumerate(self.places.end) if self.ends[end][0] == DONE)

    def saying(self, *words: bytes) -> Iterator[Outcome[Out_co]]:
        """Those in whose line one of `words` stands; the others are looked through, but not taken apart."""
        return self._read(range(len(self)), words)

    def _read(self, rows: Iterable[int], words: Sequence[bytes] = ()) -> Iterator[Outcome[Out_co]]:
        places = self.places
        with contextlib.closing(Reader(self.output, self.paths)) as reader:
            for row in rows:
                if self.ends[places.end[row]][0] != PENDING and reader.says(places, row, words):
                    yield reader.outcome(places, row)


@dataclass(frozen=True, slots=True)
class Outputs(Generic[Out_co]):
    """Outputs of the items that are done, in the order of the items; read from the ledger on every pass."""

    outcomes: Outcomes[Out_co]

    def __iter__(self) -> Iterator[Out_co]:
        return self.outcomes.outputs


class Reader(Generic[Out]):
    """Reads single outcomes; neighbours in a segment come fastest."""

    def __init__(self, output: type[Out], paths: Sequence[Path]) -> None:
        self._output, self._paths = output, paths
        self._segment, self._file = -1, None  # type: int, BinaryIO | None

    def outcome(self, places: Places, row: int) -> Outcome[Out]:
        """The outcome of an item. Raises `DamagedLedgerError` where the line was changed behind our back."""
        return self._parsed(parse_line, places, row)

    def outputs(self, places: Places, row: int) -> tuple[Out, ...]:
        """The outputs of an item that is done. Raises as `outcome`."""
        return self._parsed(outputs_in, places, row)

    def name(self, places: Places, row: int) -> str:
        """What stands before the @ of an item's key. Raises as `outcome`."""
        return self._parsed(_name, places, row)

    def _parsed(self, parse: Callable[[type[Out], bytes], T], places: Places, row: int) -> T:
        try:
            return parse(self._output, self._line(places, row))
        except ValueError as why:
            path = self._paths[self._segment]
            raise DamagedLedgerError(
                f"{path}: byte {places.offset[row]}: {why}; run the same command again: it does that item again"
            ) from None

    def says(self, places: Places, row: int, words: Sequence[bytes]) -> bool:
        """Whether the line of an item has one of `words`; always where there are none."""
        return not words or any(word in self._line(places, row) for word in words)

    def _line(self, places: Places, row: int) -> bytes:
        if self._file is None or self._segment != places.segment[row]:
            self.close()
            self._segment = places.segment[row]
            self._file = self._paths[self._segment].open("rb")
        self._file.seek(places.offset[row])
        return self._file.read(places.length[row])

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
        self._file = None


class Ledger(Generic[Out]):
    """The outcomes of a stage. Items have rows: numbers that stay the same as long as the ledger is open."""

    def __init__(self, work: Workspace, output: type[Out]) -> None:
        self._work, self._folder, self._output = work, f"{work.folder}/ledger", output
        self._rows: dict[str, int] = {}
        self._places = Places(array("H"), array("Q"), array("I"), array("I"))
        self._breaks = array("B")
        self._ends: dict[tuple[str, str], int] = {(PENDING, ""): 0}
        self._kinds = [(PENDING, "")]
        self._paths: list[Path] = []
        names = work.names(self._folder)
        for name in names:
            self._paths.append(work.path(name))
            self._index(self._paths[-1])
        self._number = int(Path(names[-1]).stem) if names else -1
        self._reader = Reader(output, self._paths)
        self._file: BinaryIO | None = None
        self._synced, self._pause = time.monotonic(), PAUSE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Make sure of what was added, and give the files back."""
        self._end_segment()
        self._reader.close()

    def __len__(self) -> int:
        """How many items have rows, which are numbered from 0."""
        return len(self._breaks)

    def row(self, key: str) -> int:
        """The row of the item `key`; a new one is pending."""
        row = self._rows.setdefault(key, len(self._rows))
        if row == len(self._breaks):
            self._places.grow()
            self._breaks.append(0)
        return row

    def status(self, row: int) -> str:
        """`done`, `rejected`, `failed` or `pending`."""
        return self.end(row)[0]

    def end(self, row: int) -> tuple[str, str]:
        """Status and kind of the item."""
        return self._kinds[self._places.end[row]]

    def breaks(self, row: int) -> int:
        """How often the item broke its worker."""
        return self._breaks[row]

    def outputs(self, row: int) -> tuple[Out, ...]:
        """Outputs of the item; none unless it is done. Where its line is not what was written it is pending again."""
        if self.status(row) != DONE:
            return ()
        try:
            return self._reader.outputs(self._places, row)
        except ValueError:
            self._places.put(row, 0, 0, 0, 0)
            return ()

    def outcomes(self, rows: Iterable[int]) -> Outcomes[Out]:
        """What is known now of the items `rows`, in their order; this ledger may be closed and forgotten."""
        places = self._places.pick(array("Q", rows))
        return Outcomes(self._output, tuple(self._paths), tuple(self._ends), places)

    def add(self, outcome: Outcome[Out]) -> None:
        """Write the outcome of an item. It outlives this process at once, and the machine's power after `PAUSE`."""
        line = line_of(outcome)
        file = self._segment()
        offset = file.tell()
        file.write(line)
        file.flush()
        self._note(outcome.key, outcome.status, outcome.kind, (len(self._paths) - 1, offset, len(line)))
        if file.tell() >= SEGMENT:
            self._end_segment()
        elif time.monotonic() - self._synced >= self._pause:
            self.sync()

    def sync(self) -> None:
        """Wait until everything that was added is safe."""
        if self._file is None:
            return
        began = time.monotonic()
        self._work.sync(self._name)
        self._synced = time.monotonic()
        self._pause = max(PAUSE, SHARE * (self._synced - began))

    @property
    def _name(self) -> str:
        return f"{self._folder}/{self._number:06d}.jsonl"

    def _segment(self) -> BinaryIO:
        if self._file is None:
            self._number += 1
            self._paths.append(self._work.path(self._name))
            self._paths[-1].parent.mkdir(parents=True, exist_ok=True)
            self._file = self._paths[-1].open("xb")
        return self._file

    def _end_segment(self) -> None:
        self.sync()
        if self._file is not None:
            self._file.close()
        self._file = None

    def _index(self, path: Path) -> None:
        """Note every whole line of a segment; outputs, which may be long, are looked at when they are asked for."""
        offset = 0
        with path.open("rb") as file:
            for line in file:
                try:
                    head = _head(line)
                    self._note(head.key, head.status, head.kind, (len(self._paths) - 1, offset, len(line)))
                except ValueError:
                    self._doubt(line)
                offset += len(line)

    def _doubt(self, line: bytes) -> None:
        """Have the item of a damaged line done again, as far as it says whose it is; an older line is out of date."""
        with contextlib.suppress(ValueError):
            self._places.put(self.row(_told(line).key), 0, 0, 0, 0)

    def _note(self, key: str, status: str, kind: str, place: tuple[int, int, int]) -> None:
        row = self.row(key)
        end = self._ends.setdefault((status, kind), len(self._ends))
        if end == len(self._kinds):
            self._kinds.append((status, kind))
        self._places.put(row, *place, end)
        if breaks(status, kind):
            self._breaks[row] = min(self._breaks[row] + 1, 255)


def breaks(status: str, kind: str) -> bool:
    """Whether an outcome counts towards quarantine: the item failed, and it may be the item's fault."""
    return status == FAILED and kind.split(".", maxsplit=1)[0] not in BLAMELESS
