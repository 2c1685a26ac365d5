"""Check a built dataset against everything it claims.

Nothing is taken on trust: hashes are computed, splits and levels decided again, shards read byte by byte, clips
decoded. Every broken rule is a `Finding`; `RULES` says what each rule means.
"""

import contextlib
import hashlib
import io
import os
import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from json import loads
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, BinaryIO

from mlst.checking.judge import judged
from mlst.checking.rules import Cells, index_rules, row_rules
from mlst.dataset.card import attribution, front_matter, read_card
from mlst.dataset.description import (
    ATTRIBUTION,
    CARD,
    DATASET,
    EXCLUSIONS,
    INDEX,
    LARGEST,
    LOCK,
    NAMED,
    RECIPE,
    THRESHOLDS,
    Dataset,
    File,
    dataset_fingerprint,
    read_json,
)
from mlst.dataset.exclusions import parse_exclusions
from mlst.dataset.index import ClipInfo, Row, index_columns, index_names, read_index
from mlst.dataset.lock import footage_of
from mlst.dataset.lookup import Index, Lock
from mlst.dataset.remote import is_url, mirrored, streamed
from mlst.dataset.schema import misfit, parse_json
from mlst.dataset.shards import PATH, ClipFiles, ShardError, largest_clip, read_shard, shard_path
from mlst.inside import content, file_in, opened, place_in
from mlst.levels.levels import read_levels
from mlst.pictures.times import too_many
from mlst.records import Shard, canonical_json
from mlst.structured import read_toml
from mlst.text import number_of

RULES = {
    "dataset": "dataset.json is there, is of a known format and matches its own fingerprint",
    "missing": "every listed file is there, as a plain file",
    "hash": "every file has the size and sha256 that dataset.json lists",
    "stray": "there is no file that dataset.json does not list",
    "index": "metadata/clips.parquet is readable and has the columns of the format",
    "lock": "sources.lock.jsonl is readable, sorted, has a row for every source of the index and the stated footage",
    "times": "of each source at most 2 frames, or 2 %, had no usable time, and none more were repaired than there are",
    "levels": "levels.toml is a thresholds file",
    "recipe": "recipe.toml is TOML",
    "key": "keys match the pattern, name source and start of their clip, and occur once in the dataset",
    "order": "the index is sorted by shard and offset, the clips of a level and split by the hash of their key",
    "shard": "shards are what the writer writes: members, order, headers, padding, at least one clip",
    "schema": "the JSON of a clip has exactly the fields of the format, each of its one type, never null",
    "record": "a clip's JSON, its row in the index and the lock say the same",
    "place": "shard, offset, size and sha256 of a row are those of the clip's video",
    "boundary": "intervals are half open, inside shot, file and wanted span, and agree in frames, pts and seconds",
    "split": "the split of a clip is the one that its group hashes to",
    "leak": "no group, source, video or near-duplicate footage is in two splits",
    "level": "level, margins and flags are what the thresholds make of the clip's statistics",
    "count": "the counts of dataset.json, the lock and the shards' names are right",
    "card": "README.md pins `default` and a configuration per level, with globs that match the shards, and features",
    "attribution": "ATTRIBUTION.md names every source that has clips",
    "exclusions": "exclusions.txt, where there is one, is readable and names no source of the lock",
    "decode": "every video decodes without error to as many frames of the size declared, and converts to RGB",
}

IGNORED = (".cache", ".git", ".gitattributes")
"""What a download from the Hub adds at the top."""

