"""Frames side by side: around a transition, from the clips on either side of it, and where a clip changes most."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from collection.report.figures import RGB, decode_frames
from collection.report.prints import Jump, Seam, Told
from collection.report.rows import ReportRow, clip_bytes
from collection.workspace.folder import Workspace
from mlst.dataset.description import Dataset
from mlst.records import digest

SIDE = 72
"""Pixels of a frame."""
BESIDE = 4
"""Frames on either side of the line."""
APART = 3
"""Frames from one to the next on either side of a seam: a tenth of a second at 30 per second."""
EDGE = (194, 65, 12)
"""R, G, B of the line."""
QUALITY = 75


@dataclass(frozen=True, slots=True)
class Strip:
    """What a page shows of a doubtful place; clips by their places in the index."""

    kind: str
    """`seam`: a transition that may be none. `jump`: a clip that may hide one. `some`: any transition."""
    before: int
    after: int
    """The same as `before` for a jump."""
    bits: float
    """In which hashes differ: across a seam, or at a jump more than elsewhere in the clip."""
    picture: str
    """JPEG in base64."""


def strips(dataset: Workspace, what: Dataset, rows: Sequence[ReportRow], prints: Told, count: int) -> list[Strip]:
    """`count` of each kind: the likeliest to be wrong, then transitions drawn by the hash of their clips."""
    seams = prints.seams
    least, rest = seams[:count], sorted(seams[count:], key=lambda seam: digest(rows[seam.before].key))
    shown = [("seam", seam) for seam in least] + [("some", seam) for seam in rest[:count]]
    made = [_of_seam(dataset, what, rows, kind, seam) for kind, seam in shown]
    return made + [_of_jump(dataset, what, rows, jump) for jump in prints.jumps[:count]]


def _of_seam(dataset: Workspace, what: Dataset, rows: Sequence[ReportRow], kind: str, seam: Seam) -> Strip:
    places = range(what.frames)
    before = decode_frames(clip_bytes(dataset, rows[seam.before]), what, places[::-APART][:BESIDE][::-1])
    after = decode_frames(clip_bytes(dataset, rows[seam.after]), what, places[::APART][:BESIDE])
    return Strip(kind, seam.before, seam.after, seam.distance, _picture(before, after))


def _of_jump(dataset: Workspace, what: Dataset, rows: Sequence[ReportRow], jump: Jump) -> Strip:
    place = round(jump.where * (what.frames - 1))
    around = range(what.frames)[max(0, place - 2 * BESIDE) : place + 2 * BESIDE + 1]
    frames = decode_frames(clip_bytes(dataset, rows[jump.clip]), what, around)
    near = range(max(1, place - BESIDE), min(what.frames, place + BESIDE + 1))
    first = around.start
    line = max(near, key=lambda n: float(cv2.norm(frames[n - first], frames[n - first - 1], cv2.NORM_L1))) - first
    left = max(0, min(line - BESIDE, len(frames) - 2 * BESIDE))  # eight frames, also where the line is near an end
    picture = _picture(frames[left:line], frames[line : left + 2 * BESIDE])
    return Strip("jump", jump.clip, jump.clip, jump.height, picture)


def _picture(before: Sequence[RGB], after: Sequence[RGB]) -> str:
    """Frames in order of time, with a line between the two parts."""
    line = np.full((SIDE, 5, 3), EDGE, np.uint8)
    row = np.concatenate([*map(_small, before), line, *map(_small, after)], axis=1)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return base64.b64encode(cv2.imencode(".jpg", row[:, :, ::-1], options)[1].tobytes()).decode()


def _small(frame: RGB) -> RGB:
    return np.asarray(cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
