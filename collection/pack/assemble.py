"""The dataset folder: shards, index, lock, card, and `dataset.json` last.

Files appear whole or not at all. What an earlier build left and this one does not have is removed; files that no build
listed are never touched.
"""

import contextlib
import importlib.metadata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path
from typing import TypeVar

import av

import mlst
from collection.pack.files import listed, put, transfer
from collection.pack.stage import Packed
from collection.recipe import Recipe
from collection.select import split_rule
from collection.workspace.folder import Workspace, sweep
from mlst.checking.rules import Cells
from mlst.dataset.card import attribution_parts, card
from mlst.dataset.description import (
    ATTRIBUTION,
    CARD,
    DATASET,
    EXCLUSIONS,
    FORMAT,
    INDEX,
    LOCK,
    RECIPE,
    THRESHOLDS,
    Cell,
    Dataset,
    File,
    Tool,
    fingerprint_of,
    read_json,
    write_json,
)
from mlst.dataset.index import Row, write_index
from mlst.dataset.lock import Footage, LockRow, write_lock
from mlst.files import atomic
from mlst.levels.levels import read_levels
from mlst.records import Scan, Source, Video, decode

R = TypeVar("R")

LIBRARIES = (
    "av",
    "numpy",
    "opencv-python-headless",
    "pyarrow",
    "scenedetect-headless",
    "yt-dlp",
)
"""Distributions whose version may change a byte of a dataset."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a dataset is made of besides its shards; `sources` are by id."""

    recipe: Recipe
    recipe_toml: bytes
    """The recipe's file, as it is."""
    levels_toml: bytes
    """The thresholds file that was used, as it is."""
    sources: Mapping[str, Source]
    seen: Iterable[tuple[Video, Scan]]
    """Every scanned video with its scan, by source id."""
    exclusions_txt: bytes = b""
    """The list of sources that were refused, as it is; empty for none."""


def write_dataset(place: Path | Workspace, work: Workspace, packed: Sequence[Packed], inputs: Inputs) -> Dataset:
    """Put the dataset together at `place` and give its description. Doing it again changes nothing.

    Shards are hard links into the workspace where the file system allows it, copies otherwise. Raises ValueError for
    no shards, OSError where a file cannot be written; `dataset.json` then still describes the build before.
    """
    if not packed:
        raise ValueError(
            "no clip was chosen, so there is no dataset; see `mlst status` for what became of the sources"
        )
    packed = sorted(packed, key=lambda one: one.shard.path)
    target = place if isinstance(place, Workspace) else Workspace(place, "")
    out = target.root
    sweep(out)
    before = {file.path: file for file in _previous(target)}
    files = [_place(target, work, one, before) for one in packed]
    used, cells, footage = Counter[str](), Cells(), Footage()
    with atomic(out / INDEX) as index:
        write_index(index, _told(_rows(packed, work), cells.add, lambda row: used.update([row.info.source])))
    files.append(listed(out, INDEX))
    files.append(put(out, LOCK, write_lock(_told(_lock(inputs, used), footage.add))))
    files.append(put(out, RECIPE, [inputs.recipe_toml]))
    files.append(put(out, THRESHOLDS, [inputs.levels_toml]))
    if inputs.exclusions_txt:
        files.append(put(out, EXCLUSIONS, [inputs.exclusions_txt]))
    counts = cells.counted({one.shard.path: one.shard.size for one in packed})
    dataset = _describe(packed, counts, len(used), inputs.recipe, files, footage.hexdigest())
    sources = [inputs.sources[name] for name in sorted(used)]
    files.append(put(out, ATTRIBUTION, map(str.encode, attribution_parts(sources, used))))
    files.append(put(out, CARD, [card(dataset, read_levels(out / THRESHOLDS), sources, used).encode()]))
    dataset = replace(dataset, files=tuple(sorted(files, key=lambda file: file.path)))
    for file in files[len(packed) :]:
        _send(target, file, before)
    _remove(target, before.keys() - {file.path for file in files})
    _finish(target, write_json(dataset))
    return dataset


def _previous(out: Workspace) -> tuple[File, ...]:
    """The files of the build that `out` holds already; none where there is none, or none that can be read."""
    try:
        return read_json(out.path(DATASET)).files
    except (OSError, ValueError):
        return ()


def _place(out: Workspace, work: Workspace, packed: Packed, before: Mapping[str, File]) -> File:
    """Link or copy a shard to its place, unless it is there already."""
    file = File(packed.shard.path, packed.shard.size, packed.shard.sha256)
    if before.get(file.path) != file or out.size(file.path) != file.size:
        transfer(work, packed.file, out, file.path)
    return file


def _send(out: Workspace, file: File, before: Mapping[str, File]) -> None:
    """Make sure of a file that was written on this machine, unless it is there already."""
    if before.get(file.path) != file or out.size(file.path) != file.size:
        out.sync(file.path)


def _rows(packed: Iterable[Packed], work: Workspace) -> Iterator[Row]:
    for one in packed:
        with work.path(one.rows).open("rb") as lines:
            for line in lines:
                yield decode(Row, loads(line))


def _told(rows: Iterable[R], *others: Callable[[R], object]) -> Iterator[R]:
    """The rows; the others are told of each as it passes, since all at once may be more than memory holds."""
    for row in rows:
        for tell in others:
            tell(row)
        yield row


def _lock(inputs: Inputs, used: Mapping[str, int]) -> Iterator[LockRow]:
    """A row for every scanned source: those without a clip decided with the others which copies were kept."""
    for video, scan in inputs.seen:
        yield LockRow(
            source=inputs.sources[scan.source],
            upstream=video.upstream,
            probe=video.probe,
            stream=scan.stream,
            origin=video.origin,
            size=video.size,
            sha256=video.sha256,
            candidates=len(scan.clips),
            chosen=used[scan.source],
        )


def _describe(
    packed: Sequence[Packed],
    cells: tuple[Cell, ...],
    sources: int,
    recipe: Recipe,
    files: Sequence[File],
    footage: str,
) -> Dataset:
    """`dataset.json` without the list of files."""
    return Dataset(
        format=FORMAT,
        name=recipe.name,
        version=recipe.version,
        title=recipe.title,
        description=recipe.description,
        licence=recipe.licence,
        contact=recipe.contact,
        fingerprint=fingerprint_of(files, footage),
        footage=footage,
        side=recipe.scan.size,
        frames=recipe.scan.length,
        split_rule=split_rule(recipe.select),
        sources=sources,
        clips=sum(cell.clips for cell in cells),
        cells=cells,
        shards=tuple(one.shard for one in packed),
        tools=tools(),
        files=(),
    )


def tools() -> tuple[Tool, ...]:
    """Versions of everything here that may change a byte of a dataset, by name."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    found |= {f"ffmpeg {name}": ".".join(map(str, version)) for name, version in av.library_versions.items()}
    found["mlst"] = mlst.__version__
    return tuple(Tool(name, version) for name, version in sorted(found.items()))


def _finish(out: Workspace, description: bytes) -> None:
    """Write `dataset.json`, unless it is there already."""
    path = out.path(DATASET)
    if not path.is_file() or path.read_bytes() != description:
        put(out.root, DATASET, [description])
        out.sync(DATASET)


def _remove(out: Workspace, stale: Iterable[str]) -> None:
    """Remove files of the build before, and folders that they leave empty; names outside `out` are passed over."""
    for name in sorted(stale):
        path = out.root / name
        inside = path.parent.resolve() == out.root.resolve() / Path(name).parent
        if inside and (path.is_symlink() or not path.is_dir()):
            out.remove(name)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
