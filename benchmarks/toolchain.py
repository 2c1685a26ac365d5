"""CPU of `mlst build` beside that of the usual tools, run for real on the same videos and cores.

    python -m benchmarks.toolchain [VIDEO ...] [--keep FILE] [--json FILE]

The usual tools: PySceneDetect's command line with split-video (ffmpeg of imageio-ffmpeg), ffmpeg for each second of a
scene to a clip of 256 x 256 pixels, siti-tools for each film, OpenCV's Farneback flow between all frames of the films
of a video in one process, tar. The films measured are, one way, the scenes as split-video wrote them, in the size in
which SI and TI are defined; the other way the small clips. `mlst build` of all videos at once with one worker also
hashes, probes, compares clips, assigns levels and splits, verifies, reports, and confines all of it. CPU time of all
processes, user and system. Without videos: the demo's, and three seconds of 1080p.

What the usual tools took is written to the file of `--keep` after each video, and not measured again if it is there.
"""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import av
import imageio_ffmpeg

from benchmarks.figures import Figure, publish
from benchmarks.material import ROOT, demo, with_full_hd
from benchmarks.small_items import SUBREAPER, build, ended
from mlst.dataset.description import read_dataset

AIM, AIM_WITHOUT = 12.0, 4.0
"""Times that the usual tools cost; without siti-tools."""
SLOW = "siti-tools"
Films = Literal["scenes", "clips"]
FILMS: dict[Films, str] = {"scenes": "scenes in the source's size", "clips": "clips of 256 x 256"}
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
    films: tuple[Films, ...]
    """The ways of which it is a part."""
    cpu: float


@dataclass(frozen=True, slots=True)
class Usual:
    """What the usual tools took for a video."""

    video: str
    seconds: float
    """Its length."""
    clips: int
    steps: tuple[Step, ...]


BOTH: tuple[Films, ...] = ("scenes", "clips")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--keep", type=Path, help="what the usual tools took, video by video; used if it is there")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        media = Path(folder) / "media"
        media.mkdir()
        for video in options.videos or with_full_hd(demo(), Path(folder) / "made"):
            shutil.copy(video, media)
        find_tools(Path(folder) / "tools")
        usual = list(measured(files(media), options.keep))
        ours = build(ROOT, media, ["--workers", "1"], Path(folder) / "built").cpu
        chosen = read_dataset(Path(folder) / "built").clips
    steps = together(usual)
    seconds, clips = sum(one.seconds for one in usual), sum(one.clips for one in usual)
    print(f"{seconds:.0f} s of video; {clips} clips by the usual tools, {chosen} by `mlst build`\n")
    print("| tool | CPU s | times `mlst build` |\n|---|---:|---:|")
    for name, cpu in (*((step.name, step.cpu) for step in steps), ("`mlst build`", ours)):
        print(f"| {name} | {cpu:.1f} | {cpu / ours:.2f} |")
    publish(figures(steps, ours), options.json, usual=list(map(asdict, usual)), mlst=ours, mlst_clips=chosen)


def find_tools(folder: Path) -> None:
    """Put ffmpeg and what is installed beside Python on the path."""
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    os.environ["PATH"] = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])


def measured(videos: Sequence[Path], keep: Path | None) -> Iterator[Usual]:
    """What the usual tools took for each video, now or before."""
    lines = keep.read_text().splitlines() if keep and keep.exists() else []
    known = {one.video: one for one in map(kept, lines)}
    for video in videos:
        found = known.get(video.name) or used(video)
        if keep and video.name not in known:
            keep.parent.mkdir(parents=True, exist_ok=True)
            with keep.open("a") as file:
                file.write(json.dumps(asdict(found)) + "\n")
        yield found


def kept(line: str) -> Usual:
    """As it was written."""
    row = json.loads(line)
    return Usual(**row | {"steps": tuple(Step(**one | {"films": tuple(one["films"])}) for one in row["steps"])})


