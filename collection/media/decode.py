"""Video -> timed frames, each decoded once. Everything that is odd about a video is decided here.

Planes are passed on as stored, without swscale, for planar 8 to 16 bit YCbCr, NV12 and its kin, and grey; alpha is
ignored. Any other layout (RGB, palettes, packed YCbCr) is converted once, to 8 bit `yuv444p`, limited range, BT.601,
with bit-exact rounding; `Stream.pixel_format` then names the layout that was stored.

Time. A frame's position is its pts on the stream's own clock. An edit list is honoured: what it hides is decoded but
not passed on, and the pts of the rest start where it says. A frame without pts, or with one that is not later than
all before it, is passed over and counted with the decode errors; so pts always rise and ordinals count what is passed
on. AVI stores no pts: see `probe.clock`. Variable frame rate changes nothing: frames are taken as they are.

Breaks. Where the picture changes its size, where `HOLE` seconds and four usual distances pass without a frame, and
where frames are damaged (from `REORDER` frames before a decode error to the next key frame behind it), nothing ties
one frame to the next: no clip spans it. A change of pixel format in mid-stream is converted to that of the first
frame.

Orientation. The display matrix of the first frame is applied to the planes: quarter turns and mirroring; other angles
to the nearest quarter turn. Cropping is the decoder's. Pixel aspect ratio is passed on, turned with the picture;
unknown or absurd ones (beyond 1:8) count as 1:1. Chroma siting is ignored: at most half a chroma sample.

Range. Full where the stream or the pixel format (`yuvj...`) says so, else limited, as H.264, HEVC and VP9 infer it.
Matrix where unspecified: BT.709 from 720 lines or 1280 columns, BT.601 (525 lines) below, as players do. Transfer
where unspecified: BT.709. HDR (PQ, HLG) is not tone-mapped; its tags are kept.

Interlace. Frames flagged as interlaced are deinterlaced by libavfilter's bwdif, one frame out for one in
(`send_frame`), first field kept; so ordinals and pts stay. Others pass untouched. What is interlaced but not flagged
shows in `Statistics.comb_ratio`.
"""

import itertools
import re
import struct
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from collection.engine.stage import Rejected
from collection.media.probe import clock, open_media, packets, usual
from collection.recipe import Limits
from mlst.pictures.frames import Picture, PictureFormat, Plane
from mlst.records import Probe, Stream

HOLE = Fraction(1, 4)
"""Seconds without a frame from which what follows counts as another recording: two frames of the statistics' grid."""
REORDER = 16
"""Frames that may be shown before one they are built on: H.264 and HEVC keep 16 pictures at most."""
OBLONG = Fraction(8)
"""Pixels more oblong than this are taken for a mistake in the header."""
SEEK_LEAD = Fraction(3)
"""Seconds decoded before the wanted ones, for shot detectors that look back and for open GOPs."""
SEEK_WORTH = Fraction(10)
"""Seconds that a seek must save."""
SEEKABLE = ("mov", "matroska")
"""Containers with an index, where a seek lands on a key frame at or before the time asked for."""
FROM_THE_BEGINNING = Fraction(-(10**9))

MATRICES = {
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
}
"""`matrix_coefficients` of ITU-T H.273, as libav numbers and names them."""
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

_PLANAR = re.compile(r"yuv(?:j|a)?4\d\dp(\d*)(le|be)?|gray(\d*)(le|be)?|nv(?:12|21|16|24|42)")


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

    def __call__(self, plane: Plane) -> Plane:
        """`plane` (H, W) as it is to be seen; a copy only where something changes."""
        if not (self.swap or self.mirror or self.flip):
            return plane
        turned = plane.T if self.swap else plane
        return cast(Plane, np.ascontiguousarray(turned[:: -1 if self.flip else 1, :: -1 if self.mirror else 1]))


