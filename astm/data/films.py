"""Films in files of any common kind, one at a time.

Stacks of arrays (.npy, or .npz of one array), arrays with a name each (.npz), folders of videos, folders of frames (a
folder for each film, its pictures in the order of their names), WebDataset shards (.tar, or a folder of them) with
`<key>.mp4` or `<key>.npy`. Nothing is unpickled.
"""

import io
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from astm.data.clips import DataError
from astm.data.video import DEMUXERS, frames_of, planes, presentation_times
from mlst.inside import leads_out, opened, regular_files
from mlst.tars import members

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp")
"""Suffixes of frames."""
LARGEST_UNPACKED = 8 << 30
"""Bytes of all arrays of an .npz file, of which a few megabytes may claim any number."""

Film: TypeAlias = NDArray[Any]
"""(T, C, H, W) uint8, or floating point in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Films:
    """Films by their keys, read one at a time."""

    place: str
    keys: tuple[str, ...]
    named: bool
    """Whether keys are names; otherwise they are numbers, and films are paired by their order."""
    channels: int
    """1 or 3; 0 for videos, which can be read as either."""
    read: Callable[[int, int, slice], Film]
    """The film of (an index, with so many channels, these of its frames)."""
    length: Callable[[int], int]
    """Frames of the film of an index."""
    levels: Mapping[str, str]
    """By key, where a shard tells them."""


def open_films(place: Path, layout: str = "") -> Films:
    """Films of a file or folder.

    Parameters
    ----------
    layout: order of the axes of a stack, `NTCHW`, `TNHW` ...; by default NTHW, or NTCHW or NTHWC by the channels.

    Raises
    ------
    DataError: nothing of these kinds, or not so many axes.
    """
    if place.suffix in (".npy", ".npz") and place.is_file():
        return _of_arrays(place, layout)
    files = sorted(regular_files(place).values()) if place.is_dir() or place.suffix == ".tar" else []
    tars = [p for p in files if p.suffix == ".tar"]
    if tars:
        return _of_shards(place, tars)
    videos = [p for p in files if p.suffix.lower() in DEMUXERS]
    if videos:
        keys = tuple(video.relative_to(place).with_suffix("").as_posix() for video in videos)
        return Films(
            *(str(place), keys, True, 0),
            lambda i, channels, which: _of_video(videos[i], channels)[which],
            lambda i: len(presentation_times(videos[i])),
            {},
        )
    frames = sorted({p.parent for p in files if p.suffix.lower() in PICTURES})
    if frames:
        keys = tuple(folder.relative_to(place).as_posix() for folder in frames)
        return Films(
            *(str(place), keys, True, 0),
            lambda i, channels, which: film_of_frames(place, frames[i], channels, which),
            lambda i: len(pictures_of(place, frames[i])),
            {},
        )
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    raise DataError(
        f"{place} has no films; give a .npy or .npz file, a folder of videos ({', '.join(DEMUXERS)}) or of folders of "
        f"frames ({', '.join(PICTURES)}), or .tar shards; pipes and links that lead out of it are not read"
    )


def _of_arrays(place: Path, layout: str) -> Films:
    arrays = _unpacked(place) if place.suffix == ".npz" else {"": _loaded(place, str(place))}
    if len(arrays) == 1:
        stack = arranged(next(iter(arrays.values())), layout, str(place))
        keys = tuple(f"{i:06d}" for i in range(len(stack)))
        return Films(
            str(place), keys, False, stack.shape[2], lambda i, _, which: stack[i][which], lambda i: stack.shape[1], {}
        )
    films = {
        name: arranged(film[None], f"N{layout.replace('N', '')}" if layout else "", name)[0]
        for name, film in arrays.items()
    }
    channels = next(iter(films.values())).shape[1]
    return Films(
        str(place),
        tuple(films),
        True,
        channels,
        lambda i, _, which: list(films.values())[i][which],
        lambda i: len(list(films.values())[i]),
        {},
    )


def _unpacked(place: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file, which are read whole."""
    try:
        with zipfile.ZipFile(place) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
            names = [name for name in packed.namelist() if name.endswith(".npy")]
            if size > LARGEST_UNPACKED:
                raise DataError(
                    f"{place} unpacks to {size} bytes; at most {LARGEST_UNPACKED} are read whole: save a .npy file"
                )
            if not names:
                raise DataError(f"{place} has no arrays")
            arrays = {}
            for name in names:
                with packed.open(name) as file:
                    arrays[name.removesuffix(".npy")] = _loaded(file, f"{place}: {name}")
            return arrays
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError) as why:
        if isinstance(why, DataError):
            raise
        raise DataError(f"{place} is not a readable .npz file: {why}") from None


