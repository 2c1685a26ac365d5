"""Candidates -> the clips of the dataset: flags, near-duplicates, quotas per level and split, ranked reserves. Pure.

Every decision is a function of names, content and settings, never of the order of the input, and every candidate ends
either chosen or dropped for exactly one reason. Cost is linear in the candidates: docs/scale.md.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from collection.recipe import Range, SelectSettings
from collection.review import NO_REVIEW, Review
from mlst.dataset.description import SplitRule, SplitShare
from mlst.levels.flags import flags
from mlst.levels.levels import LEVELS, Level, Levels, classify, margins
from mlst.levels.splits import order_hash, quotas, split_group, split_of
from mlst.pictures.fingerprints import Fingerprints
from mlst.records import SPLITS, Clip, Source, Statistics, Upstream

PRIORITY = ("test", "validation", "train")
"""Of two copies of the same footage in different splits, the one in the earlier of these stays."""


class Measured(Protocol):
    """Candidates of one source, as a `Scan` has them."""

    @property
    def source(self) -> str:
        """Its id."""

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Some or all of its candidates."""


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is decided about a clip alone. There may be millions: what else is known of the clip stays in its scan."""

    key: str
    source: str
    shot: int
    level: Level
    margin_s: float
    margin_t: float
    flags: tuple[str, ...]
    outside: str
    """The first statistic that is outside of its range, "" for none."""
    group: str
    """What its split was decided by."""
    split: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """A clip of the dataset."""

    candidate: Candidate
    rank: int
    """Place among the clips of its level and split, from 0."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that is not in the dataset, and the one reason."""

    candidate: Candidate
    reason: str
    """`review` (somebody marked it), `flag`, `range`, `leak` (its footage is in a split of higher priority),
    `duplicate` (another source's copy is kept), `per_source` or `quota` (a reserve)."""
    detail: str
    """The mark, the flag, the statistic, the key of the other copy, or the rank of the reserve: the lowest is next."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Every candidate, once."""

    chosen: tuple[Chosen, ...]
    """In the order of the shards: by level, split and hash of the key."""
    dropped: tuple[Dropped, ...]
    """By key."""

    def sources(self) -> frozenset[str]:
        """Ids of the sources that a clip was chosen from."""
        return frozenset(one.candidate.source for one in self.chosen)

    def reasons(self) -> dict[str, int]:
        """How many were dropped for which reason, by reason."""
        return dict(sorted(Counter(drop.reason for drop in self.dropped).items()))


Sieve = Callable[[Sequence[Candidate]], Iterator[Dropped]]
"""Gives those of the candidates, best first, that go."""

ShotId = tuple[str, int]
Parents = dict[ShotId, ShotId]
"""Shots that show the same footage, of different sources or not, as a union-find forest."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """All candidates, in the order of the index, and what they look like."""

    candidates: tuple[Candidate, ...]
    prints: Fingerprints
    numbers: NDArray[np.int64]
    """Of each candidate's fingerprint in `prints`."""

    def links(self, among: Iterable[Candidate]) -> Iterator[tuple[ShotId, ShotId]]:
        """Pairs of shots that show the same footage, as far as these candidates tell.

        Pairs are left out where very many clips look alike, which ones depends on what else is there: `select` asks
        again for the chosen, until it is told nothing new. `verify` asks in just that way.
        """
        places = self._places({c.key for c in among})
        for i, j in self.prints.links(self.numbers[places]):
            one, other = _shot(self.candidates[places[i]]), _shot(self.candidates[places[j]])
            if one != other:
                yield one, other

    def _places(self, keys: Collection[str]) -> NDArray[np.int64]:
        return np.fromiter((place for place, c in enumerate(self.candidates) if c.key in keys), np.int64)


@dataclass(frozen=True, slots=True)
class _Step:
    """What a rule left, best first, and what it took."""

    left: tuple[Candidate, ...]
    dropped: tuple[Dropped, ...]


