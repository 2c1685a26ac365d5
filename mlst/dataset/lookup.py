"""The two large tables of a dataset, read where they lie: a million rows take a few bytes of memory each."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mlst.dataset.index import Row, read_index
from mlst.dataset.lock import LockRow, lines, parse_lock


@dataclass(frozen=True, slots=True)
class Index:
    """The rows of an index, read from its file whenever they are gone through."""

    path: Path

    def __iter__(self) -> Iterator[Row]:
        return read_index(self.path)


class Lock:
    """The rows of a lock, found by their source.

    They stay in `file`, which stays open; in memory are 24 bytes of each. Raises ValueError where a line of `file`,
    called `name`, is not one of ours. `in_order` says whether sources come once and by id.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._ends, self.in_order = array("q", [0]), True
        hashes, before = array("q"), ""
        for number, line in enumerate(lines(file)):
            source = parse_lock(line, f"{name}:{number + 1}").source.id
            self.in_order &= number == 0 or before < source
            before = source
            hashes.append(hash(source))
            self._ends.append(self._ends[-1] + len(line))
        self._order = np.argsort(np.array(hashes), kind="stable")
        self._hashes = np.array(hashes)[self._order]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[LockRow]:
        return map(self.row, range(len(self)))

    def row(self, number: int) -> LockRow:
        """Row `number`, counted from 0."""
        start, end = self._ends[number : number + 2]
        self._file.seek(start)
        return parse_lock(self._file.read(end - start), f"{self._name}:{number + 1}")

    def find(self, source: str) -> tuple[int, LockRow]:
        """Number and row of a source. Raises KeyError where it has none."""
        first, last = (int(np.searchsorted(self._hashes, hash(source), side)) for side in ("left", "right"))
        for number in self._order[first:last].tolist():
            row = self.row(number)
            if row.source.id == source:
                return number, row
        raise KeyError(source)
