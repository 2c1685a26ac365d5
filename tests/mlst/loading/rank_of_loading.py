"""One rank of `test_loading_ranks.py`: `python -m tests.mlst.loading.rank_of_loading DATASET STOP WORKERS`.

Trains a small model under DDP, stops after STOP batches, goes on from the gathered state in a new loader, and
prints what it saw and where it ended as JSON.
"""

import json
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import mlst

BATCH, STEPS, SEED = 3, 9, 5


def main(dataset: str, stop: int, workers: int) -> None:
    """Print {"keys": [[key, ...] of each batch], "weight": sum, "epoch": of the next batch}."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(3 * 32 * 32, 1))
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    clips = mlst.load(dataset, past=2, horizon=4)
    keys: list[list[str]] = []
    batches = mlst.loader(clips, BATCH, seed=SEED, workers=workers)
    while len(keys) < STEPS:
        for batch in batches:
            past, future = clips.cut(batch.frames)
            optimiser.zero_grad()
            (model(past[:, -1].flatten(1)) - future.mean((1, 2, 3, 4))[:, None]).square().mean().backward()
            optimiser.step()
            keys.append(list(batch.keys))
            if len(keys) in (stop, STEPS):
                break
        if len(keys) == stop:
            state = batches.state_dict()
            batches = mlst.loader(clips, BATCH, seed=SEED, workers=workers)
            batches.load_state_dict(state)
    weight = sum(float(p.double().sum()) for p in model.parameters())
    print(json.dumps({"keys": keys, "weight": weight, "epoch": batches.epoch}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
