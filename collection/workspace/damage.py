"""Files of a workspace that are not what was written there. They are mended, or removed to be made again."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator

from collection.workspace.folder import Span, Workspace
from mlst.files import atomic
from mlst.records import Part

PIECE = 1 << 20
"""Bytes that are read and hashed at a time."""


def parts(outputs: Iterable[object]) -> Iterator[Part]:
    """What outputs of a stage hold in files, by their property `parts`; a record without one has no file."""
    return (part for output in outputs for part in getattr(output, "parts", ()))


def remove_damaged(work: Workspace, expected: Iterable[Part], copy: Callable[[Part], bytes]) -> frozenset[str]:
    """Read all of `expected`, and remove the files in which bytes are missing or others, but for those that `copy`
    mends: it gives the bytes of a part as they are elsewhere, right or not. Gives the names of both.

    A file that the system cannot read (EIO) is damaged; a store that cannot be reached raises `StoreError`.
    """
    damaged, gone = set[str](), set[str]()
    for part in expected:
        if part.file not in gone and not _holds(work, part):
            damaged.add(part.file)
            if not _mended(work, part, copy(part)):
                work.remove(part.file)
                gone.add(part.file)
    return frozenset(damaged)


def _mended(work: Workspace, part: Part, data: bytes) -> bool:
    """Whether `data` is the part, and is in its place now."""
    if hashlib.sha256(data).hexdigest() != part.sha256 or work.size(part.file) < 0:
        return False
    path = work.path(part.file)
    with contextlib.suppress(OSError):
        with path.open("rb") as before, atomic(path) as file:
            shutil.copyfileobj(before, file, PIECE)
            file.seek(part.offset)
            file.write(data)
        work.sync(part.file)
        return True
    return False


def _holds(work: Workspace, part: Part) -> bool:
    if work.size(part.file) < part.offset + part.size:
        return False
    folder = work.spans([Span(part.file, part.offset, part.size)])
    total, left = hashlib.sha256(), part.size
    try:
        with (folder / part.file).open("rb") as file:
            file.seek(part.offset)
            while data := file.read(min(left, PIECE)):
                total.update(data)
                left -= len(data)
    except OSError:
        return False
    return not left and total.hexdigest() == part.sha256
