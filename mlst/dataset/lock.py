"""The lock of a dataset, `sources.lock.jsonl`: what was really fetched of every source, a line of JSON each."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mlst.dataset.schema import parse_json, record_of
from mlst.inside import opened
from mlst.records import Count, Probe, Rational, Source, Stream, Upstream, canonical_json

LONGEST = 1 << 20
"""Bytes of a line; a row of a manifest has at most 64 KiB."""


@dataclass(frozen=True, slots=True)
class LockRow:
    """What was really fetched of a source. Its identity is `probe.packets_sha256`, which a new container does not
    change: a site's headers, and with them `size` and `sha256`, differ from download to download."""

    source: Source
    upstream: Upstream
    probe: Probe
    stream: Stream
    origin: Rational
    size: Count
    """Bytes of the file; of a span, of the part that was fetched."""
    sha256: str
    """Of the same."""
    candidates: Count
    chosen: Count


def write_lock(rows: Iterable[LockRow]) -> Iterator[bytes]:
    """The lines of the lock: canonical JSON. `rows` come by source id."""
    for row in rows:
        yield (canonical_json(row) + "\n").encode()


def read_lock(path: Path) -> Iterator[LockRow]:
    """The rows of a lock. Raises ValueError where a line is not one of ours, OSError if unreadable."""
    with opened(path) as file:
        for number, line in enumerate(lines(file), 1):
            yield parse_lock(line, f"{path.name}:{number}")


def lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a lock; of a longer one, which `parse_lock` refuses, no more than `LONGEST` bytes and one."""
    return iter(partial(file.readline, LONGEST + 1), b"")


def parse_lock(line: bytes, where: str) -> LockRow:
    """`read_lock` of one line; errors call it `where`."""
    if len(line) > LONGEST:
        raise ValueError(f"{where}: a line of more than {LONGEST} bytes")
    return record_of(LockRow, parse_json(line, where), where)


class Footage:
    """sha256 over what identifies the footage of every source: not what a site says of it, nor how it was wrapped;
    and the filter that its clips went through."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, row: LockRow) -> None:
        """The next row of the lock; rows come by source id."""
        changed = f" {row.stream.filter}" if row.stream.filter else ""
        self._sha256.update(f"{row.source.id} {row.probe.packets_sha256}{changed}\n".encode())

    def hexdigest(self) -> str:
        """Of the rows so far."""
        return self._sha256.hexdigest()


def footage_of(lock: Iterable[LockRow]) -> str:
    """`Footage` of the rows of a lock, which come by source id."""
    footage = Footage()
    for row in lock:
        footage.add(row)
    return footage.hexdigest()
