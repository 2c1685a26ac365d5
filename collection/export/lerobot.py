"""`lerobot`: LeRobot's layout, version 3, one dataset for each frame rate: an episode is a clip.

`meta/info.json`, `meta/tasks.parquet` and `meta/stats.json` of the whole; for every thousand episodes a folder
`chunk-000` below `meta/episodes`, `data` and `videos` (github.com/huggingface/lerobot, `datasets/utils.py`, v3.0). A
file may hold many episodes there; here each has its own, so that its bytes stay what they are.
"""

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from collection.export.folder import same_video
from collection.export.origin import ExportError
from collection.export.pieces import Format, Piece, described
from mlst.dataset.index import Row
from mlst.files import atomic, clean
from mlst.inside import opened, place_in
from mlst.levels.levels import LEVELS
from mlst.records import SPLITS

CAMERA = "observation.images.clip"
CHUNK = 1000
"""Episodes of a folder, which is LeRobot's own default."""
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
OURS = "clip/"
"""What stands before the columns of the index in the table of episodes."""
RATE = re.compile(r"\d{1,7}(/\d{1,7})?")
TASKS = [level.name for level in LEVELS]
"""An episode has a task there; ours is its level."""
FRAMES = pa.schema(
    [("timestamp", pa.float32()), *((n, pa.int64()) for n in ("frame_index", "episode_index", "index", "task_index"))]
)
DAMAGED = (OSError, ValueError, pa.ArrowException)


class LeRobot(Format):
    """`fps-30/meta/info.json`, `fps-30/data/chunk-000/file-000.parquet`, `fps-30/videos/...`."""

    by = ("rate", "split")
    most = CHUNK
    load = (
        "from lerobot.datasets.lerobot_dataset import LeRobotDataset\n\n"
        'clips = LeRobotDataset("clips", root="FOLDER/fps-30")  # a folder for each frame rate'
    )

    def write(self, out: Path, piece: Piece) -> None:
        """Write videos that are missing or wrong, and both tables anew."""
        for place, row in enumerate(piece.rows()):
            name = _video(piece, place)
            if not same_video(out, name, row):
                with atomic(place_in(out, name)) as file:
                    file.write(piece.video(row))
        for name, table in _tables(piece).items():
            with atomic(place_in(out, name)) as file:
                pq.write_table(table, file, compression="zstd")
            clean((out / name).parent)
        clean((out / _video(piece, 0)).parent)

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """Videos with other bytes, and tables with other rows."""
        for place, row in enumerate(piece.rows()):
            if not same_video(out, _video(piece, place), row):
                yield _video(piece, place)
        for name, table in _tables(piece).items():
            try:
                with opened(place_in(out, name)) as file:
                    same = pq.read_table(file).equals(table, check_metadata=True)
            except DAMAGED:
                same = False
            if not same:
                yield name

    def names(self, piece: Piece) -> Iterator[str]:
        """Videos and tables."""
        yield from (_video(piece, place) for place in range(piece.clips))
        yield from (f"{_home(piece)}/{path}" for path in (_path(DATA, piece), _path(EPISODES, piece)))

    def closing(self, out: Path, parts: Sequence[Piece]) -> Mapping[str, Callable[[], bytes]]:
        """What `meta/` says of all episodes of a rate."""
        del out
        homes: dict[str, list[Piece]] = {}
        for piece in parts:
            homes.setdefault(_home(piece), []).append(piece)
        made: dict[str, Callable[[], bytes]] = {}
        for home, those in homes.items():
            made[f"{home}/meta/tasks.parquet"] = _tasks
            made[f"{home}/meta/stats.json"] = partial(_stats, those)
            made[f"{home}/meta/info.json"] = partial(_info, those)
        return made


@dataclass(frozen=True, slots=True)
class _Episode:
    """A clip, and the numbers that LeRobot gives it."""

    row: Row
    place: int
    """In its chunk."""
    number: int
    """In the dataset of its rate."""


def _episodes(piece: Piece) -> Iterator[_Episode]:
    for place, row in enumerate(piece.rows()):
        if row.info.frames != piece.origin.dataset.frames:
            raise ExportError(f"{row.info.key} has {row.info.frames} frames, not {piece.origin.dataset.frames}")
        yield _Episode(row, place, piece.first + place)


def _rate(piece: Piece) -> Fraction:
    if not RATE.fullmatch(piece.values[0]) or not (rate := Fraction(piece.values[0])):
        raise ExportError(f"rate {piece.values[0][:40]!a} is none; run `mlst verify {piece.origin.name}`")
    return rate


def _fps(piece: Piece) -> int | float:
    rate = _rate(piece)
    return rate.numerator if rate.denominator == 1 else float(rate)


def _home(piece: Piece) -> str:
    return "fps-" + str(_rate(piece)).replace("/", "-")


def _path(pattern: str, piece: Piece) -> str:
    return pattern.format(chunk_index=piece.number, file_index=0)


def _video(piece: Piece, place: int) -> str:
    return f"{_home(piece)}/{VIDEOS.format(video_key=CAMERA, chunk_index=piece.number, file_index=place)}"


