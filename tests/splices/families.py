"""The set that detectors are compared on: families of short videos with typed truth, in two halves that share no film.

Each family varies one thing: how shots are joined, how alike neighbours are, or how the video was recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlst.records import Transition
from tests.splices.distractors import DISTRACTORS
from tests.splices.drawings import drawing
from tests.splices.joins import JOINS, Join
from tests.splices.mixed import VIEWS, material, view
from tests.splices.pictures import HEIGHT, RATE, Footage, Frames, load

Draw = Callable[[int], Frames]
"""The next so many frames; every call begins another shot."""
Film = Mapping[str, Sequence[Frames]]
"""Single shots by the film they are from."""

Signed = NDArray[np.int16]

CRFS = (18, 26, 35)
DRAWN = 8
"""Drawn shots of a half."""


@dataclass(frozen=True)
class Sample:
    """One video to render, and the truth about it."""

    name: str
    family: str
    frames: Frames
    truth: tuple[Transition, ...]
    """A cut that covers frames (the white ones of a flash cut) may be found at any of them."""
    pts: tuple[int, ...]
    """In 1/90000 s."""
    rate: int
    crf: int


@dataclass(frozen=True)
class Family:
    """Videos that have one difficulty in common."""

    name: str
    join: str
    neighbours: Callable[[Film, np.random.Generator], Draw]
    look: Callable[[Frames, np.random.Generator], Frames]
    rate: int
    variable: bool

    @property
    def goal(self) -> int:
        """F1 in % that a detector should reach: leaps within one shot are hardly to be seen."""
        if self.neighbours is one_take:
            return 60
        return 97 if JOINS[self.join].kind == "cut" else 93


def footage(spans: Sequence[Footage], clips: Path) -> dict[str, list[Frames]]:
    """The shots of a half, by file."""
    films: dict[str, list[Frames]] = {}
    for span in spans:
        films.setdefault(span.file, []).append(load(span, clips))
    return films


def drawn(seed: int) -> list[Frames]:
    """The drawn shots of a half."""
    return [drawing(DRAWN * seed + i, 140) for i in range(DRAWN)]


def strangers(films: Film, rng: np.random.Generator) -> Draw:
    """Neighbours from different films."""
    last = ""

    def draw(length: int) -> Frames:
        nonlocal last
        last = str(rng.choice([f for f in films if f != last]))
        return material(films[last][int(rng.integers(len(films[last])))], length, rng)

    return draw


def same_film(films: Film, rng: np.random.Generator) -> Draw:
    """Neighbours are different shots of the film that has most of them."""
    shots = max(films.values(), key=len)
    last = -1

    def draw(length: int) -> Frames:
        nonlocal last
        last = int(rng.choice([i for i in range(len(shots)) if i != last]))
        return material(shots[last], length, rng, mirrored=False)

    return draw


def views(films: Film, rng: np.random.Generator) -> Draw:
    """Neighbours are views of one scene: shot and reverse shot, heads before the same wall."""
    longest = [max(shots, key=len) for shots in films.values()]
    shot = longest[int(rng.integers(len(longest)))][:150]
    seen = [view(shot, *v) for v in VIEWS]
    last = -1

    def draw(length: int) -> Frames:
        nonlocal last
        last = int(rng.choice([i for i in range(len(seen)) if i != last]))
        return material(seen[last], length, rng, mirrored=False)

    return draw


JUMP = 3.0
"""How many times its usual change from frame to frame a shot changes in a leap that can be seen."""
LEAPS = range(12, 91)
"""Frames that a leap may leave out."""


def one_take(films: Film, rng: np.random.Generator) -> Draw:
    """Neighbours are parts of one shot, the frames between them left out: so many that the leap can be seen."""
    long = [s for shots in films.values() for s in shots if len(s) >= 100]
    seen = [shot for shot in long if max(_changes(_small(shot), 0)) >= JUMP * _pace(_small(shot))]
    shot = seen[int(rng.integers(len(seen)))]
    path = np.concatenate([np.arange(len(shot)), np.arange(len(shot) - 2, 0, -1)])
    small = _small(shot)[path]
    at = int(rng.integers(len(path)))

    def draw(length: int) -> Frames:
        nonlocal at
        frames: Frames = shot[path[(at + np.arange(length)) % len(path)]]
        changes = _changes(small, at + length - 1)
        visible = [n for n, change in zip(LEAPS, changes, strict=False) if change >= JUMP * _pace(small)]
        at += length + (visible[0] if visible else LEAPS[int(np.argmax(changes))])
        return frames

    return draw


def _small(shot: Frames) -> Signed:
    """Every fourth pixel of the luma."""
    return shot[:, :HEIGHT:4, ::4].astype(np.int16)


def _changes(small: Signed, at: int) -> list[float]:
    """Mean differences between frame `at` and those `LEAPS` later; the shot begins anew at its end."""
    return [float(np.abs(small[(at + n) % len(small)] - small[at % len(small)]).mean()) for n in LEAPS]


def _pace(small: Signed) -> float:
    """Mean difference of neighbouring frames, and one code for noise."""
    return float(np.abs(np.diff(small, axis=0)).mean()) + 1.0


def plain(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames


def night(frames: Frames, rng: np.random.Generator) -> Frames:
    """A quarter to two fifths of the light, and noise."""
    dark = frames.astype(np.float32)
    dark[:, :HEIGHT] = (dark[:, :HEIGHT] - 16) * rng.uniform(0.25, 0.4) + 16
    dark[:, HEIGHT:] = (dark[:, HEIGHT:] - 128) * 0.6 + 128
    return grain(np.rint(dark).astype(np.uint8), rng, 2.0)


def grain(frames: Frames, rng: np.random.Generator, strength: float = 9.0) -> Frames:
    """Film grain: normal noise on luma, the standard deviation in codes."""
    noise = rng.normal(0, strength, (HEIGHT * 2, frames.shape[-1])).astype(np.float32)
    made = frames.copy()
    for i, start in enumerate(rng.integers(0, HEIGHT, len(frames))):
        moved = np.roll(noise[start : start + HEIGHT], int(rng.integers(frames.shape[-1])), axis=1)
        made[i, :HEIGHT] = np.clip(np.rint(made[i, :HEIGHT] + moved), 16, 235)
    return made


FAMILIES = (
    Family("cut", "cut", strangers, plain, 30, False),
    Family("cut, one film", "cut", same_film, plain, 30, False),
    Family("cut, views of one scene", "cut", views, plain, 30, False),
    Family("cut, night", "cut", strangers, night, 30, False),
    Family("cut, grain", "cut", strangers, grain, 30, False),
    Family("cut, 15 fps", "cut", strangers, plain, 15, False),
    Family("cut, 60 fps", "cut", strangers, plain, 60, False),
    Family("cut, variable rate", "cut", strangers, plain, 30, True),
    Family("flash cut", "flash cut", strangers, plain, 30, False),
    Family("jump cut", "cut", one_take, plain, 30, False),
    Family("dissolve", "dissolve", strangers, plain, 30, False),
    Family("dissolve, eased", "eased dissolve", strangers, plain, 30, False),
    Family("dissolve, one film", "dissolve", same_film, plain, 30, False),
    Family("dissolve, views of one scene", "dissolve", views, plain, 30, False),
    Family("dissolve, night", "eased dissolve", strangers, night, 30, False),
    Family("dissolve, grain", "dissolve", strangers, grain, 30, False),
    Family("dissolve, 15 fps", "dissolve", strangers, plain, 15, False),
    Family("dissolve, 60 fps", "eased dissolve", strangers, plain, 60, False),
    Family("dissolve, variable rate", "dissolve", strangers, plain, 30, True),
    Family("fade, black", "fade to black", strangers, plain, 30, False),
    Family("fade, white", "fade to white", strangers, plain, 30, False),
    Family("fade, a colour", "fade to a colour", strangers, plain, 30, False),
    Family("dip to white", "dip to white", strangers, plain, 30, False),
    Family("wipe", "wipe", strangers, plain, 30, False),
    Family("iris", "iris", strangers, plain, 30, False),
    Family("clock", "clock", strangers, plain, 30, False),
    Family("push", "push", strangers, plain, 30, False),
    Family("slide", "slide", strangers, plain, 30, False),
    Family("zoom", "zoom", strangers, plain, 30, False),
)
CARTOONS = (
    Family("cut, cartoon", "cut", strangers, plain, 30, False),
    Family("dissolve, cartoon", "dissolve", strangers, plain, 30, False),
)
"""The same of drawn shots alone."""
VIDEOS, TRANSITIONS = 3, 7
"""Of each family in each half; each video at one of `CRFS`."""
OF_EACH_DISTRACTOR = 8


def samples(films: Film, seed: int) -> Iterator[Sample]:
    """The videos of one half, in a fixed order; `seed` tells the halves apart, also in what is drawn."""
    cartoons = {f"drawing {i}": [shot] for i, shot in enumerate(drawn(seed))}
    for number, family in enumerate((*FAMILIES, *CARTOONS)):
        material = cartoons if family in CARTOONS else films
        for i in range(VIDEOS):
            rng = np.random.default_rng((seed, number, i))
            yield spliced(family, material, rng, f"{family.name} {i}", CRFS[i % len(CRFS)])
    yield from single_shots({**films, **cartoons}, seed)


def spliced(family: Family, films: Film, rng: np.random.Generator, name: str, crf: int) -> Sample:
    """One video of a family."""
    join = JOINS[family.join]
    draw = family.neighbours(films, rng)
    frames, truth = joined(draw, [join] * TRANSITIONS, rng, family.rate / RATE)
    frames = family.look(frames, rng)
    pts = np.arange(len(frames)) * (90000 // family.rate)
    if family.variable:
        kept = np.flatnonzero(rng.random(len(frames)) >= 0.2)
        frames, pts = frames[kept], pts[kept]
        truth = [Transition(t.kind, *(int(np.searchsorted(kept, at)) for at in (t.start, t.end))) for t in truth]
    return Sample(name, family.name, frames, tuple(truth), tuple(map(int, pts)), family.rate, crf)


def joined(
    draw: Draw, joins: Sequence[Join], rng: np.random.Generator, speed: float
) -> tuple[Frames, list[Transition]]:
    """Shots of 18 to 50 frames joined by `joins`; at `speed` 2 everything lasts twice as many frames."""
    spans = [max(j.shortest, round(int(rng.integers(j.shortest, j.longest + 1)) * speed)) for j in joins]
    bodies = [round(int(body) * max(1.0, speed)) for body in rng.integers(18, 51, len(joins) + 1)]
    shots = [draw(a + body + b) for a, body, b in zip([0, *spans], bodies, [*spans, 0], strict=True)]
    parts, truth, at = [shots[0][: bodies[0]]], [], bodies[0]
    for join, span, body, old, new in zip(joins, spans, bodies[1:], shots, shots[1:], strict=False):
        if span:
            parts.append(join.mix(old[len(old) - span :], new[:span], rng))
        truth.append(Transition(join.kind, at, at + span))
        parts.append(new[span : span + body])
        at += span + body
    return np.concatenate(parts), truth


def single_shots(films: Film, seed: int) -> Iterator[Sample]:
    """Single shots of 80 frames, each with one distractor."""
    for number, (name, distract) in enumerate(DISTRACTORS.items()):
        rng = np.random.default_rng((seed, 1000 + number))
        draw = strangers(films, rng)
        for i in range(OF_EACH_DISTRACTOR):
            frames = np.ascontiguousarray(draw(80)).copy()
            distract(frames, int(rng.integers(20, 40)), rng)
            pts = tuple(range(0, len(frames) * 3000, 3000))
            yield Sample(f"{name} {i}", name, frames, (), pts, RATE, CRFS[i % len(CRFS)])
