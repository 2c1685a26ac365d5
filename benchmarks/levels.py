"""Do levels belong to the content? Re-encode, rescale, letterbox and thin clips, and count the labels that change.

    python -m benchmarks.levels [--seconds 4]

Renditions are made by ffmpeg (through `ffmpeg-python`, with the binary of `imageio-ffmpeg`); each second of each is
measured and compared with the same second of the original.
"""

import argparse
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

from collection.media.decode import open_video
from collection.media.probe import probe
from collection.recipe import Limits
from mlst.levels.levels import Level, classify, read_levels
from mlst.pictures.bars import active_picture
from mlst.pictures.frames import Reduced, canonical, reduce
from mlst.statistics import measure

CLIPS = Path(__file__).parents[1] / "manifests" / "demo" / "clips"
MOST = 4
"""Seconds of each clip."""

Change = Callable[[Any, Path], Any]


def coded(crf: int) -> Change:
    """Re-encoded by x264."""
    return lambda picture, path: picture.output(str(path), vcodec="libx264", crf=crf, an=None)


def filtered(name: str, crf: int, *words: str) -> Change:
    """Passed through a filter of ffmpeg first."""
    return lambda picture, path: coded(crf)(picture.filter(name, *words), path)


CHANGES: dict[str, Change] = {
    "x264 crf 23": coded(23),
    "x264 crf 28": coded(28),
    "x264 crf 35": coded(35),
    "half size, crf 18": filtered("scale", 18, "trunc(iw/4)*2", "trunc(ih/4)*2"),
    "240 lines, crf 28": filtered("scale", 28, "-2", "240"),
    "1.5 times the size, crf 18": filtered("scale", 18, "trunc(iw*3/4)*2", "trunc(ih*3/4)*2"),
    "bars of 12 %, crf 18": filtered("pad", 18, "iw", "trunc(ih*0.63)*2", "0", "trunc(ih*0.06)*2"),
    "half the frames, crf 18": filtered("select", 18, "not(mod(n,2))"),
}


def rendition(source: Path, target: Path, change: Change, seconds: int) -> Path:
    """A changed copy of the first `seconds` of a file, times kept."""
    picture = ffmpeg.input(str(source), t=seconds)["v"]
    made = change(picture, target).global_args("-loglevel", "error", "-fps_mode", "passthrough")
    made.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), overwrite_output=True)
    return target


def levels_of(path: Path, seconds: int) -> dict[int, Level]:
    """The level of each whole second, by its number."""
    facts, thresholds = probe(path, Limits()), read_levels("p910-240p-v1")
    rule = active_picture[thresholds.active_picture]
    parts: dict[int, list[tuple[Fraction, Reduced]]] = {}
    with open_video(path, facts, Limits()) as decoder:
        for frame in decoder:
            time = (frame.picture.pts - facts.first_pts) * facts.time_base
            parts.setdefault(int(time), []).append((time, reduce(frame.picture, decoder.format)))
        found = {}
        for second, part in parts.items():
            if second < min(seconds, int(facts.duration)):
                times, reduced = zip(*part, strict=True)
                found[second] = classify(measure(canonical(reduced, times, decoder.format, rule)), thresholds)
    return found


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=MOST, help="Of each clip.")
    seconds = parser.parse_args().seconds
    sources = sorted(path for path in CLIPS.iterdir() if probe(path, Limits()).width >= 480)
    originals = {source: levels_of(source, seconds) for source in sources}
    print(f"{len(sources)} clips, {sum(map(len, originals.values()))} seconds\n")
    print("| change | S changed | T changed | either |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, change in CHANGES.items():
            pairs = [
                (level, after[second])
                for source, before in originals.items()
                for after in [levels_of(rendition(source, Path(folder) / "changed.mp4", change, seconds), seconds)]
                for second, level in before.items()
                if second in after
            ]
            wrong = [(a.s != b.s, a.t != b.t, a != b) for a, b in pairs]
            shares = (f"{sum(column) / len(pairs):.1%}" for column in zip(*wrong, strict=True))
            print(f"| {name} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