def select(
    scans: Iterable[Measured],
    sources: Mapping[str, Source],
    levels: Levels,
    settings: SelectSettings,
    preferred: Collection[str] = frozenset(),
    review: Review = NO_REVIEW,
) -> Selection:
    """Choose among the clips of `scans`, read once; `sources` by id must hold every scanned source.

    `preferred` are the keys of an earlier release, taken wherever there is a choice. With them, every clip of that
    release whose source still exists and whose settings still hold stays, whatever was lost or added in train. Without
    them the same is true where no near-duplicates were involved: a copy that comes back because the better copy is
    gone may rank before a clip that was chosen.

    What `review` refuses is left out. What it keeps passes flags and ranges and comes before all others, so that it is
    in the dataset unless quotas, `per_source` or footage in two splits stand against it.
    Raises ValueError for a key that two scans share.
    """
    with tempfile.TemporaryFile() as file:
        prints = Fingerprints(file)
        found: list[Candidate] = []
        for clip, candidate in _candidates(scans, sources, levels, settings):
            found.append(candidate)
            prints.add(clip.fingerprint)
        numbers = _by_hash(found)
        by_hash = [found[n] for n in numbers]
        index = np.array(sorted(range(len(by_hash)), key=lambda n: _cell(by_hash[n])), np.int64)
        pool = _Pool(tuple(by_hash[n] for n in index), prints, numbers[index])
        place = _places(review, preferred)
        ranked = sorted(by_hash, key=place)
        return _settled(pool, _split_off(ranked, _unwanted(settings.reject, review)), settings, place)


def _places(review: Review, preferred: Collection[str]) -> Callable[[Candidate], int]:
    """Who comes first wherever there is a choice: what is kept, then what is preferred, then the others."""
    return lambda c: 0 if review.keeps(c.key) else 1 if c.key in preferred else 2


def _by_hash(candidates: Sequence[Candidate]) -> NDArray[np.int64]:
    """Their places in the order of the hashes of their keys. Raises ValueError for duplicate keys."""
    hashes = np.fromiter((order_hash(c.key) for c in candidates), "S64", len(candidates))
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    if len(same):
        twice = sorted({candidates[n].key for n in order[same]})
        raise ValueError(f"duplicate clip keys: {', '.join(twice[:5])}; scan every source once")
    return order


def _settled(pool: _Pool, wanted: _Step, settings: SelectSettings, place: Callable[[Candidate], int]) -> Selection:
    """The selection whose own clips tell of no link that it does not respect."""
    parents: Parents = {}
    _join(parents, pool.links(wanted.left))
    while True:
        steps = [wanted]
        for rule in (_unlinked(parents, place), _per_source(settings.per_source), _quota(settings)):
            steps.append(_split_off(steps[-1].left, rule))
        if not _join(parents, pool.links(steps[-1].left)):
            return _selection(pool, steps)


def _selection(pool: _Pool, steps: Sequence[_Step]) -> Selection:
    ranks = {c.key: rank for cell in _by(steps[-1].left, _cell).values() for rank, c in enumerate(cell)}
    chosen = tuple(Chosen(c, ranks[c.key]) for c in pool.candidates if c.key in ranks)
    dropped = sorted((drop for step in steps for drop in step.dropped), key=lambda drop: drop.candidate.key)
    return Selection(chosen, tuple(dropped))


def _split_off(ranked: Sequence[Candidate], rule: Sieve) -> _Step:
    dropped = tuple(rule(ranked))
    gone = {drop.candidate.key for drop in dropped}
    return _Step(tuple(c for c in ranked if c.key not in gone), dropped)


def _shot(candidate: Candidate) -> ShotId:
    return candidate.source, candidate.shot


def _candidates(
    scans: Iterable[Measured], sources: Mapping[str, Source], levels: Levels, settings: SelectSettings
) -> Iterator[tuple[Clip, Candidate]]:
    """Clips, and what is decided about each; what is equal in many is one object in memory."""
    rule = split_rule(settings)
    shares = rule.mapping()
    carried: dict[tuple[str, ...], tuple[str, ...]] = {}
    for scan in scans:
        source = sources[scan.source]
        group = split_group(source, settings.group)
        split = split_of(group, shares, rule.salt)
        for clip in scan.clips:
            level = LEVELS[classify(clip.statistics, levels).number - 1]
            found = flags(clip.statistics, levels)
            found = carried.setdefault(found, found)
            far = margins(clip.statistics, levels)
            outside = _outside(clip.statistics, settings.keep)
            yield clip, Candidate(clip.key, source.id, clip.shot, level, *far, found, outside, group, split)


def _outside(statistics: Statistics, keep: Mapping[str, Range]) -> str:
    """The first statistic that is outside of its range, "" for none. Raises ValueError where it was not measured."""
    for name, (low, high) in keep.items():
        value = getattr(statistics, name)
        if value is None:
            raise ValueError(f"select.keep.{name} needs what the scan did not measure: add {name} to scan.columns")
        if not low <= value <= high:
            return name
    return ""


