"""Are the sources of a dataset still there, and are they still what was fetched?

Two ways to ask: `look` (a few requests per source, no media) and `deep` (fetch again, compare packets, and where these
differ decode and compare the footage by the perceptual fingerprints of the dataset's clips). "We are blocked" is never
"it is gone": what could not be asked is `unknown`, and the next run asks it again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import cv2

from collection.engine.stage import FAILED, Expected, Needs, Outcome, Rejected
from collection.fetch.stage import FetchStage
from collection.media.decode import open_video
from collection.recipe import Limits
from collection.sandbox.apart import apart
from collection.scan.stage import seconds
from collection.workspace.folder import Span, Workspace
from mlst.dataset.description import INDEX, LOCK, THRESHOLDS
from mlst.dataset.index import read_index_columns
from mlst.dataset.lock import LockRow, read_lock
from mlst.levels.levels import LEVELS, read_levels
from mlst.pictures.bars import active_picture
from mlst.pictures.fingerprints import fingerprint, same_footage
from mlst.pictures.frames import GRID_STEP, PictureFormat, Reduced, canonical, reduce
from mlst.records import SPLITS, Probe, Source, Upstream, Video, digest
from mlst.sandbox.kernel import Room

BYTES, PACKETS, REENCODED, CHANGED = "byte-equal", "packet-equal", "re-encoded", "changed"
PRESENT, ALTERED = "present", "altered"
GONE, UNKNOWN = "gone", "unknown"
STATES = {
    BYTES: "the same file",
    PACKETS: "the same video packets in another container",
    PRESENT: "available, and no difference was reported",
    ALTERED: "available, but its description has changed",
    REENCODED: "different packets, the same footage",
    CHANGED: "different footage or length",
    GONE: "no longer available",
    UNKNOWN: "could not be checked",
}
LOST = (CHANGED, GONE)
"""States in which a rebuild loses the clips."""

COMPARING = Needs(seconds=3600.0, memory=6 << 30, network=False)
TOLERANCE = Fraction(1, 10)
"""Seconds that two encodings of one video may differ in length, or two frames if that is more."""
ANNOUNCED = 1.0
"""Seconds by which announced lengths may differ: sites round."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of a source."""

    source: str
    state: str
    """One of `STATES`."""
    reason: str
    """Dotted, as in docs/fetching.md; "" where the state says all."""
    detail: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A clip of the dataset, by what it shows."""

    start: Fraction
    """Seconds on the source's own clock, half open."""
    end: Fraction
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A source as it was fetched."""

    row: LockRow
    clips: tuple[Shown, ...]
    active_picture: str
    """Rule of `mlst.pictures.bars` under which the clips were fingerprinted."""


@dataclass(frozen=True, slots=True)
class DriftStage:
    """Asks after one source: `Wanted` in, `Drift` out."""

    name: ClassVar[str] = "drift"
    version: ClassVar[int] = 1
    output: ClassVar[type[Drift]] = Drift
    needs: ClassVar[Needs] = FetchStage.needs

    fetch: FetchStage
    deep: bool

    def settings(self) -> Any:
        """Those of the fetch, and how closely is looked."""
        return {"fetch": self.fetch.settings(), "deep": self.deep}

    def key(self, item: Wanted) -> str:
        """The source and a digest of what it was."""
        return f"{item.row.source.id}@{digest(item.row)[:16]}"

    def reads(self, item: Wanted) -> Iterable[Span]:
        """Nothing."""
        return ()

    def expects(self, item: Wanted) -> Expected:
        """No file."""
        return Expected((), 1 << 20)

    def check(self, item: Wanted, outputs: tuple[Drift, ...]) -> None:
        """One answer, about the source that was asked after."""
        (found,) = outputs
        if found.source != item.row.source.id or found.state not in STATES:
            raise ValueError(f"{found.state!r} of {found.source!r}")

    def __call__(self, item: Wanted, work: Workspace) -> Iterator[Drift]:
        """What became of the source. Raises `Retry` where that could not be found out."""
        try:
            yield self._deep(item, work) if self.deep else looked(item.row, self.fetch.look(item.row.source, work))
        except Rejected as why:
            yield refused(item.row.source.id, why)

    def _deep(self, item: Wanted, work: Workspace) -> Drift:
        (video,) = self.fetch(item.row.source, work)
        try:
            found = compared(item.row, video)
            if found.state != CHANGED or found.reason:
                return found
            limits, path = self.fetch.recipe.limits, work.path(video.file)
            return apart(
                Drift,
                lambda: footage(item, video, path, limits),
                COMPARING,
                Room((path,), ()),
            )
        finally:
            work.remove(video.file)


def looked(row: LockRow, now: Upstream) -> Drift:
    """What a site, server or file says now against what it said then; what either left unsaid is not compared."""
    then = row.upstream
    pairs: list[tuple[str, str | int, str | int]] = [("format", then.format_id, now.format_id)]
    if then.format_id == now.format_id:
        pairs += [("size", then.size, now.size), ("revision", then.revision, now.revision)]
    pairs += [("licence", then.licence, now.licence), ("availability", then.availability, now.availability)]
    told = [f"{name} was {old}, is {new}" for name, old, new in pairs if old and new and old != new]
    if then.duration and now.duration and abs(then.duration - now.duration) >= ANNOUNCED:
        told.insert(0, f"duration was {then.duration:g} s, is {now.duration:g} s")
    return Drift(row.source.id, ALTERED if told else PRESENT, "", "; ".join(told))


def compared(row: LockRow, video: Video) -> Drift:
    """What the packets say. `changed` without a reason where only the pictures can tell."""
    name = row.source.id
    if video.sha256 == row.sha256:
        return Drift(name, BYTES, "", "")
    old = covered(row.probe, row.origin, row.source)
    new = covered(video.probe, video.origin, row.source)
    if video.probe.packets_sha256 == row.probe.packets_sha256:
        return Drift(name, PACKETS, "", "" if old == new else f"was {_span(old)}, is {_span(new)}")
    slack = max(TOLERANCE, 2 / row.probe.rate, 2 / video.probe.rate)
    if max(abs(old[0] - new[0]), abs(old[1] - new[1])) > slack:
        return Drift(name, CHANGED, "length", f"was {_span(old)}, is {_span(new)}")
    lengths = row.upstream.duration, video.upstream.duration
    if all(lengths) and abs(lengths[0] - lengths[1]) >= ANNOUNCED:
        return Drift(name, CHANGED, "length", f"the whole video was {lengths[0]:g} s, is {lengths[1]:g} s")
    return Drift(name, CHANGED, "", "")


def covered(probe: Probe, origin: Fraction, source: Source) -> tuple[Fraction, Fraction]:
    """The part of the wanted span that a file holds, in seconds on the source's clock."""
    begin = probe.first_pts * probe.time_base - origin
    return max(begin, source.start), min(begin + probe.duration, source.end)


