"""Clips per second of `mlst.loader` and of webdataset with PyAV: `python -m benchmarks.loading DATASET`."""

import argparse
import io
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import webdataset
from torch.utils.data import DataLoader

import mlst
from mlst.dataset.description import DATASET, read_json


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4, help="per measurement")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is shown")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cells = [cell for cell in read_json(options.dataset / DATASET).cells if cell.split == "train"]
    print(f"{sum(cell.clips for cell in cells)} clips, batches of {options.batch_size}\n")
    print("| workers | mlst, clips/s | webdataset, clips/s | ratio |\n|---|---|---|---|")
    for workers in (0, 1, 2):
        best = {ours: 0.0, theirs: 0.0}
        for _ in range(options.repeats):  # in turn, so that what else runs here burdens both alike
            best = {run: max(rate, measure(run, options, workers)) for run, rate in best.items()}
        print(f"| {workers} | {best[ours]:.0f} | {best[theirs]:.0f} | {best[ours] / best[theirs]:.2f} |", flush=True)


def measure(run: Callable[[Path, int, int], Iterable[Any]], options: argparse.Namespace, workers: int) -> float:
    """Clips per second over all epochs, start of the workers included."""
    count, start = 0, time.perf_counter()
    for _ in range(options.epochs):
        for frames in run(options.dataset, options.batch_size, workers):
            assert frames.shape[1] == 30, "both should read 10 + 20 frames"
            count += len(frames)
    return count / (time.perf_counter() - start)


def ours(dataset: Path, batch_size: int, workers: int) -> Iterable[torch.Tensor]:
    """(B, T, C, H, W) uint8, shuffled, every clip's sha256 checked."""
    for batch in mlst.loader(mlst.load(dataset), batch_size, last="keep", workers=workers):
        yield batch.frames


def theirs(dataset: Path, batch_size: int, workers: int) -> Iterable[torch.Tensor]:
    """The same by a WebDataset pipeline, as its documentation writes one, with the card's PyAV decoder."""
    shards = sorted(map(str, dataset.glob("data/*/train-*.tar")))
    clips = (
        webdataset.WebDataset(shards, shardshuffle=len(shards), seed=0)
        .shuffle(1000)
        .to_tuple("mp4", "json")
        .map_tuple(decoded, lambda text: text)
        .batched(batch_size)
    )
    for frames, _ in DataLoader(clips, batch_size=None, num_workers=workers):
        yield frames


def decoded(video: bytes) -> torch.Tensor:
    """(T, C, H, W) uint8."""
    with av.open(io.BytesIO(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.ascontiguousarray(np.stack(frames[:30]).transpose(0, 3, 1, 2)))


if __name__ == "__main__":
    main()
