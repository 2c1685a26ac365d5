"""CPU of the stage `scan` over CPU of a plain decode of the same videos with PyAV on one thread.

    python -m benchmarks.scan_cost [VIDEO ...] [--runs 5] [--beside CHECKOUT] [--json FILE]

Both in turns, each time in a process of its own; of each the median counts, and of the videos of one height the median
ratio. Settings are those of a recipe without any; `--statistics` and `--active-picture` change them. Without videos it
takes one of the demo's for each height, and one of 1080p scaled up. With `--beside` another checkout is scanned in the
same run and has to give the same records and clips.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import cv2

from benchmarks.figures import Figure, publish
from benchmarks.material import TIERS, demo, tier, with_full_hd

AIMS = {1080: 1.5, 720: 2.0, 480: 3.0, 360: 4.0, 240: 8.0}
"""By height: a scan over a decode."""
SHORT = ("bbb_opening_30s_1280x720", "his_girl_friday", "stream_of_water", "rabbit_orbit")
"""Of the demo, one of each height that it has."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one video."""

    decode: float
    scan: float
    frames: int
    clips: int
    sha256: str
    """Of the record and of the clips."""


def main() -> None:
    """Print a table, one line per video, as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--runs", type=int, default=5, help="of each, in turns (default 5)")
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--statistics", choices=("default", "all", "needed"), default="default")
    parser.add_argument("--active-picture", choices=("brightest", "edges"), help="default: that of the levels")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    trees = {"beside": options.beside.resolve()} if options.beside else {}
    trees["here"] = Path(__file__).resolve().parent.parent
    how = [f"--statistics={options.statistics}", f"--active-picture={options.active_picture or ''}"]
    print(f"OpenCV {cv2.__version__}, PyAV {av.__version__}, {os.cpu_count()} cores, {options.runs} runs")
    print(f"| video | lines | {' | '.join(trees)} | same |\n|---|---:|{'---:|' * len(trees)}---|")
    rows: dict[str, list[list[Cost]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or with_full_hd(demo(*SHORT), Path(folder))
        heights = {path.name: tier(path) for path in videos}
        for path in videos:
            runs = [[once(tree, path, how) for tree in trees.values()] for _ in range(options.runs)]
            rows[path.name] = runs
            ratios = " | ".join(f"{ratio(column):.2f}" for column in zip(*runs, strict=True))
            print(f"| {path.name} | {heights[path.name]} | {ratios} | {same(runs)} |", flush=True)
    detail = {name: [list(map(asdict, run)) for run in runs] for name, runs in rows.items()}
    publish(figures({name: [run[-1] for run in runs] for name, runs in rows.items()}, heights), options.json,
            trees=list(trees), runs=detail)  # fmt: skip
    if any(same(runs) == "NO" for runs in rows.values()):
        raise SystemExit("records or clips are not the same")


def once(tree: Path, path: Path, how: Sequence[str]) -> Cost:
    """One measurement in a process of its own, of the code of a checkout."""
    code = [sys.executable, str(Path(__file__).with_name("scan_once.py").resolve()), str(path.resolve()), *how]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    shown = subprocess.run(code, env=environment, cwd=tree, check=True, stdout=subprocess.PIPE).stdout
    return Cost(**json.loads(shown))


def ratio(costs: Sequence[Cost]) -> float:
    """Median scan over median decode."""
    return statistics.median(cost.scan for cost in costs) / statistics.median(cost.decode for cost in costs)


def same(runs: Sequence[Sequence[Cost]]) -> str:
    """Whether every run gave the same record and clips."""
    return "yes" if len({cost.sha256 for row in runs for cost in row}) == 1 else "NO"


def figures(runs: Mapping[str, Sequence[Cost]], heights: Mapping[str, int]) -> list[Figure]:
    """For each height the median of its videos' ratios."""
    ratios: dict[int, list[float]] = defaultdict(list)
    for name, costs in runs.items():
        ratios[heights[name]].append(ratio(costs))
    return [
        Figure(f"scan of {height}p", "times a decode", statistics.median(ratios[height]), "at most", AIMS[height])
        for height in reversed(TIERS)
        if ratios[height]
    ]


if __name__ == "__main__":
    main()
