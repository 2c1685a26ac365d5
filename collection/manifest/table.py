"""Manifests: the list of sources a dataset is made from, as CSV, JSON Lines or Parquet with one schema.

Reading is strict and streams: every row is checked on its own, a row is one line, nothing is guessed. All problems (up
to `MOST_PROBLEMS`) are reported together.
"""

import codecs
import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from collection.addresses import group_of, is_web, locate
from collection.engine.stage import Rejected, Retry
from collection.fetch.local import local_file
from collection.recipe import FetchSettings
from mlst.exits import UserError
from mlst.files import atomic
from mlst.records import OPEN_END, SOURCE_ID, Source
from mlst.text import number_of

COLUMNS = tuple(field.name for field in fields(Source))
"""The schema: every manifest has exactly these columns; order does not matter when reading."""

LENGTHS = {"url": 2048, "licence": 64, "title": 500, "channel": 200, "group": 128, "provenance": 500}
"""Characters a field may have at most."""

LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
"""What a licence may look like: an SPDX identifier, `public-domain`, `unknown` ..."""

MOST_ROWS = 10_000_000
MOST_PROBLEMS = 20
MOST_BYTES = 1 << 30
"""Of one row group of a Parquet file, unpacked."""
LINE_BYTES = 1 << 16

ANYTHING = FetchSettings(http=True, local=True)
"""Allows every kind of url: for manifests that are read without a recipe."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, what turns the direction of reading (Unicode UAX #9), and lone surrogates."""
_SECONDS = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})?")
_CLOCK = re.compile(r"([0-9]{1,5}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]{1,9})?)")
_SHOWN = 60

NumberedRow = tuple[int, Sequence[Any]]
"""Place of a row in its file, from 1, and its values in the order of `COLUMNS`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a manifest or list."""

    row: int
    """Line of a text file (the header is line 1), row of a Parquet file (the first is 1); 0 for the whole file."""
    column: str
    """"" for the whole row."""
    value: str
    """As found, shortened and escaped; or what is wrong, in words."""
    allowed: str

    def __str__(self) -> str:
        place = ", ".join([f"row {self.row}"] * (self.row > 0) + [f"column {self.column}"] * (self.column != ""))
        return f"{place or 'file'}: {self.value}; allowed is {self.allowed}"


class ManifestError(UserError, ValueError):
    """A manifest or list that cannot be used; the text names file, row, column, value and what is allowed."""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.path, self.problems = path, tuple(problems)
        lines = [f"{path}: {problem}" for problem in problems]
        if len(problems) >= MOST_PROBLEMS:
            lines.append(f"{path}: reading stopped after {number_of(len(problems), 'problem')}")
        super().__init__("\n".join(lines))


