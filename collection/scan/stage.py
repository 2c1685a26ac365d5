"""Video -> shots and candidate clips, in one decode.

Every frame is decoded once. From it come, each once: the thumb for the shot detector and, for every `stride`-th frame,
the small copy for the statistics and the picture for the clip. Those wait in a ring buffer until the detector can say
nothing more about them (`Detector.delay`), so memory does not grow with the length of the video. Then windows of
`length` frames are cut, measured and encoded, every `step` frames from the start of each shot.

A clip keeps `margin` source frames away from both ends of its shot, be they transitions, breaks or the ends of the
file. A transition that a detector reports later than it promised still takes the clips away that it touches.

Ordinals count the frames that `decode` passes on. Where a scan began at a key frame in the middle of a long file
(`decode.open_video`), they count from that frame; its pts is `Stream.first_pts`, so pts always tell.
"""

import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import ceil, floor
from typing import Any, BinaryIO, ClassVar

import cv2

from collection.detectors import make_detector, thumb
from collection.engine.stage import Needs
from collection.media.decode import Decoded, Decoder, Facts, open_video
from collection.media.encode import Bytes, Coding, encode, fitted
from collection.recipe import ScanSettings
from collection.workspace.folder import Span, Workspace
from mlst.pictures.fingerprints import fingerprint
from mlst.pictures.frames import GRID_STEP, PictureFormat, Reduced, canonical, reduce
from mlst.pictures.times import REORDER
from mlst.records import Box, Clip, Scan, Shot, Statistics, Transition, Video, digest
from mlst.statistics import measure

TOLERANCE = Fraction(101, 100)
"""Rates up to 1 % above the recipe's are not thinned: 30.3 for 30."""


@dataclass(frozen=True, slots=True)
class ScanStage:
    """The stage `scan`: one `Video` in, one `Scan` out."""

    recipe: ScanSettings
    name: ClassVar[str] = "scan"
    version: ClassVar[int] = 2
    output: ClassVar[type[Scan]] = Scan
    needs: ClassVar[Needs] = Needs(seconds=6 * 3600.0, memory=6 << 30, network=False)

    def settings(self) -> Any:
        """The recipe's table, JSON-ready."""
        return self.recipe.model_dump(mode="json")

    @staticmethod
    def key(item: Video) -> str:
        """The source and a digest of the file and the span wanted from it."""
        return f"{item.source}@{_span_digest(item)}"

    def reads(self, item: Video) -> Iterable[Span]:
        """The video."""
        return (Span(item.file, 0, item.size),)

    def __call__(self, item: Video, work: Workspace) -> Iterable[Scan]:
        """The scan of one video. Raises `Rejected` (see `decode.open_video`)."""
        yield scan(item, self.recipe, work)


def _span_digest(video: Video) -> str:
    return digest([video.sha256, video.origin, video.start, video.end])[:16]


def stride_for(rate: Fraction, highest: Fraction) -> int:
    """The smallest whole number that brings `rate` down to `highest`, within `TOLERANCE`."""
    return max(1, ceil(rate / (highest * TOLERANCE)))


def scan(video: Video, settings: ScanSettings, work: Workspace) -> Scan:
    """Shots and measured, encoded clips of the wanted span; no clips where no shot is long enough."""
    cv2.setNumThreads(1)
    found, rate = _scanned(video, settings, work)
    if rate != found.stream.rate:
        found, _ = _scanned(replace(video, probe=replace(video.probe, rate=rate)), settings, work)
    return found


