"""Motion between neighbours on the 10 Hz grid."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.native import twin
from mlst.pictures.frames import Frames, resized, shared
from mlst.statistics import luma
from mlst.statistics.base import statistic

FLOW_WIDTH = 128
"""Pixels across which optical flow is estimated: finer than that it costs more and says the same."""
FLOW_CONTRAST = 2.0
"""Standard deviation of luma (0..255) below which a frame is flat: flow from or to it is noise and counts as 0."""
FLOW_LEAST = 32
"""Least height for DIS: four of its 8-pixel patches."""


@shared
def flow(frames: Frames) -> NDArray[np.float32]:
    """(G - 1, h, FLOW_WIDTH, 2) optical flow in % of the picture's width per second, x to the right and y down.

    DIS (Kroeger et al. 2016, Fast optical flow using dense inverse search), OpenCV's `ultrafast` preset but down to
    the finest scale: stopping at a quarter of it, as the preset does, is 10 to 16 % off for slow pans.
    """
    height, width = frames.luma8.shape[1:]
    size = FLOW_WIDTH, max(FLOW_LEAST, round(FLOW_WIDTH * height / width))
    small = [resized(picture, *size) for picture in frames.luma8]
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    estimator.setFinestScale(0)
    rich = np.array([picture.std() >= FLOW_CONTRAST for picture in small])
    rates = (100 / FLOW_WIDTH / frames.intervals).astype(np.float32) * (rich[:-1] & rich[1:])
    result = np.empty((len(rates), *small[0].shape, 2), np.float32)
    for i, rate in enumerate(rates):
        np.multiply(estimator.calc(small[i], small[i + 1], None), rate, out=result[i])
    return result


@shared
def components(frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The flow's x and y, (G - 1, h * FLOW_WIDTH) each."""
    pairs = flow(frames).reshape(len(frames.intervals), -1, 2)
    return np.ascontiguousarray(pairs[..., 0]), np.ascontiguousarray(pairs[..., 1])


@shared
def speed(frames: Frames) -> NDArray[np.float32]:
    """(G - 1, h * FLOW_WIDTH) length of the flow."""
    x, y = components(frames)
    return np.sqrt(x * x + y * y)


@shared
def camera(frames: Frames) -> NDArray[np.float32]:
    """(G - 1, 2) median of the flow's x and y in every pair: what most of the picture does."""
    return np.array([medians(component) for component in components(frames)], np.float32).T


@twin
def medians(values: NDArray[np.float32] | NDArray[np.float64]) -> tuple[float, ...]:
    """The median of each row of (R, C) numbers, in their precision."""
    return tuple(np.median(values, axis=1).tolist())


@statistic
def flow_mean(frames: Frames) -> float:
    """Mean speed over pixels and pairs, % of the width per second."""
    return float(speed(frames).mean(dtype=np.float64))


@statistic
def flow_median(frames: Frames) -> float:
    """Median speed over pixels and pairs, % of the width per second."""
    return medians(speed(frames).reshape(1, -1))[0]


@statistic
def flow_p95(frames: Frames) -> float:
    """95th percentile of speed over pixels and pairs, % of the width per second."""
    return float(np.percentile(speed(frames), 95))


@statistic
def flow_camera(frames: Frames) -> float:
    """Mean length of the median vector: camera motion, % of the width per second."""
    return float(np.hypot(camera(frames)[:, 0], camera(frames)[:, 1]).mean(dtype=np.float64))


@statistic
def flow_residual(frames: Frames) -> float:
    """Mean distance from the median vector: motion of objects, zoom and rotation, % of the width per second."""
    x, y = (one - middle[:, None] for one, middle in zip(components(frames), camera(frames).T, strict=True))
    return float(np.sqrt(x * x + y * y).mean(dtype=np.float64))


@statistic
def frame_difference(frames: Frames) -> float:
    """Mean over grid pairs of mean |F_n - F_(n-1)| / std(F_n), the standard deviation taken as 1 code at least.

    The motion measure of WebRTC's content analysis (`qm_select`), which cuts it at 0.03 and 0.075.
    """
    differences = np.array([cv2.norm(a, b, cv2.NORM_L1) / a.size for a, b in pairwise(frames.luma8)])
    return float(np.mean(differences / np.maximum(luma.moments(frames)[1:, 1], 1.0)))