def _span(span: tuple[Fraction, Fraction]) -> str:
    return f"{float(span[0]):.3f} to {float(span[1]):.3f} s"


def footage(item: Wanted, video: Video, path: Path, limits: Limits) -> Drift:
    """Whether the pictures of a re-encoded file are those of the dataset's clips. Decodes; raises `Rejected`."""
    name = item.row.source.id
    telling = [clip for clip in item.clips if same_footage(clip.fingerprint, clip.fingerprint)]
    if not telling:
        return Drift(name, CHANGED, "packets", "no clip of it in the dataset is distinctive enough to compare")
    seen = _shown(replace(item, clips=tuple(telling)), video, path, limits)
    same = sum(bool(now) and same_footage(clip.fingerprint, now) for clip, now in seen)
    if same < len(telling):
        return Drift(name, CHANGED, "footage", f"{len(telling) - same} of {len(telling)} clips show different footage")
    return Drift(name, REENCODED, "", f"all {same} comparable clips show the same footage")


def _shown(item: Wanted, video: Video, path: Path, limits: Limits) -> Iterator[tuple[Shown, str]]:
    """Each clip, with the fingerprint of what the file shows at its place."""
    cv2.setNumThreads(1)
    waiting = sorted(item.clips, key=lambda clip: clip.start)
    early = 1 / (2 * video.probe.rate)
    taken: dict[Shown, list[tuple[Fraction, Reduced]]] = {}
    with open_video(path, video.probe, limits, video.origin + waiting[0].start) as decoder:
        for frame in decoder:
            time = seconds(frame.picture.pts, video) + early
            while waiting and waiting[0].start <= time:
                taken[waiting.pop(0)] = []
            for clip in [clip for clip in taken if clip.end <= time]:
                yield clip, _fingerprint(taken.pop(clip), decoder.format, item.active_picture)
            if taken:
                reduced = reduce(frame.picture, decoder.format)
                for frames in taken.values():
                    frames.append((time, reduced))
            elif not waiting:
                return
        for clip, frames in taken.items():
            yield clip, _fingerprint(frames, decoder.format, item.active_picture)


