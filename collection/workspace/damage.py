"""Files of a workspace that are not what was written there. They are removed: what is missing is made again."""

import hashlib
from collections.abc import Iterable, Iterator

from collection.workspace.folder import Span, Workspace
from mlst.records import Part

PIECE = 1 << 20
"""Bytes that are read and hashed at a time."""


def parts(outputs: Iterable[object]) -> Iterator[Part]:
    """What outputs of a stage hold in files, by their property `parts`; a record without one has no file."""
    return (part for output in outputs for part in getattr(output, "parts", ()))


def remove_damaged(work: Workspace, expected: Iterable[Part]) -> frozenset[str]:
    """Read all of `expected`, and remove the files in which bytes are missing or others. Gives their names.

    A file that the system cannot read (EIO) is damaged; a store that cannot be reached raises `StoreError`.
    """
    damaged = set[str]()
    for part in expected:
        if part.file not in damaged and not _holds(work, part):
            work.remove(part.file)
            damaged.add(part.file)
    return frozenset(damaged)


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
