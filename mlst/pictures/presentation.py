"""How a video means its frames to be seen: which stream, which part of a frame, which way up, in which colours.

One set of rules for everything here that reads video, whether it makes a dataset or a prediction. Nothing is decoded
and no plane is converted but in `rgb`.

Stream. Pictures attached to music are not video. Of the others: one that moves, one flagged as default and not for the
hearing or visually impaired, the largest picture, the highest bit rate, the first; in that order. It differs from
libav's (`av_find_best_stream`), which puts a thumbnail before a film whose bit rate is lower.

Part. The container's crop (Matroska PixelCrop, the `clap` of MP4) holds for frames of the size that its header
states. A codec's own cropping is the decoder's.

Orientation. The display matrix, to the nearest quarter turn, with mirroring.

Pixel aspect ratio. The container's, until the stream's own changes; from there on the stream's. Unknown or absurd ones
(beyond 1:8) count as 1:1.

Range. Full where the stream or the pixel format (`yuvj...`) says so, else limited, as H.264, HEVC and VP9 infer it.
Matrix where unspecified: BT.709 from 720 lines or 1280 columns, BT.601 (525 lines) below, as players do. Transfer
where unspecified: BT.709.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

OBLONG = Fraction(8)
"""Pixels more oblong than this are taken for a mistake in the header."""

MATRICES = {
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020nc",
}
"""`matrix_coefficients` of ITU-T H.273, as libav numbers and names them: those that swscale can convert."""

UNREADABLE = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE ST 2085",
    12: "chromaticity-derived non-constant luminance",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
"""Those that common readers refuse or convert with another matrix."""

TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    11: "iec61966-2-4",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
"""`transfer_characteristics` of ITU-T H.273."""

STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
SPECIAL = Disposition.hearing_impaired | Disposition.visual_impaired | Disposition.dependent
STILL_CODECS = ("mjpeg", "png", "bmp", "gif", "tiff", "webp")
"""What thumbnails are made of; a stream of these that does not say how many frames it has may be one."""

_CROP = re.compile(r"Frame [Cc]ropping: (\d+)/(\d+)/(\d+)/(\d+)")
_STREAM = re.compile(r"^  Stream #\d+:(\d+)", re.MULTILINE)


class UnreadableColourError(ValueError):
    """A colour matrix that common readers cannot convert."""


def main_video(media: InputContainer) -> VideoStream | None:
    """The stream that a player would show; None where there is none."""
    return max(video_streams(media), key=_rank, default=None)


def video_streams(media: InputContainer) -> list[VideoStream]:
    """Those that are not pictures attached to something else."""
    return [stream for stream in media.streams.video if not stream.disposition & STILLS]


def _rank(stream: VideoStream) -> tuple[bool, int, int, int, int]:
    codec = stream.codec_context
    flags = bool(stream.disposition & Disposition.default) - bool(stream.disposition & SPECIAL)
    moves = stream.frames > 1 or (stream.frames == 0 and codec is not None and codec.name not in STILL_CODECS)
    area, rate = (codec.width * codec.height, codec.bit_rate or 0) if codec is not None else (0, 0)
    return moves, flags, area, rate, -stream.index


@dataclass(frozen=True, slots=True)
class Orientation:
    """A display matrix to the nearest quarter turn: rows and columns swap, then either is reversed."""

    swap: bool
    mirror: bool
    """Columns in reverse order."""
    flip: bool
    """Rows in reverse order."""

    @property
    def clockwise(self) -> int:
        """Degrees by which the picture is turned; of a mirrored one, without the mirroring of its columns."""
        return (270 if self.flip else 90) if self.swap else (180 if self.flip else 0)

    def __call__(self, plane: NDArray[Any]) -> NDArray[Any]:
        """`plane` (H, W) or (H, W, C) as it is to be seen; a copy only where something changes."""
        if not (self.swap or self.mirror or self.flip):
            return plane
        turned = plane.swapaxes(0, 1) if self.swap else plane
        return np.ascontiguousarray(turned[:: -1 if self.flip else 1, :: -1 if self.mirror else 1])


UPRIGHT = Orientation(False, False, False)


def orientation(matrix: bytes) -> Orientation:
    """From a display matrix: nine int32, of which a, b, c, d send (x, y) to (a x + c y, b x + d y)."""
    a, b, _, c, d = struct.unpack("<5i", matrix[:20]) if len(matrix) >= 36 else (1, 0, 0, 0, 1)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


@dataclass(frozen=True, slots=True)
class Crop:
    """Pixels that a container cuts off frames of a size, before they are turned."""

    left: int
    right: int
    top: int
    bottom: int
    width: int
    """Of the frames that it holds for."""
    height: int

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """`(left, top, right, bottom)` of what is shown of a frame: `[left, right)` and `[top, bottom)`."""
        if (width, height) != (self.width, self.height):
            return 0, 0, width, height
        return self.left, self.top, width - self.right, height - self.bottom


def declared_crop(media: InputContainer, stream: VideoStream) -> Crop:
    """The container's crop of a stream; one that leaves nothing is none.

    PyAV does not give a stream's side data; libav's description of the file does: left, right, top, bottom.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    text = _described(media)
    starts = [(int(match[1]), match.start()) for match in _STREAM.finditer(text)]
    for (index, start), (_, end) in zip(starts, [*starts[1:], (0, len(text))], strict=True):
        if index == stream.index and (found := _CROP.search(text, start, end)):
            left, right, top, bottom = map(int, found.groups())
            if left + right < width and top + bottom < height:
                return Crop(left, right, top, bottom, width, height)
    return Crop(0, 0, 0, 0, width, height)


