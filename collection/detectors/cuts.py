"""Cuts: one large change among small ones, after which the picture shows other edges."""

from collections import deque
from collections.abc import Callable

from collection.detectors.features import (
    Plane,
    Small,
    alike,
    change,
    detail,
    detail_of_changed,
    histogram_change,
    middle,
    spread,
    structure,
    unexplained,
)

NEIGHBOURS = 3
"""Frames on both sides of a cut with whose changes its own is compared."""
BEYOND = 4
"""Frames on either side of a cut among which no picture of the other side may turn up: one more than a flash lasts."""
OTHER_DETAIL, OTHER_SPREAD = 0.3, 0.3
"""Across a cut `detail` is at most this, in the whole picture and in its middle, and `spread` at least that: bars that
come or go leave a detail of 0.7 in the middle, a lamp 0.8, a strobe 0.6 and more."""
JUMP_DETAIL, JUMP_SPREAD, JUMP_EVIDENCE = 0.55, 0.62, 3.5
"""Where the evidence is at least so large, a cut within one take may leave so much `detail`, as the place stays; what
changes everywhere, so that `spread` is above this, is a light."""
LETTERED_EVIDENCE, LETTERED_STRUCTURE = 3.5, 0.6
"""Evidence from which lettering that stays over both shots is left out: an explosion reaches 3.2, a zoom 1.4. Where
`structure` is at most so large, the rest may have the detail of a jump cut: an explosion has a structure of 0.68."""
LOCAL_SPREAD, LOCAL_EVIDENCE = 0.35, 5.0
"""Evidence above which a cut may leave the middle as it was and change little elsewhere: somebody is gone at once."""
EVIDENT = 4.5
"""Prominence times change of histogram above which motion cannot be the reason: similar pictures are joined by flow
so well that it would explain a cut between them. Shakes and zooms reach 1.3."""
SURE = 3.0
"""The least evidence where a freeze ends: it reaches 2.9 when the picture goes on from where it would have been."""
STILL, MOVING = 0.3, 2.0
"""Change up to which two frames are the same one, encoded twice, and above which something moves."""
UNEXPLAINED = 0.7
"""Share of its change that motion must leave unexplained in a cut: 0.2 to 0.6 in whip pans and shakes."""


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
        if evidence < (SURE if self._thaws(at) else self.ratio) or self._returns(at):
            return []
        if not differ(before.y, after.y, evidence) or (evidence < EVIDENT and explained(before.y, after.y)):
            return []
        return [self._count - len(self._frames) + at]

    def _stands_out(self, at: int) -> bool:
        changes = list(self._changes)
        return changes[at] >= max(self.threshold, max(changes[at - 1 : at + 2]) / 2)

    def _prominence(self, at: int) -> float:
        """The change relative to the mean of its neighbours without the largest, as another cut may be among them."""
        changes = list(self._changes)
        near = sorted(changes[max(1, at - NEIGHBOURS) : at] + changes[at + 1 : at + NEIGHBOURS + 1])[:-1]
        return changes[at] / (sum(near) / max(1, len(near)) + 1)

    def _thaws(self, at: int) -> bool:
        """Whether the picture stood still before and moves after: a freeze is over, what it hid is caught up with."""
        changes = list(self._changes)
        still = max(changes[max(1, at - 3) : at], default=1.0) <= STILL
        return still and min(changes[at + 1 : at + 4], default=0.0) > MOVING

    def _returns(self, at: int) -> bool:
        """Whether the old picture comes back, or the new one was there before: a flash, not a cut."""
        frames = list(self._frames)
        pairs = [(frames[at - 1], f) for f in frames[at + 1 : at + BEYOND + 1]]
        pairs += [(frames[at], f) for f in frames[max(0, at - 1 - BEYOND) : at - 1]]
        limit = self._changes[at] / 2
        return any(change(a, b) < limit and alike(a.y, b.y) for a, b in pairs)


def differ(a: Plane, b: Plane, evidence: float) -> bool:
    """Whether two neighbouring frames show different things, over a large part of the picture unless it is sure."""
    changed = spread(a, b)
    if evidence >= LOCAL_EVIDENCE and changed <= LOCAL_SPREAD:
        return detail(a, b) <= JUMP_DETAIL
    if changed < OTHER_SPREAD:
        return False
    limit = JUMP_DETAIL if evidence >= JUMP_EVIDENCE and changed <= JUMP_SPREAD else OTHER_DETAIL
    if _everywhere(detail, a, b) <= limit:
        return True
    beside = JUMP_DETAIL if structure(a, b) <= LETTERED_STRUCTURE else OTHER_DETAIL
    return evidence >= LETTERED_EVIDENCE and _everywhere(detail_of_changed, a, b) <= beside


def _everywhere(measure: Callable[[Plane, Plane], float], a: Plane, b: Plane) -> float:
    """The larger of what is left in the whole picture and in its middle."""
    return max(measure(a, b), measure(middle(a), middle(b)))


def explained(a: Plane, b: Plane) -> bool:
    """Whether motion leads from one picture to the other."""
    return unexplained(a, b) + unexplained(b, a) < 2 * UNEXPLAINED
