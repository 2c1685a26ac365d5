"""MLST datasets, as `mlst build` writes them: one row per clip in `metadata/clips.parquet`, videos inside tar shards.

A clip is read by its offset in the shard, so that any order costs the same. Where the bytes come from is one function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from astm.data.clips import Clips, DataError, DataSettings, Sample, dataset, fitting
from astm.data.video import frames_of, planes, resize
from mlst.records import digest

INDEX = "metadata/clips.parquet"
COLUMNS = ("key", "level", "split", "frames", "shard", "offset", "size", "sha256")

Read: TypeAlias = Callable[[str, int, int], bytes]
"""(shard, offset, size) -> the bytes there."""


class MlstSettings(DataSettings):
    """Settings of MLST; by default the paper's: 256 x 256, 10 -> 20."""

    root: str = "data/mlst"
    size: Annotated[int, Field(ge=8, le=4096)] = 256
    horizon: Annotated[int, Field(ge=1)] = 20
    levels: tuple[str, ...] = ()
    """Only these, e.g. `["s0t0", "s2t2"]`; by default all."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the index says of a clip."""

    key: str
    level: str
    split: str
    frames: int
    shard: str
    offset: int
    size: int
    sha256: str


@dataset.named("mlst")
class Mlst(Clips):
    """The clips of a split, each from its first frame on; clips that are too short are refused, not skipped."""

    Settings = MlstSettings

    settings: MlstSettings

    def __init__(self, settings: MlstSettings, split: str) -> None:
        super().__init__(settings, split)
        root = Path(settings.root)
        rows = read_index(root)
        self.rows = chosen(rows, split, settings.levels, str(root))
        short = [row for row in self.rows if row.frames < settings.length]
        if short:
            raise DataError(
                f"{root}: {len(short)} of {len(self.rows)} {split} clips have fewer than the {settings.past} + "
                f"{settings.horizon} frames asked for, e.g. {short[0].key} with {short[0].frames}; "
                f"lower past or horizon"
            )
        self.read = local(root)
        levels = len({row.level for row in self.rows})
        self.protocol = (
            f"mlst {split}: {len(self.rows)} clips of {levels} levels; {settings.past} -> {settings.horizon}, "
            f"{settings.size} px, {'grey' if settings.channels == 1 else 'RGB'}"
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row, s = self.rows[index], self.settings
        video = self.read(row.shard, row.offset, row.size)
        frames = []
        for frame in frames_of(video, ".mp4", "rgb24"):
            frames.append(frame)
            if len(frames) == s.length:
                break
        if len(frames) < s.length:
            raise DataError(f"clip {row.key} has {len(frames)} frames, {s.past} + {s.horizon} are asked for")
        return Sample(planes(resize(np.stack(frames), s.size), s.channels), row.key, row.level)

    @cached_property
    def fingerprint(self) -> str:
        s = self.settings
        return digest([s.past, s.horizon, s.size, s.channels, [[row.key, row.sha256] for row in self.rows]])


def read_index(root: Path) -> list[Row]:
    """The rows of a dataset's index, in its order."""
    path = root / INDEX
    if not path.is_file():
        raise DataError(f"{fitting(root, [INDEX])}; build a dataset with `mlst build`, or set data.root to one")
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
    except (pa.ArrowException, OSError) as why:
        raise DataError(f"{path} is not an index of clips: {why}") from None
    if missing := set(COLUMNS) - set(table.column_names):
        raise DataError(f"{path} has no columns {', '.join(sorted(missing))}")
    return [Row(**row) for row in table.to_pylist()]


def chosen(rows: Sequence[Row], split: str, levels: Sequence[str], place: str) -> list[Row]:
    """The rows of a split and of these levels (all, if none are named)."""
    known = sorted({row.level for row in rows})
    if unknown := sorted(set(levels) - set(known)):
        raise DataError(f"{place} has no level {', '.join(unknown)}; choices are {', '.join(known)}")
    found = [row for row in rows if row.split == split and (not levels or row.level in levels)]
    if not found:
        there = sorted({row.split for row in rows})
        raise DataError(f"{place} has no {split} clips; its splits are {', '.join(there) or 'empty'}")
    return found


def local(root: Path) -> Read:
    """Read from shards in a folder."""

    def read(shard: str, offset: int, size: int) -> bytes:
        path = root / shard
        if not path.resolve().is_relative_to(root.resolve()):
            raise DataError(f"the index of {root} names the shard {shard!r}, outside of it")
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as why:
            raise DataError(f"{path} cannot be read: {why}; run `mlst verify {root}`") from None
        if len(data) != size:
            raise DataError(f"{path} ends before byte {offset + size}; run `mlst verify {root}`")
        return data

    return read
