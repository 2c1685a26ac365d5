"""Reading one media URL: ranges, resuming, size limits, deadline; every failure typed."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from collection.engine.stage import FAILED, REJECTED, Rejected, Retry
from collection.fetch.reasons import Reason, classify, redact, typed
from collection.fetch.ytdlp import HTTPError, Rendition, RequestError, told
from collection.politeness.budget import Patience, retrying

HEAD = 256 << 10
"""Bytes of the first request: enough for the index at the front of most files, little where a span is all we want."""

PIECE = 256 << 20
"""Bytes per request where the site sets no limit: each gets attempts of its own."""

SMALLEST, LARGEST = 512, 64 << 10
"""Bytes per read from a connection; small while it is slow, so that the deadline is looked at often enough. A broken
connection loses the read that it breaks."""

PAGES = re.compile(r"text/(?!vtt)|application/(json|xhtml|xml)", re.IGNORECASE)
PLAYLISTS = re.compile(r"mpegurl|dash\+xml|vnd\.ms-sstr", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wire:
    """What a transfer needs of the outside: connections, limits, deadline."""

    open: Callable[[str, Mapping[str, str]], Any]
    """`Client.open`."""
    patience: Patience
    limit: int
    """The most bytes that a file may have."""
    latest: float
    """When to give up, seconds of `time.time`."""
    direct: bool
    """Whether the URL is the manifest's own: then 404 means that the file is gone, and not that a link has expired."""
    secrets: tuple[str, ...]


@dataclass(slots=True)
class Transfer:
    """One media URL. Call `begin` first."""

    rendition: Rendition
    wire: Wire
    size: int = 0
    """Bytes of the file; 0 where the server does not say."""
    ranges: bool = False
    """Whether the server answers range requests."""
    head: bytes = b""
    """The file's first bytes, `HEAD` at most."""
    tag: str = ""
    """The server's name for this version of the file: its ETag, or its Last-Modified."""

    def begin(self) -> None:
        """Ask for the first bytes. Raises `Rejected` or `Retry`."""
        self._retrying(self._begin)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes `[offset, offset + length)`, which must lie in the file. Raises `Rejected` or `Retry`."""
        out = bytearray()
        self._retrying(lambda: self._part(offset, offset + length, out))
        return bytes(out)

    def save(self, file: BinaryIO) -> None:
        """The whole file into `file`, from where a broken connection left off if the server can do that."""
        if self.ranges:
            file.write(self.head)
            while file.tell() < self.size:
                start = file.tell()
                end = min(self.size, start + (self.rendition.chunk or PIECE))
                self._retrying(lambda end=end: self._part(file.tell(), end, file))  # type: ignore[misc]
        else:
            self._retrying(lambda: self._whole(file))

    def _retrying(self, call: Callable[[], None]) -> None:
        retrying(self.wire.patience, self.wire.latest, time.time, time.sleep)(self._typed, call)

    def _typed(self, call: Callable[[], None]) -> None:
        """yt-dlp's network errors as typed refusals."""
        try:
            call()
        except RequestError as why:
            raise self._refusal(why) from None

    def _refusal(self, why: RequestError) -> Rejected | Retry:
        reason = classify(str(why))
        if isinstance(why, HTTPError):
            why.close()
            if why.status == 416 and not self.size:
                reason = Reason(REJECTED, "corrupt")
            if reason.kind == "gone.missing" and not self.wire.direct:
                reason = Reason(FAILED, "blocked.forbidden")
        elif not reason.kind.startswith("network."):
            reason = Reason(FAILED, "network.other")
        return typed(reason, redact(str(why), self.wire.secrets), told(why))

    def _begin(self) -> None:
        with self._ask(0, HEAD) as answer:
            total = _total(answer, 0)
            self.ranges = answer.status == 206 and total > 0
            self.size = total or _length(answer)
            self._check_type(answer)
            self._check_size(self.size)
            out = bytearray()
            self._receive(answer, min(HEAD, self.size) if self.ranges else HEAD, out)
            self.head, self.tag = bytes(out), _validator(answer)

    def _part(self, start: int, end: int, out: Any) -> None:
        """Append `[start, end)` to `out`, which may hold some of it from an attempt that broke off."""
        have = len(out) if isinstance(out, bytearray) else 0
        with self._ask(start + have, end - start - have) as answer:
            if answer.status != 206 or _total(answer, start + have) != self.size or _validator(answer) != self.tag:
                raise Retry(
                    "network.changed", "the file changed, or its server stopped answering ranges, while it was read"
                )
            self._receive(answer, end - start - have, out)

    def _whole(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        with self.wire.open(self.rendition.url, dict(self.rendition.headers)) as answer:
            self._check_type(answer)
            size = _length(answer)
            self._check_size(size)
            self._receive(answer, size or self.wire.limit + 1, file, exact=bool(size))

    def _ask(self, start: int, length: int) -> Any:
        headers = dict(self.rendition.headers) | {"Range": f"bytes={start}-{start + length - 1}"}
        return self.wire.open(self.rendition.url, headers)

    def _receive(self, answer: Any, length: int, out: Any, exact: bool = True) -> None:
        """Read `length` bytes of an answer's body into `out`; fewer are an error if `exact`, but for a first look."""
        got, piece = 0, SMALLEST
        while got < length:
            began = time.time()
            data = answer.read(min(piece, length - got))
            if not data:
                break
            got += len(data)
            if isinstance(out, bytearray):
                out += data
            else:
                out.write(data)
                self._check_size(out.tell())
            now = time.time()
            if now > self.wire.latest:
                raise Retry("network.deadline", f"too slow: {got} of {length} bytes when the time was up")
            piece = min(piece * 2, LARGEST) if now - began < 0.1 else max(piece // 2, SMALLEST)
        if got < length and exact and (self.ranges or not isinstance(out, bytearray)):
            raise Retry("network.truncated", f"{got} of {length} bytes received")

    def _check_type(self, answer: Any) -> None:
        kind = answer.headers.get("Content-Type") or ""
        if PAGES.match(kind):
            raise Retry(
                "unknown.page", f"the server sent {kind[:60]!r} instead of media: a block, a login or an error page"
            )
        if PLAYLISTS.search(kind):
            raise typed(Reason(REJECTED, "unsupported"), f"a playlist ({kind[:60]!r}), not a media file")

    def _check_size(self, size: int) -> None:
        if size > self.wire.limit:
            raise Rejected("too_large", f"{size} bytes, the recipe allows {self.wire.limit}")


def _total(answer: Any, start: int) -> int:
    """Size of the file by the Content-Range header (RFC 9110, 14.4); 0 for none or another part than asked for."""
    found = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18})", answer.headers.get("Content-Range") or "")
    return int(found[2]) if found and int(found[1]) == start else 0


def _length(answer: Any) -> int:
    """The Content-Length header; 0 for none or nonsense."""
    text = answer.headers.get("Content-Length") or ""
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else 0


def _validator(answer: Any) -> str:
    return str(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
