"""A dataset in an object store, for what reads a folder."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mlst.dataset.description import DATASET, read_json
from mlst.dataset.shards import PATH

BLOCK = 8 << 20
"""Bytes of one request."""


def is_url(place: str | Path) -> bool:
    """Whether a place is an fsspec URL, e.g. `s3://bucket/name`, not a path."""
    return isinstance(place, str) and "://" in place


@contextlib.contextmanager
def mirrored(url: str) -> Iterator[Path]:
    """A temporary folder that looks like the dataset at `url`; shards, and whatever `dataset.json` does not list, are
    there by name only.

    Raises ImportError where fsspec lacks the package for the URL, OSError where the store cannot be read, ValueError
    for names that are not relative paths.
    """
    import fsspec  # noqa: PLC0415, most datasets are folders

    system, base = fsspec.url_to_fs(url.rstrip("/"), use_listings_cache=False)
    with tempfile.TemporaryDirectory(prefix="mlst-") as top:
        folder, names = Path(top), set[str]()
        for found in system.find(base):
            name = PurePosixPath(str(found).removeprefix(base).lstrip("/"))
            if not name.parts or ".." in name.parts:
                raise ValueError(f"{url}: {str(found)!r} is not the name of a file of a dataset")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
            names.add(str(name))
        if DATASET in names:
            system.get_file(f"{base}/{DATASET}", str(folder / DATASET))
        for path in sorted(names & _listed(folder) - {DATASET}):
            system.get_file(f"{base}/{path}", str(folder / path))
        yield folder


def _listed(folder: Path) -> set[str]:
    try:
        return {file.path for file in read_json(folder / DATASET).files if not PATH.fullmatch(file.path)}
    except (OSError, ValueError):
        return set()


@contextlib.contextmanager
def streamed(place: str) -> Iterator[BinaryIO]:
    """Read the file at a path or URL from its beginning on."""
    if not is_url(place):
        with open(place, "rb") as file:
            yield file
        return
    import fsspec  # noqa: PLC0415, most datasets are folders

    system, path = fsspec.url_to_fs(place, use_listings_cache=False)
    with system.open(path, "rb", block_size=BLOCK, cache_type="readahead") as file:
        yield file
