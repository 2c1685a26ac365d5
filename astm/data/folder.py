"""Any folder of videos: windows of consecutive frames from each.

With folders `train`, `validation` and `test` inside, these are the splits; otherwise each file's name decides by its
hash: 80 % train, 10 % validation, 10 % test. A folder between the split and the file is the level in reports.
"""

import bisect
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from astm.data.clips import ALL, ClipFrames, Clips, DataError, WindowSettings, dataset, fitting
from astm.data.video import DEMUXERS, frames_at, planes, presentation_times, resize
from mlst.draws import stream
from mlst.records import SPLITS, digest

SHARES = (0.8, 0.9)
"""Where validation and test begin."""


class FolderSettings(WindowSettings):
    """Settings of a folder of videos."""

    root: str = "data/videos"
    size: Annotated[int, Field(ge=8, le=4096)] = 128


@dataclass(frozen=True, slots=True)
class Window:
    """Frames of a file, by their pts."""

    file: Path
    times: tuple[int, ...]
    key: str
    level: str


@dataset.named("folder")
class Folder(Clips):
    """Windows of all videos of a split, by file and time."""

    Settings = FolderSettings

    settings: FolderSettings

    def __init__(self, settings: FolderSettings, split: str) -> None:
        super().__init__(settings, split)
        self.root = Path(settings.root)
        self.files = find_files(self.root, split)
        counts = {file: presentation_times(file) for file in self.files}
        self.windows = [w for file in self.files for w in _windows(file, counts[file], self.root, settings)]
        if not self.windows:
            longest = max(len(times) for times in counts.values())
            raise DataError(
                f"{self.root}: none of {len(self.files)} {split} videos has {settings.past} + {settings.horizon} "
                f"frames (stride {settings.stride}), the longest has {longest}; lower past, horizon or stride"
            )
        pixels = " x ".join(map(str, dict.fromkeys(settings.picture)))  # a square by its side
        self.protocol = (
            f"folder {split}: {len(self.windows)} windows of {len(self.files)} videos; "
            f"{settings.past} -> {settings.horizon}, {pixels} px"
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> ClipFrames:
        window = self.windows[index]
        frames = resize(frames_at(window.file, window.times), self.settings.picture)
        return ClipFrames(planes(frames, self.settings.channels), window.key, window.level)

    def video(self, key: str) -> str:
        """A key is `<path>@<first frame>`."""
        return key.rpartition("@")[0]

    @cached_property
    def fingerprint(self) -> str:
        s, files = self.settings, []
        for file in self.files:
            with file.open("rb") as opened:
                files.append([_relative(file, self.root), hashlib.file_digest(opened, "sha256").hexdigest()])
        sides = dict.fromkeys(s.picture)  # one of a square, whose fingerprint is older than `width`
        return digest([s.past, s.horizon, *sides, s.channels, s.step, s.stride, files])


def find_files(root: Path, split: str) -> list[Path]:
    """The videos of a split, by name."""
    separate = any((root / name).is_dir() for name in SPLITS)
    top = root / split if separate else root
    every = sorted(p for p in top.rglob("*") if p.is_file() and p.suffix.lower() in DEMUXERS) if top.is_dir() else []
    files = every if separate else [p for p in every if _drawn(_relative(p, root)) == split]
    if every and not files:
        raise DataError(
            f"{root}: by the hash of its name none of {len(every)} videos fell to {split}; "
            f"make folders {', '.join(SPLITS)} there"
        )
    if not files:
        raise DataError(fitting(top, [f"*{suffix}" for suffix in DEMUXERS]))
    return files


def _windows(file: Path, times: list[int], root: Path, settings: FolderSettings) -> list[Window]:
    span = settings.span
    relative = Path(_relative(file, root))
    parts = [part for part in relative.parts[:-1] if part not in SPLITS]
    level = "/".join(parts) or ALL
    return [
        Window(file, tuple(times[i : i + span : settings.stride]), f"{relative.as_posix()}@{i}", level)
        for i in range(0, len(times) - span + 1, settings.step or span)
    ]


def _drawn(name: str) -> str:
    return SPLITS[bisect.bisect(SHARES, int(stream("folder", name)) / 2**64)]


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()
