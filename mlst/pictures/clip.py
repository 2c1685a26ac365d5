"""The one way in which a clip of a dataset is opened: H.264 in MP4 of the size that the dataset declares.

The boxes are looked at before libav is: it then knows of no other demuxer, decoder, protocol or size, also while it
looks for what a stream is, and finds in the file what stands in the boxes.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import av
from av.video.stream import VideoStream

from mlst.pictures.decode import ALIGNED
from mlst.pictures.mp4 import BRANDS, NotAClip

DEMUXER = "mov,mp4,m4a,3gp,3g2,mj2"
"""libav's name of it."""
GUARDS = {
    "format_whitelist": DEMUXER,
    "codec_whitelist": "h264",
    "protocol_whitelist": "file",
    "enable_drefs": "0",
    "use_absolute_path": "0",
}


@contextlib.contextmanager
def opened_clip(mp4: bytes, side: int) -> Iterator[tuple[Any, VideoStream]]:
    """The demuxer and the video stream of a clip of `side` x `side` pixels, ready to decode on one thread.

    Raises `NotAClip`, or what PyAV raises for bytes that are damaged: `av.FFmpegError`, OSError.
    """
    if mp4[4:8] != b"ftyp" or mp4[8:12] not in BRANDS:
        raise NotAClip(f"is no MP4: it begins with {mp4[:12].hex(' ') or 'nothing'}")
    limit = {"max_pixels": str((-(-side // ALIGNED) * ALIGNED) ** 2)}
    options = {**GUARDS, **limit}
    try:
        container = av.open(io.BytesIO(mp4), "r", format="mov", options=options, metadata_errors="replace")
    except av.FFmpegError as why:
        raise NotAClip(f"does not open: {why.strerror}") from None
    with container:
        stream = _only_video(container, side)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        stream.codec_context.options = limit
        yield container, stream


def _only_video(container: Any, side: int) -> VideoStream:
    kinds = [stream.type for stream in container.streams][:10]
    if kinds != ["video"]:
        raise NotAClip(f"has {', '.join(kinds) or 'no'} streams, not one video stream")
    stream: VideoStream = container.streams.video[0]
    codec = stream.codec_context
    if codec is None:
        raise NotAClip("is of no known codec")
    if codec.name != "h264" or (codec.width, codec.height) != (side, side):
        raise NotAClip(f"is {codec.name} of {codec.width}x{codec.height}, not h264 of {side}x{side}")
    return stream
