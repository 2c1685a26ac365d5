import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from collection.engine.stage import FAILED, attempt
from collection.pack.stage import PackStage, ShardPlan, plan_shards
from collection.recipe import PackSettings
from collection.select import select
from collection.workspace.folder import Workspace
from mlst.checking.verify import verify
from mlst.dataset.description import CARD, DATASET, INDEX, LOCK, read_json
from mlst.dataset.index import read_index
from mlst.dataset.lock import read_lock
from mlst.dataset.shards import open_shard
from mlst.levels.splits import order_hash
from mlst.records import decode, encode
from tests import tiny


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink()
    }


@pytest.fixture
def made(tmp_path: Path) -> tiny.Material:
    return tiny.material(tmp_path / "work")


def plans(made: tiny.Material, size: int) -> list[ShardPlan]:
    selection = select(list(made.scans.values()), made.sources, tiny.P910, tiny.recipe_of(tiny.RECIPE).select)
    settings = PackSettings().model_copy(update={"shard_bytes": size})
    with plan_shards(selection.chosen, tiny.seen(made), made.sources, settings) as planned:
        found = list(planned)
        assert (len(planned), list(planned)) == (len(found), found)
    return found


@pytest.mark.parametrize("size", [1, 20480, 30720, 1 << 20])
def test_planned_shards_keep_the_size(made: tiny.Material, tmp_path: Path, size: int) -> None:
    planned = plans(made, size)
    assert sum(len(plan.pieces) for plan in planned) == 54
    assert [plan.path for plan in planned] == sorted(plan.path for plan in planned)
    work = Workspace(tmp_path / "work", "pack-0000")
    for plan in planned:
        packed = attempt(PackStage(), plan, work).outputs[0]
        assert packed.shard.size == work.path(packed.file).stat().st_size
        assert packed.shard.size <= size or len(plan.pieces) == 1
        keys = [order_hash(piece.key) for piece in plan.pieces]
        assert keys == sorted(keys)
        assert keys


def test_same_bytes_anywhere(made: tiny.Material, tmp_path: Path) -> None:
    """Another folder, another order of the sources, and twice into the same folder."""
    tiny.build(tmp_path / "work", tmp_path / "one", made)
    first = files(tmp_path / "one")
    backwards = tiny.Material(*(dict(reversed(part.items())) for part in (made.sources, made.videos, made.scans)))
    os.rename(tmp_path / "work", tmp_path / "moved")
    tiny.build(tmp_path / "moved", tmp_path / "deep" / "two", backwards)
    assert files(tmp_path / "deep" / "two") == first
    tiny.build(tmp_path / "moved", tmp_path / "one", made)
    assert files(tmp_path / "one") == first
    assert not any(str(tmp_path).encode() in data for data in first.values())


def test_index_finds_every_clip(made: tiny.Material, tmp_path: Path) -> None:
    dataset = tiny.build(tmp_path / "work", tmp_path / "out", made)
    rows = list(read_index(tmp_path / "out" / INDEX))
    assert len(rows) == dataset.clips == 54
    clips = {clip.key: clip for scan in made.scans.values() for clip in scan.clips}
    for row in rows:
        clip = clips[row.info.key]
        bytes_of_scan = (tmp_path / "work" / made.scans[clip.source].file).read_bytes()
        shard = (tmp_path / "out" / row.shard).read_bytes()
        assert shard[row.offset : row.offset + row.size] == bytes_of_scan[clip.offset : clip.offset + clip.size]
        assert row.info.statistics == clip.statistics
        assert row.info.end - row.info.start == clip.frames / made.scans[clip.source].stream.rate
    in_shards = [s.key for shard in dataset.shards for s, _ in open_shard(tmp_path / "out" / shard.path)]
    assert in_shards == [row.info.key for row in rows]


def test_lock_has_every_scanned_source(made: tiny.Material, tmp_path: Path) -> None:
    tiny.build(tmp_path / "work", tmp_path / "out", made, tiny.RECIPE + "quota = 2\n")
    rows = list(read_lock(tmp_path / "out" / LOCK))
    assert [row.source.id for row in rows] == sorted(made.sources)
    assert {row.candidates for row in rows} == {3}
    assert sum(row.chosen for row in rows) == read_json(tmp_path / "out" / DATASET).clips < 54
    for row in rows:
        assert row.probe.packets_sha256 == made.videos[row.source.id].probe.packets_sha256
        assert row.source == made.sources[row.source.id]
    assert verify(tmp_path / "out", 0).ok