def _scanned(video: Video, settings: ScanSettings, work: Workspace) -> tuple[Scan, Fraction]:
    """The scan, and the rate that it should have been made at."""
    with (
        open_video(work.path(video.file), video.probe, settings.limits, video.origin + video.start) as decoder,
        work.create(f"clips/{video.source}-{_span_digest(video)}.bin") as (file, name),
    ):
        stride = stride_for(decoder.rate, settings.rate)
        detector = make_detector(settings.detector, settings.options, decoder.rate)
        maker = Maker(decoder.rate / stride, settings.crf, video.probe.time_base, file)
        cutter = Cutter(settings, stride, maker)
        for frame in _until(decoder, video, detector.delay + settings.margin):
            index = frame.picture.index
            if index % stride == 0 and video.start <= seconds(frame.picture.pts, video) < video.end:
                cutter.keep(kept(frame, settings))
            if frame.damaged:
                cutter.report([Transition("break", max(0, index - REORDER), index + 1)])
            elif frame.broken:
                cutter.report([Transition("break", index, index)])
            cutter.report(detector.push(thumb(frame.picture, frame.format)))
            cutter.decide(index - detector.delay)
        cutter.report(detector.finish())
        cutter.decide(len(decoder.pts) - 1)
    transitions = merged(cutter.transitions)
    shots = tuple(_shots(transitions, decoder))
    made = [m for m in cutter.made if not any(_touches(m, t, settings.margin) for t in transitions)]
    clips = tuple(_clip(m, video, stride, shots, decoder) for m in made)
    return Scan(video.source, name, decoder.stream(stride), transitions, shots, clips), decoder.rate_in_hindsight


def seconds(pts: int, video: Video) -> Fraction:
    """On the source's own clock."""
    return pts * video.probe.time_base - video.origin


def _until(decoder: Decoder, video: Video, more: int) -> Iterator[Decoded]:
    """Frames up to the end of the wanted span and `more` behind it, which the detector needs to decide the last."""
    for frame in decoder:
        yield frame
        if seconds(frame.picture.pts, video) >= video.end:
            more -= 1
            if more < 0:
                return


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A frame that may become part of a clip."""

    index: int
    pts: int
    format: PictureFormat
    facts: Facts
    reduced: Reduced
    planes: Bytes


def kept(frame: Decoded, settings: ScanSettings) -> Kept:
    """What is kept of a frame: its own memory, none of the decoder's."""
    picture, fmt = frame.picture, frame.format
    small, planes = reduce(picture, fmt), fitted(picture, fmt, settings.size, settings.fit)
    return Kept(picture.index, picture.pts, fmt, frame.facts, small, planes)


@dataclass(frozen=True, slots=True)
class Made:
    """A clip that was measured and encoded; later transitions may still take it away."""

    first: int
    """Ordinal of its first frame."""
    last: int
    start_pts: int
    frames: int
    statistics: Statistics
    box: Box
    fingerprint: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Maker:
    """Measures and encodes the frames of a clip and appends it to the video's file."""

    rate: Fraction
    """Frames per second of the clips."""
    crf: int
    time_base: Fraction
    file: BinaryIO

    def __call__(self, frames: Sequence[Kept]) -> Iterator[Made]:
        """`frames` are those of one clip; nothing comes of it where they lie too close together to show motion."""
        times = [f.pts * self.time_base for f in frames]
        if times[-1] - times[0] < GRID_STEP:
            return
        facts = frames[0].facts
        pictures = canonical([f.reduced for f in frames], times, frames[0].format)
        data = encode([f.planes for f in frames], Coding(self.rate, self.crf, facts.matrix, facts.transfer))
        offset = self.file.tell()
        self.file.write(data)
        yield Made(
            first=frames[0].index,
            last=frames[-1].index,
            start_pts=frames[0].pts,
            frames=len(frames),
            statistics=measure(pictures),
            box=pictures.box,
            fingerprint=fingerprint(pictures),
            offset=offset,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )


