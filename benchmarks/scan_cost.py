"""CPU of the stage `scan` over CPU of a plain decode of the same videos with PyAV on one thread.

Both alternate; of each the median counts. With `--beside` another checkout is scanned in the same run.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2

from collection.media.probe import probe
from collection.recipe import Limits, ScanSettings
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END, STATISTICS, Upstream, Video

NOWHERE = Upstream("file", "", "", "", "", "", "", "", "", "", 0, 0.0, 0, "", "")


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=5, help="of each, alternating (default 5)")
    parser.add_argument("--beside", type=Path, help="another checkout, measured alternately with this one")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps([asdict(measured(path)) for path in options.videos]))
        return
    here = Path(__file__).parent.parent
    trees = [options.beside.resolve(), here] if options.beside else [here]
    print(f"OpenCV {cv2.__version__}, PyAV {av.__version__}, {os.cpu_count()} cores, {options.runs} runs")
    print(f"| video | {' | '.join(['beside', 'here'][-len(trees) :])} | same |")
    print(f"|---|{'---|' * len(trees)}---|")
    for path in options.videos:
        runs = [[once(tree, path) for tree in trees] for _ in range(options.runs)]
        print(
            f"| {path.name} | {' | '.join(ratio(column) for column in zip(*runs, strict=True))} | {same(runs)} |",
            flush=True,
        )


def once(tree: Path, path: Path) -> Cost:
    """One measurement in a process of its own, of the code of a checkout."""
    code = [sys.executable, str(Path(__file__).resolve()), "--once", str(path.resolve())]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    shown = subprocess.run(code, env=environment, cwd=tree, check=True, capture_output=True, text=True).stdout
    (found,) = json.loads(shown)
    return Cost(**found)


def measured(path: Path) -> Cost:
    """Decode, then scan with default settings and every statistic, in this process."""
    cv2.setNumThreads(1)
    decode = min(cpu_of_decode(path) for _ in range(2))
    stage = ScanStage(ScanSettings(), "brightest", STATISTICS)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "video").symlink_to(path.resolve())
        item = video(Path(folder) / "video")
        began = time.process_time()
        (found,) = stage(item, Workspace(Path(folder), "scan"))
        scan = time.process_time() - began
        content = hashlib.sha256(repr(found).encode() + (Path(folder) / found.file).read_bytes()).hexdigest()
    return Cost(decode, scan, found.stream.frames, len(found.clips), content)


def cpu_of_decode(path: Path) -> float:
    """Of every frame, on one thread, nothing done with them."""
    began = time.process_time()
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        for _ in media.decode(stream):
            pass
    return time.process_time() - began


def video(path: Path) -> Video:
    """The item of a file, all of it wanted."""
    seen, sha256 = probe(path, Limits()), hashlib.sha256(path.read_bytes()).hexdigest()
    origin = seen.first_pts * seen.time_base
    return Video("v", Fraction(0), OPEN_END, path.name, path.stat().st_size, sha256, origin, seen, NOWHERE)


def ratio(costs: Sequence[Cost]) -> str:
    """Median scan over median decode."""
    scan, decode = (statistics.median(getattr(cost, name) for cost in costs) for name in ("scan", "decode"))
    return f"{scan / decode:.2f}"


def same(runs: Sequence[Sequence[Cost]]) -> str:
    """Whether every run gave the same record and clips."""
    return "yes" if len({cost.sha256 for row in runs for cost in row}) == 1 else "NO"


if __name__ == "__main__":
    main()
