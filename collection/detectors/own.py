"""`mlst`: cuts, dissolves and fades told apart on small YUV pictures, with a flash veto.

A cut is one large change among small ones, after which the picture stays different in structure and histogram and
which motion does not explain. A dissolve is a run of frames that lie on a straight line between the frame before and
the frame after it. A fade is a dark run together with the ramps that lead into and out of it. The thresholds were set
on the tuning footage of `tests/splices.py` and judged on its hold-out footage; docs/shots.md has the figures.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from collection.detectors.features import (
    Gram,
    Plane,
    Small,
    blend,
    change,
    detail,
    histogram_change,
    spread,
    structure,
    summary,
    unexplained,
)
from collection.detectors.registry import detector
from collection.detectors.thumbs import Thumb
from mlst.records import Transition

NEIGHBOURS = 3
"""Frames on both sides of a cut with whose changes its own is compared."""
BEYOND = 4
"""Frames on either side of a cut among which no picture of the other side may turn up: one more than a flash lasts."""
CUT_STRUCTURE, CUT_DETAIL, CUT_SPREAD = 0.6, 0.2, 0.45
"""Across a cut `structure` or `detail` is at most this, and `spread` at least that."""
EVIDENT = 6.0
"""Prominence times change of histogram above which motion cannot be the reason: similar pictures are joined by flow
so well that it would explain a cut between them."""

LENGTHS = (3, 4, 5, 7, 9, 11, 14, 17, 21, 26, 32, 39)
"""Frames from the last of the old to the first of the new shot with which dissolves are looked for: each about 1.22
of the one before, up to the 95 % quantile (35 frames) of the gradual transitions in ClipShots' test annotations."""
DISSOLVE_STRUCTURE, DISSOLVE_SPREAD, DISSOLVE_DISTANCE = 0.75, 0.67, 9.0
"""The same for the two ends of a dissolve, and their least root mean square difference."""
SETTLE = 8
"""Frames for which a better dissolve may still replace one that was found."""

RAMP = 32
"""Frames a fade takes at most on either side of its dark run."""
DARK_RUN = 16
"""Frames of a dark run that still joins two ramps to one fade; a longer one is a shot of its own."""
DARK = 32
"""Luma code, 0..255, that no pixel of a dark thumb exceeds; many fades end at codes that are not quite black."""

UNEXPLAINED = 0.7
"""Share of its change that motion must leave unexplained in a cut or dissolve."""
GRADUAL_RATE = 30
"""Frames per second at which gradual transitions are looked for, since their length is given by time."""

Span = tuple[int, int]
"""Frames [start, end)."""


class Cuts:
    """Finds cuts, `BEYOND` frames late."""

    def __init__(self, threshold: float, ratio: float) -> None:
        self.threshold, self.ratio = threshold, ratio
        self._frames: deque[Small] = deque(maxlen=2 * BEYOND + 2)
        self._changes: deque[float] = deque(maxlen=2 * BEYOND + 2)
        self._count = 0

    def push(self, frame: Small) -> list[int]:
        """The frame `BEYOND` ago, if a shot begins with it."""
        self._changes.append(change(self._frames[-1], frame) if self._frames else 0.0)
        self._frames.append(frame)
        self._count += 1
        return self._decide(len(self._frames) - 1 - BEYOND)

    def finish(self) -> list[int]:
        """Those among the last `BEYOND` frames."""
        n = len(self._frames)
        return [cut for at in range(max(1, n - BEYOND), n) for cut in self._decide(at)]

    def _decide(self, at: int) -> list[int]:
        if at < 1 or not self._stands_out(at):
            return []
        before, after = self._frames[at - 1], self._frames[at]
        evidence = self._prominence(at) * histogram_change(before, after)
        if evidence < self.ratio or not _differ(before.y, after.y) or self._returns(at):
            return []
        if evidence < EVIDENT and unexplained(before.y, after.y) + unexplained(after.y, before.y) < 2 * UNEXPLAINED:
            return []
        return [self._count - len(self._frames) + at]

    def _stands_out(self, at: int) -> bool:
        changes = list(self._changes)
        return changes[at] >= self.threshold and changes[at] >= max(changes[at - 1 : at + 2])

    def _prominence(self, at: int) -> float:
        """The change relative to the mean of its neighbours without the largest, as another cut may be among them."""
        changes = list(self._changes)
        near = sorted(changes[max(1, at - NEIGHBOURS) : at] + changes[at + 1 : at + NEIGHBOURS + 1])[:-1]
        return changes[at] / (sum(near) / max(1, len(near)) + 1)

    def _returns(self, at: int) -> bool:
        """Whether the old picture comes back, or the new one was there before: a flash, not a cut."""
        frames = list(self._frames)
        old = [change(frames[at - 1], f) for f in frames[at + 1 : at + BEYOND + 1]]
        new = [change(frames[at], f) for f in frames[max(0, at - 1 - BEYOND) : at - 1]]
        return min(old + new, default=np.inf) < self._changes[at] / 2


