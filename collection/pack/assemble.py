"""The dataset folder: shards, index, lock, card, and `dataset.json` last.

Files appear whole or not at all. What an earlier build left and this one does not have is removed; files that no build
listed are never touched.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path

from collection.pack.seal import Contents, put, seal, tabulate
from collection.pack.stage import Packed
from collection.pack.versions import LIBRARIES, versions
from collection.recipe import Recipe
from collection.select import split_rule
from collection.workspace.folder import Workspace, sweep
from collection.workspace.store import copy_file
from mlst.dataset.card import BUILT
from mlst.dataset.description import (
    DATASET,
    EXCLUSIONS,
    FORMAT,
    RECIPE,
    THRESHOLDS,
    Dataset,
    File,
    Tool,
    read_json,
    write_json,
)
from mlst.dataset.index import Row
from mlst.dataset.lock import LockRow
from mlst.records import Scan, Source, Video, decode


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
            "no clip was chosen, so there is no dataset; `mlst status` shows what happened to the sources"
        )
    packed = sorted(packed, key=lambda one: one.shard.path)
    target = place if isinstance(place, Workspace) else Workspace(place, "")
    sweep(target.root)
    before = {file.path: file for file in _previous(target)}
    for one in packed:
        _bring(target, work, one, before)
    body = tabulate(target.root, _draft(inputs.recipe), _contents(packed, work, inputs))
    dataset, files = seal(target.root, body, BUILT)
    shards = {one.shard.path for one in packed}
    for file in files:
        if file.path not in shards:
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


def _bring(out: Workspace, work: Workspace, packed: Packed, before: Mapping[str, File]) -> None:
    """Link or copy a shard into the dataset, unless it is there already."""
    shard = packed.shard
    if before.get(shard.path) != File(shard.path, shard.size, shard.sha256) or out.size(shard.path) != shard.size:
        copy_file(work, packed.file, out, shard.path)


def _send(out: Workspace, file: File, before: Mapping[str, File]) -> None:
    """Make sure of a file that was written on this machine, unless it is there already."""
    if before.get(file.path) != file or out.size(file.path) != file.size:
        out.sync(file.path)


def _contents(packed: Sequence[Packed], work: Workspace, inputs: Inputs) -> Contents:
    texts = {RECIPE: inputs.recipe_toml, THRESHOLDS: inputs.levels_toml}
    if inputs.exclusions_txt:
        texts[EXCLUSIONS] = inputs.exclusions_txt
    return Contents(tuple(one.shard for one in packed), _rows(packed, work), _lock(inputs), texts)


def _rows(packed: Iterable[Packed], work: Workspace) -> Iterator[Row]:
    for one in packed:
        with work.path(one.rows).open("rb") as lines:
            for line in lines:
                yield decode(Row, loads(line))


def _lock(inputs: Inputs) -> Iterator[LockRow]:
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
            chosen=0,
        )


def _draft(recipe: Recipe) -> Dataset:
    """What is known of a dataset before its clips are counted."""
    return Dataset(
        format=FORMAT,
        name=recipe.name,
        version=recipe.version,
        title=recipe.title,
        description=recipe.description,
        licence=recipe.licence,
        contact=recipe.contact,
        fingerprint="",
        footage="",
        side=recipe.scan.size,
        frames=recipe.scan.length,
        split_rule=split_rule(recipe.select),
        sources=0,
        clips=0,
        cells=(),
        shards=(),
        tools=tools(),
        files=(),
    )


def tools() -> tuple[Tool, ...]:
    """Versions of everything here that may change a byte of a dataset, by name."""
    return tuple(Tool(name, version) for name, version in sorted(versions(LIBRARIES).items()))


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
