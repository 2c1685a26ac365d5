"""Pictures and clips for tests of frames, statistics and fingerprints; everything is generated."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.pictures.bars import active_picture
from mlst.pictures.frames import Frames, Picture, PictureFormat, canonical, reduce

FULL = PictureFormat(8, True, Fraction(1))
LIMITED = PictureFormat(8, False, Fraction(1))


def texture(height: int, width: int, seed: int, sigma: float = 2.0) -> NDArray[np.float64]:
    """(height, width) smooth noise in 0..1, of the same look at every seed."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.clip(0.5 + smooth / max(smooth.std(), 1e-9) / 6, 0, 1)


def codes(picture: NDArray[Any], fmt: PictureFormat) -> NDArray[Any]:
    """Luma codes of a picture in 0..1."""
    lo, hi = fmt.nominal
    return np.rint(lo + picture * (hi - lo)).astype(np.uint8 if fmt.depth == 8 else np.uint16)


def picture(y: NDArray[Any], fmt: PictureFormat, index: int = 0, uv: tuple[int, int] | None = None) -> Picture:
    """A 4:2:0 picture with even chroma (grey by default)."""
    middle = 1 << (fmt.depth - 1)
    shape = (-(-y.shape[0] // 2), -(-y.shape[1] // 2))
    u, v = (np.full(shape, c, y.dtype) for c in (uv or (middle, middle)))
    return Picture(index, index, y, u, v)


def times(count: int, rate: Fraction = Fraction(30)) -> list[Fraction]:
    return [i / rate for i in range(count)]


def clip(
    planes: Sequence[NDArray[Any]],
    fmt: PictureFormat = FULL,
    rate: Fraction = Fraction(30),
    uv: tuple[int, int] | None = None,
    rule: str = "brightest",
) -> Frames:
    """The canonical pictures of luma planes."""
    return canonical(
        [reduce(picture(y, fmt, uv=uv), fmt) for y in planes], times(len(planes), rate), fmt, active_picture[rule]
    )


def pan(
    height: int, width: int, step: float, count: int = 13, seed: int = 1, sigma: float = 4.0
) -> list[NDArray[Any]]:
    """Views (0..1) that move by `step` pixels to the right per frame over one long texture, which goes to the left."""
    wide = texture(height, width + int(step * count) + 2, seed, sigma)
    views = []
    for i in range(count):
        start = int(step * i)
        part = step * i - start
        views.append((1 - part) * wide[:, start : start + width] + part * wide[:, start + 1 : start + 1 + width])
    return views
