"""Planes in another size: averaged over areas where a side shrinks, bilinear where it grows.

OpenCV's `INTER_AREA` takes 0.5 ms for 854x480 bytes where libswscale takes 0.1 ms. With its flags for exact rounding
libswscale gives the same bytes with any SIMD instructions, at most 0.6 codes from the exact mean in natural pictures
(OpenCV: 0.5); 1 to 2 % of the codes are one off OpenCV's.

A compiled kernel that does the same sums gives the same bytes in less than half of the time. It is told the weights of
libswscale, which is asked for them: a line with one white sample comes out as the weights of that sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import cast

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from mlst.native import USED, compiled, twin

Bytes = NDArray[np.uint8]
Samples = Bytes | NDArray[np.uint16]

EXACT = int(Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)
COMPILED = USED and hasattr(compiled, "has_avx2") and compiled.has_avx2()
"""Whether the kernel can run here: it is written for AVX2."""
LEAST_SIDE, MOST = 8, 64
"""Pixels of a side, and times that it becomes shorter: libswscale limits its filters."""
STRIP = 64
"""Pixels."""


def scaled(plane: Samples, width: int, height: int) -> Samples:
    """An (H, W) plane as (height, width); codes rounded to integers."""
    made = cast(Samples, np.empty((height, width), plane.dtype))
    scale_into(made, plane)
    return made


def scale_into(made: Samples, plane: Samples) -> None:
    """Fill (height, width) `made`, of the same type, with an (H, W) plane in its size."""
    height, width = made.shape
    if plane.shape == made.shape:
        made[...] = plane
    elif plane.dtype == np.uint8 and _possible(plane, width, height):
        _scale_bytes(cast(Bytes, made), cast(Bytes, plane))
    else:
        made[...] = _by_opencv(plane, width, height)


def _by_opencv(plane: Samples, width: int, height: int) -> Samples:
    smaller = min(width, plane.shape[1]), min(height, plane.shape[0])
    if smaller != (plane.shape[1], plane.shape[0]):
        plane = cv2.resize(plane, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        plane = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return plane


def scaled_420(y: Samples, u: Samples, v: Samples, width: int, height: int) -> tuple[Samples, Samples, Samples]:
    """Y as (height, width), U and V as half of that, both even; each plane on its own, as `scaled` makes them.

    By libswscale in one go, which saves a tenth of a millisecond, where the planes are those of a picture in 4:2:0.
    """
    halves = tuple(-(-side // 2) for side in y.shape)
    if not COMPILED and y.dtype == np.uint8 and u.shape == v.shape == halves and _possible(u, width // 2, height // 2):
        first, second, third = _scaler("yuv420p", y.shape, width, height)([y, u, v])
        return first, second, third
    return scaled(y, width, height), scaled(u, width // 2, height // 2), scaled(v, width // 2, height // 2)


def _possible(plane: Samples, width: int, height: int) -> bool:
    """Whether libswscale has filters for it."""
    rows, columns = plane.shape
    far = rows > MOST * height or columns > MOST * width
    return not far and min(width, height, int(rows), int(columns)) >= LEAST_SIDE


def _scale_bytes(made: Bytes, plane: Bytes) -> None:
    """`scale_into` of sizes for which libswscale has filters."""
    if COMPILED and _agree(plane.shape, made.shape):
        _scale_compiled(made, plane)
    else:
        made[...] = _scaler("gray", plane.shape, made.shape[1], made.shape[0])([plane])[0]


def _scale_compiled(made: Bytes, plane: Bytes) -> None:
    down = _filter(plane.shape[0], made.shape[0], DOWN)
    fill_scaled(made, plane, *_lanes(plane.shape[1], made.shape[1]), down.firsts, down.weights)


@lru_cache(maxsize=64)
def _agree(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether the kernel gives what libswscale gives, tried with noise in a strip either way: versions to come may
    round otherwise."""
    strips = ((STRIP, shape[1]), (STRIP, size[1])), ((shape[0], STRIP), (size[0], STRIP))
    return all(_agree_on(_noise(old), new) for old, new in strips)


def _noise(shape: tuple[int, int]) -> Bytes:
    """By squares, as NumPy's random numbers would be imported by every worker."""
    number = np.arange(shape[0] * shape[1], dtype=np.uint64)
    return (number * number * np.uint64(2654435761) >> np.uint64(24)).astype(np.uint8).reshape(shape)


def _agree_on(plane: Bytes, size: tuple[int, int]) -> bool:
    made = np.empty(size, np.uint8)
    _scale_compiled(made, plane)
    return bool(np.array_equal(made, Scaler("gray", plane.shape, size[1], size[0])([plane])[0]))


