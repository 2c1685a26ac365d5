"""Small moving previews of clips for the report, made by ffmpeg through `ffmpeg-python`."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from collection.report.rows import ReportRow, clip_bytes, in_turns
from collection.workspace.folder import Workspace
from mlst.dataset.description import Dataset
from mlst.pictures.confined import decode_confined
from mlst.pictures.decode import Form, decode_into
from mlst.records import digest
from mlst.sandbox.helper import Unconfined

SIDE = 128
"""Pixels of a preview, both ways: a quarter of a clip's area, readable in a grid of nine."""
RATE = re.compile(r"[1-9]\d{0,9}/[1-9]\d{0,9}")
CRF = 30
"""x264's rate factor: about 10 kB for 30 frames."""


def chosen(rows: Sequence[ReportRow], per_level: int) -> list[ReportRow]:
    """Up to `per_level` rows of each level, by the hash of their keys; no source twice while others have none, and no
    shot of one."""
    by_level: dict[str, list[ReportRow]] = {}
    for row in sorted(rows, key=lambda row: digest(row.key)):
        by_level.setdefault(row.level, []).append(row)
    return [row for level in sorted(by_level) for row in in_turns(by_level[level])[:per_level]]


def preview(dataset: Workspace, what: Dataset, row: ReportRow) -> bytes:
    """An MP4 of the clip, H.264, `SIDE` x `SIDE`, without audio. Raises ValueError where it is no clip of the dataset.

    A confined process decodes the clip; ffmpeg, which is not confined, gets nothing but pixels.
    """
    if not RATE.fullmatch(row.rate):
        raise ValueError(f"the index says that {row.key} has {row.rate[:80]!r} frames per second")
    form = Form(what.frames, what.side, SIDE, "rgb")
    pictures = np.empty(form.shape, np.uint8)
    decode_apart(pictures, clip_bytes(dataset, row), form)
    with tempfile.TemporaryDirectory(prefix="mlst-") as scratch:
        made = Path(scratch, "preview.mp4")
        source = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{SIDE}x{SIDE}", framerate=row.rate)
        settings = {"vcodec": "libx264", "crf": CRF, "preset": "veryfast", "pix_fmt": "yuv420p", "threads": 1}
        command = source.output(str(made), movflags="+faststart", map_metadata=-1, **settings)
        raw = np.ascontiguousarray(pictures.transpose(0, 2, 3, 1)).tobytes()  # (T, H, W, 3)
        command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), input=raw, quiet=True, overwrite_output=True)
        return made.read_bytes()


def decode_apart(out: NDArray[np.uint8], mp4: bytes, form: Form) -> None:
    """In a confined process where the kernel has one; commands say at their start where it has not."""
    try:
        decode_confined(out, mp4, form)
    except Unconfined:
        decode_into(out, mp4, form)
