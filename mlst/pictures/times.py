"""When a frame is shown: a rising time for every frame, in the order in which frames leave a decoder.

A frame takes the time of the packet that it came from. Where that is missing or wrong, it takes the time that its
place in the order gives, as libav's best effort does (`guess_correct_pts`): what comes less often out of order is
believed. Where there is neither, it follows the frame before it at the usual distance, for a second at most. Where a
clock jumps back, time continues after the last frame.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

REORDER = 16
"""Frames that may be shown before one they are built on: H.264 and HEVC keep 16 pictures at most."""

FARTHEST = 1 << 60
"""Ticks beyond this are no time: what is reckoned with them would leave 64 bits."""

TOLERATED = 2
"""Frames without a usable time that a video may have, or percent of its frames if that is more."""


def too_many(dropped: int, frames: int) -> bool:
    """Whether `dropped` frames without a usable time are more than go with `frames` that have one."""
    return dropped > max(TOLERATED, (dropped + frames) * TOLERATED // 100)


class Order:
    """Times by order: the n-th frame out takes the n-th decoding time of those packets that a frame comes of."""

    def __init__(self) -> None:
        self._waiting: deque[int | None] = deque()

    def sent(self, dts: int | None, frames: int, depth: int) -> list[int | None]:
        """Times of the `frames` frames that left when a packet was decoded; the decoder keeps `depth` back.

        No frame will come of a packet (a vop that is not coded, a second field) that leaves more than those waiting.
        """
        self._waiting.append(dts)
        times = self.taken(frames)
        if not frames and len(self._waiting) > depth:
            self._waiting.pop()
        return times

    def taken(self, frames: int) -> list[int | None]:
        """Times of frames that leave without a packet, at the end."""
        return [self._waiting.popleft() if self._waiting else None for _ in range(frames)]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of a frame's time, in ticks; None where nothing is said."""

    stored: int | None
    """The presentation time of its packet."""
    ordered: int | None
    """The time of its place in the order."""
    key: bool
    """Whether it is a key frame: before those, nothing is out of order, so that a time that falls there is a jump."""


@dataclass(frozen=True, slots=True)
class Time:
    """When a frame is shown."""

    ticks: int
    jumped: bool
    """Whether the clock jumped back before it."""


def in_order_only(claims: Iterable[Claim]) -> bool:
    """Whether stored times cannot be believed from the first frame on: they are missing or fall where those of the
    order are there and rise."""
    claims = list(claims)
    if any(claim.ordered is None for claim in claims):
        return False
    stored = [claim.stored for claim in claims if claim.stored is not None]
    falls = sum(b <= a for a, b in pairwise(stored))
    ordered = [claim.ordered for claim in claims if claim.ordered is not None]
    return len(stored) < len(claims) or falls > sum(b <= a for a, b in pairwise(ordered))


class Times:
    """Call it with the claim of every frame, in order; it gives a time that rises, or None for a frame to be dropped.

    `repaired` counts frames whose time is not the stored one, `dropped` those without a usable time.
    """

    def __init__(self, step: int, second: int, in_order: bool, stores: bool) -> None:
        """`step` is the usual distance of frames and `second` a second, in ticks; `in_order` believes the order alone;
        `stores` says that the container stores presentation times at all."""
        self._step, self._second, self._in_order, self._stores = max(1, step), second, in_order, stores
        self.repaired = self.dropped = 0
        self._last: int | None = None
        self._known: int | None = None
        """The last time that was no guess."""
        self._offset = self._before = self._delay = 0
        self._faults = [0, 0]
        self._latest: list[int | None] = [None, None]

    def __call__(self, claim: Claim) -> Time | None:
        """When the frame is shown."""
        if not (_is_sane(claim.stored) and _is_sane(claim.ordered)):
            claim = Claim(_sane(claim.stored), _sane(claim.ordered), claim.key)
        own = self._believed(claim)
        time = self._guess() if own is None else self._placed(own, claim.key)
        if time is None or abs(time.ticks) > FARTHEST:
            self.dropped += 1
            return None
        followed = own is not None and time.ticks == own + self._offset
        self.repaired += not followed or (self._stores and own != claim.stored)
        self._last = time.ticks
        if own is not None:
            self._known = time.ticks
        return time

    def _believed(self, claim: Claim) -> int | None:
        """libav's `guess_correct_pts`, with the order in place of decoding times. These begin earlier than stored
        times where frames are reordered: what lies between is learned while stored times rise, or from the first."""
        for which, said in enumerate((claim.stored, claim.ordered)):
            latest = self._latest[which]
            if said is not None:
                self._faults[which] += latest is not None and said <= latest
                self._latest[which] = said
        learns = not self._faults[0] and (self._last is None or not self._in_order)
        if claim.stored is not None and claim.ordered is not None and self._stores and learns:
            self._delay = claim.stored - claim.ordered
        stored, ordered = self._faults
        if claim.stored is not None and (claim.ordered is None or (stored <= ordered and not self._in_order)):
            return claim.stored
        return None if claim.ordered is None else claim.ordered + self._delay

    def _guess(self) -> Time | None:
        if self._last is None or self._known is None or self._last + self._step - self._known > self._second:
            return None
        return Time(self._last + self._step, False)

    def _placed(self, own: int, key: bool) -> Time | None:
        """A time on a clock that may have jumped back, or back to where it was before a jump."""
        last, far = self._last, REORDER * self._step
        if last is None:
            return Time(own, False)
        if own + self._offset > last + far and last < own + self._before <= last + far:
            self._offset = self._before
        time = own + self._offset
        if time > last:
            return Time(time, False)
        if last - time >= (self._step if key else far):
            self._before, self._offset = self._offset, last + self._step - own
            return Time(last + self._step, True)
        guessed = last != self._known
        return Time(last + 1, False) if guessed else None


def _is_sane(time: int | None) -> bool:
    return time is None or abs(time) <= FARTHEST


def _sane(time: int | None) -> int | None:
    return time if _is_sane(time) else None
