"""How a video dataset lies on disk: its clips, and what is wrong with names, members, records, tables and shards.

Nothing is decoded or extracted here; of tars only headers and small JSON members are read.
"""

import os
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from collection.audit.places import TAR, Piece, PlaceError
from collection.doctor.distant import Place
from collection.doctor.rules import Finding
from collection.doctor.said import Said, from_json, said, split_in
from collection.doctor.tables import Table, lerobot, read_table
from mlst.checking.lint import HUB
from mlst.dataset.description import DATASET, INDEX
from mlst.dataset.index import read_index
from mlst.inside import file_in, leads_out, opened, regular_files
from mlst.tars import LARGEST_RECORD, VIDEOS, Member, members

PORTABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
MOST = 0.5
"""Share of the samples that have a member from which the others lack it."""
SMALL = 0.5
"""Of the median size: shards below are uneven."""
LICENCE_FILES = re.compile(r"(licen[cs]e|copying|attribution)(\.\w+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip, and what the dataset says of it."""

    piece: Piece
    said: Said


@dataclass(frozen=True, slots=True)
class Survey:
    """A place that was looked through."""

    kind: str
    entries: tuple[Entry, ...]
    """In a fixed order."""
    findings: tuple[Finding, ...]


def survey(there: Place) -> Survey:
    """What lies in a place. Raises `PlaceError` where it is none or holds no clips."""
    place = there.path
    if not place.exists():
        raise PlaceError(f"{place} does not exist; give a folder of videos or of tars, a dataset's folder, or a URL")
    if (place / DATASET).is_file():
        found = _ours(there)
    elif (place / "meta" / "info.json").is_file():
        found = _listed(place, regular_files(place), "LeRobot", lerobot(place))
    else:
        found = _files(place)
    if not found.entries and not found.findings:
        raise PlaceError(f"{there.name} holds no videos and no tars with videos in them")
    unknown = () if there.listed else ("licence",)
    return replace(found, findings=tuple(one for one in found.findings if one.rule not in unknown))


def _ours(there: Place) -> Survey:
    place = there.path
    try:
        rows = list(read_index(place / INDEX))
        shards = {name: file_in(place, name) for name in {row.shard for row in rows}}
    except (OSError, ValueError) as why:
        raise PlaceError(f"{there.name}: {why}; run `mlst verify`") from None
    entries = tuple(
        Entry(
            Piece(row.info.key, row.info.source, shards[row.shard], row.offset, row.size),
            Said(row.info.frames, float(row.info.rate), 0.0, 0, 0, row.info.licence, row.info.split, row.info.source),
        )
        for row in rows
    )
    return Survey("MLST", entries, tuple(Finding("hub", one.path or one.key, one.detail) for one in there.lint(place)))


def _files(place: Path) -> Survey:
    names = regular_files(place)
    tars = {name: path for name, path in names.items() if path.suffix.lower() == TAR}
    if tars:
        return _with(place, names, _of_tars(tars))
    return _listed(place, names, "folder", read_table(names) if place.is_dir() else Table("", {}, ()))


def _listed(place: Path, names: Mapping[str, Path], kind: str, table: Table) -> Survey:
    """A folder of videos, with or without a table that names them."""
    videos = {name: path for name, path in names.items() if path.suffix.lower() in VIDEOS}
    entries, findings = [], list(table.findings)
    for name, path in videos.items():
        what = table.rows.get(name) or table.rows.get(name.rsplit("/", 1)[-1])
        if table.name and what is None:
            findings.append(Finding("unlisted", name, f"{table.name} has no row for it"))
        kept = what or Said(split=split_in(name))
        entries.append(Entry(Piece(name, kept.source, path, 0, path.stat().st_size), kept))
    ends = {name[at + 1 :] for name in videos for at, letter in enumerate(name) if letter == "/"}
    for row in table.rows:
        if row not in videos and row not in ends:
            findings.append(Finding("table", row, f"{table.name} names it, and it is not there"))
    return _with(place, names, Survey(kind, tuple(entries), tuple(findings)))


def _with(place: Path, names: Mapping[str, Path], found: Survey) -> Survey:
    """What is wrong with names and with the whole, besides."""
    more = [*_names(names), *_limits(names), *_links(place)]
    stated = any(LICENCE_FILES.fullmatch(name.rsplit("/", 1)[-1]) for name in names) or _card(names)
    if found.entries and not stated and not all(entry.said.licence for entry in found.entries):
        more.append(Finding("licence", "", "neither a file nor every record states one"))
    return Survey(found.kind, found.entries, (*found.findings, *more))


def _card(names: Mapping[str, Path]) -> bool:
    """Whether README.md begins with a licence."""
    if "README.md" not in names:
        return False
    with names["README.md"].open("rb") as file:
        head = file.read(LARGEST_RECORD).decode("utf-8", "replace")
    return re.search(r"^license: *\S", head.split("\n---")[0], re.MULTILINE) is not None


def _names(names: Mapping[str, Path]) -> Iterator[Finding]:
    folded = Counter(name.casefold() for name in names)
    for name in names:
        if not all(PORTABLE.fullmatch(part) for part in name.split("/")) and not name.startswith("."):
            yield Finding("name", name, "has characters that not every system takes")
        if folded[name.casefold()] > 1:
            yield Finding("case", name, "another name differs from it only in case")


def _limits(names: Mapping[str, Path]) -> Iterator[Finding]:
    if len(names) >= HUB.files:
        yield Finding("hub", "", f"{len(names)} files; below {HUB.files} are allowed")
    for folder, count in Counter(name.rpartition("/")[0] for name in names).items():
        if count >= HUB.entries:
            yield Finding("hub", folder, f"{count} files in one folder; below {HUB.entries} are allowed")


def _links(place: Path) -> Iterator[Finding]:
    for path in sorted(place.rglob("*") if place.is_dir() else ()):
        if leads_out(path, place):
            yield Finding("link", path.relative_to(place).as_posix(), f"to {os.readlink(path)}")


# -- WebDataset


@dataclass
class _Tars:
    """What is known of all shards together."""

    entries: list[Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    suffixes: Counter[str] = field(default_factory=Counter)
    have: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """Key and suffixes of every sample."""
    records: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Key and type of every field of each record."""


def _of_tars(tars: Mapping[str, Path]) -> Survey:
    seen, sizes = _Tars(), {}
    for name, path in tars.items():
        sizes[name] = path.stat().st_size
        _shard(seen, name, path)
    seen.findings += [*_pairs(seen), *_drift(seen), *_uneven(sizes)]
    return Survey("WebDataset", tuple(seen.entries), tuple(seen.findings))


def _shard(seen: _Tars, name: str, path: Path) -> None:
    inside: dict[str, dict[str, Member]] = {}
    last = ""
    for member in _members(path):
        if isinstance(member, str):
            seen.findings.append(Finding("tar", name, member))
            break
        where = f"{name}/{member.name}"
        if member.split:
            seen.findings.append(Finding("dot", where, f"loaders read key {member.key!r}, member {member.suffix!r}"))
        if member.key != last and member.key in inside:
            seen.findings.append(Finding("order", where, "its sample began before another one"))
        if member.suffix in inside.setdefault(member.key, {}):
            seen.findings.append(Finding("member", where, "is there twice"))
        inside[member.key][member.suffix] = member
        last = member.key
    if not inside:
        seen.findings.append(Finding("empty", name, "no sample"))
    for key, parts in inside.items():
        _sample(seen, name, path, key, parts)


def _members(path: Path) -> Iterator[Member | str]:
    try:
        with opened(Path(os.path.realpath(path))) as file:  # a link that stays inside is followed
            yield from members(file)
    except (OSError, ValueError) as why:
        yield str(why)


def _sample(seen: _Tars, name: str, path: Path, key: str, parts: Mapping[str, Member]) -> None:
    where = f"{name}/{key}"
    if key in seen.keys:
        seen.findings.append(Finding("key", where, "is given in an earlier shard"))
    seen.keys.add(key)
    seen.have.append((where, frozenset(parts)))
    seen.suffixes.update(list(parts))
    record: dict[str, Any] = {}
    if member := parts.get("json"):
        record = _record(seen, where, member)
    what = said(record)
    if not what.split:
        what = replace(what, split=split_in(name))
    for suffix, member in parts.items():
        if f".{suffix}" in VIDEOS:
            piece = Piece(f"{name}/{member.name}", what.source, path, member.offset, member.size)
            seen.entries.append(Entry(piece, what))


def _record(seen: _Tars, where: str, member: Member) -> dict[str, Any]:
    try:
        value = from_json(member.data.decode("utf-8"), _no_number)
    except ValueError as why:
        seen.findings.append(Finding("json", where, f"{str(why)[:120]}"))
        return {}
    if not isinstance(value, dict):
        seen.findings.append(Finding("json", where, f"is {type(value).__name__}, not an object"))
        return {}
    seen.records.append((where, {name: _type(inner) for name, inner in value.items()}))
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _type(value: Any) -> str:
    return "nothing" if value is None or value == [] else type(value).__name__


def _pairs(seen: _Tars) -> Iterator[Finding]:
    usual = {suffix for suffix, count in seen.suffixes.items() if count > MOST * len(seen.have)}
    for where, have in seen.have:
        for suffix in sorted(usual - {one.rpartition(".")[2] for one in have}):
            yield Finding("pair", where, f"has no {suffix}, which {seen.suffixes[suffix]} of {len(seen.have)} have")


def _drift(seen: _Tars) -> Iterator[Finding]:
    """Against the types that most records have: `datasets` takes those of the first five."""
    types: dict[str, Counter[str]] = defaultdict(Counter)
    for _, fields in seen.records:
        for name, kind in fields.items():
            types[name][kind] += 1
    usual = {name: found.most_common(1)[0][0] for name, found in types.items()}
    here = {name for name, found in types.items() if found.total() > MOST * len(seen.records)}
    for where, fields in seen.records:
        odd = sorted(name for name, kind in fields.items() if kind != usual[name] or name not in here)
        lacking = sorted(here - fields.keys())
        if odd or lacking:
            told = [f"{name} is {fields[name]}" for name in odd] + [f"{name} is missing" for name in lacking]
            yield Finding("schema", where, "; ".join(told)[:200])


def _uneven(sizes: Mapping[str, int]) -> Iterator[Finding]:
    """The last shard of a folder holds what is left over."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in sizes:
        folders[f"{name.rpartition('/')[0]}:{split_in(name)}"].append(name)
    for names in folders.values():
        if len(names) > 2:
            usual = statistics.median(sizes[name] for name in names)
            for name in names[:-1]:
                if sizes[name] < SMALL * usual:
                    yield Finding("uneven", name, f"{sizes[name]} bytes; half of the shards have {usual:.0f} or more")
