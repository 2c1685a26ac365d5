"""Windows of frames -> measured, encoded clips, as soon as it is decided that no transition touches them.

Frames wait in a ring buffer until the shot detector can say nothing more about them, so memory does not grow with the
length of the video. Then windows of `length` frames are cut, every `step` frames from the start of each shot. A clip
keeps `margin` source frames away from both ends of its shot, be they transitions, breaks or the ends of the file.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import BinaryIO

from collection.filters import ClipFilter, filtered
from collection.media.decode import Decoded, Facts
from collection.media.encode import Bytes, Coding, encode, fitted
from collection.recipe import ScanSettings
from mlst.pictures.bars import active_picture
from mlst.pictures.fingerprints import fingerprint
from mlst.pictures.frames import GRID_STEP, PictureFormat, Reduced, canonical, reduce
from mlst.records import Box, Statistics, Transition
from mlst.statistics import measure


@dataclass(frozen=True, slots=True, eq=False)
class ClipFrame:
    """A frame that may become part of a clip."""

    index: int
    pts: int
    format: PictureFormat
    facts: Facts
    reduced: Reduced
    planes: Bytes
    """As `encode.fitted` makes them."""


def clip_frame(frame: Decoded, settings: ScanSettings) -> ClipFrame:
    """What a clip needs of a frame."""
    picture, fmt = frame.picture, frame.format
    planes = fitted(picture, fmt, settings.size, settings.fit)
    return ClipFrame(picture.index, picture.pts, fmt, frame.facts, reduce(picture, fmt), planes)


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

    active_picture: str
    """Rule of `mlst.pictures.bars`."""
    columns: tuple[str, ...]
    """Statistics to measure."""
    rate: Fraction
    """Frames per second of the clips."""
    crf: int
    time_base: Fraction
    file: BinaryIO
    filter: ClipFilter

    def __call__(self, frames: Sequence[ClipFrame]) -> Iterator[Made]:
        """`frames` are those of one clip; nothing comes of it where they lie too close together to show motion."""
        times = [f.pts * self.time_base for f in frames]
        if times[-1] - times[0] < GRID_STEP:
            return
        facts = frames[0].facts
        pictures = canonical([f.reduced for f in frames], times, frames[0].format, active_picture[self.active_picture])
        shown = filtered([f.planes for f in frames], self.filter)
        data = encode(shown, Coding(self.rate, self.crf, facts.matrix, facts.transfer))
        offset = self.file.tell()
        self.file.write(data)
        yield Made(
            first=frames[0].index,
            last=frames[-1].index,
            start_pts=frames[0].pts,
            frames=len(frames),
            statistics=measure(pictures, self.columns),
            box=pictures.box,
            fingerprint=fingerprint(pictures),
            offset=offset,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )


class Cutter:
    """Cuts windows out of shots as soon as it is decided that no transition touches them."""

    def __init__(
        self, settings: ScanSettings, stride: int, make: Callable[[Sequence[ClipFrame]], Iterable[Made]]
    ) -> None:
        self.settings, self.stride, self._make = settings, stride, make
        self.transitions: list[Transition] = []
        """All that were reported, in that order."""
        self.made: list[Made] = []
        self._pending: list[Transition] = []
        self._ring: deque[ClipFrame] = deque()
        self._decided = -1
        self._shot = settings.margin
        """Where windows may begin in the current shot."""
        self._next = self._aligned(self._shot)

    def report(self, transitions: Iterable[Transition]) -> None:
        """Transitions that became certain, in any order, before or behind what is decided."""
        for transition in transitions:
            self.transitions.append(transition)
            self._pending.append(transition)

    def keep(self, frame: ClipFrame) -> None:
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
