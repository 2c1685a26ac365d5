"""Films of one's own, in files of any kind that `astm.data.films` reads: windows of consecutive frames from each.

With `train`, `validation` and `test` inside, as folders or as files (`train.npy`), these are the splits; otherwise
each film's key decides by its hash: 80 % train, 10 % validation, 10 % test. For videos, `folder` is faster: it decodes
only what a window shows.
"""

import bisect
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from astm.data.clips import ALL, ClipFrames, Clips, DataError, WindowSettings, dataset
from astm.data.films import Film, Films, open_films
from astm.data.folder import SHARES
from mlst.draws import stream
from mlst.records import SPLITS, digest

KINDS = ("", ".npy", ".npz", ".tar")
"""Endings of a split inside `root`."""


class FilmsSettings(WindowSettings):
    """Settings of films of one's own."""

    root: str = "data/films"
    layout: str = ""
    """Axes of a NumPy stack, e.g. TNHW; by default NTHW, NTCHW or NTHWC."""


@dataclass(frozen=True, slots=True)
class Window:
    """Frames of a film."""

    film: int
    first: int


class FilmWindows(Clips):
    """Windows of films, by film and time: what a subclass has chosen is given to `cut`."""

    Settings: ClassVar[type[WindowSettings]] = WindowSettings

    settings: WindowSettings

    def cut(self, name: str, films: Films, chosen: Sequence[int]) -> None:
        """Cut windows from the chosen films. Raises `DataError` where none is long enough."""
        s = self.settings
        lengths = {i: films.length(i) for i in chosen}
        self.films = films
        self.windows = [
            Window(i, first) for i in chosen for first in range(0, lengths[i] - s.span + 1, s.step or s.span)
        ]
        if not self.windows:
            raise DataError(
                f"{films.place}: none of {len(chosen)} {self.split} films has {s.past} + {s.horizon} frames (stride "
                f"{s.stride}), the longest has {max(lengths.values(), default=0)}; lower past, horizon or stride, or "
                f"make {', '.join(SPLITS)} there"
            )
        self.protocol = (
            f"films {self.split}: {len(self.windows)} windows of {len(chosen)} films of {name}; "
            f"{s.past} -> {s.horizon}, {' x '.join(map(str, s.picture))} px"
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> ClipFrames:
        s, window = self.settings, self.windows[index]
        which = slice(window.first, window.first + s.length * s.stride, s.stride)
        film = self.films.read(window.film, self.films.channels or 3, which)
        key = self.films.keys[window.film]
        frames = as_pictures(film, s.channels, s.picture)
        return ClipFrames(frames, f"{key}@{window.first}", self.films.levels.get(key, ALL))

    def video(self, key: str) -> str:
        """A key is `<film>@<first frame>`."""
        return key.rpartition("@")[0]

    @cached_property
    def fingerprint(self) -> str:
        s = self.settings
        films = [[self.films.keys[i], *self.hashed(i)] for i in dict.fromkeys(w.film for w in self.windows)]
        return digest([s.past, s.horizon, *s.picture, s.channels, s.step, s.stride, films])

    def hashed(self, film: int) -> list[str]:
        """Of a film: sha256 over its pictures."""
        pictures = self.films.read(film, self.films.channels or 3, slice(None))
        return [hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()]


@dataset.named("films")
class OwnFilms(FilmWindows):
    """Windows of all films of a split, by key and time."""

    Settings = FilmsSettings

    settings: FilmsSettings

    def __init__(self, settings: FilmsSettings, split: str) -> None:
        super().__init__(settings, split)
        root = Path(settings.root)
        own = [root / f"{name}{kind}" for name in SPLITS for kind in KINDS if (root / f"{name}{kind}").exists()]
        mine = [path for path in own if path.name.partition(".")[0] == split]
        if own and not mine:
            raise DataError(f"{root} has {', '.join(path.name for path in own)}, but no {split}")
        films = open_films(mine[0] if mine else root, settings.layout)
        chosen = [i for i, key in enumerate(films.keys) if own or _drawn(key) == split]
        self.cut(root.resolve().name, films, chosen)


def as_pictures(film: Film, channels: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(T, C, H, W) uint8 of a film with 1 or 3 channels; area average down, bilinear up.

    Grey is the mean of R, G and B of the resized picture, RGB of grey is thrice the same.
    """
    frames = film if film.dtype == np.uint8 else (np.clip(film, 0, 1) * 255).round().astype(np.uint8)
    if frames.shape[2:] != size:
        how = cv2.INTER_AREA if size[0] <= frames.shape[2] and size[1] <= frames.shape[3] else cv2.INTER_LINEAR
        planes = [cv2.resize(plane, size[::-1], interpolation=how) for frame in frames for plane in frame]
        frames = np.stack(planes).reshape(*frames.shape[:2], *size)
    if frames.shape[1] != channels:
        total = frames.sum(axis=1, dtype=np.uint16, keepdims=True)
        frames = ((total + 1) // 3).astype(np.uint8) if channels == 1 else frames.repeat(3, axis=1)
    return np.array(frames, np.uint8, order="C")  # a copy, which may be written to


def _drawn(key: str) -> str:
    return SPLITS[bisect.bisect(SHARES, int(stream("folder", key)) / 2**64)]