def _fingerprint(frames: list[tuple[Fraction, Reduced]], fmt: PictureFormat, rule: str) -> str:
    times = [time for time, _ in frames]
    if not times or times[-1] - times[0] < GRID_STEP:
        return ""
    return fingerprint(canonical([reduced for _, reduced in frames], times, fmt, active_picture[rule]))


def refused(name: str, why: Rejected) -> Drift:
    """What a final refusal says of a source: `gone`, or there and no longer usable, which is `changed`."""
    if why.kind == "not_allowed":
        return Drift(name, UNKNOWN, why.kind, why.detail)
    gone = why.kind.startswith("gone.") or why.kind == "no_format"
    return Drift(name, GONE if gone else CHANGED, why.kind.removeprefix("gone."), why.detail)


def answered(outcome: Outcome[Drift]) -> Drift:
    """The answer in an outcome; `unknown` where there was none."""
    if outcome.status == FAILED:
        return Drift(outcome.key.partition("@")[0], UNKNOWN, outcome.kind, outcome.detail)
    (drift,) = outcome.outputs
    return drift


@dataclass(frozen=True, slots=True)
class Asked:
    """The sources of a dataset, by id, each with its clips if `deep`. Can be gone through again."""

    dataset: Path
    deep: bool

    def __iter__(self) -> Iterator[Wanted]:
        columns = ["source", "start", "end", "fingerprint"]
        table = read_index_columns(self.dataset / INDEX, columns).sort_by("source") if self.deep else None
        rule, at = read_levels(self.dataset / THRESHOLDS).active_picture, 0
        for row in read_lock(self.dataset / LOCK):
            clips = table.slice(at, row.chosen).to_pylist() if table is not None else []
            at += row.chosen
            if any(clip["source"] != row.source.id for clip in clips):
                raise ValueError(f"{self.dataset}: lock and index disagree on {row.source.id}; run `mlst verify`")
            shown = (Shown(Fraction(c["start"]), Fraction(c["end"]), c["fingerprint"]) for c in clips)
            yield Wanted(row, tuple(shown), rule)


@dataclass(frozen=True, slots=True)
class CellDrift:
    """The clips of a level and split by what became of their sources, in the order of `STATES`."""

    level: str
    split: str
    clips: int
    states: tuple[int, ...]

    @property
    def lost(self) -> int:
        """Clips that a rebuild would lose."""
        return sum(count for state, count in zip(STATES, self.states, strict=True) if state in LOST)


@dataclass(frozen=True, slots=True)
class Balance:
    """A level's share of all clips, in the dataset and among those whose sources are left."""

    level: str
    clips: int
    left: int
    share: float
    share_left: float


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What became of a dataset's sources, and what that does to it."""

    sources: tuple[Drift, ...]
    """By id."""
    cells: tuple[CellDrift, ...]
    """Level by level, split by split; those with clips."""
    balance: tuple[Balance, ...]
    """All nine levels. What is unknown counts as left."""


def report(dataset: Path, drifts: Iterable[Drift]) -> DriftReport:
    """Count the clips of the dataset by what became of their sources."""
    found = tuple(drifts)
    state = {drift.source: drift.state for drift in found}
    columns = ("source", "level", "split")
    table = read_index_columns(dataset / INDEX, columns).group_by(list(columns)).aggregate([([], "count_all")])
    counts: Mapping[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in table.to_pylist():
        counts[row["level"], row["split"]][state.get(row["source"], UNKNOWN)] += row["count_all"]
    cells = tuple(
        CellDrift(level.name, split, counted.total(), tuple(counted[name] for name in STATES))
        for level in LEVELS
        for split in SPLITS
        if (counted := counts.get((level.name, split)))
    )
    return DriftReport(found, cells, tuple(_balance(cells)))


def _balance(cells: tuple[CellDrift, ...]) -> Iterator[Balance]:
    clips, left = Counter[str](), Counter[str]()
    for cell in cells:
        clips[cell.level] += cell.clips
        left[cell.level] += cell.clips - cell.lost
    for level in (level.name for level in LEVELS):
        share, share_left = clips[level] / (clips.total() or 1), left[level] / (left.total() or 1)
        yield Balance(level, clips[level], left[level], share, share_left)
