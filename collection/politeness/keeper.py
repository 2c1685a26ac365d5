"""The request budget of several machines, kept by one of them.

A request is one line of JSON over one TCP connection: who asks (a token that only the workers were given), for which
egress address and budget, and what. Answers are waits in seconds, so that the machines' clocks need not agree.
"""

import contextlib
import hmac
import json
import secrets
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from collection.engine.stage import Retry
from collection.politeness.budget import Budget, Politeness

SCHEME = "tcp://"
LINE = 1 << 16
"""Bytes of a request or an answer at most."""
SILENCE = 30.0
"""Seconds until a request or an answer is given up."""


def politeness(place: str, egress: str, budget: Budget) -> Politeness:
    """The budget of an egress address, kept in the folder `place` or by the keeper whose address `place` is."""
    return Distant(place, egress, budget) if place.startswith(SCHEME) else Politeness(Path(place), egress, budget)


@contextlib.contextmanager
def serving(folder: Path, host: str) -> Iterator[str]:
    """Keep the budgets in `folder` for whoever can reach `host`, an address of this machine; gives the keeper's."""
    token = secrets.token_hex(16)

    class Handler(socketserver.StreamRequestHandler):
        timeout = SILENCE

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.wfile.write(_answer(self.rfile.readline(LINE), token, folder) + b"\n")

    with _Server((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield f"{SCHEME}{token}@{host}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def _answer(line: bytes, token: str, folder: Path) -> bytes:
    try:
        asked = json.loads(line)
        if not hmac.compare_digest(str(asked["token"]), token):
            return b'{"error": "wrong token"}'
        polite = Politeness(folder, str(asked["egress"]), Budget(**asked["budget"]))
        wait = getattr(polite, ASKED[asked["do"]])(*asked["with"])
    except Retry as why:
        return json.dumps({"retry": [why.kind, why.detail]}).encode()
    except (ValueError, TypeError, KeyError, AttributeError) as why:
        return json.dumps({"error": f"{type(why).__name__}: {why}"}).encode()
    return json.dumps({"wait": wait or 0.0}).encode()


ASKED: Mapping[str, str] = {name: name for name in ("reserve", "hold", "admit", "report")}
"""What may be asked of a keeper."""


class Distant(Politeness):
    """A budget that another machine keeps."""

    def __init__(self, address: str, egress: str, budget: Budget) -> None:
        super().__init__(Path(), egress, budget)
        self._token, _, place = address.removeprefix(SCHEME).partition("@")
        host, _, port = place.rpartition(":")
        self._place, self._egress = (host, int(port)), egress

    def reserve(self, host: str, patience: float) -> float:
        """See `Politeness.reserve`."""
        return self._ask("reserve", host, min(patience, 1e9))  # JSON knows no infinity

    def hold(self, host: str, seconds: float) -> None:
        """See `Politeness.hold`."""
        self._ask("hold", host, seconds)

    def admit(self, site: str, item: str, run: str) -> float:
        """See `Politeness.admit`."""
        return self._ask("admit", site, item, run)

    def report(self, site: str, item: str, kind: str) -> bool:
        """See `Politeness.report`."""
        return bool(self._ask("report", site, item, kind))

    def _ask(self, what: str, *values: Any) -> float:
        budget = asdict(self.budget)
        asked = {"token": self._token, "egress": self._egress, "budget": budget, "do": what, "with": values}
        try:
            with socket.create_connection(self._place, SILENCE) as wire:
                wire.sendall(json.dumps(asked).encode() + b"\n")
                answer = json.loads(wire.makefile("rb").readline(LINE))
        except (OSError, ValueError) as why:
            raise Retry("unknown", f"the driver, which keeps the request budget, does not answer: {why}") from None
        if "retry" in answer:
            raise Retry(*answer["retry"])
        if "error" in answer:
            raise RuntimeError(f"the keeper of the request budget refused {what}: {answer['error']}")
        return float(answer["wait"])
