"""Clips decoded in a confined process, which hands over their pictures in shared memory."""

import json
import threading

import numpy as np
from numpy.typing import NDArray

from mlst.pictures.decode import Form, decode_into
from mlst.pictures.mp4 import NotAClip
from mlst.sandbox.helper import Helper, Lost, Work

SECONDS = 60.0
"""For a clip; a fast machine decodes one of 256x256 pixels in a hundredth of a second."""
MEMORY = 4 << 30
"""Bytes of address space, most of which libraries only reserve."""
LONGEST = 500
"""Characters of what is said about a clip."""
_own = threading.local()
"""Each thread has a process of its own, and keeps it from clip to clip."""


def decode_confined(out: NDArray[np.uint8], mp4: bytes, form: Form) -> None:
    """As `decode_into`. Raises `NotAClip` for a clip that crashes or stops its decoder too; `Unconfined` where the
    kernel cannot confine one."""
    helper = _helper(form.size)
    header = json.dumps([form.frames, form.stored, form.side, form.colour])
    try:
        said = helper.ask(header.encode() + b"\n" + mp4)
    except Lost as why:
        raise NotAClip(f"does not decode: its process {why}") from None
    if said:
        raise NotAClip(ascii(said.decode(errors="replace"))[1:-1][:LONGEST])
    out[...] = np.frombuffer(helper.shared, np.uint8, form.size).reshape(form.shape)


def _helper(size: int) -> Helper:
    found: Helper | None = getattr(_own, "helper", None)
    if found is None or found.work.shared != size:
        _own.helper = found = Helper(Work(work, shared=size, seconds=SECONDS, memory=MEMORY))
    return found


def work(request: bytes, shared: memoryview) -> bytes:
    """In the confined process: what is wrong with the clip, nothing if its pictures are in `shared`."""
    header, _, mp4 = request.partition(b"\n")
    form = Form(*json.loads(header))
    try:
        decode_into(np.frombuffer(shared, np.uint8).reshape(form.shape), mp4, form)
    except NotAClip as why:
        return str(why).encode()
    return b""
