"""Loading under DistributedDataParallel, with real processes."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import torch

from mlst.loading import Share, load, loader
from tests import tiny
from tests.mlst.loading.loading import SHORT
from tests.mlst.loading.rank_of_loading import BATCH, SEED, STEPS

pytestmark = pytest.mark.slow

torch.set_num_threads(1)


def ranks(world: int, stop: int, workers: int) -> list[dict[str, Any]]:
    """What each rank prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.mlst.loading.rank_of_loading", str(tiny.built()), str(stop), str(workers)]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    started = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    try:
        printed = [process.communicate(timeout=200)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * world
    return [json.loads(text.splitlines()[-1]) for text in printed]


@pytest.mark.parametrize(("stop", "workers"), [(0, 0), (6, 2)])
def test_two_ranks_share_what_one_would_take(stop: int, workers: int) -> None:
    """Interrupted inside the second epoch or not, with and without workers."""
    first, second = ranks(2, stop, workers)
    assert len(first["keys"]) == len(second["keys"]) == STEPS
    clips = load(tiny.built(), **SHORT)
    alone = loader(clips, 2 * BATCH, seed=SEED, share=Share(0, 1))
    expected: list[list[str]] = []
    while len(expected) < STEPS:
        expected += [sorted(batch.keys) for batch in alone]
    together = [sorted(a + b) for a, b in zip(first["keys"], second["keys"], strict=True)]
    assert together == expected[:STEPS]
    epoch = len(clips) // (2 * BATCH)
    assert len({key for keys in together[:epoch] for key in keys}) == len(clips)
    assert first["weight"] == second["weight"]
    assert first["epoch"] == second["epoch"] == STEPS // epoch
