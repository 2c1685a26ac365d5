"""Intervals of a share, against published figures and by drawing at random."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from collection.audit.share import Count, effective, interval, student, wilson


def apart(hits: int, of: int) -> dict[str, Count]:
    """Draws that have nothing to do with each other."""
    return {str(i): Count(int(i < hits), 1) for i in range(of)}


@pytest.mark.parametrize(("hits", "of"), [(0, 20), (1, 29), (15, 148), (81, 263), (20, 20)])
def test_wilson_is_that_of_scipy(hits: int, of: int) -> None:
    theirs = stats.binomtest(hits, of).proportion_ci(method="wilson")
    ours = interval(apart(hits, of))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_wilson_of_a_published_case() -> None:
    """Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263."""
    assert wilson(81 / 263, 263).low == pytest.approx(0.2553, abs=5e-5)
    assert wilson(81 / 263, 263).high == pytest.approx(0.3662, abs=5e-5)


def test_nothing_seen_says_nothing() -> None:
    assert (interval({}).low, interval({}).high) == (0.0, 1.0)


@pytest.mark.parametrize("freedom", [4, 5, 10, 30, 300])
def test_quantiles_of_students_t(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_clusters_whose_draws_all_agree_count_once() -> None:
    counts = {str(i): Count(10 * (i % 4 == 0), 10) for i in range(40)}
    assert effective(counts) == pytest.approx(40, rel=0.1)
    alone = {str(i): Count(int(i % 4 == 0), 1) for i in range(40)}
    assert effective(alone) == pytest.approx(40, rel=0.1)


def clustered(rng: np.random.Generator, shares: Sequence[float], size: int) -> dict[str, Count]:
    return {str(i): Count(int(rng.binomial(size, share)), size) for i, share in enumerate(shares)}


def test_intervals_hold_the_share_of_clustered_draws() -> None:
    """40 sources with 10 clips each, their own shares beta distributed around 10 %; 95 % are promised."""
    rng = np.random.default_rng(3)
    drawn = [clustered(rng, rng.beta(0.3, 2.7, 40), 10) for _ in range(800)]
    held = [(i := interval(counts)).low <= 0.1 <= i.high for counts in drawn]
    naive = [
        (i := wilson(hits / 400, 400)).low <= 0.1 <= i.high
        for hits in (sum(count.hits for count in counts.values()) for counts in drawn)
    ]
    assert np.mean(held) >= 0.92
    assert np.mean(naive) < 0.85
