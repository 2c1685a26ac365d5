"""Look at clips of anybody's dataset, several in one worker that is as confined as that of a scan.

Every frame is decoded once. All of them are seen as thumbs, which tell of transitions, repeats and black frames; the
first pictures of up to `LOOKED_AT` tenths of a second are measured as those of a build are.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors import Thumb, make_detector, thumb
from collection.doctor.gate import may_hold_transition, may_pan
from collection.doctor.reading import OddError, ordinary, said
from collection.engine.stage import Expected, Needs, Rejected
from collection.media.decode import open_video
from collection.media.probe import open_media, probe, sniff
from collection.recipe import Limits
from collection.workspace.folder import Span, Workspace
from mlst.levels.flags import only_camera
from mlst.pictures.bars import edges
from mlst.pictures.fingerprints import fingerprint, is_fingerprint
from mlst.pictures.frames import GRID_STEP, Frames, Picture, PictureFormat, Plane, Reduced, canonical, reduce
from mlst.records import Count, Transition
from mlst.statistics.audit import comb_ratio
from mlst.statistics.camera import camera_residual, camera_speed
from mlst.statistics.p910 import ti10

LIMITS = Limits()
FRAMES = 20_000
"""Frames of a file that are looked at: 11 minutes at 30 per second."""
LOOKED_AT = 3
"""Pictures that are measured, a tenth of a second apart: cameras, combing, bars and fingerprints show in so many."""
BLACK = 20
"""Thumb luma, 0..255, below which nearly all of a black frame lies."""
SAME = 0.02
"""Mean absolute difference of thumbs below which a frame repeats the one before: one code in 50 places."""
MOVING = 0.3
"""Mean absolute difference of thumbs from which something moves visibly."""
STIRS = 0.1
"""The same below which no camera moves: a pan of 1 % of the width per second changes edges by more."""
BRIGHT = 0.02
"""Share of a black frame's thumb that may be brighter."""
HELD = 0.1
"""Of the motion around it: a step below is none; lossy coding leaves about 2 %, so that repeats are not identical."""
BESIDE = 3
"""Steps to either side: a third of the frames may be new ones."""
UNEVEN = 0.25
"""Of the usual distance: frames that lie farther off are not evenly spaced. Clocks of 1 ms round 60 Hz by 6 %."""
OVERSHOOT = 6
"""8-bit codes by which sharpening and lossy coding leave the nominal range."""
LONGEST_PRINT = 1 << 16
CLIP_CPU, CLIP_WALL = 60.0, 120.0
"""Seconds of CPU time and of the clock that a clip is looked at: of one that takes longer, the frames up to there."""
LOOK = 16
"""Frames from one look at these clocks to the next: asking the kernel costs as much as a thumb of a frame."""
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
    """Share of frames that repeat the one before amid frames that move: `duplicate_ratio` of what was coded since."""
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
        for number, name in enumerate(item.files):
            if number and time.monotonic() > end:
                yield replace(NOTHING, trouble=LATER)
                continue
            try:
                yield watch(work.path(name))
            except Rejected as why:
                yield replace(NOTHING, trouble=why.kind, detail=why.detail[:400])


def watch(path: Path) -> Watched:
    """All that is seen of a file. Raises `Rejected` as `probe` and `open_video` do."""
    try:
        return _at_once(path)
    except OddError:
        return _with_care(path)


def _at_once(path: Path) -> Watched:
    """Of an ordinary file. Raises `OddError`."""
    over = _deadline()
    with ordinary(path, LIMITS) as file:
        strip = _Strip(file.time_base)
        for picture in file:
            if strip.frames == FRAMES or over():
                strip.whole = False
                break
            strip.add(picture, file.format)
        if not strip.frames:
            raise OddError
        said_frames, said_seconds = file.said
        return replace(
            strip.told(file.rate),
            said_frames=said_frames,
            seconds=file.seconds,
            said_seconds=said_seconds,
            rate=file.rate,
            uneven=_uneven(file.pts),
            matrix=file.facts.matrix,
        )


