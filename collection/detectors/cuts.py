"""Cuts: one large change among small ones, after which the picture shows other edges; or motion that leaps."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from collection.detectors.features import (
    Bytes,
    Small,
    alike,
    change,
    coherence,
    detail,
    detail_of_changed,
    histogram_change,
    middle,
    spread,
    structure,
    unexplained,
    unmoved,
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
LETTERED_EVIDENCE, LETTERED_STRUCTURE, LETTERED_COHERENCE = 3.5, 0.6, 0.9
"""Evidence from which lettering that stays over both shots is left out: an explosion reaches 3.2, a zoom 1.4. Where
`structure` is at most so large, the rest may have the detail of a jump cut: an explosion has a structure of 0.68.
Above that `coherence` it is a light, or bars."""
LOCAL_SPREAD, LOCAL_EVIDENCE = 0.35, 5.0
"""Evidence above which a cut may leave the middle as it was and change little elsewhere: somebody is gone at once."""
EVIDENT = 4.5
"""Prominence times change of histogram above which motion cannot be the reason: similar pictures are joined by flow
so well that it would explain a cut between them. Shakes and zooms reach 1.3."""
SURE = 3.0
"""The least evidence where a freeze ends: it reaches 2.9 when the picture goes on from where it would have been."""
STILL, MOVING = 0.6, 2.0
"""Change up to which two frames are the same one, encoded twice, and above which something moves."""
UNEXPLAINED = 0.7
"""Share of its change that motion must leave unexplained in a cut: 0.2 to 0.6 in whip pans and shakes."""

LEAP, LEAST_LEAP, CALM = 4.2, 3.5, 0.4
"""A leap within one take is so many times the usual change around it, so large, and no change within `BEYOND` frames
reaches that share of it: where frames are shown twice, every second change is large."""
LEAP_COHERENCE = 0.7
"""Up to this `coherence` it is no lamp (0.95 and more), lettering (0.72), bars (0.89) or fire (0.96)."""
LEAP_DETAIL, KEYFRAME_DETAIL, KEYFRAME_SPREAD = 0.97, 0.85, 0.66
"""What leaves more `detail` is a small thing that jumps. What leaves more than the second while it changes the whole
picture is an encoder that begins afresh: keyframes have a `spread` of 0.71 and more, leaps one of 0.61 and less."""
LEAP_UNMOVED = 3.2
"""How many times as much as around it motion leaves of a leap: a camera that is pushed reaches 2.8, a leap has 3.5 to
19."""
AWAKE = 4.0
"""How many times as much may change after a leap as before it: a freeze ends with a leap too."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut that was found."""

    at: int
    """The first frame of the new shot."""
    within_take: bool
    """Whether the place stays, so that the old picture may well come back."""


