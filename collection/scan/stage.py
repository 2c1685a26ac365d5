"""Video -> shots and candidate clips, in one decode.

Every frame is decoded once. From it come, each once: the thumb for the shot detector and, for every `stride`-th frame,
the small copy for the statistics and the picture for the clip, which the cutter (`scan.cutter`) makes clips of. A
transition that a detector reports later than it promised (`Detector.delay`) takes the clips away that it touches.

Ordinals count the frames that `decode` passes on. Where a scan began at a key frame in the middle of a long file
(`decode.open_video`), they count from that frame; its pts is `Stream.first_pts`, so pts always tell.
"""

import contextlib
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from typing import Any, ClassVar

import cv2

from collection.detectors import Detector, make_detector, thumb
from collection.engine.stage import LONGEST, Expected, Needs, Retry
from collection.filters import NO_FILTER, ClipFilter, check_same
from collection.media.decode import Decoded, Decoder, open_video
from collection.pack.versions import SCAN
from collection.recipe import ScanSettings
from collection.scan.allocator import keep_freed
from collection.scan.cutter import Cutter, Made, Maker, clip_frame
from collection.scan.doubt import check_scan
from collection.workspace.folder import Span, Workspace
from mlst.pictures.bars import brightest
from mlst.pictures.times import REORDER
from mlst.records import FIRST, Clip, Scan, Shot, Transition, Video, digest

TOLERANCE = Fraction(101, 100)
"""Rates up to 1 % above the recipe's are not thinned: 30.3 for 30."""
CLIP_BYTES, PART_BYTES = 1 << 13, 512
"""Of a clip, of a shot and a transition, in a worker's message."""


