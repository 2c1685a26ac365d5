"""Clips, wherever they lie: in a dataset of ours, in WebDataset tars, or as the files of a folder.

Nothing is extracted or decoded here: a `Piece` says in which file a clip's bytes are, and from where on.
"""

import heapq
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from collection.recipe import read_recipe
from mlst.dataset.description import DATASET, INDEX, RECIPE
from mlst.dataset.lookup import Index
from mlst.dataset.shards import PATH
from mlst.exits import UserError
from mlst.records import digest

VIDEOS = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm"),
    *(".wmv", ".y4m"),
)
TAR = ".tar"
LARGEST_RECORD = 1 << 20
"""Bytes of a JSON member that is read for the name of a clip's source."""


class PlaceError(UserError, ValueError):
    """A place without clips that could be read."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip as it is stored: `size` bytes from `offset` of a file."""

    key: str
    """Names it within its place: the key of a dataset of ours, else its path, through the tar where it is in one."""
    source: str
    """What it was cut from; "" where the place does not say."""
    file: Path
    offset: int
    size: int


def pieces(place: Path) -> Iterator[Piece]:
    """The clips of a place, in a fixed order. Raises `PlaceError` where it is none, or is damaged."""
    if not place.exists():
        raise PlaceError(f"{place} does not exist; give a built dataset, a folder of videos, or WebDataset tars")
    try:
        yield from _of_dataset(place) if (place / DATASET).is_file() else _of_files(place)
    except (tarfile.TarError, OSError, ValueError) as why:
        raise PlaceError(f"{place}: {why}") from why


def _of_dataset(dataset: Path) -> Iterator[Piece]:
    for row in Index(dataset / INDEX):
        if not PATH.fullmatch(row.shard):
            raise ValueError(f"the index says that {row.info.key} lies in {row.shard!r}, which is not a shard")
        yield Piece(row.info.key, row.info.source, dataset / row.shard, row.offset, row.size)


def _of_files(place: Path) -> Iterator[Piece]:
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    base = place.parent if place.is_file() else place
    for path in files:
        name = path.relative_to(base).as_posix()
        if path.suffix.lower() == TAR:
            yield from _of_tar(path, name)
        elif path.suffix.lower() in VIDEOS:
            yield Piece(name, "", path, 0, path.stat().st_size)


def _of_tar(path: Path, name: str) -> Iterator[Piece]:
    """Members of one sample lie side by side and differ in what follows the first dot of their names."""
    sample, video, source = "", None, ""
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if not member.isfile():
                continue
            if _sample(member.name) != sample:
                if video is not None:
                    yield _member(path, name, video, source)
                sample, video, source = _sample(member.name), None, ""
            suffix = PurePosixPath(member.name).suffix.lower()
            if suffix in VIDEOS and video is None:
                video = member
            elif suffix == ".json" and member.size <= LARGEST_RECORD:
                source = _named(tar, member)
            tar.members = []  # type: ignore[attr-defined]  # a tar of a million members must not stay in memory
    if video is not None:
        yield _member(path, name, video, source)


def _sample(member: str) -> str:
    folder, _, name = member.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _member(path: Path, name: str, member: tarfile.TarInfo, source: str) -> Piece:
    return Piece(f"{name}/{member.name}", source, path, member.offset_data, member.size)


def _named(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """The text `source` of a record; "" where there is none."""
    file = tar.extractfile(member)
    try:
        record = json.load(file) if file else None
    except (ValueError, RecursionError):
        return ""
    found = record.get("source") if isinstance(record, dict) else None
    return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Sample:
    """Clips drawn from a place."""

    total: int
    """Clips in the place."""
    pieces: tuple[Piece, ...]


def drawn(found: Iterable[Piece], clips: int, seed: int) -> Sample:
    """`clips` of those found, or all where there are no more, by the order of the hashes of `seed` and key.

    So a sample does not depend on the order of files, and a larger one holds the smaller. Memory grows with `clips`
    alone.
    """
    total = 0

    def counted() -> Iterator[Piece]:
        nonlocal total
        for piece in found:
            total += 1
            yield piece

    least = heapq.nsmallest(clips, counted(), key=lambda piece: (digest([seed, piece.key]), piece.key))
    return Sample(total, tuple(least))


def cut_by(place: Path) -> str:
    """The detector with which a dataset of ours was cut; "" for any other place."""
    return read_recipe(place / RECIPE).scan.detector if (place / DATASET).is_file() else ""