def _unwanted(reject: Sequence[str], review: Review) -> Sieve:
    """Without the clips that somebody refused, that carry a flag, or whose statistics are outside of their ranges;
    flags and ranges do not count for what somebody keeps."""

    def rule(ranked: Sequence[Candidate]) -> Iterator[Dropped]:
        for candidate in ranked:
            flag = next((flag for flag in reject if flag in candidate.flags), "")
            if mark := review.refusal(candidate.key):
                yield Dropped(candidate, "review", mark)
            elif review.keeps(candidate.key):
                continue
            elif flag:
                yield Dropped(candidate, "flag", flag)
            elif candidate.outside:
                yield Dropped(candidate, "range", candidate.outside)

    return rule


def _unlinked(parents: Parents, place: Callable[[Candidate], int]) -> Sieve:
    """Near-duplicates: of all shots that are linked, directly or through others, one source's in one split stay.

    Whole components are judged, because then losing a source can only bring clips back, never take others away.
    """

    def rule(ranked: Sequence[Candidate]) -> Iterator[Dropped]:
        linked = [c for c in ranked if _shot(c) in parents]
        for component in _by(linked, lambda c: _root(parents, _shot(c))).values():
            top = min((c.split for c in component), key=PRIORITY.index)
            inside = [c for c in component if c.split == top]
            best = min(inside, key=lambda c: (place(c), order_hash(c.source)))
            first = next(c.key for c in inside if c.source == best.source)
            for candidate in component:
                if candidate.split != top:
                    yield Dropped(candidate, "leak", first)
                elif candidate.source != best.source:
                    yield Dropped(candidate, "duplicate", first)

    return rule


def _join(parents: Parents, links: Iterable[tuple[ShotId, ShotId]]) -> bool:
    """Add links to what is known; whether they connect any shots that were not connected before."""
    news = False
    for one, other in links:
        root, goal = _root(parents, one), _root(parents, other)
        parents[root] = goal
        news = news or root != goal
    return news


def _root(parents: Parents, shot: ShotId) -> ShotId:
    """The shot that stands for all that are connected with this one."""
    while parents.setdefault(shot, shot) != shot:
        parents[shot] = parents[parents[shot]]
        shot = parents[shot]
    return shot


def _per_source(limit: int) -> Sieve:
    def rule(ranked: Sequence[Candidate]) -> Iterator[Dropped]:
        count: Counter[tuple[str, int]] = Counter()
        for candidate in ranked if limit else ():
            holder = candidate.source, candidate.level.number
            count[holder] += 1
            if count[holder] > limit:
                yield Dropped(candidate, "per_source", str(limit))

    return rule


def _quota(settings: SelectSettings) -> Sieve:
    def rule(ranked: Sequence[Candidate]) -> Iterator[Dropped]:
        parts = quotas(settings.quota, split_rule(settings).mapping())
        for (_, split), candidates in _by(ranked, _cell).items():
            for rank, candidate in enumerate(candidates):
                if settings.quota and rank >= parts[split]:
                    yield Dropped(candidate, "quota", str(rank))

    return rule


def _cell(candidate: Candidate) -> tuple[str, str]:
    return candidate.level.name, candidate.split


def _by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items with equal keys together, each in its order."""
    parts: dict[K, list[T]] = defaultdict(list)
    for item in items:
        parts[key(item)].append(item)
    return parts


def split_rule(settings: SelectSettings) -> SplitRule:
    """The rule as a dataset records it."""
    shares = tuple(SplitShare(split, settings.splits[split]) for split in SPLITS if split in settings.splits)
    return SplitRule(shares, settings.salt, settings.group)


def complete(source: Source, upstream: Upstream) -> Source:
    """`source` with what its site said where the manifest says nothing: title, channel, licence.

    Lone surrogates, which no file can hold, become question marks.
    """
    named = source.licence not in ("", "unknown")
    title = _encodable(source.title or upstream.title)
    channel = _encodable(source.channel or upstream.channel)
    licence = source.licence if named else _encodable(upstream.licence) or "unknown"
    if (title, channel, licence) == (source.title, source.channel, source.licence):
        return source  # one object for both, of which there may be millions
    return replace(source, title=title, channel=channel, licence=licence)


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
