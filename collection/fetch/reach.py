"""Which machines may be asked: none inside the own network, unless the recipe says so.

A name is resolved once, each of its addresses is judged, and the connection goes to one of those: nobody can give one
address to the check and another to the connection (DNS rebinding). Redirects make connections of their own and pass
here too. Where a proxy connects in our place, it resolves the names, and only what a URL itself says can be judged.
"""

import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, ClassVar
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from yt_dlp.networking.exceptions import RequestError

from collection.engine.stage import Rejected
from collection.fetch.pace import Paced, PacedRH

SERVICES = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))
"""Of clouds' own services although they look public: Azure's, and Oracle's in a range that RFC 6890 keeps for
protocols; those of the others lie in private ranges."""

NAT64 = ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for an IPv4 address (RFC 6052)."""


def inside(address: str) -> bool:
    """Whether an address is not of the public Internet: private, loopback, link-local (and so the metadata services of
    clouds), shared, reserved, multicast; also where IPv6 only wraps such an IPv4 address."""
    one = ip_address(address.partition("%")[0])
    wrapped = _wrapped(one) if isinstance(one, IPv6Address) else None
    if wrapped is not None:
        return inside(str(wrapped))
    return not one.is_global or one.is_multicast or one.is_reserved or any(one in services for services in SERVICES)


def _wrapped(one: IPv6Address) -> IPv4Address | None:
    if one in NAT64:
        return IPv4Address(int(one) & 0xFFFFFFFF)
    return one.ipv4_mapped or one.sixtofour


def places(host: str, port: int) -> list[Any]:
    """What `socket.getaddrinfo` gives for a host. Raises `Rejected("not_allowed")` if any of it is `inside`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, place in found:
        if inside(str(place[0])):
            raise _refusal(host, str(place[0]))
    return found


def _refusal(host: str, address: str) -> Rejected:
    where = host if host == address else f"{host} is at {address}, which"
    return Rejected(
        "not_allowed", f"{where} is not a public address; allowed if the recipe sets private = true in [fetch]"
    )


class _Judged(Paced):
    """A connection of urllib3 that goes to an address that was judged."""

    def _new_conn(self: Any) -> Any:
        try:
            found = places(self._dns_host, self.port)
        except (socket.gaierror, UnicodeError) as why:
            raise NameResolutionError(self.host, self, socket.gaierror(str(why))) from why
        for place in found[:-1]:
            try:
                return self._connected(place)
            except (ConnectTimeoutError, NewConnectionError):
                continue
        return self._connected(found[-1])

    def _connected(self: Any, found: Any) -> socket.socket:
        family, kind, protocol, _, place = found
        wire = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                wire.setsockopt(*option)
            wire.settimeout(self.timeout)
            if self.source_address:
                wire.bind(self.source_address)
            wire.connect(place)
        except TimeoutError as why:
            wire.close()
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from why
        except OSError as why:
            wire.close()
            raise NewConnectionError(self, f"Failed to establish a new connection: {why}") from why
        return wire


class _Http(_Judged, HTTPConnection):
    pass


class _Https(_Judged, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class JudgedRH(PacedRH):
    """yt-dlp's request handler for connections to the public Internet alone."""

    pools: ClassVar[Mapping[str, type[HTTPConnectionPool]]] = {"http": _HttpPool, "https": _HttpsPool}

    def _create_instance(self, *arguments: Any, **named: Any) -> Any:
        session = super()._create_instance(*arguments, **named)
        send = session.send

        def judged(request: Any, **named: Any) -> Any:
            _judge(request.url)
            return send(request, **named)

        session.send = judged
        return session

    def _send(self, request: Any) -> Any:
        try:
            return super()._send(request)
        except Rejected as why:
            raise RequestError(why.detail, cause=why) from why


def _judge(url: str) -> None:
    """Raises `Rejected` for a URL that itself says an address inside, or the own machine's name."""
    host = urlsplit(url).hostname or ""
    try:
        private = inside(host)
    except ValueError:
        private = host == "localhost" or host.endswith((".localhost", ".internal", ".local"))
    if private:
        raise _refusal(host, host)
