"""`mlst doctor`: look through a place, watch a sample of its clips or all, and say what is wrong."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from collection.audit.places import drawn
from collection.audit.share import Interval, interval
from collection.audit.shots import copy_piece, counts
from collection.doctor.judge import Seen, doubles, findings_of
from collection.doctor.rules import RULES, SEVERITIES, Finding
from collection.doctor.survey import Entry, survey
from collection.doctor.watch import LIMITS, NOTHING, Copies, Watched, WatchStage
from collection.engine.run import Executor, Watcher
from collection.engine.stage import DONE, Outcome
from collection.workspace.folder import Workspace

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


def examine(place: Path, clips: int, seed: int, do: Executor, watcher: Watcher, work: Workspace) -> Diagnosis:
    """Look through a place, and at so many of its clips. Nothing is written but copies in `work`.

    Raises `PlaceError`.
    """
    found = survey(place)
    entries = {entry.piece.key: entry for entry in found.entries}
    sample = drawn((entry.piece for entry in found.entries), clips, seed)
    seen = _watched([entries[piece.key] for piece in sample.pieces], do, watcher, work)
    findings = [*found.findings, *(one for clip in seen for one in findings_of(clip)), *doubles(seen)]
    ranks = {rule: (SEVERITIES.index(RULES[rule].severity), number) for number, rule in enumerate(RULES)}
    findings.sort(key=lambda one: (ranks[one.rule], one.where, one.detail))
    shares = tuple(_shares(seen, findings)) if len(seen) < sample.total else ()
    return Diagnosis(str(place), found.kind, sample.total, len(seen), seed, tuple(findings), shares)


def _watched(entries: Sequence[Entry], do: Executor, watcher: Watcher, work: Workspace) -> list[Seen]:
    """Together; where a worker dies or is late, its clips one by one, so that one of them is to blame."""
    watcher.begin(WatchStage.name, len(entries), 0)
    told = {
        entry.piece.key: replace(NOTHING, trouble=why[0], detail=why[1]) for entry in entries if (why := _unfit(entry))
    }
    failed: list[Entry] = []
    fit = [entry for entry in entries if entry.piece.key not in told]
    for group, outcome in _looked(list(_groups(fit)), do, work):
        watcher.outcome(WatchStage.name, outcome)
        if outcome.status == DONE:
            told |= {entry.piece.key: one for entry, one in zip(group, outcome.outputs, strict=True)}
        else:
            failed += group
    for (entry,), outcome in _looked([(entry,) for entry in failed], do, work):
        seen = outcome.outputs[0] if outcome.status == DONE else _ended(outcome)
        told[entry.piece.key] = seen
    watcher.end(WatchStage.name)
    return [Seen(entry, told[entry.piece.key]) for entry in entries]


def _unfit(entry: Entry) -> tuple[str, str] | None:
    """Why a clip is not copied, if it is not: a file of a few bytes may have terabytes of holes."""
    if entry.piece.size > LIMITS.bytes:
        return "too_large", f"{entry.piece.size} bytes; at most {LIMITS.bytes} are looked at"
    if not os.access(entry.piece.file, os.R_OK):
        return "unreadable", "it may not be read, or is gone"
    return None


def _looked(
    groups: Sequence[tuple[Entry, ...]], do: Executor, work: Workspace
) -> Iterator[tuple[tuple[Entry, ...], Outcome[Watched]]]:
    for outcome in do(WatchStage(), _copies(groups, work), work):
        group = groups[int(outcome.key)]
        for number in range(len(group)):
            work.remove(f"{outcome.key}-{number}")
        yield group, outcome


def _copies(groups: Sequence[tuple[Entry, ...]], work: Workspace) -> Iterator[Copies]:
    """Copies in the workspace, each group's made when it is asked for."""
    for number, group in enumerate(groups):
        names = tuple(f"{number}-{place}" for place in range(len(group)))
        for entry, name in zip(group, names, strict=True):
            with entry.piece.file.open("rb") as source, work.path(name).open("wb") as target:
                copy_piece(source, target, entry.piece)
        yield Copies(str(number), names, tuple(entry.piece.size for entry in group))


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
