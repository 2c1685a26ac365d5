"""Sources out of a built dataset: only the shards that held them are written again, everything that counts or names
them follows, and a list of salted hashes keeps later builds from taking them back.

The new files are prepared in a folder inside the dataset and then moved to their places, `dataset.json` last. Killed
before that description is prepared, nothing has changed; killed after that, the next call finishes the job.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import tomlkit

from collection.addresses import watch_url, youtube_id
from collection.order import NOTHING, read_exclusions
from collection.pack.kept import KEPT
from collection.pack.seal import Contents, put, seal, tabulate
from mlst.dataset.card import BUILT
from mlst.dataset.description import (
    DATASET,
    EXCLUSIONS,
    INDEX,
    LOCK,
    RECIPE,
    REVIEW,
    THRESHOLDS,
    Dataset,
    read_dataset,
    write_json,
)
from mlst.dataset.exclusions import Exclusions
from mlst.dataset.index import Row, read_index
from mlst.dataset.lock import LockRow, read_lock
from mlst.dataset.shards import PATH, ClipFiles, ShardError, open_shard, shard_path, write_shard
from mlst.exits import UserError
from mlst.files import atomic, link_or_copy
from mlst.inside import content, file_in, place_in
from mlst.levels.levels import read_levels
from mlst.records import Shard, Source
from mlst.signed import public
from mlst.structured import LARGEST, StructureError, parse_toml

MADE = re.compile(r"\.?([A-Za-z0-9_-]{1,64})-[0-9a-f]{16}(\..*)?")
"""Names of what a workspace holds of a source."""

STAGE = ".cache/mlst-takedown"
"""Where the new files wait; `mlst verify` and uploads pass `.cache` over."""


class TakedownError(UserError, ValueError):
    """A takedown that cannot be done; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class Takedown:
    """What was taken out."""

    sources: tuple[str, ...]
    """Ids, sorted; none where all of it had been done before."""
    clips: int
    rewritten: tuple[str, ...]
    """Shards that held clips of them, by their new names, or their old ones where nothing was left."""
    renamed: tuple[str, ...]
    """Shards that only have another number now, by their new names."""
    version: str
    """Of the dataset now."""


def takedown(folder: Path, names: Collection[str]) -> Takedown:
    """Take the sources out that `names` name by id, address or YouTube id, and all others with the same address.

    Raises `TakedownError`, and then nothing has changed.
    """
    _finish(folder, _described(folder))
    dataset, lock = _read(folder)
    exclusions = _exclusions(folder, dataset)
    gone = _named(lock, names, exclusions)
    if not gone:
        return Takedown((), 0, (), (), dataset.version)
    rows = _rows(folder)
    plan = _plan(dataset, rows, {source.id for source in gone})
    version = _next(dataset.version)
    left = [row for row in lock if row.source not in gone]
    _prepare(folder, replace(dataset, version=version), left, plan, exclusions.adding(gone))
    _finish(folder, dataset)
    kept = sum(len(one.rows) for one in plan)
    return Takedown(
        tuple(sorted(source.id for source in gone)),
        len(rows) - kept,
        tuple(one.path or one.old.path for one in plan if one.touched),
        tuple(one.path for one in plan if one.path not in ("", one.old.path) and not one.touched),
        version,
    )


@dataclass(frozen=True, slots=True)
class _Planned:
    """What becomes of a shard."""

    old: Shard
    path: str
    """Its name from now on; "" where no clip is left."""
    rows: tuple[Row, ...]
    """Of the clips that stay."""
    touched: bool


def _described(folder: Path) -> Dataset:
    """What the dataset lists, all of it with plain names, and all that is there regular files inside `folder`."""
    try:
        return read_dataset(folder)
    except (OSError, ValueError) as why:
        raise TakedownError(f"{folder} is not a readable dataset: {why}") from None


def _read(folder: Path) -> tuple[Dataset, list[LockRow]]:
    dataset = _described(folder)
    try:
        read_levels(folder / THRESHOLDS)
        lock = list(read_lock(folder / LOCK))
        for path in (*(shard.path for shard in dataset.shards), *(file.path for file in dataset.files)):
            file_in(folder, path)
    except FileNotFoundError as why:
        raise TakedownError(
            f"{why.filename} is listed in {DATASET}, but is not there; give a dataset with its clips, as `mlst build` "
            "left it"
        ) from None
    except (OSError, ValueError) as why:
        raise TakedownError(f"{folder} is not a readable dataset: {why}") from None
    if any(PATH.fullmatch(shard.path) is None for shard in dataset.shards):
        raise TakedownError(f"{folder} has shards with names of another format; run `mlst verify`")
    return dataset, lock