@twin
def fill_scaled(
    made: Bytes,
    plane: Bytes,
    starts: NDArray[np.int32],
    places: Bytes,
    weights: NDArray[np.int16],
    firsts: NDArray[np.int32],
    shares: NDArray[np.int16],
) -> int:
    """`_scale_bytes`, told `_lanes` of the columns and the `Filter` of the rows; how many rows were made."""
    made[...] = _scaler("gray", plane.shape, made.shape[1], made.shape[0])([plane])[0]
    return len(made)


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


ACROSS, DOWN = 1 << 14, 1 << 12
"""What the weights of a sample add up to in libswscale, in a line and from line to line."""
LANE, EMPTY = 16, 0x80
"""Bytes out of which a lane of the kernel takes the samples for eight weights, and the place of a byte that is 0."""
ORDER = (0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15)
"""In which its lanes of four make sixteen samples."""


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """What each of N samples is made of."""

    firsts: NDArray[np.int32]
    """(N,) the first sample with a weight, rising."""
    weights: NDArray[np.int16]
    """(N, T) of that sample and the next; T is even."""


@lru_cache(maxsize=64)
def _filter(size: int, wanted: int, whole: int) -> Filter:
    """libswscale's, for `size` samples of which `wanted` are made and whose weights add up to `whole`."""
    places, weights = _asked(size, wanted, whole)
    firsts = np.where(weights > 0, places, size).min(axis=1)
    firsts = np.minimum.accumulate(firsts[::-1])[::-1]
    taps = int((np.where(weights > 0, places, 0).max(axis=1) - firsts).max()) // 2 * 2 + 2
    firsts = np.minimum(firsts, max(0, size - taps))
    found = np.zeros((wanted, taps), np.int16)
    row, column = np.nonzero(weights)
    found[row, places[row, column] - firsts[row]] = weights[row, column]
    return Filter(firsts.astype(np.int32), found)


def _asked(size: int, wanted: int, whole: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(wanted, K) samples and their weights: lines with a white sample here and there, so far apart that no two of
    them meet, come out in 16 bits as the weights of those samples."""
    if size == wanted:
        return np.arange(size)[:, None], np.full((size, 1), whole)
    apart = max(LANE, -(-size // wanted) + 3)
    white = np.arange(size) % apart == np.arange(apart)[:, None]
    middles = ((np.arange(wanted) + 0.5) * size / wanted - 0.5)[:, None]
    nearest = np.arange(apart) + apart * np.rint((middles - np.arange(apart)) / apart).astype(np.int64)
    return nearest, _weighed(white if whole == ACROSS else white.T, wanted, whole)


def _weighed(white: NDArray[np.bool_], wanted: int, whole: int) -> NDArray[np.int64]:
    """(wanted, lines) what comes of lines side by side, or one below the other, that are white in places."""
    frame = VideoFrame(white.shape[1], white.shape[0], "gray")
    _views(frame)[0][...] = white * np.uint8(255)
    width, height = (wanted, white.shape[0]) if whole == ACROSS else (white.shape[1], wanted)
    made = VideoReformatter().reformat(
        frame, width=width, height=height, format="gray16le", interpolation=EXACT, threads=1
    )
    codes = np.frombuffer(memoryview(made.planes[0]), "<u2").reshape(height, -1)[:, :width]
    weights = np.rint(codes * (whole / (255 << 8))).astype(np.int64)
    return weights.T if whole == ACROSS else weights


@lru_cache(maxsize=64)
def _lanes(size: int, wanted: int) -> tuple[NDArray[np.int32], Bytes, NDArray[np.int16]]:
    """The kernel's tables of a line, in lanes of four samples each, which it makes in pairs.

    `starts` (L,), where in the line it takes 16 bytes: for each pair and each group of its samples, one for either
    lane. `places` (L, 16), where among these the first two bytes of each sample of the group are, as those of 16-bit
    numbers. `weights` (pairs, T * 8), two for each sample of a pair, then the next two. A start before the line, which
    the kernel does not take, means that the line is too short.
    """
    made = _filter(size, wanted, ACROSS)
    taps = made.weights.shape[1]
    rounded = -(-wanted // LANE) * LANE
    chosen = np.minimum(np.arange(rounded), wanted - 1).reshape(-1, LANE)[:, ORDER].reshape(-1, 8)
    weights = made.weights[chosen].reshape(-1, 8, taps // 2, 2).swapaxes(1, 2).reshape(len(chosen), -1)
    for groups in (1, 2, 4):
        firsts = made.firsts[chosen].reshape(-1, 2, groups, 4 // groups).swapaxes(1, 2)
        starts = np.minimum(firsts.min(axis=-1), size - LANE - (taps - 2))
        behind = firsts - starts[..., None]
        if behind.max() + 1 < LANE:
            break
    places = np.full((*starts.shape, groups, 4 // groups, 4), EMPTY)
    for group in range(groups):
        places[:, group, :, group, :, ::2] = behind[:, group, ..., None] + (0, 1)
    return starts.ravel().astype(np.int32), places.reshape(-1, LANE).astype(np.uint8), np.ascontiguousarray(weights)
