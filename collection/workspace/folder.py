"""Where a build keeps what it has made: files that appear whole or not at all, one writer at a time."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlst.dataset.remote import is_url
from mlst.exits import UserError
from mlst.files import PART, UNFINISHED, atomic, clean, move, open_lock, remove_tree, sync

DATASET_LOCK = ".cache/mlst-lock"
"""File of a dataset, while it is written; `mlst verify` and uploads pass `.cache` over."""


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a file of the workspace: `size` bytes from `offset`."""

    file: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a build keeps what it has made so far. Names are relative, so that the folder can be moved."""

    root: Path
    folder: str
    """The current stage's folder under `root`, e.g. `scan-91c0e2aa`."""

    def path(self, name: str) -> Path:
        """Where the file that records call `name` can be read on this machine."""
        return self.root / name

    def exists(self, name: str) -> bool:
        """Whether the workspace has the file `name`."""
        return (self.root / name).exists()

    def size(self, name: str) -> int:
        """Bytes of the file `name`; -1 where there is none."""
        path = self.root / name
        return path.stat().st_size if path.is_file() else -1

    def stamp(self, name: str) -> str:
        """Changes whenever a program writes to the file `name`, or puts another in its place; "" where there is none.

        Of a folder: size, times of modification and change, number of the inode."""
        path = self.root / name
        if not path.is_file():
            return ""
        found = path.stat()
        return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"

    def sha256(self, name: str) -> str:
        """Hash of the file `name`, read in full; "" where the system cannot read it."""
        try:
            with (self.root / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""

    def spans(self, spans: Iterable[Span]) -> Path:
        """The folder where these parts of files can be read on this machine, each file under its name."""
        del spans
        return self.root

    def keep(self, path: Path, name: str) -> None:
        """Move the finished file `path`, on this machine, to its place as `name`."""
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        move(path, target)

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Bytes of the finished files right in `folder`, by name, sorted; none where there is no such folder."""
        place = self.root / folder
        if not place.is_dir():
            return {}
        with os.scandir(place) as entries:
            found = {one.name: one.stat().st_size for one in entries if one.is_file() and not one.name.endswith(PART)}
        return {f"{folder}/{name}": found[name] for name in sorted(found)}

    def names(self, folder: str) -> list[str]:
        """Names of the finished files right in `folder`, sorted; none where there is no such folder."""
        return list(self.sizes(folder))

    def remove(self, name: str) -> None:
        """Remove the file `name` if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def sync(self, name: str) -> None:
        """Make what was appended to the file `name` outlive this machine's power: on disk, or in the store."""
        with (self.root / name).open("rb") as file:
            sync(file.fileno())

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[tuple[BinaryIO, str]]:
        """Write `<folder>/<name>` atomically: an open file and the name to record; after an error nothing remains."""
        relative = f"{self.folder}/{name}" if self.folder else name
        with atomic(self.root / relative) as file:
            yield file, relative

    def shared(self, name: str) -> Path:
        """The folder `name` that all workers on this machine share, for what is not part of the build: caches."""
        return self.root / name

    def budget(self) -> str:
        """Where the request budget is kept that all workers share; see `politeness.politeness`."""
        return str(self.shared("politeness"))


@dataclass(frozen=True, slots=True)
class Desk(Workspace):
    """What one worker sees of a workspace: it writes below `root`, a folder of its own but for workers that fetch."""

    inputs: Path
    """Below it are the files that it reads, under their names in the workspace."""
    machine: Path
    """What the workers of this machine share."""
    keeper: str
    """Who keeps the request budget of all machines; "" where this machine is alone."""

    def path(self, name: str) -> Path:
        """See `Workspace.path`."""
        return self.inputs / name

    def shared(self, name: str) -> Path:
        """See `Workspace.shared`."""
        return self.machine / name

    def budget(self) -> str:
        """See `Workspace.budget`."""
        return self.keeper or str(self.shared("politeness"))


class WorkspaceError(UserError, ValueError):
    """A place that cannot be a workspace, or not together with the dataset's."""


class WorkspaceBusyError(UserError, RuntimeError):
    """Another build is using the workspace."""


def check_apart(dataset: str, work: str) -> None:
    """Raise `WorkspaceError` where a dataset cannot be a folder, or where it and its workspace, paths or URLs, are
    one or one is inside the other: files of a build would become files of the dataset.
    """
    if not is_url(dataset) and Path(dataset).exists() and not Path(dataset).is_dir():
        raise WorkspaceError(f"{dataset} is a file; name the folder of a dataset")
    one, two = _parts(dataset), _parts(work)
    if all(a == b for a, b in zip(one, two, strict=False)):
        how = "are the same place" if one == two else "are inside each other"
        raise WorkspaceError(f"the dataset {dataset} and its workspace {work} {how}; give --work a place beside it")


def workspace_of(dataset: str, work: str) -> str:
    """The workspace for a dataset: `work`, or DATASET-work where that is empty. Raises as `check_apart`."""
    work = work or f"{dataset.rstrip('/')}-work"
    check_apart(dataset, work)
    return work


def _parts(place: str) -> tuple[str, ...]:
    return tuple(place.rstrip("/").split("/")) if is_url(place) else Path(place).resolve().parts


@contextlib.contextmanager
def held(root: Path) -> Iterator[None]:
    """Hold the workspace for one driver; the lock goes with the process.

    Raises `WorkspaceBusyError`, and `WorkspaceError` where a file is in the way or the file system has no locks.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise WorkspaceError(
            f"{root} cannot be a workspace: a file is in the way; give --work a folder, there or not yet"
        ) from None
    with open_lock(root / "lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceBusyError(
                f"{root} is in use by another build; wait for it or give another --work"
            ) from None
        except OSError as why:
            raise WorkspaceError(
                f"{root} cannot be locked ({why.strerror}); give --work a folder on a disk of this machine"
            ) from None
        clean(root)
        yield


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Hold a dataset for one command that writes it, whatever workspace it has; the lock goes with the process, and
    its file when the command ends. Raises as `held`.
    """
    lock, new = out / DATASET_LOCK, not out.exists()
    with contextlib.ExitStack() as stack:
        while not _locked(lock, stack):
            pass
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            for folder in (lock.parent, out)[: 1 + new]:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _locked(lock: Path, stack: contextlib.ExitStack) -> bool:
    """Lock a file until `stack` ends; False where its last holder has just removed it."""
    out = lock.parents[1]
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise WorkspaceError(f"{out} cannot be a dataset: a file is in the way; give --out a folder") from None
    try:
        file = stack.enter_context(open_lock(lock))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), lock.stat())
    except FileNotFoundError:
        return False
    except BlockingIOError:
        raise WorkspaceBusyError(f"{out} is being written by another command; wait for it") from None


def sweep(folder: Path) -> None:
    """Remove the unfinished files that killed workers left in `folder`; only for who holds the lock."""
    for path in folder.rglob(f".*{PART}*"):
        if not UNFINISHED.fullmatch(path.name):
            continue
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
