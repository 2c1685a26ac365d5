"""Decode and scan a video in this process, and print the CPU seconds of both as JSON: a part of `scan_cost`.

Runs as a program with another checkout's packages as well, so it imports nothing of this folder.
"""

import argparse
import hashlib
import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2

from collection.media.probe import probe
from collection.order import columns
from collection.recipe import Limits, ScanSettings
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from mlst.levels.levels import read_levels
from mlst.records import OPEN_END, Upstream, Video

LEVELS = "mlst-240p-v2"
"""What a recipe takes that does not say."""
NOWHERE = Upstream("file", "", "", "", "", "", "", "", "", "", 0, 0.0, 0, "", "")


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--statistics", choices=("default", "all", "needed"), default="default")
    parser.add_argument("--active-picture", choices=("", "brightest", "edges"), default="")
    options = parser.parse_args()
    print(json.dumps(measured(options.video, scan_stage(options.statistics, options.active_picture))))


def scan_stage(statistics: str = "default", active_picture: str = "") -> ScanStage:
    """The stage of a recipe without settings; with another set of statistics or another rule for bars."""
    levels = read_levels(LEVELS)
    return ScanStage(ScanSettings(), active_picture or levels.active_picture, columns(statistics, levels))


def measured(path: Path, stage: ScanStage) -> dict[str, float | int | str]:
    """CPU seconds of a decode, the better of two, and of a scan; the sha256 of the record and of the clips."""
    cv2.setNumThreads(1)
    decode = min(cpu_of_decode(path) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "video").symlink_to(path.resolve())
        item = video(Path(folder) / "video")
        began = time.process_time()
        (found,) = stage(item, Workspace(Path(folder), "scan"))
        scan = time.process_time() - began
        content = hashlib.sha256(repr(found).encode() + (Path(folder) / found.file).read_bytes()).hexdigest()
    frames, clips = found.stream.frames, len(found.clips)
    return {"decode": decode, "scan": scan, "frames": frames, "clips": clips, "sha256": content}


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


if __name__ == "__main__":
    main()
