"""CPU of a build beyond the work itself, for videos so short that little else is left.

    python -m benchmarks.small_items [--videos 1000] [--executor local ray] [--beside CHECKOUT] [--json FILE]

`mlst build` of videos of one second and 64 x 64 pixels, less a build of the first few, by number of videos: so what
starting a build takes does not count. The CPU time is that of all processes, also of those that outlive the command.
The work is what probing, hashing and scanning the same videos take in one process that has done it before. The
videos are copies of ten, so that nearly all of them end as duplicates and little is packed, shown and verified. With
`--beside` another checkout is measured in turns with this one, and has to give the same dataset.
"""

import argparse
import ctypes
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, publish
from benchmarks.scan_once import scan_stage, video
from collection.workspace.folder import Workspace
from tests.synthetic import Spec, burn, texture, write

AIMS = {"local": 199.0, "ray": 95.0}
"""CPU ms of a video beyond the work, by executor: half of the 398 and 190 that it once was."""
DRIVER = 3.0
"""CPU ms of the driver for an item, at most."""
LOOKS = 10
"""Different videos."""
ITEMS = 2
"""Of stages, for each video: it is fetched and scanned."""
FEW = 20
"""Videos of the build that tells what starting one takes."""
SPEC = Spec(frames=36, width=64, height=64, rate=Fraction(30))
"""A clip of 30 frames, and the margins of its shot."""
TICK = os.sysconf("SC_CLK_TCK")
SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: what the command leaves behind becomes a child of this process."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a build, seconds."""

    cpu: float
    """Of all processes."""
    driver: float
    """CPU of the command's own process."""
    wall: float
    sha256: str
    """Of the dataset's description, which has those of all its files."""


def main() -> None:
    """Print a table with a line for each executor and checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--executor", nargs="+", choices=AIMS, default=["local"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    trees = {"before": options.beside.resolve()} if options.beside else {}
    trees["here"] = Path(__file__).resolve().parent.parent
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        media = made(Path(folder), options.videos)
        work = work_of(sorted(media[True].iterdir())[: 5 * LOOKS])
        print(f"{options.videos} videos, {options.workers} workers; the work: {1000 * work:.1f} ms of CPU per video\n")
        print("| executor | code | CPU ms per video | beyond the work | of the driver | wall ms | to start, CPU s |")
        print("|---|---|---:|---:|---:|---:|---:|", flush=True)
        rows = [row for name in options.executor for row in measured(name, options, trees, media)]
    for row in rows:
        each = " | ".join(f"{1000 * row.each(name):.1f}" for name in ("cpu", "driver", "wall"))
        cpu, *others = each.split(" | ")
        beyond = f"{1000 * (row.each('cpu') - work):.1f}"
        print(f"| {row.executor} | {row.code} | {cpu} | {beyond} | {' | '.join(others)} | {row.start:.1f} |")
    here = [row for row in rows if row.code == "here"]
    publish([figure for row in here for figure in figures(row, work)], options.json, work=work,
            rows=list(map(asdict, rows)))  # fmt: skip
    if len({row.many.sha256 for row in rows}) > 1:
        raise SystemExit("the datasets are not the same")


@dataclass(frozen=True, slots=True)
class Row:
    """Of the table: two builds."""

    executor: str
    code: str
    videos: int
    few: Cost
    many: Cost

    def each(self, name: str) -> float:
        """Seconds of a kind per video."""
        return float(getattr(self.many, name) - getattr(self.few, name)) / (self.videos - FEW)

    @property
    def start(self) -> float:
        """CPU seconds of a build without videos."""
        return self.few.cpu - FEW * self.each("cpu")


def figures(row: Row, work: float) -> list[Figure]:
    """Of an executor, ms."""
    beyond, driver = 1000 * (row.each("cpu") - work), 1000 * row.each("driver") / ITEMS
    return [
        Figure(f"CPU of a video beyond the work, {row.executor}", "ms", beyond, "at most", AIMS[row.executor]),
        Figure(f"CPU of the driver for an item, {row.executor}", "ms", driver, "at most", DRIVER),
    ]


def measured(
    executor: str, options: argparse.Namespace, trees: dict[str, Path], media: dict[bool, Path]
) -> Iterator[Row]:
    """Both builds by each checkout, in turns."""
    how = ["--executor", executor, "--workers", str(options.workers)]
    with tempfile.TemporaryDirectory() as folder:
        few, many = (
            {code: build(tree, media[size], how, Path(folder) / code / str(size)) for code, tree in trees.items()}
            for size in (False, True)
        )
    return (Row(executor, code, options.videos, few[code], many[code]) for code in trees)


def build(tree: Path, media: Path, how: Sequence[str], out: Path) -> Cost:
    """Run the command as its installed script does, and wait for all that it leaves behind."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "mlst"
        script.write_text("from collection.cli.main import main\nif __name__ == '__main__':\n    main()\n")
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        began, before = time.monotonic(), ended()
        command = [sys.executable, str(script), "build", str(media), "--out", str(out), *how]
        running = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
        wall, driver = time.monotonic() - began, sum(map(int, stat(running.pid)[11:13])) / TICK
        if running.wait():
            raise RuntimeError(f"{command} ended with status {running.returncode}")
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        content = hashlib.sha256((out / "dataset.json").read_bytes()).hexdigest()
        return Cost(ended() - before, driver, wall, content)


def stat(process: int) -> list[str]:
    """Fields of proc_pid_stat(5) from the third on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def ended() -> float:
    """CPU seconds of all children that have been waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def made(folder: Path, count: int) -> dict[bool, Path]:
    """Folders of FEW videos and of all."""
    folders = {size: folder / name for size, name in ((False, "few"), (True, "all"))}
    for place in folders.values():
        place.mkdir()
    for number in range(LOOKS):

        def paint(frame: int, height: int, width: int, seed: int = number) -> NDArray[np.uint8]:
            return burn(texture(frame, height, width, seed), frame)

        data = write(folder / "made.mp4", SPEC, paint).read_bytes()
        for copy in range(number, count, LOOKS):
            for size, place in folders.items():
                if size or copy < FEW:
                    (place / f"v{copy:05d}.mp4").write_bytes(data)
    return folders


def work_of(paths: Sequence[Path]) -> float:
    """CPU seconds of a video; the median, so that the first, which bring what comes once, do not count."""
    cv2.setNumThreads(1)
    scan, costs = scan_stage(), list[float]()
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "scan").mkdir()
            shutil.copy(path, Path(folder) / "video")
            began = time.process_time()
            tuple(scan(video(Path(folder) / "video"), Workspace(Path(folder), "scan")))
            costs.append(time.process_time() - began)
    return statistics.median(costs)


if __name__ == "__main__":
    main()