def _described(media: InputContainer) -> str:
    """What `av_dump_format` says, which it says to the log."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        return str(cast(Any, media).dumps_format())  # PyAV's stubs leave it out
    finally:
        av.logging.set_level(level)


@dataclass(frozen=True, slots=True)
class Colours:
    """What a frame's samples stand for; unspecified values resolved."""

    matrix: str
    """A value of `MATRICES`."""
    transfer: str
    """A value of `TRANSFERS`."""
    full_range: bool


def colours(frame: VideoFrame) -> Colours:
    """Of a frame as libav gives it; of RGB, as it is when swscale has made YCbCr of it. Raises
    `UnreadableColourError`."""
    large = frame.height >= 720 or frame.width >= 1280
    return _colours(frame.format.name, int(frame.colorspace), int(frame.color_trc), int(frame.color_range), large)


@lru_cache(maxsize=64)
def _colours(layout: str, code: int, trc: int, span: int, large: bool) -> Colours:
    transfer, stored = TRANSFERS.get(trc, "bt709"), av.VideoFormat(layout)
    if stored.is_rgb or stored.has_palette:
        return Colours("smpte170m", transfer, full_range=False)
    if code in UNREADABLE:
        raise UnreadableColourError(
            f"its colour matrix is {UNREADABLE[code]} (matrix_coefficients {code}), which common readers cannot "
            f"convert to RGB; choices are {', '.join(MATRICES.values())}: re-encode it in one of these"
        )
    return Colours(
        matrix=MATRICES.get(code, "bt709" if large else "smpte170m"),
        transfer=transfer,
        full_range=layout.startswith("yuvj") or span == ColorRange.JPEG,
    )


def display_matrix(frame: VideoFrame) -> bytes:
    """A frame's display matrix, empty where it has none.

    `frame.side_data` would tie the frame to what it keeps of it in a circle: its memory would wait for the garbage
    collector.
    """
    kept = cast(Any, SideDataContainer)(frame)  # PyAV's stubs leave its argument out
    found = kept.get("DISPLAYMATRIX") if len(kept) else None
    return bytes(memoryview(found)) if found else b""


def pixel_aspect(declared: Fraction | None) -> Fraction:
    """Width of a stored pixel over its height, before rotation, from what a header says."""
    sar = Fraction(declared or 1)
    return sar if 1 / OBLONG <= sar <= OBLONG else Fraction(1)


def rgb(frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """(H, W, 3) full-range RGB: FFmpeg's conversion of a frame, by its own tags. Raises `av.FFmpegError`."""
    return np.asarray(reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), np.uint8)


def rgb_planes(frame: VideoFrame, reformatter: VideoReformatter) -> Iterator[NDArray[np.uint8]]:
    """The same as three planes, (H, W) each, good until the next call, without taking pixels apart."""
    if frame.width % 16:  # swscale 9 may then write the last columns wrong, by up to 255
        yield from np.moveaxis(rgb(frame, reformatter), 2, 0)
        return
    green, blue, red = reformatter.reformat(frame, format="gbrp", threads=1).planes
    for plane in (red, green, blue):
        yield np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
