"""Where the active picture of a clip is: what is left of its frames without black bars.

A definition of the levels names the rule that its numbers were made with (`mlst.levels.levels.Levels.active_picture`):
another rule is another canonical picture, and so another statistic.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlst.pictures.frames import Area, PictureFormat, Reduced
from mlst.registry import Registry

active_picture: Registry[Callable[[Sequence[Reduced], PictureFormat], Area]] = Registry("rule of the active picture")
"""Functions of a clip's frames, all of one size and at least one, named as a definition of the levels names them."""

BAR_CODES = 8
"""A row or column is a bar while its brightest sample stays within this many 8-bit codes of black."""
ACTIVE_SHARE = 0.3
"""Less than this share of a side is not an active picture: the scene is dark. A 9:16 picture in 16:9 leaves 0.316."""


@active_picture
def brightest(reduced: Sequence[Reduced], fmt: PictureFormat) -> Area:
    """Without the rows and columns whose brightest sample in the whole clip is nearly black."""
    dark = fmt.nominal[0] + (BAR_CODES << (fmt.depth - 8))
    top, bottom = active_span(np.max([r.rows for r in reduced], axis=0), dark)
    left, right = active_span(np.max([r.columns for r in reduced], axis=0), dark)
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