def test_changed_bytes_of_a_scan_are_found(made: tiny.Material, tmp_path: Path) -> None:
    plan = plans(made, 1 << 20)[0]
    path = tmp_path / "work" / plan.pieces[-1].file
    data = bytearray(path.read_bytes())
    data[plan.pieces[-1].offset + 5] ^= 1
    path.write_bytes(data)
    outcome = attempt(PackStage(), plan, Workspace(tmp_path / "work", "pack-0000"))
    assert (outcome.status, outcome.kind) == (FAILED, "damaged")
    assert path.name in outcome.detail
    assert plan.pieces[-1].key in outcome.detail
    assert list((tmp_path / "work" / "pack-0000").iterdir()) == []


def test_every_file_of_a_packed_shard_is_one_of_its_parts(made: tiny.Material, tmp_path: Path) -> None:
    """What a part does not name is not missed when it is lost."""
    work = Workspace(tmp_path / "work", "pack-0000")
    (packed,) = attempt(PackStage(), plans(made, 1 << 20)[0], work).outputs
    assert sorted(part.file for part in packed.parts) == work.names("pack-0000")
    for part in packed.parts:
        data = work.path(part.file).read_bytes()
        assert (part.offset, part.size, part.sha256) == (0, len(data), hashlib.sha256(data).hexdigest())


def test_key_of_a_plan_changes_with_its_content(made: tiny.Material) -> None:
    plan = plans(made, 1 << 20)[0]
    piece = plan.pieces[0]
    changed = [
        replace(plan, pieces=plan.pieces[:-1]) if len(plan.pieces) > 1 else replace(plan, split="other"),
        replace(plan, pieces=(replace(piece, sha256="0" * 64), *plan.pieces[1:])),
        replace(plan, pieces=(replace(piece, json=piece.json.replace("Title", "Titles")), *plan.pieces[1:])),
    ]
    assert len({PackStage().key(p) for p in (plan, *changed)}) == 1 + len(changed)
    assert decode(ShardPlan, encode(plan)) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301


def test_rebuild_removes_only_its_own_stale_files(made: tiny.Material, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = tiny.build(tmp_path / "work", out, made)
    (out / "notes.txt").write_text("mine")
    (out / "data" / "s0t0" / "mine.tar").write_text("mine")
    outside = tmp_path / "precious.txt"
    outside.write_text("keep")
    (out / "linked").symlink_to(tmp_path)
    text = (out / DATASET).read_text()
    (out / DATASET).write_text(text.replace('"path": "recipe.toml"', '"path": "linked/precious.txt"'))
    few = dict(list(made.sources.items())[:4])
    less = tiny.Material(few, {n: made.videos[n] for n in few}, {n: made.scans[n] for n in few})
    after = tiny.build(tmp_path / "work", out, less)
    assert outside.read_text() == "keep"
    stale = {f.path for f in before.files} - {f.path for f in after.files}
    assert "data/s1t0/test-00000-of-00002.tar" in stale
    assert set(files(out)) == {f.path for f in after.files} | {DATASET, "notes.txt", "data/s0t0/mine.tar"}
    (out / "linked").unlink()
    assert {f.rule for f in verify(out, 0).findings} == {"stray"}


def test_shards_are_shared_with_the_workspace_not_copied(made: tiny.Material, tmp_path: Path) -> None:
    dataset = tiny.build(tmp_path / "work", tmp_path / "out", made)
    assert {(tmp_path / "out" / shard.path).stat().st_nlink for shard in dataset.shards} == {2}


def test_a_copy_is_made_where_links_do_not_work(
    made: tiny.Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    tiny.build(tmp_path / "work", tmp_path / "out", made)
    assert verify(tmp_path / "out", 0).ok


def test_a_failed_build_leaves_the_old_description(made: tiny.Material, tmp_path: Path) -> None:
    before = tiny.build(tmp_path / "work", tmp_path / "out", made)
    odd = {name: replace(row, title="another") for name, row in made.sources.items()}
    (tmp_path / "out" / CARD).unlink()
    (tmp_path / "out" / CARD).mkdir()
    with pytest.raises(IsADirectoryError):
        tiny.build(tmp_path / "work", tmp_path / "out", replace(made, sources=odd))
    assert read_json(tmp_path / "out" / DATASET) == before


def test_no_clips_at_all(made: tiny.Material, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip was chosen"):
        tiny.build(tmp_path / "work", tmp_path / "out", tiny.Material({}, {}, {}))
    assert not (tmp_path / "out").exists()
