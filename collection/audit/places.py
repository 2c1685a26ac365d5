"""Clips, wherever they lie: in a dataset of ours, in WebDataset tars, or as the files of a folder.

Nothing is extracted or decoded here: a `Piece` says in which file a clip's bytes are, and from where on.
"""

import heapq
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from collection.recipe import read_recipe
from mlst.dataset.description import DATASET, INDEX, RECIPE
from mlst.dataset.lookup import Index
from mlst.dataset.shards import PATH
from mlst.exits import UserError
from mlst.inside import file_in, opened, regular_files
from mlst.records import digest
from mlst.tars import VIDEOS, Member, members

TAR = ".tar"


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
    except (OSError, ValueError) as why:
        raise PlaceError(f"{place}: {why}") from why


def _of_dataset(dataset: Path) -> Iterator[Piece]:
    shards: dict[str, Path] = {}
    for row in Index(dataset / INDEX):
        if not PATH.fullmatch(row.shard):
            raise ValueError(f"the index says that {row.info.key} lies in {row.shard!r}, which is not a shard")
        if row.shard not in shards:
            shards[row.shard] = file_in(dataset, row.shard)
        yield Piece(row.info.key, row.info.source, shards[row.shard], row.offset, row.size)


def _of_files(place: Path) -> Iterator[Piece]:
    for name, path in regular_files(place).items():
        if path.suffix.lower() == TAR:
            yield from _of_tar(path, name)
        elif path.suffix.lower() in VIDEOS:
            yield Piece(name, "", path, 0, path.stat().st_size)


def _of_tar(path: Path, name: str) -> Iterator[Piece]:
    """Members of one sample lie side by side; its first video is the clip."""
    with opened(Path(os.path.realpath(path))) as file:  # a link that stays inside is followed
        for _, sample in groupby(_sound(members(file), name), key=lambda member: member.key):
            video, record = None, b""
            for member in sample:
                if PurePosixPath(member.name).suffix.lower() in VIDEOS:
                    video = video or member
                record = member.data or record
            if video:
                yield Piece(f"{name}/{video.name}", _named(record), path, video.offset, video.size)


def _sound(found: Iterable[Member | str], name: str) -> Iterator[Member]:
    """The members of a tar. Raises ValueError where it is damaged."""
    for member in found:
        if isinstance(member, str):
            raise ValueError(f"{name}: {member}; mlst doctor says what else is wrong")
        yield member


def _named(data: bytes) -> str:
    """The text `source` of a record; "" where there is none."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    source = record.get("source") if isinstance(record, dict) else None
    return source if isinstance(source, str) else ""


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
