"""Mutated media through fetch and scan: `python -m benchmarks.fuzz [FOLDER...] [--count 1500] [--seed 1]`.

Every file goes as a source through the real stages, executor and sandbox. What must come out: one typed outcome each,
no hang, no process left over, no file left over, bounded memory. `error`, `crashed`, `memory`, `timeout`, `cpu_time`
and `file_size` are listed one by one, with the base file and the seed that make the file again.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from collection.engine.stage import Needs, Outcome, Stage
from collection.executors import executor
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.recipe import FetchSettings, Limits, ScanSettings
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace, sweep
from mlst.records import FIRST, OPEN_END, Source
from tests.media_mutations import mutate
from tests.synthetic import Spec, write

LIMITS = Limits(bytes=64 << 20, seconds=60, pixels=1920 * 1088, frames=1500, rate=240)
"""Narrower than a recipe's defaults, so that a run takes minutes: whatever they refuse ends in `too_...`."""
FINDINGS = ("error", "message", "crashed", "memory", "timeout", "cpu_time", "file_size")
TOKEN = "PYTHONFUZZ"  # noqa: S105 - names a run's processes; workers are given PYTHON... of the environment


@dataclass(frozen=True, slots=True)
class Fetch(FetchStage):
    """With a deadline of two minutes."""

    needs: ClassVar[Needs] = Needs(seconds=120.0, memory=0, network=True)


@dataclass(frozen=True, slots=True)
class Scanning(ScanStage):
    """With a deadline of two minutes."""

    needs: ClassVar[Needs] = Needs(seconds=120.0, memory=ScanStage.needs.memory, network=False)


@dataclass(frozen=True, slots=True)
class Case:
    """One mutated file."""

    id: str
    base: Path
    other: Path
    seed: int
    kind: str
    """Of `media_mutations.KINDS`."""

    @property
    def source(self) -> Source:
        """Its row in a manifest."""
        return Source(self.id, self.id, Fraction(0), OPEN_END, "unknown", self.id, "", self.id, "fuzz")

    def write(self, folder: Path) -> str:
        """Make the file in `folder`; returns what was changed."""
        mutant = mutate(self.base.read_bytes(), self.other.read_bytes(), self.seed, self.kind)
        (folder / self.id).write_bytes(mutant.data)
        return mutant.name


@dataclass(slots=True)
class Summary:
    """What a run came to."""

    files: int
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By stage, status and kind."""
    findings: list[str] = field(default_factory=list)
    longest: tuple[float, str] = (0.0, "")
    """Seconds, and which item took them."""
    peak: int = 0
    """Bytes of resident memory of any one worker."""
    driver: int = 0
    """Bytes of resident memory of the driver, who only reads what workers say."""
    processes: int = 0
    """Left over."""
    unfinished: int = 0
    """Files that killed workers left and that the next run's sweep removes."""
    leftover: int = 0
    """Any other file that no outcome names."""

    def __str__(self) -> str:
        lines = ["| stage | status | kind | items |", "|---|---|---|---:|"]
        lines += [f"| {' | '.join(key)} | {count} |" for key, count in sorted(self.outcomes.items())]
        lines += ["", f"{self.files} files; longest item {self.longest[0]:.1f} s ({self.longest[1]})"]
        lines += [f"peak resident memory of a worker {self.peak / 2**20:.0f} MiB"]
        lines += [f"peak resident memory of the driver {self.driver / 2**20:.0f} MiB"]
        lines += [f"processes left over {self.processes}"]
        lines += [f"files left over {self.leftover}, and {self.unfinished} unfinished ones for the next sweep"]
        return "\n".join([*lines, *self.findings])


CONTAINERS = {
    "a.mp4": "libx264",
    "b.mkv": "libx264",
    "c.ts": "libx264",
    "d.avi": "mpeg4",
    "e.webm": "libvpx-vp9",
    "f.mov": "mpeg4",
    "g.mpg": "mpeg2video",
    "h.ts": "mpeg2video",
}


def made(folder: Path) -> list[Path]:
    """A short video in each container."""
    return [write(folder / name, Spec(16, 96, 64, codec=codec)) for name, codec in CONTAINERS.items()]