CHUNK, REST = 1 << 20, 1 << 28
"""Bytes read at a time, and at most behind what is wrong with a shard: what follows may be a hole without end."""
BLOCK = 1000
"""Rows of the index that are read at a time."""
LONGEST = 1000
"""Characters of what is said of a row, which may quote texts of a stranger's."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One broken rule; path and key are "" where none applies."""

    rule: str
    path: str
    key: str
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` saw."""

    findings: tuple[Finding, ...]
    """Sorted; none for a sound dataset."""
    files: int
    shards: int
    clips: int
    frames: int
    """Decoded."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What checking one shard needs."""

    place: str
    """Path or URL."""
    shard: Shard
    index: Path
    span: range
    """Its rows are among these of the index."""
    side: int
    frames: int


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What checking one shard showed."""

    findings: tuple[Finding, ...]
    clips: int
    frames: int


Watch = Callable[[int, int], object]
"""(shards checked, shards in all)"""


def _unwatched(done: int, total: int) -> None:
    """Nobody looks."""


def verify(place: Path | str, workers: int, watch: Watch = _unwatched) -> Report:
    """Check the dataset at `place`, a folder or an fsspec URL, against every rule of `RULES`.

    Shards are read and decoded in `workers` processes of their own, so that hostile media cannot take this one down;
    0 does it here. `watch` is told how many of the shards are done. Shards behind a URL are never all on this machine.
    Raises OSError and ImportError where a store cannot be read.
    """
    if not is_url(place):
        return _verify(Path(place), str(place), workers, watch)
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(mirrored(str(place)))
        except ValueError as why:
            return Report((Finding("dataset", DATASET, "", str(why)),), 0, 0, 0, 0)
        return _verify(folder, str(place).rstrip("/"), workers, watch)


def _verify(folder: Path, place: str, workers: int, watch: Watch) -> Report:
    """`place` has the shards, `folder` everything else."""
    try:
        dataset = read_json(folder / DATASET)
    except (OSError, ValueError) as why:
        return Report((Finding("dataset", DATASET, "", str(why)),), 0, 0, 0, 0)
    findings = [*_files(folder, dataset), *_names(dataset)]
    if unsafe := list(_unsafe(folder, dataset)):
        return Report(tuple(sorted({*findings, *unsafe})), len(dataset.files), 0, 0, 0)
    rows, spans = _index(folder, dataset, findings)
    tasks = _tasks(folder, place, dataset, spans)
    checked = {task.shard.path for task in tasks}
    unchecked = (shard.path for shard in dataset.shards if shard.path not in checked)
    findings += [Finding("missing", path, "", "a listed shard that cannot be checked") for path in unchecked]
    results: list[ShardResult] = []
    watch(0, len(tasks))
    for result in map(_check_shard, tasks) if workers == 0 else _in_processes(tasks, workers):
        results.append(result)
        findings += result.findings
        watch(len(results), len(tasks))
    with _lock(folder, findings) as lock:
        findings += _tables(folder, dataset, rows, lock)
        findings += _locked(folder, dataset, lock)
        findings += _attributed(folder, lock)
    findings += _recipe(folder, dataset)
    findings += _card(folder, dataset)
    clips, frames = sum(r.clips for r in results), sum(r.frames for r in results)
    return Report(tuple(sorted(set(findings))), len(dataset.files), len(tasks), clips, frames)


def _files(folder: Path, dataset: Dataset) -> Iterator[Finding]:
    """Presence of every listed file, absence of others, hashes of all but the shards (which are read later anyway)."""
    listed = {file.path for file in dataset.files}
    present = set(_walk(folder)) - {DATASET}
    for path in sorted(present - listed):
        yield Finding("stray", path, "", "not listed in dataset.json")
    for path in sorted(listed - present):
        yield Finding("missing", path, "", "listed in dataset.json, but not there as a plain file")
    for file in dataset.files:
        if file.path in present and not PATH.fullmatch(file.path):
            yield from _whole(folder, file)
    if [f.path for f in dataset.files] != sorted(listed):
        yield Finding("dataset", DATASET, "", "files are not sorted by path")
    if dataset_fingerprint(dataset.files, dataset.footage) != dataset.fingerprint:
        yield Finding("dataset", DATASET, "", f"fingerprint {dataset.fingerprint} is not that of the listed files")


def _unsafe(folder: Path, dataset: Dataset) -> Iterator[Finding]:
    """What stands in the place of a file and is none, such as a pipe: nothing of such a dataset is read further."""
    for name in sorted({*NAMED, *(file.path for file in dataset.files), *(shard.path for shard in dataset.shards)}):
        try:
            place_in(folder, name)
        except (OSError, ValueError) as why:
            yield Finding("missing", name, "", str(why))


def _whole(folder: Path, file: File) -> Iterator[Finding]:
    """A file against its entry; nothing of one of another size is read."""
    try:
        size = file_in(folder, file.path).stat().st_size
        if size != file.size:
            yield Finding("hash", file.path, "", f"{size} bytes, {file.size} listed")
            return
        with opened(folder / file.path) as stream:
            yield from _hash(file.path, hashlib.file_digest(stream, "sha256").hexdigest(), size, file)
    except (OSError, ValueError) as why:
        yield Finding("missing", file.path, "", f"cannot be read: {why}")


def _walk(folder: Path) -> Iterator[str]:
    """Paths of all files below `folder`. What is none, such as a link or a pipe, is not followed, and is marked so as
    not to pass for a listed file."""
    for top, folders, names in os.walk(folder):
        at_top = Path(top) == folder
        folders[:] = [name for name in folders if not (at_top and name in IGNORED)]
        for name in folders + names:
            path = Path(top, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                yield f"{relative} (link)"
            elif name in names and not (at_top and name in IGNORED):
                yield relative if path.is_file() else f"{relative} (no regular file)"


def _hash(path: str, sha256: str, size: int, listed: File | Shard) -> Iterator[Finding]:
    if size != listed.size:
        yield Finding("hash", path, "", f"{size} bytes, {listed.size} listed")
    if sha256 != listed.sha256:
        yield Finding("hash", path, "", f"sha256 {sha256}, {listed.sha256} listed")


def _names(dataset: Dataset) -> Iterator[Finding]:
    """Shards must be listed, be named for their level and split, and be numbered without gaps."""
    files = {file.path: file for file in dataset.files}
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for shard in dataset.shards:
        cells[shard.level, shard.split].append(shard.path)
        file = files.get(shard.path)
        if file is None or (file.size, file.sha256) != (shard.size, shard.sha256):
            yield Finding("dataset", shard.path, "", "differs between the lists of shards and of files")
    for (level, split), paths in cells.items():
        if sorted(paths) != [shard_path(level, split, index, len(paths)) for index in range(len(paths))]:
            yield Finding("count", paths[0], "", f"shards of {level} {split} are not numbered 0 to {len(paths) - 1}")
    for path in sorted(files.keys() - {shard.path for shard in dataset.shards}):
        if path.startswith("data/"):
            yield Finding("dataset", path, "", "not in the list of shards")


def _index(folder: Path, dataset: Dataset, findings: list[Finding]) -> tuple[Iterable[Row], dict[str, range]]:
    """The index, if all of it can be read, and between which of its rows those of each shard are."""
    spans: dict[str, range] = {}
    try:
        found, wanted = index_columns(folder / INDEX), list(index_names(dataset.statistics))
        if found != wanted:
            odd = ", ".join(sorted(set(found) ^ set(wanted))) or "their order"
            findings.append(Finding("index", INDEX, "", f"columns are not those of {DATASET}: {odd}"))
            return (), {}
        for number, row in enumerate(read_index(folder / INDEX)):
            spans[row.shard] = range(spans.get(row.shard, range(number, 0)).start, number + 1)
    except (OSError, ValueError) as why:
        findings.append(Finding("index", INDEX, "", str(why)))
        return (), {}
    return Index(folder / INDEX), spans


@contextlib.contextmanager
def _lock(folder: Path, findings: list[Finding]) -> Iterator[Lock]:
    """The lock; an empty one where it cannot be read."""
    with contextlib.ExitStack() as stack:
        try:
            lock = Lock(stack.enter_context(opened(folder / LOCK)), LOCK)
        except (OSError, ValueError) as why:
            findings.append(Finding("lock", LOCK, "", str(why)))
            lock = Lock(io.BytesIO(), LOCK)
        if not lock.in_order:
            findings.append(Finding("lock", LOCK, "", "sources are duplicated or not sorted by id"))
        yield lock


def _tables(folder: Path, dataset: Dataset, rows: Iterable[Row], lock: Lock) -> Iterator[Finding]:
    """Rows against the rules, the lock, the thresholds and the counts of `dataset.json`."""
    try:
        levels = read_levels(folder / THRESHOLDS)
    except (OSError, ValueError) as why:
        yield Finding("levels", THRESHOLDS, "", str(why))
        return
    if lacking := levels.needed - set(dataset.statistics):
        yield Finding("levels", THRESHOLDS, "", f"of the clips was not measured: {', '.join(sorted(lacking))}")
        return
    for rule, key, detail in index_rules(rows):
        yield Finding(rule, INDEX, key, detail[:LONGEST])
    cells, shards, unknown = Cells(), Counter[str](), set[str]()
    clips = array("Q", bytes(8 * len(lock)))
    for row in rows:
        cells.add(row)
        shards[row.shard] += 1
        try:
            number, lock_row = lock.find(row.info.source)
        except KeyError:
            unknown.add(row.info.source)
            yield Finding("lock", LOCK, row.info.key, f"no row for source {row.info.source!r}")
            continue
        clips[number] += 1
        for rule, detail in row_rules(row, lock_row, dataset, levels):
            yield Finding(rule, INDEX, row.info.key, detail[:LONGEST])
    for lock_row, count in zip(lock, clips, strict=True):
        if lock_row.chosen != count:
            yield Finding(
                "count", LOCK, "", f"{lock_row.source.id}: {number_of(lock_row.chosen, 'clip')}, {count} in the index"
            )
    yield from _counts(dataset, cells, shards, len(unknown) + sum(count > 0 for count in clips))


def _counts(dataset: Dataset, cells: Cells, shards: Mapping[str, int], sources: int) -> Iterator[Finding]:
    """What `dataset.json` counts, given the clips of each shard in the index and how many sources they have."""
    clips = sum(shards.values())
    if (dataset.clips, dataset.sources) != (clips, sources):
        said = f"{number_of(dataset.clips, 'clip')} of {number_of(dataset.sources, 'source')}"
        yield Finding("count", DATASET, "", f"{said}, {clips} of {sources} in the index")
    sizes = {shard.path: shard.size for shard in dataset.shards}
    counted = cells.counted(sizes)
    if dataset.cells != counted:
        odd = sorted({(c.level, c.split) for c in set(dataset.cells) ^ set(counted)})
        yield Finding("count", DATASET, "", f"cells are not those of the index: {odd or 'their order'}")
    for shard in dataset.shards:
        if shard.clips != shards.get(shard.path, 0):
            found = f"{number_of(shard.clips, 'clip')} listed, {shards.get(shard.path, 0)} in the index"
            yield Finding("count", shard.path, "", found)
    for path in sorted(shards.keys() - sizes.keys()):
        yield Finding("place", INDEX, "", f"rows name a shard {path!r} that is not listed")


def _locked(folder: Path, dataset: Dataset, lock: Lock) -> Iterator[Finding]:
    """What the lock says of the footage, and whether any of it is excluded."""
    for row in lock:
        stream, name = row.stream, row.source.id
        if too_many(stream.dropped, stream.frames) or not 0 <= stream.repaired <= stream.frames or stream.dropped < 0:
            said = f"{name}: {number_of(stream.frames, 'frame')}, {stream.repaired} repaired, {stream.dropped} dropped"
            yield Finding("times", LOCK, "", said)
    if len(lock) and (footage := footage_of(lock)) != dataset.footage:
        yield Finding("lock", LOCK, "", f"footage {footage}, {dataset.footage} in {DATASET}")
    if EXCLUSIONS not in {file.path for file in dataset.files}:
        return
    try:
        exclusions = parse_exclusions(content(folder / EXCLUSIONS, LARGEST), EXCLUSIONS)
    except (OSError, ValueError) as why:
        yield Finding("exclusions", EXCLUSIONS, "", str(why))
        return
    for row in lock:
        if exclusions.excludes(row.source):
            yield Finding("exclusions", LOCK, "", f"{row.source.id} is excluded")


class _Chosen(dict[str, int]):
    """How many clips the lock says a source has, looked up there."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock

    def __missing__(self, source: str) -> int:
        return self.lock.find(source)[1].chosen


def _attributed(folder: Path, lock: Lock) -> Iterator[Finding]:
    """Whom ATTRIBUTION.md names."""
    used = (row.source for row in lock if row.chosen)
    parts = (part.encode("utf-8", "surrogatepass") for part in attribution(used, _Chosen(lock)))
    try:
        with opened(folder / ATTRIBUTION) as file:
            if not all(file.read(len(part)) == part for part in parts) or file.read(1):
                yield Finding(
                    "attribution", ATTRIBUTION, "", "is not what the lock's titles, channels and licences give"
                )
    except (OSError, ValueError) as why:
        yield Finding("attribution", ATTRIBUTION, "", str(why))


def _recipe(folder: Path, dataset: Dataset) -> Iterator[Finding]:
    if RECIPE in {file.path for file in dataset.files}:
        try:
            read_toml(folder / RECIPE)
        except (OSError, ValueError) as why:
            yield Finding("recipe", RECIPE, "", str(why))


def _card(folder: Path, dataset: Dataset) -> Iterator[Finding]:
    """What README.md pins for loaders."""
    try:
        front, _ = read_card(folder)
        found = {name: front.get(name) for name in ("configs", "dataset_info")}
    except (OSError, ValueError) as why:
        yield Finding("card", CARD, "", f"no YAML front matter: {why}")
        return
    wanted = front_matter(dataset)
    (info,) = wanted["dataset_info"]
    older = [{**info, "config_name": config["config_name"]} for config in wanted["configs"]]
    for name, value in found.items():
        if value != wanted[name] and not (name == "dataset_info" and value == older):
            odd = _first_odd(value, wanted[name])
            yield Finding("card", CARD, "", f"{name} are not those of the shards: {odd}")


def _first_odd(found: Any, wanted: Any) -> str:
    if not isinstance(found, list):
        return f"{found!r} is not a list"
    missing = [w.get("config_name") for w in wanted if w not in found]
    unknown = [f.get("config_name") if isinstance(f, dict) else f for f in found if f not in wanted]
    return f"missing or different {missing}, unexpected {unknown}" if missing or unknown else "their order"


def _tasks(folder: Path, place: str, dataset: Dataset, spans: Mapping[str, range]) -> list[ShardTask]:
    return [
        ShardTask(
            place=f"{place}/{shard.path}",
            shard=shard,
            index=folder / INDEX,
            span=spans.get(shard.path, range(0)),
            side=dataset.side,
            frames=dataset.frames,
        )
        for shard in dataset.shards
        if PATH.fullmatch(shard.path) and (folder / shard.path).is_file() and not (folder / shard.path).is_symlink()
    ]


def _in_processes(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
    """Every task's result. When a worker dies, what is left is done again one at a time to find the shard at fault."""
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        futures = [pool.submit(_check_shard, task) for task in tasks]
        for task, future in zip(tasks, futures, strict=True):
            try:
                yield future.result()
            except BrokenProcessPool:
                with ProcessPoolExecutor(1, context, end_with_parent) as alone:
                    try:
                        yield alone.submit(_check_shard, task).result()
                    except BrokenProcessPool:
                        crash = Finding("decode", task.shard.path, "", "reading this shard killed its process")
                        yield ShardResult((crash,), 0, 0)


def end_with_parent() -> None:
    """End this process when the one that started it has ended, be it by SIGKILL: the workers of a pool would wait for
    tasks for ever."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256, self.size = file, hashlib.sha256(), 0

    def read(self, size: int, /) -> bytes:
        data = self.file.read(size)
        self.sha256.update(data)
        self.size += len(data)
        return data


def _check_shard(task: ShardTask) -> ShardResult:
    """Read one shard once: its hash, its format, each clip against its row, each video decoded."""
    path, clips, frames = task.shard.path, 0, 0
    findings: list[Finding] = []
    rows = {row.info.key: row for row in _rows(task.index, task.span) if row.shard == path}
    with streamed(task.place) as file:
        hashed = _Hashed(file)
        try:
            for sample, offset in read_shard(hashed, largest_clip(task.side, task.frames)):
                clips += 1
                row = rows.pop(sample.key, None)
                findings += [
                    Finding(rule, path, sample.key, detail[:LONGEST])
                    for rule, detail in _check_clip(sample, offset, row)
                ]
                count, detail = judged(sample.mp4, task.side, task.frames)
                frames += count
                if detail:
                    findings.append(Finding("decode", path, sample.key, detail))
        except ShardError as why:
            findings.append(Finding("shard", path, why.key, why.detail))
        most = hashed.size + REST
        while hashed.size < most and hashed.read(CHUNK):
            pass
    if hashed.size < most:
        findings += _hash(path, hashed.sha256.hexdigest(), hashed.size, task.shard)
    findings += [Finding("place", path, key, "in the index, but not in the shard") for key in rows]
    if clips != task.shard.clips:
        findings.append(
            Finding(
                "count",
                path,
                "",
                f"{number_of(task.shard.clips, 'clip')} listed, {number_of(clips, 'is', 'are')} there",
            )
        )
    return ShardResult(tuple(findings), clips, frames)


def _rows(index: Path, span: range) -> Iterator[Row]:
    """The rows of a shard: shards are small where there are many levels, and neighbours lie in one block."""
    if not span:
        return
    written = index.stat().st_mtime_ns
    for number in range(span.start // BLOCK, -(-span.stop // BLOCK)):
        for place, row in enumerate(_block(index, written, number), number * BLOCK):
            if place in span:
                yield row


@lru_cache(1)
def _block(index: Path, written: int, number: int) -> Sequence[Row]:
    del written
    return tuple(read_index(index, range(number * BLOCK, (number + 1) * BLOCK)))


def _check_clip(sample: ClipFiles, offset: int, row: Row | None) -> Iterator[tuple[str, str]]:
    """Rule and detail of what is wrong with a clip's JSON and its row in the index."""
    try:
        wrong = misfit(ClipInfo, parse_json(sample.json, "json"), "json")
    except ValueError as why:
        wrong = str(why)
    if wrong:
        yield "schema", wrong
    if row is None:
        yield "place", "in the shard, but not in the index"
        return
    if not wrong and sample.json != canonical_json(row.info).encode():
        yield "record", f"JSON is not the canonical text of its row in the index: {_difference(sample.json, row.info)}"
    sha256 = hashlib.sha256(sample.mp4).hexdigest()
    if (row.offset, row.size, row.sha256) != (offset, len(sample.mp4), sha256):
        yield (
            "place",
            f"offset {row.offset}, size {row.size}, sha256 {row.sha256}; is {offset}, {len(sample.mp4)}, {sha256}",
        )


def _difference(text: bytes, info: ClipInfo) -> str:
    found, wanted = loads(text), loads(canonical_json(info))
    odd = [name for name in wanted if found[name] != wanted[name]]
    return ", ".join(f"{name} is {found[name]!r}, {wanted[name]!r} in the index" for name in odd) or "only in spelling"
