"""Does the report stay linear? CPU of writing the page of made-up datasets, as `report_scale` makes them up.

    python -m benchmarks.report_growth [CLIPS ...] [--json FILE]

Each size in turn, in this process; needs no browser.
"""

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.figures import Figure, publish
from benchmarks.report_scale import made_up
from collection.report.html import report_on

CLIPS = (10_000, 100_000)
SHOWN = 4
"""Clips that the page plays, per level."""
AIM = 1.1
"""CPU per clip of the most clips beside that of the fewest, at most."""


@dataclass(frozen=True, slots=True)
class Page:
    """Of a dataset."""

    clips: int
    cpu: float
    size: int
    """Bytes."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=int, nargs="*", default=CLIPS, help="default: 10000 100000")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    sizes = sorted(options.clips)
    _, *pages = (written(clips) for clips in (sizes[0], *sizes))  # the first brings what comes once
    print("| clips | CPU s | MB |\n|---:|---:|---:|")
    for page in pages:
        print(f"| {page.clips:,} | {page.cpu:.1f} | {page.size / 1e6:.1f} |")
    each = [page.cpu / page.clips for page in pages]
    claim = f"reporting a clip of {pages[-1].clips:,} beside one of {pages[0].clips:,}"
    found = [Figure(f"report of {pages[-1].clips:,} clips", "CPU s", pages[-1].cpu)]
    publish([*found, Figure(claim, "times", each[-1] / each[0], "at most", AIM)], options.json,
            pages=list(map(asdict, pages)))  # fmt: skip


def written(clips: int) -> Page:
    """Write the report of so many clips."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, page = Path(scratch, "dataset"), Path(scratch, "report.html")
        made_up(folder, clips)
        began = time.process_time()
        report_on(folder, page, SHOWN, folder.parent / "none")
        return Page(clips, time.process_time() - began, page.stat().st_size)


if __name__ == "__main__":
    main()
