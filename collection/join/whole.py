"""Parts -> one dataset, on one screen: the clips of all parts are candidates, chosen and packed as a build does."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from heapq import merge
from itertools import groupby
from pathlib import Path

from collection.engine.run import Driver
from collection.engine.stage import In, Out, Outcome, Stage, attempt
from collection.join.parts import Finding, JoinError, Part, check_parts, limited
from collection.join.terms import Terms
from collection.pack.assemble import Inputs, needed, tools, write_dataset
from collection.pack.shelf import Shelf
from collection.pack.stage import Packed, PackStage, Piece, plan_pieces, read_by
from collection.pack.standing import standing
from collection.pipeline import NothingChosenError
from collection.select import Selection, select
from collection.workspace.damage import remove_damaged
from collection.workspace.folder import Workspace
from mlst.dataset.description import Dataset, Tool
from mlst.dataset.index import Row
from mlst.dataset.lock import LockRow
from mlst.inside import file_in, opened
from mlst.records import OPEN_END, Clip, Source, canonical_json
from mlst.records import Part as Bytes

OWN = ("mlst", "pyarrow")
"""Tools that have a part in the bytes of a joined dataset, besides those that made the clips."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A dataset of parts."""

    dataset: Dataset
    selection: Selection
    limited: tuple[str, ...]
    """Parts whose own quota may have left out clips that one build would have chosen."""


def join(parts: Sequence[Part], terms: Terms, out: Workspace, do: Driver) -> Joined:
    """Write the dataset that `parts` make under `terms` to `out`. What it holds stays until the new one is whole.

    Raises `JoinError` for parts that do not fit together or are damaged, `NothingChosenError` for no clips.
    """
    clips = _checked(parts, terms)
    sources = {row.info.source: _source(row) for _, row in clips}
    found = (_Found(row) for _, row in clips)
    try:
        selection = select(found, sources, terms.levels, terms.recipe.select, review=terms.review)
    except ValueError as why:  # a key that one index has twice, or two sources have
        raise JoinError([Finding("key", ", ".join(part.name for part in parts), f"{why}")]) from None
    if not selection.chosen:
        raise NothingChosenError("no clip of the parts could be chosen; nothing was joined")
    do = Driver(do.work, _Bench({part.alias: part.folder for part in parts}), do.watcher, True, do.wave, False)
    before = standing(out, do.work)
    with plan_pieces(selection.chosen, _pieces(clips, selection), terms.recipe.pack) as plans:
        packed = do(PackStage(), plans)
        if remove_damaged(do.work, needed(before, packed.outputs), Shelf(out)):
            packed = do(PackStage(), plans)
        if undone := {one.key for one in packed.outcomes.undone}:
            raise JoinError(list(_damaged(read_by(plans, undone), parts)))
    shards: Sequence[Packed] = tuple(packed.outputs)
    inputs = Inputs(
        terms.recipe, terms.recipe_toml, terms.levels_toml, _lock(parts, terms), _tools(parts), terms.exclusions_txt,
        terms.review_csv,
    )  # fmt: skip
    return Joined(write_dataset(before, do.work, shards, inputs), selection, limited(parts, terms))


@dataclass(frozen=True, slots=True)
class _Found:
    """A row of a part as a candidate."""

    row: Row

    @property
    def source(self) -> str:
        return self.row.info.source

    @property
    def clips(self) -> tuple[Clip, ...]:
        row = self.row
        info = {one.name: getattr(row.info, one.name) for one in fields(Clip) if hasattr(row.info, one.name)}
        return (Clip(**info, fingerprint=row.fingerprint, offset=row.offset, size=row.size, sha256=row.sha256),)


@dataclass(frozen=True, slots=True)
class _Bench:
    """An executor of this process: shards are copied together, and nothing of a clip is decoded."""

    parts: Mapping[str, Path]

    def __call__(self, stage: Stage[In, Out], items: Iterable[In], work: Workspace) -> Iterator[Outcome[Out]]:
        place = _Place(work.root, work.folder, self.parts)
        return (attempt(stage, item, place) for item in items)


@dataclass(frozen=True, slots=True)
class _Place(Workspace):
    """A workspace that has the parts in it."""

    parts: Mapping[str, Path]

    def path(self, name: str) -> Path:
        alias, _, rest = name.partition("/")
        return file_in(self.parts[alias], rest) if alias in self.parts else self.root / name


@dataclass(frozen=True, slots=True)
class _Clips:
    """All clips of the parts, each once, but for those of sources that are excluded; can be gone through again."""

    parts: Sequence[Part]
    excluded: frozenset[str]
    twice: frozenset[str]
    """Sources that are in several parts."""

    def __iter__(self) -> Iterator[tuple[Part, Row]]:
        known: set[str] = set()
        for part in self.parts:
            for row in part.rows():
                source, key = row.info.source, row.info.key
                if source in self.excluded or key in known:
                    continue
                if source in self.twice:
                    known.add(key)
                yield part, row


