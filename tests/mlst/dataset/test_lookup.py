import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlst.checking import verify
from mlst.checking.rules import index_rules
from mlst.dataset import index, lookup
from mlst.dataset.description import DATASET, INDEX, LOCK, THRESHOLDS, read_json
from mlst.dataset.index import read_index, write_index
from mlst.dataset.lock import LockRow, read_lock, write_lock
from mlst.dataset.lookup import Index, Lock
from mlst.pictures import fingerprints
from tests import tiny


def lock_rows(*names: str) -> list[LockRow]:
    row = next(read_lock(tiny.built() / LOCK))
    return [replace(row, source=replace(row.source, id=name)) for name in names]


def lock(*rows: LockRow) -> Lock:
    return Lock(io.BytesIO(b"".join(write_lock(rows))), "a.lock")


def test_spans_of_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sizes of row groups and of what is unpacked at a time."""
    rows = list(read_index(tiny.built() / INDEX))
    for group, unpacked in ((1, 1), (7, 3), (7, 100), (100, 5)):
        monkeypatch.setattr(index, "ROW_GROUP", group)
        monkeypatch.setattr(index, "UNPACKED", unpacked)
        with (tmp_path / "index").open("wb") as file:
            write_index(file, rows)
        assert list(read_index(tmp_path / "index")) == rows
        for span in (range(1), range(5, 30), range(7, 14), range(53, 99), range(0), range(60, 70), range(30, 20)):
            assert list(read_index(tmp_path / "index", span)) == rows[span.start : max(span.start, span.stop)]


def test_an_index_can_be_gone_through_again() -> None:
    rows = Index(tiny.built() / INDEX)
    assert list(rows) == list(rows) == list(read_index(tiny.built() / INDEX))


def test_sources_are_found_in_a_lock() -> None:
    rows = lock_rows("a", "b", "zz", "ü")
    found = lock(*rows)
    assert (len(found), found.in_order, list(found)) == (4, True, rows)
    assert [found.find(row.source.id) for row in rows] == list(enumerate(rows))
    for name in ("c", "zzz"):
        with pytest.raises(KeyError, match=name):
            found.find(name)


def test_a_lock_in_disorder() -> None:
    unsorted, twice = lock(*lock_rows("b", "a", "c")), lock(*lock_rows("a", "a"))
    assert not unsorted.in_order
    assert not twice.in_order
    assert [unsorted.find(name)[0] for name in "abc"] == [1, 0, 2]
    assert twice.find("a")[0] == 0


def test_an_empty_lock() -> None:
    assert (len(lock()), list(lock()), lock().in_order) == (0, [], True)
    with pytest.raises(KeyError):
        lock().find("a")


def test_a_lock_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match=r"a\.lock:2: not JSON"):
        Lock(io.BytesIO(next(write_lock(lock_rows("a"))) + b"{\n"), "a.lock")


def test_names_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "hash", lambda _: 0, raising=False)
    monkeypatch.setattr("mlst.checking.rules.hash", lambda it: it if isinstance(it, int) else len(it), raising=False)
    found = lock(*lock_rows("a", "b"))
    assert found.find("b")[0] == 1
    with pytest.raises(KeyError):
        found.find("c")
    assert list(index_rules(Index(tiny.built() / INDEX))) == []


def peak(work: Callable[[], object]) -> int:
    """The most bytes that objects took at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_what_a_row_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes and places, where a decoded row with its source takes 9 kB."""
    monkeypatch.setattr(index, "UNPACKED", 50)
    monkeypatch.setattr(fingerprints, "CHUNK", 200)
    description, row = read_json(tiny.built() / DATASET), next(read_index(tiny.built() / INDEX))
    (tmp_path / "metadata").mkdir()
    (tmp_path / THRESHOLDS).write_bytes((tiny.built() / THRESHOLDS).read_bytes())

    def tables(count: int) -> int:
        names = [f"source{number:06d}" for number in range(count)]
        rows = (
            replace(row, info=replace(row.info, key=f"{name}_000000000", source=name), fingerprint=tiny.fingerprint(n))
            for n, name in enumerate(names)
        )
        with (tmp_path / INDEX).open("wb") as file:
            write_index(file, rows)
        (tmp_path / LOCK).write_bytes(b"".join(write_lock(lock_rows(*names))))

        def work() -> None:
            findings: list[verify.Finding] = []
            index, _ = verify._index(tmp_path, description, findings)
            with verify._lock(tmp_path, findings) as found:
                rules = {one.rule for one in verify._tables(tmp_path, description, index, found)}
            assert findings == []
            assert {"count", "order"} <= rules
            assert "lock" not in rules

        return peak(work)

    few, many = tables(200), tables(800)
    assert (many - few) / 600 < 300
