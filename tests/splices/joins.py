"""How one shot turns into the next: the frames between them, and what they are called."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.splices.pictures import HEIGHT, WIDTH, Frames, pack, planes

Vector = NDArray[np.float64]
Mix = Callable[[Frames, Frames, np.random.Generator], Frames]
"""`n` frames of the old and of the new shot, which both go on moving -> the `n` frames of the transition."""


@dataclass(frozen=True)
class Join:
    """A kind of transition at 30 frames per second."""

    kind: str
    """What a detector must call it."""
    shortest: int
    longest: int
    mix: Mix


def rise(n: int) -> Vector:
    """(n,) shares of the new shot, equally far apart, without 0 and 1."""
    return np.asarray(np.arange(1, n + 1) / (n + 1))


def eased(share: Vector) -> Vector:
    """Slow at both ends, as editing programs draw it."""
    return share * share * (3 - 2 * share)


def dissolve(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    return _blend(old, new, rise(len(old)))


def eased_dissolve(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    return _blend(old, new, eased(rise(len(old))))


def fade(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """To black, which stays for a third, and up again."""
    return _through(old, new, (16, 128, 128))


def fade_white(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    return _through(old, new, (235, 128, 128))


def fade_colour(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    y, u, v = rng.integers((40, 60, 60), (220, 200, 200))
    return _through(old, new, (int(y), int(u), int(v)))


def dip(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """Up to white and down again without a stop."""
    share = rise(len(old))
    white = _flat(len(old), (235, 128, 128))
    first = (share <= 0.5)[:, None, None]
    return _blend(np.where(first, old, new), white, np.maximum(0, 1 - 2 * np.abs(share - 0.5)) ** 0.5)


def flash_cut(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """A cut whose first frames are overexposed."""
    return _blend(new, _flat(len(new), (235, 128, 128)), np.linspace(0.9, 0.4, len(new)))


def wipe(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """An edge, hard or soft, crosses the picture at one of eight angles."""
    angle = rng.integers(8) * np.pi / 4
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return _masked(old, new, columns * np.cos(angle) + rows * np.sin(angle), rng)


def iris(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """A circle opens upon the new shot, or closes over the old one."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    radius = np.hypot(columns, rows * HEIGHT / WIDTH)
    return _masked(old, new, radius if rng.random() < 0.5 else -radius, rng)


def clock(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """A hand goes round."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    turn = np.arctan2(columns, -rows) % (2 * np.pi)
    return _masked(old, new, turn if rng.random() < 0.5 else -turn, rng)


def push(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """The new shot pushes the old one out."""
    side = int(rng.integers(4))
    return _arranged(
        old, new, rng, lambda a, b, share: _slid(np.concatenate([a, b], _axis(side)), a.shape, side, share)
    )


def slide(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """The new shot slides over the old one, which stays where it is."""
    side = int(rng.integers(4))

    def laid(a: Frames, b: Frames, share: float) -> Frames:
        pushed = _slid(np.concatenate([a, b], _axis(side)), a.shape, side, share)
        size = a.shape[_axis(side)]
        covered = np.arange(size) >= size - round(share * size)
        if side >= 2:
            covered = covered[::-1]
        return np.where(covered[None, :] if _axis(side) else covered[:, None], pushed, a)

    return _arranged(old, new, rng, laid)


def zoom(old: Frames, new: Frames, rng: np.random.Generator) -> Frames:
    """The new shot grows out of the middle over the old one."""

    def grown(a: Frames, b: Frames, share: float) -> Frames:
        height, width = (max(2, round(share * size)) for size in a.shape)
        top, left = (a.shape[0] - height) // 2, (a.shape[1] - width) // 2
        laid = a.copy()
        laid[top : top + height, left : left + width] = cv2.resize(b, (width, height), interpolation=cv2.INTER_AREA)
        return laid

    return _arranged(old, new, rng, grown)


def _flat(n: int, colour: tuple[int, int, int]) -> Frames:
    y, u, v = colour
    half = (n, HEIGHT // 2, WIDTH // 2)
    return pack(np.full((n, HEIGHT, WIDTH), y, np.uint8), np.full(half, u, np.uint8), np.full(half, v, np.uint8))


def _blend(old: Frames, new: Frames, share: Vector) -> Frames:
    weight = share.astype(np.float32)[:, None, None]
    return np.rint(old * (1 - weight) + new * weight).astype(np.uint8)


def _through(old: Frames, new: Frames, colour: tuple[int, int, int]) -> Frames:
    """To a colour that stays for a third of the time, and on from it."""
    n = len(old)
    at, ramp = np.arange(1, n + 1), (n + 2) // 3
    flat = np.minimum(np.clip(at / ramp, 0, 1), np.clip((n + 1 - at) / ramp, 0, 1))
    return _blend(np.where((at <= (n + 1) // 2)[:, None, None], old, new), _flat(n, colour), flat)


def _masked(old: Frames, new: Frames, order: Vector, rng: np.random.Generator) -> Frames:
    """Every pixel changes over when its turn comes: those of the least `order` (180, 320) first."""
    order = (order - order.min()) / np.ptp(order)
    soft = float(rng.choice([0.02, 0.12]))
    made = []
    for a, b, share in zip(old, new, rise(len(old)), strict=True):
        cover = np.clip((share * (1 + soft) - order) / soft, 0, 1)
        weights = (cover, cover[::2, ::2], cover[::2, ::2])
        mixed = (
            np.rint(p + (q - p.astype(np.float32)) * w) for p, q, w in zip(planes(a), planes(b), weights, strict=True)
        )
        made.append(pack(*(p.astype(np.uint8) for p in mixed)))
    return np.stack(made)


def _arranged(
    old: Frames, new: Frames, rng: np.random.Generator, arrange: Callable[[Frames, Frames, float], Frames]
) -> Frames:
    """Plane by plane, at a steady speed or eased."""
    shares = rise(len(old)) if rng.random() < 0.5 else eased(rise(len(old)))
    return np.stack(
        [
            pack(*(arrange(p, q, float(share)) for p, q in zip(planes(a), planes(b), strict=True)))
            for a, b, share in zip(old, new, shares, strict=True)
        ]
    )


def _axis(side: int) -> int:
    return 1 if side % 2 == 0 else 0


def _slid(both: Frames, shape: tuple[int, ...], side: int, share: float) -> Frames:
    """The window on two planes side by side after `share` of the way; on sides 2 and 3 it goes the other way."""
    axis = _axis(side)
    size = shape[axis]
    by = round(share * size)
    if side >= 2:
        both = np.roll(both, size, axis)
        by = size - by
    return both[:, by : by + size] if axis else both[by : by + size]


JOINS: dict[str, Join] = {
    "cut": Join("cut", 0, 0, dissolve),
    "flash cut": Join("cut", 1, 3, flash_cut),
    "dissolve": Join("dissolve", 3, 64, dissolve),
    "eased dissolve": Join("dissolve", 3, 64, eased_dissolve),
    "fade to black": Join("fade", 6, 45, fade),
    "fade to white": Join("fade", 6, 45, fade_white),
    "fade to a colour": Join("fade", 6, 45, fade_colour),
    "dip to white": Join("fade", 5, 14, dip),
    "wipe": Join("wipe", 6, 40, wipe),
    "iris": Join("wipe", 6, 40, iris),
    "clock": Join("wipe", 6, 40, clock),
    "push": Join("wipe", 5, 24, push),
    "slide": Join("wipe", 5, 24, slide),
    "zoom": Join("wipe", 5, 24, zoom),
}
