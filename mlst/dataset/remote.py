"""A dataset in an object store, for what reads a folder."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from mlst.dataset.description import DATASET, LARGEST, read_json
from mlst.dataset.shards import PATH
from mlst.inside import opened, plain

BLOCK = 8 << 20
"""Bytes of one request."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*[^/].*")


def is_url(place: str | Path) -> bool:
    """Whether a place is an fsspec URL, e.g. `s3://bucket/name`, not a path."""
    return isinstance(place, str) and "://" in place


def checked_url(url: str) -> str:
    """The URL, where it is one with something in it. Raises ValueError, whose text is safe to show."""
    if not url.isprintable():
        raise ValueError(f"{url!a} is not a URL: it has control characters")
    if not URL.fullmatch(url):
        raise ValueError(f"{url!a} is not a URL: give SCHEME://NAME/..., for example s3://bucket/dataset")
    try:
        urlsplit(url)
    except ValueError as why:
        raise ValueError(f"{url!a} is not a URL: {why}") from None
    return url


@contextlib.contextmanager
def mirrored(url: str) -> Iterator[Path]:
    """A temporary folder that looks like the dataset at `url`; shards, and whatever `dataset.json` does not list, are
    there by name only.

    Raises ImportError where fsspec lacks the package for the URL, OSError where the store cannot be read, ValueError
    for names that are not relative paths.
    """
    import fsspec  # noqa: PLC0415, most datasets are folders

    system, base = fsspec.url_to_fs(checked_url(url).rstrip("/"), use_listings_cache=False)
    with tempfile.TemporaryDirectory(prefix="mlst-") as top:
        folder, names = Path(top), set[str]()
        for found in system.find(base):
            name = plain(str(found).removeprefix(base).lstrip("/"))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
            names.add(name)
        if DATASET in names and system.size(f"{base}/{DATASET}") <= LARGEST:
            system.get_file(f"{base}/{DATASET}", str(folder / DATASET))
        listed = _listed(folder)
        for path in sorted(names & listed.keys() - {DATASET}):
            if system.size(f"{base}/{path}") == listed[path]:
                system.get_file(f"{base}/{path}", str(folder / path))
        yield folder


def _listed(folder: Path) -> dict[str, int]:
    """Sizes of the listed files but the shards; a file of another size is not fetched."""
    try:
        return {file.path: file.size for file in read_json(folder / DATASET).files if not PATH.fullmatch(file.path)}
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def streamed(place: str) -> Iterator[BinaryIO]:
    """Read the file at a path or URL from its beginning on."""
    if not is_url(place):
        with opened(Path(place)) as file:
            yield file
        return
    import fsspec  # noqa: PLC0415, most datasets are folders

    system, path = fsspec.url_to_fs(checked_url(place), use_listings_cache=False)
    with system.open(path, "rb", block_size=BLOCK, cache_type="readahead") as file:
        yield file