def _rows(folder: Path) -> list[Row]:
    try:
        return list(read_index(folder / INDEX))
    except (OSError, ValueError) as why:
        raise TakedownError(f"{folder}: {why}; run `mlst verify`") from None


def _next(version: str) -> str:
    first = version.split(".", maxsplit=1)[0]
    if not re.fullmatch("[0-9]{1,9}", first):
        raise TakedownError(f"{DATASET} has the version {version[:50]!r}, which is not like 1.0.0")
    return f"{int(first) + 1}.0.0"


def _exclusions(folder: Path, dataset: Dataset) -> Exclusions:
    path = folder / EXCLUSIONS
    return read_exclusions(path) if path.exists() else Exclusions(dataset.name, NOTHING.hashes)


def _named(lock: Sequence[LockRow], names: Collection[str], exclusions: Exclusions) -> tuple[Source, ...]:
    """The sources that go. A name that is excluded already was taken out before."""
    sources = [row.source for row in lock]
    found: dict[str, Source] = {}
    for name in names:
        forms = _forms(name)
        hits = [source for source in sources if source.id in forms or public(source.url) in forms]
        if not hits and not any(map(exclusions.holds, forms)):
            raise TakedownError(f"{name!r} is not the id or address of a source in {LOCK}")
        found |= {source.id: source for source in hits}
    addresses = {source.url for source in found.values()}
    return tuple(source for source in sources if source.url in addresses)


def _forms(name: str) -> set[str]:
    """The name, and for a YouTube id or any link to a video the address that a lock and exclusions know it by."""
    video = ""
    with contextlib.suppress(ValueError):  # a link to a list
        video = youtube_id(name)
    return {name, watch_url(video)} if video else {name, public(name)}


def _plan(dataset: Dataset, rows: Sequence[Row], gone: Collection[str]) -> list[_Planned]:
    """Every shard of the dataset. Where one of a level and split is left empty, the others are renumbered."""
    inside: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        inside[row.shard].append(row)
    plan: list[_Planned] = []
    for (level, split), cell in groupby(dataset.shards, key=lambda shard: (shard.level, shard.split)):
        shards = list(cell)
        left = [tuple(row for row in inside[shard.path] if row.info.source not in gone) for shard in shards]
        full = [index for index, kept in enumerate(left) if kept]
        names = {index: shard_path(level, split, number, len(full)) for number, index in enumerate(full)}
        for index, (shard, kept) in enumerate(zip(shards, left, strict=True)):
            plan.append(_Planned(shard, names.get(index, ""), kept, len(kept) < len(inside[shard.path])))
    return plan


def _prepare(
    folder: Path, dataset: Dataset, lock: Sequence[LockRow], plan: Sequence[_Planned], exclusions: Exclusions
) -> None:
    """Make all files that differ, the description of the dataset last."""
    stage = folder / STAGE
    shutil.rmtree(stage, ignore_errors=True)
    shards: list[Shard] = []
    rows: list[Row] = []
    for one in (one for one in plan if one.path):
        shard, staying = _rewritten(folder, one) if one.touched else _as_it_is(folder, one)
        shards.append(shard)
        rows += staying
    if not rows:
        raise TakedownError("no clips would be left; delete the whole dataset instead")
    texts = {
        RECIPE: _recipe(content(folder / RECIPE, LARGEST), dataset.version),
        THRESHOLDS: content(folder / THRESHOLDS, LARGEST),
        EXCLUSIONS: exclusions.text(),
    }
    if (folder / REVIEW).exists():
        texts[REVIEW] = (folder / REVIEW).read_bytes()
    body = tabulate(stage, dataset, Contents(tuple(shards), rows, lock, texts))
    description, _ = seal(stage, body, BUILT)
    put(stage, DATASET, [write_json(description)])


def _rewritten(folder: Path, one: _Planned) -> tuple[Shard, list[Row]]:
    """The shard without the clips that go."""
    wanted = {row.info.key: row for row in one.rows}
    try:
        with atomic(folder / STAGE / one.path) as file:
            written = write_shard(file, _kept(folder / one.old.path, wanted))
    except ShardError as why:
        raise TakedownError(f"{one.old.path}: {why}; run `mlst verify`") from None
    rows = [
        replace(wanted[member.key], shard=one.path, offset=member.offset, size=member.size, sha256=member.sha256)
        for member in written.members
    ]
    return replace(one.old, path=one.path, clips=len(rows), size=written.size, sha256=written.sha256), rows


