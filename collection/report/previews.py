"""Small moving previews of clips for the report, made by ffmpeg through `ffmpeg-python`."""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from collection.report.rows import ReportRow, clip_bytes
from collection.workspace.folder import Workspace
from mlst.dataset.description import Dataset
from mlst.pictures.clip import GUARDS, opened_clip
from mlst.records import digest

SIDE = 128
"""Pixels of a preview, both ways: a quarter of a clip's area, readable in a grid of nine."""
CRF = 30
"""x264's rate factor: about 10 kB for 30 frames."""


def chosen(rows: Sequence[ReportRow], per_level: int) -> list[ReportRow]:
    """Up to `per_level` rows of each level, by the hash of their keys; no source twice while others have none."""
    by_level: dict[str, list[ReportRow]] = {}
    for row in sorted(rows, key=lambda row: digest(row.key)):
        by_level.setdefault(row.level, []).append(row)
    return [row for level in sorted(by_level) for row in islice(_in_turns(by_level[level]), per_level)]


def _in_turns(rows: Sequence[ReportRow]) -> Iterator[ReportRow]:
    """The first row of every source, then the second of every source, and so on."""
    turns: dict[str, int] = {}
    ranked: list[tuple[int, int, ReportRow]] = []
    for row in rows:
        turns[row.source] = turns.get(row.source, -1) + 1
        ranked.append((turns[row.source], len(ranked), row))
    return (row for _, _, row in sorted(ranked, key=lambda item: item[:2]))


def preview(dataset: Workspace, what: Dataset, row: ReportRow) -> bytes:
    """An MP4 of the clip, H.264, `SIDE` x `SIDE`, without audio. Raises ValueError where it is no clip of the dataset,
    `ffmpeg.Error` where it does not decode."""
    mp4 = clip_bytes(dataset, row)
    with tempfile.TemporaryDirectory(prefix="mlst-") as scratch, opened_clip(mp4, what.side):
        clip, made = Path(scratch, "clip.mp4"), Path(scratch, "preview.mp4")
        clip.write_bytes(mp4)
        guards = {name: value for name, value in GUARDS.items() if name.endswith("whitelist")}
        picture = ffmpeg.input(str(clip), format="mov", threads=1, **guards)["v"]
        picture = picture.filter("scale", SIDE, SIDE, flags="area")
        settings = {"vcodec": "libx264", "crf": CRF, "preset": "veryfast", "pix_fmt": "yuv420p", "threads": 1}
        command = picture.output(
            str(made), movflags="+faststart", map_metadata=-1, **settings, **{"frames:v": what.frames}
        )
        command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)
        return made.read_bytes()
