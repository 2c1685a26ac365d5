"""CPU of `mlst verify` beside a bare decode of all clips.

    python -m benchmarks.verifying DATASET [--repeats 5] [--json FILE]

The decode is PyAV's, on one thread, of every frame of every clip, nothing done with them. In turns: the decode, and
the command with one worker and with two. What the command takes to start is measured with a dataset of a few tiny
clips, made for it, and taken off: it does not grow with the dataset. Seconds are of CPU, of all processes together.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, publish
from benchmarks.loader import Run, bare, cpu, in_turns, parts
from mlst.dataset.description import read_dataset
from tests import tiny

AIM = 1.2
"""Times a bare decode, at most."""
DECODE = "bare decode"
WORKERS = {1: "by one worker", 2: "by two workers"}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    parser.add_argument("--repeats", type=int, default=5, help="turns; medians are told (default 5)")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    clips, small = parts(options.dataset), tiny.built()
    count, few = sum(map(len, clips)), read_dataset(small).clips
    runs: dict[str, Run] = {DECODE: lambda: sum(bare(part, 1) for part in clips)}
    for workers, name in WORKERS.items():
        runs[name] = partial(checked, options.dataset, workers, count)
        runs[f"start, {name}"] = partial(checked, small, workers, few)
    each = in_turns(runs, options.repeats, cpu)
    seconds = {name: [value * (few if name.startswith("start") else count) for value in each[name]] for name in each}
    print(f"{count} clips, {os.cpu_count()} cores, {options.repeats} turns\n")
    print("| what | CPU s | of it to start |\n|---|---:|---:|")
    print(f"| {DECODE} | {median(seconds[DECODE]):.2f} | |")
    for name in WORKERS.values():
        print(f"| verified {name} | {median(seconds[name]):.2f} | {median(seconds[f'start, {name}']):.2f} |")
    publish(figures(seconds), options.json, clips=count, seconds=seconds)


def checked(dataset: Path, workers: int, clips: int) -> int:
    """Run `mlst verify`; the number of clips. Raises `CalledProcessError` if anything is wrong."""
    command = (sys.executable, "-m", "collection", "verify", str(dataset), "--workers", str(workers))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return clips


def figures(seconds: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Medians of the ratios within a turn."""
    found = []
    for name in WORKERS.values():
        turns = zip(seconds[name], seconds[f"start, {name}"], seconds[DECODE], strict=True)
        ratio = median((whole - start) / decode for whole, start, decode in turns)
        found.append(Figure(f"verifying {name}", "times a decode", ratio, "at most", AIM))
    return found


if __name__ == "__main__":
    main()
