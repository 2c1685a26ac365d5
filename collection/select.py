"""Candidates -> the clips of the dataset: flags, near-duplicates, quotas per level and split, ranked reserves. Pure.

Every decision is a function of names, content and settings, never of the order of the input, and every candidate ends
either chosen or dropped for exactly one reason.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from collection.recipe import SelectSettings
from mlst.dataset import Share, SplitRule
from mlst.fingerprints import link
from mlst.flags import flags
from mlst.levels import Level, Levels, classify, margins
from mlst.records import SPLITS, Clip, Scan, Source, Upstream
from mlst.splits import group_of, order_of, quotas, split_of

PRIORITY = ("test", "validation", "train")
"""Of two copies of the same footage in different splits, the one in the earlier of these stays."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A clip with everything that is decided about it alone."""

    clip: Clip
    file: str
    """`Scan.file`, where its bytes lie."""
    level: Level
    margin_s: float
    margin_t: float
    flags: tuple[str, ...]
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
    """`flag`, `leak` (its footage is in a split of higher priority), `duplicate` (another source's copy is kept),
    `per_source` or `quota` (a reserve)."""
    detail: str
    """The flag, the key of the other copy, or the rank of the reserve: the lowest is next."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Every candidate, once."""

    chosen: tuple[Chosen, ...]
    """In the order of the shards: by level, split and hash of the key."""
    dropped: tuple[Dropped, ...]
    """By key."""

    def reasons(self) -> dict[str, int]:
        """How many were dropped for which reason, by reason."""
        return dict(sorted(Counter(drop.reason for drop in self.dropped).items()))


Rule = Callable[[Sequence[Candidate]], Iterator[Dropped]]
"""Gives those of the candidates, best first, that go."""

ShotId = tuple[str, int]
Links = frozenset[tuple[ShotId, ShotId]]
"""Pairs of shots, of different sources or not, that show the same footage."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What a rule left, best first, and what it took."""

    left: tuple[Candidate, ...]
    dropped: tuple[Dropped, ...]


def select(
    scans: Sequence[Scan],
    sources: Mapping[str, Source],
    levels: Levels,
    settings: SelectSettings,
    kept: Collection[str] = frozenset(),
) -> Selection:
    """Choose among the clips of `scans`; `sources` by id must hold every scanned source.

    `kept` are the keys of an earlier release: they are preferred wherever there is a choice. With them, every clip of
    that release whose source still exists and whose settings still hold stays, whatever was lost or added in train.
    Without them the same is true where no near-duplicates were involved: a copy that comes back because the better
    copy is gone may rank before a clip that was chosen.
    Raises ValueError for a key that two scans share.
    """
    ranked = sorted(
        (candidate for scan in scans for candidate in _candidates(scan, sources[scan.source], levels, settings)),
        key=lambda c: (c.clip.key not in kept, order_of(c.clip.key)),
    )
    if len({c.clip.key for c in ranked}) != len(ranked):
        twice = sorted(key for key, n in Counter(c.clip.key for c in ranked).items() if n > 1)
        raise ValueError(f"clip keys come twice: {', '.join(twice[:5])}; scan every source once")
    unflagged = _split_off(ranked, _unflagged(settings.reject))
    links = _links(sorted(unflagged.left, key=_place))
    while True:
        selection = _select(unflagged, links, settings, kept)
        missed = _links([c.candidate for c in selection.chosen]) - links
        if not missed:
            return selection
        links |= missed


def _select(unflagged: _Step, links: Links, settings: SelectSettings, kept: Collection[str]) -> Selection:
    steps = [unflagged]
    for rule in (_unlinked(links, kept), _per_source(settings.per_source), _quota(settings)):
        steps.append(_split_off(steps[-1].left, rule))
    chosen = [Chosen(c, rank) for cell in _by(steps[-1].left, _cell).values() for rank, c in enumerate(cell)]
    chosen.sort(key=lambda c: _place(c.candidate))
    dropped = sorted((drop for step in steps for drop in step.dropped), key=lambda drop: drop.candidate.clip.key)
    return Selection(tuple(chosen), tuple(dropped))