def _with_care(path: Path) -> Watched:
    facts, over = probe(path, LIMITS), _deadline()
    with open_video(path, facts, LIMITS) as decoder:
        strip = _Strip(facts.time_base)
        for decoded in decoder:
            if strip.frames == FRAMES or over():
                strip.whole = False
                break
            strip.add(decoded.picture, decoded.format)
    with open_media(path, sniff(path), LIMITS) as (media, stream):
        said_frames, said_seconds = said(media, stream)
    seconds = (decoder.last_end - decoder.pts[0]) * facts.time_base
    return replace(
        strip.told(decoder.rate),
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
    frames = itertools.count()
    return lambda: next(frames) % LOOK == 1 and (time.process_time() > cpu or time.monotonic() > wall)


def held(moves: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which steps are small next to those before and behind them, where these are motion: one step alone, as when a
    title changes, makes no repeats of what is still on either side of it."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(moves, BESIDE), BESIDE)
    around = np.minimum(windows[: len(moves)].max(axis=1), windows[BESIDE + 1 :].max(axis=1))
    return np.asarray((moves < HELD * around) & (around >= MOVING))


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

    def __init__(self, clock: Fraction) -> None:
        self.frames, self.whole = 0, True
        self._clock = clock
        self._thumbs: list[Thumb] = []
        self._moves: list[float] = []
        self._black = 0
        self._kept: list[tuple[Fraction, PictureFormat, Plane, Reduced, int]] = []

    def add(self, picture: Picture, fmt: PictureFormat) -> None:
        """The next frame."""
        seen = thumb(picture, fmt)
        small = Thumb(
            seen.index, seen.y, seen.u, seen.v, Picture(seen.index, picture.pts, seen.y, seen.u, seen.v), fmt
        )
        self._black += int(np.count_nonzero(seen.y >= BLACK)) <= BRIGHT * seen.y.size
        if self._thumbs:
            self._moves.append(cv2.norm(seen.y, self._thumbs[-1].y, cv2.NORM_L1) / seen.y.size)
        self._thumbs.append(small)
        if len(self._kept) < LOOKED_AT:
            time = picture.pts * self._clock
            if not self._kept or time - self._kept[-1][0] >= GRID_STEP:
                self._kept.append((time, fmt, picture.y, reduce(picture, fmt), self.frames))
        self.frames += 1

    def told(self, rate: Fraction) -> Watched:
        """Of all frames that passed."""
        moves, last = np.array(self._moves), self.frames - 1
        inside = [t for t in self._transitions(moves, rate) if t.end > 0 and t.start < self.frames]
        inside = [t for t in inside if t.start or t.end > t.start]
        return replace(
            self._measured(float(moves.max(initial=0.0))),
            frames=self.frames,
            whole=self.whole,
            black=self._black / max(1, self.frames),
            repeats=float(np.mean(moves < SAME)) if len(moves) else 0.0,
            held=float(np.mean(held(moves))) if len(moves) else 0.0,
            cuts=tuple(min(t.start, last) for t in inside if t.start == t.end),
            graduals=tuple(min(t.start, last) for t in inside if t.start != t.end),
        )

    def _transitions(self, moves: NDArray[np.float64], rate: Fraction) -> list[Transition]:
        """What the detector finds, if there can be anything."""
        if not may_hold_transition(self._thumbs, moves, max(1, round(rate / 30))):
            return []
        detector = make_detector("mlst", {}, rate)
        found = [transition for small in self._thumbs for transition in detector.push(small)]
        return found + detector.finish()

    def _may_pan(self) -> bool:
        """Whether a camera may be what moves, by neighbours and by pictures that were kept."""
        at = [one[4] for one in self._kept[:2]]
        pairs = ((at[0], at[0] + 1), (at[0], at[-1]))
        return any(may_pan(self._thumbs[i].y, self._thumbs[j].y) for i, j in pairs)

    def _measured(self, most: float) -> Watched:
        """Of the pictures that were kept, as far as they are of one size; `most` is the largest change of a thumb."""
        _, fmt, first, shape, _ = self._kept[0]
        kept = [one for one in self._kept if one[3].y.shape == shape.y.shape]
        height, width = first.shape
        told = replace(NOTHING, width=width, height=height)
        if len(kept) < 2:
            return told
        frames = canonical([r for *_, r, _ in kept], [t for t, *_ in kept], fmt, edges)
        box = frames.box
        speed, residual = camera(frames) if most >= STIRS and self._may_pan() else (0.0, 0.0)
        return replace(
            told,
            beyond=_beyond(frames),
            ti10=ti10(frames) if most < MOVING else max(1.0, ti10(frames)),
            comb=comb_ratio(frames),
            bars=1 - (box.right - box.left) * (box.bottom - box.top),
            speed=speed,
            residual=residual,
            fingerprint=fingerprint(frames),
        )


def camera(frames: Frames) -> tuple[float, float]:
    """Speed of the camera and what moves besides, % of the width per second; of the first pair alone where that is
    no motion of the camera alone, which is most of the cost."""
    pair = replace(frames, luma=frames.luma[:2], chroma=frames.chroma[:2], times=frames.times[:2])
    speed, residual = camera_speed(pair), camera_residual(pair)
    if len(frames.times) > 2 and only_camera(speed, residual / 2):
        return camera_speed(frames), camera_residual(frames)
    return speed, residual
