"""Servers that dribble: each costs a worker seconds and counts against the network, never against the item."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collection.engine.ledger import breaks
from collection.engine.stage import FAILED, attempt
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.politeness.budget import Budget, Patience
from collection.recipe import FetchSettings
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END, Source
from tests.synthetic import Spec, write

IMPATIENT = Patience(attempts=2, base=0.01, longest=0.02, silence=0.3)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"
Answer = Callable[[], Iterator[bytes]]


@contextmanager
def raw(answer: Answer) -> Iterator[str]:
    """URL of a server that sends the pieces of `answer` to everybody, until they hang up."""

    def talk(wire: socket.socket) -> None:
        with wire, contextlib.suppress(OSError):
            wire.recv(65536)
            for piece in answer():
                wire.sendall(piece)

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4"
        server.shutdown(socket.SHUT_RDWR)


def dribbled(data: Iterator[bytes]) -> Iterator[bytes]:
    """A piece in every tenth of a second: far from silent, and far too slow."""
    for piece in data:
        yield piece
        time.sleep(0.1)


def letters(text: bytes) -> Iterator[bytes]:
    return (bytes([byte]) for byte in itertools.cycle(text))


DRIBBLES: dict[str, Answer] = {
    "a status line": lambda: dribbled(letters(b"HTTP/1.1 ")),
    "headers": lambda: itertools.chain([OK], dribbled(letters(b"X-Wait: a\r\n"))),
    "one header without an end": lambda: itertools.chain([OK, b"X: "], itertools.repeat(b"a" * 4096)),
    "continue, for ever": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "continue, slowly": lambda: dribbled(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "a body": lambda: itertools.chain([OK + b"Content-Length: 100000\r\n\r\n"], dribbled(letters(b"\0"))),
    "a body without an end": lambda: itertools.chain([OK + b"\r\n"], dribbled(letters(b"\0"))),
    "chunks": lambda: itertools.chain(
        [OK + b"Transfer-Encoding: chunked\r\n\r\n"], dribbled(itertools.repeat(b"1\r\n\0\r\n"))
    ),
    "the length of a chunk": lambda: itertools.chain(
        [OK + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1" * 4096)
    ),
    "trailers": lambda: itertools.chain(
        [OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n0\r\n"], itertools.repeat(b"X: a\r\n" * 100)
    ),
    "redirects": lambda: itertools.chain([b"HTTP/1.1 302 Found\r\nLocation: /b"], dribbled(letters(b"b"))),
}


@pytest.mark.slow
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("name", DRIBBLES)
def test_a_server_that_dribbles_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, private: bool
) -> None:
    monkeypatch.setattr("collection.fetch.reach.inside", lambda address: False)
    with raw(DRIBBLES[name]) as url:
        outcome = attempt(stage(private), source(url), Workspace(tmp_path, "fetch"))
    assert (outcome.status, outcome.kind.partition(".")[0]) == (FAILED, "network"), outcome
    assert not breaks(outcome.status, outcome.kind)


def test_slow_is_not_too_slow(tmp_path: Path) -> None:
    data = write(tmp_path / "a.mp4", Spec(frames=3, width=64, height=48)).read_bytes()

    def answer() -> Iterator[bytes]:
        yield OK + f"Content-Length: {len(data)}\r\n".encode()
        time.sleep(0.2)
        yield b"\r\n"
        for at in range(0, len(data), 512):
            time.sleep(0.1)
            yield data[at : at + 512]

    with raw(answer) as url:
        outcome = attempt(stage(True), source(url), Workspace(tmp_path / "work", "fetch"))
    assert outcome.status == "done", outcome


def stage(private: bool) -> FetchStage:
    access = Access(budget=Budget(requests_per_minute=6e4, burst=1000, spacing=0), patience=IMPATIENT)
    return FetchStage(FetchSettings(extractors=(), http=True, private=private), "", access)


def source(url: str) -> Source:
    return Source("a", url, OPEN_END * 0, OPEN_END, "unknown", "", "", "a", "test")
