"""What is studied: clips of a built dataset or of a folder of videos, and a fair sample of them."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from collection.engine.run import Driver
from collection.engine.waves import fetch_and_scan
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.media.decode import FROM_THE_BEGINNING
from collection.recipe import FetchSettings, ScanSettings
from collection.report.rows import read_span
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from collection.workspace.store import finished
from mlst.dataset.description import DATASET, INDEX
from mlst.dataset.index import read_index
from mlst.exits import UserError
from mlst.levels.levels import Levels
from mlst.levels.splits import order_hash
from mlst.records import OPEN_END, STATISTICS, Count, Rational, Source, Statistics


@dataclass(frozen=True, slots=True)
class Piece:
    """One clip, and where its frames are."""

    key: str
    group: str
    """What depends on one another: intervals are drawn over whole groups."""
    file: str
    """Holds its frames; relative to the workspace, or to the dataset."""
    offset: Count
    size: Count
    whole: bool
    """Whether the file is a video of its own, instead of a shard that holds one at `offset`."""
    start: Rational
    """Seconds of pts at which its first frame is shown."""
    frames: Count
    stride: Count
    statistics: Statistics


class NothingToStudyError(UserError, ValueError):
    """A place without clips."""


def pieces_of(place: Path, levels: Levels, do: Driver) -> tuple[Path, list[Piece]]:
    """The folder that files are relative to, and all clips of the dataset or of the videos in `place`, by key.

    Raises `NothingToStudyError`.
    """
    is_dataset = (place / DATASET).is_file()
    try:
        found = list(_of_dataset(place) if is_dataset else _of_videos(place, levels, do))
    except (OSError, ValueError) as why:
        raise NothingToStudyError(f"{place}: {why}; give the folder of a dataset or of videos") from why
    if not found:
        raise NothingToStudyError(f"{place} has no clips; give the folder of a dataset, or of videos of over a second")
    if lacking := levels.needed.difference(known(found)):
        raise NothingToStudyError(
            f"{place} was built without {', '.join(sorted(lacking))}, which {levels.id} needs: "
            f"give its own thresholds, or a folder of videos"
        )
    return place if is_dataset else do.work.root, sorted(found, key=lambda piece: piece.key)


def known(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """The statistics that every clip has: a dataset may have been built without some."""
    return tuple(name for name in STATISTICS if all(getattr(one.statistics, name) is not None for one in pieces))


def _of_dataset(place: Path) -> Iterator[Piece]:
    for row in read_index(place / INDEX):
        info = row.info
        where = (row.shard, row.offset, row.size, False)
        yield Piece(info.key, info.group or info.source, *where, FROM_THE_BEGINNING, info.frames, 1, info.statistics)


def _of_videos(place: Path, levels: Levels, do: Driver) -> Iterator[Piece]:
    """Shots are found and clips are cut as in a build with the default settings."""
    fetch = FetchStage(FetchSettings(extractors=(), local=True), str(place.resolve()), Access(), frozenset())
    seen = fetch_and_scan(fetch, ScanStage(ScanSettings(), levels.active_picture, STATISTICS), sources_in(place), do)
    for video, scan in seen:
        for clip in scan.clips:
            where = (video.file, 0, video.size, True)
            start = clip.start_pts * clip.time_base
            yield Piece(clip.key, clip.source, *where, start, clip.frames, clip.stride, clip.statistics)


def sources_in(place: Path) -> list[Source]:
    """A source for every file below a folder, by id."""
    taken: set[str] = set()
    made = []
    for path in finished(place):
        name = re.sub(r"[^A-Za-z0-9_-]", "_", path.relative_to(place).as_posix())[:56]
        choices = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(1)))
        named = next(choice for choice in choices if choice not in taken)
        taken.add(named)
        about: tuple[Any, ...] = (Fraction(0), OPEN_END, "unknown", "", "", named, "folder")
        made.append(Source(named, path.relative_to(place).as_posix(), *about))
    return sorted(made, key=lambda source: source.id)


def sample(pieces: Sequence[Piece], count: int) -> list[Piece]:
    """At most `count` pieces: a first one of every group, then a second one, and so on, by the hash of their keys."""
    turns: dict[str, int] = {}
    ranked = []
    for piece in sorted(pieces, key=lambda piece: order_hash(piece.key)):
        turns[piece.group] = turns.get(piece.group, -1) + 1
        ranked.append((turns[piece.group], order_hash(piece.key), piece))
    chosen = sorted(ranked, key=lambda item: item[:2])[:count]
    return sorted((piece for _, _, piece in chosen), key=lambda piece: piece.key)


def local(pieces: Iterable[Piece], root: Path, work: Workspace) -> Iterator[Piece]:
    """The same pieces with their frames in files of the workspace: clips are taken out of their shards."""
    for piece in pieces:
        if piece.whole:
            yield piece
            continue
        name = f"clips/{piece.key}.mp4"
        if not work.exists(name):
            with work.create(name) as (file, _):
                file.write(read_span(root / piece.file, piece.offset, piece.size))
        yield Piece(piece.key, piece.group, name, 0, piece.size, True, *_rest(piece))


def _rest(piece: Piece) -> tuple[Fraction, int, int, Statistics]:
    return piece.start, piece.frames, piece.stride, piece.statistics
