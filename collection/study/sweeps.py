"""Synthetic pictures that have more and more of one thing: does a column rise with it?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.pictures.bars import active_picture
from mlst.pictures.frames import Frames, Picture, PictureFormat, canonical, reduce
from mlst.records import Statistics
from mlst.statistics import measure

HEIGHT, WIDTH, FRAMES = 240, 426, 6
FORMAT = PictureFormat(8, full_range=True, sar=Fraction(1))
MIDDLE = 128
Grey = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Swept:
    """One sweep: what was measured at each of its points."""

    name: str
    unit: str
    points: tuple[float, ...]
    axis: str
    """`s` or `t`: what it is about."""
    statistics: tuple[Statistics, ...]


def noise(cell: float, seed: int = 0) -> Grey:
    """(HEIGHT, WIDTH) blots of about `cell` pixels, mean 0, deviation 1."""
    field = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(field, (0, 0), cell / 2) if cell > 1 else field
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


def checkers(cell: float) -> Grey:
    """(HEIGHT, WIDTH) black and white squares of `cell` pixels, -1 and 1, beginning in the corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] // round(cell)
    return np.asarray(2 * ((y + x) % 2) - 1, np.float32)


def still(picture: Grey) -> list[Grey]:
    """A picture that does not move."""
    return [picture] * FRAMES


def covered(share: float) -> list[Grey]:
    """Texture on the left `share` of the picture."""
    return still(np.where(np.arange(WIDTH) < share * WIDTH, 40 * noise(4), 0).astype(np.float32))


def scene(seed: int = 1) -> Grey:
    """Something like a picture: blots of many sizes, large ones strongest."""
    blots = [cell**0.5 * 4 * noise(cell, seed + n) for n, cell in enumerate((2, 6, 18, 54))]
    return np.asarray(np.sum(blots, axis=0), np.float32)


def grainy(deviation: float) -> list[Grey]:
    """The scene under grain, new in every frame."""
    return [scene() + deviation * noise(1, 100 + n) for n in range(FRAMES)]


def panned(step: float, cell: float) -> list[Grey]:
    """Texture that moves to the right by `step` pixels per frame of the 10 Hz grid."""
    picture = 40 * noise(cell)
    wide = np.concatenate([picture, picture[:, ::-1]], axis=1)
    return [np.roll(wide, round(step * n), axis=1)[:, :WIDTH] for n in range(FRAMES)]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What grows, and how pictures are made of it."""

    name: str
    unit: str
    axis: str
    points: tuple[float, ...]
    make: Callable[[float], list[Grey]]


def blots(cell: float) -> list[Grey]:
    """Blots of one size, all over the picture."""
    return still(40 * noise(cell))


SHARES = (0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
CODES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
SWEEPS = (
    Sweep("coverage", "share with texture", "s", SHARES, covered),
    Sweep("finer blots", "pixels", "s", (32, 24, 16, 12, 8, 6, 4, 3, 2), blots),
    Sweep("finer checkers", "pixels", "s", (60, 48, 32, 24, 16, 12, 8, 6, 4), lambda c: still(60 * checkers(c))),
    Sweep("contrast", "deviation, codes", "s", CODES, lambda d: still(d * noise(4))),
    Sweep("grain over a scene", "deviation, codes", "s", (0, 1, 2, 4, 8, 16), grainy),
    Sweep("speed of coarse texture", "pixels per 0.1 s", "t", (0, 1, 2, 4, 8, 12, 16), lambda p: panned(p, 32)),
    Sweep("speed of fine texture", "pixels per 0.1 s", "t", (0, 1, 2, 4, 8, 16, 32), lambda p: panned(p, 3)),
    Sweep("contrast of what moves", "deviation, codes", "t", CODES, lambda d: [d / 40 * p for p in panned(4, 8)]),
    Sweep("grain over a still scene", "deviation, codes", "t", (0, 1, 2, 4, 8, 16), grainy),
)


def frames_of(pictures: list[Grey]) -> Frames:
    """The canonical pictures of synthetic ones, 10 a second."""
    chroma = np.full((HEIGHT // 2, WIDTH // 2), MIDDLE, np.uint8)
    coded = [np.clip(np.rint(picture + MIDDLE), 0, 255).astype(np.uint8) for picture in pictures]
    reduced = [reduce(Picture(n, n, luma, chroma, chroma), FORMAT) for n, luma in enumerate(coded)]
    return canonical(reduced, [Fraction(n, 10) for n in range(len(reduced))], FORMAT, active_picture["brightest"])


def swept() -> Iterator[Swept]:
    """All sweeps, measured."""
    for one in SWEEPS:
        found = tuple(measure(frames_of(one.make(point))) for point in one.points)
        yield Swept(one.name, one.unit, one.points, one.axis, found)
