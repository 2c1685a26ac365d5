"""What is to be said of a clip's video, found out in a confined process, which every thread keeps from clip to clip:
libav reads a stranger's bytes there and nowhere else. Where the kernel can confine none, it is found out here."""

import json
import threading

import av
from av.video.reformatter import VideoReformatter

from mlst.pictures.decode import frames_of
from mlst.pictures.mp4 import NotAClip
from mlst.pictures.presentation import rgb
from mlst.sandbox.helper import Helper, Lost, Work
from mlst.sandbox.kernel import missing
from mlst.text import number_of

LONGEST = 1000
"""Characters of what is said of a clip."""
_own = threading.local()


def judged(mp4: bytes, side: int, frames: int) -> tuple[int, str]:
    """As `decoded`, also of a clip that crashes its decoder."""
    if missing():
        return decoded(mp4, side, frames)
    try:
        count, detail = json.loads(_helper().ask(json.dumps([side, frames]).encode() + b"\n" + mp4))
    except Lost as why:
        return 0, f"does not decode: its process {str(why)[:LONGEST]}"
    except (ValueError, TypeError):
        return 0, "does not decode: its process answered something else"
    if type(count) is not int or type(detail) is not str or not 0 <= count <= frames + 1:
        return 0, "does not decode: its process answered something else"
    return count, ascii(detail)[1:-1][:LONGEST] if not detail.isprintable() else detail[:LONGEST]


def decoded(mp4: bytes, side: int, frames: int) -> tuple[int, str]:
    """Decode a clip as the loader does: how many frames came, and what is wrong with it, "" if nothing.

    Its first and last frame are converted to RGB: what decodes need not convert.
    """
    count, to_rgb, last = 0, VideoReformatter(), None
    try:
        for frame in frames_of(mp4, side):
            count += 1
            if count > frames:
                return count, f"frame {count - 1} is one too many ({frames} declared)"
            if last is None:
                rgb(frame, to_rgb)
            last = frame
        if last is not None:
            rgb(last, to_rgb)
    except NotAClip as why:
        return count, str(why)
    except (av.error.FFmpegError, OSError, ValueError, EOFError) as why:
        return count, f"does not decode after {number_of(count, 'frame')}: {why}"
    return count, "" if count == frames else f"{number_of(count, 'frame')}, {frames} declared"


def work(request: bytes, shared: memoryview) -> bytes:
    """In the confined process: `decoded` as JSON."""
    del shared
    numbers, _, mp4 = request.partition(b"\n")
    return json.dumps(decoded(mp4, *json.loads(numbers))).encode()


WORK = Work(work, shared=0, seconds=600.0, memory=4 << 30)
"""Ten minutes are for the largest clip that a dataset may declare; libraries only reserve most of their memory."""


def _helper() -> Helper:
    found: Helper | None = getattr(_own, "helper", None)
    if found is None or found.work is not WORK:
        _own.helper = found = Helper(WORK)
    return found
