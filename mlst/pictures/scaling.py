"""Planes in another size: averaged over areas where a side shrinks, bilinear where it grows.

OpenCV's `INTER_AREA` takes 0.5 ms for 854x480 bytes where libswscale takes 0.1 ms. With its flags for exact rounding
libswscale gives the same bytes with any SIMD instructions, at most 0.6 codes from the exact mean in natural pictures
(OpenCV: 0.5); 1 to 2 % of the codes are one off OpenCV's.
"""

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Samples = Bytes | NDArray[np.uint16]

EXACT = int(Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)
LEAST_SIDE, MOST = 8, 64
"""Pixels of a side, and times that it becomes shorter: libswscale limits its filters."""


def scaled(plane: Samples, width: int, height: int) -> Samples:
    """An (H, W) plane as (height, width); codes rounded to integers."""
    if plane.dtype == np.uint8 and _possible(plane, width, height):
        return _scaler("gray", plane.shape, width, height)([plane])[0]
    smaller = min(width, plane.shape[1]), min(height, plane.shape[0])
    if smaller != (plane.shape[1], plane.shape[0]):
        plane = cv2.resize(plane, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        plane = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return plane


def scaled_420(y: Samples, u: Samples, v: Samples, width: int, height: int) -> tuple[Samples, Samples, Samples]:
    """Y as (height, width), U and V as half of that, both even; each plane on its own, as `scaled` makes them.

    In one go, which saves a tenth of a millisecond, where the planes are those of a picture in 4:2:0.
    """
    halves = tuple(-(-side // 2) for side in y.shape)
    if y.dtype == np.uint8 and u.shape == v.shape == halves and _possible(u, width // 2, height // 2):
        first, second, third = _scaler("yuv420p", y.shape, width, height)([y, u, v])
        return first, second, third
    return scaled(y, width, height), scaled(u, width // 2, height // 2), scaled(v, width // 2, height // 2)


def _possible(plane: Samples, width: int, height: int) -> bool:
    """Whether libswscale has filters for it."""
    rows, columns = plane.shape
    far = rows > MOST * height or columns > MOST * width
    return not far and min(width, height, int(rows), int(columns)) >= LEAST_SIDE


class Scaler:
    """From one size to another with libswscale; keeps its filters and its memory."""

    def __init__(self, layout: str, shape: tuple[int, int], width: int, height: int) -> None:
        self._layout, self._width, self._height = layout, width, height
        self._frame, self._lock = VideoFrame(shape[1], shape[0], layout), Lock()
        # libswscale reads beyond the end of a row; the memory of a frame has room for that.
        self._codes = _views(self._frame)
        self._reformatter = VideoReformatter()

    def __call__(self, planes: Sequence[Samples]) -> list[Bytes]:
        """The planes of a picture of the old size in the new one, in new memory, each row with padding behind it."""
        with self._lock:
            for codes, plane in zip(self._codes, planes, strict=True):
                codes[...] = plane
            made = self._reformatter.reformat(
                self._frame,
                width=self._width,
                height=self._height,
                format=self._layout,
                interpolation=EXACT,
                threads=1,
            )
        return _views(made)


_scaler = lru_cache(maxsize=32)(Scaler)


def _views(frame: VideoFrame) -> list[Bytes]:
    """The memory of a frame's planes, (H, W) each."""
    return [
        np.ndarray((plane.height, plane.width), np.uint8, memoryview(plane), strides=(plane.line_size, 1))
        for plane in frame.planes
    ]