def _split_off(ranked: Sequence[Candidate], rule: Rule) -> _Step:
    dropped = tuple(rule(ranked))
    gone = {drop.candidate.clip.key for drop in dropped}
    return _Step(tuple(c for c in ranked if c.clip.key not in gone), dropped)


def _links(candidates: Sequence[Candidate]) -> Links:
    """Links between shots of different sources or the same.

    `link` leaves pairs out where very many clips look alike, which ones depends on what else is there: `select` asks
    again for the chosen, in the order of the index, until it is told nothing new. `verify` asks in just that way.
    """
    shots = [_shot(c) for c in candidates]
    pairs = link([c.clip.fingerprint for c in candidates])
    return frozenset((shots[i], shots[j]) for i, j in pairs if shots[i] != shots[j])


def _shot(candidate: Candidate) -> ShotId:
    return candidate.clip.source, candidate.clip.shot


def _place(candidate: Candidate) -> tuple[str, str, str]:
    """Where a clip comes in the index."""
    return candidate.level.name, candidate.split, order_of(candidate.clip.key)


def _candidates(scan: Scan, source: Source, levels: Levels, settings: SelectSettings) -> Iterator[Candidate]:
    group = group_of(source, settings.group)
    rule = split_rule(settings)
    split = split_of(group, rule.mapping(), rule.salt)
    for clip in scan.clips:
        level, (margin_s, margin_t) = classify(clip.statistics, levels), margins(clip.statistics, levels)
        carried = flags(clip.statistics, levels)
        yield Candidate(clip, scan.file, level, margin_s, margin_t, carried, group, split)


def _unflagged(reject: Sequence[str]) -> Rule:
    def rule(ranked: Sequence[Candidate]) -> Iterator[Dropped]:
        for candidate in ranked:
            for flag in reject:
                if flag in candidate.flags:
                    yield Dropped(candidate, "flag", flag)
                    break

    return rule


def _unlinked(links: Links, kept: Collection[str]) -> Rule:
    """Near-duplicates: of all shots that are linked, directly or through others, one source's in one split stay.

    Whole components are judged, because then losing a source can only bring clips back, never take others away.
    """

    def rule(ranked: Sequence[Candidate]) -> Iterator[Dropped]:
        root = _roots(links)
        for component in _by(ranked, lambda c: root.get(_shot(c), _shot(c))).values():
            top = min((c.split for c in component), key=PRIORITY.index)
            inside = [c for c in component if c.split == top]
            best = min(inside, key=lambda c: (c.clip.key not in kept, order_of(c.clip.source)))
            first = next(c.clip.key for c in inside if c.clip.source == best.clip.source)
            for candidate in component:
                if candidate.split != top:
                    yield Dropped(candidate, "leak", first)
                elif candidate.clip.source != best.clip.source:
                    yield Dropped(candidate, "duplicate", first)

    return rule


def _roots(links: Links) -> dict[ShotId, ShotId]:
    """For every linked shot, one that stands for all that are linked with it (union-find)."""
    parent: dict[ShotId, ShotId] = {}

    def root(shot: ShotId) -> ShotId:
        while parent.setdefault(shot, shot) != shot:
            parent[shot] = parent[parent[shot]]
            shot = parent[shot]
        return shot

    for one, other in links:
        parent[root(one)] = root(other)
    return {shot: root(shot) for shot in list(parent)}


def _per_source(limit: int) -> Rule:
    def rule(ranked: Sequence[Candidate]) -> Iterator[Dropped]:
        for candidates in _by(ranked, lambda c: (c.clip.source, c.level.name)).values():
            for candidate in candidates[limit:] if limit else ():
                yield Dropped(candidate, "per_source", str(limit))

    return rule


def _quota(settings: SelectSettings) -> Rule:
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
    shares = tuple(Share(split, settings.splits[split]) for split in SPLITS if split in settings.splits)
    return SplitRule(shares, settings.salt, settings.group)


def complete(source: Source, upstream: Upstream) -> Source:
    """`source` with what its site said where the manifest says nothing: title, channel, licence.

    Lone surrogates, which no file can hold, become question marks.
    """
    named = source.licence not in ("", "unknown")
    return replace(
        source,
        title=_encodable(source.title or upstream.title),
        channel=_encodable(source.channel or upstream.channel),
        licence=source.licence if named else _encodable(upstream.licence) or "unknown",
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
