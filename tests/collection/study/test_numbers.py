"""Rank correlation against pandas, intervals, thirds."""

import numpy as np
import pandas as pd
import pytest

from collection.study.numbers import correlations, estimate, explained, ranks, spearman, steps, thirds

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("values", [RNG.normal(size=40), RNG.integers(0, 4, 40).astype(float), np.zeros(40)])
def test_ranks_and_correlation_are_those_of_pandas(values: np.ndarray) -> None:
    other = np.round(values + RNG.normal(size=40), 1)
    frame = pd.DataFrame({"a": values, "b": other})
    assert (ranks(values) + 1).tolist() == frame["a"].rank().tolist()
    expected = 0.0 if values.std() == 0 else frame.rank().corr().loc["a", "b"]
    assert spearman(values[:, None], other[:, None]) == pytest.approx(expected)
    (((one,),),) = [correlations(values[:, None], other[:, None], [str(n) for n in range(40)])]
    assert one.value == pytest.approx(expected)
    assert one.low <= one.value <= one.high


def test_intervals_are_drawn_over_groups() -> None:
    """Repeating every value in its group adds no knowledge."""
    values = RNG.normal(size=60)
    once = estimate(lambda at: float(values[at].mean()), [str(n) for n in range(60)])
    copies, groups = np.repeat(values, 5), [str(n) for n in range(60) for _ in range(5)]
    often = estimate(lambda at: float(copies[at].mean()), groups)
    assert once.low < once.value < once.high
    assert (often.low, often.value, often.high) == pytest.approx((once.low, once.value, once.high))
    assert once.high - once.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(60), rel=0.15)


def test_thirds_and_steps() -> None:
    values = np.arange(300.0)
    assert np.bincount(steps(values, thirds(values))).tolist() == [100, 100, 100]
    assert steps(np.array([0.9, 1, 1.9, 2]), (1, 2)).tolist() == [0, 1, 1, 2]


def test_explained_variance() -> None:
    values, labels = np.array([1.0, 1, 3, 3]), np.array([0, 0, 1, 1])
    assert explained(values, labels) == 1
    assert explained(values, np.array([0, 1, 0, 1])) == 0
    assert explained(np.ones(4), labels) == 0
