"""What must not be taken for a transition, put into single shots.

Every function changes frames in place from `start` on and returns for how many; what it moves or dims may stay so.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.splices.pictures import HEIGHT, WIDTH, Frames, pack, planes

Vector = NDArray[np.float64]


def flash(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """One to three frames towards white, decaying: lightning, photographers."""
    n = int(rng.integers(1, 4))
    strength = rng.uniform(0.45, 0.9) * np.linspace(1, 0.6, n)
    for i, s in enumerate(strength):
        y = frames[start + i, :HEIGHT]
        y[:] = np.rint(y + (235 - y.astype(float)) * s)
        chroma = frames[start + i, HEIGHT:]
        chroma[:] = np.rint(128 + (chroma.astype(float) - 128) * (1 - s))
    return n


def brightness_step(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """A lamp goes on or off: from here on luma is multiplied."""
    gain = float(rng.choice([0.55, 0.7, 1.35, 1.6]))
    y = frames[start:, :HEIGHT]
    y[:] = np.clip(np.rint((y.astype(float) - 16) * gain) + 16, 16, 235)
    return 1


def freeze(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """The picture stands still and then goes on from where it would have been."""
    n = int(rng.integers(5, 16))
    frames[start : start + n] = frames[start]
    return n


def whip_pan(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """The camera is swung by one to two picture widths within 8 to 14 frames, blurring as it goes."""
    n = int(rng.integers(8, 15))
    total = float(rng.uniform(1.0, 2.0)) * WIDTH * (1 if rng.random() < 0.5 else -1)
    phase = np.arange(0, len(frames) - start + 1) / n
    path = total * np.where(phase < 1, (1 - np.cos(np.pi * np.minimum(phase, 1))) / 2, 1)
    for i in range(1, len(frames) - start):
        y, u, v = planes(frames[start + i])
        speed = abs(path[i] - path[i - 1])
        frames[start + i] = pack(
            *(_shift(p, path[i] * p.shape[1] / WIDTH, speed * p.shape[1] / WIDTH) for p in (y, u, v))
        )
    return n


def _shift(plane: NDArray[np.uint8], by: float, blur: float) -> NDArray[np.uint8]:
    """Moved sideways into its own mirror images; motion blur over `blur` pixels."""
    width = plane.shape[1]
    columns = (np.arange(width) + round(by)) % (2 * width)
    moved = plane[:, np.where(columns < width, columns, 2 * width - 1 - columns)]
    size = max(1, round(blur))
    return np.asarray(cv2.blur(moved, (size, 1)))


def dimmed(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """A lamp is dimmed, or turned up, within 5 to 30 frames."""
    n = int(rng.integers(5, 31))
    last = float(rng.choice([0.3, 0.5, 0.7, 1.4]))
    gains = 1 + (last - 1) * np.minimum(1, np.arange(1, len(frames) - start + 1) / n)
    _scale_luma(frames[start:], gains)
    return n


def strobe(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """A flash of one frame every 2 to 4 frames."""
    period = int(rng.integers(2, 5))
    for i in range(0, 16, period):
        _whiten(frames[start + i], 0.8)
    return 16


def shake(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """A blow to the camera: it jumps to and fro and comes to rest."""
    n = int(rng.integers(6, 16))
    offsets = rng.normal(0, 0.08 * WIDTH, n) * np.linspace(1, 0.2, n)
    for i, offset in enumerate(offsets):
        frames[start + i] = _moved(frames[start + i], float(offset), 0.0)
    return n


def occluder(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """Somebody walks by close to the camera, out of focus and dark."""
    n = int(rng.integers(8, 28))
    width = rng.uniform(0.3, 0.9)
    luma = float(rng.integers(20, 90))
    side = np.linspace(0, 1, WIDTH)[None, :] + np.zeros((HEIGHT, 1))
    for i in range(n):
        centre = (i + 0.5) / n * (1 + width) - width / 2
        cover = np.clip((width / 2 - np.abs(side - centre)) / 0.06, 0, 1)
        _paint(frames[start + i], cover, (luma, 126.0, 130.0))
    return n


def explosion(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """A fireball fills the picture within 3 to 9 frames and burns down within 25; smoke stays for a while."""
    grow, burn = int(rng.integers(3, 10)), 25
    x, y = rng.uniform(0.3, 0.7, 2)
    rows, columns = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    distance = np.hypot(columns - x, (rows - y) * HEIGHT / WIDTH)
    ragged = cv2.resize(rng.normal(0, 0.12, (9, 16)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for i in range(grow + burn):
        size = min(1.0, (i + 1) / grow) * 0.8
        fire = np.clip((size - distance + ragged) / 0.08, 0, 1) * min(1.0, (grow + burn - i) / burn) ** 1.5
        heat = max(0.0, 1 - max(0, i - grow) / (0.7 * burn))
        _paint(frames[start + i], fire, (90 + 130 * heat, 128 - 60 * heat, 128 + 45 * heat))
    return grow + burn


def letterbox(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """Bars of black come or go above and below, or on both sides, at once or within 12 frames."""
    bar = rng.uniform(0.1, 0.2)
    n = int(rng.choice([1, 12]))
    comes = bool(rng.random() < 0.5)
    across = np.linspace(0, 1, HEIGHT)[:, None] if rng.random() < 0.7 else np.linspace(0, 1, WIDTH)[None, :]
    edge = np.minimum(across, 1 - across) + np.zeros((HEIGHT, WIDTH))
    for i, frame in enumerate(frames):
        progress = np.clip((i - start + 1) / n, 0, 1)
        size = bar * (progress if comes else 1 - progress)
        _paint(frame, (edge < size).astype(np.float64), (16.0, 128.0, 128.0))
    return n


def title(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """Lettering appears over the picture, at once or within 15 frames, and stays."""
    n = int(rng.choice([1, 15]))
    words = "".join(rng.choice(list("MLST VIDEO"), 9))
    ink = np.zeros((HEIGHT, WIDTH), np.uint8)
    where = (int(rng.integers(5, 60)), int(rng.integers(60, 160)))
    cv2.putText(ink, words, where, cv2.FONT_HERSHEY_DUPLEX, float(rng.uniform(0.9, 1.8)), 255, 3, cv2.LINE_AA)
    for i, frame in enumerate(frames[start:]):
        _paint(frame, ink / 255 * min(1.0, (i + 1) / n), (230.0, 128.0, 128.0))
    return n


def crane(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """The camera glides over the scene from the first frame on, up and sideways, 0.5 to 1.5 pixels per frame."""
    speed = float(rng.uniform(0.5, 1.5)) * (1 if rng.random() < 0.5 else -1)
    for i, frame in enumerate(frames):
        frames[i] = window(frame, 0.6, 0.5 + speed * (i / len(frames) - 0.5), 0.9 - 0.8 * i / len(frames))
    return len(frames) - start


def fast_zoom(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """A zoom in by 1.5 to 2.5 within 8 to 20 frames."""
    n = int(rng.integers(8, 21))
    factor = float(rng.uniform(1.5, 2.5))
    for i, frame in enumerate(frames[start:]):
        frames[start + i] = window(frame, factor ** -min(1.0, (i + 1) / n), 0.5, 0.5)
    return n


def nothing(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """The shot as it is."""
    return 0


def _scale_luma(frames: Frames, gains: Vector) -> None:
    y = frames[:, :HEIGHT].astype(np.float32) - 16
    frames[:, :HEIGHT] = np.clip(np.rint(y * gains[:, None, None].astype(np.float32)) + 16, 16, 235)


def _whiten(frame: Frames, strength: float) -> None:
    _paint(frame, np.full((HEIGHT, WIDTH), strength), (235.0, 128.0, 128.0))


def _paint(frame: Frames, cover: Vector, colour: tuple[float, float, float]) -> None:
    """Lay a colour over one frame; `cover` (180, 320) is 0 where the frame stays."""
    for plane, code, weight in zip(planes(frame), colour, (cover, cover[::2, ::2], cover[::2, ::2]), strict=True):
        plane[:] = np.rint(plane + (code - plane.astype(np.float32)) * weight)


def _moved(frame: Frames, by: float, blur: float) -> Frames:
    return pack(*(_shift(p, by * p.shape[1] / WIDTH, blur * p.shape[1] / WIDTH) for p in planes(frame)))


def window(frame: Frames, share: float, x: float, y: float) -> Frames:
    """The part of a frame that is `share` of its width and height, at (x, y) in 0..1 of the room it has, enlarged."""

    def enlarged(plane: Frames) -> Frames:
        height, width = plane.shape
        left, top = (np.clip(at, 0, 1) * (1 - share) * size for at, size in ((x, width), (y, height)))
        matrix = np.array([[share, 0, left], [0, share, top]])
        return np.asarray(
            cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        )

    return pack(*map(enlarged, planes(frame)))


DISTRACTORS: dict[str, Callable[[Frames, int, np.random.Generator], int]] = {
    "nothing": nothing,
    "flash": flash,
    "lamp": brightness_step,
    "dimmed lamp": dimmed,
    "strobe": strobe,
    "freeze": freeze,
    "letterbox": letterbox,
    "occluder": occluder,
    "whip pan": whip_pan,
    "shake": shake,
    "fast zoom": fast_zoom,
    "explosion": explosion,
    "title": title,
    "crane": crane,
}
