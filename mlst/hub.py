"""What everything that talks to the Hugging Face Hub has to know of its client."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported by `__getattr__`

TRANSPORT_ERROR: type[Exception] = httpx.HTTPError
"""What the client's HTTP library raises. The client exports that library by this name, be it httpx or httpx2."""
PATIENCE = 5.0
"""Seconds in which the Hub has to take a connection."""


def unreachable() -> str:
    """Why this machine gets no connection to the Hub, with the remedy; "" where it gets one, where a proxy is between
    them, and in offline mode. The client itself tries for 23 s without a word before it says so."""
    where = urlsplit(constants.ENDPOINT)
    host, port = where.hostname or "", where.port or (443 if where.scheme == "https" else 80)
    proxies = getproxies()
    if constants.HF_HUB_OFFLINE or ((where.scheme in proxies or "all" in proxies) and not proxy_bypass(host)):
        return ""
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except OSError as why:
        return f"{host} cannot be reached ({why}); connect to the network, or name a proxy in HTTPS_PROXY"
    return ""
