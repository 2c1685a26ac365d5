"""The bytes of a clip to its pictures, with PyAV. One thread: loaders already run in parallel."""

import io
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from mlst.pictures.presentation import rgb

Colour: TypeAlias = Literal["rgb", "grey"]


@dataclass(frozen=True, slots=True)
class Form:
    """What decoded clips look like."""

    frames: int
    stored: int
    """Width and height as stored, pixels; a video of another size is refused before it is decoded."""
    side: int
    """Width and height wanted."""
    colour: Colour

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, C, H, W)."""
        return self.frames, 3 if self.colour == "rgb" else 1, self.side, self.side


class Undecodable(ValueError):
    """Bytes that are not such a clip."""


def decode_into(out: NDArray[np.uint8], video: bytes, form: Form) -> None:
    """Fill `out`, shape `form.shape`, with the first `form.frames` frames of an H.264 mp4.

    The demuxer is named, never guessed, and no other file is opened. Pixels are FFmpeg's conversion to full-range RGB,
    as `frame.to_ndarray(format="rgb24")` gives; resizing averages areas downwards and is bilinear upwards; grey
    is the rounded mean of R, G and B, as the authors of ASTM read MLST.

    Raises
    ------
    Undecodable: not H.264 in mp4 of the stored size, damaged, or fewer frames.
    """
    count, to_rgb = 0, VideoReformatter()
    try:
        file, options = io.BytesIO(video), {"protocol_whitelist": "file"}
        with av.open(file, format="mov", options=options, metadata_errors="replace") as container:
            for frame in _frames(container, form.stored):
                _put(out[count], rgb(frame, to_rgb), form)
                count += 1
                if count == form.frames:
                    return
    except (av.FFmpegError, OSError) as why:
        raise Undecodable(f"does not decode after {count} frames: {why}") from None
    raise Undecodable(f"has {count} frames, {form.frames} are wanted")


def _frames(container: Any, side: int) -> Any:
    if not container.streams.video:
        raise Undecodable("has no video stream")
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec is None:
        raise Undecodable("is of no known codec")
    if codec.name != "h264" or (codec.width, codec.height) != (side, side):
        raise Undecodable(f"is {codec.name} of {codec.width}x{codec.height}, not h264 of {side}x{side}")
    stream.thread_type, codec.thread_count = "NONE", 1
    for frame in container.decode(stream):
        if frame.is_corrupt or (frame.width, frame.height) != (side, side):
            raise Undecodable(f"has a damaged frame or one of {frame.width}x{frame.height}")
        yield frame


def _put(planes: NDArray[np.uint8], picture: NDArray[np.uint8], form: Form) -> None:
    """Write a picture, (H, W, 3), to `planes`, (C, side, side)."""
    if form.side != form.stored:
        how = cv2.INTER_AREA if form.side < form.stored else cv2.INTER_LINEAR
        picture = cv2.resize(picture, (form.side, form.side), interpolation=how)
    if form.colour == "rgb":
        cv2.split(picture, list(planes))
        return
    total = picture[..., 0].astype(np.uint16)
    total += picture[..., 1]
    total += picture[..., 2]
    total += 1
    np.floor_divide(total, 3, out=planes[0], casting="unsafe")