class Report:
    """Collects the problems of one file; raises `ManifestError` when there are too many."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []

    def add(self, row: int, column: str, value: object, allowed: str) -> None:
        """Note that `value` is not allowed."""
        self.fault(row, column, shown(value), allowed)

    def fault(self, row: int, column: str, what: str, allowed: str) -> None:
        """Note a problem that `what` puts into words."""
        self.problems.append(Problem(row, column, what, allowed))
        if len(self.problems) >= MOST_PROBLEMS:
            self.close()

    def close(self) -> None:
        """Raise `ManifestError` if there is any problem."""
        if self.problems:
            raise ManifestError(self.path, self.problems)


class Number(str):
    """A number in JSON as it was written, so that no decimal goes through a float."""

    __slots__ = ()


def shown(value: object) -> str:
    """A value as errors show it: ASCII, escaped, at most 60 characters of it."""
    text = str(value)
    kind = "" if type(value) is str else f" ({type(value).__name__.lower()})"
    return ascii(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "") + kind


def read_manifest(path: Path, fetch: FetchSettings) -> tuple[Source, ...]:
    """The rows of the manifest at `path` (.csv, .jsonl or .parquet), in its order, with canonical urls.

    An empty `start` is 0, an empty `end` is `OPEN_END`, an empty `group` is made of the url, so that several spans of
    one video stay together. `fetch` says which kinds of url are allowed. Raises `ManifestError`.
    """
    return _read(path, fetch, lambda _: None)


def check_manifest(path: Path, fetch: FetchSettings) -> tuple[Source, ...]:
    """As `read_manifest`, and looks at the files that rows name, which a build does when it comes to them. A file that
    that does not exist yet is not a mistake."""

    def look(source: Source) -> None:
        if not is_web(source.url):
            try:
                local_file(source.url, path.parent)
            except (Rejected, Retry) as why:
                if why.kind != "gone.missing":
                    raise ValueError(f"a file that can be read; {why.detail}") from None

    return _read(path, fetch, look)


def _read(path: Path, fetch: FetchSettings, look: Callable[[Source], None]) -> tuple[Source, ...]:
    report = Report(path)
    sources: list[Source] = []
    places: dict[str, int] = {}
    groups: dict[str, Source] = {}
    for place, values in _rows(path, report):
        source = _source(place, values, fetch, report)
        if source is None:
            continue
        try:
            look(source)
        except ValueError as why:
            report.add(place, "url", source.url, str(why))
        first = places.setdefault(source.id, place)
        if first != place:
            report.add(place, "id", source.id, f"an id of its own; row {first} has the same")
        same = groups.setdefault(source.url, source)
        if same.group != source.group:
            report.add(place, "group", source.group, f"{shown(same.group)} as in row {places[same.id]}: same url")
        sources.append(source)
        if len(sources) > MOST_ROWS:
            report.fault(place, "", f"more than {MOST_ROWS} rows", f"{MOST_ROWS} rows; cut the manifest into several")
            report.close()
    if not sources and not report.problems:
        report.fault(0, "", "no rows", "at least one row" + (" after the header" if path.suffix == ".csv" else ""))
    report.close()
    return tuple(sources)


def write_manifest(path: Path, sources: Iterable[Source]) -> None:
    """Write a manifest in the format that the suffix of `path` names; it appears whole or not at all.

    Equal sources give equal bytes. Raises `ManifestError` for sources that `read_manifest` would refuse.
    """
    report = Report(path)
    write = _format(path, WRITERS)
    with atomic(path) as file:
        write(file, _checked(sources, report))


def seconds(text: str) -> Fraction:
    """Exact seconds of `12`, `12.345` or `h:mm:ss(.fff)`. Raises ValueError, saying what is allowed."""
    if _SECONDS.fullmatch(text):
        return Fraction(text)
    if clock := _CLOCK.fullmatch(text):
        return 3600 * Fraction(clock[1]) + 60 * Fraction(clock[2]) + Fraction(clock[3])
    raise ValueError("seconds as 12 or 12.345, or h:mm:ss(.fff); not negative, at most 9 digits on each side")


def decimal(value: Fraction) -> str:
    """Seconds as a decimal that `seconds` reads back exactly; "" for `OPEN_END`. Raises ValueError if none does."""
    if value == OPEN_END:
        return ""
    text = f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if not _SECONDS.fullmatch(text) or Fraction(text) != value:
        raise ValueError("seconds with at most 9 digits on each side of the point")
    return text


def clean(text: str, column: str) -> str:
    """Text of a stranger as it may stand in a manifest: no control characters, not longer than the column allows."""
    return _CONTROL.sub(" ", text)[: LENGTHS[column]]


def text_lines(path: Path, report: Report) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, without line ends; no empty lines, no byte order mark."""
    with _opened(path) as file:
        for number in itertools.count(1):
            raw = file.readline(LINE_BYTES + 1)
            if not raw:
                return
            if len(raw) > LINE_BYTES:
                report.add(number, "", raw[:_SHOWN].decode("latin-1"), f"lines of at most {LINE_BYTES} bytes")
                report.close()
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                report.add(number, "", raw[:_SHOWN].decode("latin-1"), "UTF-8 text; save the file in that encoding")
                if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    report.close()
                continue
            if line:
                yield number, line


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as why:
        raise ManifestError(path, [Problem(0, "", why.strerror or str(why), "a file that can be read")]) from None


def _format(path: Path, formats: Mapping[str, Any]) -> Any:
    if path.suffix not in formats:
        raise ManifestError(path, [Problem(0, "", shown(path.suffix), f"one of {', '.join(formats)}")])
    return formats[path.suffix]


def _rows(path: Path, report: Report) -> Iterator[NumberedRow]:
    read: Callable[[Path, Report], Iterator[NumberedRow]] = _format(path, READERS)
    return read(path, report)


