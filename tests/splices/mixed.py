"""Splices of all kinds of joins for unit tests: real single-shot footage, exact truth, distractors in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.records import Transition
from tests.splices.distractors import brightness_step, flash, freeze, whip_pan
from tests.splices.pictures import HEIGHT, WIDTH, Frames, black_frames, pack, planes


@dataclass(frozen=True)
class Recipe:
    """What a splice is made of."""

    transitions: int = 24
    kinds: tuple[tuple[str, float], ...] = (("cut", 0.5), ("dissolve", 0.3), ("fade", 0.2))
    """Kind and share."""
    distractors: float = 0.5
    """Chance that a shot contains one."""
    shortest: int = 10
    longest: int = 110
    """Frames of a shot without its transitions."""


@dataclass(frozen=True)
class Splice:
    """Frames and the truth about them."""

    frames: Frames
    transitions: tuple[Transition, ...]
    distractors: tuple[Transition, ...]
    """Kind and frames `[start, end)` of what must not be found."""


DISSOLVES = (2, 3, 6, 8, 11, 13, 16, 20, 23, 29, 36)
"""Lengths in frames: the deciles (0.02 to 0.95) of the 2301 gradual transitions in ClipShots' test annotations."""


def splice(shots: Sequence[Frames], recipe: Recipe, seed: int) -> Splice:
    """Shots drawn from `shots`, no two neighbours from the same, joined by `recipe.transitions` transitions."""
    rng = np.random.default_rng(seed)
    names, shares = zip(*recipe.kinds, strict=True)
    parts: list[Frames] = []
    truth: list[Transition] = []
    distractors: list[Transition] = []
    length = 0
    previous = -1
    kinds = [str(kind) for kind in rng.choice(names, recipe.transitions, p=np.array(shares) / sum(shares))]
    tails: Frames | None = None
    for kind in [*kinds, ""]:
        which = int(rng.choice([i for i in range(len(shots)) if i != previous]))
        head = _gradual_length(rng)
        body = int(np.clip(rng.lognormal(np.log(40), 0.7), recipe.shortest, recipe.longest))
        lead = len(tails) if tails is not None else 0
        taken = material(shots[which], lead + body + head, rng)
        if tails is not None:
            parts.append(_mix(tails, taken[:lead], truth[-1].kind))
        middle, rest = taken[lead : lead + body], taken[lead + body :]
        if rng.random() < recipe.distractors and body >= 24:
            changed, found = _distract(taken[lead:], body, rng)
            middle, rest = changed[:body], changed[body:]
            distractors.append(Transition(found.kind, length + found.start, length + found.end))
        parts.append(middle)
        length += body
        if kind == "cut":
            truth.append(Transition("cut", length, length))
            tails = None
        elif kind:
            tails = rest
            truth.append(Transition(kind, length, length + len(rest)))
            length += len(rest)
        previous = which
    return Splice(np.concatenate(parts), tuple(truth), tuple(distractors))


VIEWS = ((10, 20, 200, 112), (100, 30, 200, 112), (60, 60, 200, 112), (0, 0, 256, 144))
"""Left, top, width and height of four views of one scene, as cameras before the same wall would have them."""


def same_scene(frames: Frames, cuts: int, seed: int) -> Splice:
    """One shot seen by four cameras in turn: neighbours share the scene, its light and its colours. All are cuts."""
    rng = np.random.default_rng(seed)
    views = [view(frames, *window) for window in VIEWS]
    parts: list[Frames] = []
    truth: list[Transition] = []
    previous, length = -1, 0
    for n in range(cuts + 1):
        previous = int(rng.choice([i for i in range(len(views)) if i != previous]))
        parts.append(material(views[previous], int(rng.integers(20, 45)), rng, mirrored=False))
        length += len(parts[-1])
        if n < cuts:
            truth.append(Transition("cut", length, length))
    return Splice(np.concatenate(parts), tuple(truth), ())


def view(frames: Frames, left: int, top: int, width: int, height: int) -> Frames:
    """A part of every frame, enlarged to all of it."""

    def enlarged(plane: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        part = plane[top // scale : (top + height) // scale, left // scale : (left + width) // scale]
        return np.asarray(cv2.resize(part, (WIDTH // scale, HEIGHT // scale), interpolation=cv2.INTER_LINEAR))

    return np.stack(
        [pack(enlarged(y, 1), enlarged(u, 2), enlarged(v, 2)) for y, u, v in zip(*planes(frames), strict=True)]
    )


def _gradual_length(rng: np.random.Generator) -> int:
    at = rng.uniform(0, len(DISSOLVES) - 1)
    return round(float(np.interp(at, range(len(DISSOLVES)), DISSOLVES)))


def material(shot: Frames, length: int, rng: np.random.Generator, mirrored: bool = True) -> Frames:
    """`length` frames in a row, mirrored half of the time if wanted; footage that is too short goes to and fro."""
    start = int(rng.integers(0, max(1, len(shot) - length)))
    path = np.arange(start, start + length) % (2 * len(shot) - 2)
    frames = shot[np.where(path < len(shot), path, 2 * len(shot) - 2 - path)]
    if mirrored and rng.random() < 0.5:
        y, u, v = planes(frames)
        return pack(y[..., ::-1], u[..., ::-1], v[..., ::-1])
    return frames


def _mix(old: Frames, new: Frames, kind: str) -> Frames:
    """The frames of a transition; both shots go on moving. A fade falls to black, stays and rises again."""
    n = len(old)
    if kind == "dissolve":
        weight = (np.arange(1, n + 1) / (n + 1))[:, None, None]
        return np.rint(old * (1 - weight) + new * weight).astype(np.uint8)
    black = black_frames(n)
    rise = (n + 2) // 3
    at = np.arange(1, n + 1)
    falling = np.clip(at / rise, 0, 1)[:, None, None]
    rising = np.clip((n + 1 - at) / rise, 0, 1)[:, None, None]
    first = (at <= (n + 1) // 2)[:, None, None]
    mixed = np.where(first, old * (1 - falling) + black * falling, new * (1 - rising) + black * rising)
    return np.rint(mixed).astype(np.uint8)


def _distract(frames: Frames, body: int, rng: np.random.Generator) -> tuple[Frames, Transition]:
    """The frames with one distractor, which is over by frame `body`; what it moves or dims stays so."""
    name = str(rng.choice(sorted(DISTRACTORS)))
    start = int(rng.integers(6, body - 17))
    changed = frames.copy()
    length = DISTRACTORS[name](changed, start, rng)
    return changed, Transition(name, start, start + length)


DISTRACTORS: dict[str, Callable[[Frames, int, np.random.Generator], int]] = {
    "flash": flash,
    "brightness": brightness_step,
    "freeze": freeze,
    "whip": whip_pan,
}