def cases(media: Sequence[Path], count: int, seed: int) -> list[Case]:
    """`count` mutants of the files in turn, one of bytes and one of boxes of each."""
    return [
        Case(
            f"m{n:05d}",
            media[n // 2 % len(media)],
            media[(n * 7 + 3) % len(media)],
            seed * 1_000_000 + n,
            ("bytes", "boxes")[n % 2],
        )
        for n in range(count)
    ]


def fuzz(todo: Sequence[Case], workers: int, root: Path) -> Summary:
    """Run the cases in the folder `root`."""
    media, work = root / "media", Workspace(root / "work", "")
    media.mkdir()
    work.root.mkdir()
    os.environ[TOKEN] = str(root)
    changes = {case.id: case.write(media) for case in todo}
    summary, told = Summary(len(todo)), {case.id: case for case in todo}
    run = executor["local"](workers=workers)
    with _watched(summary):
        fetch = Fetch(FetchSettings(local=True, extractors=(), limits=LIMITS), str(media), Access())
        videos = _stage(run, fetch, [case.source for case in todo], work, summary)
        scan = Scanning(ScanSettings(limits=LIMITS), "brightest", FIRST)
        scans = _stage(run, scan, [o for v in videos for o in v.outputs], work, summary)
    summary.driver = _peak(os.getpid())
    for outcome in (*videos, *scans):
        if outcome.kind in FINDINGS:
            case = told[outcome.key.split("@")[0]]
            summary.findings.append(
                f"\n{outcome.kind}: {case.base.name} + {case.other.name}, {case.kind}, seed {case.seed}, "
                f"{changes[case.id]}\n"
                f"{outcome.detail}"
            )
    named = {work.root / output.file for outcome in (*videos, *scans) for output in outcome.outputs}
    before = _files(work.root)
    sweep(work.root)
    summary.unfinished = len(before - _files(work.root))
    summary.leftover = len(_files(work.root) - named)
    summary.processes = len(_processes()) - len(_servers())
    return summary


def _stage(run: Any, stage: Stage, items: Sequence[Any], work: Workspace, summary: Summary) -> list[Outcome]:
    begun: dict[str, float] = {}

    def taken() -> Iterator[Any]:
        for item in items:
            begun[stage.key(item)] = time.monotonic()
            yield item

    outcomes: list[Outcome] = []
    for outcome in run(stage, taken(), Workspace(work.root, stage.name)):
        outcomes.append(outcome)
        summary.outcomes[stage.name, outcome.status, outcome.kind] += 1
        summary.longest = max(summary.longest, (time.monotonic() - begun[outcome.key], outcome.key.split("@")[0]))
        if len(outcomes) % 50 == 0:
            print(f"{stage.name}: {len(outcomes)} of {len(items)}", file=sys.stderr)
    if sorted(o.key for o in outcomes) != sorted(stage.key(item) for item in items):
        raise AssertionError(f"{len(items)} items, {len(outcomes)} outcomes")
    return outcomes


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def _watched(summary: Summary) -> Iterator[None]:
    """Note the largest resident memory that any worker has had."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            summary.peak = max([summary.peak, *(_peak(pid) for pid in _processes())])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _processes() -> list[int]:
    """All processes that this run has started, whoever their parent is now."""
    mark = f"{TOKEN}={os.environ[TOKEN]}".encode()
    return [pid for pid in _pids() if mark in _proc(pid, "environ").split(b"\0") and pid != os.getpid()]


def _servers() -> list[int]:
    """The fork server and the resource tracker, which live as long as this process."""
    return [pid for pid in _processes() if any(name in _proc(pid, "cmdline") for name in SERVERS)]


SERVERS = (b"multiprocessing.forkserver", b"multiprocessing.resource_tracker")


def _pids() -> Iterable[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _proc(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _peak(pid: int) -> int:
    for line in _proc(pid, "status").splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def main(argv: Sequence[str] | None = None) -> None:
    """Print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders with real media; their files are only read")
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--largest", type=int, default=600_000, help="bytes of the files that are taken at most")
    options = parser.parse_args(argv)
    files = sorted(file for folder in options.folders for file in folder.iterdir() if file.is_file())
    media = [file for file in files if 0 < file.stat().st_size <= options.largest]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = media or made(folder)
        print(fuzz(cases(media, options.count, options.seed), options.workers, folder))


if __name__ == "__main__":
    main()
