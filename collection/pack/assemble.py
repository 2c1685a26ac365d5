"""The dataset folder: shards, index, lock, card and description, prepared beside it and put in place together.

What an earlier build left and this one does not have is removed; files that no build listed are never touched.
"""

import contextlib
import errno
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from json import loads
from pathlib import Path

from collection.filters import NO_FILTER, ClipFilter
from collection.pack.exchange import exchange, prepared, vacant
from collection.pack.kept import keep
from collection.pack.seal import Contents, put, seal, tabulate
from collection.pack.stage import Packed
from collection.pack.standing import RETIRED, Standing, note
from collection.pack.versions import LIBRARIES, versions
from collection.recipe import Recipe
from collection.select import split_rule
from collection.workspace.folder import Workspace
from collection.workspace.store import Stored, copy_file
from mlst.dataset.about import About, Rai
from mlst.dataset.card import BUILT
from mlst.dataset.description import (
    DATASET,
    EXCLUSIONS,
    FORMAT,
    RECIPE,
    REVIEW,
    THRESHOLDS,
    Dataset,
    File,
    Tool,
    write_json,
)
from mlst.dataset.index import Row
from mlst.dataset.lock import LockRow
from mlst.files import link_or_copy
from mlst.records import Part, Scan, Source, Video, decode
from mlst.signed import public


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a dataset is made of besides its shards."""

    recipe: Recipe
    recipe_toml: bytes
    """The recipe's file, as it is."""
    levels_toml: bytes
    """The thresholds file that was used, as it is."""
    lock: Iterable[LockRow]
    """Every scanned source, by id; gone through once, and `chosen` is counted on the way."""
    tools: tuple[Tool, ...]
    """What its clips were made with, by name."""
    exclusions_txt: bytes = b""
    """The list of sources that were refused, as it is; empty for none."""
    review_csv: bytes = b""
    """What a person said of clips, as it is; empty for nothing."""


def needed(before: Standing, packed: Iterable[Packed]) -> Iterator[Part]:
    """What of the packed shards has to be right for a dataset: their rows, and the shards that are not in place."""
    for one in packed:
        shard, rows = one.parts
        yield rows
        if not before.has(File(one.shard.path, one.shard.size, one.shard.sha256)):
            yield shard


def write_dataset(before: Standing, work: Workspace, packed: Sequence[Packed], inputs: Inputs) -> Dataset:
    """Put the dataset together in the place of `before` and give its description. Doing it again changes nothing.

    Whenever this process is killed, the place holds the dataset before or the new one; in a store, or where the system
    cannot exchange folders, it may hold none until this is done again. What was damaged is replaced. Shards share
    their bytes with the workspace where the file system can (`link_or_copy`). Raises ValueError for no shards, OSError
    where a file cannot be written.
    """
    if not packed:
        raise ValueError(
            "no clip was chosen, so there is no dataset; `mlst status` shows what happened to the sources"
        )
    packed = sorted(packed, key=lambda one: one.shard.path)
    out, shards = before.out, {one.shard.path: one.file for one in packed}
    with _room(out) as folder:
        body = tabulate(folder, _draft(inputs.recipe, inputs.tools), _contents(packed, work, inputs))
        dataset, files = seal(folder, body, BUILT)
        if not isinstance(out, Stored):
            _gather(before, folder, files, work, shards)
        put(folder, DATASET, [write_json(dataset)])  # last: what has one is whole, also for who clears up
        keep(work, folder, files)
        if isinstance(out, Stored):
            _one_by_one(before, folder, files, partial(_upload, work, out, folder, shards))
        else:
            _place(before, folder, files)
    note(out, work, files)
    return dataset


@contextlib.contextmanager
def _room(out: Workspace) -> Iterator[Path]:
    """A folder on this machine for new files; for a dataset on this machine, on its disk."""
    if isinstance(out, Stored):
        with tempfile.TemporaryDirectory(dir=out.root) as folder:
            yield Path(folder)
    else:
        with prepared(out.root) as folder:
            yield folder


