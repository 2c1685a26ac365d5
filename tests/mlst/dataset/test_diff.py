"""What `mlst diff` says of two datasets that differ in known ways."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mlst.dataset.description import INDEX, LOCK, RECIPE
from mlst.dataset.diff import CellChange, Change, DiffError, Moved, Placed, Setting, diff
from mlst.dataset.index import read_index, write_index
from mlst.dataset.lock import read_lock, write_lock
from tests import tiny


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))


def edit(folder: Path, change) -> None:  # type: ignore[no-untyped-def]
    rows = change(list(read_index(folder / INDEX)))
    with (folder / INDEX).open("wb") as file:
        write_index(file, rows)


def test_a_copy_is_equal(copy: Path) -> None:
    found = diff(tiny.built(), copy)
    assert found.equal
    assert found.same_bytes
    assert sum(cell.before for cell in found.cells) == sum(cell.after for cell in found.cells) == 54


def test_clips_that_came_went_moved_and_changed(copy: Path) -> None:
    rows = list(read_index(copy / INDEX))
    (level, split), _ = Counter((row.info.level, row.info.split) for row in rows).most_common(1)[0]
    first, second, third, *_ = [row for row in rows if (row.info.level, row.info.split) == (level, split)]
    fourth = next(row for row in rows if row.info.split != split)
    other = {
        first: replace(first, info=replace(first.info, key="new_000000000")),
        second: replace(second, sha256="0" * 64),
        third: replace(third, info=replace(third.info, title="Other", channel="Other")),
        fourth: replace(fourth, info=replace(fourth.info, split=split, level="s2t2")),
    }
    edit(copy, lambda rows: [other.get(row, row) for row in rows])
    found = diff(tiny.built(), copy)
    assert not found.equal
    assert found.added == (Placed("new_000000000", level, split),)
    assert found.removed == (Placed(first.info.key, level, split),)
    assert found.changed == (Placed(second.info.key, second.info.level, second.info.split),)
    where = f"{fourth.info.level}/{fourth.info.split}"
    assert found.moved == (Moved(fourth.info.key, where, f"s2t2/{split}"),)
    assert set(found.described) == {Change("title", 1), Change("channel", 1)}
    cells = {(cell.level, cell.split): cell for cell in found.cells}
    assert cells["s2t2", split].arrived == 1
    assert cells[fourth.info.level, fourth.info.split].left == 1
    assert cells[level, split] == CellChange(
        level, split, cells[level, split].before, cells[level, split].after, 1, 1, 1, 0, 0
    )
    for cell in found.cells:
        assert cell.after == cell.before + cell.added - cell.removed + cell.arrived - cell.left


def test_backwards_it_says_the_opposite(copy: Path) -> None:
    edit(copy, lambda rows: rows[1:])
    there, back = diff(tiny.built(), copy), diff(copy, tiny.built())
    assert there.removed == back.added != ()
    assert there.added == back.removed == ()


def test_sources_and_settings(copy: Path) -> None:
    rows = list(read_lock(copy / LOCK))
    rows[0] = replace(rows[0], probe=replace(rows[0].probe, packets_sha256="0" * 64))
    (copy / LOCK).write_bytes(b"".join(write_lock([rows[0], *rows[2:]])))
    (copy / RECIPE).write_text((copy / RECIPE).read_text().replace("size = 32", "size = 64"))
    found = diff(tiny.built(), copy)
    assert found.sources_changed == (rows[0].source.id,)
    assert found.sources_removed == (rows[1].source.id,)
    assert found.settings == (Setting("recipe.scan.size", "32", "64"),)


def test_folders_that_are_no_dataset(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DiffError, match="not a readable dataset"):
        diff(copy, tmp_path / "absent")
    (copy / INDEX).write_bytes(b"PAR1")
    with pytest.raises(DiffError, match="not a sound Parquet file"):
        diff(tiny.built(), copy)
