"""Resident memory of a scan, measured from outside: eight times the length must not take more."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.synthetic import Spec, pan, write

pytestmark = pytest.mark.slow

CODE = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from collection.recipe import Limits, ScanSettings
from mlst.records import FIRST
from tests.collection.scan.test_stage import video
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
file = Path(sys.argv[1])
(scan,) = ScanStage(ScanSettings(size=64), "brightest", FIRST)(video(file), Workspace(file.parent, "scan"))
print(scan.stream.frames, len(scan.clips), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
UNIT = 1024 if sys.platform == "darwin" else 1
"""`ru_maxrss` counts KiB on Linux and bytes on macOS."""


def peak(path: Path, frames: int) -> tuple[int, int, int]:
    """(frames decoded, clips, peak KiB) of scanning a video of `frames` frames in a process of its own."""
    write(path, Spec(frames=frames, width=320, height=240), pan)
    ran = subprocess.run([sys.executable, "-c", CODE, str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    decoded, clips, rss = map(int, ran.stdout.split())
    return decoded, clips, rss // UNIT


def test_resident_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    short = peak(tmp_path / "short.mp4", 200)
    long = peak(tmp_path / "long.mp4", 1600)
    assert (short[0], long[0]) == (200, 1600)
    assert long[1] > 4 * short[1]
    # 1400 more frames hold 161 MB as decoded planes; the allowance is for the allocator.
    assert long[2] - short[2] < 24 * 1024, (short, long)
