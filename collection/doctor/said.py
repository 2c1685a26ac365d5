"""What a dataset says of its clips: the columns of tables and the fields of records, whatever they are called."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FILES = ("file_name", "filename", "file", "path", "video_path", "video", "name")
FRAMES = ("num_frames", "frames", "n_frames", "nframes", "frame_count")
RATES = ("fps", "frame_rate", "framerate", "rate", "video.fps")
SECONDS = ("duration", "seconds", "duration_seconds", "length_seconds")
WIDTHS = ("width", "video.width")
HEIGHTS = ("height", "video.height")
LICENCES = ("licence", "license")
SPLITS = ("split",)
KNOWN_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing")
SOURCES = ("source", "source_id", "video_id", "youtube_id")
COLUMNS = frozenset((*FILES, *FRAMES, *RATES, *SECONDS, *WIDTHS, *HEIGHTS, *LICENCES, *SPLITS, *SOURCES))
"""All that is read of a table."""


@dataclass(frozen=True, slots=True)
class Said:
    """Of one clip; 0 and "" for what is not said."""

    frames: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    licence: str = ""
    split: str = ""
    source: str = ""


def said(record: Mapping[str, Any]) -> Said:
    """What a row or a record says."""
    return Said(
        frames=int(_number(record, FRAMES)),
        rate=_number(record, RATES),
        seconds=_number(record, SECONDS),
        width=int(_number(record, WIDTHS)),
        height=int(_number(record, HEIGHTS)),
        licence=_text(record, LICENCES),
        split=_text(record, SPLITS),
        source=_text(record, SOURCES),
    )


def from_json(text: str | bytes, constant: Callable[[str], float] = float) -> Any:
    """The value of a JSON text; `constant` makes NaN and infinities. Raises ValueError, also for deep nesting."""
    try:
        return json.loads(text, parse_constant=constant)
    except RecursionError:
        raise ValueError("is nested too deep") from None


def file_of(record: Mapping[str, Any]) -> str:
    """The path that a row of a table names; "" for none."""
    return _text(record, FILES)


def split_in(path: str) -> str:
    """The split that a folder or the beginning of a shard's name tells of, "" for none."""
    words = {word for part in path.lower().split("/") for word in (part, part.split("-")[0], part.split("_")[0])}
    return next((name for name in KNOWN_SPLITS if name in words), "")


def _number(record: Mapping[str, Any], names: Iterable[str]) -> float:
    for name in names:
        value = record.get(name)
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
            return float(value)
    return 0.0


def _parsed(text: str) -> float:
    """The number in a text, a fraction like 30000/1001 included; 0 where there is none."""
    over, _, under = text.partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        return 0.0


def _text(record: Mapping[str, Any], names: Iterable[str]) -> str:
    return next((value.strip() for name in names if isinstance(value := record.get(name), str) and value.strip()), "")
