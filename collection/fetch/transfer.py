"""Reading one media URL: ranges, resuming, size limits, deadline; every failure typed."""

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from collection.engine.stage import FAILED, Rejected, Retry
from collection.fetch.extent import extent
from collection.fetch.reasons import Reason, classify, redact, typed
from collection.fetch.spans import Whole
from collection.fetch.ytdlp import HTTPError, Rendition, RequestError, told, typed_inside
from collection.politeness.budget import Patience, retrying

HEAD = 256 << 10
"""Bytes of the first request: enough for the index at the front of most files, little where a span is all we want."""

PIECE = 256 << 20
"""Bytes per request where the site sets no limit: each gets attempts of its own."""

SMALLEST, LARGEST = 512, 64 << 10
"""Bytes per read from a connection; small while it is slow, so that the deadline is looked at often enough. A broken
connection loses the read that it breaks."""

UNRANGED = (400, 416, 501)
"""Answers of servers that cannot take a range, or not one that reaches beyond the end: a plain GET may do."""

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
    """When to give up, seconds of `time.monotonic`."""
    direct: bool
    """Whether the URL is the manifest's own: then 404 means that the file is gone, and not that a link has expired."""
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """What a server says of the version of a file that it sends: ETag and Last-Modified, each "" for none."""

    tag: str
    modified: str

    @property
    def name(self) -> str:
        """The one of them that tells most."""
        return self.tag or self.modified

    def may_be(self, other: "Version") -> bool:
        """Whether both may be the same bytes. Only strong tags can tell that they are not (RFC 9110, 8.8.3.2): a
        weak one changes with the server that answers; without tags the time of the change decides."""
        if self.tag.removeprefix("W/") == other.tag.removeprefix("W/") != "":
            return True
        strong = self.tag.startswith('"') and other.tag.startswith('"')
        return not strong and self.modified == other.modified


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
    version: Version = Version("", "")
    kind: str = ""
    """The Content-Type."""

    def begin(self) -> None:
        """Ask for the first bytes. Raises `Rejected` or `Retry`."""
        try:
            self._retrying(self._begin)
        except Whole:
            self._retrying(self._begin_plainly)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes `[offset, offset + length)`, which must lie in the file. Raises `Rejected` or `Retry`, and
        `Whole` where the server cannot be relied on to give ranges of one and the same file."""
        if not self.ranges:  # libav reads on after an error
            raise self._unranged("asked before")
        out = bytearray()
        self._retrying(lambda: self._part(offset, offset + length, out))
        return bytes(out)

    def body(self, start: int, stop: int, limit: int) -> bytes:
        """The bytes `[start, stop)` by one request, or all of them where `stop` is 0: for files of at most `limit`
        bytes. Needs no `begin`. Raises `Rejected` or `Retry`."""
        self.wire = replace(self.wire, limit=min(limit, self.wire.limit))
        out = bytearray()
        self._retrying(lambda: self._body(start, stop, out))
        return bytes(out)

    def save(self, file: BinaryIO, container: str) -> None:
        """The whole file into `file`, which can be read too, from where a broken connection left off if the server can
        do that, else by one plain request. `container` names the demuxer of the first bytes."""
        if self.ranges:
            with contextlib.suppress(Whole):
                self._save_parts(file)
        if not self.ranges:
            self._retrying(lambda: self._whole(file, container))

    def unlike_media(self, why: Rejected) -> Rejected | Retry:
        """`why` the first bytes are no media, and what the server calls them: the bytes decide, and where they say
        nothing, the header."""
        if why.kind in ("not_media", "corrupt") and PAGES.match(self.kind):
            return self._page()
        if why.kind == "not_media" and PLAYLISTS.search(self.kind):
            return Rejected("unsupported", f"a playlist ({self.kind[:60]!r}), not a media file")
        return why

    def _save_parts(self, file: BinaryIO) -> None:
        file.write(self.head)
        while file.tell() < self.size:
            end = min(self.size, file.tell() + (self.rendition.chunk or PIECE))
            self._retrying(lambda end=end: self._part(file.tell(), end, file))  # type: ignore[misc]

    def _retrying(self, call: Callable[[], None]) -> None:
        retrying(self.wire.patience, self.wire.latest, time.monotonic, time.sleep)(self._typed, call)

    def _typed(self, call: Callable[[], None]) -> None:
        """yt-dlp's network errors as typed refusals."""
        try:
            call()
        except RequestError as why:
            raise self._refusal(why) from None

    def _refusal(self, why: RequestError) -> Rejected | Retry:
        if inner := typed_inside(why):
            return inner
        reason = classify(str(why))
        if isinstance(why, HTTPError):
            why.close()
            if reason.kind == "gone.missing" and not self.wire.direct:
                reason = Reason(FAILED, "blocked.forbidden")
        elif not reason.kind.startswith("network."):
            reason = Reason(FAILED, "network.other")
        return typed(reason, redact(str(why), self.wire.secrets), told(why))

    def _begin(self) -> None:
        with self._ask(0, HEAD) as answer:
            total = _total(answer, 0)
            self.ranges = answer.status == 206 and total > 0 and not _encoded(answer)
            if answer.status == 206 and not self.ranges:
                raise self._unranged("parts of an encoded file, or of an unknown one")
            self._first(answer, total or _length(answer))

    def _begin_plainly(self) -> None:
        with self.wire.open(self.rendition.url, dict(self.rendition.headers)) as answer:
            self._first(answer, _length(answer))

    def _first(self, answer: Any, size: int) -> None:
        """Take the first bytes of an answer to a file of `size` bytes, 0 for unknown."""
        self.size, self.kind = size, answer.headers.get("Content-Type") or ""
        self.version = _version(answer)
        self._check_size(size)
        out = bytearray()
        self._receive(answer, min(HEAD, size) if self.ranges else HEAD, out, exact=self.ranges)
        self.head = bytes(out)

    def _part(self, start: int, end: int, out: Any) -> None:
        """Append `[start, end)` to `out`, which may hold some of it from an attempt that broke off."""
        have = len(out) if isinstance(out, bytearray) else 0
        with self._ask(start + have, end - start - have) as answer:
            if answer.status != 206 or _total(answer, start + have) != self.size or _encoded(answer):
                raise self._unranged("ranges are no longer answered, or the file changed")
            if not self.version.may_be(_version(answer)):
                self.version = Version("", self.version.modified)
                raise self._unranged("another tag with every answer, or the file changed")
            self._receive(answer, end - start - have, out)

    def _whole(self, file: BinaryIO, container: str) -> None:
        file.seek(0)
        file.truncate()
        with self.wire.open(self.rendition.url, dict(self.rendition.headers)) as answer:
            size = _length(answer)
            self._check_size(size)
            self._receive(answer, size or self.wire.limit + 1, file, exact=bool(size))
            self.kind = answer.headers.get("Content-Type") or ""
        file.seek(0)
        if PAGES.match(self.kind) and not file.read(HEAD).startswith(self.head[:512]):
            raise self._page()
        stated, got = extent(file, container), file.seek(0, 2)
        if not size and got < stated:
            raise Retry("network.truncated", f"{got} bytes received, the file itself speaks of {stated}")
        self.size = got

    def _body(self, start: int, stop: int, out: bytearray) -> None:
        out.clear()
        headers = dict(self.rendition.headers) | ({"Range": f"bytes={start}-{stop - 1}"} if stop else {})
        with self.wire.open(self.rendition.url, headers) as answer:
            size = _length(answer)
            self._check_size(size)
            self._receive(answer, size or self.wire.limit + 1, out, exact=bool(size))
            if stop and answer.status != 206:
                del out[stop:], out[:start]
        if stop and len(out) != stop - start:
            raise Retry("network.truncated", f"{len(out)} of {stop - start} bytes received")

    def _ask(self, start: int, length: int) -> Any:
        headers = dict(self.rendition.headers) | {"Range": f"bytes={start}-{start + length - 1}"}
        try:
            return self.wire.open(self.rendition.url, headers)
        except HTTPError as why:
            if why.status not in UNRANGED:
                raise
            why.close()
            raise self._unranged(f"HTTP status {why.status} for a range") from None

    def _unranged(self, why: str) -> Whole:
        """No more ranges are asked for."""
        self.ranges = False
        return Whole(f"the server's ranges cannot be used: {why}")

    def _receive(self, answer: Any, length: int, out: Any, exact: bool = True) -> None:
        """Read `length` bytes of an answer's body into `out`; fewer are an error if `exact`."""
        got, piece = 0, SMALLEST
        while got < length:
            began = time.monotonic()
            data = answer.read(min(piece, length - got))
            if not data:
                break
            got += len(data)
            if isinstance(out, bytearray):
                out += data
                self._check_size(len(out))
            else:
                out.write(data)
                self._check_size(out.tell())
            now = time.monotonic()
            if now > self.wire.latest:
                raise Retry("network.deadline", f"too slow: {got} of {length} bytes when the time was up")
            piece = min(piece * 2, LARGEST) if now - began < 0.1 else max(piece // 2, SMALLEST)
        if got < length and exact:
            raise Retry("network.truncated", f"{got} of {length} bytes received")

    def _page(self) -> Retry:
        return Retry(
            "unknown.page", f"the server sent {self.kind[:60]!r} instead of media: a block, a login, an error"
        )

    def _check_size(self, size: int) -> None:
        if size > self.wire.limit:
            raise Rejected("too_large", f"{size} bytes, allowed is {self.wire.limit}")


def _total(answer: Any, start: int) -> int:
    """Size of the file by the Content-Range header (RFC 9110, 14.4); 0 for none or another part than asked for."""
    found = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18})", answer.headers.get("Content-Range") or "")
    return int(found[2]) if found and int(found[1]) == start else 0


def _length(answer: Any) -> int:
    """Bytes of the body by the Content-Length header; 0 for none or nonsense, and where it counts those of an encoded
    body (RFC 9110, 8.4): what is read is decoded."""
    text = answer.headers.get("Content-Length") or ""
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) and not _encoded(answer) else 0


def _encoded(answer: Any) -> bool:
    """Whether a server compressed the body, although it was asked not to."""
    return (answer.headers.get("Content-Encoding") or "identity").strip().lower() not in ("identity", "")


def _version(answer: Any) -> Version:
    return Version(str(answer.headers.get("ETag") or ""), str(answer.headers.get("Last-Modified") or ""))
