"""Memory of a worker that scans: does it grow with the length of a video, and how much is it at 1080p?

    python -m benchmarks.scan_memory [VIDEO ...] [--minutes 5 60] [--rate 5] [--json FILE]

Made-up videos of each length (320 x 240, the rate in frames per second), and the videos named, are scanned with
default settings by a worker of the local executor. Its most resident memory ever is told, and what of it the worker
shared with the fork server when it began; the rest is its own. Without a video of 1080p, one is scaled up. Needs some
10 ms of CPU per frame.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.figures import Figure, publish
from benchmarks.material import tier, with_full_hd
from benchmarks.scan_once import scan_stage, video
from collection.engine.stage import Expected, Needs
from collection.executors import Local
from collection.workspace.folder import Span, Workspace
from mlst.records import Video
from tests.synthetic import Spec, write

LONGER, MOST = 1.1, 400
"""Aims: the longest made-up video over the shortest, and MB of a worker's own for any video."""
SCAN = scan_stage()


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a worker, bytes."""

    most: int
    shared: int
    """Anonymous memory before the scan: all of it the fork server's."""

    @property
    def own(self) -> int:
        """What is not shared."""
        return self.most - self.shared


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
    print("| video | lines | most resident, MB | of it the fork server's |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        paths = [made(Path(folder), minutes, options.rate) for minutes in options.minutes]
        videos = with_full_hd(options.videos, Path(folder))
        found = {path: weighed(path) for path in (*paths, *videos)}
        highest = max(found[path].own for path in videos if tier(path) >= 1080) / 1e6
    own = Figure("memory of a worker's own at 1080p", "MB", highest, "at most", MOST)
    details = {path.name: asdict(memory) for path, memory in found.items()}
    publish([*lengths(options.minutes, [found[path] for path in paths]), own], options.json, videos=details)


def lengths(minutes: Sequence[int], found: Sequence[Memory]) -> list[Figure]:
    """The longest made-up video beside the shortest, if there are two."""
    if len(found) < 2:
        return []
    claim = f"memory of a worker, {minutes[-1]} minutes beside {minutes[0]}"
    return [Figure(claim, "times", found[-1].most / found[0].most, "at most", LONGER)]


def weighed(path: Path) -> Memory:
    """What scanning a video takes."""
    with tempfile.TemporaryDirectory() as folder:
        work = Workspace(Path(folder), "weighing")
        shutil.copy(path, work.root / "video")
        (outcome,) = Local(1)(Weighing(), [video(work.root / "video")], work)
    if not outcome.outputs:
        raise RuntimeError(f"{path}: {outcome.kind} {outcome.detail}")
    (memory,) = outcome.outputs
    print(f"| {path.name} | {tier(path)} | {memory.most / 1e6:.0f} | {memory.shared / 1e6:.0f} |", flush=True)
    return memory


def made(folder: Path, minutes: int, rate: int) -> Path:
    """A video that moves all the time."""
    spec = Spec(frames=60 * minutes * rate, width=320, height=240, rate=Fraction(rate))
    return write(folder / f"{minutes} minutes.mp4", spec)


if __name__ == "__main__":
    from benchmarks.scan_memory import main as run  # workers find its stage by this name

    run()
