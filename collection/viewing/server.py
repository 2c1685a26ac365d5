"""A folder of a dataset on 127.0.0.1, for the browser of the person who asked: `mlst view`.

Read only but for one file, the review. Whoever asks must know the token in the address and name this host, which a
stranger's page in the same browser cannot. Only the shards that `dataset.json` names are served.
"""

import os
import re
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from collection.review import ReviewError, parse_review, review_text
from collection.viewing.page import VIEWER, viewer
from collection.viewing.table import TABLE, table_bytes
from mlst.dataset.description import REVIEW, read_dataset
from mlst.dataset.shards import PATH
from mlst.exits import UserError
from mlst.files import atomic
from mlst.inside import UnsafeName, file_in, opened

HOST = "127.0.0.1"
LARGEST_REVIEW = 64 << 20
"""Bytes: a million marks with short notes."""
PIECE = 1 << 20
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class ViewError(UserError, ValueError):
    """A folder that cannot be viewed, or a review that cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is served: bytes that were made for it, and shards of a folder."""

    folder: Path
    made: dict[str, tuple[str, bytes]]
    """Media type and content by name."""
    shards: frozenset[str]
    review: Path


def shelf(folder: Path, review: Path) -> Shelf:
    """What `mlst view` serves of the dataset in `folder`, whose marks are kept in `review`. Raises `ViewError`."""
    try:
        dataset = read_dataset(folder)
        table = table_bytes(folder, dataset)
    except (OSError, ValueError) as why:
        raise ViewError(f"{folder}: {why}; give the folder of a dataset that `mlst verify` finds sound") from None
    try:
        marks = review.read_bytes() if review.exists() else review_text({})
        parse_review(marks, str(review))
    except (OSError, ReviewError) as why:
        raise ViewError(f"{why}; move it away, or name another file with --review") from None
    page = viewer(f"{dataset.title or dataset.name} {dataset.version}", REVIEW).encode()
    made = {VIEWER: ("text/html; charset=utf-8", page), TABLE: ("application/octet-stream", table)}
    return Shelf(folder, made, frozenset(one.path for one in dataset.shards if PATH.fullmatch(one.path)), review)


@contextmanager
def serving(shelf: Shelf, port: int) -> Iterator[str]:
    """Serves until the block ends; gives the address of the page. `port` 0 takes any that is free."""
    token = secrets.token_urlsafe(24)
    server = _Server((HOST, port), _Handler)
    server.shelf, server.token, server.saving = shelf, token, threading.Lock()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/{token}/{VIEWER}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    shelf: Shelf
    token: str
    saving: threading.Lock

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser hangs up whenever somebody jumps to another place of a clip; other errors keep their traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version, sys_version = "mlst", ""

    def do_GET(self) -> None:
        """A file, or a range of it."""
        name = self._asked()
        shelf = self.server.shelf
        if name is None:
            return
        if name in shelf.made:
            self._answer(HTTPStatus.OK, *shelf.made[name])
        elif name == REVIEW:
            text = shelf.review.read_bytes() if shelf.review.exists() else review_text({})
            self._answer(HTTPStatus.OK, "text/csv; charset=utf-8", text)
        elif name in shelf.shards:
            self._shard(name)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such file")

    do_HEAD = do_GET  # noqa: N815 - the name that the library gives it

    def do_PUT(self) -> None:
        """The review, and nothing else."""
        length = self.headers.get("Content-Length", "")
        name = self._asked()
        if name is None:
            return
        own = f"http://{HOST}:{self.server.server_port}"
        if name != REVIEW or self.headers.get("Origin", own) != own:
            self._refuse(HTTPStatus.FORBIDDEN, "only the review is taken, and only from its page")
        elif not re.fullmatch(r"\d{1,9}", length) or int(length) > LARGEST_REVIEW:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a review has at most {LARGEST_REVIEW} bytes")
        else:
            text = self.rfile.read(int(length))
            if len(text) == int(length):
                self._save(text)
            else:  # the page was closed while it sent; what came would replace the marks that did not
                self.close_connection = True

    def _save(self, text: bytes) -> None:
        try:
            parse_review(text, REVIEW)
            with self.server.saving, atomic(self.server.shelf.review) as file:
                file.write(text)
        except (ReviewError, OSError) as why:
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain; charset=utf-8", str(why).encode(errors="replace"))
        else:
            self._answer(HTTPStatus.NO_CONTENT, "text/plain", b"")

    def _asked(self) -> str | None:
        """The name that is asked for, below the token; None where that was refused."""
        host = self.headers.get("Host", "")
        token, _, name = self.path.removeprefix("/").partition("?")[0].partition("/")
        known = secrets.compare_digest(token.encode("latin-1", "replace"), self.server.token.encode())
        if known and host == f"{HOST}:{self.server.server_port}":
            return name
        self._refuse(HTTPStatus.FORBIDDEN, "use the address that `mlst view` printed")
        return None

    def _shard(self, name: str) -> None:
        try:
            file = opened(file_in(self.server.shelf.folder, name))
        except (UnsafeName, OSError):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"the shard is not there")
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            match = RANGE.fullmatch(self.headers.get("Range", ""))
            start = int(match[1]) if match else 0
            end = min(int(match[2]) + 1 if match and match[2] else size, size)
            if match and start >= end:
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "text/plain", 0, f"bytes */{size}")
                return
            status = HTTPStatus.PARTIAL_CONTENT if match else HTTPStatus.OK
            self._head(status, "application/x-tar", end - start, f"bytes {start}-{end - 1}/{size}" if match else "")
            if self.command != "HEAD":
                file.seek(start)
                _copy(file, self.wfile, end - start)

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self._head(status, kind, len(content), "")
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer and hang up: a body that was sent along is not read."""
        self.close_connection = True
        self._answer(status, "text/plain", why.encode())

    def _head(self, status: HTTPStatus, kind: str, length: int, span: str) -> None:
        self.send_response(status)
        told = {"Content-Type": kind, "Content-Length": str(length), "Accept-Ranges": "bytes", **HEADERS}
        told |= {"Content-Range": span} if span else {}
        told |= {"Connection": "close"} if self.close_connection else {}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address holds the token."""


def _copy(file: BinaryIO, to: Any, length: int) -> None:
    while length > 0:
        piece = file.read(min(PIECE, length))
        if not piece:
            return
        to.write(piece)
        length -= len(piece)
