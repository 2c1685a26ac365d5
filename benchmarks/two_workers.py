"""How much faster a build is with two workers than with one, by the clock: for two cores that do little else.

    python -m benchmarks.two_workers [VIDEO ...] [--copies 1] [--runs 3] [--json FILE]

`mlst build` of the same videos with one worker and with two, in turns. What a build of two small videos takes, with as
many workers, is taken off each: starting does not count. Copies make the last video, on which one worker waits for the
other, a smaller part of it; they end as duplicates, and may be in two splits, so nothing is verified. Where a single
worker takes much longer by the clock than of CPU, the machine was not this benchmark's alone, and the ratio says
nothing.
"""

import argparse
import ctypes
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, publish
from benchmarks.material import ROOT, demo
from benchmarks.small_items import SUBREAPER, Cost, build, made

AIM = 1.85
"""Times one worker, at least."""
BUSY, QUIET = "the clock of one worker beside its CPU", 1.2
"""Above that, others had the cores as well."""
FEW = 2
"""Small videos, one for each worker."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Builds with the same number of workers."""

    workers: int
    few: Cost
    many: Cost

    @property
    def wall(self) -> float:
        """Seconds beyond starting."""
        return self.many.wall - self.few.wall


def main() -> None:
    """Print a table, one line per build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*", help="default: all of the demo")
    parser.add_argument("--copies", type=int, default=1, help="of each video (default 1)")
    parser.add_argument("--runs", type=int, default=3, help="turns; medians are told (default 3)")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| workers | s | of it to start | CPU s | driver's CPU s |\n|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        few, many = made(Path(folder), FEW)[True], copied(options.videos or demo(), options.copies, Path(folder))
        turns = [[pair(few, many, workers) for workers in (1, 2)] for _ in range(options.runs)]
    publish(figures(turns), options.json, turns=[list(map(asdict, turn)) for turn in turns])
    if len({one.many.sha256 for turn in turns for one in turn}) > 1:
        raise SystemExit("the datasets are not the same")


def copied(videos: Sequence[Path], copies: int, folder: Path) -> Path:
    """A folder with as many copies of each video."""
    (folder / "many").mkdir()
    for copy in range(copies):
        for video in videos:
            shutil.copy(video, folder / "many" / f"{copy}_{video.name}")
    return folder / "many"


def pair(few: Path, many: Path, workers: int) -> Pair:
    """Both builds, each in a folder of its own that is removed."""
    costs = []
    for media in (few, many):
        with tempfile.TemporaryDirectory() as folder:
            costs.append(build(ROOT, media, ["--workers", str(workers), "--no-verify"], Path(folder) / "built"))
    start, whole = costs
    print(f"| {workers} | {whole.wall:.1f} | {start.wall:.1f} | {whole.cpu:.1f} | {whole.driver:.1f} |", flush=True)
    return Pair(workers, start, whole)


def figures(turns: Sequence[Sequence[Pair]]) -> list[Figure]:
    """Medians of ratios within a turn."""
    ratios = {
        "the same, start included": [one.many.wall / two.many.wall for one, two in turns],
        "CPU of two workers beside one": [two.many.cpu / one.many.cpu for one, two in turns],
        BUSY: [one.many.wall / one.many.cpu for one, _ in turns],
    }
    claim, faster = "two workers beside one", median(one.wall / two.wall for one, two in turns)
    if median(ratios[BUSY]) > QUIET:
        first = Figure(f"{claim}: says nothing, the machine is busy", "times", faster)
    else:
        first = Figure(claim, "times", faster, "at least", AIM)
    return [first, *(Figure(name, "times", median(values)) for name, values in ratios.items())]


if __name__ == "__main__":
    main()
