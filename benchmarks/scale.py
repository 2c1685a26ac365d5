"""Does the driver stand a million sources? Everything of a build that is not decoding, with made-up scan results.

    python -m benchmarks.scale [ROWS ...] [--folder FOLDER] [--json FILE]

Each number of rows is measured in a process of its own: manifest, ledgers of fetch and scan, the same ledgers read by
a second run, selection and the plans of all shards, by the code that builds use. Only videos and clips are made up:
statistics over all levels, random fingerprints, some sources that repeat the footage of another, some that are gone.
Needs about 7 kB of disk per row in the folder (a temporary one by default) and in TMPDIR.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, publish
from collection import pipeline
from collection.engine.run import Driver
from collection.engine.stage import DONE, REJECTED, Outcome, Stage
from collection.engine.waves import fetch_and_scan
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.manifest.table import read_manifest, write_manifest
from collection.pack.stage import PackStage, plan_shards
from collection.recipe import FetchSettings, PackSettings, ScanSettings, SelectSettings
from collection.scan.stage import ScanStage
from collection.select import select
from collection.workspace.folder import Workspace
from mlst.levels.levels import read_levels
from mlst.pictures.fingerprints import WINDOWS, WORDS
from mlst.records import FIRST, OPEN_END, Box, Clip, Probe, Scan, Shot, Source, Statistics, Stream, Upstream, Video

AIM, AIM_GROWTH = 320.0, 1.1
"""CPU seconds of a million rows, and CPU per row of the most rows beside that of the fewest: at most."""
ROWS = (100_000, 300_000, 1_000_000)
CLIPS = (0, 1, 1, 2, 2)
"""Clips of a source, in turn."""
GONE, COPIES = 25, 50
"""Each so manieth source is gone, or shows the footage of the one before."""
LENGTH, RATE, GRID = 30, 30, 10
"""Frames per clip and second, and those of them that a fingerprint knows."""
QUIET = {"black_ratio", "freeze_ratio", "duplicate_ratio", "flash_count", "comb_ratio"}
WAVE = 10_000

FETCH = FetchStage(FetchSettings(), ".", Access())
SCAN = ScanStage(ScanSettings(), "brightest", FIRST)
P910 = read_levels("p910-240p-v1")


def source(number: int) -> Source:
    """A row of the manifest; ten sources have one channel."""
    name = f"v{number:010d}"
    title = f"Title of a video, of the usual length, number {number}"
    url = f"https://www.youtube.com/watch?v={name}"
    return Source(name, url, Fraction(0), OPEN_END, "CC-BY-4.0", title, f"Channel {number // 10}", name, "made up")


def video(row: Source) -> Video:
    """What fetching would have given."""
    rng = random.Random(row.id)
    base = Fraction(1, 512 * RATE)
    probe = Probe(
        "mov", "h264", 426, 240, base, 0, 899 * 512, Fraction(30), Fraction(RATE), 900, rng.randbytes(32).hex()
    )
    upstream = Upstream(
        "youtube", "133", "https", row.title, row.channel, f"UC{row.channel}", "", "20200101", "public", "not_live", 0,
        30.0, 1_000_000, "1577836800000000", "yt-dlp 2026.01.01",
    )  # fmt: skip
    file = f"fetch/{row.id}.mp4"
    sha256 = rng.randbytes(32).hex()
    return Video(row.id, Fraction(0), OPEN_END, file, 1_000_000, sha256, Fraction(0), probe, upstream)


def scan(item: Video, file: str) -> Scan:
    """What scanning would have given: a shot for each clip."""
    number = int(item.source[1:])
    count = CLIPS[number % len(CLIPS)]
    shots = tuple(Shot(n * LENGTH, (n + 1) * LENGTH, n * LENGTH * 512, (n + 1) * LENGTH * 512) for n in range(count))
    clips = tuple(clip(item.source, number, n, shot) for n, shot in enumerate(shots))
    stream = Stream(
        900, 0, item.probe.time_base, 0, 899 * 512, Fraction(RATE), 1, False, 426, 240, Fraction(1), 0, "yuv420p", 8,
        False, "bt709", "bt709", False,
    )  # fmt: skip
    return Scan(item.source, file, stream, (), shots, clips)


def is_gone(number: int) -> bool:
    """Whether a source cannot be fetched."""
    return number % GONE == 7


def clip(name: str, number: int, index: int, shot: Shot) -> Clip:
    """A clip as large as real ones are in a ledger."""
    rng = random.Random(f"{name} {index}")
    values = {name: 0.0 if name in QUIET else rng.random() for name in FIRST}
    measured = {**values, "si": rng.uniform(20, 160), "ti10": rng.uniform(1, 50)}
    footage = number - 1 if number % COPIES == COPIES - 1 else number
    looks = random.Random(f"{footage} {index}").randbytes(GRID * len(WINDOWS) * WORDS * 8).hex()
    return Clip(
        f"{name}_{1000 * index:09d}", name, index, shot.start, shot.end, LENGTH, 1, shot.start_pts, shot.end_pts,
        Fraction(1, 512 * RATE), Statistics(**measured), Box(0.0, 0.0, 1.0, 1.0), looks, 40_000 * index, 40_000,
        rng.randbytes(32).hex(),
    )  # fmt: skip


class MadeUp:
    """An executor that decodes nothing; it counts its own seconds, which are no part of what is measured."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome]:
        """An outcome for every item."""
        for item in items:
            began = time.process_time()
            outcome = self.outcome(stage, item, work)
            self.seconds += time.process_time() - began
            yield outcome

    def outcome(self, stage: Stage, item: Any, work: Workspace) -> Outcome:
        """Of one item. A scan has a file of its own, as in real builds, but one that takes no space on the disk."""
        if isinstance(item, Video):
            file = f"{work.folder}/clips/{item.source}.bin"
            work.path(file).parent.mkdir(parents=True, exist_ok=True)
            made = scan(item, file)
            with work.path(file).open("wb") as empty:
                empty.truncate(sum(clip.size for clip in made.clips))
            return Outcome(stage.key(item), DONE, "", "", (made,))
        if is_gone(int(item.id[1:])):
            return Outcome(stage.key(item), REJECTED, "gone.private", "Private video", ())
        return Outcome(stage.key(item), DONE, "", "", (video(item),))


