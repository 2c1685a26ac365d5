"""`mlst+transnet`: what `mlst` finds, and of the rest what TransNetV2 is sure of and the pictures bear out.

Alone the network takes flashes, lamps and people who walk by for transitions. Across those the edges stay where they
were, or the old picture comes back; across a cut or a dissolve that `mlst` missed they do not.
"""

from collections import deque
from collections.abc import Sequence
from fractions import Fraction

from collection.detectors.cuts import BEYOND, OTHER_DETAIL
from collection.detectors.features import Bytes, detail, is_dark, middle
from collection.detectors.own import Own
from collection.detectors.registry import detector
from collection.detectors.thumbs import Thumb
from collection.detectors.transnet import Windows, predictor
from mlst.records import Transition

EXTENT = 0.1
"""Least probability that a frame is within a transition, as that of `transnetv2`."""
APART = 2 * BEYOND
"""Frames between a find of the one and a find of the other that are taken for the same."""


class Both:
    """The detector `mlst+transnet`."""

    def __init__(self, own: Own, network: Windows) -> None:
        self.own, self.network = own, network
        self.delay = max(own.delay, network.delay) + APART
        self._frames: deque[Bytes] = deque(maxlen=2 * self.delay)
        """Luma (36, 64) of the last frames."""
        self._first, self._count = 0, 0
        self._until, self._ended = -1, 0
        """What begins up to the one is told, and nothing that was told ends behind the other."""
        self._certain: list[Transition] = []
        self._likely: list[Transition] = []
        """What `mlst` found, and what the network did and the pictures bear out; not yet told."""

    def push(self, thumb: Thumb) -> list[Transition]:
        if self._count == 0:
            self._first = thumb.index
        self._frames.append(thumb.y)
        self._count += 1
        self._certain += self.own.push(thumb)
        self._likely += self._borne_out(self.network.push(thumb))
        return self._release(thumb.index - self.delay)

    def finish(self) -> list[Transition]:
        self._certain += self.own.finish()
        self._likely += self._borne_out(self.network.finish())
        return self._release(self._first + self._count)

    def _release(self, until: int) -> list[Transition]:
        """Transitions that begin at frame `until` or before. What the network tells too late is left out."""
        near = [t for t in self._likely if not any(_touch(t, o) for o in self._certain)]
        told: list[Transition] = []
        for t in sorted((*self._certain, *near), key=lambda t: (t.start, t.end)):
            if self._until < t.start <= until and (t.end > self._ended or t.start >= self._ended):
                told.append(Transition(t.kind, max(t.start, self._ended), t.end))
                self._ended = t.end
        self._until = max(self._until, until)
        self._certain = [t for t in self._certain if t.end > until - self.delay]
        self._likely = [t for t in near if t.start > until]
        return told

    def _borne_out(self, found: Sequence[Transition]) -> list[Transition]:
        return [t for t in found if self._differ(t)]

    def _differ(self, t: Transition) -> bool:
        """Whether the pictures around a transition, and those a little farther off, show different things."""
        old, new = t.start - self._first, t.end - self._first
        beside = [
            (self._frame(old - 1 - far), self._frame(new + far), self._frame(new + far + BEYOND)) for far in (0, 1)
        ]
        return all(_other(before, after) and _other(before, later) for before, after, later in beside)

    def _frame(self, at: int) -> Bytes:
        """The frame `at`, or the nearest that is still known."""
        oldest = self._count - len(self._frames)
        return self._frames[min(max(at, oldest), self._count - 1) - oldest]


def _other(a: Bytes, b: Bytes) -> bool:
    """Whether two pictures, both lit, have no edges in common."""
    return not (is_dark(a) or is_dark(b)) and max(detail(a, b), detail(middle(a), middle(b))) <= OTHER_DETAIL


def _touch(a: Transition, b: Transition) -> bool:
    return max(a.start, b.start) <= min(a.end, b.end) + APART


@detector.named("mlst+transnet")
def both(rate: Fraction, *, sure: float = 0.65, device: str = "cpu") -> Both:
    """`mlst`, and what TransNetV2 finds beyond it.

    Options: `sure`, the least probability of the network that a frame stands for a transition
    which `mlst` did not find; `device` as of `transnetv2`.

    Raises ValueError: a share that is none, or see `predictor`.
    """
    if not 0 < sure < 1:
        raise ValueError(f"sure {sure} must be in (0, 1)")
    return Both(Own(rate), Windows(predictor(device), sure, EXTENT))
