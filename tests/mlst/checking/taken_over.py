"""A decoder of clips that has been taken over."""

import json
import os
import signal
from pathlib import Path


def dies(request: bytes, shared: memoryview) -> bytes:
    """A decoder that was taken over, by its request: it crashes, answers nonsense, or tries to do more."""
    if b"crash" in request:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"write" in request:
        Path(request.rpartition(b"write ")[2].decode()).write_text("x")
    return json.dumps([10**9, "x"] if b"count" in request else {"a": 1}).encode()
