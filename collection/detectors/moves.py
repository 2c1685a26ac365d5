"""Pushes, slides and zooms: one picture moves over the other, or both move, as a whole.

They are bursts of change, like whip pans; but what lies between their ends is put together from the two end pictures.
"""

from collections import deque
from statistics import median

from collection.detectors.arrangement import arranged
from collection.detectors.features import Gram
from collection.detectors.gradual import CALM, DISTANCE, LONGEST_MOVE, Span, differ

BURST = 2.0
"""How many times the usual change the change within a burst is."""
LEAST = 4.0
"""Root mean square change in codes that a burst begins with."""
SHORTEST = 4
"""Frames from the last of the old to the first of the new shot."""
USUAL = 9
"""Frames before a burst whose median change is the usual one."""


class Moves:
    """Finds bursts of change that are an arrangement of their two ends."""

    def __init__(self, gram: Gram) -> None:
        self.gram = gram
        self._changes: deque[float] = deque(maxlen=USUAL)
        self._begin, self._usual = -1, 0.0
        """Of the burst in progress the last frame before it, or -1, and the usual change."""

    def push(self) -> list[Span]:
        """The move that the newest frame ends. Call after it was pushed to `gram`."""
        now = self.gram.count - 1
        change = float(self.gram.distances(max(0, now - 1), now))
        lively = change > max(LEAST, BURST * self._usual)
        done: list[Span] = []
        if self._begin < 0:
            self._usual = median(self._changes) if self._changes else 0.0
            if change > max(LEAST, BURST * self._usual):
                self._begin = now - 1
        elif not lively or now - self._begin > LONGEST_MOVE:
            first, last, self._begin = self._begin, now - 1, -1
            done = [(first + 1, last)] if self._moves(first, last) else []
        self._changes.append(change)
        return done

    def _moves(self, first: int, last: int) -> bool:
        if not SHORTEST <= last - first <= LONGEST_MOVE or first < 1:
            return False
        a, b = self.gram.luma(first), self.gram.luma(last)
        whole = self.gram.distances(first, last)
        before = self.gram.distances(max(0, first - 3), first)
        if whole < DISTANCE or before > CALM * whole or not differ(a, b):
            return False
        return arranged(self.gram, first, last)
