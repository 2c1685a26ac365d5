"""Dissolves and wipes: runs of frames that lead from one picture to another in one of two ways.

The ends of a run are A and B, a frame between them F, and distances are measured between whole pictures. In a dissolve
F lies on the straight line from A to B. In a wipe every pixel is that of A or that of B, so |F-A|^2 + |F-B|^2 is about
|B-A|^2; a pan soon leaves both, and the sum becomes twice as large.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collection.detectors.arrangement import arranged
from collection.detectors.features import (
    Gram,
    Plane,
    Steps,
    Vector,
    alike,
    blend,
    coherence,
    detail,
    fading,
    is_dark,
    middle,
    spread,
    steps,
    unexplained,
)

LENGTHS = np.array([3, 4, 5, 7, 9, 11, 14, 17, 21, 26, 32, 39, 47, 57, 68])
"""Frames from the last of the old to the first of the new shot with which runs are looked for: each about 1.22 of the
one before. The 95 % quantile of the gradual transitions in ClipShots' test annotations is 35 frames."""
SAMPLES = np.arange(1, 8) / 8
"""Where in a run its frames are compared with the ends."""
OFFSETS = np.rint(LENGTHS[:, None] * SAMPLES).astype(int)
TIMES = OFFSETS / LENGTHS[:, None]
SETTLE = 8
"""Frames for which a better run may still replace one that was found."""

TRIES = 3
"""Runs that are looked at for one transition."""

DISTANCE = 9.0
"""Least root mean square difference of the ends, in codes."""
SAME_DETAIL, SAME_SPREAD = 0.4, 0.67
"""The ends show different things where `detail` is at most this and `spread` at least that: a dimmed lamp leaves a
detail of 0.8 and more, lettering that appears a spread below 0.6; 98 % of the dissolves and wipes of the tuning
footage have less than 0.3 and more than 0.7."""
LEAST_SPREAD, OTHER_DETAIL = 0.58, 0.2
"""Drawn pictures, which have large flat areas, are also told apart by less `spread` where there is less `detail`."""
FAINTER, NOT_FAINTER, MUCH_FAINTER, FAINTEST = 1.0, 0.8, 0.7, 0.3
"""How strong the edges in the middle of a dissolve are, the mean of its ends being 1: half as strong where the ends
have nothing in common. 95 % of dissolves stay below 0.8, motion and wipes are at 1."""
CLEAR, SHARPEST = 0.62, 0.75
"""How strong they are at least in the middle of a wipe (95 % have 0.65 and more), unless its pixels change over so
sharply."""
UNEXPLAINED, HARDLY_EXPLAINED = 0.74, 0.6
"""Share of its change that motion must leave unexplained in a dissolve: 0.2 to 0.6 in pans, 0.74 and more in 95 % of
dissolves. The second is enough where edges are `MUCH_FAINTER`."""
LIGHT, LIGHT_UNEXPLAINED = 0.95, 0.82
"""With more `coherence` than this it may be a lamp or a fire in a moving shot, and so much must be unexplained, unless
edges all but vanish."""

SHARP, SHARP_INSIDE, DISORDER, BREADTH = 0.57, 0.45, 0.11, 0.165
"""In a wipe pixels change over at one blow (`Steps.sharpness`), next to others that do (`disorder`), and not all at
once (`breadth`)."""

CALM = 0.5
"""Share of the way from A to B up to which pictures may change beside a run: a transition begins and ends."""
CALM_WIPE, ORDERLY = 0.65, 0.06
"""The same before wipes with at most so much `Steps.disorder`."""
LONGEST_WIPE, LONG_WIPE = 39, 26
"""Frames from A to B; over a longer time slow camera moves look like wipes."""
WIPE_UNEXPLAINED, LONG_WIPE_UNEXPLAINED = 0.65, 0.72
"""The same share for wipes, and for those longer than `LONG_WIPE`."""
FIRE, SHARPENING, SUDDEN = 0.97, 1.3, 10
"""`coherence` and strength of the edges in the middle, that of its ends being 1, above which a run of at most so many
frames is a fireball."""
BEFORE_WIPE, BEHIND_WIPE = 2, 1
"""Frames by which a wipe is taken for longer than its run: the first and last pixels that change are few. Of the wipes
of the tuning footage 95 % begin at most 5 frames before their run and 90 % end at most 3 behind it."""
SLACK = 0.06
"""Share of its frames that is added to a dissolve at either end: long ones are located up to 10 frames too short."""
CALM_DISSOLVE, BRIEF = 0.8, 5
"""The same for dissolves longer than so many frames, whose ends are hard to tell in moving shots."""
LONGEST_MOVE = 27
"""Frames from the last of the old to the first of the new shot that a push, slide or zoom takes at most."""
LONG, MOTION = 26, 0.13
"""In a steady dissolve of at least so many frames both shots move on, so that frames may lie so much farther off."""