def _tables(piece: Piece) -> dict[str, Any]:
    """Frames and episodes of a piece by the names of their files."""
    return {
        f"{_home(piece)}/{_path(DATA, piece)}": _frames(piece),
        f"{_home(piece)}/{_path(EPISODES, piece)}": _table_of_episodes(piece),
    }


def _frames(piece: Piece) -> Any:
    """A row per frame. Times are those of the frames in the clip, which begins at 0."""
    frames, tasks = piece.origin.dataset.frames, [TASKS.index(e.row.info.level) for e in _episodes(piece)]
    numbers = np.arange(piece.first, piece.first + len(tasks))
    columns = {
        "timestamp": np.tile(np.arange(frames) / float(_rate(piece)), len(tasks)).astype(np.float32),
        "frame_index": np.tile(np.arange(frames), len(tasks)),
        "episode_index": np.repeat(numbers, frames),
        "index": np.arange(piece.first * frames, (piece.first + len(tasks)) * frames),
        "task_index": np.repeat(np.array(tasks, np.int64), frames),
    }
    return pa.table(columns, schema=FRAMES)


def _table_of_episodes(piece: Piece) -> Any:
    numbers = (
        "length", "data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index",
        "meta/episodes/chunk_index", "meta/episodes/file_index",
        f"videos/{CAMERA}/chunk_index", f"videos/{CAMERA}/file_index",
    )  # fmt: skip
    times = (f"videos/{CAMERA}/from_timestamp", f"videos/{CAMERA}/to_timestamp")
    schema = pa.schema(
        [
            pa.field("episode_index", pa.int64()),
            pa.field("tasks", pa.list_(pa.field("element", pa.string()))),
            *(pa.field(name, pa.int64()) for name in numbers),
            *(pa.field(name, pa.float64()) for name in times),
            *(field.with_name(OURS + field.name).with_nullable(True) for field in piece.fields),
        ]
    )
    return pa.Table.from_pylist([_described(piece, episode) for episode in _episodes(piece)], schema=schema)


def _described(piece: Piece, episode: _Episode) -> dict[str, Any]:
    frames, level = piece.origin.dataset.frames, episode.row.info.level
    return {
        "episode_index": episode.number,
        "tasks": [level],
        "length": frames,
        "data/chunk_index": piece.number,
        "data/file_index": 0,
        "dataset_from_index": episode.number * frames,
        "dataset_to_index": (episode.number + 1) * frames,
        "meta/episodes/chunk_index": piece.number,
        "meta/episodes/file_index": 0,
        f"videos/{CAMERA}/chunk_index": piece.number,
        f"videos/{CAMERA}/file_index": episode.place,
        f"videos/{CAMERA}/from_timestamp": 0.0,
        f"videos/{CAMERA}/to_timestamp": float(frames / _rate(piece)),
        **{OURS + name: value for name, value in described(episode.row).items()},
    }


def _info(parts: Sequence[Piece]) -> bytes:
    dataset, fps = parts[0].origin.dataset, _fps(parts[0])
    clips = {split: [p for p in parts if p.values[1] == split] for split in SPLITS}
    spans = {split: (those[0].first, those[-1].first + those[-1].clips) for split, those in clips.items() if those}
    episodes = sum(piece.clips for piece in parts)
    camera = {
        "dtype": "video",
        "shape": [dataset.side, dataset.side, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": dataset.side,
            "video.width": dataset.side,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        },
    }
    about = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": episodes,
        "total_frames": episodes * dataset.frames,
        "total_tasks": len(TASKS),
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {split: f"{first}:{end}" for split, (first, end) in spans.items()},
        "data_path": DATA,
        "video_path": VIDEOS,
        "features": {CAMERA: camera}
        | {field.name: {"dtype": str(field.type).replace("float", "float32"), "shape": [1], "names": None}
           for field in FRAMES},
    }  # fmt: skip
    return (json.dumps(about, indent=4) + "\n").encode()


def _stats(parts: Sequence[Piece]) -> bytes:
    """How many frames there are. Means and deviations of pixels are not measured: LeRobot puts ImageNet's there."""
    frames = sum(piece.clips for piece in parts) * parts[0].origin.dataset.frames
    return (json.dumps({CAMERA: {"count": [frames]}}, indent=4) + "\n").encode()


def _tasks() -> bytes:
    """A table whose index, as pandas keeps it, are the tasks."""
    names = ("task_index", "__index_level_0__")
    columns = [
        {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, field, kind, numpy in (
            ("task_index", names[0], "int64", "int64"), (None, names[1], "unicode", "object")
        )
    ]  # fmt: skip
    about = {"index_columns": [names[1]], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    schema = pa.schema([(names[0], pa.int64()), (names[1], pa.string())], {"pandas": json.dumps(about)})
    file = io.BytesIO()
    pq.write_table(pa.table([range(len(TASKS)), TASKS], schema=schema), file, compression="zstd")
    return file.getvalue()