def _csv_rows(path: Path, report: Report) -> Iterator[NumberedRow]:
    order: list[int] = []
    width = 0
    for number, line in text_lines(path, report):
        try:
            (cells,) = csv.reader([line], strict=True)
        except csv.Error as why:
            report.add(number, "", line, f'one row on one line with paired quotes ("" inside quotes): {why}')
            continue
        if not order:
            _check_columns(cells, number, report)
            report.close()
            order, width = [cells.index(name) for name in COLUMNS], len(cells)
        elif len(cells) != width:
            report.fault(
                number,
                "",
                number_of(len(cells), "field"),
                f"{number_of(width, 'field')} as in the header; quote commas inside fields",
            )
        else:
            yield number, [cells[at] for at in order]


def _jsonl_rows(path: Path, report: Report) -> Iterator[NumberedRow]:
    decoder = json.JSONDecoder(
        object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_no_constant
    )
    for number, line in text_lines(path, report):
        try:
            row = decoder.decode(line)
        except (ValueError, RecursionError) as why:
            report.add(number, "", line, f"one JSON object per line: {shown(str(why))}")
            continue
        if not isinstance(row, dict):
            report.add(number, "", line, f"a JSON object with the keys {', '.join(COLUMNS)}")
        elif _check_columns(row, number, report):
            yield number, [row[name] for name in COLUMNS]


def _parquet_rows(path: Path, report: Report) -> Iterator[NumberedRow]:
    with _opened(path) as file:
        try:
            table = pq.ParquetFile(file)
            schema = table.schema_arrow
        except (pa.ArrowException, OSError, UnicodeDecodeError) as why:
            report.add(0, "", str(why), "a Parquet file")
            report.close()
        _check_index(schema, report)
        if not _check_columns(schema.names, 0, report) or not _check_types(schema, report):
            report.close()
        sizes = [table.metadata.row_group(n).total_byte_size for n in range(table.metadata.num_row_groups)]
        if max(sizes, default=0) > MOST_BYTES:
            report.fault(0, "", f"a row group of {max(sizes)} bytes", f"row groups of at most {MOST_BYTES} bytes")
            report.close()
        place = 0
        try:
            for batch in table.iter_batches(batch_size=8192, columns=list(COLUMNS)):
                columns = [_texts(batch.column(name)) for name in COLUMNS]
                for values in zip(*columns, strict=True):
                    place += 1
                    yield place, values
        except (pa.ArrowException, OSError, UnicodeDecodeError) as why:
            report.add(place + 1, "", str(why), "a whole Parquet file with UTF-8 text")


def _texts(column: Any) -> list[Any]:
    values = column.to_pylist()
    if _is_exact(_carried(column.type)):
        return [None if value is None else Number(value) for value in values]
    return list(values)


def _carried(kind: Any) -> Any:
    """The type of the values in a column; a dictionary (pandas: category) is a way to store them."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    """An empty column (type null) is missing text; string_view is how Polars stores text."""
    looks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(look(kind) for look in looks)


def _is_exact(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _check_types(schema: Any, report: Report) -> bool:
    before = len(report.problems)
    for name in COLUMNS:
        kind = _carried(schema.field(name).type)
        if not _is_text(kind) and not (name in ("start", "end") and _is_exact(kind)):
            times = ", integer or decimal (floating point is not exact)" if name in ("start", "end") else ""
            report.fault(0, name, f"type {kind}", f"string{times}")
    return len(report.problems) == before


def _check_index(schema: Any, report: Report) -> None:
    """Raises `ManifestError` where pandas saved the index of a table as a column of the file."""
    said = [name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)]
    for name in schema.names:
        if name not in COLUMNS and (name in said or re.fullmatch(r"__index_level_\d+__", name)):
            report.fault(0, "", f"column {shown(name)}, the index of a pandas table", "none: save with index=False")
            report.close()


def _check_columns(found: Iterable[str], row: int, report: Report) -> bool:
    names = list(found)
    if sorted(names) == sorted(COLUMNS):
        return True
    schema = f"each of {', '.join(COLUMNS)} once"
    wrong = [name for at, name in enumerate(names) if name not in COLUMNS or name in names[:at]]
    for name in wrong[:MOST_PROBLEMS]:
        report.fault(row, "", f"{'repeated' if name in COLUMNS else 'unknown'} column {shown(name)}", schema)
    for name in COLUMNS:
        if name not in names:
            report.fault(row, "", f"no column {name}", schema)
    return False


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key occurs twice")
    return row


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _source(place: int, values: Sequence[Any], fetch: FetchSettings, report: Report) -> Source | None:
    """The source that a row's values stand for, or None after reporting what is wrong with them."""
    found: dict[str, Any] = {}
    folder = report.path.parent
    for name, value in zip(COLUMNS, values, strict=True):
        try:
            found[name] = _field(name, value, fetch, folder)
        except ValueError as why:
            report.add(place, name, value, str(why))
    if len(found) < len(COLUMNS):
        return None
    if found["start"] >= found["end"]:
        report.add(place, "end", values[3], f"a time behind start, which is {shown(values[2])}")
        return None
    if not found["group"]:
        group = group_of(found["url"])
        found["group"] = found["id"] if group == found["id"] else group  # one string in memory for both
    return Source(**found)


