"""A web server on the loopback address that serves files well or badly, and remembers every request."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Page:
    """What lies at a path, and how it is served."""

    body: bytes = b""
    kind: str = "video/mp4"
    status: int = 0
    """Answer this status instead of the body; with `failures`, only so often."""
    failures: int = 10**9
    after: int = 0
    """Requests that go well before `status` is answered."""
    retry_after: str = ""
    ranges: bool = True
    cut: int = -1
    """Announce the whole length, but close the connection after so many bytes of an answer."""
    stall: int = -1
    """Stop sending after so many bytes of an answer and keep the connection open."""
    rate: float = 0.0
    """Bytes per second; 0 for as fast as possible."""
    location: str = ""
    """Redirect there."""
    length: str = ""
    """Announce this as Content-Length, `none` for no such header, and close the connection at the end."""
    gzip: bool = False
    """Compress the body, whatever the client asked for; Content-Length is that of the compressed body."""
    tags: tuple[str, ...] = ()
    """ETags, one per answer in turn."""
    modified: str = ""
    """Last-Modified."""
    to_range: int = 0
    """Answer this status to every request for a range."""
    to_beyond: int = 0
    """Answer this status to requests for a range that ends beyond the body."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One request as the server saw it."""

    path: str
    range: str
    cookie: str
    time: float
    query: str


@dataclass
class MediaServer:
    """`pages` may change while the server runs."""

    pages: dict[str, Page] = field(default_factory=dict)
    hits: list[Hit] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies."""
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        """Address of the page at `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def count(self, path: str) -> int:
        """Requests for `path` so far."""
        return sum(hit.path == path for hit in self.hits)

    def clear(self) -> None:
        """Forget all requests."""
        self.hits.clear()
        self.sent = 0


@cache
def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=1, mtime=0)


@contextmanager
def serving() -> Iterator[MediaServer]:
    """A running server."""
    media = MediaServer()

    class Handler(_Handler):
        server_state = media

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        media.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield media
        finally:
            media.stopping.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: MediaServer

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        media, path = self.server_state, urlsplit(self.path).path
        with media.lock:
            page = media.pages.get(path, Page(status=404))
            before = media.count(path)
            seen = (self.headers.get("Range", ""), self.headers.get("Cookie", ""))
            media.hits.append(Hit(path, *seen, time.time(), urlsplit(self.path).query))
        if page.location:
            self._empty(302, {"Location": page.location})
        elif page.status and page.after <= before < page.after + page.failures:
            self._empty(page.status, {"Retry-After": page.retry_after} if page.retry_after else {})
        elif refused := self._refused(page):
            self._empty(refused, {})
        else:
            self._body(page, before)

    def _refused(self, page: Page) -> int:
        last = self.headers.get("Range", "").rpartition("-")[2]
        if not last:
            return 0
        return page.to_range or (page.to_beyond if int(last) >= len(page.body) else 0)

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self, page: Page, before: int) -> None:
        body = _compressed(page.body) if page.gzip else page.body
        size, asked = len(body), self.headers.get("Range", "")
        start, stop = 0, size
        if page.ranges and asked.startswith("bytes="):
            first, _, last = asked[6:].partition("-")
            start, stop = int(first), min(int(last) + 1 if last else size, size)
            if start >= size:
                self._empty(416, {"Content-Range": f"bytes */{size}"})
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", page.kind)
        if page.length != "none":
            self.send_header("Content-Length", page.length or str(stop - start))
        for name, value in self._about(page, before):
            self.send_header(name, value)
        self.close_connection |= bool(page.length)
        self.end_headers()
        self._send(page, body[start:stop])

    def _about(self, page: Page, before: int) -> Iterator[tuple[str, str]]:
        if page.gzip:
            yield "Content-Encoding", "gzip"
        if page.tags:
            yield "ETag", page.tags[before % len(page.tags)]
        if page.modified:
            yield "Last-Modified", page.modified

    def _send(self, page: Page, data: bytes) -> None:
        end = next((n for n in (page.cut, page.stall) if n >= 0), len(data))
        step = max(1, int(page.rate * 0.02)) if page.rate else 1 << 16
        try:
            for offset in range(0, min(end, len(data)), step):
                piece = data[offset : min(offset + step, end)]
                self.wfile.write(piece)
                with self.server_state.lock:
                    self.server_state.sent += len(piece)
                if page.rate:
                    self.wfile.flush()
                    if self.server_state.stopping.wait(0.02):
                        break
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            return
        if page.stall >= 0:
            self.wfile.flush()
            self.server_state.stopping.wait(60)
        if end < len(data):
            self.close_connection = True
