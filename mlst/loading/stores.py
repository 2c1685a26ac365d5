"""Where the bytes of a dataset lie: a folder, a web server, an object store, or the Hugging Face Hub.

A store is frozen and holds nothing open, so that it can go to any number of worker processes.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import tenacity
import urllib3
from huggingface_hub import hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff  # type: ignore[attr-defined]

from mlst.dataset.description import DATASET
from mlst.dataset.remote import checked_url, is_url
from mlst.hub import TRANSPORT_ERROR, unreachable
from mlst.inside import file_in, opened
from mlst.loading.buckets import Bucket
from mlst.loading.errors import LoadError, Missing, ReadError

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
PREFIX = "hf://datasets/"

ATTEMPTS = 6
LONGEST = 60.0
"""Seconds to wait at most before the next attempt, whatever a server asks for."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be gone a moment later."""
TIMEOUT = urllib3.Timeout(connect=15, read=60)

REFUSALS = (TRANSPORT_ERROR, ConnectionError, HFValidationError, LocalEntryNotFoundError)
"""What the Hub's client raises where something cannot be had: transport errors, which its own errors are too, and
`ConnectionError` in offline mode."""


class Store(Protocol):
    """Read access to the files of one dataset, by their path in it, with `/`."""

    @property
    def name(self) -> str:
        """For messages; without credentials."""

    @property
    def distant(self) -> bool:
        """Whether reading takes its time, and is worth beginning early."""

    def whole(self, path: str, limit: int) -> bytes:
        """A whole file. Raises ReadError if it cannot be had or has more than `limit` bytes."""

    def read(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, fewer where the file ends before. Raises ReadError if they cannot be had."""


def store_of(place: str | Path, revision: str, cache: bool) -> Store:
    """The store at `place`, see `mlst.loading.load`. Raises LoadError if it is none, ReadError if it is not there."""
    text = str(place)
    if is_url(place):
        try:
            checked_url(text)
        except ValueError as why:
            raise LoadError(str(why)) from None
    if not isinstance(place, Path) and text.startswith(("http://", "https://")):
        found: Store = Web(text)
    elif isinstance(place, Path) or Path(text).is_dir():
        found = Folder(Path(place).absolute())  # good wherever the process goes
    elif REPO.fullmatch(text) and (above := Path(text).parent).is_dir():
        raise LoadError(f"no folder {text!r}, though {str(above)!r} is one; on the Hub it is {PREFIX}{text}")
    elif REPO.fullmatch(name := text.removeprefix(PREFIX)):
        return on_hub(name, revision, cache)
    elif is_url(text):
        found = Bucket(text)
    else:
        raise LoadError(
            f"{text!r} is not a folder, a URL or a Hub id OWNER/NAME; "
            f"name the folder that holds {DATASET}, the address above it, or a Hub dataset"
        )
    if revision:
        raise LoadError(f"revision {revision!r} means nothing for {found.name}; only Hub datasets have revisions")
    return found


@dataclass(frozen=True, slots=True)
class Folder:
    """A dataset on disk."""

    root: Path

    @property
    def name(self) -> str:
        return str(self.root)

    @property
    def distant(self) -> bool:
        return False

    def whole(self, path: str, limit: int) -> bytes:
        return _whole_file(self._inside(path), limit)

    def read(self, path: str, offset: int, size: int) -> bytes:
        return _part_of_file(self._inside(path), offset, size)

    def _inside(self, path: str) -> Path:
        try:
            return file_in(self.root, path)
        except OSError as why:
            raise _unread(self.root / path, why) from None
        except ValueError as why:
            raise LoadError(f"{self.name}: {why}") from None


@dataclass(frozen=True, slots=True)
class Web:
    """A dataset below an http(s) address, on a server that answers range requests; a query goes with every request."""

    base: str

    @property
    def name(self) -> str:
        parts = urlsplit(self.base)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def distant(self) -> bool:
        return True

    def url(self, path: str) -> str:
        """Address of a file."""
        parts = urlsplit(self.base)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}", fragment=""))

    def whole(self, path: str, limit: int) -> bytes:
        status, body, _ = _get(self.url(path), {}, limit + 1)
        if status != 200:
            raise self._refused(path, status)
        if len(body) > limit:
            raise ReadError(f"{self.name}: {path} has more than {limit} bytes")
        return body

    def read(self, path: str, offset: int, size: int) -> bytes:
        status, body, _ = _get(self.url(path), {"Range": f"bytes={offset}-{offset + size - 1}"}, size)
        if status == 416:
            return b""
        if status == 200:
            raise ReadError(f"{self.name}: the server ignores range requests; use one that answers them, or a copy")
        if status != 206:
            raise self._refused(path, status)
        return body

    def size(self, path: str) -> int:
        """Bytes of a file. Raises ReadError."""
        status, _, total = _get(self.url(path), {"Range": "bytes=0-0"}, 1)
        if status not in (206, 416):
            raise self._refused(path, status)
        if total < 0:
            raise ReadError(f"{self.name}: {path}: the server does not say how large it is")
        return total

    def _refused(self, path: str, status: int) -> ReadError:
        return (Missing if status in (404, 410) else ReadError)(f"{self.name}: {path}: {_status(status)}")


@dataclass(frozen=True, slots=True)
class Hub:
    """A dataset on the Hub at one commit; token, endpoint, cache and offline mode are those of `huggingface_hub`."""

    repo: str
    commit: str
    cached: bool
    """Whole shards are downloaded into the Hub's cache when first read; otherwise each clip is a range request."""

    @property
    def name(self) -> str:
        return f"{self.repo}@{self.commit[:12]} on the Hub"

    @property
    def distant(self) -> bool:
        return not self.cached

    def whole(self, path: str, limit: int) -> bytes:
        return _whole_file(_download(self.repo, path, self.commit), limit)

    def read(self, path: str, offset: int, size: int) -> bytes:
        if self.cached:
            return _part_of_file(_downloaded(self.repo, path, self.commit), offset, size)
        url = hf_hub_url(self.repo, path, repo_type="dataset", revision=self.commit)
        headers = {**build_hf_headers(), "Range": f"bytes={offset}-{offset + size - 1}"}
        try:
            response = http_backoff("GET", url, headers=headers, timeout=60)
            if response.status_code == 416:
                return b""
            hf_raise_for_status(response)
        except RemoteEntryNotFoundError as why:
            raise Missing(f"{self.name}: {path}: {why}") from None
        except REFUSALS as why:
            raise ReadError(f"{self.name}: {path}: {why}") from None
        if response.status_code != 206:
            raise ReadError(f"{self.name}: {path}: the endpoint ignores range requests; load with cache=True")
        return bytes(response.content)


def on_hub(repo: str, revision: str, cached: bool) -> Hub:
    """The dataset at a branch, tag or commit ("" for the main branch), pinned to the commit that this is now."""
    path = _cached(repo, revision, why) if (why := unreachable()) else _download(repo, DATASET, revision)
    if not COMMIT.fullmatch(path.parent.name):
        raise ReadError(f"{repo}: no commit in {path}; is this a cache of huggingface_hub?")
    return Hub(repo, path.parent.name, cached)


def _cached(repo: str, revision: str, why: str) -> Path:
    """`dataset.json` as it was downloaded before, where the Hub cannot be reached, and why."""
    try:
        return Path(
            hf_hub_download(repo, DATASET, repo_type="dataset", revision=revision or None, local_files_only=True)
        )
    except LocalEntryNotFoundError:
        raise ReadError(f"{repo} is not a folder here, nor in the cache of the Hub's client, and {why}") from None


def _download(repo: str, path: str, revision: str) -> Path:
    """A file in the Hub's cache, downloaded where it is not there yet."""
    try:
        return Path(hf_hub_download(repo, path, repo_type="dataset", revision=revision or None))
    except REFUSALS as why:
        place = f"{repo}@{revision}" if revision else repo
        kind = Missing if isinstance(why, RemoteEntryNotFoundError) else ReadError
        raise kind(f"{place} is not a folder here, and {path} is not available from the Hub: {why}") from None


_downloaded = lru_cache(4096)(_download)
"""Asking the cache costs some file accesses per clip; a commit's files do not change."""


def _whole_file(path: Path, limit: int) -> bytes:
    data = _part_of_file(path, 0, limit + 1)
    if len(data) > limit:
        raise ReadError(f"{path} has more than {limit} bytes")
    return data


def _part_of_file(path: Path, offset: int, size: int) -> bytes:
    try:
        with opened(path) as file:
            file.seek(offset)
            return file.read(size)
    except OSError as why:
        raise _unread(path, why) from None


def _unread(path: Path, why: OSError) -> ReadError:
    kind = Missing if isinstance(why, FileNotFoundError) else ReadError
    return kind(f"{path} cannot be read: {why.strerror or why}")


class _Again(Exception):
    """A failure that another attempt may avoid; `after` is what the server asks for, seconds, or 0."""

    def __init__(self, detail: str, after: float) -> None:
        super().__init__(detail)
        self.detail, self.after = detail, after


_BACKOFF = tenacity.wait_exponential(multiplier=0.2, max=8) + tenacity.wait_random(0, 0.5)


def _pause(state: tenacity.RetryCallState) -> float:
    why = state.outcome.exception() if state.outcome else None
    asked = why.after if isinstance(why, _Again) else 0.0
    return min(max(asked, float(_BACKOFF(state))), LONGEST)


def _get(url: str, headers: Mapping[str, str], most: int) -> tuple[int, bytes, int]:
    """Status, at most `most` bytes of the body (only where the status is 200 for a whole file or 206), and how large
    the file is by the answer to a range request, or -1."""
    attempt = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Again), stop=tenacity.stop_after_attempt(ATTEMPTS), wait=_pause
    )
    try:
        return attempt(_attempt, url, headers, most)
    except tenacity.RetryError as why:
        last = why.last_attempt.exception()
        detail = last.detail if isinstance(last, _Again) else str(last)
        raise ReadError(f"{Web(url).name}: {detail}, {ATTEMPTS} times") from None


