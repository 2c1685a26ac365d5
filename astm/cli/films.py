"""Films to predict, and predicted ones beside the true ones."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from astm.data import DataError
from astm.data.films import Film, Films, open_films
from astm.data.video import DEMUXERS, frame_rate, frames_at, planes, presentation_times
from astm.training.settings import SettingsError
from mlst.text import number_of

RATE = Fraction(10)
"""Frames per second of what has no rate of its own."""
GREY = 96
"""Of pictures that nobody has seen."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A film to cut from."""

    place: Path
    films: Films
    index: int
    rate: Fraction

    def cut(self, start: int, past: int, horizon: int) -> Film:
        """The input and as much of what followed as there is: `past` to `past` + `horizon` frames.

        A negative `start` counts from the end. Raises `DataError` where the film has not so many frames.
        """
        length = self.films.length(self.index)
        first = start if start >= 0 else length + start
        if first < 0 or first + past > length:
            raise DataError(
                f"{self.place} has {number_of(length, 'frame')}; an input of {past} from frame {first} does not fit: "
                "lower --past, or change --start"
            )
        return self.films.read(self.index, self.films.channels or 3, slice(first, first + past + horizon))


def chosen_film(place: Path, key: str, layout: str) -> Chosen:
    """The film that a command names: a video, or one of several by key or number. Raises `DataError`."""
    if place.suffix.lower() in DEMUXERS:
        return Chosen(place, _video(place), 0, frame_rate(place))
    films = open_films(place, layout)
    known = {**{str(i): i for i in range(len(films.keys))}, **{name: i for i, name in enumerate(films.keys)}}
    if not key and len(films.keys) == 1:
        key = films.keys[0]
    if key not in known:
        named = ", ".join(films.keys[:5])
        raise DataError(
            f"{place} has {number_of(len(films.keys), 'film')}; choose one with --film, by number or name: {named} ..."
        )
    return Chosen(place, films, known[key], RATE)


def sides(text: str, usual: tuple[int, int]) -> tuple[int, int]:
    """Height and width of "128" or "96x128"; of "" the usual ones. Raises `SettingsError`."""
    if not text:
        return usual
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not found or not min(int(side) for side in found.groups() if side) >= 8:
        raise SettingsError(f"--size {text!r} is no size; write 128, or 96x128 for a height and a width, at least 8")
    return int(found[1]), int(found[2] or found[1])


def beside(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Two films (T, C, H, W) as one (T, H, W', 3), a white line between them."""
    films = [np.repeat(film, 3 // film.shape[1], axis=1).transpose(0, 2, 3, 1) for film in (left, right)]
    line = np.full((*films[0].shape[:2], 4, 3), 255, np.uint8)
    return np.concatenate([films[0], line, films[1]], axis=2)


def without_truth(film: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """A film (T, C, H, W) made longer by grey pictures that say that there is no truth."""
    count, channels, height, width = film.shape
    card = np.full((height, width), GREY, np.uint8)
    scale = min(height / 40, width / 110)
    (across, down), _ = cv2.getTextSize("no truth", cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    corner = ((width - across) // 2, (height + down) // 2)
    cv2.putText(card, "no truth", corner, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    cards = np.broadcast_to(card, (length - count, channels, height, width))
    return np.concatenate([film, cards])


def _video(place: Path) -> Films:
    times = presentation_times(place)

    def read(_: int, channels: int, which: slice) -> Film:
        return planes(frames_at(place, times[which]), channels)

    return Films(str(place), (place.stem,), True, 0, read, lambda _: len(times), {})
