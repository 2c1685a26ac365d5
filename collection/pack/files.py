"""Files of a dataset's folder: put there whole, listed by size and sha256."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from collection.workspace.folder import Workspace
from collection.workspace.store import Stored
from mlst.dataset.description import File
from mlst.files import atomic


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link where the file system can, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as data, atomic(target) as file:
            shutil.copyfileobj(data, file, 1 << 20)


def transfer(work: Workspace, name: str, out: Workspace, target: str) -> None:
    """Make `target` of `out` the same file as `name` of `work`; within a store, and on one disk, no bytes travel."""
    if not isinstance(out, Stored):
        if isinstance(work, Stored):
            work.store.get(name, out.root / target)
        else:
            place(work.path(name), out.root / target)
    elif not isinstance(work, Stored):
        out.store.put(work.path(name), target)
    elif not out.store.copy(work.store, name, target):
        spool = out.root / ".spool"
        work.store.get(name, spool)
        out.keep(spool, target)


def put(folder: Path, name: str, chunks: Iterable[bytes]) -> File:
    """Write the file `name` of `folder`."""
    with atomic(folder / name) as file:
        file.writelines(chunks)
    return listed(folder, name)


def listed(folder: Path, name: str) -> File:
    """The entry of a file that is there."""
    with (folder / name).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return File(name, (folder / name).stat().st_size, sha256)
