import hashlib
import io
import json
import os
import shutil
import signal
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlst.checking.verify import RULES, _in_processes, _index, _tasks, verify
from mlst.dataset.description import (
    ATTRIBUTION,
    CARD,
    DATASET,
    EXCLUSIONS,
    INDEX,
    LOCK,
    THRESHOLDS,
    Dataset,
    File,
    dataset_fingerprint,
    read_json,
    write_json,
)
from mlst.dataset.exclusions import Exclusions
from mlst.dataset.index import Flags, Row, read_index, write_index
from mlst.dataset.lock import LockRow, read_lock, write_lock
from mlst.dataset.schema import fields_of
from mlst.dataset.shards import ClipFiles, open_shard, write_shard
from mlst.levels.flags import flag
from mlst.records import canonical_json
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound dataset to break."""
    return Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))


def reseal(folder: Path) -> None:
    """Make dataset.json list the files as they are now, as a forger would, so that the deeper rules have to notice."""
    dataset = read_json(folder / DATASET)
    files = []
    for file in dataset.files:
        data = (folder / file.path).read_bytes()
        files.append(File(file.path, len(data), hashlib.sha256(data).hexdigest()))
    by_path = {file.path: file for file in files}
    shards = tuple(replace(s, size=by_path[s.path].size, sha256=by_path[s.path].sha256) for s in dataset.shards)
    sizes: Counter[tuple[str, str]] = Counter()
    for one in shards:
        sizes[one.level, one.split] += one.size
    cells = tuple(replace(cell, size=sizes[cell.level, cell.split]) for cell in dataset.cells)
    write(
        folder,
        replace(
            dataset,
            files=tuple(files),
            shards=shards,
            cells=cells,
            fingerprint=dataset_fingerprint(files, dataset.footage),
        ),
    )


def write(folder: Path, dataset: Dataset) -> None:
    (folder / DATASET).write_bytes(write_json(dataset))


def change(folder: Path, **values: Any) -> None:
    """Change fields of dataset.json."""
    write(folder, replace(read_json(folder / DATASET), **values))


def rows(folder: Path, edit: Callable[[list[Row]], list[Row]]) -> None:
    """Rewrite the index."""
    edited = edit(list(read_index(folder / INDEX)))
    with (folder / INDEX).open("wb") as file:
        write_index(file, edited)
    reseal(folder)


def row(folder: Path, in_shards: bool = False, **values: Any) -> None:
    """Change fields of the first row (of its clip's record where there is such a field), and perhaps of its JSON."""

    def edit(content: list[Row]) -> list[Row]:
        first = content[0]
        info = {name: value for name, value in values.items() if hasattr(first.info, name)}
        other = {name: value for name, value in values.items() if name not in info}
        return [replace(first, info=replace(first.info, **info), **other), *content[1:]]

    rows(folder, edit)
    if in_shards:
        first = next(read_index(folder / INDEX))
        shard(folder, lambda samples: [replace(samples[0], json=canonical_json(first.info).encode()), *samples[1:]])


def lock(folder: Path, edit: Callable[[list[LockRow]], list[LockRow]]) -> None:
    lines = b"".join(write_lock(edit(list(read_lock(folder / LOCK)))))
    (folder / LOCK).write_bytes(lines)
    reseal(folder)


def first_shard(folder: Path) -> Path:
    return folder / next(read_index(folder / INDEX)).shard


def shard(folder: Path, edit: Callable[[list[ClipFiles]], list[ClipFiles]]) -> None:
    """Rewrite the first shard, and what the index says of where its videos lie."""
    path = first_shard(folder)
    samples = edit([sample for sample, _ in open_shard(path)])
    with path.open("wb") as file:
        written = write_shard(file, samples)
    places = {m.key: {"offset": m.offset, "size": m.size, "sha256": m.sha256} for m in written.members}
    name = path.relative_to(folder).as_posix()
    rows(folder, lambda r: [replace(x, **places.get(x.info.key, {})) if x.shard == name else x for x in r])


def not_a_number(content: list[Row]) -> list[Row]:
    first = content[0]
    statistics = replace(first.info.statistics, si=float("nan"))
    return [replace(first, info=replace(first.info, statistics=statistics)), *content[1:]]


Members = list[tuple[tarfile.TarInfo, bytes]]


def retar(folder: Path, edit: Callable[[Members], Members]) -> None:
    """Rewrite the first shard with tarfile, free of our writer's checks."""
    path = first_shard(folder)
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in edit(members):
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    reseal(folder)


def video(folder: Path, mp4: bytes) -> None:
    """Put another video into the first clip."""
    shard(folder, lambda samples: [replace(samples[0], mp4=mp4), *samples[1:]])


def edit_json(folder: Path, edit: Callable[[dict[str, Any]], None], spelling: dict[str, Any] | None = None) -> None:
    """Change the JSON of the first clip, keeping sorted keys."""

    def apply(samples: list[ClipFiles]) -> list[ClipFiles]:
        content = json.loads(samples[0].json)
        edit(content)
        options = {"sort_keys": True, "separators": (",", ":"), **(spelling or {})}
        return [replace(samples[0], json=json.dumps(content, **options).encode()), *samples[1:]]

    shard(folder, apply)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def text(path: Path, old: str, new: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")


def two_splits(folder: Path) -> None:
    """Move a source of train into the group of one of test, in index and lock, everything else unchanged."""
    content = list(read_index(folder / INDEX))
    train = next(r.info.source for r in content if r.info.split == "train")
    test = next(r.info.group for r in content if r.info.split == "test")

    def regroup(one: LockRow) -> LockRow:
        return replace(one, source=replace(one.source, group=test)) if one.source.id == train else one

    def move(one: Row) -> Row:
        return replace(one, info=replace(one.info, group=test)) if one.info.source == train else one

    lock(folder, lambda content: [regroup(one) for one in content])
    rows(folder, lambda content: [move(one) for one in content])


def same_footage(folder: Path) -> None:
    content = list(read_index(folder / INDEX))
    test = next(r.fingerprint for r in content if r.info.split == "test")
    index = next(i for i, r in enumerate(content) if r.info.split == "train")
    rows(folder, lambda rs: [replace(r, fingerprint=test) if i == index else r for i, r in enumerate(rs)])


def swap_shards(folder: Path) -> None:
    """Exchange the contents of two shards of a cell with two, so that the order breaks but each shard is sound."""
    one, two = two_shards(folder)
    first, second = (folder / one).read_bytes(), (folder / two).read_bytes()
    (folder / one).write_bytes(second)
    (folder / two).write_bytes(first)
    names = {one: two, two: one}
    counts = {s.path: s.clips for s in read_json(folder / DATASET).shards}
    dataset = read_json(folder / DATASET)
    change(folder, shards=tuple(replace(s, clips=counts[names.get(s.path, s.path)]) for s in dataset.shards))
    renamed = [replace(r, shard=names.get(r.shard, r.shard)) for r in read_index(folder / INDEX)]
    rows(folder, lambda _: sorted(renamed, key=lambda r: (r.shard, r.offset)))


def two_shards(folder: Path) -> tuple[str, str]:
    paths = [s.path for s in read_json(folder / DATASET).shards]
    second = next(p for p in paths if "-00001-of-00002" in p)
    return second.replace("-00001-", "-00000-"), second


def copy_into_next(folder: Path) -> None:
    """The first clip once more in a shard of another level: a key that loaders see twice."""
    first, _ = next(open_shard(first_shard(folder)))
    other = next(r.shard for r in read_index(folder / INDEX) if r.info.level != "s0t0")
    samples = [sample for sample, _ in open_shard(folder / other)]
    with (folder / other).open("wb") as file:
        write_shard(file, [*samples, first])
    reseal(folder)


def drop_shard(folder: Path) -> None:
    first_shard(folder).unlink()


def drop_config(folder: Path) -> None:
    content = (folder / CARD).read_text(encoding="utf-8")
    begin, end = (content.index(f"- config_name: {level}\n  data_files") for level in ("s1t1", "s1t2"))
    (folder / CARD).write_text(content[:begin] + content[end:], encoding="utf-8")
    reseal(folder)


def add_column(folder: Path) -> None:
    table = pq.read_table(folder / INDEX)
    pq.write_table(table.append_column("extra", table["s"]), folder / INDEX)
    reseal(folder)


def empty_shard(folder: Path) -> None:
    first_shard(folder).write_bytes(bytes(10240))
    reseal(folder)


def info(folder: Path) -> Any:
    return next(read_index(folder / INDEX)).info


def members(folder: Path, **values: Any) -> None:
    """Set header fields of all members of the first shard."""

    def edit(content: Members) -> Members:
        for member, _ in content:
            for name, value in values.items():
                setattr(member, name, value)
        return content

    retar(folder, edit)


def edit_lock(folder: Path, **values: Any) -> None:
    """Change fields of the source (or of the stream) in all rows of the lock."""

    def edit(one: LockRow) -> LockRow:
        if hasattr(one.source, next(iter(values))):
            return replace(one, source=replace(one.source, **values))
        return replace(one, stream=replace(one.stream, **values))

    lock(folder, lambda content: [edit(one) for one in content])


def other_packets(row: LockRow) -> LockRow:
    return replace(row, probe=replace(row.probe, packets_sha256="0" * 64))


def exclude(folder: Path, *ids: str) -> None:
    """Give the dataset a list of exclusions."""
    text = Exclusions("tiny", frozenset()).adding(tiny.source(name) for name in ids).text()
    (folder / EXCLUSIONS).write_bytes(text)
    files = (*read_json(folder / DATASET).files, File(EXCLUSIONS, 0, ""))
    change(folder, files=tuple(sorted(files, key=lambda file: file.path)))
    reseal(folder)


def link_shard(folder: Path) -> None:
    """Move the first shard out and put a link in its place."""
    path, elsewhere = first_shard(folder), folder.parent / "elsewhere.tar"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def dot_in_key(folder: Path) -> None:
    retar(folder, lambda content: [(member.replace(name="a." + member.name), data) for member, data in content])


def shard_of_two(folder: Path, edit: Callable[[list[Any]], list[Any]]) -> None:
    """Reorder the members of a shard that has two clips; the index still tells their old offsets."""
    counts = read_json(folder / DATASET).shards
    path = folder / next(s.path for s in counts if s.clips == 2)
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in edit(members):
            tar.addfile(member, io.BytesIO(data))
    reseal(folder)


Fault = Callable[[Path], object]
FAULTS: dict[str, tuple[Fault, set[str]]] = {
    # files
    "no dataset.json": (lambda f: (f / DATASET).unlink(), {"dataset"}),
    "dataset.json of another format": (lambda f: text(f / DATASET, '"mlst/1"', '"mlst/9"'), {"dataset"}),
    "dataset.json is not JSON": (lambda f: (f / DATASET).write_text("{"), {"dataset"}),
    "dataset.json nested without end": (lambda f: (f / DATASET).write_text("[" * 10**6), {"dataset"}),
    "null in dataset.json": (lambda f: text(f / DATASET, '"clips": 54', '"clips": null'), {"dataset"}),
    "forged fingerprint": (lambda f: change(f, fingerprint="0" * 64), {"dataset"}),
    "missing shard": (drop_shard, {"missing"}),
    "missing card": (lambda f: (f / CARD).unlink(), {"missing", "card"}),
    "missing index": (lambda f: (f / INDEX).unlink(), {"missing", "index", "count", "place"}),
    "missing lock": (lambda f: (f / LOCK).unlink(), {"missing", "lock", "attribution"}),
    "extra file": (lambda f: (f / "index.json").write_text("[]"), {"stray"}),
    "extra shard": (lambda f: shutil.copy(first_shard(f), f / "data/s0t0/train-00007-of-00009.tar"), {"stray"}),
    "shard is a link": (link_shard, {"missing", "stray"}),
    "folder is a link": (lambda f: (f / "more").symlink_to(f / "data"), {"stray"}),
    "flipped byte in a video": (lambda f: flip(first_shard(f), 1500), {"hash", "place"}),
    "flipped byte in padding": (lambda f: flip(first_shard(f), -1), {"hash", "shard"}),
    "truncated shard": (lambda f: os.truncate(first_shard(f), 3000), {"hash", "shard", "count", "place"}),
    "edited thresholds": (lambda f: text(f / THRESHOLDS, "71.2", "40.0"), {"hash", "level"}),
    "edited thresholds, resealed": (lambda f: (text(f / THRESHOLDS, "71.2", "40.0"), reseal(f)), {"level"}),
    "thresholds are not TOML": (lambda f: ((f / THRESHOLDS).write_text("="), reseal(f)), {"levels"}),
    "recipe is not TOML": (lambda f: ((f / "recipe.toml").write_text("="), reseal(f)), {"recipe"}),
    "edited recipe": (lambda f: text(f / "recipe.toml", "tiny", "tony"), {"hash"}),
    # shards
    "empty shard": (empty_shard, {"shard", "count", "place"}),
    "not a tar": (lambda f: (first_shard(f).write_text("<html>" * 999), reseal(f)), {"shard", "count", "place"}),
    "dot in a key": (dot_in_key, {"shard", "count", "place"}),
    "json before mp4": (lambda f: retar(f, lambda ms: [ms[1], ms[0], *ms[2:]]), {"shard", "count", "place"}),
    "no json": (lambda f: retar(f, lambda ms: [ms[0], *ms[2:]]), {"shard", "count", "place"}),
    "unsorted clips": (lambda f: shard_of_two(f, lambda ms: [*ms[2:4], *ms[:2]]), {"place"}),
    "swapped shards": (swap_shards, {"order"}),
    "mtime": (lambda f: members(f, mtime=1), {"shard", "count", "place"}),
    "owner": (lambda f: members(f, uname="me"), {"shard", "count", "place"}),
    "key twice in a shard": (lambda f: retar(f, lambda ms: [*ms[:2], *ms]), {"shard", "count", "place"}),
    "key twice across shards": (copy_into_next, {"count", "place"}),
    "index by key": (lambda f: rows(f, lambda rs: sorted(rs, key=lambda r: r.info.key)), {"order", "count"}),
    "NaN in the index": (lambda f: rows(f, not_a_number), {"index", "count", "place"}),
    "no fingerprint": (lambda f: row(f, fingerprint="zz"), {"index"}),
    # json
    "null": (lambda f: edit_json(f, lambda j: j.update(title=None)), {"schema"}),
    "int for float": (lambda f: edit_json(f, lambda j: j["statistics"].update(si=50)), {"schema"}),
    "NaN": (lambda f: edit_json(f, lambda j: j["statistics"].update(si=float("nan"))), {"schema"}),
    "string for int": (lambda f: edit_json(f, lambda j: j.update(frames="6")), {"schema"}),
    "bool for int": (lambda f: edit_json(f, lambda j: j.update(s=False)), {"schema"}),
    "extra field": (lambda f: edit_json(f, lambda j: j.update(extra=1)), {"schema"}),
    "missing field": (lambda f: edit_json(f, lambda j: j.pop("channel")), {"schema"}),
    "not JSON": (lambda f: shard(f, lambda s: [replace(s[0], json=b"{"), *s[1:]]), {"schema"}),
    "unsorted JSON": (lambda f: edit_json(f, lambda j: j.update(box=j.pop("box")), {"sort_keys": False}), {"record"}),
    "spaced JSON": (lambda f: edit_json(f, lambda j: None, {"separators": (", ", ": ")}), {"record"}),
    "other title in JSON": (lambda f: edit_json(f, lambda j: j.update(title="x")), {"record"}),
    # videos
    "not a video": (lambda f: video(f, b"\0" * 2000), {"decode"}),
    "broken video": (lambda f: video(f, tiny.mp4(0)[:-300]), {"decode"}),
    "playlist for a video": (lambda f: video(f, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), {"decode"}),
    "too few frames": (lambda f: video(f, tiny.mp4(900, frames=5)), {"decode"}),
    "too many frames": (lambda f: video(f, tiny.mp4(900, frames=7)), {"decode"}),
    "colours that the loader cannot convert": (lambda f: video(f, tiny.mp4(900, matrix="YCgCo")), {"decode"}),
    "wrong size": (lambda f: video(f, tiny.mp4(900, side=48)), {"decode"}),
    # index
    "unreadable index": (lambda f: ((f / INDEX).write_bytes(b"PAR1" * 9), reseal(f)), {"index", "count", "place"}),
    "extra column": (add_column, {"index", "count", "place"}),
    "unsorted index": (lambda f: rows(f, lambda r: [r[1], r[0], *r[2:]]), {"order"}),
    "row too few": (lambda f: rows(f, lambda r: r[1:]), {"count", "place"}),
    "row twice": (lambda f: rows(f, lambda r: [r[0], *r]), {"key", "order", "count"}),
    "wrong offset": (lambda f: row(f, offset=1024), {"place"}),
    "wrong sha256": (lambda f: row(f, sha256="0" * 64), {"place"}),
    "wrong clip size": (lambda f: row(f, size=1), {"place"}),
    "other cell": (lambda f: row(f, shard="data/s2t2/test-00000-of-00001.tar"), {"place", "order", "count"}),
    "shard outside": (lambda f: row(f, shard="../data/s0t0/test-00000-of-00001.tar"), {"place", "count"}),
    "key of another source": (lambda f: row(f, key="other_000000000"), {"key", "place"}),
    "key of another time": (lambda f: row(f, key=info(f).key[:-1] + "7"), {"key", "place"}),
    # rules
    "wrong level": (lambda f: row(f, True, level="s2t0", number=3, s=2), {"level", "place", "count"}),
    "wrong margin": (lambda f: row(f, True, margin_s=1.0), {"level"}),
    "wrong flag": (lambda f: row(f, True, flags=replace(info(f).flags, black=True)), {"level"}),
    "wrong split": (lambda f: row(f, True, split="train"), {"split", "place", "count", "leak"}),
    "wrong group": (lambda f: row(f, True, group="other"), {"split"}),
    "group in two splits": (two_splits, {"split", "leak", "record"}),
    "footage in two splits": (same_footage, {"leak"}),
    "wrong salt": (lambda f: change(f, split_rule=replace(read_json(f / DATASET).split_rule, salt="x")), {"split"}),
    "empty interval": (lambda f: row(f, True, end=info(f).start), {"boundary", "count"}),
    "outside its shot": (lambda f: row(f, True, shot_end=info(f).end_frame - 1), {"boundary"}),
    "outside its file": (lambda f: edit_lock(f, frames=1), {"boundary"}),
    "too long": (lambda f: row(f, True, end_frame=info(f).end_frame + 1), {"boundary"}),
    "other number of frames": (lambda f: row(f, True, frames=5), {"boundary", "count"}),
    "other seconds": (lambda f: row(f, True, start_seconds=9.5), {"boundary"}),
    "outside its span": (lambda f: edit_lock(f, start=Fraction(9)), {"boundary"}),
    "rate of nought": (lambda f: row(f, True, rate=Fraction(0)), {"boundary"}),
    # lock and documents
    "lock is not JSON": (lambda f: ((f / LOCK).write_text("{\n"), reseal(f)), {"lock", "attribution"}),
    "lock without a source": (lambda f: lock(f, lambda ls: ls[1:]), {"lock", "attribution"}),
    "lock with another licence": (lambda f: edit_lock(f, licence="MIT"), {"record", "attribution"}),
    "lock, other counts": (lambda f: lock(f, lambda c: [replace(c[0], chosen=1), *c[1:]]), {"count", "attribution"}),
    "lock, other footage": (lambda f: lock(f, lambda c: [other_packets(c[0]), *c[1:]]), {"lock"}),
    "many frames dropped": (lambda f: edit_lock(f, dropped=9), {"times"}),
    "more frames repaired than there are": (lambda f: edit_lock(f, repaired=10**6), {"times"}),
    "exclusions of a source": (lambda f: exclude(f, next(read_lock(f / LOCK)).source.id), {"exclusions"}),
    "exclusions are not hashes": (lambda f: (exclude(f), (f / EXCLUSIONS).write_text("x"), reseal(f)), {"exclusions"}),
    "counts": (lambda f: change(f, clips=35), {"count"}),
    "cells": (lambda f: change(f, cells=read_json(f / DATASET).cells[1:]), {"count", "card"}),
    "missing configuration": (drop_config, {"card"}),
    "other glob": (lambda f: (text(f / CARD, "data/*/train-*.tar", "data/**"), reseal(f)), {"card"}),
    "other feature": (lambda f: (text(f / CARD, "dtype: float64", "dtype: int64"), reseal(f)), {"card"}),
    "no front matter": (lambda f: ((f / CARD).write_text("# A card\n"), reseal(f)), {"card"}),
    "nobody attributed": (lambda f: ((f / ATTRIBUTION).write_text(""), reseal(f)), {"attribution"}),
}  # fmt: skip


def test_a_sound_dataset_has_no_findings(folder: Path) -> None:
    report = verify(folder, 0)
    assert report.findings == ()
    assert report.ok
    assert (report.clips, report.frames) == (54, 54 * tiny.FRAMES)
    assert report.shards == len(read_json(folder / DATASET).shards) > 24


def test_resealing_alone_breaks_nothing(folder: Path) -> None:
    before = (folder / DATASET).read_bytes()
    reseal(folder)
    assert (folder / DATASET).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_every_seeded_fault_is_caught_by_its_rule(folder: Path, name: str) -> None:
    fault, rules = FAULTS[name]
    fault(folder)
    report = verify(folder, 0)
    assert {finding.rule for finding in report.findings} == rules, report.findings
    assert not report.ok


def test_every_rule_is_tested() -> None:
    assert set().union(*(rules for _, rules in FAULTS.values())) == set(RULES)


def test_exclusions_of_others_are_fine(folder: Path) -> None:
    exclude(folder, "someone_else")
    assert verify(folder, 0).ok


def test_what_a_download_adds_is_ignored(folder: Path) -> None:
    (folder / ".gitattributes").write_text("*.tar filter=lfs\n")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "x.lock").write_text("")
    assert verify(folder, 0).ok


@pytest.mark.slow
def test_same_findings_in_processes(folder: Path) -> None:
    video(folder, b"\0" * 2000)
    assert verify(folder, 2) == verify(folder, 0)


class Deadly(str):
    """The path of a file that kills whoever reads it, as a bug in a decoder does."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return False


@pytest.mark.slow
def test_a_shard_that_kills_its_process_is_a_finding(folder: Path) -> None:
    dataset = read_json(folder / DATASET)
    _, spans = _index(folder, dataset, [])
    tasks = _tasks(folder, str(folder), dataset, spans)[:3]
    tasks[1] = replace(tasks[1], place=Deadly(tasks[1].place))
    before, dead, after = _in_processes(tasks, 1)
    assert [(f.rule, f.path) for f in dead.findings] == [("decode", tasks[1].shard.path)]
    assert before.clips == tasks[0].shard.clips
    assert (after.clips, after.findings) == (tasks[2].shard.clips, ())


def test_findings_name_shard_and_clip(folder: Path) -> None:
    video(folder, tiny.mp4(900, frames=5))
    (finding,) = verify(folder, 0).findings
    first = next(read_index(folder / INDEX))
    assert (finding.path, finding.key) == (first.shard, first.info.key)
    assert "5 frames, 6 declared" in finding.detail


def test_flags_are_those_of_the_registry() -> None:
    assert set(fields_of(Flags)) == set(flag)
