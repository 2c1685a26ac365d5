"""A place that is not on this machine, as a folder that looks like it: only what is read of it is fetched.

Tables, records and cards are fetched whole. Tars and videos become files of holes, of the size they have; of a tar
the headers and JSON members are filled in, by range requests, and a clip's bytes are fetched when it is looked at.
"""

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from braceexpand import braceexpand
from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from collection.audit.places import TAR, Piece, PlaceError
from collection.audit.shots import copy_piece
from collection.doctor.tables import LARGEST_TABLE, SUFFIXES
from mlst.checking.lint import HUB, lint, lint_files
from mlst.checking.verify import Finding
from mlst.dataset.description import CARD, DATASET, LARGEST, parse_dataset, read_dataset
from mlst.dataset.remote import checked_url, is_url
from mlst.dataset.shards import PATH
from mlst.inside import plain
from mlst.loading.buckets import Bucket
from mlst.loading.errors import LoadError, ReadError
from mlst.loading.stores import PREFIX, REFUSALS, REPO, Hub, Store, Web
from mlst.tars import members

MOST_FILES = 200_000
"""Of a place: twice what the Hub allows."""
MOST_KEPT = 2 << 30
"""Bytes of tables and records together that are fetched whole."""
FIRST_READ, LARGEST_READ = 1 << 12, 1 << 22
"""Bytes of a request for a tar's headers: the first, and where one follows the other, twice the one before up to the
last. Between large members the next header takes a request of its own; small ones are read in one go."""
TOGETHER = 8
"""Tars that are walked at once: most of the time goes into waiting for answers."""
PART = 1 << 23
"""Bytes of a clip that are fetched at a time."""
WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dataset lies, or a folder that looks like it."""

    path: Path
    name: str
    """For messages; without credentials."""
    copy: Callable[[Piece, BinaryIO], None]
    """Write a clip's bytes. Raises OSError."""
    lint: Callable[[Path], Iterable[Finding]]
    """Rules for datasets of ours."""
    listed: bool
    """Whether all files of the place are known, and not only the shards that were named."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """Files of a store by name, and their sizes."""

    store: Store
    sizes: Mapping[str, int]
    listed: bool


@contextmanager
def placed(place: str, room: Path) -> Iterator[Place]:
    """A path, or a URL as a folder in `room`, which is empty. Raises `PlaceError`."""
    if not is_url(place):
        yield here(Path(place))
        return
    try:
        found = _listing(checked_url(place))
        name, copy = found.store.name, _Copier(found.store, room)
        _mirror(found, room)
    except (LoadError, ReadError, ValueError) as why:
        raise PlaceError(str(why)) from None
    yield Place(room, name, copy, _lint_but_clips, found.listed)


def here(path: Path) -> Place:
    """A path."""
    return Place(path, str(path), _copied, lint, listed=True)


def _copied(piece: Piece, target: BinaryIO) -> None:
    with piece.file.open("rb") as source:
        copy_piece(source, target, piece)


def _lint_but_clips(folder: Path) -> Iterator[Finding]:
    dataset = read_dataset(folder)
    yield from lint_files(folder, dataset, dataset.files, HUB)


@dataclass(frozen=True, slots=True)
class _Copier:
    """Fetches clips."""

    store: Store
    room: Path

    def __call__(self, piece: Piece, target: BinaryIO) -> None:
        name = piece.file.relative_to(self.room).as_posix()
        for start in range(0, piece.size, PART):
            target.write(self.store.read(name, piece.offset + start, min(PART, piece.size - start)))


# -- what there is


def _listing(url: str) -> _Listing:
    """The files of a URL. Raises `PlaceError`, `LoadError`, `ReadError`."""
    if url.startswith(("http://", "https://")):
        found = _of_web(url)
    elif url.startswith(PREFIX):
        found = _of_hub(url.removeprefix(PREFIX))
    else:
        found = _of_bucket(url)
    if not found.sizes:
        raise PlaceError(f"{found.store.name}: no file; give a Hub dataset, or the URL of a folder or of tars")
    if len(found.sizes) > MOST_FILES:
        raise PlaceError(f"{found.store.name} has more than {MOST_FILES} files; give a part of it")
    return found


def _of_hub(name: str) -> _Listing:
    repo, _, revision = name.rstrip("/").partition("@")
    if not REPO.fullmatch(repo):
        raise PlaceError(f"{PREFIX}{name} is no Hub dataset; write {PREFIX}OWNER/NAME or {PREFIX}OWNER/NAME@REVISION")
    api = HfApi()
    try:
        commit = api.dataset_info(repo, revision=revision or None).sha
        rows = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
        sizes = {row.path: int(row.size) for row in islice(rows, 2 * MOST_FILES) if isinstance(row, RepoFile)}
    except REFUSALS as why:
        raise PlaceError(f"{PREFIX}{name} cannot be read: {why}") from None
    return _Listing(Hub(repo, str(commit), cached=False), sizes, listed=True)


def _of_bucket(url: str) -> _Listing:
    """Below a URL of fsspec, or those that its braces and wildcards name."""
    import fsspec  # noqa: PLC0415, most places are folders

    base, names = _patterns(url)
    store = Bucket(base)
    try:
        system, root = fsspec.url_to_fs(base, use_listings_cache=False)
        sizes: dict[str, int] = {}
        for name in names:
            look = system.glob if WILD.search(name) else system.find
            found: dict[str, Any] = look(f"{root.rstrip('/')}/{name}".rstrip("/"), detail=True)
            files = ((str(path), row) for path, row in found.items() if row.get("type") == "file")
            sizes |= {path.removeprefix(root).lstrip("/"): int(row["size"] or 0) for path, row in files}
    except Exception as why:  # each package has errors of its own
        raise PlaceError(f"{store.name} cannot be listed: {type(why).__name__}: {why}") from None
    return _Listing(store, sizes, listed=names == [""])


def _of_web(url: str) -> _Listing:
    """The tars that a URL names, or a dataset of ours; plain web servers list nothing."""
    base, names = _patterns(url)
    store = Web(base)
    if any(WILD.search(name) for name in names):
        raise PlaceError(f"{store.name}: a web server lists no files; write {{000..012}} in place of * and ?")
    if all(name.lower().endswith(TAR) for name in names):
        return _Listing(store, {unquote(name): store.size(unquote(name)) for name in names}, listed=False)
    store = Web(url)
    dataset = parse_dataset(store.whole(DATASET, LARGEST), store.name)
    return _Listing(store, {file.path: file.size for file in dataset.files} | {DATASET: store.size(DATASET)}, True)


def _patterns(url: str) -> tuple[str, list[str]]:
    """A URL up to the last folder without braces and wildcards, and what follows it, braces expanded; [""] for a
    folder. A query stays with the first."""
    web = url.startswith(("http://", "https://"))
    parts = urlsplit(url) if web else None
    text = parts.path if parts else url
    at = min([found.start() for found in re.finditer(r"[*?\[{]", text)], default=len(text))
    folder, slash, _ = text[:at].rpartition("/") if at < len(text) or text.lower().endswith(TAR) else (text, "", "")
    rest = text[len(folder) + len(slash) :]
    try:
        names = list(islice(braceexpand(rest), MOST_FILES + 1)) if rest else [""]
    except ValueError as why:
        raise PlaceError(f"{rest!r}: {why}; write name-{{000..012}}.tar") from None
    base = urlunsplit(parts._replace(path=folder)) if parts else folder
    return base.rstrip("/") if not parts else base, names


# -- the folder


def _mirror(found: _Listing, room: Path) -> None:
    """Make the files of a place in a folder. Raises `ReadError`, and ValueError for names that are no paths."""
    store, ours = found.store, DATASET in found.sizes
    whole = {name: size for name, size in found.sizes.items() if _wanted(name, ours) and size <= LARGEST_TABLE}
    if sum(whole.values()) > MOST_KEPT:
        raise PlaceError(f"{store.name}: its tables and records have more than {MOST_KEPT} bytes")
    for name, size in found.sizes.items():
        path = room / plain(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)
    tars = [name for name in found.sizes if PurePosixPath(name).suffix.lower() == TAR and not ours]
    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(lambda name: _fetch(store, name, whole[name], room / name), whole))
        list(pool.map(lambda name: _fill(store, name, found.sizes[name], room / name), tars))


def _wanted(name: str, ours: bool) -> bool:
    """Whether a file is read whole: of ours all but shards, else the card, what LeRobot says, tables at the top."""
    if ours:
        return PATH.fullmatch(name) is None
    top = "/" not in name and PurePosixPath(name).suffix.lower() in SUFFIXES
    return top or name == CARD or name.startswith("meta/")


def _fetch(store: Store, name: str, size: int, path: Path) -> None:
    with path.open("r+b") as file:
        for start in range(0, size, PART):
            file.write(store.read(name, start, min(PART, size - start)))


def _fill(store: Store, name: str, size: int, path: Path) -> None:
    """Walk a tar and keep what was read of it, so that whoever walks the file of holes reads the same."""
    with path.open("r+b") as kept:
        for _ in members(cast(BinaryIO, _Far(store, name, size, kept))):
            pass


class _Far(io.RawIOBase):
    """A file of a store, of which all that is read is kept as well."""

    def __init__(self, store: Store, name: str, size: int, kept: BinaryIO) -> None:
        self._store, self._name, self._size, self._kept = store, name, size, kept
        self._at, self._start, self._held, self._next = 0, 0, b"", FIRST_READ

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        wanted = max(0, min(size if size >= 0 else self._size, self._size - self._at))
        data = bytearray()
        while len(data) < wanted and (part := self._part(wanted - len(data))):
            data += part
        self._kept.seek(self._at - len(data))
        self._kept.write(data)
        return bytes(data)

    def _part(self, most: int) -> bytes:
        """What is held from here on, fetched where nothing is."""
        end = self._start + len(self._held)
        if not self._start <= self._at < end:
            self._next = min(LARGEST_READ, 2 * self._next) if 0 <= self._at - end < self._next else FIRST_READ
            self._held = self._store.read(self._name, self._at, min(self._next, self._size - self._at))
            self._start = self._at
        part = self._held[self._at - self._start :][:most]
        self._at += len(part)
        return part
