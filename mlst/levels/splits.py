"""The split of a group, by hash and never by shuffling; and the hash that ranks and orders clips.

Both are pure functions of names, so adding or losing videos moves no other one.
"""

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from itertools import accumulate

from mlst.records import Source

INTERVALS = ("test", "validation", "train")
"""Order in which the splits divide [0, 1): another share for validation or train leaves the test split as it is."""


def split_of(group: str, shares: Mapping[str, float], salt: str) -> str:
    """The split that all sources of `group` belong to.

    The first 64 bits of sha256(`salt` NUL `group`) are read as a fraction of 1 and looked up in consecutive half-open
    intervals, as long as the shares, in the order of `INTERVALS`. Shares are taken as the decimals they print as, so
    that 0.1 is a tenth; the last interval ends at 1. Raises ValueError for an unknown split or no split at all.
    """
    place = int.from_bytes(hashlib.sha256(f"{salt}\0{group}".encode()).digest()[:8], "big")
    ends = _ends(tuple(shares.items()))
    return next((name for name, end in ends if place < end), ends[-1][0])


def split_group(source: Source, setting: str) -> str:
    """The group that decides a source's split: the manifest's group, the channel (the group where it is empty), or the
    id; the id wherever the wanted one is empty. Raises KeyError for another setting."""
    wanted = {"group": source.group, "channel": source.channel or source.group, "source": source.id}
    return wanted[setting] or source.id


def order_hash(key: str) -> str:
    """What clips are ranked and ordered by: sha256 of the key, hex. A prefix of that order is a fair sample."""
    return hashlib.sha256(key.encode()).hexdigest()


def quotas(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """`total` clips divided among the splits by their shares: largest remainders, ties in the order of `INTERVALS`.

    The parts add up to `total`.
    """
    exact = {name: total * Fraction(str(shares[name])) for name in INTERVALS if name in shares}
    parts = {name: int(part) for name, part in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (parts[name] - exact[name], INTERVALS.index(name)))
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


@cache
def _ends(shares: tuple[tuple[str, float], ...]) -> tuple[tuple[str, int], ...]:
    """The smallest 64-bit number above each split's interval."""
    given = dict(shares)
    unknown = sorted(given.keys() - set(INTERVALS))
    if unknown or not given:
        raise ValueError(f"unknown splits {unknown} or none; choices are {', '.join(INTERVALS)}")
    present = [name for name in INTERVALS if name in given]
    ends = accumulate(Fraction(str(given[name])) for name in present)
    return tuple((name, math.ceil(end * 2**64)) for name, end in zip(present, ends, strict=True))