def _attempt(url: str, headers: Mapping[str, str], most: int) -> tuple[int, bytes, int]:
    redirects = urllib3.Retry(
        total=5, redirect=5, connect=0, read=0, status=0, other=0, respect_retry_after_header=False
    )
    wanted = 206 if "Range" in headers else 200
    try:
        response = _pool(os.getpid()).request(
            "GET",
            url,
            headers={"Accept-Encoding": "identity", **headers},
            preload_content=False,
            retries=redirects,
            timeout=TIMEOUT,
        )
        try:
            if response.status in PASSING:
                after = response.headers.get("Retry-After", "")
                raise _Again(_status(response.status), float(after) if after.isdecimal() else 0.0)
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            size = int(total) if total.isdecimal() else -1
            return response.status, response.read(most) if response.status == wanted else b"", size
        finally:
            if response.length_remaining == 0:
                response.release_conn()
            else:  # the unread rest would stand before the next answer
                response.close()
    except urllib3.exceptions.LocationValueError as why:
        raise ReadError(f"{Web(url).name}: not an address: {why}") from None
    except urllib3.exceptions.HTTPError as why:
        reason = getattr(why, "reason", why)  # the text of MaxRetryError has the query, which may be a secret
        raise _Again(f"{type(reason).__name__}: {reason}", 0.0) from None


@cache
def _pool(process: int) -> urllib3.PoolManager:
    """Connections that are kept between requests; a forked worker must not share those of its parent."""
    del process
    return urllib3.PoolManager(maxsize=16)


def _status(status: int) -> str:
    words = {401: "needs a login", 403: "refused", 404: "not there", 410: "gone", 429: "too many requests"}
    return f"status {status}" + (f", {words[status]}" if status in words else "")