def orientation(matrix: bytes) -> Orientation:
    """From a display matrix: nine int32, of which a, b, c, d send (x, y) to (a x + c y, b x + d y)."""
    a, b, _, c, d = struct.unpack("<5i", matrix[:20]) if len(matrix) >= 36 else (1, 0, 0, 0, 1)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the first frame says of the whole stream; unspecified values resolved."""

    pixel_format: str
    """As stored."""
    full_range: bool
    """Of the planes as passed on."""
    matrix: str
    transfer: str
    orientation: Orientation
    height: int
    """As stored, before rotation."""
    width: int


def facts(frame: VideoFrame) -> Facts:
    """Of a frame as libav gives it."""
    name, kept = frame.format.name, depth_of(frame.format) > 0
    rgb = frame.format.is_rgb or frame.format.has_palette
    large = frame.height >= 720 or frame.width >= 1280
    matrix = MATRICES.get(int(frame.colorspace), "bt709" if large else "smpte170m")
    return Facts(
        pixel_format=name,
        full_range=kept and (name.startswith("yuvj") or int(frame.color_range) == ColorRange.JPEG),
        matrix="smpte170m" if rgb else matrix,
        transfer=TRANSFERS.get(int(frame.color_trc), "bt709"),
        orientation=orientation(_display_matrix(frame)),
        height=frame.height,
        width=frame.width,
    )


def _display_matrix(frame: VideoFrame) -> bytes:
    found = frame.side_data.get("DISPLAYMATRIX")
    return bytes(memoryview(cast(SideData, found))) if found else b""


def depth_of(layout: VideoFormat) -> int:
    """Bits per sample of a layout whose planes are passed on as stored, 0 for one that must be converted."""
    match = _PLANAR.fullmatch(layout.name)
    return int(match[1] or match[3] or 8) if match else 0


def planes(frame: VideoFrame) -> tuple[Plane, Plane, Plane]:
    """Y (H, W), U and V (h, w) of a frame whose layout `depth_of` knows: views of its memory where possible."""
    name, depth = frame.format.name, depth_of(frame.format)
    y = _plane(frame, 0, 1)
    if name.startswith("gray"):
        grey = _grey((frame.height + 1) // 2, (frame.width + 1) // 2, depth)
        return y, grey, grey
    if name.startswith("nv"):
        pairs = _plane(frame, 1, 2)
        first, second = (cast(Plane, np.ascontiguousarray(pairs[:, half::2])) for half in (0, 1))
        return (y, second, first) if name in ("nv21", "nv42") else (y, first, second)
    return y, _plane(frame, 1, 1), _plane(frame, 2, 1)


def _plane(frame: VideoFrame, number: int, samples: int) -> Plane:
    """(H, W * samples) of one plane without its padding, in this machine's byte order."""
    plane, wide = frame.planes[number], depth_of(frame.format) > 8
    stored = np.dtype((">u2" if frame.format.is_big_endian else "<u2") if wide else np.uint8)
    rows = np.frombuffer(memoryview(plane), stored).reshape(-1, plane.line_size // stored.itemsize)
    view = rows[: plane.height, : plane.width * samples]
    return cast(Plane, view.astype(np.uint16 if wide else np.uint8, copy=False))


@lru_cache(maxsize=4)
def _grey(height: int, width: int, depth: int) -> Plane:
    return cast(Plane, np.full((height, width), 1 << (depth - 1), np.uint8 if depth == 8 else np.uint16))


def readable(frame: VideoFrame) -> VideoFrame:
    """The frame itself if its planes can be read as stored, else converted."""
    if depth_of(frame.format) and all(plane.line_size > 0 for plane in frame.planes):
        return frame
    return converted(frame, "yuv444p", full_range=False)


def converted(frame: VideoFrame, layout: str, full_range: bool) -> VideoFrame:
    """The frame in another layout, by swscale with bit-exact rounding; RGB becomes BT.601."""
    exact = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    target = ColorRange.JPEG if full_range else ColorRange.MPEG
    return frame.reformat(format=layout, interpolation=int(exact), dst_color_range=int(target), threads=1)


@dataclass(frozen=True, slots=True)
class Timed:
    """A libav frame with a time of its own."""

    frame: VideoFrame
    pts: int
    duration: int
    """In ticks; 0 where unknown."""
    damaged: bool
    interlaced: bool


class Deinterlacer:
    """bwdif over the frames of a stream, from the first interlaced one on; one frame out for one in, in order."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._shape = (0, 0, "")
        self._waiting: deque[Timed] = deque()
        self._pushed = 0

    def __call__(self, item: Timed) -> Iterator[Timed]:
        """Those that are ready, in order."""
        shape = (item.frame.width, item.frame.height, item.frame.format.name)
        if self._graph is not None and shape != self._shape:
            yield from self.finish()
        if self._graph is None and not item.interlaced:
            yield item
            return
        if self._graph is None:
            self._graph, self._shape, self._pushed = _bwdif(item.frame), shape, 0
        item.frame.pts, item.frame.time_base = self._pushed, _BEAT
        self._pushed += 1
        self._waiting.append(item)
        self._graph.vpush(item.frame)
        yield from self._ready(self._graph)

    def finish(self) -> Iterator[Timed]:
        """The rest."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready(self._graph)
            self._graph = None

    def _ready(self, graph: Graph) -> Iterator[Timed]:
        while self._waiting:
            try:
                frame = graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            item = self._waiting.popleft()
            yield Timed(frame, item.pts, item.duration, item.damaged, item.interlaced)


_BEAT = Fraction(1, 1000)


def _bwdif(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_BEAT)
    graph.link_nodes(source, graph.add("bwdif", mode="send_frame", deint="interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame and how it hangs together with the one before it."""

    picture: Picture
    broken: bool
    """Nothing ties it to the frame before: another size, or a hole in time."""
    damaged: bool
    """A decode error lies between it and the last key frame. Up to `REORDER` frames before it may show it too."""


class Decoder:
    """One pass over a video's frames in presentation order; made by `open_video`, iterated once.

    `pts`, `last_end` and `stream()` speak of the frames passed on so far.
    """

    def __init__(self, media: InputContainer, track: VideoStream, probe: Probe, limits: Limits) -> None:
        """Decodes the first frame. Raises `Rejected`: `corrupt`, `no_timestamps`, `too_large`."""
        self._media, self._track, self.probe, self._limits = media, track, probe, limits
        self.decoded = 0
        """Frames that libav gave so far, with those passed over."""
        self.errors = 0
        self.interlaced = False
        self.pts = array("q")
        """Of every frame passed on, in ticks of `probe.time_base`."""
        self._last_duration = 0
        self._bad: int | None = None
        self._times: deque[int] = deque()
        timed = self._timed()
        first = next(timed, None)
        if first is None:
            kind = "no_timestamps" if self.decoded else "corrupt"
            raise Rejected(
                kind, f"{self.decoded} frames decoded, {self.errors} errors, no frame with a time of its own"
            )
        self.facts = facts(first.frame)
        self.begins = first.pts
        self._items = self._normalised(itertools.chain([first], timed))
        depth = depth_of(readable(first.frame).format)
        self.format = PictureFormat(depth, self.facts.full_range, self._sar())

    def __iter__(self) -> Iterator[Decoded]:
        size = (self.facts.height, self.facts.width)
        for item in self._items:
            broken = (item.frame.height, item.frame.width) != size or self._hole(item.pts)
            size = (item.frame.height, item.frame.width)
            y, u, v = map(self.facts.orientation, planes(item.frame))
            picture = Picture(len(self.pts), item.pts, y, u, v)
            self.pts.append(item.pts)
            self._last_duration = item.duration
            yield Decoded(picture, broken, item.damaged)

    @property
    def last_end(self) -> int:
        """Pts at which the last frame ends."""
        return self.pts[-1] + (self._last_duration or round(1 / (self.probe.rate * self.probe.time_base)))

    def stream(self, stride: int) -> Stream:
        """What the pass showed; `stride` is the caller's thinning, written down with it."""
        turned = self.facts.orientation.swap
        return Stream(
            frames=len(self.pts),
            decode_errors=self.errors,
            time_base=self.probe.time_base,
            first_pts=self.pts[0],
            last_pts=self.pts[-1],
            rate=self.probe.rate,
            stride=stride,
            variable=self._variable(),
            width=self.facts.height if turned else self.facts.width,
            height=self.facts.width if turned else self.facts.height,
            sar=self.format.sar,
            rotation=self.facts.orientation.clockwise,
            pixel_format=self.facts.pixel_format,
            depth=self.format.depth,
            full_range=self.format.full_range,
            matrix=self.facts.matrix,
            transfer=self.facts.transfer,
            interlaced=self.interlaced,
        )

    def _sar(self) -> Fraction:
        sar = Fraction(self._track.sample_aspect_ratio or 1)
        if not 1 / OBLONG <= sar <= OBLONG:
            return Fraction(1)
        return 1 / sar if self.facts.orientation.swap else sar

    def _variable(self) -> bool:
        distances: NDArray[np.int64] = np.diff(np.frombuffer(self.pts, np.int64)).astype(np.int64)
        return bool(len(distances) and usual(distances).mean() < 0.99)

    def _hole(self, pts: int) -> bool:
        passed = (pts - self.pts[-1]) * self.probe.time_base if self.pts else Fraction(0)
        return passed >= max(HOLE, 4 / self.probe.rate)

    def _normalised(self, items: Iterator[Timed]) -> Iterator[Timed]:
        """Frames in one layout whose planes can be read, deinterlaced."""
        deinterlace, layout = Deinterlacer(), ""
        for item in items:
            frame = readable(item.frame)
            layout = layout or frame.format.name
            if frame.format.name != layout:
                frame = converted(frame, layout, self.facts.full_range)
            self.interlaced |= item.interlaced
            yield from deinterlace(Timed(frame, item.pts, item.duration, item.damaged, item.interlaced))
        yield from deinterlace.finish()

    def _timed(self) -> Iterator[Timed]:
        """libav's frames whose pts rise. Sets `_bad` to the last damaged time until a key frame lies behind it."""
        last: int | None = None
        for frame in self._frames():
            pts = frame.pts if self.probe.container != "avi" else self._times.popleft() if self._times else None
            if pts is None or (last is not None and pts <= last):
                self.errors += 1
                continue
            if frame.width * frame.height > self._limits.pixels:
                raise Rejected("too_large", f"{frame.width}x{frame.height}, limits.pixels is {self._limits.pixels}")
            last = pts
            if frame.is_corrupt:
                self._spoil(pts)
            elif frame.key_frame and self._bad is not None and pts > self._bad:
                self._bad = None
            yield Timed(frame, pts, frame.duration or 0, self._bad is not None, frame.interlaced_frame)

    def _frames(self) -> Iterator[VideoFrame]:
        """Every frame that libav gives, counted."""
        for packet in packets(self._media, self._track):
            time = clock(packet, self.probe.container)
            if packet.is_corrupt:
                self._spoil(time)
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except FFmpegError:
                self._spoil(time)
                continue
            if packet.size and time is not None and self.probe.container == "avi":
                self._times.append(time)
            for frame in frames:
                self.decoded += 1
                if self.decoded > self._limits.frames:
                    raise Rejected("too_long", f"more than {self._limits.frames} frames, which is limits.frames")
                yield frame

    def _spoil(self, time: int | None) -> None:
        """Something is wrong at `time`; what follows builds on it, up to a key frame that is shown later."""
        self.errors += 1
        self._bad = max(t for t in (self._bad, time, self.probe.first_pts) if t is not None)


@contextmanager
def open_video(path: Path, probe: Probe, limits: Limits, since: Fraction = FROM_THE_BEGINNING) -> Iterator[Decoder]:
    """A decoder at the beginning, or at a key frame some seconds before `since` where that saves much.

    `since` is in seconds of pts; ordinals count from the first frame decoded, whose pts is `Stream.first_pts`.
    Raises `Rejected`: what `open_media` raises, `corrupt` when nothing decodes, `no_timestamps`, `too_large`.
    """
    with open_media(path.absolute(), probe.container, limits) as (media, track):
        target = since - SEEK_LEAD
        if probe.container in SEEKABLE and target - probe.first_pts * probe.time_base > SEEK_WORTH:
            _seek(media, track, int(target / probe.time_base))
            decoder = Decoder(media, track, probe, limits)
            if decoder.begins * probe.time_base <= target:
                yield decoder
                return
            _seek(media, track, probe.first_pts)
        yield Decoder(media, track, probe, limits)


def _seek(media: InputContainer, track: VideoStream, tick: int) -> None:
    try:
        media.seek(tick, stream=track, backward=True)
    except FFmpegError as why:
        raise Rejected("corrupt", f"no seek to {float(tick * (track.time_base or 0)):.3f} s: {why.strerror}") from why
