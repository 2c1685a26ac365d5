"""The one way in which files are written: whole or not at all, also when the power goes."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PART = ".part"
"""Ending of what is not finished; such names begin with a dot. Some have another ending behind it, which a library
wants to see."""
UNFINISHED = re.compile(r"\..+\.part(\.\w+)?")
"""Names of it."""
UNSYNCED = (errno.EINVAL, errno.ENOTSUP)
"""What `fsync` says on file systems that do not know it."""
FICLONE = 0x40049409
"""ioctl of Linux: let a file share the blocks of another."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends; after any error it is removed instead.

    Until then it is a hidden neighbour of `path` with a name of its own, so that two writers do not meet.
    """
    with _neighbour(path, PART) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "wb") as file:
            yield file


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """As `atomic`, for libraries that open files themselves: gives the neighbour's path, which has `path`'s suffix."""
    with _neighbour(path, PART + path.suffix) as temporary:
        yield temporary


def write(path: Path, content: str) -> None:
    """Write a text file (UTF-8), whole or not at all."""
    with atomic(path) as file:
        file.write(content.encode())


def move(finished: Path, path: Path) -> None:
    """Put a file that is written in the place of `path`, in the same file system, and make both outlive the power."""
    with os.fdopen(os.open(finished, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        sync(file.fileno())
    os.replace(finished, path)
    sync_folder(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` without a second copy on the disk, where the file system can.

    Best is a clone (FICLONE: Btrfs, XFS, bcachefs), which shares blocks until one of the two is written to; then a
    hard link, which is one file under two names; then a copy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    with contextlib.suppress(OSError), source.open("rb") as data, atomic(target) as file:
        fcntl.ioctl(file.fileno(), FICLONE, data.fileno())
        return
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as data, atomic(target) as file:
            shutil.copyfileobj(data, file, 1 << 20)


@contextlib.contextmanager
def _neighbour(path: Path, suffix: str) -> Iterator[Path]:
    """An empty file beside `path` that is moved there, or removed after an error. It was not there before and is
    reached through no link (O_EXCL). Its mode, 0644 less the user's umask, is not changed afterwards: confined
    processes may not. It is locked, so that `clean` can tell it from one whose writer was killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
        move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def open_lock(path: Path) -> BinaryIO:
    """Open the file of a lock, made where there is none; its bytes stay. A link that somebody put in its place is not
    followed: OSError."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+b", buffering=0)


def sync(handle: int) -> None:
    """Make an open file or folder outlive the power, where the file system can. A disk that fails is an error."""
    try:
        os.fsync(handle)
    except OSError as why:
        if why.errno not in UNSYNCED:
            raise


def clean(folder: Path) -> None:
    """Remove what writers that were killed left right in `folder`; what is being written stays."""
    for path in folder.glob(f".*{PART}*"):
        if UNFINISHED.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with path.open("rb") as file, contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def remove_tree(folder: Path) -> None:
    """Remove a folder with all below it, as far as that can be done: also folders without rights, such as a worker
    that was taken over may make, and into which nobody but root can look."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.islink(folder) or not os.path.isdir(folder):
        return
    with contextlib.suppress(OSError):  # somebody else's, or gone
        folder.chmod(0o700)
        for top, names, _ in os.walk(folder):
            for path in (Path(top, name) for name in names):
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive the power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(handle)
    finally:
        os.close(handle)
