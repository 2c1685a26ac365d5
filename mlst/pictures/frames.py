"""A clip's canonical picture: the only thing statistics see.

Two stages, because the active picture is known only when the whole clip is: `reduce` makes a small copy of every
frame as it is decoded, `canonical` makes the pictures of one clip from those. The same content in another size,
letterbox, pixel shape, range or frame rate gives nearly the same canonical picture; its native picture does not
(docs/levels.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, wraps
from itertools import pairwise
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.native import twin
from mlst.pictures.scaling import scale_into, scaled
from mlst.records import Box

T = TypeVar("T")
Plane = NDArray[np.uint8] | NDArray[np.uint16]

LINES = 240
"""Pixels on the short side of the canonical picture."""
LONGEST = 960
"""Pixels on its long side at most; a wider picture is squeezed."""
GRID_STEP = Fraction(1, 10) - Fraction(1, 400)
"""Seconds from one grid frame to the next at least: 10 Hz, less 2.5 ms for time stamps that jitter or were rounded."""

REDUCED_LINES = 480
"""Halving leaves at least this short side, so that bars may take half of it and `LINES` still remain."""
CHROMA_LINES = 60
COMB_CODES = 8
"""Difference between neighbouring lines, in 8-bit codes, from which it may be combing."""
COMB_CONTRAST = 2
"""Times that combing lines differ more from their neighbours than from the next lines of their own field."""
SAMPLED_ROWS = 16
"""One in so many rows is looked at for combing and for codes outside the nominal range."""


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What all pictures of one stream share."""

    depth: int
    """Bits per sample; planes are uint8 for 8, uint16 (right-aligned) above."""
    full_range: bool
    """Whether luma codes span the whole range instead of 16..235 (8 bit)."""
    sar: Fraction
    """Width of a stored pixel over its height."""

    @property
    def nominal(self) -> tuple[int, int]:
        """Luma codes of black and white."""
        return nominal(self.depth, self.full_range)


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded frame: planes as stored, upright, without padding."""

    index: int
    """Ordinal of the frame in its file."""
    pts: int
    y: Plane
    """(H, W) luma codes."""
    u: Plane
    """(h, w) chroma codes, subsampled as stored; mid-grey for grey video."""
    v: Plane

    @cached_property
    def half(self) -> "Picture":
        """Every plane halved, made once for all who need small pictures: reading a large frame is what costs."""
        return Picture(self.index, self.pts, *(halved(plane) for plane in (self.y, self.u, self.v)))

    def halved_until(self, side: int, plane: Callable[["Picture"], Plane]) -> "Picture":
        """Halved as long as the short side of a `plane` keeps `side` samples."""
        small = self
        while min(plane(small).shape) >= 2 * side:
            small = small.half
        return small


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """What is kept of a frame until its clip is measured: its own memory, at most about 1.3 MB for 8-bit video."""

    y: Plane
    """(H // k, W // k) luma codes, means of k x k boxes."""
    chroma: Plane
    """(2, h, w) chroma codes, halved to a short side of `CHROMA_LINES` or up to twice that."""
    k: int
    """A power of two."""
    comb: float
    """Share of sampled pixels that show interlace combing."""
    clipped: float
    """Share of sampled luma codes outside the nominal range."""


@dataclass(frozen=True, slots=True)
class Area:
    """Part of a `Reduced.y`: rows [top, bottom), columns [left, right)."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, eq=False)
class Frames:
    """The canonical pictures of one clip: active picture, square pixels, `LINES` on the short side, integer codes."""

    luma: Plane
    """(N, H, W) luma codes as stored, every frame of the clip."""
    chroma: Plane
    """(G, 2, h, w) U and V codes of the grid frames, at most `CHROMA_LINES` on the short side."""
    times: tuple[Fraction, ...]
    """Seconds of the N frames, rising."""
    format: PictureFormat
    """Of the codes; `sar` is 1."""
    box: Box
    scale: float
    """Lines of the canonical picture over lines of the source's active picture; above 1 it was enlarged."""
    defects: NDArray[np.float64]
    """(N, 2) `Reduced.comb` and `Reduced.clipped`."""
    _shared: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def low_resolution(self) -> bool:
        """Whether the source had fewer lines than the canonical picture."""
        return self.scale > 1

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Positions of the frames on the 10 Hz grid; the first is 0."""
        return grid(self.times)

    @cached_property
    def intervals(self) -> NDArray[np.float64]:
        """(G - 1,) seconds between grid neighbours."""
        times = [self.times[i] for i in self.grid]
        return np.array([float(b - a) for a, b in pairwise(times)])

    @cached_property
    def luma8(self) -> NDArray[np.uint8]:
        """(G, H, W) luma of the grid frames on a full 0..255 scale, whatever the depth and range of the source."""
        lo, hi = self.format.nominal
        codes = np.arange(1 << self.format.depth)
        table = np.rint((codes.clip(lo, hi) - lo) * (255 / (hi - lo))).astype(np.uint8)
        if self.luma.dtype == np.uint8:
            pictures = np.empty((len(self.grid), *self.luma.shape[1:]), np.uint8)
            for picture, i in zip(pictures, self.grid, strict=True):
                cv2.LUT(self.luma[i], table, picture)
            return pictures
        return table[self.luma[list(self.grid)]]


def nominal(depth: int, full_range: bool) -> tuple[int, int]:
    """Luma codes of black and white: 0 and 2^depth - 1, or 16 and 235 scaled to the depth (ITU-R BT.601, BT.709)."""
    unit = 1 << (depth - 8)
    return (0, 256 * unit - 1) if full_range else (16 * unit, 235 * unit)


def shared(compute: Callable[[Frames], T]) -> Callable[[Frames], T]:
    """As `functools.cached_property`, for a function outside the class: computed once per `Frames`, freed with it."""

    @wraps(compute)
    def once(frames: Frames) -> T:
        if compute not in frames._shared:
            frames._shared[compute] = compute(frames)
        return cast(T, frames._shared[compute])

    return once


def reduce(picture: Picture, fmt: PictureFormat) -> Reduced:
    """The small copy of a decoded frame: luma halved down to `REDUCED_LINES`, chroma to `CHROMA_LINES`."""
    small = picture.halved_until(REDUCED_LINES, lambda p: p.y)
    y = picture.y.copy() if small is picture else small.y
    u = picture.halved_until(CHROMA_LINES, lambda p: p.u).u
    v = picture.halved_until(CHROMA_LINES, lambda p: p.v).v
    comb, clipped = _defects(picture.y, fmt)
    return Reduced(y, _stacked([u, v]), len(picture.y) // len(y), comb, clipped)


def canonical(
    reduced: Sequence[Reduced],
    times: Sequence[Fraction],
    fmt: PictureFormat,
    active: Callable[[Sequence[Reduced], PictureFormat], Area],
) -> Frames:
    """The canonical pictures of a clip's frames, all of one size, at exact `times` in seconds.

    `active` finds the picture without bars: one of `mlst.pictures.bars`.

    Raises ValueError for no frames, times that do not rise or do not match, or frames of different sizes.
    """
    if not reduced or len(reduced) != len(times):
        raise ValueError(
            f"a clip needs one time for each of its frames, got {len(reduced)} frames, {len(times)} times"
        )
    if any(b <= a for a, b in pairwise(times)):
        raise ValueError(f"times must rise from frame to frame, got {[str(t) for t in times]}")
    if len({r.y.shape for r in reduced}) > 1:
        raise ValueError(f"frames of one clip must be of one size, got {sorted({r.y.shape for r in reduced})}")
    area = active(reduced, fmt)
    left, top, right, bottom = area.left, area.top, area.right, area.bottom
    height, width = reduced[0].y.shape
    box = Box(left / width, top / height, right / width, bottom / height)
    size = canonical_size((right - left) * fmt.sar, Fraction(bottom - top))
    lines = min((right - left) * fmt.sar, Fraction(bottom - top)) * reduced[0].k
    return Frames(
        luma=all_resized([r.y[top:bottom, left:right] for r in reduced], *size),
        chroma=_stacked([_chroma(reduced[i].chroma, box) for i in grid(times)]),
        times=tuple(times),
        format=PictureFormat(fmt.depth, fmt.full_range, Fraction(1)),
        box=box,
        scale=float(LINES / lines),
        defects=np.array([(r.comb, r.clipped) for r in reduced]),
    )


def grid(times: Sequence[Fraction]) -> tuple[int, ...]:
    """Positions of the frames that lie at least `GRID_STEP` apart, greedily from the first."""
    chosen = [0]
    for position, time in enumerate(times):
        if time - times[chosen[-1]] >= GRID_STEP:
            chosen.append(position)
    return tuple(chosen)


def canonical_size(width: Fraction, height: Fraction) -> tuple[int, int]:
    """(width, height) in square pixels: `LINES` on the short side, the other even, at most `LONGEST`."""
    long = min(LONGEST, 2 * round(LINES * max(width, height) / min(width, height) / 2))
    return (long, LINES) if width >= height else (LINES, long)


def resized(plane: Plane, width: int, height: int) -> Plane:
    """Area average where a side shrinks, bilinear where it grows; codes rounded to integers.

    While both sides are even and at least four times as long as wanted, the plane is halved, in a twentieth of the
    time; with less left to average it would become too soft.
    """
    plane = _nearer(plane, width, height)
    return plane if plane.shape == (height, width) else scaled(plane, width, height)


def all_resized(planes: Sequence[Plane], width: int, height: int) -> Plane:
    """(N, height, width) N planes of one type, each as `resized` makes it."""
    made = cast(Plane, np.empty((len(planes), height, width), planes[0].dtype))
    for target, plane in zip(made, planes, strict=True):
        scale_into(target, _nearer(plane, width, height))
    return made


def _nearer(plane: Plane, width: int, height: int) -> Plane:
    while can_be_halved(plane, width, height):
        plane = halved(plane)
    return plane


def can_be_halved(plane: Plane, width: int, height: int) -> bool:
    """Whether to halve a plane on its way to (height, width)."""
    rows, columns = plane.shape
    return rows >= 4 * height and columns >= 4 * width and not (rows % 2 or columns % 2)


def halved(plane: Plane) -> Plane:
    """(H // 2, W // 2) rounded means of 2 x 2 boxes; an odd last row or column is left out."""
    height, width = max(1, plane.shape[0] // 2), max(1, plane.shape[1] // 2)
    return cast(Plane, cv2.resize(plane[: height * 2, : width * 2], (width, height), interpolation=cv2.INTER_AREA))


def counts(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(256,) how often each value occurs in an (H, W) array of less than 2^24."""
    return np.frombuffer(tally(values), np.int64)


@twin
def tally(values: NDArray[np.uint8]) -> bytes:
    """The memory of `counts`."""
    return np.asarray(cv2.calcHist([values], [0], None, [256], [0, 256]), np.int64).tobytes()


def _defects(y: Plane, fmt: PictureFormat) -> tuple[float, float]:
    """Shares of combed pixels and of codes outside the nominal range, on one row in `SAMPLED_ROWS` at full height."""
    sampled = y[min(2, len(y) - 1) :: SAMPLED_ROWS]
    clipped = 0.0 if fmt.full_range else outside(sampled, *fmt.nominal) / sampled.size
    pairs = len(range(0, len(y) - 4, SAMPLED_ROWS)) * (y.shape[1] - 1)
    return combed(y, SAMPLED_ROWS, COMB_CODES << (fmt.depth - 8)) / pairs if pairs else 0.0, clipped


@twin
def combed(y: Plane, every: int, least: int) -> int:
    """Pixels of an (H, W) plane that are combed, and so is the one to their left; one row in `every` is looked at.

    Combing alternates from line to line: a pixel differs from both neighbours in one direction, and these from theirs
    in the other, by more than `least` and by `COMB_CONTRAST` times what it differs from those two lines away. Texture
    and grain rarely do so over five lines.
    """
    above2, above, here, below, below2 = (y[i : len(y) - 4 + i : every].copy() for i in range(5))
    # OpenCV's differences end at 0 and at the largest code: a step the other way is none, and twice the field's
    # difference, if cut off, is still above every contrast.
    lower = cv2.min(cv2.subtract(cv2.min(above2, here), above), cv2.subtract(cv2.min(here, below2), below))
    higher = cv2.min(cv2.subtract(above, cv2.max(above2, here)), cv2.subtract(below, cv2.max(here, below2)))
    contrast = cv2.max(lower, higher)
    field = cv2.max(cv2.absdiff(above2, here), cv2.absdiff(below2, here))
    found = cv2.compare(contrast, float(least), cv2.CMP_GT)
    found &= cv2.compare(contrast, cv2.multiply(field, float(COMB_CONTRAST)), cv2.CMP_GE)
    return cv2.countNonZero(found[:, 1:] & found[:, :-1])


@twin
def outside(codes: Plane, lo: int, hi: int) -> int:
    """How many of (H, W) codes are below `lo` or above `hi`."""
    return int(codes.size) - cv2.countNonZero(cv2.inRange(codes, float(lo), float(hi)))


def _chroma(planes: Plane, box: Box) -> Plane:
    """(2, h, w) the active part of `Reduced.chroma`, shrunk to `CHROMA_LINES` where it is larger."""
    height, width = planes.shape[1:]
    top, bottom = round(box.top * height), max(round(box.bottom * height), round(box.top * height) + 1)
    left, right = round(box.left * width), max(round(box.right * width), round(box.left * width) + 1)
    active = planes[:, top:bottom, left:right]
    factor = max(1.0, min(active.shape[1:]) / CHROMA_LINES)
    size = round(active.shape[2] / factor), round(active.shape[1] / factor)
    return all_resized(list(active), *size)


def _stacked(planes: Sequence[Plane]) -> Plane:
    return cast(Plane, np.stack(planes))
