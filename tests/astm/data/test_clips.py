"""Order and batches: pure functions of (seed, epoch), whoever loads."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from astm.data.clips import (
    ClipFrames,
    Clips,
    DataError,
    DataSettings,
    find_dataset,
    ordered_batches,
    position,
    training_batches,
)
from mlst.loading import Share

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


class Numbers(Clips):
    """Clip i shows the number i."""

    protocol = "numbers"

    def __len__(self):
        return 11

    def __getitem__(self, index):
        return ClipFrames(np.full((5, 1, 8, 8), index, np.uint8), str(index), "all")


@pytest.fixture
def numbers():
    return Numbers(DataSettings(past=2, horizon=3), "train")


def take(batches, count):
    return [next(batches).keys for _ in range(count)]


def test_every_epoch_has_every_clip_in_another_order(numbers):
    assert not np.array_equal(numbers.order(0, 0), numbers.order(0, 1))
    assert not np.array_equal(numbers.order(0, 0), numbers.order(1, 0))
    assert sorted(numbers.order(3, 7)) == list(range(11))


def test_batches(numbers):
    batch = next(training_batches(numbers, 0, 4, 0, 0, CPU))
    assert batch.past.shape == (4, 2, 1, 8, 8)
    assert batch.future.shape == (4, 3, 1, 8, 8)
    assert batch.past.dtype == torch.float32
    assert batch.levels == ("all",) * 4
    assert torch.equal(batch.past[:, 0, 0, 0, 0], torch.tensor([int(key) for key in batch.keys]) / 255)


def test_order_does_not_depend_on_workers(numbers):
    alone = take(training_batches(numbers, 5, 3, 0, 0, CPU), 7)
    assert take(training_batches(numbers, 5, 3, 0, 2, CPU), 7) == alone


def test_a_signal_to_all_processes_does_not_end_the_workers(numbers):
    """As `torchrun`, SLURM and Ctrl-C send it; the trainer still needs them for the step that it is at."""
    batches = training_batches(numbers, 5, 3, 0, 2, CPU)
    first = take(batches, 2)  # one of each worker, so both have begun
    children = multiprocessing.active_children()
    for child, number in itertools.product(children, (signal.SIGTERM, signal.SIGINT)):
        os.kill(child.pid, number)
    assert first + take(batches, 30) == take(training_batches(numbers, 5, 3, 0, 0, CPU), 32)
    assert len(children) == 2
    batches.close()
    for child in children:
        child.join(20)
        assert child.exitcode == 0


def test_a_step_may_take_longer_than_workers_wait(numbers, monkeypatch):
    monkeypatch.setattr("astm.data.clips.GRACE", 1)
    batches = training_batches(numbers, 5, 3, 0, 1, CPU)
    take(batches, 1)
    (child,) = multiprocessing.active_children()
    os.kill(child.pid, signal.SIGTERM)
    until = time.monotonic() + 20
    while child.is_alive() and time.monotonic() < until:  # the loader's own handler of SIGCHLD would raise here
        time.sleep(0.05)
    assert child.exitcode == 0


@pytest.mark.slow
def test_workers_do_not_outlive_a_trainer_that_ends_by_an_exception():
    """The interpreter sends them SIGTERM and waits for them as it exits, where something still holds the loader."""
    code = (
        "from astm.data import clips; from tests.astm.data.test_clips import CPU, Numbers; clips.GRACE = 1; "
        "batches = clips.training_batches(Numbers(clips.DataSettings(past=2, horizon=3), 'train'), 5, 3, 0, 2, CPU); "
        "next(batches), next(batches); raise SystemError('a bug')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "SystemError: a bug" in ended.stderr


def test_starting_later_goes_on(numbers):
    """11 clips give two batches of 5 an epoch."""
    whole = take(training_batches(numbers, 5, 5, 0, 0, CPU), 6)
    for start in range(6):
        assert take(training_batches(numbers, 5, 5, start, 0, CPU), 6 - start) == whole[start:]
    assert [position(numbers, 5, taken) for taken in (0, 1, 2, 5)] == [(0, 0), (0, 1), (1, 0), (2, 1)]


def test_ranks_share_each_batch(numbers):
    whole = take(training_batches(numbers, 5, 4, 0, 0, CPU), 4)
    halves = [take(training_batches(numbers, 5, 4, 0, 0, CPU, Share(rank, 2)), 4) for rank in (0, 1)]
    assert [tuple(sorted(a + b)) for a, b in zip(*halves, strict=True)] == [tuple(sorted(keys)) for keys in whole]


def test_ordered_batches_have_each_clip_once(numbers):
    assert [b.keys for b in ordered_batches(numbers, 7, 3, 0, CPU)] == [("0", "1", "2"), ("3", "4", "5"), ("6",)]
    assert sum(len(b.keys) for b in ordered_batches(numbers, 0, 4, 0, CPU)) == 11
    shares = [ordered_batches(numbers, 0, 4, 0, CPU, Share(rank, 2)) for rank in (0, 1)]
    assert sorted(int(k) for share in shares for b in share for k in b.keys) == list(range(11))


def test_loading_leaves_the_global_generator_alone(numbers):
    before = torch.get_rng_state()
    take(training_batches(numbers, 5, 4, 0, 0, CPU), 2)
    assert torch.equal(before, torch.get_rng_state())


def test_refusals(numbers):
    with pytest.raises(DataError, match="11 clips do not fill a batch of 12"):
        next(training_batches(numbers, 0, 12, 0, 0, CPU))
    with pytest.raises(DataError, match="not a multiple of the 2 processes"):
        next(training_batches(numbers, 0, 3, 0, 0, CPU, Share(0, 2)))
    with pytest.raises(DataError, match="unknown split 'dev'; choices are train, validation, test"):
        Numbers(DataSettings(), "dev")


@pytest.mark.parametrize("name", [":Class", "..own:Class", "../own:Class", "module:", "a..b:Class"])
def test_a_name_that_cannot_be_imported_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"must be package\.module:Class"):
        find_dataset(name)
