"""`mlst doctor`: look through a place, watch a sample of its clips or all, and say what is wrong."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from collection.audit.places import PlaceError, drawn
from collection.audit.share import Interval, interval
from collection.audit.shots import counts
from collection.doctor.distant import Place, placed
from collection.doctor.judge import Seen, doubles, findings_of
from collection.doctor.rules import RULES, SEVERITIES, Finding
from collection.doctor.survey import Entry, survey
from collection.doctor.watch import LATER, LIMITS, NOTHING, Copies, Watched, WatchStage
from collection.engine.run import Executor, Watcher
from collection.engine.stage import DONE, REJECTED, Outcome, Status
from collection.workspace.folder import Workspace
from mlst.loading.errors import ReadError

TOGETHER = 32
"""Clips that a worker looks at: starting one costs as much as decoding three small clips."""
TOGETHER_BYTES = 64 << 20
"""Of these together."""
PER_CLIP = tuple(RULES)[tuple(RULES).index("decode") :]
"""Rules whose share of all clips a sample tells."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the clips that were looked at have a defect, and so how many of all, with 95 % confidence."""

    rule: str
    clips: int
    bounds: Interval


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found in a place."""

    place: str
    kind: str
    clips: int
    """In the place."""
    looked_at: int
    seed: int
    findings: tuple[Finding, ...]
    """By severity, rule and place."""
    shares: tuple[Share, ...]
    """Of rules that speak of single clips, if only a sample was looked at."""

    def counted(self) -> dict[str, int]:
        """Findings by rule, the worst rules first."""
        found = Counter(one.rule for one in self.findings)
        return {rule: found[rule] for rule in RULES if found[rule]}

    def worst(self) -> str:
        """The highest severity found, "" for none."""
        found = {RULES[one.rule].severity for one in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), "")


def examine(place: str, clips: int, seed: int, do: Executor, watcher: Watcher, work: Workspace) -> Diagnosis:
    """Look through a place, a path or a URL, and at so many of its clips. Nothing is written but copies in `work`.

    Raises `PlaceError`.
    """
    room = work.path("place")
    room.mkdir(parents=True, exist_ok=True)
    with placed(place, room) as there:
        return _examined(there, clips, seed, do, watcher, work)


def _examined(place: Place, clips: int, seed: int, do: Executor, watcher: Watcher, work: Workspace) -> Diagnosis:
    found = survey(place)
    entries = {entry.piece.key: entry for entry in found.entries}
    sample = drawn((entry.piece for entry in found.entries), clips, seed)
    seen = _Watching(place, do, watcher, work).watched([entries[piece.key] for piece in sample.pieces])
    findings = [*found.findings, *(one for clip in seen for one in findings_of(clip)), *doubles(seen)]
    ranks = {rule: (SEVERITIES.index(RULES[rule].severity), number) for number, rule in enumerate(RULES)}
    findings.sort(key=lambda one: (ranks[one.rule], one.where, one.detail))
    shares = tuple(_shares(seen, findings)) if len(seen) < sample.total else ()
    return Diagnosis(place.name, found.kind, sample.total, len(seen), seed, tuple(findings), shares)


@dataclass(frozen=True, slots=True)
class _Watching:
    """How clips get looked at."""

    place: Place
    do: Executor
    watcher: Watcher
    work: Workspace

    def watched(self, entries: Sequence[Entry]) -> list[Seen]:
        """Together; where a worker dies or is late, its clips one by one, so that one of them is to blame."""
        self.watcher.begin(WatchStage.name, len(entries), 0)
        told: dict[str, Watched] = {}
        fit, failed = list[Entry](), list[Entry]()
        for entry in entries:
            if unfit := _unfit(entry):
                told[entry.piece.key] = replace(NOTHING, trouble=unfit[0], detail=unfit[1])
                self._tell(entry, REJECTED, *unfit)
            else:
                fit.append(entry)
        for group, outcome in self._looked(list(_groups(fit))):
            seen = outcome.outputs if outcome.status == DONE else (replace(NOTHING, trouble=LATER),) * len(group)
            for entry, one in zip(group, seen, strict=True):
                if one.trouble == LATER:
                    failed.append(entry)
                else:
                    told[entry.piece.key] = one
                    self._tell(entry, DONE, "", "")
        for (entry,), outcome in self._looked([(entry,) for entry in failed]):
            told[entry.piece.key] = outcome.outputs[0] if outcome.status == DONE else _ended(outcome)
            self._tell(entry, outcome.status, outcome.kind, outcome.detail)
        self.watcher.end(WatchStage.name)
        return [Seen(entry, told[entry.piece.key]) for entry in entries]

    def _tell(self, entry: Entry, status: Status, kind: str, detail: str) -> None:
        """One clip has ended: clips are what was announced, whatever a worker is given together."""
        self.watcher.outcome(WatchStage.name, Outcome(entry.piece.key, status, kind, detail, ()))

    def _looked(self, groups: Sequence[tuple[Entry, ...]]) -> Iterator[tuple[tuple[Entry, ...], Outcome[Watched]]]:
        for outcome in self.do(WatchStage(), self._copies(groups), self.work):
            group = groups[int(outcome.key)]
            for number in range(len(group)):
                self.work.remove(f"{outcome.key}-{number}")
            yield group, outcome

    def _copies(self, groups: Sequence[tuple[Entry, ...]]) -> Iterator[Copies]:
        """Copies in the workspace, each group's made when it is asked for. Raises `PlaceError`."""
        for number, group in enumerate(groups):
            names = tuple(f"{number}-{place}" for place in range(len(group)))
            for entry, name in zip(group, names, strict=True):
                with self.work.path(name).open("wb") as target:
                    try:
                        self.place.copy(entry.piece, target)
                    except ReadError as why:
                        raise PlaceError(f"{why}; nothing is judged") from None
            yield Copies(str(number), names, tuple(entry.piece.size for entry in group))


def _unfit(entry: Entry) -> tuple[str, str] | None:
    """Why a clip is not copied, if it is not: a file of a few bytes may have terabytes of holes."""
    if entry.piece.size > LIMITS.bytes:
        return "too_large", f"{entry.piece.size} bytes; at most {LIMITS.bytes} are looked at"
    if not os.access(entry.piece.file, os.R_OK):
        return "unreadable", "it may not be read, or is gone"
    return None


def _groups(entries: Sequence[Entry]) -> Iterator[tuple[Entry, ...]]:
    kept: list[Entry] = []
    for entry in entries:
        full = len(kept) == TOGETHER or sum(one.piece.size for one in kept) + entry.piece.size > TOGETHER_BYTES
        if kept and full:
            yield tuple(kept)
            kept = []
        kept.append(entry)
    if kept:
        yield tuple(kept)


def _ended(outcome: Outcome[Watched]) -> Watched:
    return replace(NOTHING, trouble=outcome.kind, detail=outcome.detail)


def _shares(seen: Sequence[Seen], findings: Sequence[Finding]) -> Iterator[Share]:
    having: dict[str, set[str]] = defaultdict(set)
    for one in findings:
        if one.rule in PER_CLIP:
            having[one.rule].add(one.where)
    for rule in RULES:
        if rule in having:
            yield Share(
                rule, len(having[rule]), interval(counts((one.piece, one.piece.key in having[rule]) for one in seen))
            )
