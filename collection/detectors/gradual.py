"""Dissolves and wipes: runs of frames that lead from one picture to another in one of two ways.

The ends of a run are A and B, a frame between them F, and distances are measured between whole pictures. In a dissolve
F lies on the straight line from A to B. In a wipe every pixel is that of A or that of B, so |F-A|^2 + |F-B|^2 is about
|B-A|^2; a pan soon leaves both, and the sum becomes twice as large.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collection.detectors.arrangement import arranged
from collection.detectors.features import (
    Gram,
    Plane,
    Vector,
    alike,
    blend,
    detail,
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
SETTLE = 8
"""Frames for which a better run may still replace one that was found."""

DISTANCE = 9.0
"""Least root mean square difference of the ends, in codes."""
SAME_DETAIL, SAME_SPREAD = 0.45, 0.6
"""The ends show different things where `detail` is at most this and `spread` at least that: a dimmed lamp leaves a
detail of 0.8 and more, lettering that appears a spread below 0.6."""
UNEXPLAINED = 0.74
"""Share of its change that motion must leave unexplained in a dissolve: 0.2 to 0.6 in pans, 0.76 and more in
dissolves."""

SHARP, SHARP_INSIDE, DISORDER, BREADTH = 0.6, 0.45, 0.12, 0.18
"""In a wipe pixels change over at one blow (`Steps.sharpness`), next to others that do (`disorder`), and not all at
once (`breadth`)."""

CALM = 0.5
"""Share of the way from A to B up to which pictures may change beside a run: a transition begins and ends."""
CALM_DISSOLVE, BRIEF = 0.8, 5
"""The same for dissolves longer than so many frames, whose ends are hard to tell in moving shots."""
LONGEST_MOVE = 27
"""Frames from the last of the old to the first of the new shot that a push, slide or zoom takes at most."""
LONG, MOTION = 26, 0.13
"""In a steady dissolve of at least so many frames both shots move on, so that frames may lie so much farther off."""

Counts = NDArray[np.signedinteger]
Span = tuple[int, int]
"""Frames [start, end)."""


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
    before: Vector
    """(n,) distances of A and the picture `SETTLE` frames earlier or half a run, those of A and B being 1."""


def paths(gram: Gram, last: int) -> Paths:
    """Of the runs of `LENGTHS` whose ends are at least `DISTANCE` apart."""
    lengths = LENGTHS[last >= LENGTHS]
    whole = gram.distances(last - lengths, last)
    far = whole >= DISTANCE
    lengths, whole = lengths[far], whole[far]
    first = last - lengths
    samples = first[:, None] + np.rint(lengths[:, None] * SAMPLES).astype(int)
    old = (gram.distances(first[:, None], samples) / whole[:, None]) ** 2
    new = (gram.distances(samples, last) / whole[:, None]) ** 2
    before = gram.distances(np.maximum(0, first - _around(lengths)), first) / whole
    return Paths(first, lengths, whole, (samples - first[:, None]) / lengths[:, None], old, new, before)


def _around(lengths: Counts) -> Counts:
    """How many frames beside a run are looked at."""
    return np.clip(lengths // 2, 3, SETTLE)


def dissolves(runs: Paths, residual: float) -> Iterator[tuple[float, int]]:
    """(score, first frame) of runs close to the straight line from A to B that move along it steadily."""
    along = (runs.old - runs.new + 1) / 2
    off = np.sqrt(np.maximum(runs.old - along * along, 0)).mean(axis=1)
    uneven = np.abs(along - runs.time).max(axis=1)
    jerk = _jerk(along, runs.time)
    steady = (runs.lengths >= LONG) & (runs.first >= SETTLE) & (uneven <= 0.13) & (jerk <= 0.12)
    good = (off <= residual + np.where(steady, MOTION, 0)) & (uneven <= 0.3) & (jerk <= 0.2)
    good &= runs.before <= np.where(runs.lengths <= BRIEF, CALM, CALM_DISSOLVE)
    scores = runs.whole * (1 - off - 1.5 * uneven)
    return ((float(scores[i]), int(runs.first[i])) for i in np.flatnonzero(good))


def wipes(runs: Paths) -> Iterator[tuple[float, int]]:
    """(score, first frame) of runs whose frames are partly A and partly B, with ever more of B."""
    both = (runs.old + runs.new).mean(axis=1)
    along = (runs.old - runs.new + 1) / 2
    uneven = np.abs(along - runs.time).max(axis=1)
    good = (both >= 0.8) & (both <= 1.35) & (uneven <= 0.3) & (_jerk(along, runs.time) <= 0.2)
    good &= (runs.before <= CALM) & (runs.whole >= 1.5 * DISTANCE)
    scores = runs.whole * (1 - np.abs(both - 1) - uneven)
    return ((float(scores[i]), int(runs.first[i])) for i in np.flatnonzero(good))


def _jerk(along: Vector, time: Vector) -> Vector:
    """(n,) by how much the largest step along the run exceeds a steady one."""
    edges = ((0, 0), (1, 1))
    ends = ((0.0, 0.0), (0.0, 1.0))
    progress = np.diff(np.pad(along, edges, constant_values=ends), axis=1)
    return np.asarray((progress - np.diff(np.pad(time, edges, constant_values=ends), axis=1)).max(axis=1))


class Gradual:
    """Finds the transitions of one kind: looks at the runs that end with the newest frame and keeps the best."""

    def __init__(self, gram: Gram, holds: Callable[[Gram, Run], Span | None]) -> None:
        self.gram, self._holds = gram, holds
        self._best: Run | None = None

    def push(self, found: Iterable[tuple[float, int]]) -> list[Span]:
        """Transitions that are certain now, given (score, first frame) of runs that end with the newest frame."""
        now = self.gram.count - 1
        done = self.finish() if self._best is not None and now > self._best.last + SETTLE else []
        for score, first in sorted(found, reverse=True):
            if self._best is not None and first < self._best.last - 2 and score <= self._best.score:
                break
            if differ(self.gram.luma(first), self.gram.luma(now)):
                if self._best is not None and first >= self._best.last - 2:
                    done += self.finish()
                self._best = Run(score, first, now)
                break
        return done

    def finish(self) -> list[Span]:
        """The best run, if it holds."""
        best, self._best = self._best, None
        span = self._holds(self.gram, best) if best is not None else None
        return [span] if span is not None else []


def differ(a: Plane, b: Plane) -> bool:
    """Whether the ends of a run show different things, both lit, over a large part of the picture."""
    if is_dark(a) or is_dark(b):
        return False
    return spread(a, b) >= SAME_SPREAD and detail(a, b) <= SAME_DETAIL and detail(middle(a), middle(b)) <= SAME_DETAIL


def mixture(gram: Gram, run: Run) -> Span | None:
    """The frames of a dissolve; None if the old picture comes back or motion explains the change."""
    if _returns(gram, run) or not _settles(gram, run, CALM if run.last - run.first <= BRIEF else CALM_DISSOLVE):
        return None
    if not _unexplained(gram, run, UNEXPLAINED):
        return None
    if _step(gram, run) > 0.12 + 2 / (run.last - run.first):
        return None
    start, end = blend(gram.between(run.first, run.last), gram.size).extent
    return widened(gram, run, (run.first + start, run.first + end))


def widened(gram: Gram, run: Run, span: Span) -> Span:
    """The span and the frames beside it, at most half as many on each side, where the picture still moves along."""
    room = (span[1] - span[0]) // 2 + 1
    frames = np.arange(max(0, span[0] - room - 2), min(gram.count, span[1] + room + 2))
    along = _along(gram, run, frames)
    pace = 0.4 / (run.last - run.first)
    start, end = (at - int(frames[0]) for at in span)
    while start >= 2 and along[start] - along[start - 2] > pace:
        start -= 1
    while end + 1 < len(along) and along[end + 1] - along[end - 1] > pace:
        end += 1
    return int(frames[0]) + start, int(frames[0]) + end


def _along(gram: Gram, run: Run, frames: Counts) -> Vector:
    """How far each frame lies on the way from A to B: 0 at A, 1 at B."""
    old, new = gram.distances(frames, run.first), gram.distances(frames, run.last)
    return np.asarray((old**2 - new**2) / gram.distances(run.first, run.last) ** 2 + 1) / 2


def _step(gram: Gram, run: Run) -> float:
    """The largest step along the way from a frame of the run to the next: that of a cut is near 1."""
    return float(np.diff(_along(gram, run, np.arange(run.first, run.last + 1))).max())


def switch(gram: Gram, run: Run) -> Span | None:
    """The frames of a wipe; None if the old picture comes back or pixels do not change over one after the other."""
    length = run.last - run.first
    if run.first < SETTLE or _returns(gram, run) or _step(gram, run) > 0.15 + 2 / length:
        return None
    if not _settles(gram, run, CALM):
        return None
    wiped = _stepwise(gram, run) and _unexplained(gram, run, 0.65)
    moved = length <= LONGEST_MOVE and arranged(gram, run.first, run.last)
    return (run.first + 1, run.last) if wiped or moved else None


def _stepwise(gram: Gram, run: Run) -> bool:
    """Whether pixels change over one after the other, those in the middle too: bars that slide in leave them alone."""
    pictures = gram.pictures(run.first, run.last)
    found, inner = steps(pictures), steps(pictures[:, 4:-4, 4:-4])
    sharp = found.sharpness >= SHARP and inner.sharpness >= SHARP_INSIDE
    return sharp and found.disorder <= DISORDER and found.breadth >= BREADTH


def _settles(gram: Gram, run: Run, calm: float) -> bool:
    """Whether the picture after the run stays, but for a share `calm` of the change across it."""
    later = min(gram.count - 1, run.last + int(_around(np.array(run.last - run.first))))
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
