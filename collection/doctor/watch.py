"""Look at clips of anybody's dataset, several in one worker that is as confined as that of a scan.

Every frame is decoded once. All of them are seen as thumbs, which tell of transitions, repeats and black frames; the
pictures of up to `LOOKED_AT` tenths of a second from the middle are measured as those of a build are.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors import make_detector, thumb
from collection.detectors.thumbs import Bytes
from collection.engine.stage import Expected, Needs, Rejected
from collection.media.decode import Decoded, Decoder, open_video
from collection.media.probe import open_media, probe, sniff
from collection.recipe import Limits
from collection.workspace.folder import Span, Workspace
from mlst.pictures.bars import edges
from mlst.pictures.fingerprints import fingerprint, is_fingerprint
from mlst.pictures.frames import GRID_STEP, Frames, Reduced, canonical, reduce
from mlst.records import Count, Transition
from mlst.statistics.audit import comb_ratio
from mlst.statistics.camera import camera_residual, camera_speed
from mlst.statistics.p910 import ti10

LIMITS = Limits()
FRAMES = 20_000
"""Frames of a file that are looked at: 11 minutes at 30 per second."""
LOOKED_AT = 7
"""Pictures that are measured, a tenth of a second apart: cameras, combing, bars and fingerprints show in so many."""
BLACK = 20
"""Thumb luma, 0..255, below which nearly all of a black frame lies."""
SAME = 0.02
"""Mean absolute difference of thumbs below which a frame repeats the one before: one code in 50 places."""
MOVING = 0.3
"""Mean absolute difference of thumbs from which something moves visibly."""
HELD = 0.1
"""Of the motion around it: a step below is none; lossy coding leaves about 2 %."""
BESIDE = 3
"""Steps to either side: a third of the frames may be new ones."""
UNEVEN = 0.25
"""Of the usual distance: frames that lie farther off are not evenly spaced. Clocks of 1 ms round 60 Hz by 6 %."""
OVERSHOOT = 6
"""8-bit codes by which sharpening and lossy coding leave the nominal range."""
LONGEST_PRINT = 1 << 16
CLIP_CPU, CLIP_WALL = 60.0, 120.0
"""Seconds of CPU time and of the clock that a clip is looked at: of one that takes longer, the frames up to there."""
GROUP_WALL = 60.0
"""Seconds after which clips of a group are left for `LATER`. So a group ends in time unless one call hangs."""
LATER = "later"
"""The trouble of a clip that a group had no time for."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Clips as a worker gets them: files of the workspace, in one item."""

    key: str
    files: tuple[str, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of one file."""

    trouble: str
    """The kind of rejection; "" where it was decoded, and then `detail` is empty and the rest says something."""
    detail: str
    frames: Count
    whole: bool
    """Whether all frames were looked at."""
    damaged: Count
    """Errors while decoding."""
    said_frames: Count
    """By the container; 0 where it does not say."""
    seconds: float
    said_seconds: float
    """By the container; 0 where it does not say."""
    rate: Fraction
    width: Count
    height: Count
    interlaced: bool
    """By its flags."""
    uneven: float
    """Share of distances between frames that are unusual, as the next ones 0..1."""
    black: float
    repeats: float
    held: float
    """Share of frames that repeat the one before amid frames that move."""
    beyond: float
    """Share of luma codes far outside the nominal range, of the darker or the brighter ones, whichever is more."""
    matrix: str
    ti10: float
    comb: float
    bars: float
    """Share of the picture."""
    speed: float
    """Of the camera, % of the width per second."""
    residual: float
    """What moves besides, % of the width per second."""
    cuts: tuple[Count, ...]
    graduals: tuple[Count, ...]
    """First frames of transitions inside."""
    fingerprint: str


NOTHING = Watched(
    *("", "", 0, True, 0, 0, 0.0, 0.0, Fraction(1), 0, 0, False, 0.0, 0.0, 0.0, 0.0, 0.0, ""),
    *(0.0, 0.0, 0.0, 0.0, 0.0, (), (), ""),
)


@dataclass(frozen=True, slots=True)
class WatchStage:
    """The stage `doctor`: some clips in, a `Watched` for each out."""

    name: ClassVar[str] = "doctor"
    version: ClassVar[int] = 1
    output: ClassVar[type[Watched]] = Watched
    needs: ClassVar[Needs] = Needs(seconds=CLIP_WALL + GROUP_WALL, memory=4 << 30, network=False)

    def settings(self) -> Any:
        """None."""
        return ""

    @staticmethod
    def key(item: Copies) -> str:
        """The item's own."""
        return item.key

    def reads(self, item: Copies) -> Iterable[Span]:
        """The copies."""
        return tuple(Span(name, 0, size) for name, size in zip(item.files, item.sizes, strict=True))

    def expects(self, item: Copies) -> Expected:
        """No files; a fingerprint and the transitions of each clip."""
        return Expected((), len(item.files) * (LONGEST_PRINT + FRAMES * 8))

    def check(self, item: Copies, outputs: tuple[Watched, ...]) -> None:
        """One answer for each clip, that can be true of some clip."""
        if len(outputs) != len(item.files):
            raise ValueError(f"{len(outputs)} answers for {len(item.files)} clips")
        for seen in outputs:
            shares = (seen.uneven, seen.black, seen.repeats, seen.held, seen.beyond, seen.comb, seen.bars)
            if seen.frames > FRAMES or seen.rate <= 0 or any(not 0 <= share <= 1 for share in shares):
                raise ValueError(f"{seen.frames} frames at {seen.rate} a second, shares {shares}")
            if any(at >= max(1, seen.frames) for at in (*seen.cuts, *seen.graduals)):
                raise ValueError("a transition behind the last frame")
            if len(seen.fingerprint) > LONGEST_PRINT or not (is_fingerprint(seen.fingerprint) or not seen.fingerprint):
                raise ValueError("a fingerprint that is none")

    def __call__(self, item: Copies, work: Workspace) -> Iterable[Watched]:
        """What is in each clip; a clip that cannot be decoded is an answer too."""
        cv2.setNumThreads(1)
        end = time.monotonic() + GROUP_WALL
        for name in item.files:
            if time.monotonic() > end:
                yield replace(NOTHING, trouble=LATER)
                continue
            try:
                yield watch(work.path(name))
            except Rejected as why:
                yield replace(NOTHING, trouble=why.kind, detail=why.detail[:400])


def watch(path: Path) -> Watched:
    """All that is seen of a file. Raises `Rejected` as `probe` and `open_video` do."""
    facts, over = probe(path, LIMITS), _deadline()
    with open_video(path, facts, LIMITS) as decoder:
        strip = _Strip(decoder)
        for decoded in decoder:
            if strip.frames == FRAMES or over():
                break
            strip.add(decoded)
    said_frames, said_seconds = _said(path)
    seconds = (decoder.last_end - decoder.pts[0]) * facts.time_base
    return replace(
        strip.told(),
        damaged=decoder.errors,
        said_frames=said_frames,
        seconds=float(seconds),
        said_seconds=said_seconds,
        rate=decoder.rate,
        interlaced=decoder.interlaced,
        uneven=_uneven(decoder.pts),
        matrix=decoder.facts.matrix,
    )


def _deadline() -> Callable[[], bool]:
    """Whether a clip that begins now has had its time."""
    cpu, wall = time.process_time() + CLIP_CPU, time.monotonic() + CLIP_WALL
    return lambda: time.process_time() > cpu or time.monotonic() > wall


def _said(path: Path) -> tuple[int, float]:
    """Frames and seconds by the container's own word."""
    with open_media(path, sniff(path), LIMITS) as (media, stream):
        lasts = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        whole = media.duration / av.time_base if media.duration and not lasts else 0.0
        return max(0, stream.frames), max(0.0, float(lasts) if lasts else whole)


def _held(moves: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which steps are small next to the largest one around them, where that is motion."""
    around = maximum_of(moves, BESIDE)
    return (moves < HELD * around) & (around >= MOVING)


def maximum_of(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Of each value, the largest up to `reach` places away."""
    padded = np.pad(values, reach, constant_values=0.0)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1), np.float64)


