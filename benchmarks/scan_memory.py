"""Memory of a worker that scans: does it grow with the length of a video, and how much is it at 1080p?

    python -m benchmarks.scan_memory [VIDEO ...] [--minutes 5 60] [--rate 5] [--json FILE]

Made-up videos of each length (320 x 240, the rate in frames per second), and the videos named, are scanned with
default settings and every statistic by a worker of the local executor. Its most resident memory ever is told, and what
of it the worker shared with the fork server when it began. Needs some 10 ms of CPU per frame.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.scan_cost import video
from collection.engine.stage import Expected, Needs
from collection.executors import Local
from collection.recipe import ScanSettings
from collection.scan.stage import ScanStage
from collection.workspace.folder import Span, Workspace
from mlst.records import STATISTICS, Video
from tests.synthetic import Spec, write

LONGER, MOST = 1.1, 400
"""Aims: the longest made-up video over the shortest, and MB of a worker's own for any video."""
SCAN = ScanStage(ScanSettings(), "brightest", STATISTICS)


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a worker, bytes."""

    most: int
    shared: int
    """Anonymous memory before the scan: all of it the fork server's."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """A scan whose outcome is what memory it took."""

    name: ClassVar[str] = "weighing"
    version: ClassVar[int] = 1
    output: ClassVar[type[Memory]] = Memory
    needs: ClassVar[Needs] = SCAN.needs

    def settings(self) -> Any:
        """None."""
        return {}

    def key(self, item: Video) -> str:
        """One is scanned at a time."""
        return item.source

    def reads(self, item: Video) -> Iterable[Span]:
        """As a scan does."""
        return SCAN.reads(item)

    def expects(self, item: Video) -> Expected:
        """No file."""
        return Expected((), 1 << 10)

    def check(self, item: Video, outputs: tuple[Memory, ...]) -> None:
        """Anything goes."""

    def __call__(self, item: Video, work: Workspace) -> Iterable[Memory]:
        """Scan, and look."""
        shared = said("RssAnon")
        tuple(SCAN(item, work))
        yield Memory(said("VmHWM"), shared)


def said(name: str) -> int:
    """Bytes of a kind of this process's memory, as proc_pid_status(5) has them."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--minutes", type=int, nargs="*", default=[5, 60])
    parser.add_argument("--rate", type=int, default=5, help="frames per second of the made-up videos (default 5)")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    print("| video | most resident, MB | of it the fork server's |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        paths = [made(Path(folder), minutes, options.rate) for minutes in options.minutes]
        found = {path.name: weighed(path) for path in (*paths, *options.videos)}
    if paths:
        ratio = found[paths[-1].name].most / found[paths[0].name].most
        print(f"\nlongest over shortest: {ratio:.2f} (aim {LONGER}); aim for a worker's own: {MOST} MB")
    if options.json:
        options.json.write_text(json.dumps({name: asdict(one) for name, one in found.items()}))


def weighed(path: Path) -> Memory:
    """What scanning a video takes."""
    with tempfile.TemporaryDirectory() as folder:
        work = Workspace(Path(folder), "weighing")
        shutil.copy(path, work.root / "video")
        (outcome,) = Local(1)(Weighing(), [video(work.root / "video")], work)
    if not outcome.outputs:
        raise RuntimeError(f"{path}: {outcome.kind} {outcome.detail}")
    (memory,) = outcome.outputs
    print(f"| {path.name} | {memory.most / 1e6:.0f} | {memory.shared / 1e6:.0f} |", flush=True)
    return memory


def made(folder: Path, minutes: int, rate: int) -> Path:
    """A video that moves all the time."""
    spec = Spec(frames=60 * minutes * rate, width=320, height=240, rate=Fraction(rate))
    return write(folder / f"{minutes} minutes.mp4", spec)


if __name__ == "__main__":
    from benchmarks.scan_memory import main as run  # workers find its stage by this name

    run()
