"""What a build knows of its items and a finished dataset does not: how each ended, and how its films were cut."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

from collection.engine.run import Result
from collection.engine.stage import REJECTED
from collection.engine.waves import Seen
from collection.fetch.reasons import advice
from collection.pack.stage import Packed
from collection.report.status import Line, tally, times
from collection.scan.stage import ScanStage
from collection.select import Selection
from collection.workspace.folder import Workspace
from mlst.dataset.description import LARGEST
from mlst.inside import content
from mlst.records import Scan, Video, canonical_json, decode_json
from mlst.text import one_line

WORST = 1000
"""Items that are not done and are listed one by one."""
PARTS = 50_000
"""Shots and transitions in the timelines of a page: 1 MB."""
SHOT = "shot"
COPIES = ("duplicate", "leak")
"""Reasons of selection whose detail is the key of the copy that stays."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One item that is not done."""

    stage: str
    key: str
    kind: str
    detail: str
    advice: str
    """What would help; "" where nothing is known."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a film: a shot, or the transition between two."""

    kind: str
    """`SHOT`, or that of the transition."""
    start: float
    """Seconds on the source's own clock."""
    end: float


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a film was cut."""

    source: str
    parts: tuple[Part, ...]
    """In order of time."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A candidate that was left out because the same footage is in the dataset."""

    key: str
    kept: str
    """Key of the clip that is."""
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Candidates of one level that were left out for one reason."""

    level: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Story:
    """What became of every item on the way to the dataset; empty for one that was built elsewhere."""

    outcomes: tuple[Line, ...]
    problems: tuple[Problem, ...]
    seconds: tuple[tuple[str, float], ...] = ()
    """Stage, and how long this run worked on it."""
    films: tuple[Cutting, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    copies: tuple[Copy, ...] = ()


UNKNOWN = Story((), ())
STORY = "story.json"
"""File of a workspace that tells the story again, of the dataset that was last made there."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file holds."""

    fingerprint: str
    """Of the dataset."""
    story: Story


def keep(work: Workspace, fingerprint: str, told: Story) -> None:
    """Keep the story of a dataset in the workspace. It is no part of the dataset: it holds times of this run, and what
    failed in it and will not in another that makes the same bytes."""
    with replace(work, folder="").create(STORY) as (file, _):
        file.write(canonical_json(Kept(fingerprint, told)).encode())


def kept(work: Path, fingerprint: str) -> Story:
    """The story of a dataset, from the workspace in the folder `work`; `UNKNOWN` where it has none or another's."""
    with contextlib.suppress(OSError, ValueError):
        found = decode_json(Kept, content(work / STORY, LARGEST))
        if found.fingerprint == fingerprint:
            return found.story
    return UNKNOWN


def lacking(work: Path, fingerprint: str) -> str:
    """Why the folder `work` does not tell the story of a dataset; "" where it does."""
    if not work.is_dir():
        return f"there is no folder {work}"
    if not (work / STORY).is_file():
        return f"{work} has no {STORY}: no build has ended there, or not with this version of mlst"
    if kept(work, fingerprint) == UNKNOWN:
        return f"what {work} built last is another dataset, or another version of it"
    return ""


def story(results: tuple[Result[Video], Result[Scan], Result[Packed]], selection: Selection) -> Story:
    """All that a build can tell."""
    fetched, scanned, _ = results
    dropped = selection.dropped
    levels = Counter((drop.candidate.level.name, drop.reason) for drop in dropped)
    return Story(
        tuple(outcomes(results, selection.reasons())),
        tuple(islice(problems(results), WORST)),
        tuple((result.stage, result.seconds) for result in results),
        timelines(Seen(fetched, scanned)),
        tuple(LeftOut(level, reason, count) for (level, reason), count in sorted(levels.items())),
        tuple(Copy(drop.candidate.key, drop.detail, drop.reason) for drop in dropped if drop.reason in COPIES),
    )


def outcomes(results: Sequence[Result[object]], dropped: Mapping[str, int]) -> list[Line]:
    """How the items of each stage ended; `dropped` counts, by reason, the candidates that were not chosen."""
    lines = [line for result in results for line in tally(result.stage, result.outcomes.counts)]
    lines += [line for result in results if result.stage == ScanStage.name for line in times(result.outcomes)]
    left_out = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return lines + [Line("select", REJECTED, reason, count) for reason, count in left_out]


def problems(results: Sequence[Result[object]]) -> Iterator[Problem]:
    """Every item that is not done, with the last line of what was said."""
    for result in results:
        for outcome in result.outcomes.undone:
            said = one_line((outcome.detail.strip().splitlines() or [""])[-1])
            yield Problem(result.stage, outcome.key, outcome.kind, said, advice(outcome.kind))


def timelines(seen: Iterable[tuple[Video, Scan]]) -> tuple[Cutting, ...]:
    """Shots and transitions of films: of the first, up to `PARTS` in all."""
    films: list[Cutting] = []
    left = PARTS
    for video, scan in seen:
        parts = tuple(_parts(scan, video.origin))
        left -= len(parts)
        if left < 0:
            break
        films.append(Cutting(scan.source, parts))
    return tuple(films)


def _parts(scan: Scan, origin: Fraction) -> Iterator[Part]:
    """The shots of a film in order, and what lies between two: a cut lasts no time."""
    kinds = {transition.start: transition.kind for transition in scan.transitions}

    def at(pts: int) -> float:
        return round(float(pts * scan.stream.time_base - origin), 3)

    for shot in scan.shots[:1]:
        yield Part(SHOT, at(shot.start_pts), at(shot.end_pts))
    for before, shot in pairwise(scan.shots):
        yield Part(kinds.get(before.end, "cut"), at(before.end_pts), at(shot.start_pts))
        yield Part(SHOT, at(shot.start_pts), at(shot.end_pts))
