"""What makes a folder of shards a dataset: index, lock, attribution, card, metadata, checksums and description.

A build, a takedown and a release all end here. `tabulate` writes and counts what follows from the clips; `seal` writes
what describes the files that are there. `dataset.json` itself is written by the caller, last, because a folder is a
dataset from then on.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlst.checking.rules import Cells
from mlst.dataset.card import Release, attribution, card
from mlst.dataset.croissant import CROISSANT, croissant
from mlst.dataset.description import (
    ATTRIBUTION,
    CARD,
    INDEX,
    LOCK,
    THRESHOLDS,
    Dataset,
    File,
    dataset_fingerprint,
)
from mlst.dataset.index import Row, index_columns, write_index
from mlst.dataset.lock import Footage, LockRow, read_lock, write_lock
from mlst.files import atomic
from mlst.levels.levels import read_levels
from mlst.records import STATISTICS, Shard, Source


@dataclass(frozen=True, slots=True)
class Contents:
    """What the tables of a dataset are made from."""

    shards: tuple[Shard, ...]
    """By path."""
    rows: Iterable[Row]
    """In the order of the shards; read once."""
    lock: Iterable[LockRow]
    """By source id, read once after the rows; `chosen` is counted here."""
    texts: Mapping[str, bytes]
    """Files that are there as they are, by path: recipe, thresholds, exclusions."""


@dataclass(frozen=True, slots=True)
class Body:
    """A dataset that is not sealed yet."""

    dataset: Dataset
    """Its description; `files` is still that of the dataset before, or empty."""
    files: tuple[File, ...]
    """What is there."""
    sources: tuple[Source, ...]
    """Those with clips, by id."""
    clips: Mapping[str, int]
    """How many each has."""


def tabulate(folder: Path, draft: Dataset, contents: Contents) -> Body:
    """Write index, lock, attribution and the given texts in `folder`, and count what they hold.

    `draft` says everything that does not follow from the contents: names, licence, format, split rule, tools.
    """
    clips, cells, footage = Counter[str](), Cells(), Footage()
    sources: list[Source] = []
    with atomic(folder / INDEX) as index:
        write_index(index, _counted(contents.rows, cells, clips))
    files = [File(shard.path, shard.size, shard.sha256) for shard in contents.shards]
    files.append(file_entry(folder, INDEX))
    files.append(put(folder, LOCK, write_lock(_credited(contents.lock, clips, footage, sources))))
    files += [put(folder, name, [text]) for name, text in contents.texts.items()]
    counts = cells.counted({shard.path: shard.size for shard in contents.shards})
    dataset = replace(
        draft,
        fingerprint=dataset_fingerprint(files, footage.hexdigest()),
        footage=footage.hexdigest(),
        sources=len(sources),
        clips=sum(cell.clips for cell in counts),
        cells=counts,
        shards=contents.shards,
        statistics=tuple(name for name in index_columns(folder / INDEX) if name in STATISTICS),
    )
    files.append(put(folder, ATTRIBUTION, map(str.encode, attribution(sources, clips))))
    return Body(dataset, tuple(files), tuple(sources), clips)


def seal(folder: Path, body: Body, release: Release) -> tuple[Dataset, tuple[File, ...]]:
    """Write the card of what is in `folder` and its Croissant metadata.

    Gives the description and all files but `dataset.json`, by path. A release without pixels keeps the description of
    the dataset that it was made of: it says what a rebuild must give.
    """
    dataset, levels = body.dataset, read_levels(folder / THRESHOLDS)
    text = card(dataset, levels, body.sources, body.clips, release)
    files = [*body.files, put(folder, CARD, [text.encode()])]
    files = [file for file in files if file.path != CROISSANT]
    files.append(put(folder, CROISSANT, [croissant(dataset, files, read_lock(folder / LOCK))]))
    files.sort(key=lambda file: file.path)
    return replace(dataset, files=tuple(files)) if release.pixels else dataset, tuple(files)


def put(folder: Path, name: str, chunks: Iterable[bytes]) -> File:
    """Write the file `name` of `folder`."""
    with atomic(folder / name) as file:
        file.writelines(chunks)
    return file_entry(folder, name)


def file_entry(folder: Path, name: str) -> File:
    """The entry of a file that is there."""
    with (folder / name).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return File(name, (folder / name).stat().st_size, sha256)


def _counted(rows: Iterable[Row], cells: Cells, clips: Counter[str]) -> Iterator[Row]:
    """The rows, counted as they pass: all at once may be more than memory holds."""
    for row in rows:
        cells.add(row)
        clips[row.info.source] += 1
        yield row


def _credited(
    lock: Iterable[LockRow], clips: Mapping[str, int], footage: Footage, sources: list[Source]
) -> Iterator[LockRow]:
    """The lock with the clips of each source; those that have any are noted in `sources`, the footage of all."""
    for row in lock:
        footage.add(row)
        if clips[row.source.id]:
            sources.append(row.source)
        yield replace(row, chosen=clips[row.source.id])
