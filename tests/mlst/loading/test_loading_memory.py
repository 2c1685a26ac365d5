"""Memory of batches: used again, never under who holds one; and what the loader asks for ahead."""

import gc
from collections.abc import Iterator
from itertools import islice

import pytest
import torch

from mlst.loading import Batch, ClipDataset, load, loader
from mlst.loading.filling import Task, Wanted, schedule
from mlst.loading.memory import LANE, NONE, Slots
from tests import tiny
from tests.mlst.loading.loading import SHORT


@pytest.fixture(scope="module")
def clips() -> ClipDataset:
    return load(tiny.built(), **SHORT)


def test_a_slot_is_free_when_the_last_tensor_on_it_is_gone() -> None:
    slots = Slots((2, 3), 2)
    assert [slots.lend(1) for _ in range(LANE + 1)] == [*range(LANE, 2 * LANE), NONE]
    whole = slots.taken(LANE, 2)
    part = whole[0, 1:]
    del whole
    gc.collect()
    slots.lent.clear()
    assert slots.lend(1) == LANE + 1, "a view of it is still there"
    del part
    gc.collect()
    assert slots.lend(1) == LANE


@pytest.mark.parametrize(("workers", "threads"), [(0, 0), (0, 2), (1, 0), (2, 1)])
def test_batches_that_are_held_stay_as_they_are(clips: ClipDataset, workers: int, threads: int) -> None:
    """Also those of iterations that were broken off."""
    batches = loader(clips, 2, seed=1, workers=workers, threads=threads)
    held: list[Batch] = []
    for count in (1, 2, 30):
        held += islice(batches, count)
    assert len(held) == 12
    for batch in held:
        for frames, row in zip(batch.frames, batch.rows.tolist(), strict=True):
            assert torch.equal(frames, clips[row].frames)


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_is_used_again(clips: ClipDataset, workers: int) -> None:
    places = {batch.frames.data_ptr() for batch in loader(clips, 2, workers=workers)}
    assert len(places) <= LANE


def test_schedule_names_what_the_same_worker_makes_next() -> None:
    slots = Slots((1, 1), 2)
    wanted = list(schedule(((i, i + 10) for i in range(6)), slots, 2))
    assert [w.now.rows for w in wanted] == [(i, i + 10) for i in range(6)]
    assert [w.then and w.then.rows for w in wanted] == [*((i, i + 10) for i in range(2, 6)), None, None]
    assert [w.later for w in wanted][:3] == [(4, 14), (5, 15), ()]
    assert all(w.then == wanted[i + 2].now for i, w in enumerate(wanted[:4]))
    assert [w.now.slot // LANE for w in wanted] == [0, 1] * 3


def test_schedule_draws_no_more_than_it_looks_ahead() -> None:
    drawn: list[int] = []

    def batches() -> Iterator[list[int]]:
        for i in range(100):
            drawn.append(i)
            yield [i]

    assert next(schedule(batches(), Slots((1, 1), 2), 3)) == Wanted(Task((0,), 0), Task((2,), 1), (4, 6))
    assert len(drawn) == 7
