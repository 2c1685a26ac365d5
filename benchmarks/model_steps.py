"""CPU seconds and memory of a training step of each model at the size of its paper, one clip of Moving MNIST.

    python -m benchmarks.model_steps [MODEL ...] [--batch 1] [--repeat 1] [--count] [--json FILE]

Code, settings and random pictures are those of the benchmark on a GPU (`benchmarks.gpu`), in float32 on one thread,
each model in a process of its own: the best of two steps or more, and the most memory that the process had beyond what
it began with. `--count` takes no steps and tells only what autograd keeps on the meta device, where nothing is
computed: done in seconds.
"""

import argparse
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from astm.evaluation.cost import saved_bytes
from astm.size import count_parameters
from benchmarks.figures import Figure, publish
from benchmarks.gpu.forms import Case, Job, models
from benchmarks.gpu.speed import step, subject
from benchmarks.gpu.ways import prepare

MB = 1e6


@dataclass(frozen=True, slots=True)
class Step:
    """Of one model."""

    model: str
    parameters: int
    kept: int
    """Bytes that autograd keeps for the backward pass."""
    seconds: float
    """CPU of a step: forward, backward, clipping, Adam; 0 where none was taken."""
    memory: int
    """Bytes that the process had at most, beyond those before the model was made; 0 where no step was taken."""


def main() -> None:
    """Print a table, one line per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"default: all, {', '.join(models())}")
    parser.add_argument("--batch", type=int, default=1, help="clips (default 1)")
    parser.add_argument("--repeat", type=int, default=1, help="steps after the first (default 1)")
    parser.add_argument("--count", action="store_true", help="take no steps")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    if unknown := set(options.models) - set(models()):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(models())}")
    print("| model | parameters | kept for the backward pass, MB | CPU s of a step | memory, MB |")
    print("|---|---:|---:|---:|---:|")
    found = []
    for name in options.models or models():
        found.append(counted(name, options.batch) if options.count else alone(name, options.batch, options.repeat))
        show(found[-1])
    publish(figures(found), options.json, batch=options.batch, steps=list(map(asdict, found)))


def show(one: Step) -> None:
    """A line of the table."""
    took = f"{one.seconds:.2f} | {one.memory / MB:.0f}" if one.seconds else "| "
    print(f"| `{one.model}` | {one.parameters:,} | {one.kept / MB:.0f} | {took} |", flush=True)


def alone(name: str, batch: int, repeat: int) -> Step:
    """Steps in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(taken, name, batch, repeat).result()


def counted(name: str, batch: int) -> Step:
    """What autograd keeps."""
    with torch.device("meta"):
        found = subject(Case(name, "paper", "eager", "float32", batch), job("meta"))
        kept = saved_bytes(found.predictor, found.past, found.future)
    return Step(name, count_parameters(found.predictor), kept, 0.0, 0)


def taken(name: str, batch: int, repeat: int) -> Step:
    """Steps on the CPU."""
    torch.set_num_threads(1)
    case = Case(name, "paper", "eager", "float32", batch)
    before = peak()
    found = subject(case, job("cpu"))
    ready = prepare(found.predictor, case.way, case.precision, found.past, found.future)
    seconds = []
    for _ in range(1 + repeat):
        began = time.process_time()
        step(ready, found)
        seconds.append(time.process_time() - began)
    kept = saved_bytes(found.predictor, found.past, found.future)
    return Step(name, count_parameters(found.predictor), kept, min(seconds), peak() - before)


def job(device: str) -> Job:
    """No file is read or written."""
    return Job(Path(), Path(), device, smoke=False)


def peak() -> int:
    """Bytes of resident memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def figures(steps: Sequence[Step]) -> list[Figure]:
    """None has an aim."""
    took = [Figure(f"training step of {one.model}", "CPU s", one.seconds) for one in steps if one.seconds]
    held = [Figure(f"memory of a step of {one.model}", "MB", one.memory / MB) for one in steps if one.seconds]
    kept = [Figure(f"kept for the backward pass of {one.model}", "MB", one.kept / MB) for one in steps]
    return [*took, *(held or kept)]


if __name__ == "__main__":
    main()
