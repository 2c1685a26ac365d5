"""Brightness and colour."""

import numpy as np
from numpy.typing import NDArray

from mlst.pictures.frames import Frames, counts, shared
from mlst.statistics.base import statistic


@shared
def histogram(frames: Frames) -> NDArray[np.int64]:
    """(G, 256) luma histograms of the grid frames on the 0..255 scale."""
    return np.array([counts(picture) for picture in frames.luma8])


@shared
def moments(frames: Frames) -> NDArray[np.float64]:
    """(G, 2) mean and standard deviation of luma per grid frame, 0..255 scale, from integer sums."""
    codes, values = histogram(frames), np.arange(256)
    n, total, squares = codes.sum(axis=1), codes @ values, codes @ values**2
    return np.stack([total / n, np.sqrt(n * squares - total * total) / n], axis=1)


@statistic
def luma_mean(frames: Frames) -> float:
    """Mean luma, 0..255."""
    return float(moments(frames)[:, 0].mean())


@statistic
def luma_std(frames: Frames) -> float:
    """Mean over the grid of a frame's standard deviation of luma: contrast."""
    return float(moments(frames)[:, 1].mean())


@statistic
def luma_p1(frames: Frames) -> float:
    """1st percentile of luma over all grid frames."""
    return _percentile(frames, 0.01)


@statistic
def luma_p99(frames: Frames) -> float:
    """99th percentile of luma over all grid frames."""
    return _percentile(frames, 0.99)


def _percentile(frames: Frames, share: float) -> float:
    below = histogram(frames).sum(axis=0).cumsum()
    return float(np.searchsorted(below, share * below[-1]))


@statistic
def colourfulness(frames: Frames) -> float:
    """Hasler and Suesstrunk, Measuring colourfulness in natural images (2003): 0 for grey, above 60 for vivid.

    Their opponent channels rg = R - G and yb = (R + G) / 2 - B contain no luma; they are taken from chroma with the
    coefficients of BT.601, whatever the source's matrix, so that no conversion to RGB is needed. Mean over the grid.
    """
    depth, full = frames.format.depth, frames.format.full_range
    middle, span = 1 << (depth - 1), ((1 << depth) - 1 if full else 224 << (depth - 8))
    u, v = ((frames.chroma[:, i].astype(np.float64) - middle) * (255 / span) for i in (0, 1))
    rg = 0.344136 * u + 2.116136 * v
    yb = -1.943932 * u + 0.343932 * v
    axes = (1, 2)
    spread = np.hypot(rg.std(axis=axes), yb.std(axis=axes))
    return float(np.mean(spread + 0.3 * np.hypot(rg.mean(axis=axes), yb.mean(axis=axes))))