@dataclass(frozen=True, slots=True)
class ScanStage:
    """The stage `scan`: one `Video` in, one `Scan` out."""

    recipe: ScanSettings
    active_picture: str
    """Rule of `mlst.pictures.bars`: that of the recipe's definition of the levels."""
    columns: tuple[str, ...]
    """The statistics that are measured, in the order of `STATISTICS`."""
    filter: ClipFilter = NO_FILTER
    """Changes the pictures of clips; what is measured is what was before."""
    name: ClassVar[str] = "scan"
    version: ClassVar[int] = SCAN
    output: ClassVar[type[Scan]] = Scan
    needs: ClassVar[Needs] = Needs(seconds=6 * 3600.0, memory=6 << 30, network=False)

    def settings(self) -> Any:
        """The recipe's table and what it left to the definition of the levels, JSON-ready.

        What the first definition says is left out, so that what was scanned before there were others is found.
        """
        chosen = {"active_picture": self.active_picture, "columns": list(self.columns), "filter": self.filter.identity}
        first = {"active_picture": brightest.__name__, "columns": list(FIRST), "filter": ""}
        later = {name: value for name, value in chosen.items() if value != first[name]}
        return self.recipe.model_dump(mode="json", exclude={"columns", "filter"}) | later

    @staticmethod
    def key(item: Video) -> str:
        """The source and a digest of the file and the span wanted from it."""
        return f"{item.source}@{_span_digest(item)}"

    def reads(self, item: Video) -> Iterable[Span]:
        """The video."""
        return (Span(item.file, 0, item.size),)

    def expects(self, item: Video) -> Expected:
        """The file of its clips. Clips are no more than windows can be cut, shots and transitions than packets."""
        packets, step = 2 * item.probe.packets, min(self.recipe.step, self.recipe.length)
        bytes_of_clips = (2 * packets // step + 1) * CLIP_BYTES
        return Expected((_clips_name(item),), min(LONGEST, (1 << 20) + PART_BYTES * packets + bytes_of_clips))

    def check(self, item: Video, outputs: tuple[Scan, ...]) -> None:
        """One scan, which can be that of the video."""
        (found,) = outputs
        check_scan(found, item, self.recipe.length)
        if found.stream.filter != self.filter.identity:
            raise ValueError(f"a scan with the filter {found.stream.filter[:200]!r}, not {self.filter.identity!r}")

    def __call__(self, item: Video, work: Workspace) -> Iterable[Scan]:
        """The scan of one video. Raises `Rejected` (see `decode.open_video`), and `Retry`: `detector`, `damaged`,
        `filter`."""
        check_same(self.filter)
        with _as_fetched(work.path(item.file), item.sha256):
            found = scan(item, self, work)
        yield found


@contextlib.contextmanager
def _as_fetched(path: Path, sha256: str) -> Iterator[None]:
    """Whatever the block comes to is of no account where the file is not what was fetched: libav takes an error of the
    disk for damage or for the file's end. Hashing costs less than 1 % of a scan."""
    try:
        yield
    finally:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise Retry("damaged", "the video is not what was fetched; mlst build --check fetches it again")


def _clips_name(video: Video) -> str:
    return f"clips/{video.source}-{_span_digest(video)}.bin"


def _span_digest(video: Video) -> str:
    return _digest_of(video.sha256, video.origin, video.start, video.end)


@lru_cache(maxsize=64, typed=True)
def _digest_of(sha256: str, origin: Fraction, start: Fraction, end: Fraction) -> str:
    """Kept for the videos in work, each of which is asked for it some six times."""
    return digest([sha256, origin, start, end])[:16]


def stride_for(rate: Fraction, highest: Fraction) -> int:
    """The smallest whole number that brings `rate` down to `highest`, within `TOLERANCE`."""
    return max(1, ceil(rate / (highest * TOLERANCE)))


def scan(video: Video, stage: ScanStage, work: Workspace) -> Scan:
    """Shots and measured, encoded clips of the wanted span; no clips where no shot is long enough."""
    cv2.setNumThreads(1)
    keep_freed()
    found, rate = _scanned(video, stage, work)
    if rate != found.stream.rate:
        found, _ = _scanned(replace(video, probe=replace(video.probe, rate=rate)), stage, work)
    return found


def _scanned(video: Video, stage: ScanStage, work: Workspace) -> tuple[Scan, Fraction]:
    """The scan, and the rate that it should have been made at."""
    settings = stage.recipe
    with (
        open_video(work.path(video.file), video.probe, settings.limits, video.origin + video.start) as decoder,
        work.create(_clips_name(video)) as (file, name),
    ):
        stride = stride_for(decoder.rate, settings.rate)
        detector = _detector(settings, decoder.rate)
        rate, base = decoder.rate / stride, video.probe.time_base
        maker = Maker(stage.active_picture, stage.columns, rate, settings.crf, base, file, stage.filter)
        cutter, wanted = Cutter(settings, stride, maker), _ticks(video)
        for frame in _until(decoder, wanted.stop, detector.delay + settings.margin):
            index = frame.picture.index
            if index % stride == 0 and frame.picture.pts in wanted:
                cutter.keep(clip_frame(frame, settings))
            if frame.damaged:
                cutter.report([Transition("break", max(0, index - REORDER), index + 1)])
            elif frame.broken:
                cutter.report([Transition("break", index, index)])
            cutter.report(detector.push(thumb(frame.picture, frame.format)))
            cutter.decide(index - detector.delay)
        cutter.report(detector.finish())
        cutter.decide(len(decoder.pts) - 1)
        stream = replace(decoder.stream(stride), filter=stage.filter.identity)
    transitions = merged(cutter.transitions)
    shots = tuple(_shots(transitions, decoder))
    made = [m for m in cutter.made if not any(_touches(m, t, settings.margin) for t in transitions)]
    clips = tuple(_clip(m, video, stride, shots, decoder) for m in made)
    return Scan(video.source, name, stream, transitions, shots, clips), decoder.rate_in_hindsight


def _detector(settings: ScanSettings, rate: Fraction) -> Detector:
    """The recipe's; what this machine lacks for it, such as a GPU, another may have."""
    try:
        return make_detector(settings.detector, settings.options, rate)
    except ValueError as why:
        raise Retry("detector", str(why)) from None


def seconds(pts: int, video: Video) -> Fraction:
    """On the source's own clock."""
    return pts * video.probe.time_base - video.origin


def _ticks(video: Video) -> range:
    """The pts of the wanted span."""
    start, end = ((time + video.origin) / video.probe.time_base for time in (video.start, video.end))
    return range(ceil(start), ceil(end))


def _until(decoder: Decoder, end: int, more: int) -> Iterator[Decoded]:
    """Frames up to the pts `end` and `more` after it, which the detector needs for the last of the wanted span."""
    for frame in decoder:
        yield frame
        if frame.picture.pts >= end:
            more -= 1
            if more < 0:
                return


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