Counts = NDArray[np.signedinteger]
Span = tuple[int, int]
"""Frames [start, end)."""
Found = tuple[str, Span]
"""Kind and frames of a transition."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of frames that may be a transition, unless a better one is found."""

    score: float
    first: int
    last: int
    """The frames compared: the last of the old and the first of the new shot, or nearly so."""


@dataclass(frozen=True, slots=True)
class Paths:
    """How the runs that end with one frame lead from their first picture A to their last B; one row per run."""

    first: Counts
    lengths: Counts
    """(n,) frames from A to B."""
    whole: Vector
    """(n,) distances of A and B, in codes."""
    time: Vector
    """(n, 7) where in the run the samples are, 0..1."""
    old: Vector
    new: Vector
    """(n, 7) squared distances of the samples from A and from B, those of A and B being 1."""
    along: Vector
    """(n, 7) how far the samples lie on the way from A to B: 0 at A, 1 at B."""
    uneven: Vector
    """(n,) by how much `along` differs from a steady rise."""
    jerk: Vector
    """(n,) by how much its largest step exceeds a steady one."""
    before: Vector
    """(n,) distances of A and the picture `SETTLE` frames earlier or half a run, those of A and B being 1."""


def paths(gram: Gram, last: int) -> Paths:
    """Of the runs of `LENGTHS` whose ends are at least `DISTANCE` apart."""
    known = np.searchsorted(LENGTHS, last, side="right")
    apart = gram.distances(last - LENGTHS[:known], last)
    which = np.flatnonzero(apart >= DISTANCE)
    lengths, time, whole = LENGTHS[which], TIMES[which], apart[which]
    first = last - lengths
    samples = first[:, None] + OFFSETS[which]
    old = (gram.distances(first[:, None], samples) / whole[:, None]) ** 2
    new = (gram.distances(samples, last) / whole[:, None]) ** 2
    before = gram.distances(np.maximum(0, first - AROUND[which]), first) / whole
    along = (old - new + 1) / 2
    late = along - time
    jerk = np.maximum(np.diff(late, axis=1).max(axis=1, initial=0.0), np.maximum(late[:, 0], -late[:, -1]))
    return Paths(first, lengths, whole, time, old, new, along, np.abs(late).max(axis=1, initial=0.0), jerk, before)