def _differ(a: Plane, b: Plane) -> bool:
    """Whether two frames show different things over a large part of the picture."""
    if spread(a, b) < CUT_SPREAD:
        return False
    return structure(a, b) <= CUT_STRUCTURE or detail(a, b) <= CUT_DETAIL


@dataclass(frozen=True, slots=True)
class Found:
    """A dissolve that may yet be replaced by a better one."""

    score: float
    first: int
    last: int
    """The frames compared: the last of the old and the first of the new shot, or nearly so."""
    span: Span


class Dissolves:
    """Finds dissolves: looks at all runs of `LENGTHS` that end with the newest frame and keeps the best."""

    def __init__(self, gram: Gram, residual: float) -> None:
        self.gram, self.residual = gram, residual
        self._luma: deque[Plane] = deque(maxlen=gram.keep)
        self._best: Found | None = None

    def push(self, luma: Plane) -> list[Span]:
        """Dissolves that are certain now. Call after the frame was pushed to `gram`."""
        self._luma.append(luma)
        now = self.gram.count - 1
        found = max(self._runs(now), key=lambda f: f.score, default=None)
        done = self.finish() if self._best is not None and now > self._best.last + SETTLE else []
        if found is None:
            return done
        if self._best is not None and found.first >= self._best.span[1]:
            done += self.finish()
        if self._best is None or found.score > self._best.score:
            self._best = found
        return done

    def finish(self) -> list[Span]:
        """The best one, unless the picture before it comes back after it or motion explains it."""
        best, self._best = self._best, None
        if best is None:
            return []
        before = np.arange(max(0, best.first - SETTLE), best.first + 1)
        after = np.arange(best.last, self.gram.count)
        nearest = self.gram.distances(before[:, None], after[None, :]).min()
        whole = self.gram.distances(best.first, best.last)
        return [best.span] if nearest > whole / 2 and self._is_mixture(best) else []

    def _is_mixture(self, found: Found) -> bool:
        a, m, b = (self._at(i) for i in (found.first, (found.first + found.last) // 2, found.last))
        return sum(unexplained(p, q) for p, q in ((a, m), (m, a), (m, b), (b, m))) >= 4 * UNEXPLAINED

    def _at(self, frame: int) -> Plane:
        return self._luma[frame - self.gram.count]

    def _runs(self, last: int) -> list[Found]:
        """Those whose middle is far enough from both ends and near enough to the line between them."""
        lengths = np.array([n for n in LENGTHS if n <= last])
        if not len(lengths):
            return []
        first, middle = last - lengths, last - lengths // 2
        whole = self.gram.distances(first, last)
        old, new = self.gram.distances(first, middle), self.gram.distances(middle, last)
        square = np.maximum(whole * whole, 1)
        alpha = (old * old - new * new + square) / (2 * square)
        off = old * old / square - alpha * alpha
        # At the middle of a good run the residual is at most 1.5 times its mean.
        good = (whole >= DISSOLVE_DISTANCE) & (np.abs(alpha - 0.5) < 0.35) & (off < (1.5 * self.residual) ** 2)
        return [found for begin in first[good] for found in self._run(int(begin), last)]

    def _run(self, first: int, last: int) -> list[Found]:
        line = blend(self.gram.between(first, last), self.gram.size)
        if line.residual > self.residual or line.unevenness > 0.2 or line.steepest > 0.2 + 1 / (last - first):
            return []
        old, new = self._at(first), self._at(last)
        if is_dark(old) or is_dark(new):
            return []
        if structure(old, new) > DISSOLVE_STRUCTURE or spread(old, new) < DISSOLVE_SPREAD:
            return []
        start, end = line.extent
        score = line.distance * (1 - line.residual - 1.5 * line.unevenness)
        return [Found(score, first, last, (first + start, first + end))]


def is_dark(luma: Plane) -> bool:
    """Whether no pixel of a thumb's luma exceeds `DARK`."""
    return bool(luma.max() <= DARK)


class Fades:
    """Finds dark runs and the ramps beside them."""

    def __init__(self, gram: Gram) -> None:
        self.gram = gram
        self._start, self._dark, self._lit = -1, -1, -1
        """Of the fade in progress its first frame, its first dark frame and the first frame behind those; or -1."""

    def push(self, luma: Plane) -> list[Span]:
        """Fades that are over. Call after the frame was pushed to `gram`."""
        now = self.gram.count - 1
        dark = is_dark(luma)
        done = self._rise(now) if self._lit >= 0 and (dark or now - self._lit >= RAMP) else []
        if dark and self._dark < 0:
            self._dark, self._start = now, now - self._fall(now)
        elif dark and now - self._dark >= DARK_RUN:
            if now - self._dark == DARK_RUN and self._dark > 0:
                done.append((self._start, self._dark + 1))
            self._start = now
        elif not dark and self._dark >= 0 and self._lit < 0:
            self._lit = now
        return done

    def finish(self) -> list[Span]:
        """The fade that the end of the video cuts short; a video that is dark throughout has none."""
        last = self.gram.count - 1
        if self._lit >= 0:
            return self._rise(last)
        return [(self._start, last + 1)] if 0 < self._dark > last - DARK_RUN else []

    def _fall(self, dark: int) -> int:
        """Frames of the ramp that leads down to frame `dark`."""
        return max((self._ramp(dark - n, dark) for n in range(2, min(RAMP, dark) + 1)), default=(0.0, 0))[1]

    def _rise(self, now: int) -> list[Span]:
        """The fade in progress, ended by the ramp that leads up from its last dark frame."""
        dark = self._lit - 1
        lengths = range(2, min(RAMP, now - dark) + 1)
        ramp = max((self._ramp(dark, dark + n) for n in lengths), default=(0.0, 0))[1]
        fade = (self._start, self._lit + ramp)
        self._start, self._dark, self._lit = -1, -1, -1
        return [fade]

    def _ramp(self, first: int, last: int) -> tuple[float, int]:
        """(score, frames between) of a run of frames as a ramp; (0, 0) if it is none."""
        line = blend(self.gram.between(first, last), self.gram.size)
        monotone = np.diff(line.alpha).min() > -0.02
        if line.distance < 4 or line.residual > 0.35 or line.unevenness > 0.35 or not monotone:
            return 0.0, 0
        return line.distance * (1 - line.residual - 1.5 * line.unevenness), last - first - 1


STRENGTH = {"cut": 0, "dissolve": 1, "fade": 2}
"""Of two transitions that overlap the stronger stays: the ramps of a fade look like dissolves, its edges like cuts."""


@detector.named("mlst")
class Own:
    """Our own detector; see the module.

    Options: `threshold`, the least change at a cut (sum of the mean absolute differences of Y, U, V, 0..765);
    `ratio`, its prominence among its neighbours times the change of histogram; `residual`, how far from the line
    between its ends a dissolve may run, as a share of that line's length.
    """

    def __init__(self, rate: Fraction, *, threshold: float = 8.0, ratio: float = 2.0, residual: float = 0.33) -> None:
        if threshold <= 0 or ratio <= 0 or not 0 < residual < 1:
            raise ValueError(f"threshold {threshold} and ratio {ratio} must be > 0, residual {residual} in (0, 1)")
        self.stride = max(1, round(rate / GRADUAL_RATE))
        # The longest wait: a fade-out, its dark run, the search for the end of the fade-in, one frame for neighbours.
        self.delay = (RAMP + DARK_RUN + RAMP + 2) * self.stride
        self._gram = Gram(LENGTHS[-1] + 2 * SETTLE + 2, 3 * 18 * 32)
        self._cuts, self._fades = Cuts(threshold, ratio), Fades(self._gram)
        self._dissolves = Dissolves(self._gram, residual)
        self._pending: list[Transition] = []
        self._last = Transition("cut", -2, -2)
        self._count, self._first = 0, 0

    def push(self, thumb: Thumb) -> list[Transition]:
        if self._count == 0:
            self._first = thumb.index
        small = Small(*(plane.astype(np.int16) for plane in (thumb.y, thumb.u, thumb.v)))
        cuts = self._cuts.push(small)
        dissolves: list[Span] = []
        fades: list[Span] = []
        if self._count % self.stride == 0:
            self._gram.push(summary(thumb.y, thumb.u, thumb.v))
            dissolves, fades = self._dissolves.push(small.y), self._fades.push(small.y)
        self._count += 1
        self._note(cuts, dissolves, fades)
        return self._release(self._count - 1 - self.delay)

    def finish(self) -> list[Transition]:
        self._note(self._cuts.finish(), self._dissolves.finish(), self._fades.finish())
        return self._release(self._count)

    def _note(self, cuts: Sequence[int], dissolves: Sequence[Span], fades: Sequence[Span]) -> None:
        self._pending += [Transition("cut", at, at) for at in cuts]
        self._pending += [self._gradual("dissolve", span) for span in dissolves]
        self._pending += [self._gradual("fade", span) for span in fades]

    def _gradual(self, kind: str, span: Span) -> Transition:
        """From a span counted in every `stride`-th frame: it may have begun or ended between two of those."""
        start = (span[0] - 1) * self.stride + 1 if span[0] else 0
        return Transition(kind, start, min(self._count, span[1] * self.stride))

    def _release(self, until: int) -> list[Transition]:
        """Pending transitions that begin at frame `until` or before; of some that overlap, the strongest."""
        done: list[Transition] = []
        for t in sorted(self._pending, key=lambda t: (t.start, -STRENGTH[t.kind])):
            if t.start > until:
                break
            beaten = any(STRENGTH[o.kind] > STRENGTH[t.kind] and _touch(o, t) for o in [*self._pending, self._last])
            if beaten or t.end < self._last.end or (t.kind != "fade" and t.start < self._last.end):
                continue
            self._last = Transition(t.kind, max(t.start, self._last.end), t.end)
            done.append(Transition(t.kind, self._first + self._last.start, self._first + t.end))
        self._pending = [t for t in self._pending if t.start > until]
        return done


def _touch(a: Transition, b: Transition) -> bool:
    """Whether the two overlap or at most one frame lies between them."""
    return max(a.start, b.start) <= min(a.end, b.end) + 1
