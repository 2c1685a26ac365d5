"""A dataset in the place of another, at once: whoever looks finds the old folder or the new one.

The new files are prepared in a folder beside the dataset. Where the system can (renameat2 of Linux, on file systems of
its own disks), the two folders change places in one step. Elsewhere the files are moved one by one, and in between
there is no `dataset.json`.
"""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from collection.workspace.folder import sweep
from mlst.dataset.description import DATASET, read_json
from mlst.files import PART, sync_folder

HERE = -100
"""AT_FDCWD: names are relative to the working directory."""
EXCHANGE = 2
"""RENAME_EXCHANGE."""
INSIDE = Path(".cache", f"mlst-build{PART}")
"""Where files are prepared if nothing can be made beside the dataset; `mlst verify` and uploads pass `.cache` over."""

_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def prepared(out: Path) -> Iterator[Path]:
    """A folder on the disk of `out` for the files of a dataset, removed afterwards; what killed builds left is removed
    before. Only for who holds the dataset.
    """
    out.mkdir(parents=True, exist_ok=True)
    sweep(out / INSIDE.parent)
    for left in (*out.parent.glob(f".{_literal(out.name)}.*{PART}"), out / INSIDE):
        _discard(left, out)
    folder = _beside(out)
    try:
        yield folder
    finally:
        _discard(folder, out)
        with suppress(OSError):
            (out / INSIDE).parent.rmdir()


def exchange(new: Path, out: Path, old: Set[str]) -> bool:
    """Let the folders change places; False where the system cannot.

    Files of `out` other than `old`, which are those of the dataset that is replaced, are nobody's to remove: they are
    linked into `new` before.
    """
    if not hasattr(_LIBC, "renameat2") or Path.cwd().is_relative_to(out) or new.is_relative_to(out):
        return False
    try:
        _carry(out, new, old | {DATASET})
        for top, _, _ in os.walk(new):
            sync_folder(Path(top))
    except OSError:
        return False
    if _LIBC.renameat2(HERE, os.fsencode(new), HERE, os.fsencode(out), EXCHANGE):
        return False
    sync_folder(out.parent)
    return True


def vacant(out: Path) -> bool:
    """Whether there is nothing in a folder but locks and caches."""
    return set(os.listdir(out)) <= {INSIDE.parts[0]}


def _literal(name: str) -> str:
    """A name as a pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _beside(out: Path) -> Path:
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=PART, dir=out.parent))
        if folder.stat().st_dev == out.stat().st_dev:
            return folder
        folder.rmdir()
    (out / INSIDE).mkdir(parents=True)
    return out / INSIDE


def _carry(out: Path, new: Path, leave: Set[str]) -> None:
    """Link files into `new`, but for those to `leave` and those that are there."""
    shutil.copystat(out, new)
    for name in _files(out):
        if name not in leave and not os.path.lexists(new / name):
            _folders(out, new, Path(name).parent)
            os.link(out / name, new / name, follow_symlinks=False)
    for top, folders, names in os.walk(out):
        if not folders and not names:
            _folders(out, new, Path(top).relative_to(out))


def _folders(out: Path, new: Path, name: Path) -> None:
    for part in (*reversed(name.parents), name):
        if not (new / part).is_dir():
            (new / part).mkdir()
            shutil.copystat(out / part, new / part)


def _files(folder: Path) -> Iterator[str]:
    """Everything below a folder that is no folder itself, links to some among them; relative names."""
    for top, folders, names in os.walk(folder):
        links = [name for name in folders if Path(top, name).is_symlink()]
        yield from (Path(top, name).relative_to(folder).as_posix() for name in (*names, *links))


def _discard(folder: Path, out: Path) -> None:
    """Remove a folder that was prepared or exchanged, with the files that are its dataset's or in `out` too.

    A file that somebody put there just before the exchange goes to `out`.
    """
    if (folder / DATASET).is_file():
        ours = _listed(folder)
        for name in list(_files(folder)):
            if name not in ours and not os.path.lexists(out / name):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(folder / name, out / name)
    shutil.rmtree(folder, ignore_errors=True)


def _listed(folder: Path) -> Set[str]:
    try:
        return {DATASET, *(file.path for file in read_json(folder / DATASET).files)}
    except ValueError:
        return {DATASET}