class Cutter:
    """Cuts windows out of shots as soon as it is decided that no transition touches them."""

    def __init__(self, settings: ScanSettings, stride: int, make: Callable[[Sequence[Kept]], Iterable[Made]]) -> None:
        self.settings, self.stride, self._make = settings, stride, make
        self.transitions: list[Transition] = []
        """All that were reported, in that order."""
        self.made: list[Made] = []
        self._pending: list[Transition] = []
        self._ring: deque[Kept] = deque()
        self._decided = -1
        self._shot = settings.margin
        """Where windows may begin in the current shot."""
        self._next = self._aligned(self._shot)

    def report(self, transitions: Iterable[Transition]) -> None:
        """Transitions that became certain, in any order, before or behind what is decided."""
        for transition in transitions:
            self.transitions.append(transition)
            self._pending.append(transition)

    def keep(self, frame: Kept) -> None:
        """Take the next frame that a clip may contain: one in `stride`, in order."""
        self._ring.append(frame)

    def decide(self, frame: int) -> None:
        """Every transition that begins at `frame` or before it has been reported."""
        due = [t for t in self._pending if t.start <= frame]
        self._pending = [t for t in self._pending if t.start > frame]
        for transition in sorted(due, key=lambda t: (t.start, t.end)):
            self._cut(transition.start - 1)
            self._shot = max(self._shot, transition.end + self.settings.margin)
            late = transition.start <= self._decided
            self._next = max(self._next if late else 0, self._aligned(self._shot))
        self._cut(frame)
        self._decided = max(self._decided, frame)
        self._forget(min(self._next, self._decided + 1 + self.settings.margin))

    def _cut(self, decided: int) -> None:
        """Make the windows that end `margin` frames before `decided` or earlier."""
        settings = self.settings
        while self._ring:
            self._next = max(self._next, self._ring[0].index)
            last = self._next + (settings.length - 1) * self.stride
            if last + settings.margin > decided or last > self._ring[-1].index:
                return
            begin = (self._next - self._ring[0].index) // self.stride
            self.made.extend(self._make(list(islice(self._ring, begin, begin + settings.length))))
            self._next += settings.step * self.stride

    def _forget(self, frame: int) -> None:
        """No window will begin before `frame`: not the next one, nor the first of a shot that is not known yet."""
        while self._ring and self._ring[0].index < frame:
            self._ring.popleft()

    def _aligned(self, frame: int) -> int:
        return -(-frame // self.stride) * self.stride


def _touches(clip: Made, transition: Transition, margin: int) -> bool:
    return clip.last + margin >= transition.start and clip.first - margin < transition.end


def merged(transitions: Iterable[Transition]) -> tuple[Transition, ...]:
    """In order, without overlap: what overlaps or coincides becomes one, named after the longest, cuts before breaks;
    neighbouring breaks become one."""
    result: list[Transition] = []
    for new in sorted(transitions, key=lambda t: (t.start, t.start - t.end, t.kind == "break", t.kind)):
        if not result or not _meet(result[-1], new):
            result.append(new)
        elif new.end > result[-1].end:
            old = result[-1]
            longest = max(old, new, key=lambda t: t.end - t.start)
            result[-1] = Transition(longest.kind, old.start, new.end)
    return tuple(result)


def _meet(old: Transition, new: Transition) -> bool:
    """Whether `new`, which begins no earlier, overlaps or coincides with `old`, or continues its break."""
    same = new.start == old.start and new.end == old.end
    return same or new.start < old.end or (old.kind == new.kind == "break" and new.start == old.end)


def _shots(transitions: Iterable[Transition], decoder: Decoder) -> Iterator[Shot]:
    """What lies between the transitions."""
    frames, start = len(decoder.pts), 0
    for transition in (*transitions, Transition("end", frames, frames)):
        if transition.start > start:
            yield Shot(start, transition.start, _pts(start, decoder), _pts(transition.start, decoder))
        start = transition.end


def _pts(frame: int, decoder: Decoder) -> int:
    """At which a frame begins, or the last one ends."""
    return decoder.pts[frame] if frame < len(decoder.pts) else decoder.last_end


def _clip(made: Made, video: Video, stride: int, shots: Sequence[Shot], decoder: Decoder) -> Clip:
    shot = bisect_right([s.start for s in shots], made.first) - 1
    end = min(made.first + made.frames * stride, shots[shot].end)
    return Clip(
        key=f"{video.source}_{floor(seconds(made.start_pts, video) * 1000):09d}",
        source=video.source,
        shot=shot,
        first_frame=made.first,
        end_frame=end,
        frames=made.frames,
        stride=stride,
        start_pts=made.start_pts,
        end_pts=_pts(end, decoder),
        time_base=video.probe.time_base,
        statistics=made.statistics,
        box=made.box,
        fingerprint=made.fingerprint,
        offset=made.offset,
        size=made.size,
        sha256=made.sha256,
    )
