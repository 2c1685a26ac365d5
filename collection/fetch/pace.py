"""How slow an answer may be: a server that dribbles must not hold a worker.

A connection's timeout bounds one silence, and a byte now and then is no silence. So the head of an answer, with all
the `100 Continue` before it, has to be here after `HEAD` silences, and a body must come at `SLOWEST` at least. What is
slower ends as a timeout of the connection does, which says nothing against the item.
"""

import io
import math
import socket
import time
from collections.abc import Mapping
from http.client import HTTPResponse
from typing import Any, ClassVar

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from yt_dlp.networking._requests import (
    RequestsRH,
    SocksHTTPConnection,
    SocksHTTPConnectionPool,
    SocksHTTPSConnection,
    SocksHTTPSConnectionPool,
)

HEAD = 2.0
"""Silences that the whole head of an answer may take."""
WINDOW = 2.0
"""Silences of waiting, at the end of which the speed is judged."""
SLOWEST = 1024
"""Bytes per second."""
UNSET = 20.0
"""Seconds of silence where a connection has no timeout."""


class _Wire(io.RawIOBase):
    """The bytes of a connection. Raises `TimeoutError` when they come too slowly; only waiting counts."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._connection = raw, connection
        self._silence = connection.gettimeout() or UNSET
        self._waited, self._got = 0.0, 0
        self.begin()

    def begin(self) -> None:
        """A head, or what may follow a body, is to come: it has so long."""
        self._latest = time.monotonic() + HEAD * self._silence

    def end(self) -> None:
        """It is here."""
        self._latest = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        if began >= self._latest:
            raise TimeoutError("timed out: no whole head of an answer")
        self._connection.settimeout(min(self._silence, self._latest - began))
        try:
            got = self._raw.readinto(buffer)
        finally:
            self._connection.settimeout(self._silence)
        self._judge(time.monotonic() - began, got or 0)
        return int(got or 0)

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _judge(self, waited: float, got: int) -> None:
        self._waited, self._got = self._waited + waited, self._got + got
        if self._waited < WINDOW * self._silence:
            return
        if got and self._got < SLOWEST * self._waited:
            raise TimeoutError(f"timed out: {self._got} bytes in {self._waited:.0f} s")
        self._waited, self._got = 0.0, 0


class _Answer(HTTPResponse):
    """An answer that is read through a `_Wire`."""

    def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        connection = getattr(sock, "socket", sock)  # urllib3 wraps the one of a proxy that TLS goes through
        self._wire = _Wire(self.fp.detach(), connection)
        self.fp = io.BufferedReader(self._wire)

    def begin(self) -> None:
        super().begin()
        self._wire.end()

    def _read_and_discard_trailer(self) -> None:
        self._wire.begin()  # http.client reads trailers without an end
        super()._read_and_discard_trailer()  # type: ignore[misc]  # which typeshed leaves out
        self._wire.end()


class Paced:
    """A connection of urllib3 with such answers."""

    response_class: Any = _Answer


class _Http(Paced, HTTPConnection):
    pass


class _Https(Paced, HTTPSConnection):
    pass


class _SocksHttp(Paced, SocksHTTPConnection):  # type: ignore[misc]
    pass


class _SocksHttps(Paced, SocksHTTPSConnection):  # type: ignore[misc]
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _SocksHttpPool(SocksHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _SocksHttp


class _SocksHttpsPool(SocksHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _SocksHttps


POOLS: Mapping[str, type[HTTPConnectionPool]] = {"http": _HttpPool, "https": _HttpsPool}
SOCKS: Mapping[str, type[HTTPConnectionPool]] = {"http": _SocksHttpPool, "https": _SocksHttpsPool}


class PacedRH(RequestsRH):  # type: ignore[misc]
    """yt-dlp's request handler with connections that are not slow, also through a proxy."""

    pools: ClassVar[Mapping[str, type[HTTPConnectionPool]]] = POOLS

    def _create_instance(self, *arguments: Any, **named: Any) -> Any:
        session = super()._create_instance(*arguments, **named)
        for adapter in set(session.adapters.values()):
            adapter.poolmanager.pool_classes_by_scheme = self.pools
            adapter.proxy_manager_for = _paced(adapter.proxy_manager_for)
        return session


def _paced(managed: Any) -> Any:
    def manager(proxy: str, **named: Any) -> Any:
        found = managed(proxy, **named)
        found.pool_classes_by_scheme = SOCKS if proxy.lower().startswith("socks") else POOLS
        return found

    return manager
