"""Films that a CSV file lists, as Kinetics, BAIR or Human3.6M are kept: videos, or folders of frames.

Columns: `path`, within the folder of the CSV file or `data.folder`; `split`; if wanted `label`, the level in
reports, and `frames`, how many the film has, without which each film is opened once to count them. Other columns are
passed over.
"""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from astm.data.clips import ALL, DataError, WindowSettings, dataset
from astm.data.films import Film, Films, film_of_frames, pictures_of
from astm.data.own import FilmWindows
from astm.data.video import DEMUXERS, frames_at, planes, presentation_times
from mlst.inside import leads_out
from mlst.records import SPLITS
from mlst.text import number_of

DIGITS = 7
"""Of the frames of a film: four days at 25 frames per second. More would be a slip of the pen, and a list as long."""
OTHER_NAMES = {"val": "validation", "valid": "validation", "validate": "validation"}
"""What splits are called elsewhere."""


class ManifestSettings(WindowSettings):
    """Settings of films that a CSV file lists."""

    places: ClassVar[tuple[str, ...]] = ("root", "folder")

    root: str = "data/films.csv"
    """The list."""
    folder: str = ""
    """Where its paths count from; by default its own folder."""


@dataclass(frozen=True, slots=True)
class Row:
    """A film of the list."""

    path: str
    split: str
    label: str
    frames: int
    """0 where the list does not say it."""


@dataset.named("manifest")
class Listed(FilmWindows):
    """Windows of all films of a split, in the order of the list."""

    Settings = ManifestSettings

    settings: ManifestSettings

    def __init__(self, settings: ManifestSettings, split: str) -> None:
        super().__init__(settings, split)
        place = Path(settings.root)
        rows = read_rows(place)
        self.rows = [row for row in rows if row.split == split]
        if not self.rows:
            raise DataError(f"{place} has {', '.join(sorted({row.split for row in rows}))}, but no {split}")
        self.folder = Path(settings.folder) if settings.folder else place.parent
        if missing := [row.path for row in self.rows if self._lacks(row)]:
            raise DataError(
                f"{self.folder.resolve()} lacks {len(missing)} of {len(self.rows)} {split} films of {place.name}: "
                f"{', '.join(missing[:3])} ...; set data.folder, or take them from the list"
            )
        self.cut(place.resolve().stem, self._films(place), range(len(self.rows)))

    def hashed(self, film: int) -> list[str]:
        """Of a film: sha256 of its files, which are not decoded for it."""
        found = []
        for path in self._files(film):
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
        return found

    def _films(self, place: Path) -> Films:
        keys, levels = tuple(row.path for row in self.rows), {row.path: row.label for row in self.rows}
        return Films(str(place), keys, True, 0, self._read, self._length, levels)

    def _lacks(self, row: Row) -> bool:
        place = self.folder / row.path
        return not (place.is_file() or place.is_dir()) or leads_out(place, self.folder)  # reading a pipe would wait

    def _files(self, film: int) -> list[Path]:
        place = self.folder / self.rows[film].path
        return [place] if _is_video(place) else pictures_of(self.folder, place)

    def _length(self, film: int) -> int:
        return self.rows[film].frames or self._count(film)

    def _count(self, film: int) -> int:
        place = self.folder / self.rows[film].path
        return len(presentation_times(place) if _is_video(place) else self._files(film))

    def _read(self, film: int, channels: int, which: slice) -> Film:
        row, count = self.rows[film], self._count(film)
        place = self.folder / row.path
        if len(range(count)[which]) < self.settings.length:
            raise DataError(f"{place} has {number_of(count, 'frame')}, {self.settings.root} says {row.frames}")
        if not _is_video(place):
            return film_of_frames(self.folder, place, channels, which)
        return planes(frames_at(place, presentation_times(place)[which]), channels)


def read_rows(place: Path) -> list[Row]:
    """The films of a list. Raises `DataError`, which names the line."""
    try:
        with place.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            if lacking := {"path", "split"} - set(reader.fieldnames or ()):
                raise DataError(
                    f"{place} has no column {', '.join(sorted(lacking))}; its first line must name columns"
                )
            rows = [_row(place, reader.line_num, values) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise DataError(f"{place} is not a readable CSV file: {why}; see docs/own-data.md") from None
    if not rows:
        raise DataError(f"{place} lists no films")
    if twice := [path for path, count in Counter(row.path for row in rows).items() if count > 1]:
        raise DataError(f"{place} lists {twice[0]} more than once")
    return rows


def _row(place: Path, line: int, values: dict[str, str]) -> Row:
    path, split, frames = (str(values.get(name) or "").strip() for name in ("path", "split", "frames"))
    split = OTHER_NAMES.get(split, split)
    if not path or split not in SPLITS:
        raise DataError(f"{place}, line {line}: path {path!r}, split {split!r}; splits are {', '.join(SPLITS)}")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise DataError(f"{place}, line {line}: {path} is not within data.folder; set that to a folder of all films")
    if frames and not (frames.isdecimal() and len(frames) <= DIGITS):
        raise DataError(
            f"{place}, line {line}: {frames!r} is no number of frames; leave it empty to have them counted"
        )
    return Row(path, split, str(values.get("label") or "").strip() or ALL, int(frames or 0))


def _is_video(place: Path) -> bool:
    return place.suffix.lower() in DEMUXERS
