"""The rules that rows of the index must keep, as pure functions of records; see `mlst.checking.verify.RULES`."""

import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import IO

import numpy as np

from mlst.dataset.description import Cell, Dataset
from mlst.dataset.index import ClipInfo, Flags, Row
from mlst.dataset.lock import LockRow
from mlst.dataset.schema import fields_of
from mlst.dataset.shards import KEY, PATH
from mlst.levels.flags import flags, telling
from mlst.levels.levels import Levels, classify, margins
from mlst.levels.splits import order_hash, split_group, split_of
from mlst.pictures.fingerprints import Fingerprints, is_fingerprint
from mlst.records import measured

FINEST = 20_000
"""Bits of the denominator of a sum of seconds, beyond which no more are added: it would take ever longer, and no real
clips have so many time bases."""

Broken = tuple[str, str]
"""Rule and detail."""


def row_rules(row: Row, lock: LockRow, dataset: Dataset, levels: Levels) -> Iterator[Broken]:
    """What is wrong with one row, given its source's row of the lock."""
    info = row.info
    if not is_fingerprint(row.fingerprint):
        yield "index", f"{row.fingerprint[:70]!r} is not a fingerprint"
    yield from _key(row)
    yield from _boundary(row, lock, dataset)
    for name in ("url", "title", "channel", "licence", "provenance"):
        if getattr(info, name) != getattr(lock.source, name):
            yield "record", f"{name} {getattr(info, name)!r} is {getattr(lock.source, name)!r} in the lock"
    group = split_group(lock.source, dataset.split_rule.group)
    if info.group != group:
        yield "split", f"group {info.group!r} should be {group!r}"
    split = split_of(info.group, dataset.split_rule.mapping(), dataset.split_rule.salt)
    if info.split != split:
        yield "split", f"split {info.split!r}, but group {info.group!r} hashes to {split!r}"
    level = classify(info.statistics, levels)
    found = (info.level, info.number, info.s, info.t)
    if found != (level.name, level.number, level.s, level.t):
        yield "level", f"level {found}, but the thresholds give {level.name}"
    if (info.margin_s, info.margin_t) != margins(info.statistics, levels):
        yield "level", f"margins {info.margin_s}, {info.margin_t}, not {margins(info.statistics, levels)}"
    carried = tuple(sorted(name for name in fields_of(Flags) if getattr(info.flags, name)))
    told = {name for name in fields_of(Flags) if getattr(info.flags, name) is not None}
    if told != set(telling(measured(info.statistics))):
        yield "level", f"flags {sorted(told)} are told, not {telling(measured(info.statistics))}"
    if carried != flags(info.statistics, levels):
        yield "level", f"flags {carried}, not {flags(info.statistics, levels)}"


def _key(row: Row) -> Iterator[Broken]:
    key, source = row.info.key, row.info.source
    if not KEY.fullmatch(key):
        yield "key", f"{key!r} does not match {KEY.pattern}"
    start = key.removeprefix(source + "_")
    if start == key or not (start.isdecimal() and len(start) == 9):
        yield "key", f"{key!r} is not {source}_<start in ms, 9 digits>"
    elif abs(int(start) - row.info.start * 1000) > 1:
        yield "key", f"{key!r} says {int(start)} ms, but the clip starts at {row.info.start_seconds} s"


def _boundary(row: Row, lock: LockRow, dataset: Dataset) -> Iterator[Broken]:
    info, stream = row.info, lock.stream
    if stream.rate <= 0 or info.rate <= 0 or info.stride <= 0:
        yield "boundary", f"rates {stream.rate}, {info.rate} and stride {info.stride} must be positive"
        return
    period = 1 / stream.rate
    span = info.end_frame - info.first_frame
    length = info.end - info.start
    usual = info.frames * info.stride * period
    checks = {
        f"start {info.start} is before end {info.end}": info.start < info.end,
        f"{info.frames} frames, {dataset.frames} declared": info.frames == dataset.frames,
        f"{info.frames} frames at stride {info.stride} fill [{info.first_frame}, {info.end_frame})": (
            (info.frames - 1) * info.stride < span <= info.frames * info.stride
        ),
        f"inside shot [{info.shot_start}, {info.shot_end})": (
            info.shot_start <= info.first_frame and info.end_frame <= info.shot_end
        ),
        f"inside the file's {stream.frames} frames": info.first_frame >= 0 and info.end_frame <= stream.frames,
        f"inside pts [{stream.first_pts}, {stream.last_pts}]": stream.first_pts <= info.start_pts <= stream.last_pts,
        f"time base {info.time_base} and rate {info.rate} are the file's": (
            info.time_base == stream.time_base
            and info.stride == stream.stride
            and info.rate * info.stride == stream.rate
        ),
        "seconds are pts x time base from the source's origin": (
            info.start == info.start_pts * info.time_base - lock.origin
            and info.end == info.end_pts * info.time_base - lock.origin
            and info.start_seconds == float(info.start)
            and info.end_seconds == float(info.end)
        ),
        "inside the wanted span, give or take a frame": (
            lock.source.start - period <= info.start and info.end <= lock.source.end + period
        ),
        f"{float(length):.3f} s are {info.frames} frames at {float(info.rate):.3f} per second": (
            stream.variable or abs(length - usual) <= usual / 10 + info.stride * period
        ),
        f"picture {info.source_width}x{info.source_height} is the file's": (
            (info.source_width, info.source_height) == (stream.width, stream.height)
        ),
    }
    for claim, holds in checks.items():
        if not holds:
            yield "boundary", f"not true: {claim}"


