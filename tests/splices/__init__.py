"""Spliced ground truth: single-shot footage and drawings joined by transitions whose frames are known exactly.

The result is encoded with x264, so that detectors see real codec noise. `families` is the set of the benchmark.
"""

from tests.splices.footage import HOLD_OUT, TUNING
from tests.splices.mixed import Recipe, Splice, same_scene, splice
from tests.splices.pictures import (
    CLIPS,
    HEIGHT,
    RATE,
    WIDTH,
    Footage,
    Frames,
    black_frames,
    decoded,
    detect,
    encode,
    load,
    pack,
    planes,
    thumbs,
)

__all__ = [
    "CLIPS",
    "HEIGHT",
    "HOLD_OUT",
    "RATE",
    "TUNING",
    "WIDTH",
    "Footage",
    "Frames",
    "Recipe",
    "Splice",
    "black_frames",
    "decoded",
    "detect",
    "encode",
    "load",
    "pack",
    "planes",
    "same_scene",
    "splice",
    "thumbs",
]