def _checked(parts: Sequence[Part], terms: Terms) -> _Clips:
    """The clips of parts that fit together. Raises `JoinError`."""
    findings = list(check_parts(parts, terms))
    twice, excluded = set[str](), set[str]()
    for (name, row), *others in _sources(parts):
        if terms.exclusions.excludes(row.source):
            excluded.add(row.source.id)
        if others:
            twice.add(row.source.id)
        changed = [other for other, it in others if _footage(it) != _footage(row)]
        findings += [Finding("source", other, _other_source(row, name)) for other in changed]
    if findings or (findings := list(_other_clips(parts, twice))):
        raise JoinError(findings)
    ordered = sorted(parts, key=lambda part: part.dataset.fingerprint)  # no plan depends on who is named first
    return _Clips(ordered, frozenset(excluded), frozenset(twice))


def _sources(parts: Sequence[Part]) -> Iterator[list[tuple[str, LockRow]]]:
    """The rows of all locks, those of one source together, by id."""
    locks = [((part.name, row) for row in part.lock()) for part in parts]
    rows = merge(*locks, key=lambda one: one[1].source.id)
    return (list(same) for _, same in groupby(rows, key=lambda one: one[1].source.id))


def _footage(row: LockRow) -> tuple[object, ...]:
    return row.source, row.probe.packets_sha256, row.stream, row.origin


def _other_source(row: LockRow, name: str) -> str:
    return f"{row.source.id!a} is another video than in {name}, or described otherwise; give it to one part alone"


def _other_clips(parts: Sequence[Part], twice: set[str]) -> Iterator[Finding]:
    """Clips with one key and other bytes or records, of sources that are in several parts."""
    known: dict[str, tuple[str, Row]] = {}
    for part in parts if twice else ():
        for row in part.rows():
            if row.info.source in twice:
                name, first = known.setdefault(row.info.key, (part.name, row))
                if (first.sha256, first.fingerprint, first.info) != (row.sha256, row.fingerprint, row.info):
                    what = (
                        f"{row.info.key!a} is another clip than in {name}; build one of the parts without its source"
                    )
                    yield Finding("key", part.name, what)


def _source(row: Row) -> Source:
    """What of a source decides about its clips. Its span does not."""
    info = row.info
    return Source(
        info.source, info.url, info.start * 0, OPEN_END, info.licence, info.title, info.channel, info.group,
        info.provenance,
    )  # fmt: skip


def _pieces(rows: Iterable[tuple[Part, Row]], selection: Selection) -> Iterator[Piece]:
    """What the chosen are packed from. Raises `JoinError` where a record is not what its own numbers say."""
    chosen = {one.candidate.key: one.candidate for one in selection.chosen}
    for part, row in rows:
        info = row.info
        if (found := chosen.get(info.key)) is None:
            continue
        if (info.level, info.split, info.group) != (found.level.name, found.split, found.group):
            said = f"{found.level.name}/{found.split}"
            what = f"{info.key!a} is in {info.level}/{info.split}, its statistics and group say {said}"
            raise JoinError([Finding("damaged", part.name, f"{what}; run `mlst verify {part.name}`")])
        place = f"{part.alias}/{row.shard}"
        yield Piece(info.key, canonical_json(info), row.fingerprint, place, row.offset, row.size, row.sha256)


def _lock(parts: Sequence[Part], terms: Terms) -> Iterator[LockRow]:
    """Every source of the parts once, but the excluded."""
    return (one[0][1] for one in _sources(parts) if not terms.exclusions.excludes(one[0][1].source))


def _tools(parts: Sequence[Part]) -> tuple[Tool, ...]:
    """What made the clips, and what joined them; several versions of one stand side by side."""
    found = {(tool.name, tool.version) for part in parts for tool in part.dataset.tools}
    found |= {(tool.name, tool.version) for tool in tools() if tool.name in OWN}
    names = dict.fromkeys(tool.name for part in parts for tool in part.dataset.tools)
    return tuple(Tool(name, ", ".join(sorted(v for n, v in found if n == name))) for name in names)


def _damaged(needed: Iterable[Bytes], parts: Sequence[Part]) -> Iterator[Finding]:
    """Which clips could not be read."""
    by_alias = {part.alias: part for part in parts}
    for one in needed:
        alias, _, shard = one.file.partition("/")
        part = by_alias[alias]
        try:
            with opened(file_in(part.folder, shard)) as file:
                file.seek(one.offset)
                right = hashlib.sha256(file.read(one.size)).hexdigest() == one.sha256
        except (OSError, ValueError):
            right = False
        if not right:
            what = f"the {one.size} bytes at {one.offset} of {shard} are not the clip of its index"
            yield Finding("damaged", part.name, f"{what}; run `mlst verify --repair {part.name}`")
