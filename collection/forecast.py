"""What a build will come to, learned from the build of a pilot: sources by what becomes of them, hours, clips, disk.

Each source of the pilot stands for its share of its stratum (`collection.manifest.pilot`). Totals have the interval
of a stratified sample (Cochran 1977, Sampling Techniques, 5.6), shares Wilson's, both with 95 % confidence and for the
day of the pilot: more will be gone when the build runs.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import fmean, variance

from collection.audit.share import Z, wilson
from collection.engine.ledger import Ledger, Outcomes
from collection.engine.stage import REJECTED, Out
from collection.manifest.pilot import Stratum, strata
from collection.report.status import Note, read_note
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from mlst.exits import UserError
from mlst.records import Scan, Source, Video

USED, NO_CLIP = "scanned, with clips", "scanned, without a clip"


class NoPilotError(UserError, ValueError):
    """A workspace from which nothing can be learned about a manifest."""


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with its bounds."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fate:
    """Sources that end alike."""

    reason: str
    """`USED`, `NO_CLIP`, or the kind of the refusal as `mlst status` has it."""
    seen: int
    """In the pilot."""
    sources: Range


@dataclass(frozen=True, slots=True)
class Forecast:
    """For all rows of a manifest."""

    sources: int
    pilot: int
    """Sources of the pilot whose end is known."""
    unfinished: int
    """Those that were not tried, were blocked or failed; nothing is concluded from them."""
    strata: int
    strata_unseen: int
    """Of which the pilot has no source; taken for the mean of the others."""
    fates: tuple[Fate, ...]
    hours_of_video: Range
    """Decoded."""
    clips: Range
    """Candidates; quotas and duplicates leave fewer."""
    clip_hours: Range
    download_bytes: Range
    clip_bytes: Range
    disk_peak_bytes: float
    """The largest videos of the pilot for a whole wave, and the clips twice: as scanned and in the dataset."""
    scan_cpu_seconds: float | None
    """Of one core; None where the last run of the pilot scanned nothing."""
    fetch_seconds: float | None
    """Wall clock at the pilot's pace; None where its last run fetched nothing."""


@dataclass(frozen=True, slots=True)
class One:
    """What became of a source of the pilot."""

    reason: str
    seconds: float
    clips: int
    clip_seconds: float
    download: int
    clip_bytes: int


def forecast(work: Workspace, rows: Sequence[Source], wave: int) -> Forecast:
    """What building `rows` will come to, by the pilot built in `work`. Raises `NoPilotError` and `NoBuildError`."""
    note = read_note(work)
    known = seen(work, note)
    layers = strata(rows)
    found = {name: [known[row.id] for row in those if row.id in known] for name, those in layers.items()}
    sizes = {name: len(layers[name]) for name, ones in found.items() if ones}
    ends = {name: [one for one in found[name] if one.reason] for name in sizes}
    ends = {name: ones for name, ones in ends.items() if ones}
    every = [one for ones in ends.values() for one in ones]
    if not every:
        raise NoPilotError(
            f"{work.path('')}: no source of the manifest has an end there; build a pilot of the same manifest first"
        )
    pick = _Totals({name: sizes[name] for name in ends}, ends, len(rows))
    download, clip_bytes = pick(lambda one: one.download), pick(lambda one: one.clip_bytes)
    scanned = pick(lambda one: one.reason in (USED, NO_CLIP)).expected
    largest = sorted((one.download for one in every), reverse=True)[: max(1, len(every) // 10)]
    return Forecast(
        sources=len(rows),
        pilot=len(every),
        unfinished=sum(map(len, found.values())) - len(every),
        strata=len(layers),
        strata_unseen=len(layers) - len(ends),
        fates=tuple(_fates(every, pick, len(rows))),
        hours_of_video=pick(lambda one: one.seconds / 3600),
        clips=pick(lambda one: one.clips),
        clip_hours=pick(lambda one: one.clip_seconds / 3600),
        download_bytes=download,
        clip_bytes=clip_bytes,
        disk_peak_bytes=min(wave, len(rows)) * fmean(largest) + 2 * clip_bytes.expected,
        scan_cpu_seconds=_seconds(scanned, note, "scan", "cpu_seconds"),
        fetch_seconds=_seconds(len(rows), note, "fetch", "seconds"),
    )


@dataclass(frozen=True, slots=True)
class _Totals:
    """Sums over all rows of what is known of some."""

    sizes: Mapping[Stratum, int]
    seen: Mapping[Stratum, Sequence[One]]
    rows: int

    def __call__(self, value: Callable[[One], float]) -> Range:
        """The sum of a figure."""
        values = {name: [float(value(one)) for one in ones] for name, ones in self.seen.items()}
        every = [number for numbers in values.values() for number in numbers]
        pooled = variance(every) if len(every) > 1 else every[0] ** 2  # of one value nothing is known
        total, spread = 0.0, 0.0
        for name, numbers in values.items():
            size, count = self.sizes[name], len(numbers)
            total += size * sum(numbers) / count
            within = variance(numbers) if count > 1 else pooled
            spread += size * (size - count) * within / count
        unseen = self.rows - sum(self.sizes.values())
        scale = self.rows / sum(self.sizes.values())
        half = Z * math.sqrt(scale**2 * spread + unseen * (unseen + len(every)) * pooled / len(every))
        return Range(scale * total, max(scale * total - half, sum(every)), scale * total + half)


def _fates(every: Sequence[One], pick: _Totals, rows: int) -> Iterator[Fate]:
    counts = {reason: sum(one.reason == reason for one in every) for reason in {one.reason for one in every}}
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        expected = pick(lambda one, reason=reason: one.reason == reason).expected  # type: ignore[misc]
        bounds = wilson(expected / rows, len(every))
        most = rows - len(every) + count
        yield Fate(reason, count, Range(expected, max(rows * bounds.low, count), min(rows * bounds.high, most)))


def seen(work: Workspace, note: Note) -> dict[str, One]:
    """What became of each source in a workspace; an empty reason where that is not known."""
    fetch, scan, _ = (replace(work, folder=name) for name in note.folders)
    known: dict[str, One] = {}
    videos: dict[str, Video] = {}
    for outcome in _all(fetch, Video):
        name = outcome.key.rpartition("@")[0]
        known[name] = One(outcome.kind if outcome.status == REJECTED else "", 0.0, 0, 0.0, 0, 0)
        videos.update({ScanStage.key(video): video for video in outcome.outputs})
    for end in _all(scan, Scan):
        if video := videos.get(end.key):
            reason = end.kind if end.status == REJECTED else ""
            known[video.source] = _scanned(video, end.outputs) or One(reason, 0.0, 0, 0.0, video.size, 0)
    return known


def _scanned(video: Video, scans: Sequence[Scan]) -> One | None:
    for scan in scans:
        rate, clips = scan.stream.rate, scan.clips
        frames = sum(clip.frames * clip.stride for clip in clips)
        return One(
            USED if clips else NO_CLIP,
            float(scan.stream.frames / (rate or Fraction(1))),
            len(clips),
            float(frames / (rate or Fraction(1))),
            video.size,
            sum(clip.size for clip in clips),
        )
    return None


def _all(work: Workspace, output: type[Out]) -> Outcomes[Out]:
    with Ledger(work, output) as ledger:
        return ledger.outcomes(range(len(ledger)))


def _seconds(items: float, note: Note, stage: str, name: str) -> float | None:
    """Seconds of a kind that so many items of a stage take, by the last run; None if that had none."""
    each = (getattr(one, name) / one.items for one in note.spent if one.stage == stage and one.items)
    return next((items * seconds for seconds in each), None)
