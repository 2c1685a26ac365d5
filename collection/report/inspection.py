"""Look at one clip of a built dataset."""

from pathlib import Path

import cv2
import numpy as np

from collection.report.figures import RGB, decode_frames, spread
from collection.report.rows import read_span
from mlst.dataset.description import INDEX, read_dataset
from mlst.dataset.index import Row, read_index
from mlst.dataset.shards import largest_clip
from mlst.exits import UserError
from mlst.files import atomic
from mlst.inside import file_in

COLUMNS = 6
GAP = 4
"""Pixels between frames."""
MOST_BYTES = 1 << 27
"""Of a sheet's frames: 682 of 256x256 pixels."""


class NoClipError(UserError, ValueError):
    """A dataset or clip that is not there."""


def inspect(dataset: Path, key: str, sheet: Path) -> Row:
    """The record of the clip `key`; its frames are written to the PNG file `sheet`, row by row in order of time. Of
    very many, as many are shown as `MOST_BYTES` hold.

    Raises `NoClipError`.
    """
    if not (dataset / INDEX).exists():
        raise NoClipError(f"{dataset} has no {INDEX}: give --dataset the folder of a built dataset")
    try:
        what = read_dataset(dataset)
        row = next((row for row in read_index(dataset / INDEX) if row.info.key == key), None)
        if row is None:
            raise NoClipError(f"no clip {key!r} in {dataset}; keys are in the column `key` of {INDEX}")
        if row.shard not in {shard.path for shard in what.shards}:
            raise ValueError(f"the index says that {key} lies in {row.shard[:200]!r}, which is not a shard")
        mp4 = read_span(file_in(dataset, row.shard), row.offset, min(row.size, largest_clip(what.side, what.frames)))
        count = min(what.frames, MOST_BYTES // (3 * what.side**2) or 1)
        frames = decode_frames(mp4, what, spread(what.frames, count))
    except NoClipError:
        raise
    except (OSError, ValueError) as why:
        raise NoClipError(f"{dataset}: clip {key}: {why}; run `mlst verify`") from None
    with atomic(sheet) as file:
        file.write(cv2.imencode(".png", contact_sheet(frames)[:, :, ::-1])[1].tobytes())
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
