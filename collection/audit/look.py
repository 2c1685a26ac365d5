"""Look for transitions inside one clip, in a worker as confined as that of a scan."""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from collection.detectors import Thumb, make_detector, thumb
from collection.detectors.features import Small, change
from collection.detectors.thumbs import Bytes
from collection.engine.stage import Expected, Needs, Rejected
from collection.media.decode import open_video
from collection.media.probe import probe
from collection.recipe import Limits
from collection.workspace.folder import Span, Workspace
from mlst.records import Count, Transition

FRAMES = 3000
"""Frames of a clip that are looked at: 100 s at 30 per second, two minutes of CPU time with `transnetv2`."""
LIMITS = Limits()

SHOWN, BESIDE = 8, 2
"""Frames of a strip; those of them on either side of a gradual transition."""
HEIGHT = 96
"""Pixels of a frame in a strip."""
WIDEST = 4 * HEIGHT
"""Of such a frame; what is more oblong is squeezed."""
EDGE = (12, 65, 194)
"""B, G, R of the line between two shots."""
QUALITY = 80
STRIPS = 4
"""Transitions of a clip that are shown."""
LARGEST_STRIP = 1 << 20
"""Characters of a strip: frames of noise, as wide as they may be, take 600 kB."""
BASE64 = re.compile(r"[A-Za-z0-9+/]*=*")
KINDS = ("cut", "dissolve", "fade", "wipe")


@dataclass(frozen=True, slots=True)
class Found:
    """A transition inside a clip."""

    kind: str
    start: Count
    """Frames [start, end) are mixed; of a cut both are the first frame of the new shot."""
    end: Count
    change: float
    """From the frame before it to the one after it: mean absolute differences of Y, U and V, added up, 0..765."""
    strip: str
    """Frames around it, JPEG in base64; "" for more than `STRIPS` in one clip."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the detector made of a clip."""

    frames: Count
    """That were looked at."""
    rate: Fraction
    """Frames per second."""
    whole: bool
    """Whether it has no more than `FRAMES`."""
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A clip as a worker gets it: a file of the workspace."""

    key: str
    file: str
    size: int
    trouble: str
    """Why there is no such file; "" where there is one."""


@dataclass(frozen=True, slots=True)
class LookStage:
    """The stage `audit`: one clip in, one `Seen` out."""

    detector: str
    name: ClassVar[str] = "audit"
    version: ClassVar[int] = 1
    output: ClassVar[type[Seen]] = Seen
    needs: ClassVar[Needs] = Needs(seconds=1800.0, memory=6 << 30, network=False)

    def settings(self) -> Any:
        """The name of the detector."""
        return self.detector

    @staticmethod
    def key(item: Copy) -> str:
        """The key of the clip."""
        return item.key

    def reads(self, item: Copy) -> Iterable[Span]:
        """The copy."""
        return (Span(item.file, 0, item.size),)

    def expects(self, item: Copy) -> Expected:
        """No files; a few strips, and what may be found in so many frames."""
        return Expected((), (1 << 20) + STRIPS * LARGEST_STRIP + FRAMES * 256)

    def check(self, item: Copy, outputs: tuple[Seen, ...]) -> None:
        """One answer, that can be true of some clip."""
        (seen,) = outputs
        if seen.frames > FRAMES or seen.rate <= 0 or len(seen.found) > seen.frames:
            raise ValueError(f"{seen.frames} frames at {seen.rate} a second, {len(seen.found)} transitions")
        for found in seen.found:
            if found.kind not in KINDS or not found.start <= found.end <= seen.frames or not 0 <= found.change <= 765:
                raise ValueError(f"a {found.kind[:20]!r} at {found.start} to {found.end}, change {found.change}")
            if len(found.strip) > LARGEST_STRIP or not BASE64.fullmatch(found.strip):
                raise ValueError(f"a strip of {len(found.strip)} characters that is no picture")

    def __call__(self, item: Copy, work: Workspace) -> Iterable[Seen]:
        """What is in one clip. Raises `Rejected`: `unreadable`, and see `probe` and `open_video`."""
        if item.trouble:
            raise Rejected("unreadable", item.trouble)
        cv2.setNumThreads(1)
        yield look(work.path(item.file), self.detector)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What is kept of a frame."""

    small: Small
    picture: Bytes
    """(HEIGHT, w, 3) B, G, R; w at most `WIDEST`."""


def look(path: Path, name: str) -> Seen:
    """What the detector `name` finds in the first `FRAMES` frames of a file. Raises `Rejected`."""
    with open_video(path, probe(path, LIMITS), LIMITS) as decoder:
        detector = make_detector(name, {}, decoder.rate)
        found: list[Transition] = []
        frames: list[Frame] = []
        whole = True
        for decoded in decoder:
            if len(frames) == FRAMES:
                whole = False
                break
            seen = thumb(decoded.picture, decoded.format)
            found += detector.push(seen)
            frames.append(_frame(seen))
        found += detector.finish()
    inside = [t for t in found if t.end > 0 and t.start < len(frames) and (t.start > 0 or t.end > t.start)]
    told = tuple(_told(t, frames, shown=n < STRIPS) for n, t in enumerate(inside))
    return Seen(len(frames), decoder.rate, whole, told)


def _frame(seen: Thumb) -> Frame:
    picture = seen.bgr()
    width = min(WIDEST, max(1, round(picture.shape[1] * HEIGHT / picture.shape[0])))
    small = Small(seen.y, seen.u, seen.v)
    return Frame(small, np.asarray(cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8))


def _told(t: Transition, frames: Sequence[Frame], shown: bool) -> Found:
    last = len(frames) - 1
    before, after = frames[max(0, t.start - 1)], frames[min(t.end, last)]
    strip = base64.b64encode(_strip(t, frames)).decode() if shown else ""
    return Found(t.kind, t.start, min(t.end, last + 1), round(change(before.small, after.small), 1), strip)


def _strip(t: Transition, frames: Sequence[Frame]) -> bytes:
    """A JPEG of frames around a transition, with a line where the old shot ends and where the new one begins."""
    row: list[Bytes] = []
    at = around(t, len(frames))
    for before, now in zip((at[0], *at), at, strict=False):
        crossed = any(before < edge <= now for edge in (t.start, t.end))
        row.append(np.full((HEIGHT, 5 if crossed else 2, 3), EDGE if crossed else 255, np.uint8))
        row.append(frames[now].picture)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return cv2.imencode(".jpg", np.concatenate(row[1:], axis=1), options)[1].tobytes()


def around(t: Transition, frames: int) -> list[int]:
    """The numbers of up to `SHOWN` frames: those next to a cut, or evenly from before to behind another transition."""
    if t.start == t.end:
        return list(range(max(0, t.start - SHOWN // 2), min(frames, t.start + SHOWN // 2)))
    first, last = max(0, t.start - BESIDE), min(frames - 1, t.end - 1 + BESIDE)
    return sorted(set(np.linspace(first, last, SHOWN).round().astype(int).tolist()))
