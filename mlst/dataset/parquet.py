"""A stranger's Parquet file, of which nothing is unpacked before it is known what that takes.

A page of a few bytes may claim 2 GiB, and a text that is stored once may stand in every row. So the pages' headers are
read first, the texts are kept as they are stored, once, and their lengths are looked at before they are written out.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlst.records import LONGEST_TEXT

RATIO = 16
"""Bytes that a byte of a file may unpack to; those of our indices do to about 2."""
SPARE = 1 << 20
"""Bytes that any file may unpack to."""
LEAST_ROW = 8
"""Bytes of a row at least; each has a sha256 and a key of its own."""
HEAD, LONGEST_HEAD = 1 << 12, 1 << 20
"""Bytes read for a page's header, first and at most."""
BUFFER = 1 << 15
"""Bytes of a column that are held while its pages are read one by one."""
THRIFT = 1 << 24
"""Bytes of a text, and entries of a list, in the file's own description."""


Schemas = Callable[[Collection[str]], Any]
"""Gives the schema of a table with the columns of these names, as far as it may lack any, and all others."""


def open_parquet(file: BinaryIO, schemas: Schemas, where: str) -> Any:
    """The file as a `ParquetFile`, fit to be unpacked, with the columns of one of `schemas`.

    Raises ValueError, which calls the file `where`.
    """
    with damage(where):
        parquet = pq.ParquetFile(
            file,
            read_dictionary=[field.name for field in schemas(()) if pa.types.is_string(field.type)],
            buffer_size=BUFFER,
            pre_buffer=False,
            thrift_string_size_limit=THRIFT,
            thrift_container_size_limit=THRIFT,
        )
        found = [str(pa.field(f.name, _plain(f.type), f.nullable)) for f in parquet.schema_arrow]
        wanted = [str(field) for field in schemas(parquet.schema_arrow.names)]
        if found != wanted:
            odd = [f"unexpected {field[:200]}" for field in found if field not in wanted]
            odd += [f"no {field}" for field in wanted if field not in found]
            raise ValueError(f"columns differ: {'; '.join(odd[:10]) or 'their order'}")
        _check_sizes(file, parquet.metadata, range(len(found)))
    return parquet


def batches(parquet: Any, group: int, names: Sequence[str], rows: int, where: str) -> Iterator[Any]:
    """A row group, `rows` of it at a time, texts as dictionaries. Raises ValueError, also for too long a text."""
    with damage(where):
        for batch in parquet.iter_batches(rows, row_groups=[group], columns=list(names)):
            longest_texts(batch)
            yield batch


def longest_texts(batch: Any) -> int:
    """Bytes of the longest text of each column, added up: what a row may take. Raises ValueError above the limit."""
    total = 0
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
            if longest > LONGEST_TEXT:
                raise ValueError(f"a text of {longest} bytes; at most {LONGEST_TEXT} are read")
            total += longest
    return total


def read_columns(file: BinaryIO, schemas: Schemas, names: Sequence[str], where: str) -> Any:
    """Some columns as a table. Raises ValueError where the file is not such a table, lacks one of them, or unpacks to
    more than `RATIO` times its size."""
    parquet = open_parquet(file, schemas, where)
    whole = schemas(parquet.schema_arrow.names)
    if lacking := [name for name in names if name not in whole.names]:
        raise ValueError(f"{where}: columns differ: no {', '.join(lacking)}")
    schema = pa.schema([whole.field(name) for name in names])
    kept, room = [], _room(file)
    with damage(where):
        for group in range(parquet.num_row_groups):
            for batch in batches(parquet, group, names, 1 << 16, where):
                room -= sum(map(_written_out, batch.columns))
                if room < 0:
                    raise ValueError(f"its texts are more than {RATIO} times the file")
                kept.append(batch.select(names).cast(schema))
        return pa.Table.from_batches(kept, schema)


@contextlib.contextmanager
def damage(where: str) -> Iterator[None]:
    """Make a ValueError of whatever pyarrow raises for a file that is damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, TypeError) as why:
        text = str(why)
        raise ValueError(
            text if text.startswith(where) else f"{where}: not a sound Parquet file: {text[:400]}"
        ) from None


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _written_out(column: Any) -> int:
    """Bytes of a column without its dictionary."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    return int(pc.sum(pc.take(pc.binary_length(column.dictionary), column.indices)).as_py() or 0)


def _room(file: BinaryIO) -> int:
    return RATIO * file.seek(0, 2) + SPARE


def _check_sizes(file: BinaryIO, metadata: Any, columns: Sequence[int]) -> None:
    """Refuse more rows than the file can hold, and pages that unpack to more than `RATIO` times its size."""
    size, room = file.seek(0, 2), _room(file)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if rows != metadata.num_rows or not 0 <= rows * LEAST_ROW <= size or any(group.num_rows < 0 for group in groups):
        raise ValueError(f"{metadata.num_rows} rows in {size} bytes")
    check_unpacked(file, metadata, columns, room)


def check_unpacked(file: BinaryIO, metadata: Any, columns: Sequence[int], room: int) -> None:
    """Raise ValueError where the pages of some columns claim to unpack to more than `room` bytes, or are none."""
    size, left = file.seek(0, 2), room
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for number in columns:
            for unpacked in _pages(file, group.column(number), size):
                left -= unpacked
                if left < 0:
                    raise ValueError(f"unpacks to more than {room} bytes, from {size}")


def _pages(file: BinaryIO, chunk: Any, size: int) -> Iterator[int]:
    """Bytes that each page of a column claims to unpack to."""
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    if not 0 < at < end <= size:
        raise ValueError(f"a column lies at {at} to {end} of {size} bytes")
    while at < end:
        head, packed, unpacked = _page_at(file, at)
        if packed < 0 or unpacked < 0:
            raise ValueError(f"a page at {at} of {packed} bytes that unpack to {unpacked}")
        yield unpacked
        at += head + packed


def _page_at(file: BinaryIO, at: int) -> tuple[int, int, int]:
    """Bytes of a page's header, of the page as stored, and unpacked."""
    for most in (HEAD, LONGEST_HEAD):
        file.seek(at)
        thrift = _Thrift(file.read(most))
        with contextlib.suppress(LookupError):
            numbers = thrift.struct(0)
            return thrift.at, numbers[3], numbers[2]
    raise ValueError(f"no header of a page at {at}")


class _Thrift:
    """A struct in Thrift's compact protocol, which Parquet's headers are in, as far as its numbers.

    See https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """A varint of at most 64 bits."""
        value = shift = 0
        while shift < 70:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("a number of more than 64 bits")

    def struct(self, depth: int) -> dict[int, int]:
        """The whole numbers of a struct by the ids of their fields."""
        if depth > 8:
            raise ValueError("a header that is nested too deep")
        found: dict[int, int] = {}
        field = 0
        while head := self.byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            if head & 15 in (4, 5, 6):
                found[field] = self._zigzag()
            elif head & 15 not in (1, 2):
                self._skip(head & 15, depth)
        return found

    def _zigzag(self) -> int:
        value = self.number()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (1, 2, 3):
            self.at += 1
        elif kind in (4, 5, 6):
            self.number()
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            length = self.number()  # which moves on itself
            self.at += length
        elif kind == 12:
            self.struct(depth + 1)
        else:
            raise ValueError(f"a header with a field of the kind {kind}")
