"""Workspaces and datasets in an object store, below an fsspec URL such as `s3://bucket/mlst-work`.

A store replaces whole objects, each at once. So a file is written on this machine and put into the store when it is
finished; what is needed is read from the store in parts. Only drivers and those who start workers talk to a store:
the workers themselves, which decode strangers' videos, see plain files (`collection.executors.staging`).
Addresses and credentials are those of each machine's own environment; none travels.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from collection.workspace.folder import DATASET_LOCK, Span, Workspace, WorkspaceBusyError, held, writing
from mlst.dataset.remote import checked_url, is_url
from mlst.exits import UserError
from mlst.files import PART, atomic, link_or_copy, open_lock, remove_tree
from mlst.records import canonical_json, digest

CHUNK = 8 << 20
"""Bytes of one request."""
BATCH = 8
"""Requests at a time; their answers are in memory together."""
LOCK = "lock"


class StoreError(UserError, OSError):
    """A store that cannot be used: unknown, not installed, not there, not allowed, not reached."""


@dataclass(frozen=True, slots=True)
class Store:
    """Files below a URL. Nothing is held open: it can go to any machine. Everything may raise `StoreError`."""

    url: str

    def system(self) -> tuple[Any, str]:
        """The file system, and where in it the files are."""
        import fsspec  # noqa: PLC0415, most builds need none

        try:
            found, base = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as why:
            raise StoreError(f"{self.url}: {why} (pip install the package that is named)") from None
        except (ValueError, OSError) as why:
            choices = ", ".join(sorted(name for name in fsspec.available_protocols() if name in KNOWN))
            raise StoreError(f"{self.url}: {why}; {choices} and other protocols of fsspec are known") from None
        return found, str(base).rstrip("/")

    def size(self, name: str) -> int:
        """Bytes of the file `name`; -1 where there is none."""
        with self._in_words(name):
            system, base = self.system()
            try:
                found = system.info(f"{base}/{name}")
            except FileNotFoundError:
                return -1
            return int(found["size"]) if found["type"] == "file" else -1

    def stamp(self, name: str) -> str:
        """What the store says of the version of the file `name`; "" where there is none."""
        with self._in_words(name), contextlib.suppress(FileNotFoundError):
            system, base = self.system()
            return str(system.ukey(f"{base}/{name}"))
        return ""

    def sha256(self, name: str) -> str:
        """Hash of the file `name`, read in full; "" where there is none."""
        with self._in_words(name), contextlib.suppress(FileNotFoundError):
            system, base = self.system()
            with system.open(f"{base}/{name}", "rb", block_size=CHUNK, cache_type="readahead") as file:
                total = hashlib.sha256()
                while data := file.read(CHUNK):
                    total.update(data)
            return total.hexdigest()
        return ""

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Bytes of the files right in `folder`, by name, sorted; none where there is no such folder."""
        with self._in_words(folder):
            system, base = self.system()
            place = f"{base}/{folder}".rstrip("/")
            try:
                found = system.ls(place, detail=True)
            except FileNotFoundError:
                return {}
        prefix = f"{folder}/" if folder else ""
        names = {prefix + one["name"].rstrip("/").rpartition("/")[2]: one for one in found if one["type"] == "file"}
        return {name: int(names[name]["size"] or 0) for name in sorted(names)}

    def get(self, name: str, path: Path) -> None:
        """Download the file `name` to `path`, whole or not at all. Raises FileNotFoundError."""
        with self._in_words(name), atomic(path) as file:
            system, base = self.system()
            if self.size(name) < 0:
                raise FileNotFoundError(f"{self.url}/{name}")
            with system.open(f"{base}/{name}", "rb", block_size=CHUNK, cache_type="readahead") as source:
                shutil.copyfileobj(source, file, CHUNK)

    def read(self, spans: Iterable[Span], folder: Path) -> None:
        """Download the `spans` into files of `folder`, at the same offsets; between them is nothing.

        Raises FileNotFoundError, and `StoreError` where a file is shorter than its spans.
        """
        system, base = self.system()
        for batch in _batches(_chunks(spans)):
            with self._in_words(batch[0].file):
                parts = system.cat_ranges(
                    [f"{base}/{span.file}" for span in batch],
                    [span.offset for span in batch],
                    [span.offset + span.size for span in batch],
                )
                for span, part in zip(batch, parts, strict=True):
                    if isinstance(part, Exception):
                        raise part
                    if len(part) != span.size:
                        raise StoreError(
                            f"{self.url}/{span.file}: {len(part)} bytes at {span.offset}, not {span.size}"
                        )
                    _write(folder / span.file, span.offset, part)

    def put(self, path: Path, name: str) -> None:
        """Upload the file `path` as `name`."""
        with self._in_words(name, writing=True):
            system, base = self.system()
            system.put_file(str(path), f"{base}/{name}")

    def copy(self, source: "Store", name: str, target: str) -> bool:
        """Copy the file `name` of `source` within the store, to `target`; False where they are two stores."""
        with self._in_words(target):
            (system, base), (other, place) = self.system(), source.system()
            if type(system) is not type(other) or system.storage_options != other.storage_options:
                return False
            system.cp_file(f"{place}/{name}", f"{base}/{target}")
            return True

    def remove(self, name: str) -> None:
        """Remove the file `name` if it is there."""
        with self._in_words(name), contextlib.suppress(FileNotFoundError):
            system, base = self.system()
            system.rm_file(f"{base}/{name}")

    @contextlib.contextmanager
    def held(self, machine: Path, lock: str = LOCK, work: str = "") -> Iterator[None]:
        """Hold the store for one driver by an object `lock`; whoever holds the workspace `work` (a URL, "" for none)
        takes over the lock of a driver that had that workspace before. Raises `WorkspaceBusyError`.

        `machine` is a folder of this machine that the caller has locked: a lock that was written from here is one
        of a driver that was killed, and is taken over. Stores that know no exclusive creation may let two drivers in
        that begin within the same second.
        """
        mine = {"machine": _identity(machine), "host": socket.gethostname(), "process": os.getpid(), "work": work}
        with self._in_words(lock, writing=True):
            system, base = self.system()
            place, text = f"{base}/{lock}", canonical_json(mine).encode()
            found = _owner(system, place)
            if found and (found.get("machine") == mine["machine"] or (work and found.get("work") == work)):
                system.rm_file(place)
            try:
                system.pipe_file(place, text, mode="create")
            except (NotImplementedError, ValueError, TypeError):
                if not _owner(system, place):
                    system.pipe_file(place, text)
            except FileExistsError:
                pass
            found = _owner(system, place)
        if found != mine:
            raise WorkspaceBusyError(
                f"{self.url} is in use by a build on {found.get('host')} (process {found.get('process')}). "
                f"If that build no longer runs, delete {self.url}/{lock} and start again"
            )
        try:
            yield
        finally:
            with self._in_words(lock):
                if _owner(system, place) == mine:
                    system.rm_file(place)

    @contextlib.contextmanager
    def _in_words(self, name: str, writing: bool = False) -> Iterator[None]:
        """What a store's client raises, as a `StoreError`; only that a file is not there to be read remains."""
        try:
            yield
        except StoreError:
            raise
        except Exception as why:
            if isinstance(why, FileNotFoundError) and not writing:
                raise
            raise StoreError(f"{self.url}/{name}: {type(why).__name__}: {why}") from why