class Cuts:
    """Finds cuts, `BEYOND` frames late."""

    def __init__(self, threshold: float, ratio: float) -> None:
        self.threshold, self.ratio = threshold, ratio
        self._frames: deque[Small] = deque(maxlen=2 * BEYOND + 2)
        self._changes: deque[float] = deque(maxlen=2 * BEYOND + 2)
        self._count = 0

    def push(self, frame: Small) -> list[Cut]:
        """The frame `BEYOND` ago, if a shot begins with it."""
        self._changes.append(change(self._frames[-1], frame) if self._frames else 0.0)
        self._frames.append(frame)
        self._count += 1
        return self._decide(len(self._frames) - 1 - BEYOND)

    def finish(self) -> list[Cut]:
        """Those among the last `BEYOND` frames."""
        n = len(self._frames)
        return [cut for at in range(max(1, n - BEYOND), n) for cut in self._decide(at)]

    def _decide(self, at: int) -> list[Cut]:
        if at < 1 or not self._stands_out(at):
            return []
        changes, frame = self._is_cut(at), self._count - len(self._frames) + at
        return [Cut(frame, not changes)] if changes or self._leaps(at) else []

    def _is_cut(self, at: int) -> bool:
        """Whether the picture after frame `at` - 1 shows other things."""
        before, after = self._frames[at - 1], self._frames[at]
        evidence = self._prominence(at) * histogram_change(before, after)
        if evidence < (SURE if self._thaws(at) else self.ratio) or self._returns(at):
            return False
        alone = max(self._around(at), default=0.0) <= self._changes[at] / 2
        sure = evidence >= EVIDENT and alone
        return differ(before.y, after.y, evidence) and (sure or not explained(before.y, after.y))

    def _leaps(self, at: int) -> bool:
        """Whether frames of one take are left out before frame `at`, and what moves in it does not explain that."""
        changes, around = list(self._changes), self._around(at)
        if at < 3 or len(around) < BEYOND + 2 or changes[at] < LEAST_LEAP or max(around) > CALM * changes[at]:
            return False
        if changes[at] < LEAP * ((sum(around) - max(around)) / (len(around) - 1) + 0.5):
            return False
        before, after = self._frames[at - 1].y, self._frames[at].y
        if sum(changes[at + 1 : at + 4]) > AWAKE * sum(changes[max(1, at - 3) : at]) + 1.5 or self._returns(at):
            return False
        left = detail(before, after)
        if coherence(before, after) > LEAP_COHERENCE or left > LEAP_DETAIL:
            return False
        if left > KEYFRAME_DETAIL and spread(before, after) > KEYFRAME_SPREAD:
            return False
        beside = [n for n in (at - 2, at - 1, at + 1, at + 2) if 1 <= n < len(changes)]
        usual = sum(unmoved(self._frames[n - 1].y, self._frames[n].y) for n in beside) / len(beside)
        return unmoved(before, after) >= LEAP_UNMOVED * (usual + 0.3)

    def _stands_out(self, at: int) -> bool:
        changes = list(self._changes)
        return changes[at] >= max(self.threshold, max(changes[at - 1 : at + 2]) / 2)

    def _prominence(self, at: int) -> float:
        """The change relative to the mean of its neighbours without the largest, as another cut may be among them."""
        changes = list(self._changes)
        near = sorted(changes[max(1, at - NEIGHBOURS) : at] + changes[at + 1 : at + NEIGHBOURS + 1])[:-1]
        return changes[at] / (sum(near) / max(1, len(near)) + 1)

    def _around(self, at: int) -> list[float]:
        """The changes up to `BEYOND` frames before and after."""
        changes = list(self._changes)
        return changes[max(1, at - BEYOND) : at] + changes[at + 1 : at + BEYOND + 1]

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


def differ(a: Bytes, b: Bytes, evidence: float) -> bool:
    """Whether two neighbouring frames show different things, over a large part of the picture unless it is sure."""
    changed = spread(a, b)
    if evidence >= LOCAL_EVIDENCE and changed <= LOCAL_SPREAD:
        return detail(a, b) <= JUMP_DETAIL
    if changed < OTHER_SPREAD:
        return False
    limit = JUMP_DETAIL if evidence >= JUMP_EVIDENCE and changed <= JUMP_SPREAD else OTHER_DETAIL
    if _everywhere(detail, a, b) <= limit:
        return True
    if coherence(a, b) > LETTERED_COHERENCE:
        return False
    beside = JUMP_DETAIL if structure(a, b) <= LETTERED_STRUCTURE else OTHER_DETAIL
    return evidence >= LETTERED_EVIDENCE and _everywhere(detail_of_changed, a, b) <= beside


def _everywhere(measure: Callable[[Bytes, Bytes], float], a: Bytes, b: Bytes) -> float:
    """The larger of what is left in the whole picture and in its middle."""
    return max(measure(a, b), measure(middle(a), middle(b)))


def explained(a: Bytes, b: Bytes) -> bool:
    """Whether motion leads from one picture to the other."""
    return unexplained(a, b) + unexplained(b, a) < 2 * UNEXPLAINED
