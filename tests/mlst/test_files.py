"""Files appear whole or not at all, at their place and nowhere else."""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from mlst.files import atomic, clean, move, remove_tree, whole, write


def fail(path: Path) -> None:
    with atomic(path) as file:
        file.write(b"half")
        raise OSError(28, "disk full")


def fail_by_path(path: Path) -> None:
    with whole(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "disk full")


@pytest.mark.parametrize("broken", [fail, fail_by_path])
def test_after_an_error_all_is_as_before(tmp_path: Path, broken: object) -> None:
    assert callable(broken)
    with pytest.raises(OSError, match="full"):
        broken(tmp_path / "new" / "a.txt")
    assert list((tmp_path / "new").iterdir()) == []
    write(tmp_path / "a.txt", "old")
    with pytest.raises(OSError, match="full"):
        broken(tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_nothing_is_there_until_all_is(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic(path) as file:
        file.write(b"new")
        assert not path.exists()
    with whole(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.unlink()
        temporary.write_text("by a library that makes its own file")
        assert path.read_text() == "new"
    assert path.read_text().startswith("by a library")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a").symlink_to("precious")
    write(tmp_path / "a", "new")
    assert not (tmp_path / "a").is_symlink()
    with pytest.raises(OSError), whole(tmp_path / "b") as temporary:  # noqa: PT011, PT012, ELOOP or EMLINK
        temporary.unlink()
        temporary.symlink_to("precious")
    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "precious"]


def test_writers_at_once_leave_the_file_of_one(tmp_path: Path) -> None:
    def writer(letter: str) -> None:
        for _ in range(20):
            write(tmp_path / "a", letter * 100_000)

    threads = [threading.Thread(target=writer, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in {letter * 100_000 for letter in "abc"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_file_and_folder_are_synced_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, real = [], os.fsync

    def fsync(handle: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{handle}").rpartition("/")[2], (tmp_path / "b").exists()))
        real(handle)

    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(os, "fsync", fsync)
    move(tmp_path / "a", tmp_path / "b")
    assert synced == [("a", False), (tmp_path.name, True)]


HALF = """
import os, signal, sys
from pathlib import Path
from mlst.files import atomic, whole
place = Path(sys.argv[1])
with atomic(place / "a.json"), whole(place / "b.safetensors"), whole(place / "no_suffix"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".hidden", "b.part", ".partition.txt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".c.part").symlink_to("b.part")
    (tmp_path / ".d.part").mkdir()
    mine = {path.name for path in tmp_path.iterdir()}
    subprocess.run([sys.executable, "-c", HALF, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == len(mine) + 3
    with atomic(tmp_path / "e") as file:
        clean(tmp_path)
        file.write(b"still being written")
    assert {path.name for path in tmp_path.iterdir()} == mine | {"e"}


@pytest.mark.parametrize(("number", "fatal"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_without_fsync_is_used_and_a_broken_disk_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fatal: bool
) -> None:
    def fsync(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    write(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError) if fatal else contextlib.nullcontext():  # noqa: PT011
        write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == ("old" if fatal else "new")
    assert len(list(tmp_path.iterdir())) == 1


def test_folders_without_rights_are_removed() -> None:
    """As somebody who is not root, whom rights do not bind."""
    root, nobody = os.geteuid() == 0, 65534
    with tempfile.TemporaryDirectory() as name:  # one that others reach, unlike pytest's
        shut = Path(name, "left", "a", "shut")
        shut.mkdir(parents=True)
        (shut / "video").write_bytes(b"much")
        shut.chmod(0)
        shut.parent.parent.chmod(0o500)
        for path in (Path(name), *Path(name).rglob("*")) if root else ():
            os.chown(path, nobody, nobody)
        try:
            os.seteuid(nobody if root else os.geteuid())
            remove_tree(Path(name, "left"))
            remove_tree(Path(name, "left"))
            assert not os.listdir(name)
        finally:
            os.seteuid(0 if root else os.geteuid())