KNOWN = ("s3", "gs", "hf", "abfs", "memory")


@dataclass(frozen=True, slots=True)
class Stored(Workspace):
    """A workspace whose finished files are in a store; `root` is scratch space of this process."""

    store: Store

    def path(self, name: str) -> Path:
        """The file on this machine, downloaded where it is not here yet; where it would be if there is none."""
        path = self.root / name
        if not path.exists():
            with contextlib.suppress(FileNotFoundError):
                self.store.get(name, path)
        return path

    def exists(self, name: str) -> bool:
        """See `Workspace.exists`; asks the store. For many files `names` is faster."""
        return self.store.size(name) >= 0

    def size(self, name: str) -> int:
        """See `Workspace.size`."""
        return self.store.size(name)

    def stamp(self, name: str) -> str:
        """See `Workspace.stamp`."""
        return self.store.stamp(name)

    def sha256(self, name: str) -> str:
        """See `Workspace.sha256`."""
        return self.store.sha256(name)

    def spans(self, spans: Iterable[Span]) -> Path:
        """See `Workspace.spans`."""
        self.store.read(spans, self.root / ".spans")
        return self.root / ".spans"

    def keep(self, path: Path, name: str) -> None:
        """See `Workspace.keep`."""
        self.store.put(path, name)
        path.unlink()

    def sizes(self, folder: str) -> Mapping[str, int]:
        """See `Workspace.sizes`."""
        return {name: size for name, size in self.store.sizes(folder).items() if not name.endswith(PART)}

    def remove(self, name: str) -> None:
        """See `Workspace.remove`."""
        self.store.remove(name)
        (self.root / name).unlink(missing_ok=True)

    def sync(self, name: str) -> None:
        """See `Workspace.sync`: the whole file is uploaded."""
        self.store.put(self.root / name, name)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[tuple[BinaryIO, str]]:
        """See `Workspace.create`."""
        with Workspace.create(self, name) as (file, relative):
            yield file, relative
        self.store.put(self.root / relative, relative)

    def shared(self, name: str) -> Path:
        """See `Workspace.shared`."""
        return machine_folder(self.store.url) / name


