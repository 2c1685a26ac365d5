"""`mlst`: cuts, dissolves, wipes and fades told apart on small YUV pictures.

The parts are `cuts`, `mixing` (dissolves and wipes) and `fades`; here they are fed, and where their finds overlap the
stronger stays. The thresholds are set on the tuning half of `tests/splices` and judged on the other, which shares no
film with it; docs/shots.md has the figures.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from collection.detectors.cuts import BEYOND, Cut, Cuts
from collection.detectors.fades import FLAT_RUN, RAMP, Fades, Span
from collection.detectors.features import Gram, Small, detail
from collection.detectors.mixing import Found, Mixing
from collection.detectors.registry import detector
from collection.detectors.thumbs import Thumb
from mlst.records import Transition

GRADUAL_RATE = 30
"""Frames per second at which gradual transitions are looked for, since their length is given by time."""
STRENGTH = {"leap": 0, "brief": 1, "cut": 2, "dissolve": 3, "wipe": 3, "fade": 4}
"""Of two transitions that overlap the stronger stays: the ramps of a fade look like dissolves, its edges like cuts. A
leap is a cut within one take: a keyframe in a dissolve looks like one."""
BRIEF = 4
"""Frames up to which a dissolve or wipe gives way to a cut, which is blurred by the encoder as if it took so many."""
BESIDE_CUT = 2
"""Frames between a cut and an end of a dissolve or wipe up to which both may be true: one picture follows a cut, and
moves so that it looks like more."""
KEPT = 86
"""Frames that are looked back upon."""

COVERED = 36
"""Frames within which a picture that was only covered comes back, by and by: a fireball, somebody who walks by."""
BESIDE = 2
"""Frames between a transition and the pictures that are looked for, which it may have touched."""
BACK, TRACE = 0.4, 0.12
"""A picture counts as the old one within this share of the change across the transition, if so much `detail` is left:
another picture has none of it."""

STAY, MOVES = 6, 0.09
"""Frames, and the share of the change across a transition up to which a picture that stays may change in them: what
covers another moves on, a shot stays."""


@detector.named("mlst")
class Own:
    """Our own detector; see the module.

    Options: `threshold`, the least change at a cut (sum of the mean absolute differences of Y, U, V, 0..765);
    `ratio`, its prominence among its neighbours times the change of histogram; `sure`, the least probability of one
    frame of a dissolve or wipe.
    """

    def __init__(self, rate: Fraction, *, threshold: float = 3.0, ratio: float = 1.0, sure: float = 0.85) -> None:
        if threshold <= 0 or ratio <= 0 or not 0 < sure < 1:
            raise ValueError(f"threshold {threshold} and ratio {ratio} must be > 0, sure {sure} in (0, 1)")
        self.stride = max(1, round(rate / GRADUAL_RATE))
        # The longest wait: a fade-out, its flat run, the search for the end of the fade-in, one frame for neighbours.
        self.delay = (RAMP + FLAT_RUN + RAMP + 2) * self.stride
        self._gram = Gram(KEPT)
        self._cuts, self._fades = Cuts(threshold, ratio), Fades(self._gram)
        self._mixing = Mixing(self._gram, sure)
        self._pending: list[Transition] = []
        self._leaps: set[int] = set()
        """Cuts within one take, to which the old picture may come back."""
        self._last = Transition("cut", -2, -2)
        self._count, self._first = 0, 0

    def push(self, thumb: Thumb) -> list[Transition]:
        if self._count == 0:
            self._first = thumb.index
        small = Small(thumb.y, thumb.u, thumb.v)
        cuts = self._cuts.push(small)
        self._count += 1
        if (self._count - 1) % self.stride == 0:
            self._gram.push(small)
            self._note_found(self._mixing.push(small.y))
            self._note("fade", self._fades.push(small))
        self._note_cuts(cuts)
        self._uncover(self._count - 1 - COVERED * self.stride)
        return self._release(self._count - 1 - self.delay)

    def finish(self) -> list[Transition]:
        self._note_found(self._mixing.finish())
        self._note("fade", self._fades.finish())
        self._note_cuts(self._cuts.finish())
        for frame in range(max(0, self._count - COVERED * self.stride), self._count + 1):
            self._uncover(frame)
        return self._release(self._count)

    def _note_cuts(self, cuts: Sequence[Cut]) -> None:
        self._pending += [Transition("cut", cut.at, cut.at) for cut in cuts]
        if self._leaps:
            self._leaps = {at for at in self._leaps if at >= self._count - self.delay}
        self._leaps |= {cut.at for cut in cuts if cut.within_take}

    def _note_found(self, found: Sequence[Found]) -> None:
        self._pending += [self._gradual(f.kind, (f.start, f.end)) for f in found]

    def _note(self, kind: str, spans: Sequence[Span]) -> None:
        self._pending += [self._gradual(kind, span) for span in spans]

    def _gradual(self, kind: str, span: Span) -> Transition:
        """From a span counted in every `stride`-th frame: it may have begun or ended between two of those."""
        start = (span[0] - 1) * self.stride + 1 if span[0] else 0
        return Transition(kind, start, min(self._count, span[1] * self.stride))

    def _uncover(self, end: int) -> None:
        """Forget the transition that ended at frame `end` if the picture before it has come back by and by."""
        for t in [t for t in self._pending if t.end == end and t.kind != "fade"]:
            if not (t.kind == "cut" and end in self._leaps) and self._covered(t):
                self._pending.remove(t)

    def _covered(self, t: Transition) -> bool:
        """Whether, without a cut, the old picture comes back soon after or the new one was there shortly before."""
        gram, now = self._gram, self._gram.count - 1 - BEYOND
        old, new = (t.start - 1) // self.stride - BESIDE, -(-t.end // self.stride) + BESIDE
        if old < max(0, gram.count - gram.keep) or new > now:
            return False
        kinds = ("cut", "fade", "dissolve") if t.kind == "dissolve" else ("cut", "fade")
        cuts = [o.start // self.stride for o in self._pending if o.kind in kinds and not _touch(o, t, BEYOND)]
        until = min([now, new + COVERED, *(c - 1 for c in cuts if c > new)])
        since = max([0, gram.count - gram.keep, old - COVERED, *(c for c in cuts if c <= old)])
        level = float(gram.distances(old, new))
        return comes_back(gram, old, range(new, until + 1), level) or comes_back(
            gram, new, range(old, since - 1, -1), level
        )

    def _strength(self, t: Transition) -> int:
        if t.kind == "cut":
            return STRENGTH["leap" if t.start in self._leaps else "cut"]
        brief = t.kind != "fade" and t.end - t.start <= BRIEF * self.stride
        return STRENGTH["brief" if brief else t.kind]

    def _release(self, until: int) -> list[Transition]:
        """Pending transitions that begin at frame `until` or before; of some that overlap, the strongest."""
        done: list[Transition] = []
        self._pending = [self._up_to_cuts(t) for t in self._pending]
        if all(t.start > until for t in self._pending):
            return done
        for t in sorted(self._pending, key=lambda t: (t.start, t.end, -self._strength(t))):
            if t.start > until:
                break
            beaten = any(self._beats(o, t) for o in [*self._pending, self._last])
            beside = t.end - max(t.start, self._last.end)
            if beaten or t.end < self._last.end or (t.kind != "fade" and 2 * beside < t.end - t.start):
                continue
            self._last = Transition(t.kind, max(t.start, self._last.end), t.end)
            done.append(Transition(t.kind, self._first + self._last.start, self._first + t.end))
        self._pending = [t for t in self._pending if t.start > until]
        return done

    def _up_to_cuts(self, t: Transition) -> Transition:
        """A dissolve or wipe less the few frames of it that lie beyond a cut."""
        if t.kind in ("cut", "fade") or t.end - t.start <= BRIEF * self.stride:
            return t
        near = BESIDE_CUT * self.stride
        cuts = [o.start for o in self._pending if o.kind == "cut" and o.start not in self._leaps]
        start = max([t.start, *(c for c in cuts if c - t.start <= near)])
        return Transition(t.kind, start, min([t.end, *(c for c in cuts if 0 <= t.end - c <= near)]))

    def _beats(self, o: Transition, t: Transition) -> bool:
        beside = t.kind == "cut" and o.kind in ("dissolve", "wipe") and t.start in (o.start, o.end)
        return self._strength(o) > self._strength(t) and _touch(o, t, 1) and (t.start in self._leaps or not beside)


def _touch(a: Transition, b: Transition, gap: int) -> bool:
    """Whether the two overlap or at most `gap` frames lie between them."""
    return max(a.start, b.start) <= min(a.end, b.end) + gap


def comes_back(gram: Gram, frame: int, among: range, level: float) -> bool:
    """Whether a picture is seen again among some frames, the nearest first, none of which stays for a while.

    `level` is the distance across the transition.
    """
    if not among:
        return False
    near = np.flatnonzero(gram.distances(frame, np.array(among)) < BACK * level)
    seen = [int(i) for i in near if detail(gram.luma(frame), gram.luma(among[i])) >= TRACE]
    if not seen:
        return False
    way = np.array(among[: seen[0] + 1])
    steps = gram.distances(way[:-STAY], way[STAY:])
    return bool(steps.min(initial=np.inf) > MOVES * level)
