"""The registry of statistics."""

from collections.abc import Callable

from mlst.pictures.frames import Frames
from mlst.registry import Registry

statistic: Registry[Callable[[Frames], float]] = Registry("statistic")
"""Functions of a clip's `Frames`, each named after the field of `mlst.records.Statistics` that it fills."""