class Quiet:
    """A watcher that shows nothing."""

    def begin(self, stage: str, total: int, known: int) -> None:
        """See `Watcher`."""

    def start(self, stage: str, key: str) -> None:
        """See `Watcher`."""

    def outcome(self, stage: str, outcome: Outcome) -> None:
        """See `Watcher`."""

    def fewer(self, stage: str) -> None:
        """See `Watcher`."""

    def end(self, stage: str) -> None:
        """See `Watcher`."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of a build took."""

    name: str
    seconds: float
    """Of the processor: other programs on the machine do not count."""
    peak: int
    """Bytes of resident memory, at most so far."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run."""

    rows: int
    fetched: int
    fresh: int
    """Sources and videos that the second run worked on."""
    candidates: int
    chosen: int
    reasons: dict[str, int]
    shards: int
    planned: int
    ledgers: int
    """Bytes."""
    parts: tuple[Part, ...]

    @property
    def each(self) -> float:
        """CPU seconds of a row."""
        return sum(part.seconds for part in self.parts) / self.rows


class Clock:
    """Cuts the time into parts."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._began = time.process_time()

    def part(self, name: str, besides: float = 0.0) -> None:
        """What went by since the last part is this one, less `besides`."""
        now = time.process_time()
        self.parts.append(Part(name, now - self._began - besides, peak()))
        self._began = time.process_time()


def peak() -> int:
    """Bytes of resident memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(rows: int, folder: Path) -> Measured:
    """Run every part over `rows` sources; `folder` is left with what a build would have left there."""
    manifest = folder / "sources.csv"
    write_manifest(manifest, map(source, range(rows)))
    clock, made = Clock(), MadeUp()
    driver = Driver(Workspace(folder / "work", ""), made, Quiet(), retry=False, wave=WAVE, keep_videos=False)

    listed = sorted(read_manifest(manifest, FETCH.recipe), key=lambda row: row.id)
    clock.part("manifest")
    fetch_and_scan(FETCH, SCAN, listed, driver)
    clock.part("ledgers, first run", besides=made.seconds)
    seen = fetch_and_scan(FETCH, SCAN, listed, driver)
    clock.part("ledgers, next run")
    sources = pipeline.completed(listed, seen.fetched.outputs)
    clock.part("sources")
    selection = select(seen.scanned.outputs, sources, P910, SelectSettings(quota=rows // 20))
    clock.part("select")
    with plan_shards(selection.chosen, seen.of(selection.sources()), sources, PackSettings()) as plans:
        pack = PackStage()
        sizes = {pack.key(plan): len(plan.pieces) for plan in plans}
    clock.part("plans of shards")

    reasons = selection.reasons()
    ledgers = sum(path.stat().st_size for path in (folder / "work").glob("*/ledger/*"))
    return Measured(
        rows, len(sources), seen.fetched.fresh + seen.scanned.fresh, len(selection.chosen) + len(selection.dropped),
        len(selection.chosen), reasons, len(sizes), sum(sizes.values()), ledgers, tuple(clock.parts),
    )  # fmt: skip


def main() -> None:
    """Print a Markdown table for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="*", default=ROWS, help=f"Default: {' '.join(map(str, ROWS))}.")
    parser.add_argument("--folder", type=Path, help="Where the workspace is made and removed again.")
    parser.add_argument("--json", type=Path, help="Where the figures go as well.")
    given = parser.parse_args()
    runs = []
    for rows in given.rows:
        alone = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        with tempfile.TemporaryDirectory(dir=given.folder) as folder, alone as pool:
            runs.append(pool.submit(measure, rows, Path(folder)).result())
        show(runs[-1])
    publish(figures(runs), given.json, runs=list(map(asdict, runs)))


def figures(runs: Sequence[Measured]) -> list[Figure]:
    """A million rows, from the most that were measured, and how the cost grows."""
    runs = sorted(runs, key=lambda run: run.rows)
    most, fewest = runs[-1], runs[0]
    found = [Figure(f"planning 10^6 rows, from {most.rows:,}", "CPU s", 1e6 * most.each, "at most", AIM)]
    if most.rows > fewest.rows:
        claim = f"planning a row of {most.rows:,} beside one of {fewest.rows:,}"
        found.append(Figure(claim, "times", most.each / fewest.each, "at most", AIM_GROWTH))
    return found


def show(run: Measured) -> None:
    """Print one table."""
    left = ", ".join(f"{count:,} {reason}" for reason, count in run.reasons.items())
    print(f"\n{run.rows:,} rows, {run.fetched:,} fetched, {run.ledgers / run.rows:.0f} bytes of ledger per row,")
    print(f"{run.candidates:,} candidates, {run.chosen:,} chosen ({left}), {run.shards} shards\n")
    print("| part | CPU seconds | per 100,000 rows | peak memory so far, MiB |\n|---|---:|---:|---:|")
    total = Part("together", sum(part.seconds for part in run.parts), run.parts[-1].peak)
    for part in (*run.parts, total):
        print(f"| {part.name} | {part.seconds:.1f} | {part.seconds * 1e5 / run.rows:.2f} | {part.peak >> 20} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
