"""Bytes that ASTM keeps for the backward pass, per sample: `python -m benchmarks.astm_memory [--json FILE]`.

The paper's Table 1 says 225 MB for one sample of Moving MNIST, 10 -> 10 frames of 64 x 64.
Figures for one sample in float32:

saved   what autograd saves (`torch.autograd.graph.saved_tensors_hooks`), every storage once, without parameters; exact
        and the same on every machine, so by default counted on the meta device, where nothing is computed;
live    with --device cpu or cuda, what the allocator holds after the forward pass above what it held before (PyTorch's
        profiler, or `torch.cuda.memory_allocated`), which also counts whatever the hooks do not see;
peak    the most that it holds during forward and backward, gradients of the parameters included.
"""

import argparse
import itertools
import os
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # read when torch is imported: the profiler is chatty

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from astm import Predictor, count_parameters, create
from astm.evaluation.cost import saved_bytes
from astm.models import astm as implementation
from benchmarks.figures import Figure, publish

MIB = 2**20
AIM = 225.0
"""MB for a sample, at most."""
DEFAULT = "default: EIFAG recomputed"


def allocated(predictor: Predictor, past: Tensor, future: Tensor) -> tuple[int, int]:
    """Bytes held after the forward pass and at the worst moment of forward and backward, above those held before."""
    if past.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss = predictor.loss(past, future, 0)
        live = torch.cuda.memory_allocated() - before
        loss.backward()
        return live, torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as forward:
        loss = predictor.loss(past, future, 0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as backward:
        loss.backward()
    before = list(itertools.accumulate(_allocations(forward)))
    after = list(itertools.accumulate(_allocations(backward), initial=before[-1]))
    return before[-1], max(before + after)


def _allocations(run: profile) -> list[int]:
    """Bytes of each allocation (positive) and release (negative), in order of time."""
    events = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def plain_eifag(F: Tensor, history: implementation.History) -> Tensor:
    """Equations (7) and (8) as one writes them down; autograd keeps the stack, the products and the weights."""
    if len(history.memories) == 1:
        return history.memories[0]
    storages = [memory.untyped_storage() for memory in history.memories]  # an absent memory shares that of another
    C = torch.stack(list({id(storage): c for storage, c in zip(storages, history.memories, strict=True)}.values()))
    return (torch.softmax(C * F, dim=0) * C).sum(0)


def measure(name: str, norm: str, plain: bool, checkpoint: bool, device: str) -> dict[str, int]:
    """The figures of one row; "meta" computes nothing and has no allocator."""
    lean = implementation.eifag
    implementation.eifag = plain_eifag if plain else lean
    try:
        with torch.device(device):
            predictor = create(name, norm=norm, sampling_steps=0)
            past, future = torch.rand(2, 1, 10, 1, 64, 64)
        predictor.checkpoint = checkpoint
        row = {"parameters": count_parameters(predictor), "saved": saved_bytes(predictor, past, future)}
        if device != "meta":
            row["live"], row["peak"] = allocated(predictor, past, future)
        return row
    finally:
        implementation.eifag = lean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", default="meta", help="meta (default), cpu or cuda; only the last two run the model"
    )
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    variants = {
        "EIFAG as plain stack and softmax": ("astm", True, False),
        DEFAULT: ("astm", False, False),
        "checkpoint": ("astm", False, True),
        "Basic Model": ("astm_basic", False, False),
        "Basic Model, checkpoint": ("astm_basic", False, True),
    }
    rows = [
        {"norm": norm, "variant": label, **measure(name, norm, plain, checkpoint, arguments.device)}
        for norm in ("none", "group", "layer")
        for label, (name, plain, checkpoint) in variants.items()
    ]
    sizes = [key for key in ("saved", "live", "peak") if key in rows[0]]
    print("| norm | variant | parameters |" + "".join(f" {key} MiB |" for key in sizes))
    print("| --- | --- | ---: |" + " ---: |" * len(sizes))
    for row in rows:
        cells = "".join(f" {int(row[key]) / MIB:.1f} |" for key in sizes)
        print(f"| {row['norm']} | {row['variant']} | {int(row['parameters']):,} |{cells}")
    (saved,) = (int(row["saved"]) / 1e6 for row in rows if (row["norm"], row["variant"]) == ("none", DEFAULT))
    publish([Figure("kept by ASTM for a sample", "MB", saved, "at most", AIM)], arguments.json, rows=rows)


if __name__ == "__main__":
    main()
