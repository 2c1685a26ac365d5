"""What is measured on a clip: one function per field of `mlst.records.Statistics`, registered under its name."""

import math
from collections.abc import Iterable

from mlst.pictures.frames import Frames
from mlst.records import ALWAYS, STATISTICS, Statistics
from mlst.statistics import audit, camera, luma, motion, p910, texture
from mlst.statistics.base import statistic

__all__ = ["audit", "camera", "luma", "measure", "motion", "p910", "statistic", "texture"]


def measure(frames: Frames, columns: Iterable[str] = STATISTICS) -> Statistics:
    """The statistics `columns` of one clip, and those that every clip has; all finite.

    Raises ValueError for a clip too short to hold two frames of the 10 Hz grid: it has no temporal information.
    """
    if len(frames.grid) < 2:
        span = float(frames.times[-1] - frames.times[0])
        raise ValueError(
            f"temporal information needs two frames at least 0.1 s apart; this clip has {len(frames.times)} frame(s) "
            f"over {span:.4g} s: make clips longer"
        )
    values = {name: float(statistic[name](frames)) + 0.0 for name in {*ALWAYS, *columns}}  # no negative zeros
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if wrong:
        raise ArithmeticError(f"statistics must be finite, got {wrong}")
    return Statistics(**values)