def _upload(work: Workspace, out: Workspace, folder: Path, shards: Mapping[str, str], name: str) -> None:
    """Bring a file of the dataset into its store; shards come from the workspace, others from `folder`."""
    if name in shards:
        copy_file(work, shards[name], out, name)
    else:
        out.keep(folder / name, name)


def _gather(before: Standing, folder: Path, files: Iterable[File], work: Workspace, shards: Mapping[str, str]) -> None:
    """Bring the shards into the folder of the other new files. Raises IsADirectoryError where there is no place."""
    for file in files:
        if (before.out.root / file.path).is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is in the way of a file of the dataset", file.path)
        if file.path in shards:
            origin = before.out.root / file.path if before.has(file) else work.path(shards[file.path])
            link_or_copy(origin, folder / file.path)


def _place(before: Standing, folder: Path, files: Sequence[File]) -> None:
    """Put a dataset that is whole in its place on this machine."""
    out = before.out
    same = before.description == (folder / DATASET).read_bytes()
    strange = not before.description and not vacant(out.root)
    if same or strange or not exchange(folder, out.root, before.files.keys()):
        _one_by_one(before, folder, files, lambda name: out.keep(folder / name, name))


def _one_by_one(before: Standing, folder: Path, files: Sequence[File], bring: Callable[[str], None]) -> None:
    """Replace what is not right. While the files of one dataset stand beside those of another, there is no
    `dataset.json`, and the old one is kept to tell the next build what is whose."""
    out, description = before.out, (folder / DATASET).read_bytes()
    same = before.description == description
    if before.description and not same:
        with replace(out, folder="").create(RETIRED) as (file, _):
            file.write(before.description)
        out.remove(DATASET)
    for one in files:
        if not before.has(one):
            bring(one.path)
    _remove(out, before.files.keys() - {one.path for one in files})
    if not same:
        out.keep(folder / DATASET, DATASET)
    _remove(out, [RETIRED])


def _contents(packed: Sequence[Packed], work: Workspace, inputs: Inputs) -> Contents:
    texts = {RECIPE: inputs.recipe_toml, THRESHOLDS: inputs.levels_toml}
    if inputs.exclusions_txt:
        texts[EXCLUSIONS] = inputs.exclusions_txt
    if inputs.review_csv:
        texts[REVIEW] = inputs.review_csv
    return Contents(tuple(one.shard for one in packed), _rows(packed, work), inputs.lock, texts)


def _rows(packed: Iterable[Packed], work: Workspace) -> Iterator[Row]:
    for one in packed:
        with work.path(one.rows).open("rb") as lines:
            for line in lines:
                yield decode(Row, loads(line))


def locked(sources: Mapping[str, Source], seen: Iterable[tuple[Video, Scan]]) -> Iterator[LockRow]:
    """A row for every scanned video, which come by source id, as do `sources`: those without a clip decided with the
    others which copies were kept."""
    for video, scan in seen:
        source = sources[scan.source]
        yield LockRow(
            source=replace(source, url=public(source.url)),
            upstream=video.upstream,
            probe=video.probe,
            stream=scan.stream,
            origin=video.origin,
            size=video.size,
            sha256=video.sha256,
            candidates=len(scan.clips),
            chosen=0,
        )


def _draft(recipe: Recipe, made_with: tuple[Tool, ...]) -> Dataset:
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
        tools=made_with,
        files=(),
        about=About(recipe.published, recipe.url, recipe.creators, Rai(**dict(recipe.rai))),
    )


def tools(by: ClipFilter = NO_FILTER) -> tuple[Tool, ...]:
    """Versions of everything here that may change a byte of a dataset, by name, and last a filter of the user's."""
    changed = (Tool(f"filter {by.name}", f"{by.version} sha256:{by.sha256}"),) if by.name else ()
    return tuple(Tool(name, version) for name, version in sorted(versions(LIBRARIES).items())) + changed


def _remove(out: Workspace, stale: Iterable[str]) -> None:
    """Remove files of the build before, and folders that they leave empty; names outside `out` are passed over."""
    for name in sorted(stale):
        path = out.root / name
        inside = path.parent.resolve() == out.root.resolve() / Path(name).parent
        if inside and (path.is_symlink() or not path.is_dir()):
            out.remove(name)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
