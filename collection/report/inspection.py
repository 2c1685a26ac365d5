"""Look at one clip of a built dataset."""

from pathlib import Path

import cv2
import numpy as np

from collection.report.figures import RGB, decode_frames
from collection.report.rows import read_span
from mlst.dataset.description import INDEX
from mlst.dataset.index import Row, read_index
from mlst.dataset.shards import PATH
from mlst.exits import UserError
from mlst.files import atomic

COLUMNS = 6
GAP = 4
"""Pixels between frames."""


class NoClipError(UserError, ValueError):
    """A dataset or clip that is not there."""


def inspect(dataset: Path, key: str, sheet: Path) -> Row:
    """The record of the clip `key`; its frames are written to the PNG file `sheet`, row by row in order of time.

    Raises `NoClipError`.
    """
    index = dataset / INDEX
    if not index.exists():
        raise NoClipError(f"{dataset} has no {INDEX}: give --dataset the folder of a built dataset")
    row = next((row for row in read_index(index) if row.info.key == key), None)
    if row is None:
        raise NoClipError(f"no clip {key!r} in {dataset}; keys are in the column `key` of {INDEX}")
    if not PATH.fullmatch(row.shard):
        raise NoClipError(f"the index says that {key} lies in {row.shard!r}, which is not a shard; run `mlst verify`")
    picture = contact_sheet(decode_frames(read_span(dataset / row.shard, row.offset, row.size)))
    with atomic(sheet) as file:
        file.write(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())
    return row


def contact_sheet(frames: list[RGB]) -> RGB:
    """Equal frames (H, W, 3) set out in rows of `COLUMNS` on white."""
    height, width, _ = frames[0].shape
    rows = -(-len(frames) // COLUMNS)
    sheet = np.full((rows * (height + GAP) - GAP, COLUMNS * (width + GAP) - GAP, 3), 255, np.uint8)
    for position, frame in enumerate(frames):
        y, x = (position // COLUMNS) * (height + GAP), (position % COLUMNS) * (width + GAP)
        sheet[y : y + height, x : x + width] = frame
    return sheet
