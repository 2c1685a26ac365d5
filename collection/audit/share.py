"""How large a share of many is, judged by some of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class Count:
    """How many of how many."""

    hits: int
    of: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a share, 0..1."""

    low: float
    high: float


def wilson(share: float, of: float, z: float = Z) -> Interval:
    """Wilson's score interval (1927) of a share seen in `of` independent draws, which need not be a whole number."""
    if not of:
        return Interval(0.0, 1.0)
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def effective(counts: Mapping[str, Count]) -> float:
    """How many independent draws those of all clusters are worth, at most as many as there are.

    Draws of one cluster are alike. From the variance of a ratio between clusters, with Student's t for their number
    (Korn and Graubard 1998, Survey Methodology 24); where all draws agree nothing can be told, and all count.
    """
    hits, of = sum(count.hits for count in counts.values()), sum(count.of for count in counts.values())
    if hits in (0, of) or len(counts) < 2:
        return float(of)
    share, clusters = hits / of, len(counts)
    spread = sum((count.hits - share * count.of) ** 2 for count in counts.values()) * clusters / (clusters - 1)
    design = spread * (of - 1) / (of * of * share * (1 - share))
    return of / max(1.0, design * (student(clusters - 1) / student(of - 1)) ** 2)


def student(freedom: int) -> float:
    """The quantile of Student's t that belongs to `Z` (Abramowitz and Stegun 26.7.5); within 1 % from 4 degrees of
    freedom on, too small below."""
    z, n = Z, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / n**power for power, term in enumerate(terms, 1))


def interval(counts: Mapping[str, Count]) -> Interval:
    """Of the share of hits in all clusters together, with `CONFIDENCE`."""
    hits, of = sum(count.hits for count in counts.values()), sum(count.of for count in counts.values())
    return wilson(hits / of if of else 0.0, effective(counts))