def copy_file(work: Workspace, name: str, out: Workspace, target: str) -> None:
    """Make `target` of `out` the same file as `name` of `work`; within a store, and on one disk, no bytes travel."""
    if not isinstance(out, Stored):
        if isinstance(work, Stored):
            work.store.get(name, out.root / target)
        else:
            link_or_copy(work.path(name), out.root / target)
    elif not isinstance(work, Stored):
        out.store.put(work.path(name), target)
    elif not out.store.copy(work.store, name, target):
        spool = out.root / ".spool"
        work.store.get(name, spool)
        out.keep(spool, target)


@contextlib.contextmanager
def opened(place: str) -> Iterator[Workspace]:
    """The workspace at a path or URL, held for one driver. Raises `WorkspaceBusyError` and `StoreError`."""
    if not is_url(place):
        with held(Path(place)):
            yield Workspace(Path(place), "")
        return
    with _store_held(place, LOCK, ""), looked_at(place) as here:
        yield here


@contextlib.contextmanager
def written(place: str, work: str) -> Iterator[Workspace]:
    """The dataset at a path or URL, held for one command that writes it and holds the workspace `work`, "" for none.
    Raises as `opened`."""
    with (
        _store_held(place, DATASET_LOCK, work if is_url(work) else "") if is_url(place) else writing(Path(place)),
        looked_at(place) as here,
    ):
        yield here


@contextlib.contextmanager
def _store_held(place: str, lock: str, work: str) -> Iterator[None]:
    """Hold a store against other processes of this machine, then against other machines."""
    machine = machine_folder(place)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(machine))
        except WorkspaceBusyError:
            raise WorkspaceBusyError(f"{place} is in use by another build on this machine; wait for it") from None
        stack.enter_context(Store(place).held(machine, lock, work))
        yield


@contextlib.contextmanager
def looked_at(place: str) -> Iterator[Workspace]:
    """The workspace or dataset at a path or URL, which nobody else needs to leave alone; what is downloaded is removed
    afterwards."""
    if not is_url(place):
        yield Workspace(Path(place), "")
        return
    with scratch(machine_folder(place) / "driver") as folder:
        yield Stored(folder, "", Store(place.rstrip("/")))


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, removed afterwards; those whose owners were killed are removed before.

    An owner holds a lock that the kernel takes back with its process, so that no process can be mistaken for another.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with open_lock(parent / ".lock") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            for left in parent.glob("*.lock"):
                with open_lock(left) as owner, contextlib.suppress(BlockingIOError):
                    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_tree(left.with_suffix(""))
                    if not left.with_suffix("").exists():
                        left.unlink(missing_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))
            owner = stack.enter_context(open_lock(folder.with_suffix(".lock")))
            fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            remove_tree(folder)
            folder.with_suffix(".lock").unlink(missing_ok=True)


def machine_folder(url: str) -> Path:
    """What this machine keeps for a store: downloads under way, the request budget, caches. Deleting it costs nothing
    while no build runs. It is below TMPDIR, which needs room for the videos that are worked on."""
    try:
        folder = user_folder() / digest(checked_url(url).rstrip("/"))[:16]
    except ValueError as why:
        raise StoreError(str(why)) from None
    folder.mkdir(exist_ok=True)
    return folder


def user_folder() -> Path:
    """What this user's builds share on this machine, below TMPDIR. Raises `StoreError` where it is not his own."""
    folder = Path(tempfile.gettempdir()) / f"mlst-{os.getuid()}"
    folder.mkdir(exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StoreError(f"{folder} is not a folder of yours; set TMPDIR to one where only you can write")
    return folder


def finished(folder: Path) -> Iterator[Path]:
    """The finished plain files below `folder`, sorted; links and hidden files are passed over."""
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(top, name)
            if not name.startswith(".") and not name.endswith(PART) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _identity(machine: Path) -> str:
    path = machine / "identity"
    if not path.exists():
        with atomic(path) as file:
            file.write(uuid.uuid4().hex.encode())
    return path.read_text()


def _owner(system: Any, place: str) -> dict[str, Any]:
    """What the lock says; nothing where there is none."""
    try:
        found = json.loads(system.cat_file(place))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"host": "an unknown machine"}


def _chunks(spans: Iterable[Span]) -> Iterator[Span]:
    for span in spans:
        for begin in range(0, span.size, CHUNK):
            yield Span(span.file, span.offset + begin, min(CHUNK, span.size - begin))


def _batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    batch: list[Span] = []
    size = 0
    for span in spans:
        if batch and size + span.size > BATCH * CHUNK:
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += span.size
    if batch:
        yield batch


def _write(path: Path, offset: int, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.seek(offset)
        file.write(data)
