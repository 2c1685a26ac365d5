"""The small picture that shot detectors see, made once per decoded frame."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.pictures.frames import Picture, PictureFormat, Plane

Bytes = NDArray[np.uint8]

WIDTH, HEIGHT = 64, 36
"""Of a thumb's luma; chroma has half of each."""

BGR_SIDE = 256
"""Pixels of the longer side to which PySceneDetect scales before its detectors look (its `DEFAULT_MIN_WIDTH`)."""


@dataclass(frozen=True, slots=True)
class Thumb:
    """One frame, small, 8 bit and full range, whatever was stored.

    Detectors that look back keep the planes `y`, `u`, `v`, never the thumb: it holds the full-size picture.
    """

    index: int
    """Ordinal of the frame in its file; a detector's only clock."""
    y: Bytes
    """(36, 64) luma, 0..255."""
    u: Bytes
    """(18, 32) chroma, 128 is grey."""
    v: Bytes
    picture: Picture
    format: PictureFormat

    def bgr(self) -> Bytes:
        """(h, w, 3) B, G, R with the longer side at most 256: what PySceneDetect's own reader would have shown.

        Like its readers (OpenCV and PyAV, both libswscale's default) it uses the BT.601 matrix for every video and
        scales linearly; the planes are scaled first, which differs by rounding only.
        """
        height, width = self.picture.y.shape
        factor = max(1.0, max(height, width) / BGR_SIDE)
        size = (max(1, round(width / factor)), max(1, round(height / factor)))
        y, u, v = (
            _eight_bit(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), self.format, chroma)
            for plane, chroma in ((self.picture.y, False), (self.picture.u, True), (self.picture.v, True))
        )
        return np.asarray(cv2.cvtColor(cv2.merge([y, v, u]), cv2.COLOR_YCrCb2BGR), np.uint8)


def thumb(picture: Picture, fmt: PictureFormat) -> Thumb:
    """The thumb of a decoded frame: each plane averaged over areas, then brought to 8 bit full range."""
    y, u, v = (
        shrink(picture, plane, WIDTH // part, HEIGHT // part)
        for plane, part in ((lambda p: p.y, 1), (lambda p: p.u, 2), (lambda p: p.v, 2))
    )
    planes = _eight_bit(y, fmt, chroma=False), _eight_bit(u, fmt, chroma=True), _eight_bit(v, fmt, chroma=True)
    return Thumb(picture.index, *planes, picture, fmt)


def shrink(picture: Picture, plane: Callable[[Picture], Plane], width: int, height: int) -> Plane:
    """A plane of a picture averaged over areas to (height, width), same dtype.

    While it is large it is halved: OpenCV averages 2x2 blocks many times faster than other areas.
    """
    while plane(picture).shape[1] >= 4 * width and plane(picture).shape[0] >= 4 * height:
        picture = picture.half
    resized: Plane = cv2.resize(plane(picture), (width, height), interpolation=cv2.INTER_AREA)
    return resized


def _eight_bit(plane: Plane, fmt: PictureFormat, chroma: bool) -> Bytes:
    table = expansion(fmt.depth, fmt.full_range, chroma)
    if plane.dtype == np.uint8:
        return np.asarray(cv2.LUT(plane, table), np.uint8)
    return np.asarray(table[np.minimum(plane, len(table) - 1)])


@cache
def expansion(depth: int, full_range: bool, chroma: bool) -> Bytes:
    """(2**depth,) table from stored codes to 8 bit full range (ITU-R BT.601/709 quantisation, clipped)."""
    unit = 2.0 ** (depth - 8)
    codes = np.arange(2**depth) / unit
    if full_range:
        codes = np.arange(2**depth) * (255 / (2**depth - 1))
    elif chroma:
        codes = (codes - 128) * (255 / 224) + 128
    else:
        codes = (codes - 16) * (255 / 219)
    return np.clip(np.rint(codes), 0, 255).astype(np.uint8)
