"""Files beside a manifest: which one a row names, and why it cannot be used."""

import errno
from pathlib import Path, PurePosixPath

from collection.engine.stage import Rejected, Retry


def local_file(url: str, folder: Path) -> Path:
    """The plain, readable file that a row's `url` names, relative to the manifest's `folder`.

    Raises `Rejected` (`not_allowed`, `gone.missing`, `unsupported`) where its place or form rules it out, and
    `Retry("unreadable")` where the system does not let us read it, which the user can mend. Both name the file.
    """
    name = PurePosixPath(url)
    if name.is_absolute() or ".." in name.parts:
        raise Rejected("not_allowed", f"{url!r} is outside the manifest's folder")
    path = folder / name
    try:
        _check(url, path, folder)
        with path.open("rb") as file:
            file.read(1)
    except OSError as why:
        raise _unusable(url, why) from None
    return path


def _check(url: str, path: Path, folder: Path) -> None:
    if path.is_dir():
        raise Rejected("unsupported", f"{url!r} is a folder")
    if not path.exists():
        raise Rejected("gone.missing", f"{url!r}: no such file beside the manifest")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise Rejected("not_allowed", f"{url!r} is linked to a place outside the manifest's folder")
    if not path.is_file():
        raise Rejected("unsupported", f"{url!r} is not a regular file")


def _unusable(url: str, why: OSError) -> Rejected | Retry:
    if why.errno == errno.ENAMETOOLONG:
        longest = max(len(part.encode()) for part in PurePosixPath(url).parts)
        return Rejected("unsupported", f"{url!r}: {why.strerror}, {longest} bytes; rename the file, 255 bytes will do")
    if why.errno in (errno.ENOENT, errno.ENOTDIR):
        return Rejected("gone.missing", f"{url!r}: no such file beside the manifest")
    return Retry("unreadable", f"{url!r} beside the manifest cannot be read: {why.strerror}")