def index_rules(rows: Iterable[Row]) -> Iterator[tuple[str, str, str]]:
    """Rule, key and detail of what is wrong with the rows together.

    `rows` may be more than memory holds: they are gone through twice, and 80 bytes of each are kept.
    """
    with tempfile.TemporaryFile() as file:
        together = _Together(file)
        yield from _neighbours(_told(rows, together.add))
        yield from together.broken(rows)


def _told(rows: Iterable[Row], other: Callable[[Row], None]) -> Iterator[Row]:
    """The rows; the other is told of each as it passes."""
    for row in rows:
        other(row)
        yield row


def _neighbours(rows: Iterable[Row]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a row, or with two neighbours."""
    before: tuple[Row, ...] = ()
    for row in rows:
        key, cell = row.info.key, (row.info.level, row.info.split)
        match = PATH.fullmatch(row.shard)
        if match is None or match.groups()[:2] != cell:
            yield "place", key, f"{row.info.level} {row.info.split} lies in {row.shard!r}"
        for one in before:
            if (one.shard, one.offset) >= (row.shard, row.offset):
                yield "order", key, "comes after a later shard or offset in the index"
            if (one.info.level, one.info.split) == cell and order_hash(one.info.key) >= order_hash(key):
                yield "order", key, f"its hash is below that of {one.info.key}, which comes before it"
        before = (row,)


class _Together:
    """What rows must not have in common. Of very many rows only hashes are kept, which says in which rows to look."""

    def __init__(self, file: IO[bytes]) -> None:
        """The fingerprints lie in `file`."""
        self._keys, self._holders, self._splits = _Several(), _Several(), array("q")
        self._looks = Fingerprints(file)

    def add(self, row: Row) -> None:
        """The next row."""
        self._keys.add(row.info.key, len(self._splits))
        for holder in _holders(row):
            self._holders.add(holder, row.info.split)
        self._splits.append(hash(row.info.split))
        self._looks.add(row.fingerprint if is_fingerprint(row.fingerprint) else "")

    def broken(self, rows: Iterable[Row]) -> Iterator[tuple[str, str, str]]:
        """Rule, key and detail; `rows` are those that were added, once more."""
        keys, holders, splits = self._keys.found(), self._holders.found(), self._splits
        alike = [(i, j) for i, j in self._looks.links(range(len(splits))) if splits[i] != splits[j]]
        if not (keys or holders or alike):
            return
        linked = {number for pair in alike for number in pair}
        counts, spread = Counter[str](), defaultdict[tuple[str, str], set[str]](set)
        infos: dict[int, ClipInfo] = {}
        for number, row in enumerate(rows):
            if hash(row.info.key) in keys:
                counts[row.info.key] += 1
            for holder in _holders(row):
                if hash(holder) in holders:
                    spread[holder].add(row.info.split)
            if number in linked:
                infos[number] = row.info
        yield from (("key", key, f"occurs {count} times") for key, count in counts.items() if count > 1)
        for (what, name), found in spread.items():
            if len(found) > 1:
                yield "leak", "", f"{what} {name!r} is in {', '.join(sorted(found))}"
        for one, two in ((infos[i], infos[j]) for i, j in alike):
            yield "leak", two.key, f"the same footage as {one.key}, {two.split} and {one.split}"


class _Several:
    """Finds, among very many pairs of a name and a value, the names with more than one value; 16 bytes of a pair."""

    def __init__(self) -> None:
        self._names, self._values = array("q"), array("q")

    def add(self, name: Hashable, value: Hashable) -> None:
        """The next pair."""
        self._names.append(hash(name))
        self._values.append(hash(value))

    def found(self) -> set[int]:
        """Hashes of the names, and by chance of others."""
        names, values = np.array(self._names), np.array(self._values)
        order = names.argsort()
        names, values = names[order], values[order]
        several = (names[1:] == names[:-1]) & (values[1:] != values[:-1])
        return set(names[1:][several].tolist())


def _holders(row: Row) -> Iterator[tuple[str, str]]:
    """What must be in one split only."""
    yield "group", row.info.group
    yield "source", row.info.source
    yield "video", row.sha256


class Cells:
    """Counts what every level and split has, row by row."""

    def __init__(self) -> None:
        self._clips: Counter[tuple[str, str]] = Counter()
        self._frames: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
        self._shards: dict[tuple[str, str], set[str]] = defaultdict(set)

    def add(self, row: Row) -> None:
        """Count a row."""
        cell = row.info.level, row.info.split
        self._clips[cell] += 1
        self._frames[cell] += row.info.frames
        if self._seconds[cell].denominator.bit_length() <= FINEST:
            self._seconds[cell] += row.info.end - row.info.start
        self._shards[cell].add(row.shard)

    def counted(self, sizes: Mapping[str, int]) -> tuple[Cell, ...]:
        """The cells that have clips, in the order of their first rows, given the bytes of each shard."""
        return tuple(
            Cell(
                level=level,
                split=split,
                clips=clips,
                frames=self._frames[level, split],
                seconds=float(self._seconds[level, split]),
                size=sum(sizes.get(shard, 0) for shard in self._shards[level, split]),
                shards=len(self._shards[level, split]),
            )
            for (level, split), clips in self._clips.items()
        )
