"""The one way from a name that a dataset gives to a file of it, for reading and for writing.

A dataset may be anybody's. A name in it is taken where it is relative and plain; a file where it lies inside, behind
no link, and is a regular file, so that nothing outside is read or written and no pipe is waited for.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

LONGEST = 1024
"""Characters of a name."""
HUB_LINK = re.compile(r"(\.\./)+blobs/[0-9a-f]{40,64}")
"""What a file of a snapshot in the Hub's cache links to."""


class UnsafeName(ValueError):
    """A name that is no plain file of its dataset; the text names it and says why."""


def plain(name: str) -> str:
    """`name`, where it is the relative path of a file, with `/`, in the one spelling it has. Raises `UnsafeName`."""
    odd = not name.isprintable() or "\\" in name or len(name) > LONGEST
    if odd or any(part in ("", ".", "..") for part in name.split("/")):
        raise UnsafeName(f"{name[:200]!a} is not the plain relative path of a file")
    return name


def file_in(folder: Path, name: str) -> Path:
    """The regular file `name` of the dataset in `folder`. Raises `UnsafeName`, or FileNotFoundError."""
    path = _real_folders(folder, name)
    if not stat.S_ISREG(path.lstat().st_mode) and not of_hub_cache(path):
        raise UnsafeName(f"{name!r} is {_kind(path)}, not a regular file")
    return path


def place_in(folder: Path, name: str) -> Path:
    """Where the file `name` may be written in `folder`: there is a regular file, or nothing. Raises `UnsafeName`."""
    path = _real_folders(folder, name)
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise UnsafeName(f"{name!r} is {_kind(path)}, not a regular file; nothing is written there")
    return path


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Raise `UnsafeName` for the first of the names that is there and no regular file inside; one may be missing."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            file_in(folder, name)


def opened(path: Path) -> BufferedReader:
    """A regular file, open for reading: no link is followed but the Hub's cache's own, and no pipe waited for.

    Raises `UnsafeName`, or OSError where it cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags if of_hub_cache(path) else flags | os.O_NOFOLLOW)
    except OSError as why:
        if why.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise UnsafeName(f"{path.name!r} is {_kind(path)}, not a regular file") from None
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise UnsafeName(f"{path.name!r} is {_kind(path)}, not a regular file")
    return file


def content(path: Path, most: int) -> bytes:
    """A whole file, opened as `opened` does. Raises `UnsafeName` where it has more than `most` bytes."""
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UnsafeName(f"{path.name!r} has more than {most} bytes")
    return data


def regular_files(place: Path) -> dict[str, Path]:
    """The regular files of a folder by their names in it, sorted, or the file `place` alone. Pipes and devices
    are left out, and so are links that lead outside."""
    base = place.parent if place.is_file() else place
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(base).as_posix(): path for path in files if path == place or not leads_out(path, place)}


def leads_out(path: Path, place: Path) -> bool:
    """Whether a path is a link to somewhere outside of a place; links to files of the Hub's cache are of it."""
    if not path.is_symlink() or of_hub_cache(path):
        return False
    real = Path(os.path.realpath(path))  # `resolve` raises for links in a circle
    return not real.is_relative_to(os.path.realpath(place))


def _real_folders(folder: Path, name: str) -> Path:
    """The path of `name`, all folders on whose way are folders and no links, as far as they exist."""
    path = folder
    for part in plain(name).split("/")[:-1]:
        path = path / part
        if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
            raise UnsafeName(f"{name!r} leads through {part!r}, which is {_kind(path)}, not a folder")
    return folder / name


def of_hub_cache(path: Path) -> bool:
    """Whether a path is a link as `huggingface_hub` keeps files: `snapshots/COMMIT/NAME` to `blobs/HASH` above."""
    if "snapshots" not in path.parts or not path.is_symlink():
        return False
    at = len(path.parts) - 1 - path.parts[::-1].index("snapshots")
    target = os.readlink(path)
    blobs = Path(*path.parts[:at], "blobs")
    return HUB_LINK.fullmatch(target) is not None and Path(os.path.normpath(path.parent / target)).parent == blobs


def _kind(path: Path) -> str:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISREG, "a file"))
    mode = path.lstat().st_mode
    return next((word for test, word in kinds if test(mode)), "a device or socket")
