"""Where the active picture of a clip is: what is left of its frames without black bars.

A definition of the levels names the rule that its numbers were made with (`mlst.levels.levels.Levels.active_picture`):
another rule is another canonical picture, and so another statistic.
"""

import functools
from collections.abc import Callable, Sequence
from math import floor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.native import twin
from mlst.pictures.frames import Area, PictureFormat, Plane, Reduced
from mlst.registry import Registry

active_picture: Registry[Callable[[Sequence[Reduced], PictureFormat], Area]] = Registry("rule of the active picture")
"""Functions of a clip's frames, all of one size and at least one, named as a definition of the levels names them."""

BAR_CODES = 8
"""A row or column is a bar while its brightest sample stays within this many 8-bit codes of black."""
ACTIVE_SHARE = 0.3
"""Less than this share of a side is not an active picture: the scene is dark. A 9:16 picture in 16:9 leaves 0.316."""

LOOKED_AT = 12
"""Frames of a clip that `edges` looks at."""
BLACK_LUMA = 26.0
"""Bars are at most this bright, 8-bit scale: black of the limited range and what coding adds, also in a full range."""
LIT_CODES = 8.0
"""Codes above its bar from which a pixel is lit."""
LIT_SHARE = 0.5
"""Of a row of a bar at most this much is lit: the letters of a line of subtitles are a third of its length."""
EDGE_SHARE, LONE_EDGE_SHARE = 0.35, 0.6
"""Of the columns so many begin to be lit in the same few rows where a bar ends; dark scenery is not so straight. A bar
without one of its size opposite must be surer."""
LONE_SIZE = 0.35
"""Such a bar is at most this part of the side; more is dark picture."""


@active_picture
def brightest(reduced: Sequence[Reduced], fmt: PictureFormat) -> Area:
    """Without the rows and columns whose brightest sample in the whole clip is nearly black."""
    dark = fmt.nominal[0] + (BAR_CODES << (fmt.depth - 8))
    most: Plane = functools.reduce(np.maximum, [r.y for r in reduced])
    top, bottom = active_span(most.max(axis=1), dark)
    left, right = active_span(most.max(axis=0), dark)
    return Area(left, top, right, bottom)


def active_span(brightest: NDArray[Any], dark: int) -> tuple[int, int]:
    """`[start, end)` of a side without bars, from the brightest sample of each of its lines.

    Bars come in pairs: where the two differ by more than 1/16 of the side, the larger one is taken for dark picture
    and both are cut to the smaller. One line in 200, at least one, goes with each bar: its edge is soft. A side of
    which less than `ACTIVE_SHARE` would remain, a black one included, is kept whole.
    """
    size = len(brightest)
    bright = np.flatnonzero(brightest > dark)
    if not len(bright):
        return 0, size
    before, after = int(bright[0]), size - 1 - int(bright[-1])
    if abs(before - after) * 16 > size:
        before = after = min(before, after)
    edge = max(1, round(size / 200))
    start, end = before + edge * (before > 0), size - after - edge * (after > 0)
    return (start, end) if end - start >= ACTIVE_SHARE * size else (0, size)


@active_picture
def edges(reduced: Sequence[Reduced], fmt: PictureFormat) -> Area:
    """Inside the straight edges at which the picture begins across its whole side, in the mean of some bright frames.

    The mean takes away what flickers, as ringing does. Columns are judged without the bars above and below them, and
    rows without those beside them; hence twice in turn. Sums of integers, so that the order of adding is nothing.
    """
    frames = _bright([r.y for r in reduced])
    total = _sum(frames)
    unit = len(frames) << (fmt.depth - 8)
    height, width = total.shape
    left, top, right, bottom = 0, 0, width, height
    for _ in range(2):
        top, bottom = span(total[:, left:right], unit)
        left, right = span(total[top:bottom].T, unit)
    return Area(left, top, right, bottom)


def _bright(frames: Sequence[Plane]) -> list[Plane]:
    """The brighter half of `LOOKED_AT` frames, evenly chosen: where a scene fades, few show its edges."""
    places = sorted({i * (len(frames) - 1) // (LOOKED_AT - 1) for i in range(LOOKED_AT)})
    ranked = sorted(places, key=lambda i: cv2.sumElems(frames[i])[0])
    return [frames[i] for i in ranked[len(places) // 2 :]]


def _sum(frames: Sequence[Plane]) -> NDArray[np.int32]:
    """Pixel by pixel; of up to 256 frames exact in single precision."""
    total = np.zeros(frames[0].shape, np.float32)
    for frame in frames:
        cv2.accumulate(frame, total)
    return total.astype(np.int32)


def span(picture: NDArray[np.int32], unit: int) -> tuple[int, int]:
    """`[start, end)` of the rows of an (H, W) picture between the bars above and below; an 8-bit code is `unit`."""
    size = len(picture)
    (before, sure), (after, sure_too) = bar(picture, unit), bar(picture[::-1], unit)
    if abs(before - after) * 16 > size:
        before = before if sure >= LONE_EDGE_SHARE and before <= LONE_SIZE * size else 0
        after = after if sure_too >= LONE_EDGE_SHARE and after <= LONE_SIZE * size else 0
    return (before, size - after) if size - before - after >= ACTIVE_SHARE * size else (0, size)


def bar(picture: NDArray[np.int32], unit: int) -> tuple[int, float]:
    """Rows from the first on that are a bar, its soft edge included, and the share of columns that say so; or 0, 0.

    In a bar not much is lit: logos and subtitles. It ends where more of the columns than anywhere else, and at least
    `EDGE_SHARE`, are lit within a few rows after having been dark for some; in these, where the sum rises most.
    """
    size = len(picture)
    black = float(np.median(picture[: max(1, size // 100)]))
    if black > BLACK_LUMA * unit:
        return 0, 0.0
    soft, gap = max(2, round(size / 160)), max(4, round(size / 60))
    lit, width = _row_by_row(picture > floor(black + LIT_CODES * unit)), picture.shape[1]
    begin, columns = beginning(lit, int(LIT_SHARE * width), soft, gap)
    if begin == 0 or columns / width < EDGE_SHARE:
        return 0, 0.0
    steps = np.diff(picture[begin - 1 : begin + 3 * soft].sum(axis=1, dtype=np.int64))
    return min(size, begin + int(steps.argmax()) + round(size / 200)), columns / width


def _row_by_row(lit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """In memory; OpenCV turns a picture five times as fast as NumPy."""
    return lit if lit.flags.c_contiguous else cv2.transpose(lit.T.view(np.uint8)).view(np.bool_)


@twin
def beginning(lit: NDArray[np.bool_], most: int, soft: int, gap: int) -> tuple[int, int]:
    """The row, not the first, where most columns of (H, W) begin to be lit, and how many these are; or 0, 0.

    They are lit in one of `soft` rows from there on, and not in the `gap` rows before. Rows are looked at up to the
    first with more than `most` lit pixels.
    """
    if np.count_nonzero(lit[0]) > most:
        return 0, 0
    dark = int(np.append(np.count_nonzero(lit, axis=1) > most, True).argmax())
    rows = np.arange(1, min(dark, len(lit) - soft) + 1)
    seen = lit[: len(rows) + soft]
    count = np.concatenate([np.zeros((1, lit.shape[1]), np.int32), seen.cumsum(axis=0, dtype=np.int32)])
    begun = (count[rows + soft] > count[rows]) & (count[rows] == count[np.maximum(0, rows - gap)])
    columns = np.count_nonzero(begun, axis=1)
    return (int(rows[columns.argmax()]), int(columns.max())) if columns.any() else (0, 0)