def _around(length: int) -> int:
    """How many frames beside a run are looked at."""
    return min(max(length // 2, 3), SETTLE)


AROUND = np.array([_around(int(length)) for length in LENGTHS])


def dissolves(runs: Paths, residual: float) -> Iterator[tuple[float, int]]:
    """(score, first frame) of runs close to the straight line from A to B that move along it steadily."""
    off = np.sqrt(np.maximum(runs.old - runs.along * runs.along, 0)).mean(axis=1)
    steady = (runs.lengths >= LONG) & (runs.first >= SETTLE) & (runs.uneven <= 0.13) & (runs.jerk <= 0.12)
    good = (off <= residual + np.where(steady, MOTION, 0)) & (runs.uneven <= 0.3) & (runs.jerk <= 0.2)
    good &= runs.before <= np.where(runs.lengths <= BRIEF, CALM, CALM_DISSOLVE)
    return _scored(runs, good, 1 - (1 - off - 1.5 * runs.uneven) * (1 - runs.before / 2))


def wipes(runs: Paths) -> Iterator[tuple[float, int]]:
    """(score, first frame) of runs whose frames are partly A and partly B, with ever more of B."""
    both = (runs.old + runs.new).mean(axis=1)
    good = (both >= 0.8) & (both <= 1.35) & (runs.uneven <= 0.3) & (runs.jerk <= 0.2)
    good &= (runs.before <= CALM_WIPE) & (runs.whole >= 1.5 * DISTANCE) & (runs.lengths <= LONGEST_WIPE)
    return _scored(runs, good, np.abs(both - 1) + runs.uneven)


def _scored(runs: Paths, good: NDArray[np.bool_], fault: Vector) -> Iterator[tuple[float, int]]:
    return ((float(runs.whole[i] * (1 - fault[i])), int(runs.first[i])) for i in np.flatnonzero(good))


class Gradual:
    """Finds transitions in one way: gathers the runs that end near the newest frame and keeps one that holds."""

    def __init__(self, gram: Gram, holds: Callable[[Gram, Run], Found | None]) -> None:
        self.gram, self._holds = gram, holds
        self._runs: dict[int, Run] = {}
        """The best of each length, of one transition."""

    @property
    def _best(self) -> Run:
        return max(self._runs.values(), key=lambda run: run.score)

    def push(self, found: Iterable[tuple[float, int]]) -> list[Found]:
        """Transitions that are certain now, given (score, first frame) of runs that end with the newest frame."""
        now = self.gram.count - 1
        done = self.finish() if self._runs and now > self._best.last + SETTLE else []
        for score, first in sorted(found, reverse=True):
            beyond = not self._runs or first >= self._best.last - 2
            rival = None if beyond else self._runs.get(now - first)
            if rival is not None and score <= rival.score:
                continue
            if differ(self.gram.luma(first), self.gram.luma(now)):
                done += self.finish() if beyond else []
                self._runs[now - first] = Run(score, first, now)
                break
        return done

    def finish(self) -> list[Found]:
        """The best run that holds, of the `TRIES` best whose surroundings are still known."""
        known = (run for run in self._runs.values() if run.first >= self.gram.count - self.gram.keep + SETTLE)
        best = sorted(known, key=lambda run: run.score, reverse=True)[:TRIES]
        self._runs = {}
        held = (self._holds(self.gram, run) for run in best)
        return list(itertools.islice(filter(None, held), 1))


def differ(a: Plane, b: Plane) -> bool:
    """Whether the ends of a run show different things, both lit, over a large part of the picture."""
    changed = spread(a, b)
    if changed < LEAST_SPREAD or is_dark(a) or is_dark(b):
        return False
    most = SAME_DETAIL if changed >= SAME_SPREAD else OTHER_DETAIL
    return detail(a, b) <= most and detail(middle(a), middle(b)) <= most


def mixture(gram: Gram, run: Run) -> Found | None:
    """A dissolve, or a wipe that looks like one; None if the old picture comes back, or motion or light explain it."""
    length = run.last - run.first
    if not _settles(gram, run, CALM if length <= BRIEF else CALM_DISSOLVE) or _step(gram, run) > 0.12 + 2 / length:
        return None
    a, m, b = (gram.luma(i) for i in (run.first, (run.first + run.last) // 2, run.last))
    fainter = fading(a, m, b)
    if fainter > FAINTER or _returns(gram, run):
        return None
    least = HARDLY_EXPLAINED if fainter <= MUCH_FAINTER else UNEXPLAINED
    lamp = fainter > FAINTEST and coherence(a, b) > LIGHT
    if not _unexplained(gram, run, LIGHT_UNEXPLAINED if lamp else least):
        return None
    start, end = blend(gram.between(run.first, run.last), gram.size).extent
    found = steps(gram.pictures(run.first, run.last))
    wiped = fainter > NOT_FAINTER and found.disorder <= ORDERLY and found.sharpness >= SHARP
    return "wipe" if wiped else "dissolve", widened(gram, run, (run.first + start, run.first + end))


def widened(gram: Gram, run: Run, span: Span) -> Span:
    """The span and the frames beside it, at most half as many on each side, where the picture still moves along; and
    `SLACK` more, since the first and last mixed frames hardly differ from the shots."""
    room = (span[1] - span[0]) // 2 + 1
    frames = np.arange(max(0, gram.count - gram.keep, span[0] - room - 2), min(gram.count, span[1] + room + 2))
    along = _along(gram, run, frames)
    pace = 0.4 / (run.last - run.first)
    start, end = (at - int(frames[0]) for at in span)
    while start >= 2 and along[start] - along[start - 2] > pace:
        start -= 1
    while end + 1 < len(along) and along[end + 1] - along[end - 1] > pace:
        end += 1
    slack = round(SLACK * (end - start))
    return max(0, int(frames[0]) + start - slack), int(frames[0]) + end + slack


def _along(gram: Gram, run: Run, frames: Counts) -> Vector:
    """How far each frame lies on the way from A to B: 0 at A, 1 at B."""
    old, new = gram.distances(frames, run.first), gram.distances(frames, run.last)
    return np.asarray((old**2 - new**2) / gram.distances(run.first, run.last) ** 2 + 1) / 2


def _step(gram: Gram, run: Run) -> float:
    """The largest step along the way from a frame of the run to the next: that of a cut is near 1."""
    return float(np.diff(_along(gram, run, np.arange(run.first, run.last + 1))).max())


def switch(gram: Gram, run: Run) -> Found | None:
    """A wipe; None if the old picture comes back or pixels do not change over one after the other."""
    length = run.last - run.first
    if run.first < SETTLE or _step(gram, run) > 0.15 + 2 / length or not _settles(gram, run, CALM):
        return None
    before = float(gram.distances(run.first - _around(length), run.first) / gram.distances(run.first, run.last))
    if before > CALM_WIPE or _returns(gram, run):
        return None
    pictures = gram.pictures(run.first, run.last)
    found, inner = steps(pictures), steps(pictures[:, 4:-4, 4:-4])
    if before > CALM and found.disorder > ORDERLY:
        return None
    a, m, b = (gram.luma(i) for i in (run.first, (run.first + run.last) // 2, run.last))
    edges = fading(a, m, b)
    if length <= SUDDEN and edges > SHARPENING and coherence(a, b) > FIRE:
        return None
    clear = found.sharpness >= SHARPEST or edges >= CLEAR
    least = WIPE_UNEXPLAINED if length <= LONG_WIPE else LONG_WIPE_UNEXPLAINED
    wiped = _stepwise(found, inner) and clear and _unexplained(gram, run, least)
    moved = length <= LONGEST_MOVE and arranged(gram, run.first, run.last) and _unexplained(gram, run, 0.5)
    return ("wipe", (run.first + 1 - BEFORE_WIPE, run.last + BEHIND_WIPE)) if wiped or moved else None


def _stepwise(found: Steps, inner: Steps) -> bool:
    """Whether pixels change over one after the other, those in the middle too: bars that slide in leave them alone."""
    sharp = found.sharpness >= SHARP and inner.sharpness >= max(SHARP_INSIDE, 0.75 * found.sharpness)
    return sharp and max(found.disorder, inner.disorder) <= DISORDER and found.breadth >= BREADTH


def _settles(gram: Gram, run: Run, calm: float) -> bool:
    """Whether the picture after the run stays, but for a share `calm` of the change across it."""
    later = min(gram.count - 1, run.last + _around(run.last - run.first))
    return bool(gram.distances(run.last, later) <= calm * gram.distances(run.first, run.last))


def _unexplained(gram: Gram, run: Run, share: float) -> bool:
    """Whether motion leaves at least `share` of the way to the middle of the run and on from it unexplained."""
    a, m, b = (gram.luma(i) for i in (run.first, (run.first + run.last) // 2, run.last))
    return sum(unexplained(p, q) for p, q in ((a, m), (m, a), (m, b), (b, m))) >= 4 * share


def _returns(gram: Gram, run: Run) -> bool:
    """Whether a picture from before the run resembles one after it."""
    before = np.arange(max(0, run.first - SETTLE), run.first + 1)
    after = np.arange(run.last, gram.count)
    apart = gram.distances(before[:, None], after[None, :])
    i, j = np.unravel_index(apart.argmin(), apart.shape)
    near = apart[i, j] <= gram.distances(run.first, run.last) / 2
    return bool(near and alike(gram.luma(int(before[i])), gram.luma(int(after[j]))))
