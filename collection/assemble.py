"""The dataset folder: shards, index, lock, card, and `dataset.json` last.

Files appear whole or not at all. What an earlier build left and this one does not have is removed; files that no build
listed are never touched.
"""

import contextlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path

import av

import mlst
from collection.files import listed, place, put
from collection.pack import Packed
from collection.recipe import Recipe
from collection.select import split_rule
from collection.workspace import Workspace, atomic, sweep
from mlst.card import attribution, card
from mlst.dataset import (
    ATTRIBUTION,
    CARD,
    DATASET,
    FORMAT,
    INDEX,
    LEVELS,
    LOCK,
    RECIPE,
    Dataset,
    File,
    LockRow,
    Row,
    Tool,
    fingerprint_of,
    read_json,
    write_index,
    write_json,
    write_lock,
)
from mlst.levels import read_levels
from mlst.records import Scan, Source, Video, decode
from mlst.rules import cells_of

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
    """What a dataset is made of besides its shards; the mappings go by source id."""

    recipe: Recipe
    recipe_toml: bytes
    """The recipe's file, as it is."""
    levels_toml: bytes
    """The thresholds file that was used, as it is."""
    sources: Mapping[str, Source]
    videos: Mapping[str, Video]
    scans: Mapping[str, Scan]


def write_dataset(out: Path, work: Workspace, packed: Sequence[Packed], inputs: Inputs) -> Dataset:
    """Put the dataset together in `out` and give its description. Doing it again changes nothing.

    Shards are hard links into the workspace where the file system allows it, copies otherwise. Raises ValueError for
    no shards, OSError where a file cannot be written; `dataset.json` then still describes the build before.
    """
    if not packed:
        raise ValueError(
            "no clip was chosen, so there is no dataset; see `mlst status` for what became of the sources"
        )
    packed = sorted(packed, key=lambda one: one.shard.path)
    sweep(out)
    before = {file.path: file for file in _previous(out)}
    files = [_place(out, work, one, before) for one in packed]
    rows = list(_rows(packed, work))
    used = Counter(row.info.source for row in rows)
    with atomic(out / INDEX) as file:
        write_index(file, rows)
    files.append(listed(out, INDEX))
    files.append(put(out, LOCK, write_lock(_lock(inputs, used))))
    files.append(put(out, RECIPE, [inputs.recipe_toml]))
    files.append(put(out, LEVELS, [inputs.levels_toml]))
    dataset = _describe(packed, rows, inputs.recipe, files)
    sources = [inputs.sources[name] for name in sorted(used)]
    files.append(put(out, ATTRIBUTION, [attribution(sources, used).encode()]))
    files.append(put(out, CARD, [card(dataset, read_levels(out / LEVELS), sources, used).encode()]))
    dataset = replace(dataset, files=tuple(sorted(files, key=lambda file: file.path)))
    _remove(out, before.keys() - {file.path for file in files})
    put(out, DATASET, [write_json(dataset)])
    return dataset


def _previous(out: Path) -> tuple[File, ...]:
    """The files of the build that `out` holds already; none where there is none, or none that can be read."""
    try:
        return read_json(out / DATASET).files
    except (OSError, ValueError):
        return ()


def _place(out: Path, work: Workspace, packed: Packed, before: Mapping[str, File]) -> File:
    """Link or copy a shard to its place, unless it is there already."""
    file = File(packed.shard.path, packed.shard.size, packed.shard.sha256)
    target = out / file.path
    if before.get(file.path) != file or not target.is_file() or target.stat().st_size != file.size:
        place(work.path(packed.file), target)
    return file


def _rows(packed: Iterable[Packed], work: Workspace) -> Iterator[Row]:
    for one in packed:
        with work.path(one.rows).open("rb") as lines:
            for line in lines:
                yield decode(Row, loads(line))


def _lock(inputs: Inputs, used: Mapping[str, int]) -> Iterator[LockRow]:
    """A row for every scanned source: those without a clip decided with the others which copies were kept."""
    for name, scan in inputs.scans.items():
        video = inputs.videos[name]
        yield LockRow(
            source=inputs.sources[name],
            upstream=video.upstream,
            probe=video.probe,
            stream=scan.stream,
            origin=video.origin,
            size=video.size,
            candidates=len(scan.clips),
            chosen=used.get(name, 0),
        )


def _describe(packed: Sequence[Packed], rows: Sequence[Row], recipe: Recipe, files: Sequence[File]) -> Dataset:
    """`dataset.json` without the list of files."""
    return Dataset(
        format=FORMAT,
        name=recipe.name,
        version=recipe.version,
        title=recipe.title,
        description=recipe.description,
        licence=recipe.licence,
        contact=recipe.contact,
        fingerprint=fingerprint_of(files),
        side=recipe.scan.size,
        frames=recipe.scan.length,
        split_rule=split_rule(recipe.select),
        sources=len({row.info.source for row in rows}),
        clips=len(rows),
        cells=cells_of(rows, {one.shard.path: one.shard.size for one in packed}),
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


def _remove(out: Path, stale: Iterable[str]) -> None:
    """Remove files of the build before, and folders that they leave empty; names outside `out` are passed over."""
    for name in sorted(stale):
        path = out / name
        inside = path.parent.resolve() == out.resolve() / Path(name).parent
        if inside and (path.is_symlink() or path.is_file()):
            path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()
