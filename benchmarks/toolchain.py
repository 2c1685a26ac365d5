"""CPU of `mlst build` beside that of the usual tools, run for real on the same videos and cores.

    python -m benchmarks.toolchain VIDEO ... [--json FILE]

The usual tools: PySceneDetect's command line with split-video (ffmpeg of imageio-ffmpeg), ffmpeg for each second of a
scene to a clip of 256 x 256 pixels, siti-tools for each clip, OpenCV's Farneback flow between all frames of all clips
in one process, tar. `mlst build` also hashes, probes, compares clips, assigns levels and splits, verifies, reports,
and confines all of it. CPU time of all processes, user and system.
"""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import imageio_ffmpeg

from benchmarks.small_items import SUBREAPER, build, ended
from mlst.dataset.description import read_dataset

AIM, AIM_WITHOUT = 12.0, 4.0
"""Times that the usual tools cost; without siti-tools."""
SLOW = "siti-tools"
FLOW = """
import sys, cv2
cv2.setNumThreads(1)
for path in sys.argv[1:]:
    film, last = cv2.VideoCapture(path), None
    while (read := film.read())[0]:
        grey = cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
        if last is not None:
            cv2.calcOpticalFlowFarneback(last, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        last = grey
"""


@dataclass(frozen=True, slots=True)
class Step:
    """Of the usual tools."""

    name: str
    cpu: float


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        media = Path(folder) / "media"
        media.mkdir()
        for video in options.videos:
            shutil.copy(video, media)
        steps = list(usual(sorted(media.iterdir()), Path(folder)))
        clips = len(list((Path(folder) / "clips").iterdir()))
        ours = build(Path(__file__).resolve().parent.parent, media, ["--workers", "1"], Path(folder) / "built").cpu
        candidates = read_dataset(Path(folder) / "built").clips
    show(steps, ours, clips, candidates)
    if options.json:
        found = {"steps": list(map(asdict, steps)), "mlst": ours, "clips": clips, "mlst_clips": candidates}
        options.json.write_text(json.dumps(found | {"load": os.getloadavg()}))


def show(steps: Sequence[Step], ours: float, clips: int, chosen: int) -> None:
    """The table, and both ratios beside their aims."""
    total, slow = sum(step.cpu for step in steps), sum(step.cpu for step in steps if step.name == SLOW)
    print("| tool | CPU s | times `mlst build` |\n|---|---:|---:|")
    for step in (*steps, Step("all of them", total), Step(f"without {SLOW}", total - slow), Step("mlst build", ours)):
        print(f"| {step.name} | {step.cpu:.1f} | {step.cpu / ours:.1f} |")
    print(f"{clips} clips by the usual tools, {chosen} by `mlst build`; aims: {AIM:g} and {AIM_WITHOUT:g} times")


def usual(videos: Sequence[Path], folder: Path) -> Iterator[Step]:
    """Every step, with its CPU seconds; clips end up in `folder`/clips."""
    tools = folder / "tools"
    for place in (tools, folder / "scenes", folder / "clips"):
        place.mkdir()
    (tools / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    os.environ["PATH"] = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    yield timed("PySceneDetect, split-video", lambda: [split(video, folder / "scenes") for video in videos])
    yield timed("ffmpeg, each clip", lambda: [cut(scene, folder / "clips") for scene in files(folder / "scenes")])
    clips = files(folder / "clips")
    yield timed(SLOW, lambda: [information(clip, folder / "clip.y4m") for clip in clips])
    yield timed("Farneback flow", lambda: called(sys.executable, "-c", FLOW, *map(str, clips)))
    yield timed("tar", lambda: called("tar", "cf", str(folder / "clips.tar"), "-C", str(folder), "clips"))


def timed(name: str, step: Callable[[], object]) -> Step:
    """CPU seconds of what a step starts."""
    before = ended()
    step()
    return Step(name, ended() - before)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def split(video: Path, scenes: Path) -> None:
    called("scenedetect", "-q", "-i", str(video), "-o", str(scenes), "detect-content", "split-video", "-q")


def cut(scene: Path, clips: Path) -> None:
    """A clip for each whole second of a scene, with a call of its own."""
    with av.open(str(scene)) as media:
        seconds = int((media.duration or 0) / 1_000_000)
    for second in range(seconds):
        target = clips / f"{scene.stem}-{second:04d}.mp4"
        how = ("-vf", "scale=256:256", "-an", "-c:v", "libx264", "-crf", "18", "-threads", "1", str(target))
        called("ffmpeg", "-v", "error", "-ss", str(second), "-t", "1", "-i", str(scene), *how)


def information(clip: Path, raw: Path) -> None:
    """SI and TI of a clip. siti-tools 0.6 cannot read the frames of PyAV 18, but raw video, and refuses any code
    outside the limited range unless it is told that the range is full."""
    called("ffmpeg", "-v", "error", "-y", "-i", str(clip), str(raw))
    called("siti-tools", "-q", "--color-range", "full", str(raw))


def called(*command: str) -> None:
    """Run a command; what it says is of no interest unless it fails."""
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
