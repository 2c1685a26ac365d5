"""TransNetV2 (Soucek and Lokoc 2020, arXiv:2008.04838) from an ONNX file of the user's; no weights come with us.

The network sees windows of 100 frames, 50 apart, and is believed for the middle 50 of each, as in its authors' code.
"""

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors.registry import detector
from collection.detectors.thumbs import Bytes, Thumb
from mlst.records import Transition

WIDTH, HEIGHT = 48, 27
WINDOW, STEP = 100, 50
CONTEXT = (WINDOW - STEP) // 2

Predict = Callable[[Bytes], NDArray[np.float32]]
"""(100, 27, 48, 3) R, G, B to (100,) probabilities that a frame is the last before, or inside, a transition."""


class Windows:
    """Feeds frames to the network and turns its probabilities into transitions."""

    delay = WINDOW + STEP
    """Window and context; a transition of more than `STEP` + 1 frames is reported late."""

    def __init__(self, predict: Predict, threshold: float) -> None:
        self.predict, self.threshold = predict, threshold
        self._frames: list[Bytes] = []
        self._next = 0
        """Number of the first frame that has no probability yet."""
        self._rise = -1
        """First frame of the run above the threshold, -1 outside of one."""

    def push(self, thumb: Thumb) -> list[Transition]:
        frame = np.asarray(cv2.resize(thumb.bgr(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., ::-1], np.uint8)
        if not self._frames:
            self._next = thumb.index
            self._frames = [frame] * CONTEXT
        self._frames.append(frame)
        return self._window(STEP) if len(self._frames) == WINDOW else []

    def finish(self) -> list[Transition]:
        found: list[Transition] = []
        left = len(self._frames) - CONTEXT
        while left > 0:
            self._frames += self._frames[-1:] * (WINDOW - len(self._frames))
            found += self._window(min(STEP, left))
            left -= STEP
        return found

    def _window(self, believed: int) -> list[Transition]:
        chances = self.predict(np.stack(self._frames))[CONTEXT : CONTEXT + believed]
        self._frames = self._frames[STEP:]
        return [t for chance in chances for t in self._step(bool(chance > self.threshold))]

    def _step(self, above: bool) -> list[Transition]:
        """The authors' rule: a shot ends with the first frame above the threshold, the next begins after the last."""
        at, self._next = self._next, self._next + 1
        if above and self._rise < 0:
            self._rise = at
        if above or self._rise < 0:
            return []
        start, self._rise = self._rise + 1, -1
        return [Transition("cut" if start == at else "dissolve", start, at)]


@detector
def transnetv2(_: Fraction, *, model: str = "", sha256: str = "", threshold: float = 0.5) -> Windows:
    """TransNetV2 from the ONNX file `model`; long transitions of all kinds are called dissolves.

    The recipe names the file's sha256, so that it says which weights found the shots, and other weights are another
    recipe.
    """
    try:
        weights = Path(model).read_bytes()
    except OSError as why:
        what = f"model = {model!r} cannot be read ({why.strerror})"
        raise ValueError(f"{what}; give the path of TransNetV2 exported to ONNX") from None
    if (found := hashlib.sha256(weights).hexdigest()) != sha256:
        raise ValueError(f"{model} has sha256 = {found!r}, the recipe says {sha256!r}")
    try:
        import onnxruntime  # noqa: PLC0415 - optional, and heavy
    except ImportError:
        raise ValueError("it needs ONNX Runtime; install it with `pip install onnxruntime`") from None
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(frames: Bytes) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: frames[None]})[0], np.float32).reshape(-1)

    return Windows(predict, threshold)