def _loaded(file: Path | IO[bytes], name: str) -> NDArray[Any]:
    """An array; a file is mapped."""
    try:
        array = np.load(file, mmap_mode="r" if isinstance(file, Path) else None, allow_pickle=False)
    except Exception as why:  # a header may make NumPy raise about anything, MemoryError too
        raise DataError(
            f"{name} is not a readable NumPy file ({type(why).__name__}: {why}); pickled arrays are never loaded"
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} is not one array")
    return array


def arranged(stack: NDArray[Any], layout: str, name: str) -> NDArray[Any]:
    """A stack as (N, T, C, H, W), a view. Raises `DataError`."""
    if not layout and stack.ndim in (4, 5):
        layout = "NTHW" if stack.ndim == 4 else "NTCHW" if stack.shape[2] in (1, 3) else "NTHWC"
    if sorted(layout) not in (sorted("NTHW"), sorted("NTCHW")) or len(layout) != stack.ndim:
        raise DataError(
            f"{name} has shape {stack.shape}, which is not {layout or 'NTHW, NTCHW or NTHWC'}; name the order of its "
            f"axes with --layout or --truth-layout: N films, T frames, C channels, H height, W width"
        )
    ordered = stack.transpose([layout.index(axis) for axis in "NTCHW" if axis in layout])
    ordered = ordered if "C" in layout else ordered[:, :, None]
    if ordered.shape[2] not in (1, 3):
        raise DataError(f"{name} has {ordered.shape[2]} channels by {layout}; 1 and 3 can be scored")
    return ordered


def _of_video(video: Path, channels: int) -> Film:
    return planes(np.stack(list(frames_of(video, video.suffix, "rgb24"))), channels)


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a film lies in a shard."""

    tar: Path
    suffix: str
    offset: int
    size: int

    def read(self) -> bytes:
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def _of_shards(place: Path, tars: Sequence[Path]) -> Films:
    films, levels = dict[str, _Member](), dict[str, str]()
    for tar in tars:
        try:
            with opened(tar.resolve()) as file:  # a link that stays inside is followed
                for member in members(file):
                    if isinstance(member, str):
                        raise ValueError(member)
                    key = member.key.rpartition("/")[2]
                    if member.suffix in ("mp4", "npy"):
                        films[key] = _Member(tar, member.suffix, member.offset, member.size)
                    elif member.data:
                        levels |= _level(key, member.data)
        except (OSError, ValueError) as why:
            raise DataError(f"{tar} is not a readable tar file: {why}") from None
    if not films:
        raise DataError(f"{place} has no members <key>.mp4 or <key>.npy")
    keys = tuple(sorted(films))
    channels = {"mp4": 0}.get(films[keys[0]].suffix)
    if channels is None:
        channels = _array(films[keys[0]]).shape[1]

    def read(i: int, channels: int, which: slice) -> Film:
        return _of_member(films[keys[i]], channels)[which]

    return Films(str(place), keys, True, channels, read, lambda i: len(read(i, channels or 3, slice(None))), levels)


def _level(key: str, record: bytes) -> dict[str, str]:
    try:
        told = json.loads(record)
    except (ValueError, RecursionError) as why:
        raise ValueError(f"the record of {key!r} is not JSON: {str(why)[:200]}") from None
    return {key: str(told["level"])} if isinstance(told, dict) and "level" in told else {}


def _of_member(member: _Member, channels: int) -> Film:
    if member.suffix == "npy":
        return _array(member)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "film.mp4")
        video.write_bytes(member.read())
        return _of_video(video, channels)


def _array(member: _Member) -> Film:
    name = f"{member.tar}: an array"
    one: Film = arranged(_loaded(io.BytesIO(member.read()), name)[None], "", name)[0]
    return one


def pictures_of(place: Path, folder: Path) -> list[Path]:
    """The frames of a film, in order."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file() and not leads_out(p, place))
    return sorted(found, key=_in_order)


def film_of_frames(place: Path, folder: Path, channels: int, which: slice) -> Film:
    pictures = [_picture(file) for file in pictures_of(place, folder)[which]]
    if len({picture.shape for picture in pictures}) > 1:
        raise DataError(f"{folder} has frames of several sizes")
    return planes(np.stack(pictures), channels)


def _picture(file: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB."""
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise DataError(f"{file} is not a readable picture")
    return np.asarray(picture, np.uint8)


def _in_order(file: Path) -> list[tuple[int, str]]:
    """Frame 10 comes after frame 9, with or without leading zeros."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.stem)]
