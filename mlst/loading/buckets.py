"""A dataset in an object store, or wherever else fsspec reads: `s3://`, `gs://`, `hf://buckets/`, `file://` ..."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from mlst.loading.errors import LoadError, Missing, ReadError

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""What reads a protocol, where fsspec alone does not."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A dataset below a URL of fsspec; credentials, endpoints and retries are those of its package."""

    url: str

    @property
    def name(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")

    @property
    def distant(self) -> bool:
        return True

    def whole(self, path: str, limit: int) -> bytes:
        with self._in_words(path):
            system, base = _system(self.url, os.getpid())
            size = int(system.size(f"{base}/{path}"))
        if size > limit:
            raise ReadError(f"{self.name}: {path} has {size} bytes, more than {limit}")
        return self.read(path, 0, size)

    def read(self, path: str, offset: int, size: int) -> bytes:
        with self._in_words(path):
            system, base = _system(self.url, os.getpid())
            try:
                data = bytes(system.cat_file(f"{base}/{path}", start=offset, end=offset + size))
            except OSError as why:
                if why.errno == errno.EINVAL:  # s3fs, of a range that begins behind the end
                    return b""
                raise
        if len(data) > size:
            raise ReadError(f"{self.name}: {path}: {len(data)} bytes for a range of {size}; load a copy")
        return data

    @contextmanager
    def _in_words(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise Missing(f"{self.name}: {path} is not there") from None
        except ImportError as why:
            protocol = urlsplit(self.url).scheme
            package = PACKAGES.get(protocol, "the package that is named")
            raise LoadError(f"{self.name}: {why}; for {protocol}:// run `pip install {package}`") from None
        except Exception as why:  # each package has errors of its own, and few are OSError
            raise ReadError(f"{self.name}: {path} cannot be read: {type(why).__name__}: {why}") from why


@cache
def _system(url: str, process: int) -> tuple[Any, str]:
    """The file system and where in it the dataset is; a forked worker must not share connections with its parent."""
    del process
    import fsspec  # noqa: PLC0415, most datasets are folders

    system, base = fsspec.url_to_fs(url.rstrip("/"), use_listings_cache=False)
    return system, str(base).rstrip("/")
