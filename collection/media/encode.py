"""A clip's frames -> H.264 in mp4, the same bytes on every run.

One thread (x264's output depends on their number), bit-exact flags, no metadata, x264's own settings (an SEI unit)
stripped, one key frame and a closed GOP. Time is exact: frame k begins at k / rate. Levels are always limited range,
8 bit, 4:2:0; what the source had is in `Stream`. Colours are not converted, only tagged.

x264 is asked for `superfast` with one B frame between others, for whole blocks where frames are predicted from others,
and neither for weighted prediction nor for macroblock-tree rate control. With the last, the x264 in PyAV 18.1 gives
other bytes from run to run where a row of macroblocks does not fill a SIMD register (seen at 96 and 64 pixels, not at
128 or 256). On 30 frames of eight videos at 256x256:

    setting         crf   CPU per frame   bytes    PSNR      SSIM
    this            20    0.66 ms         703 kB   41.3 dB   0.9779
    veryfast        18    1.2 ms          632 kB   41.3 dB   0.9778
    superfast       20    0.71 ms         635 kB   40.7 dB   0.9745
    ultrafast       18    0.39 ms        1449 kB   42.9 dB   0.9806
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.codec.context import Flags
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mlst.pictures.frames import Picture, PictureFormat, Plane, can_be_halved
from mlst.pictures.presentation import MATRICES, TRANSFERS
from mlst.pictures.scaling import scaled_420

Bytes = NDArray[np.uint8]
Fit = Literal["stretch", "crop", "pad"]

BLACK, GREY = 16, 128
"""Luma and chroma codes of the bars that `pad` adds."""

X264 = "scenecut=0:sliced-threads=0:no-mbtree=1:bframes=1:b-adapt=0:weightp=0:analyse=i8x8"
"""Parameters beyond the preset; see the module."""

PRIMARIES = {"bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "bt2020nc": 9}
"""`colour_primaries` of ITU-T H.273 that go with a matrix."""


def fitted(picture: Picture, fmt: PictureFormat, size: int, fit: Fit) -> Bytes:
    """(size * 3 / 2, size) yuv420p, 8 bit, limited range: Y, and below it U and V, as libav lays them out.

    `stretch` scales the whole stored picture to a square, whatever its shape; `crop` takes the largest square in its
    middle; `pad` keeps all of it and its shape, between black bars. Each plane is scaled on its own, by area average
    where it shrinks and linearly where it grows.
    """
    if fit == "crop":
        picture = cropped(picture, fmt.sar)
    width, height = inner_size(picture, fmt.sar, size) if fit == "pad" else (size, size)
    while all(map(can_be_halved, (picture.y, picture.u), (width, width // 2), (height, height // 2))):
        picture = picture.half
    y, u, v = scaled_420(picture.y, picture.u, picture.v, width, height)
    frame = np.empty((size * 3 // 2, size), np.uint8)
    chroma = frame[size:].reshape(2, size // 2, size // 2)
    if fit == "pad":
        frame[:size], chroma[...] = BLACK, GREY
    _place(frame[:size], y, fmt, is_chroma=False)
    _place(chroma[0], u, fmt, is_chroma=True)
    _place(chroma[1], v, fmt, is_chroma=True)
    return frame


def _place(target: Bytes, plane: Plane, fmt: PictureFormat, is_chroma: bool) -> None:
    """Put a plane into the middle of its target, in 8 bit limited range. Its size and margins are even in luma."""
    height, width = plane.shape
    top, left = (len(target) - height) // 2, (target.shape[1] - width) // 2
    if not is_chroma:
        top, left = top // 2 * 2, left // 2 * 2
    if fmt.depth > 8 or fmt.full_range:
        table = limited8(fmt.depth, fmt.full_range, is_chroma)
        plane = table[np.minimum(plane, len(table) - 1)]
    target[top : top + height, left : left + width] = plane


def cropped(picture: Picture, sar: Fraction) -> Picture:
    """The largest square, as displayed, in the middle of a picture; whole chroma samples, so up to 3 pixels off."""
    height, width = picture.y.shape
    rows, columns = min(height, round(width * sar)), min(width, round(height / sar))
    fy, fx = round(height / picture.u.shape[0]), round(width / picture.u.shape[1])
    (top, bottom), (left, right) = _middle(height, rows, fy), _middle(width, columns, fx)
    halves = (p[top // fy : -(-bottom // fy), left // fx : -(-right // fx)] for p in (picture.u, picture.v))
    return Picture(picture.index, picture.pts, picture.y[top:bottom, left:right], *halves)


def _middle(length: int, wanted: int, unit: int) -> tuple[int, int]:
    """`[start, end)` of about `wanted` in the middle of `length`, in whole units unless it is all."""
    if wanted >= length:
        return 0, length
    wanted = max(unit, wanted // unit * unit)
    start = (length - wanted) // 2 // unit * unit
    return start, min(length, start + wanted)


def inner_size(picture: Picture, sar: Fraction, size: int) -> tuple[int, int]:
    """Even (width, height) that a picture takes, in its displayed shape, inside a square of `size`."""
    height, width = picture.y.shape
    shown = width * sar
    longer = max(shown, height)
    return max(2, 2 * round(size * shown / longer / 2)), max(2, 2 * round(Fraction(size * height) / longer / 2))


@cache
def limited8(depth: int, full_range: bool, is_chroma: bool) -> Bytes:
    """(2^depth,) table from stored codes to 8 bit limited range (ITU-T H.273, 8.3), halves rounded up."""
    codes = np.arange(1 << depth, dtype=np.float64)
    if not full_range:
        eight = codes / (1 << (depth - 8))
    elif is_chroma:
        eight = 128 + (codes - (1 << (depth - 1))) * 224 / ((1 << depth) - 1)
    else:
        eight = 16 + codes * 219 / ((1 << depth) - 1)
    return np.floor(eight + 0.5).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Coding:
    """How the clips of one video are encoded."""

    rate: Fraction
    """Frames per second."""
    crf: int
    matrix: str
    """As in `Stream`."""
    transfer: str


def encode(frames: Sequence[Bytes], coding: Coding) -> bytes:
    """An mp4 file of `frames`, each (S * 3 / 2, S) as `fitted` makes them."""
    file = io.BytesIO()
    _write(file, frames, coding)
    return file.getvalue()


def _write(file: io.BytesIO, frames: Sequence[Bytes], coding: Coding) -> None:
    def as_it_is(*_: Any) -> io.BytesIO:
        """For libav, which reads the file while it moves what is in it, to put the index first."""
        return io.BytesIO(file.getvalue())

    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(file, "w", format="mp4", options=options, io_open=as_it_is) as media:
        stream = media.add_stream("libx264", rate=coding.rate)
        _configure(stream, frames[0].shape[1], len(frames), coding)
        strip = BitStreamFilterContext("filter_units=remove_types=6", "h264")
        for pts, planes in enumerate(frames):
            frame = av.VideoFrame.from_numpy_buffer(planes, format="yuv420p")
            frame.pts, frame.time_base = pts, 1 / coding.rate
            for packet in stream.encode(frame):
                media.mux(strip.filter(packet))
        for packet in stream.encode():
            media.mux(strip.filter(packet))


def _configure(stream: VideoStream, size: int, length: int, coding: Coding) -> None:
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = size, size, "yuv420p"
    context.time_base, context.framerate = 1 / coding.rate, coding.rate
    context.thread_count = 1
    context.flags |= Flags.bitexact | Flags.closed_gop
    context.color_range = ColorRange.MPEG
    context.colorspace = _code(MATRICES, coding.matrix)
    context.color_trc = _code(TRANSFERS, coding.transfer)
    context.color_primaries = PRIMARIES.get(coding.matrix, PRIMARIES["bt709"])
    context.options = {
        "crf": str(coding.crf),
        "preset": "superfast",
        "x264-params": f"keyint={length}:min-keyint={length}:{X264}",
    }


def _code(names: dict[int, str], name: str) -> int:
    return next(code for code, known in names.items() if known == name)