def _beyond(frames: Frames) -> float:
    if frames.format.full_range:
        return 0.0
    lo, hi = frames.format.nominal
    far = OVERSHOOT << (frames.format.depth - 8)
    return float(max(np.mean(frames.luma < lo - far), np.mean(frames.luma > hi + far)))


def _uneven(pts: Sequence[int]) -> float:
    steps = np.diff(np.asarray(pts, np.int64)).astype(np.float64)
    if not len(steps):
        return 0.0
    usual = float(np.median(steps))
    return float(np.mean(np.abs(steps - usual) > UNEVEN * usual))


class _Strip:
    """What is kept of a clip's frames while they pass."""

    def __init__(self, decoder: Decoder) -> None:
        self.frames = 0
        self._clock = decoder.probe.time_base
        self._detector = make_detector("mlst", {}, decoder.rate)
        self._found: list[Transition] = []
        self._before: Bytes | None = None
        self._moves: list[float] = []
        self._black = 0
        self._kept: list[tuple[Fraction, Decoded, Reduced]] = []

    def add(self, decoded: Decoded) -> None:
        """The next frame."""
        small = thumb(decoded.picture, decoded.format)
        self._found += self._detector.push(small)
        self._black += bool(np.percentile(small.y, 98) < BLACK)
        if self._before is not None:
            self._moves.append(float(cv2.absdiff(small.y, self._before).mean()))
        self._before, time = small.y, decoded.picture.pts * self._clock
        if len(self._kept) < LOOKED_AT and (not self._kept or time - self._kept[-1][0] >= GRID_STEP):
            self._kept.append((time, decoded, reduce(decoded.picture, decoded.format)))
        self.frames += 1

    def told(self) -> Watched:
        """Of all frames that passed."""
        self._found += self._detector.finish()
        inside = [t for t in self._found if t.end > 0 and t.start < self.frames and (t.start or t.end > t.start)]
        moves = np.array(self._moves)
        last = self.frames - 1
        return replace(
            self._measured(),
            frames=self.frames,
            whole=self.frames < FRAMES,
            black=self._black / max(1, self.frames),
            repeats=float(np.mean(moves < SAME)) if len(moves) else 0.0,
            held=float(np.mean(_held(moves))) if len(moves) else 0.0,
            cuts=tuple(min(t.start, last) for t in inside if t.start == t.end),
            graduals=tuple(min(t.start, last) for t in inside if t.start != t.end),
        )

    def _measured(self) -> Watched:
        """Of the pictures that were kept, as far as they are of one size."""
        _, first, shape = self._kept[0]
        kept = [one for one in self._kept if one[2].y.shape == shape.y.shape]
        height, width = first.picture.y.shape
        told = replace(NOTHING, width=width, height=height)
        if len(kept) < 2:
            return told
        frames: Frames = canonical([r for *_, r in kept], [t for t, *_ in kept], first.format, edges)
        box = frames.box
        return replace(
            told,
            beyond=_beyond(frames),
            ti10=ti10(frames),
            comb=comb_ratio(frames),
            bars=1 - (box.right - box.left) * (box.bottom - box.top),
            speed=camera_speed(frames),
            residual=camera_residual(frames),
            fingerprint=fingerprint(frames),
        )