def used(video: Path) -> Usual:
    """What the usual tools take for a video."""
    with tempfile.TemporaryDirectory() as folder:
        steps = tuple(usual_steps(video, Path(folder)))
        return Usual(video.name, length(video), len(files(Path(folder) / "clips")), steps)


def together(usual: Iterable[Usual]) -> list[Step]:
    """The steps of all videos, added up."""
    sums: dict[tuple[str, tuple[Films, ...]], float] = defaultdict(float)
    for one in usual:
        for step in one.steps:
            sums[step.name, step.films] += step.cpu
    return [Step(name, films, cpu) for (name, films), cpu in sums.items()]


def figures(steps: Sequence[Step], ours: float) -> list[Figure]:
    """Both ways, with siti-tools and without."""
    found = []
    for films, text in FILMS.items():
        of_it = [step for step in steps if films in step.films]
        for name, aim, excluded in (("the usual tools", AIM, "-"), (f"without {SLOW}", AIM_WITHOUT, SLOW)):
            cpu = sum(step.cpu for step in of_it if not step.name.startswith(excluded))
            found.append(Figure(f"{name}, {text}", "times mlst build", cpu / ours, "at least", aim))
    return found


def usual_steps(video: Path, folder: Path) -> Iterator[Step]:
    """Every step, with its CPU seconds; clips end up in `folder`/clips."""
    for place in (folder / "scenes", folder / "clips"):
        place.mkdir()
    yield timed("PySceneDetect, split-video", BOTH, lambda: split(video, folder / "scenes"))
    yield timed(
        "ffmpeg, each clip", BOTH, lambda: [cut(scene, folder / "clips") for scene in files(folder / "scenes")]
    )
    for films, text in FILMS.items():
        paths = files(folder / films)
        cpu = sum(information(path, folder / "film.y4m") for path in paths)
        yield Step(f"{SLOW}, {text}", (films,), cpu)
        flow = partial(called, sys.executable, "-c", FLOW, *map(str, paths))
        yield timed(f"Farneback's flow, {text}", (films,), flow)
    yield timed("tar", BOTH, lambda: called("tar", "cf", str(folder / "clips.tar"), "-C", str(folder), "clips"))


def timed(name: str, films: tuple[Films, ...], step: Callable[[], object]) -> Step:
    """CPU seconds of what a step starts."""
    before = ended()
    step()
    return Step(name, films, ended() - before)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def length(video: Path) -> float:
    """Seconds."""
    with av.open(str(video)) as media:
        return (media.duration or 0) / 1_000_000


def split(video: Path, scenes: Path) -> None:
    """Scenes with the encoding of split-video, but without sound: it fails on sound of six channels."""
    how = ("split-video", "-q", "-a", "-map 0:v:0 -an -c:v libx264 -preset veryfast -crf 22")
    called("scenedetect", "-q", "-i", str(video), "-o", str(scenes), "detect-content", *how)


def cut(scene: Path, clips: Path) -> None:
    """A clip for each whole second of a scene, with a call of its own."""
    for second in range(int(length(scene))):
        target = clips / f"{scene.stem}-{second:04d}.mp4"
        how = ("-vf", "scale=256:256", "-an", "-c:v", "libx264", "-crf", "18", "-threads", "1", str(target))
        called("ffmpeg", "-v", "error", "-ss", str(second), "-t", "1", "-i", str(scene), *how)


def information(film: Path, raw: Path) -> float:
    """CPU seconds of siti-tools for a film. Version 0.6 cannot read the frames of PyAV 18, but raw video, and refuses
    any code outside the limited range unless it is told that the range is full. Making raw video does not count: it
    stands for the decode that siti-tools would do itself."""
    called("ffmpeg", "-v", "error", "-y", "-i", str(film), str(raw))
    before = ended()
    called("siti-tools", "-q", "--color-range", "full", str(raw))
    raw.unlink()
    return ended() - before


def called(*command: str) -> None:
    """Run a command; what it says is of no interest unless it fails."""
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
