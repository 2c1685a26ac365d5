"""Fades: a run of flat frames, black, white or of any colour, together with the ramps into and out of it."""

import numpy as np

from collection.detectors.features import DARK, Gram, Matrix, Small, alike, blend, extremes, is_dark

RAMP = 48
"""Frames a fade takes at most on either side of its flat run."""
FLAT_RUN = 30
"""Frames of a flat run that still joins two ramps to one fade; a longer one is a shot of its own."""
FLAT = 20
"""Luma codes between the darkest and the brightest pixel of a flat thumb."""
MARGIN = 8
"""By how many codes more a frame may differ before a run that has begun is over: noise makes it begin and end."""
SHORT = 10
"""Frames below which a light needs ramps on both sides to be a fade: a flash, or a white frame at a cut, is none."""

Span = tuple[int, int]
"""Frames [start, end)."""


def is_flat(frame: Small, margin: int) -> bool:
    """Whether a thumb is dark or shows one colour, within `margin` codes."""
    least, most = extremes(frame.y)
    return most <= DARK + margin or most - least <= FLAT + margin


class Fades:
    """Finds flat runs and the ramps beside them."""

    def __init__(self, gram: Gram) -> None:
        self.gram = gram
        self._fall, self._flat, self._lit = 0, -1, -1
        """Of the fade in progress: frames of its first ramp, its first flat frame, the first one behind it; or -1."""
        self._dark = False
        self._before = np.zeros((36, 64), np.uint8)
        """The picture before it."""

    def push(self, frame: Small) -> list[Span]:
        """Fades that are over. Call after the frame was pushed to `gram`."""
        now = self.gram.count - 1
        flat = is_flat(frame, MARGIN if self._flat >= 0 > self._lit else 0)
        done = self._end(now) if self._lit >= 0 and (flat or now - self._lit >= RAMP) else []
        if flat and self._flat < 0:
            self._flat, self._fall = now, self._longest(-1, now)
            self._dark = is_dark(frame.y)
            self._before = self.gram.luma(max(0, now - self._fall - 1))
        elif flat and now - self._flat == FLAT_RUN and self._flat > 0:
            done += self._kept((self._flat - self._fall, self._flat + 1), self._fall, 0)
        elif not flat and self._flat >= 0 and self._lit < 0:
            self._lit = now
        return done

    def finish(self) -> list[Span]:
        """The fade that the end of the video cuts short; a video that is flat throughout has none."""
        last = self.gram.count - 1
        if self._lit >= 0:
            return self._end(last)
        if 0 < self._flat > last - FLAT_RUN:
            return self._kept((self._flat - self._fall, last + 1), self._fall, 0)
        return []

    def _end(self, now: int) -> list[Span]:
        """The fade in progress, ended by the ramp that leads up from its last flat frame."""
        last, fall = self._lit - 1, self._fall
        rise = self._longest(1, last)
        start = self._flat - fall
        if last - self._flat >= FLAT_RUN:
            start, fall = last, 0
        done = self._kept((start, self._lit + rise), fall, rise)
        self._fall, self._flat, self._lit = 0, -1, -1
        return done

    def _kept(self, span: Span, fall: int, rise: int) -> list[Span]:
        """The fade, if it is one: to black it always is, to a light it needs ramps and must not be a flash."""
        last = min(span[1], self.gram.count - 1)
        if self._dark:
            return [span]
        if min(fall, rise) == 0 and (max(fall, rise) == 0 or span[1] - span[0] < SHORT):
            return []
        return [span] if not rise or not alike(self._before, self.gram.luma(last)) else []

    def _longest(self, direction: int, flat: int) -> int:
        """Frames of the best ramp that leads from frame `flat` onwards (1) or up to it (-1)."""
        room = min(RAMP, flat if direction < 0 else self.gram.count - 1 - flat)
        products = self.gram.between(*sorted((flat, flat + direction * room)))
        runs = (slice(n + 1) if direction > 0 else slice(room - n, None) for n in range(2, room + 1))
        return max((self._ramp(products[run, run]) for run in runs), default=(0.0, 0))[1]

    def _ramp(self, products: Matrix) -> tuple[float, int]:
        """(score, frames between) of a run of frames as a ramp, by their inner products; (0, 0) if it is none."""
        line = blend(products, self.gram.size)
        if line.distance < 4 or line.residual > 0.35 or line.unevenness > 0.35 or not line.is_monotone:
            return 0.0, 0
        return line.distance * (1 - line.residual - 1.5 * line.unevenness), len(products) - 2
