"""Where an exported dataset comes from: a folder, or any place that `mlst.load` takes."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mlst.dataset.description import ATTRIBUTION, DATASET, INDEX, LARGEST, Dataset, parse_dataset, read_dataset
from mlst.exits import UserError
from mlst.inside import content, file_in, opened

READ = 8 << 20
"""Bytes of one request to a distant place: neighbours of a clip are the next to be asked for."""
Read = Callable[[str, int, int], bytes]
"""`size` bytes of the file at a path from `offset` on, fewer where it ends."""


class ExportError(UserError, ValueError):
    """A dataset that cannot be exported as it is, or a folder that cannot take it; the text names the remedy."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A dataset to export."""

    name: str
    """For messages; without credentials."""
    local: bool
    folder: Path
    """`dataset.json`, index and attribution lie here; the shards only if it is local."""
    dataset: Dataset
    attribution: bytes
    read: Read


@contextmanager
def origin(place: str | Path, revision: str = "") -> Iterator[Origin]:
    """Open a dataset where it lies, through the door that `mlst.load` uses. Raises `ExportError`."""
    folder = Path(place)
    if not revision and (isinstance(place, Path) or folder.is_dir() or not place.partition("/")[2]):
        with readable(str(place)):
            dataset = read_dataset(folder)
            attribution = content(file_in(folder, ATTRIBUTION), LARGEST)
        yield Origin(str(place), True, folder, dataset, attribution, partial(_part, folder))
        return
    with tempfile.TemporaryDirectory(prefix="mlst-export-") as top:
        yield _fetched(str(place), revision, Path(top))


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what reading a damaged dataset raises into an `ExportError`."""
    try:
        yield
    except ExportError:
        raise
    except (OSError, ValueError) as why:
        raise ExportError(f"{name}: {why}; run `mlst verify {name}`") from None


def _fetched(place: str, revision: str, top: Path) -> Origin:
    from mlst.loading.errors import LoadError, ReadError  # noqa: PLC0415, a folder needs none of it
    from mlst.loading.kept import kept  # noqa: PLC0415
    from mlst.loading.stores import store_of  # noqa: PLC0415

    try:
        store = store_of(place, revision, cache=False)
        dataset = parse_dataset(store.whole(DATASET, LARGEST), DATASET)
        sizes = {file.path: file for file in dataset.files if file.path in (INDEX, ATTRIBUTION)}
        if len(sizes) < 2:
            raise LoadError(f"{store.name}: {DATASET} lists no {INDEX} or no {ATTRIBUTION}")
        parts = {
            name: kept(file.sha256, partial(store.whole, name, file.size + 1))
            if name == INDEX
            else store.whole(name, min(file.size, LARGEST))
            for name, file in sizes.items()
        }
    except (LoadError, ReadError, ValueError) as why:
        raise ExportError(str(why)) from None
    for name, data in parts.items():
        if hashlib.sha256(data).hexdigest() != sizes[name].sha256:
            raise ExportError(f"{store.name}: {name} is not the file that {DATASET} lists; run `mlst verify {place}`")
    (top / INDEX).parent.mkdir(parents=True)
    (top / INDEX).write_bytes(parts[INDEX])
    return Origin(store.name, False, top, dataset, parts[ATTRIBUTION], _Ahead(store.read).read)


def _part(folder: Path, path: str, offset: int, size: int) -> bytes:
    with opened(file_in(folder, path)) as file:
        file.seek(offset)
        return file.read(size)


@dataclass(slots=True)
class _Ahead:
    """Reads a little more than is asked for, and keeps it."""

    source: Read
    path: str = ""
    start: int = 0
    block: bytes = field(default=b"", repr=False)

    def read(self, path: str, offset: int, size: int) -> bytes:
        end = self.start + len(self.block)
        if path != self.path or not self.start <= offset <= offset + size <= end:
            self.path, self.start = path, offset
            self.block = self.source(path, offset, max(size, READ))
        return self.block[offset - self.start : offset - self.start + size]
