"""Defects of the material: black, frozen and repeated frames, flashes, codes out of range, combing, enlargement."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.pictures.frames import Frames, outside, shared
from mlst.statistics import p910
from mlst.statistics.base import statistic

BLACK_LUMA, BLACK_SHARE = 0.1, 0.98
"""A frame is black when this share of its pixels lies below this part of the range: ffmpeg's blackdetect."""
FREEZE_TI = 0.1
"""TI below which a frame shows nothing new: less than re-encoding a still picture leaves."""
FLASH_STEP, FLASH_SECONDS = 20.0, 0.2
"""Two opposite changes of mean luma (0..255) by so much within so long are a flash: 8 % of the range, cf. the 10 % of
WCAG 2.2, general flash."""


@shared
def brightness(frames: Frames) -> NDArray[np.float64]:
    """(N,) mean luma of every frame, 0..255 scale."""
    lo, hi = frames.format.nominal
    means = np.array([cv2.sumElems(picture)[0] / picture.size for picture in frames.luma])
    return (means - lo) * (255 / (hi - lo))


@statistic
def black_ratio(frames: Frames) -> float:
    """Share of frames that are black."""
    lo, hi = frames.format.nominal
    least, most = int(lo + BLACK_LUMA * (hi - lo)) + 1, (1 << frames.format.depth) - 1
    dark = np.array([outside(picture, least, most) for picture in frames.luma])
    return float(np.mean(dark / frames.luma[0].size >= BLACK_SHARE))


@statistic
def freeze_ratio(frames: Frames) -> float:
    """Share of neighbouring frames with TI below `FREEZE_TI`."""
    return float(np.mean(p910.temporal(frames) < FREEZE_TI))


@statistic
def duplicate_ratio(frames: Frames) -> float:
    """Share of neighbouring frames whose canonical pictures are identical."""
    changes = p910.temporal(frames)
    pairs = zip(changes, pairwise(frames.luma), strict=True)
    return float(np.mean([change == 0 and np.array_equal(a, b) for change, (a, b) in pairs]))


@statistic
def flash_count(frames: Frames) -> float:
    """Pairs of opposite steps of mean luma, each by `FLASH_STEP` or more, at most `FLASH_SECONDS` apart."""
    steps = np.diff(brightness(frames))
    large = [(frames.times[i + 1], steps[i] > 0) for i in np.flatnonzero(np.abs(steps) >= FLASH_STEP)]
    count, position = 0, 0
    while position + 1 < len(large):
        (time, up), (later, then_up) = large[position], large[position + 1]
        paired = up != then_up and later - time <= FLASH_SECONDS
        count += paired
        position += 1 + paired
    return float(count)


@statistic
def clipped_ratio(frames: Frames) -> float:
    """Share of the source's luma samples outside the nominal range."""
    return float(frames.defects[:, 1].mean())


@statistic
def comb_ratio(frames: Frames) -> float:
    """Share of the source's pixels that show interlace combing."""
    return float(frames.defects[:, 0].mean())


@statistic
def scale(frames: Frames) -> float:
    """Lines of the canonical picture over lines of the source's active picture."""
    return frames.scale
