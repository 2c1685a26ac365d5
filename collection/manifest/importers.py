"""Public lists of videos -> manifest rows: VGGSound, Kinetics, AudioSet, ClipShots, or plain ids and URLs.

A format is one function registered as `importer`: it yields the spans that a list names, one after the other.
`import_list` drops repeated spans, gives every row an id and says what it left out.
"""

import csv
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

from collection.addresses import YOUTUBE_ID, group_of, locate, watch_url, youtube_id
from collection.manifest.table import ANYTHING, ManifestError, Problem, Report, clean, decimal, seconds, text_lines
from mlst.levels.splits import order_hash
from mlst.records import OPEN_END, Source
from mlst.registry import Registry
from mlst.text import number_of

Lines = Iterator[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one entry of a list names."""

    url: str
    """Canonical; "" for a video of a site that the list does not tell."""
    start: Fraction
    end: Fraction
    note: str
    """The list's label of it, or ""."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A list as manifest rows, in its order."""

    sources: tuple[Source, ...]
    duplicates: int
    """Entries dropped because the list named the same span before."""
    foreign: int
    """Entries dropped because they are of a site that the list does not tell."""


importer: Registry[Callable[[Path, Report], Iterator[Entry]]] = Registry("list format")


def import_list(path: Path, kind: str, licence: str = "unknown") -> Imported:
    """The rows that the list at `path` in the format `kind` names.

    A row's id is the video's id, for a video that occurs several times followed by the start (`_30`, `_6p5`), and
    where that is not enough with the end too. `licence` is of the videos, about which such lists say nothing; each
    row's provenance names the list by its sha256 and quotes its label. Raises `ManifestError` with the lines that do
    not have the format, KeyError for an unknown format.
    """
    report = Report(path)
    spans: dict[tuple[str, Fraction, Fraction], Entry] = {}
    count = foreign = 0
    for span in importer[kind](path, report):
        count += 1
        if not span.url:
            foreign += 1
        else:
            spans.setdefault((span.url, span.start, span.end), span)
    if not spans and not report.problems:
        report.fault(0, "", "no entries", "at least one")
    report.close()
    origin = origin_of(kind, path)
    sources = _named([row_of(span, licence, origin) for span in spans.values()])
    return Imported(sources, count - foreign - len(spans), foreign)


def origin_of(kind: str, path: Path) -> str:
    """What provenance calls the list at `path`: format, file name and the beginning of its sha256."""
    with path.open("rb") as file:
        return f"{kind} {path.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def row_of(span: Entry, licence: str, origin: str) -> Source:
    """The row for an entry, with the list's name and its label as provenance."""
    note = clean(f"{origin}: {span.note}" if span.note else origin, "provenance")
    return Source(source_id(span.url), span.url, span.start, span.end, licence, "", "", group_of(span.url), note)


def guess(path: Path) -> str:
    """The one format that a list's first 20 entries have. Raises `ManifestError` when none fits, or several."""
    next(text_lines(path, Report(path)), None)  # a file that cannot be read is said to be that, not of no format
    fits = [kind for kind in importer if _fits(path, kind)]
    if len(fits) == 1:
        return fits[0]
    found = f"a list that fits {', '.join(fits)}" if fits else "a list that fits no known format"
    raise ManifestError(path, [Problem(0, "", found, f"one of {', '.join(importer)}, named with --format")])


def sample(sources: tuple[Source, ...], count: int, seed: int) -> tuple[Source, ...]:
    """`count` of the sources, in their order: those with the lowest hash of `seed` and id."""
    ranked = sorted(sources, key=lambda source: order_hash(f"{seed}\0{source.id}"))
    chosen = {source.id for source in ranked[:count]}
    return tuple(source for source in sources if source.id in chosen)


@importer
def vggsound(path: Path, report: Report) -> Iterator[Entry]:
    """`<id>_<start %06d>.mp4,label` (test.csv, train.csv) or `id,start,label,split` (vggsound.csv); spans of 10 s.

    Chen et al., VGGSound, ICASSP 2020; https://github.com/hche11/VGGSound.
    """
    for line, cells in _cells(path, report):
        name = re.fullmatch(r"([A-Za-z0-9_-]{11})_([0-9]{6})(?:\.mp4)?", cells[0])
        if len(cells) == 2 and name:
            video, start, label = name[1], name[2], cells[1]
        elif len(cells) == 4 and cells[3] in ("train", "test"):
            video, start, label = cells[0], cells[1], cells[2]
        else:
            report.add(line, "", ",".join(cells), "<YouTube id>_<start>.mp4,label or id,start,label,train|test")
            continue
        yield from _span(line, video, start, "", label, report)


@importer
def kinetics(path: Path, report: Report) -> Iterator[Entry]:
    """`label,youtube_id,time_start,time_end,split` under a header; test lists lack the label.

    Kay et al. 2017, The Kinetics Human Action Video Dataset.
    """
    header: list[str] = []
    for line, cells in _cells(path, report):
        if not header:
            header = cells
            if missing := [name for name in ("youtube_id", "time_start", "time_end") if name not in header]:
                report.fault(line, "", f"no column {', '.join(missing)}", "label,youtube_id,time_start,time_end,split")
                report.close()
        elif len(cells) != len(header):
            report.add(line, "", ",".join(cells), f"{number_of(len(header), 'field')} as in the header")
        else:
            row = dict(zip(header, cells, strict=True))
            label = row.get("label", "")
            yield from _span(line, row["youtube_id"], row["time_start"], row["time_end"], label, report)


@importer
def audioset(path: Path, report: Report) -> Iterator[Entry]:
    """`YTID, start_seconds, end_seconds, "positive_labels"` after comment lines that name these columns.

    Gemmeke et al., Audio Set, ICASSP 2017; https://research.google.com/audioset/download.html.
    """
    headed = False
    for line, cells in _cells(path, report, skipinitialspace=True):
        if cells[0].startswith("#"):
            headed = headed or cells[0].lstrip("# ") == "YTID"
        elif not headed:
            report.add(line, "", ",".join(cells), "the comment line `# YTID, start_seconds, end_seconds, ...` before")
            report.close()
        elif len(cells) != 4:
            report.add(line, "", ",".join(cells), 'YTID, start_seconds, end_seconds, "positive_labels"')
        else:
            yield from _span(line, cells[0], cells[1], cells[2], cells[3], report)


@importer
def clipshots(path: Path, report: Report) -> Iterator[Entry]:
    """Whole videos, from annotations (`{"<id>.mp4": {"transitions": ..., "frame_num": ...}}`) or lists of names.

    Most names in the list "only gradual" are of other sites than YouTube (ten digits, or 22 characters and `__`); the
    list does not say which: these entries are left out and counted.
    Tang et al., ClipShots, ACCV 2018; https://github.com/Tangshitao/ClipShots.
    """
    allowed = "a name of letters, digits, -, _ and ~ that ends in .mp4"
    for place, name in _clipshots_names(path, report):
        if not re.fullmatch(r"[A-Za-z0-9_~-]+\.mp4", name):
            report.add(place, "", name, allowed)
            continue
        video = name.removesuffix(".mp4")
        yield Entry(watch_url(video) if YOUTUBE_ID.fullmatch(video) else "", Fraction(0), OPEN_END, "")


@importer
def ids(path: Path, report: Report) -> Iterator[Entry]:
    """One YouTube id or http(s) URL per line; whole videos. `#` at the start or after a space begins a comment."""
    for line, text in text_lines(path, report):
        entry = re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
        if not entry:
            continue
        try:
            url = locate(entry, _WEB, path.parent)
        except ValueError:
            report.add(line, "", entry, "a YouTube id or link, or an http(s) URL")
            continue
        yield Entry(url, Fraction(0), OPEN_END, "")


_WEB = ANYTHING.model_copy(update={"local": False})
_JSON_BYTES = 1 << 28


def _fits(path: Path, kind: str) -> bool:
    report = Report(path)
    try:
        entries = list(itertools.islice(importer[kind](path, report), 20))
    except ManifestError:
        return False
    return bool(entries) and not report.problems


def _clipshots_names(path: Path, report: Report) -> Lines:
    if path.suffix != ".json":
        yield from text_lines(path, report)
        return
    with path.open("rb") as file:
        text = file.read(_JSON_BYTES)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as why:
        report.add(0, "", str(why), f"a JSON object of at most {_JSON_BYTES} bytes")
        report.close()
    if not isinstance(entries, dict) or not all(isinstance(e, dict) and "transitions" in e for e in entries.values()):
        report.add(0, "", text[:100].decode("latin-1"), '{"<id>.mp4": {"transitions": [...], "frame_num": ...}, ...}')
        report.close()
    yield from enumerate(entries, 1)


def _cells(path: Path, report: Report, skipinitialspace: bool = False) -> Iterator[tuple[int, list[str]]]:
    for number, line in text_lines(path, report):
        try:
            (cells,) = csv.reader([line], strict=True, skipinitialspace=skipinitialspace)
        except csv.Error as why:
            report.add(number, "", line, f"comma-separated values: {why}")
            continue
        yield number, cells


def _span(line: int, video: str, start: str, end: str, label: str, report: Report) -> Iterator[Entry]:
    """The span of one entry, or nothing after reporting what is wrong; an empty `end` is 10 s behind `start`."""
    begins = ends = Fraction(0)
    try:
        url = watch_url(video)
        begins = seconds(start)
        ends = seconds(end) if end else begins + 10
    except ValueError as why:
        report.add(line, "", f"{video},{start},{end}".rstrip(","), str(why))
        return
    if begins >= ends:
        report.add(line, "", f"{start},{end}", "a start before the end")
        return
    yield Entry(url, begins, ends, label)


def source_id(url: str) -> str:
    """An id for a row of this url: the YouTube id; else a readable part of the path and a hash of the whole URL."""
    if video := youtube_id(url):
        return video
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(urlsplit(url).path).stem)[:40].strip("-") or "video"
    return f"{name}_{hashlib.sha256(url.encode()).hexdigest()[:10]}"


def _named(sources: list[Source]) -> tuple[Source, ...]:
    """The sources with ids made unique: by the start, where that is not enough by start and end."""
    videos = Counter(source.id for source in sources)
    starts = Counter((source.id, source.start) for source in sources)
    named = []
    for source in sources:
        parts = [source.id]
        if videos[source.id] > 1:
            parts.append(_tag(source.start))
        if starts[source.id, source.start] > 1:
            parts.append(_tag(source.end))
        named.append(replace(source, id="_".join(parts)))
    return tuple(named)


def _tag(time: Fraction) -> str:
    return decimal(time).replace(".", "p") or "end"
