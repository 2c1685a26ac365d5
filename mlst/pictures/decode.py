"""The bytes of a clip to its pictures, with PyAV. One thread: loaders already run in parallel.

Only the decoder of H.264 is ever opened, on the frames that `mlst.pictures.mp4` finds, for no more pixels than
declared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from mlst.pictures.mp4 import NotAClip, track_of
from mlst.pictures.presentation import rgb, rgb_planes
from mlst.text import number_of

Colour: TypeAlias = Literal["rgb", "grey"]
ALIGNED = 64
"""Pixels: libav compares the number of a picture's pixels with its limit after rounding up its width to this."""


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

    @property
    def size(self) -> int:
        """Bytes of a clip."""
        frames, channels, height, width = self.shape
        return frames * channels * height * width


def decode_into(out: NDArray[np.uint8], mp4: bytes, form: Form) -> None:
    """Fill `out`, shape `form.shape`, with the first `form.frames` frames of an H.264 mp4.

    Pixels are FFmpeg's conversion to full-range RGB, as `frame.to_ndarray(format="rgb24")` gives; resizing averages
    areas downwards and is bilinear upwards; grey is the rounded mean of R, G and B, as the authors of ASTM read MLST.

    Raises
    ------
    NotAClip: not H.264 in mp4 of the stored size, damaged, or fewer frames.
    """
    count, to_rgb = 0, VideoReformatter()
    try:
        for frame in frames_of(mp4, form.stored):
            _put(out[count], frame, form, to_rgb)
            count += 1
            if count == form.frames:
                return
    except (av.FFmpegError, OSError) as why:
        raise NotAClip(f"does not decode after {number_of(count, 'frame')}: {why}") from None
    raise NotAClip(f"has {number_of(count, 'frame')}, {number_of(form.frames, 'is', 'are')} wanted")


def frames_of(mp4: bytes, side: int) -> Iterator[VideoFrame]:
    """The frames of a clip of `side` x `side` pixels in the order of display.

    Raises `NotAClip`, or `av.FFmpegError` where the decoder fails.
    """
    track = track_of(mp4)
    if (track.width, track.height) != (side, side):
        raise NotAClip(f"is H.264 of {track.width}x{track.height}, not of {side}x{side}")
    decoder = av.VideoCodecContext.create("h264", "r")
    decoder.extradata, decoder.thread_type, decoder.thread_count = track.settings, "NONE", 1
    decoder.options = {"max_pixels": str((-(-side // ALIGNED) * ALIGNED) ** 2)}
    packets = (av.Packet(mp4[offset : offset + size]) for offset, size in track.samples)
    for packet in (*packets, None):  # None: what the decoder still holds
        for frame in decoder.decode(packet):
            if frame.is_corrupt or (frame.width, frame.height) != (side, side):
                raise NotAClip(f"has a damaged frame or one of {frame.width}x{frame.height}")
            yield frame


def _put(planes: NDArray[np.uint8], frame: VideoFrame, form: Form, to_rgb: VideoReformatter) -> None:
    """Write a picture to `planes`, (C, side, side)."""
    if form.side == form.stored and form.colour == "rgb":
        for plane, values in zip(planes, rgb_planes(frame, to_rgb), strict=True):
            plane[...] = values
        return
    picture = rgb(frame, to_rgb)
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