def _kept(path: Path, wanted: Mapping[str, Row]) -> Iterator[ClipFiles]:
    missing = set(wanted)
    for sample, _ in open_shard(path):
        row = wanted.get(sample.key)
        missing.discard(sample.key)
        if row is not None and hashlib.sha256(sample.mp4).hexdigest() != row.sha256:
            raise TakedownError(f"{path.name}: {sample.key} is not the video listed in the index; run `mlst verify`")
        if row is not None:
            yield sample
    if missing:
        raise TakedownError(f"{path.name}: {min(missing)} is in the index but not in the shard; run `mlst verify`")


def _as_it_is(folder: Path, one: _Planned) -> tuple[Shard, list[Row]]:
    """A shard whose bytes stay, under its name or a new one."""
    if one.path != one.old.path:
        link_or_copy(folder / one.old.path, folder / STAGE / one.path)
    return replace(one.old, path=one.path), [replace(row, shard=one.path) for row in one.rows]


def _recipe(text: bytes, version: str) -> bytes:
    """The recipe with the new version and the list of exclusions, all else as the user wrote it."""
    try:
        parse_toml(text)
    except StructureError as why:
        raise TakedownError(f"{RECIPE}: not TOML: {why}") from None
    recipe = tomlkit.parse(text)
    recipe["version"], recipe["exclusions"] = version, EXCLUSIONS
    return tomlkit.dumps(recipe).encode()


def _finish(folder: Path, dataset: Dataset) -> None:
    """Put what is prepared in place of `dataset`; what is prepared only in part is thrown away.

    Every name is looked at before anything is moved: the staging folder may have come with a stranger's dataset.
    """
    stage = folder / STAGE
    try:
        staged = place_in(folder, f"{STAGE}/{DATASET}")
        if staged.exists():
            new = read_dataset(stage)
            moved = [file.path for file in new.files if os.path.lexists(stage / file.path)]
            places = {path: place_in(folder, path) for path in (*moved, DATASET)}
            left = [place_in(folder, path) for path in sorted(_paths(dataset) - _paths(new))]
            _replace(stage, places, left)
    except ValueError as why:
        raise TakedownError(f"{folder}: {why}; nothing was changed") from None
    shutil.rmtree(stage, ignore_errors=True)
    with contextlib.suppress(OSError):
        stage.parent.rmdir()


def _replace(stage: Path, places: Mapping[str, Path], left: Sequence[Path]) -> None:
    """Move staged files to their places, the description last, and remove what is left of the old dataset."""
    for path, place in places.items():
        if path == DATASET:
            for old in left:
                old.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    old.parent.rmdir()
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage / path, place)


def _paths(dataset: Dataset) -> set[str]:
    return {file.path for file in dataset.files}


def purge(work: Path, exclusions: Exclusions) -> tuple[str, ...]:
    """Remove from a workspace, which must not be in use, what it holds of excluded sources, and what may show them:
    videos, clips, packed shards, copies of the index, lines of ledgers, the report. Gives the ids that were found.
    """
    found: set[str] = set()
    for path in sorted(path for kind in ("media", "clips") for path in work.glob(f"*/{kind}/*")):
        named = MADE.fullmatch(path.name)
        if named and exclusions.holds(named[1]):
            found.add(named[1])
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted([*work.glob("*/ledger/*.jsonl"), *work.glob("*/items.txt")]):
        lines = path.read_bytes().splitlines(keepends=True)
        named_in = [_item(line) for line in lines]
        kept = [line for line, name in zip(lines, named_in, strict=True) if not exclusions.holds(name)]
        if len(kept) < len(lines):
            found |= {name for name in named_in if exclusions.holds(name)}
            with atomic(path) as file:
                file.writelines(kept)
    for path in (*work.glob("pack-*"), *work.glob(KEPT)):
        shutil.rmtree(path)
    for name in ("report.html", "story.json", "verified.txt"):
        (work / name).unlink(missing_ok=True)
    return tuple(sorted(found))


def _item(line: bytes) -> str:
    """The source that a line of a ledger, or of a list of keys, is about; "" for none."""
    key = line.decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError, LookupError, TypeError):
        key = json.loads(line)[0]["key"]
    return key.partition("@")[0]
