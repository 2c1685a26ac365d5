"""One dataset in the place of another: killed at any point, the old one or the new one is there."""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from collection.pack import assemble, exchange
from collection.pack.exchange import prepared
from mlst.dataset.description import DATASET
from tests import tiny
from tests.collection.pack.test_stage import files

WRITING = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree")


FAR = 7
"""Of the changes of the disk that do not touch the place of the dataset, every so many is tried: they are alike."""


def changes(call: Callable[[], object], out: Path, number: int) -> list[bool]:
    """Let a fork do something, and kill it before its n-th change of the disk, or never for -1.

    Tells of each change whether it touched `out`; all of them, if it was not killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        steps = itertools.count()

        def look(event: str, values: tuple[object, ...]) -> None:
            writes = event in WRITING or (event == "open" and isinstance(values[2], int) and values[2] & os.O_ACCMODE)
            if writes:
                if next(steps) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                near = any(Path(os.fspath(v)).is_relative_to(out) for v in values if isinstance(v, str | os.PathLike))
                os.write(writing, bytes([near]))

        sys.addaudithook(look)
        call()
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        made = [bool(near) for near in pipe.read()]
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (0 if number < 0 else -signal.SIGKILL)
    return made


@pytest.fixture
def made(tmp_path: Path) -> tiny.Material:
    return tiny.material(tmp_path / "work", 4)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["at once", "one by one"])
def test_killed_anywhere_it_is_the_old_one_or_the_new_one(
    made: tiny.Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way != "at once":
        monkeypatch.setattr(assemble, "exchange", lambda *_: False)
    few = dict(list(made.sources.items())[:2])
    less = tiny.Material(few, {n: made.videos[n] for n in few}, {n: made.scans[n] for n in few})
    work, out, seen = tmp_path / "work", tmp_path / "place" / "out", set[str]()
    tiny.build(work, tmp_path / "new", less)
    tiny.build(work, tmp_path / "old", made)
    (tmp_path / "old" / "notes.txt").write_text("mine")
    (tmp_path / "new" / "notes.txt").write_text("mine")
    old, new = files(tmp_path / "old"), files(tmp_path / "new")
    tiny.build(work, out, less)  # what it leaves in the workspace is there each time
    shutil.rmtree(out)
    shutil.copytree(tmp_path / "old", out)
    every = changes(lambda: tiny.build(work, out, less), out, -1)
    assert files(out) == new
    for number in (n for n, near in enumerate(every) if near or n % FAR == 0):
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "old", out)
        changes(lambda: tiny.build(work, out, less), out, number)
        now = {name: data for name, data in files(out).items() if not name.startswith(".cache")}
        found = "old" if now == old else "new" if now == new else "none" if DATASET not in now else "a mixture"
        seen.add(found)
        assert found != "a mixture", number
        assert now["notes.txt"] == b"mine"
        tiny.build(work, out, less)
        assert files(out) == new, number
        assert os.listdir(out.parent) == ["out"], number
    assert len(every) > 100
    assert sum(every) > (5 if way == "at once" else 20)
    assert seen == ({"old", "new"} if way == "at once" else {"old", "new", "none"})


def test_what_is_not_the_datasets_is_carried_over(made: tiny.Material, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tiny.build(tmp_path / "work", out, made)
    (out / ".git" / "refs").mkdir(parents=True)
    (out / ".git" / "HEAD").write_text("ref")
    (out / "empty").mkdir(mode=0o700)
    (out / "away").symlink_to(tmp_path / "nowhere")
    (out / "inside").symlink_to("data")
    before = {path: path.lstat().st_ino for path in (out / ".git" / "HEAD", out / "away", out / "inside")}
    few = dict(list(made.sources.items())[:2])
    number = out.stat().st_ino
    tiny.build(
        tmp_path / "work", out, tiny.Material(few, {n: made.videos[n] for n in few}, {n: made.scans[n] for n in few})
    )
    assert out.stat().st_ino != number
    assert {path: path.lstat().st_ino for path in before} == before
    assert (out / "empty").stat().st_mode & 0o777 == 0o700
    assert (out / ".git" / "refs").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"]


def test_a_file_that_appears_just_before_the_exchange_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(tiny.built(), out)
    with prepared(out) as folder:
        shutil.copytree(tiny.built(), folder, dirs_exist_ok=True)
        (out / "deep").mkdir()
        real = exchange._carry

        def late(*places: object) -> None:
            real(*places)  # type: ignore[arg-type]
            (out / "deep" / "late.txt").write_text("mine")

        exchange._carry = late
        try:
            assert exchange.exchange(folder, out, {name for name in files(out) if name != "deep/late.txt"})
        finally:
            exchange._carry = real
        assert not (out / "deep" / "late.txt").exists()
    assert (out / "deep" / "late.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_somebody_stands_in_stays(
    made: tiny.Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    tiny.build(tmp_path / "work", out, made)
    monkeypatch.chdir(out)
    few = dict(list(made.sources.items())[:2])
    less = tiny.Material(few, {n: made.videos[n] for n in few}, {n: made.scans[n] for n in few})
    tiny.build(tmp_path / "work", Path(), less)
    assert Path.cwd() == out
    there = files(out)
    tiny.build(tmp_path / "work", tmp_path / "other", less)
    assert there == files(tmp_path / "other")