def _field(name: str, value: Any, fetch: FetchSettings, folder: Path) -> Any:
    """The checked value of one field. Raises ValueError, saying what is allowed."""
    if value is None:
        value = ""
    if not isinstance(value, str) or (type(value) is Number and name not in ("start", "end")):
        raise ValueError("a number or text" if name in ("start", "end") else "text")
    if name == "start":
        return _time(value or "0")
    if name == "end":
        return _time(value) if value else OPEN_END
    if name == "id":
        if not SOURCE_ID.fullmatch(value):
            raise ValueError("1 to 64 letters, digits, - or _")
        return value
    if len(value) > LENGTHS[name]:
        raise ValueError(f"at most {LENGTHS[name]} characters; this has {len(value)}")
    if _CONTROL.search(value):
        raise ValueError("text without line breaks, control characters and marks that turn the direction of reading")
    if name == "url":
        return locate(value, fetch, folder)
    if name == "licence" and not LICENCE.fullmatch(value):
        raise ValueError("an SPDX identifier such as CC-BY-4.0 (letters, digits, . + -), public-domain or unknown")
    if name == "provenance" and not value:
        raise ValueError("where the row came from: a list and its version, or a person")
    return sys.intern(str(value)) if name in ("licence", "channel", "provenance") else value


@lru_cache(maxsize=1 << 16)
def _time(text: str) -> Fraction:
    return seconds(text)


def _checked(sources: Iterable[Source], report: Report) -> Iterator[tuple[str, ...]]:
    """Rows as text, after the checks that reading makes; what cannot be read again raises at the end."""
    count = 0
    ids: set[str] = set()
    groups: dict[str, str] = {}
    for count, source in enumerate(sources, 1):
        row = [source.id, source.url, "", "", *(getattr(source, name) for name in COLUMNS[4:])]
        for at, name in ((2, "start"), (3, "end")):
            try:
                row[at] = decimal(getattr(source, name))
            except ValueError as why:
                report.add(count, name, str(getattr(source, name)), str(why))
        again = _source(count, row, ANYTHING, report)
        if again is not None and again != source:
            changed = next(name for name in COLUMNS if getattr(again, name) != getattr(source, name))
            report.add(
                count, changed, getattr(source, changed), f"its canonical form {shown(getattr(again, changed))}"
            )
        if source.id in ids:
            report.add(count, "id", source.id, "an id of its own; another source has the same")
        ids.add(source.id)
        if (group := groups.setdefault(source.url, source.group)) != source.group:
            report.add(count, "group", source.group, f"{shown(group)} as in another row: same url")
        if not report.problems:
            yield tuple(row)
    if count == 0:
        report.fault(0, "", "no sources", "at least one")
    report.close()


def _write_csv(file: BinaryIO, rows: Iterable[tuple[str, ...]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    text.flush()
    text.detach()


def _write_jsonl(file: BinaryIO, rows: Iterable[tuple[str, ...]]) -> None:
    for row in rows:
        file.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False).encode() + b"\n")


def _write_parquet(file: BinaryIO, rows: Iterable[tuple[str, ...]]) -> None:
    schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in COLUMNS])
    with pq.ParquetWriter(file, schema, compression="zstd", store_schema=False) as writer:
        for part in _parts(rows, 65_536):
            columns = [pa.array(column, pa.string()) for column in zip(*part, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _parts(rows: Iterable[tuple[str, ...]], size: int) -> Iterator[list[tuple[str, ...]]]:
    part: list[tuple[str, ...]] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


READERS: dict[str, Callable[[Path, Report], Iterator[NumberedRow]]] = {
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".parquet": _parquet_rows,
}
WRITERS: dict[str, Callable[[BinaryIO, Iterable[tuple[str, ...]]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
