"""PySceneDetect's detectors, fed with our frames. The one file that knows its interface, which is not declared stable.

Frames are numbered by ordinal: `min_scene_len` counts decoded frames and variable frame rate changes nothing.
(PySceneDetect derives frame numbers from time stamps and a nominal rate; its issues #168 and #569.)
"""

from fractions import Fraction

from scenedetect import FrameTimecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from collection.detectors.registry import detector
from collection.detectors.thumbs import Thumb
from mlst.records import Transition

FADE_FRAMES = 48
"""Frames for which `threshold` holds decisions back: 2 s at 24 fps. A longer dark run is reported late."""


CLOCK = 25.0
"""Frames per second that the detectors are told for every video; with `min_scene_len` in frames it cancels out."""


class Cuts:
    """A detector that names the first frame of each new shot."""

    def __init__(self, inner: SceneDetector, delay: int) -> None:
        self.inner, self.delay = inner, delay
        self._last = -1

    def push(self, thumb: Thumb) -> list[Transition]:
        self._last = thumb.index
        return self._cuts(self.inner.process_frame(FrameTimecode(thumb.index, fps=CLOCK), thumb.bgr()))

    def finish(self) -> list[Transition]:
        if self._last < 0:
            return []
        return self._cuts(self.inner.post_process(FrameTimecode(self._last, fps=CLOCK)))

    def _cuts(self, found: list[FrameTimecode]) -> list[Transition]:
        return [Transition("cut", time.frame_num, time.frame_num) for time in found]


class Fades(Cuts):
    """`threshold`: PySceneDetect splits in the middle of the dark run; here the run itself is the transition."""

    inner: ThresholdDetector

    def push(self, thumb: Thumb) -> list[Transition]:
        before = self.inner.last_fade["frame"]
        return [Transition("fade", before.frame_num, thumb.index) for _ in super().push(thumb)]


def _natural(min_scene_len: int) -> int:
    if min_scene_len < 0:
        raise ValueError(f"min_scene_len must be at least 0, got {min_scene_len}")
    return min_scene_len


@detector
def content(_: Fraction, *, threshold: float = 27.0, min_scene_len: int = 15, luma_only: bool = False) -> Cuts:
    """Mean HSV difference of neighbours, cuts closer than `min_scene_len` frames merged."""
    inner = ContentDetector(threshold=threshold, min_scene_len=_natural(min_scene_len), luma_only=luma_only)
    return Cuts(inner, delay=min_scene_len)


@detector
def adaptive(
    _: Fraction,
    *,
    adaptive_threshold: float = 3.0,
    min_scene_len: int = 15,
    window_width: int = 2,
    min_content_val: float = 15.0,
    luma_only: bool = False,
) -> Cuts:
    """`content`'s difference relative to that of `window_width` neighbours on both sides."""
    inner = AdaptiveDetector(
        adaptive_threshold=adaptive_threshold,
        min_scene_len=_natural(min_scene_len),
        window_width=window_width,
        min_content_val=min_content_val,
        luma_only=luma_only,
    )
    return Cuts(inner, delay=window_width)


@detector.named("hash")
def hash_(_: Fraction, *, threshold: float = 0.35, size: int = 8, lowpass: int = 2, min_scene_len: int = 15) -> Cuts:
    """Hamming distance of perceptual hashes of neighbours."""
    return Cuts(HashDetector(threshold, size, lowpass, _natural(min_scene_len)), delay=0)


@detector
def histogram(_: Fraction, *, threshold: float = 0.20, bins: int = 128, min_scene_len: int = 15) -> Cuts:
    """Correlation of luma histograms of neighbours."""
    return Cuts(HistogramDetector(threshold, bins, _natural(min_scene_len)), delay=0)


@detector
def threshold(_: Fraction, *, threshold: float = 12.0, min_scene_len: int = 15) -> Fades:
    """Runs of frames whose mean R, G, B lies below `threshold`: fades through black, nothing else."""
    return Fades(ThresholdDetector(threshold=threshold, min_scene_len=_natural(min_scene_len)), delay=FADE_FRAMES)
