"""The order of epochs, as pure functions."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlst.loading import order
from mlst.loading.batches import Batches, Share
from mlst.loading.errors import LoadError
from mlst.loading.order import ClipOrder, apportion, shuffled, weighted
from tests.mlst.loading.loading import through_json


def shards_of(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


def plain(count: int, seed: int = 0) -> ClipOrder:
    return ClipOrder(shards_of([count]), np.zeros(count, np.int64), (), True, seed)


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(0, 5), st.integers(0, 3))
def test_every_clip_once(sizes: list[int], seed: int, epoch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "BLOCK", 4)
        patch.setattr(order, "POOL", 16)
        found = shuffled(shards_of(sizes), seed, epoch)
    assert found.dtype == np.int64
    assert sorted(found.tolist()) == list(range(sum(sizes)))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    orders = {(seed, epoch): tuple(plain(50, seed).epoch(epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(set(orders.values())) == 9
    assert all(tuple(plain(50, s).epoch(e).tolist()) == found for (s, e), found in orders.items())


def test_order_stays_what_it_was() -> None:
    """A saved position means nothing if a version of NumPy or of ours changes the order."""
    assert plain(12).epoch(0).tolist() == [4, 5, 0, 9, 8, 10, 3, 1, 7, 6, 11, 2]


def test_every_place_is_equally_likely() -> None:
    """Chi squared of where clip 0 comes, over 4000 epochs of 8 clips: 24.3 is the 0.1 % point for 7 degrees."""
    places = Counter(int(np.flatnonzero(plain(8).epoch(epoch) == 0)[0]) for epoch in range(4000))
    assert sum((places[i] - 500) ** 2 / 500 for i in range(8)) < 24.3


def test_reading_stays_near() -> None:
    """At any moment few shards are wanted, and every shard for one stretch per block only."""
    shards = shards_of([512] * 100)
    found = shards[shuffled(shards, 0)]
    assert len(found) > 6 * order.POOL
    for start in range(0, len(found), order.POOL):
        pool = found[start : start + order.POOL]
        assert len(np.unique(pool)) <= order.POOL // order.BLOCK + 1
        assert sum(a != b for a, b in pairwise(pool.tolist())) > 0.8 * len(pool), "clips of a shard should not follow"
    assert len(np.unique(found[: order.POOL])) > 20, "a pool should mix many shards"


@given(st.lists(st.floats(0, 10), min_size=1, max_size=9).filter(lambda w: sum(w) > 0.1), st.integers(0, 500))
def test_apportion(weights: list[float], total: int) -> None:
    counts = apportion(weights, total)
    assert counts.sum() == total
    for weight, count in zip(weights, counts, strict=True):
        assert abs(count - weight / sum(weights) * total) < 1
        assert weight or not count


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 3.0, 0.0), (0.2, 0.5, 4.0)])
def test_weighted(weights: tuple[float, ...]) -> None:
    levels = np.repeat([0, 1, 2], [30, 8, 2])
    shards = np.repeat(np.arange(20), 2)
    drawn = [weighted(shards, levels, weights, 7, epoch) for epoch in range(6)]
    expected = apportion(weights, 40).tolist()
    for indices in drawn:
        assert np.bincount(levels[indices], minlength=3).tolist() == expected
    assert len({tuple(indices.tolist()) for indices in drawn}) == 6
    for level, size in enumerate((30, 8, 2)):
        stream = [i for indices in drawn for i in indices.tolist() if levels[i] == level]
        for start in range(0, len(stream) - size + 1, size):
            assert sorted(stream[start : start + size]) == np.flatnonzero(levels == level).tolist(), "a whole pass"


def test_levels_are_spread_evenly() -> None:
    levels = np.repeat([0, 1, 2], [600, 200, 100])
    found = levels[weighted(np.zeros(900, np.int64), levels, (1.0, 1.0, 1.0), 0, 0)]
    for start in range(0, 900, 90):
        counts = np.bincount(found[start : start + 90], minlength=3)
        assert counts.min() >= 28, "90 clips should hold nearly 30 of each level"


def steps(order: ClipOrder, batch: int, world: int, last: str) -> list[list[list[int]]]:
    """By step, then by rank."""
    ranks = [list(Batches(order, batch, last, Share(rank, world))) for rank in range(world)]  # type: ignore[arg-type]
    assert len({len(rank) for rank in ranks}) == 1, "every rank needs equally many batches"
    return [list(step) for step in zip(*ranks, strict=True)]


@pytest.mark.parametrize("last", ["drop", "pad"])
@pytest.mark.parametrize("count", [12, 13, 23, 24, 25])
def test_a_step_is_the_same_for_any_number_of_ranks(count: int, last: str) -> None:
    made = plain(count)
    alone = [sorted(step[0]) for step in steps(made, 12, 1, last)]
    assert len(alone) == (count // 12 if last == "drop" else -(-count // 12))
    for world, batch in ((2, 6), (3, 4), (4, 3), (12, 1)):
        shared = steps(made, batch, world, last)
        assert [sorted(i for rank in step for i in rank) for step in shared] == alone
        assert {len(rank) for step in shared for rank in step} == {batch}
    taken = [i for step in alone for i in step]
    if last == "drop":
        assert len(set(taken)) == len(taken) == count // 12 * 12
    else:
        extra = list((Counter(taken) - Counter(range(count))).elements())
        assert set(taken) == set(range(count))
        assert sorted(extra) == sorted(made.epoch(0)[: len(taken) - count].tolist())


def test_keep_gives_the_rest() -> None:
    assert [len(b) for b in Batches(plain(10), 4, "keep", Share(0, 1))] == [4, 4, 2]
    with pytest.raises(LoadError, match="keep with one rank"):
        Batches(plain(10), 4, "keep", Share(0, 2))


@pytest.mark.parametrize("last", ["drop", "pad"])
@pytest.mark.parametrize("world", [1, 2])
def test_resume_at_every_step(last: str, world: int) -> None:
    def run(batches: Batches, count: int) -> list[list[int]]:
        found: list[list[int]] = []
        while len(found) < count:
            for batch in batches:
                batches.advance()
                found.append(batch)
                if len(found) == count:
                    break
        return found

    for rank in range(world):
        share = Share(rank, world)
        whole = run(Batches(plain(14), 3, last, share), 12)  # type: ignore[arg-type]
        for stop in range(12):
            first = Batches(plain(14), 3, last, share)  # type: ignore[arg-type]
            before = run(first, stop)
            second = Batches(plain(14), 3, last, share)  # type: ignore[arg-type]
            second.load_state_dict(through_json(first.state_dict()))
            assert before + run(second, 12 - stop) == whole


def test_resume_with_another_number_of_ranks() -> None:
    first = Batches(plain(24), 6, "drop", Share(0, 1))
    taken = []
    for batch, _ in zip(first, range(2), strict=False):
        first.advance()
        taken += batch
    rest = []
    for rank in range(2):
        second = Batches(plain(24), 2, "drop", Share(rank, 2))
        second.load_state_dict(through_json(first.state_dict()))
        assert len(second) == 3
        rest += [i for batch in second for i in batch]
    assert sorted(taken + rest) == list(range(24))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "seed 5 instead of 0"),
        ({"clips": 9}, "clips 9 instead of 14"),
        ({"weights": [1.0]}, "weights"),
        ({"state": 0}, "state 0"),
        ({"epoch": -1}, "epoch -1"),
        ({"taken": 15}, "15 of 14"),
        ({"taken": "3"}, "'3'"),
        ({"taken": True}, "True"),
    ],
)
def test_foreign_states_are_refused(change: dict[str, object], message: str) -> None:
    batches = Batches(plain(14), 3)
    with pytest.raises(LoadError, match=message):
        batches.load_state_dict({**batches.state_dict(), **change})
    with pytest.raises(LoadError):
        batches.load_state_dict({})


@pytest.mark.parametrize(
    ("batch", "last", "share"),
    [(0, "drop", (0, 1)), (3, "drop", (2, 2)), (3, "drop", (-1, 2)), (15, "drop", (0, 1)), (8, "drop", (0, 2)),
     (3, "all", (0, 1))],
)  # fmt: skip
def test_impossible_batches_are_refused(batch: int, last: str, share: tuple[int, int]) -> None:
    with pytest.raises(LoadError):
        Batches(plain(14), batch, last, Share(*share))  # type: ignore[arg-type]


def test_a_small_dataset_can_be_padded() -> None:
    (only,) = Batches(plain(3), 8, "pad", Share(0, 1))
    assert Counter(only) == Counter({i: 8 // 3 + (i in plain(3).epoch(0)[:2]) for i in range(3)})


def test_torchrun_says_which_part_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Batches(plain(14), 3).share == Share(1, 3)
