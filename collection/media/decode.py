"""Video -> timed frames, each decoded once. Everything that is odd about a video is decided here.

Planes are passed on as stored, without swscale, for planar 8 to 16 bit YCbCr, NV12 and its kin, and grey; alpha is
ignored. Any other layout (RGB, palettes, packed YCbCr) is converted once, to 8 bit `yuv444p`, limited range, BT.601,
with bit-exact rounding; `Stream.pixel_format` then names the layout that was stored.

Time. A frame's position is its pts on the stream's own clock, decided in `mlst.pictures.times`: frames whose pts is
missing or does not rise are given the time of their place in the order, and counted as repaired. One without a usable
time is passed over and counted; above 2 % (`times.too_many`) the video is refused. So pts always rise and ordinals
count what is passed on. An edit list is honoured: what it hides is decoded but not passed on, and the pts of the rest
start where it says. AVI stores no pts: see `probe.clock`. Variable frame rate changes nothing: frames are taken as
they are.

Rate. `Probe.rate` counts packets. Where several packets make a frame (a field in each), or some make none, the first
`AHEAD` frames tell the rate; whether they were right is known at the end (`Decoder.rate_in_hindsight`).

Breaks. Where the picture changes its size or how it is meant to be seen, where the clock jumps back, where `HOLE`
seconds and four usual distances pass without a frame, and where frames are damaged (from `REORDER` frames before a
decode error to the next key frame behind it), nothing ties one frame to the next: no clip spans it. A change of pixel
format in mid-stream is converted to that of the first frame.

Presentation. Which stream, crop, orientation, pixel aspect ratio, range, matrix and transfer are decided in
`mlst.pictures.presentation`, for every frame anew; the record has those of the first. The crop goes to whole chroma
samples outwards. Chroma siting is ignored: at most half a chroma sample. A matrix that common readers cannot convert
is refused (`colour`). HDR (PQ, HLG) is not tone-mapped; its tags are kept.

Interlace. Frames flagged as interlaced are deinterlaced by libavfilter's bwdif, one frame out for one in
(`send_frame`), first field kept; so ordinals and pts stay. Others pass untouched. What is interlaced but not flagged
shows in `Statistics.comb_ratio`.
"""

import itertools
import re
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from collection.engine.stage import Rejected
from collection.media.probe import (
    HOLE,
    check_amount,
    clock,
    frame_rate,
    longest_step,
    open_media,
    packets,
    raise_if_short,
    usual,
)
from collection.recipe import Limits
from mlst.pictures.frames import Picture, PictureFormat, Plane
from mlst.pictures.presentation import (
    UPRIGHT,
    Colours,
    Crop,
    Orientation,
    UnreadableColourError,
    colours,
    declared_crop,
    display_matrix,
    orientation,
    pixel_aspect,
)
from mlst.pictures.times import Claim, Order, Times, in_order_only, too_many
from mlst.records import Probe, Stream
from mlst.text import number_of

AHEAD = 16
"""Frames that are decoded before the first is passed on, to learn the rate and whether times can be believed."""
AHEAD_BYTES = 128 << 20
"""They may take so much memory; four are."""
SPARE = Fraction(95, 100)
"""Frames per packet from which packets count as frames: decoders lose a few where a file is damaged."""
SEEK_LEAD = Fraction(3)
"""Seconds decoded before the wanted ones, for shot detectors that look back and for open GOPs."""
SEEK_WORTH = Fraction(10)
"""Seconds that a seek must save."""
SEEKABLE = ("mov", "matroska")
"""Containers with an index, where a seek lands on a key frame at or before the time asked for."""
CROPPING = ("mov", "matroska")
"""Containers that can crop."""
FROM_THE_BEGINNING = Fraction(-(10**9))

_PLANAR = re.compile(r"yuv(?:j|a)?4\d\dp(\d*)(le|be)?|gray(\d*)(le|be)?|nv(?:12|21|16|24|42)")


@dataclass(frozen=True, slots=True)
class Facts:
    """How a frame is stored and meant to be seen; unspecified values resolved."""

    pixel_format: str
    """As stored."""
    full_range: bool
    """Of the planes as passed on."""
    matrix: str
    transfer: str
    orientation: Orientation
    height: int
    """As stored, before cropping and rotation."""
    width: int


def facts(frame: VideoFrame) -> Facts:
    """Of a frame as libav gives it. Raises `Rejected`: `colour`."""
    try:
        seen = colours(frame)
    except UnreadableColourError as why:
        raise Rejected("colour", str(why)) from None
    return _facts(frame.format.name, seen, display_matrix(frame), frame.height, frame.width)


@lru_cache(maxsize=64)
def _facts(layout: str, seen: Colours, matrix: bytes, height: int, width: int) -> Facts:
    full_range = seen.full_range and _depth_of(layout) > 0
    return Facts(layout, full_range, seen.matrix, seen.transfer, orientation(matrix), height, width)


def depth_of(layout: VideoFormat) -> int:
    """Bits per sample of a layout whose planes are passed on as stored, 0 for one that must be converted."""
    return _depth_of(layout.name)


@lru_cache(maxsize=64)
def _depth_of(name: str) -> int:
    match = _PLANAR.fullmatch(name)
    return int(match[1] or match[3] or 8) if match else 0


def planes(frame: VideoFrame) -> tuple[Plane, Plane, Plane]:
    """Y (H, W), U and V (h, w) of a frame whose layout `depth_of` knows: views of its memory where possible."""
    name, depth = frame.format.name, depth_of(frame.format)
    codes = np.dtype((">u2" if frame.format.is_big_endian else "<u2") if depth > 8 else np.uint8)
    stored = frame.planes
    y = _samples(stored[0], codes, 1)
    if name.startswith("gray"):
        grey = _grey((frame.height + 1) // 2, (frame.width + 1) // 2, depth)
        return y, grey, grey
    if name.startswith("nv"):
        pairs = _samples(stored[1], codes, 2)
        first, second = (cast(Plane, np.ascontiguousarray(pairs[:, half::2])) for half in (0, 1))
        return (y, second, first) if name in ("nv21", "nv42") else (y, first, second)
    return y, _samples(stored[1], codes, 1), _samples(stored[2], codes, 1)


def _samples(plane: VideoPlane, codes: "np.dtype[Any]", each: int) -> Plane:
    """(H, W * each) of one plane without its padding, in this machine's byte order."""
    shape, strides = (plane.height, plane.width * each), (plane.line_size, codes.itemsize)
    view: NDArray[Any] = np.ndarray(shape, codes, memoryview(plane), strides=strides)
    return cast(Plane, view if codes.isnative else view.astype(np.uint16))


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
class Raw:
    """A frame as it left the decoder."""

    frame: VideoFrame
    claim: Claim
    spoiled: int | None
    """The latest time that damage was seen at since the frame before."""
    sar: Fraction
    """As declared for it."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A libav frame with a time of its own."""

    frame: VideoFrame
    pts: int
    duration: int
    """In ticks; 0 where unknown."""
    jumped: bool
    """Whether the clock jumped back before it."""
    damaged: bool
    interlaced: bool
    facts: Facts
    sar: Fraction
    """Width of a stored pixel over its height, before rotation."""


class Deinterlacer:
    """bwdif over the frames of a stream, from the first interlaced one on; one frame out for one in, in order."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._shape = (0, 0, "")
        self._waiting: deque[Timed] = deque()
        self._pushed = 0

    def __call__(self, item: Timed) -> Iterable[Timed]:
        """Those that are ready, in order."""
        return (item,) if self._graph is None and not item.interlaced else self._filtered(item)

    def _filtered(self, item: Timed) -> Iterator[Timed]:
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
            yield replace(item, frame=frame)


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
    format: PictureFormat
    facts: Facts
    broken: bool
    """Nothing ties it to the frame before: another size, shape or colour, or a hole in time."""
    damaged: bool
    """A decode error lies between it and the last key frame. Up to `REORDER` frames before it may show it too."""


class Decoder:
    """One pass over a video's frames in presentation order; made by `open_video`, iterated once.

    `pts`, `last_end` and `stream()` speak of the frames passed on so far.
    """

    def __init__(self, media: InputContainer, track: VideoStream, probe: Probe, limits: Limits) -> None:
        """Decodes the first frames. Raises `Rejected`: `corrupt`, `no_timestamps`, `too_large`, `colour`."""
        self._media, self._track, self.probe, self._limits = media, track, probe, limits
        self.decoded = 0
        """Frames that libav gave so far, with those passed over."""
        self.errors = 0
        self.interlaced = False
        self.pts = array("q")
        """Of every frame passed on, in ticks of `probe.time_base`."""
        self._last_duration = self._sent = self._volume = 0
        self._ahead: list[int] = []
        self._shapes = _Shapes(track)
        self._crop = declared_crop(media, track) if probe.container in CROPPING else Crop(0, 0, 0, 0, 0, 0)
        raw = self._frames()
        size = probe.width * probe.height * 3
        ahead = list(itertools.islice(raw, min(AHEAD, max(4, AHEAD_BYTES // max(1, size)))))
        self._times = self._clock([item.claim for item in ahead])
        timed = self._timed(itertools.chain(ahead, raw))
        first = list(itertools.islice(timed, len(ahead)))
        if not first:
            kind = "no_timestamps" if self.decoded else "corrupt"
            raise Rejected(
                kind,
                f"{number_of(self.decoded, 'frame')} decoded, {number_of(self.errors, 'error')}, "
                "no frame with a time of its own",
            )
        self.rate = self._rate([item.pts for item in first])
        """Frames per second."""
        self._least_hole = ceil(max(HOLE, 4 / self.rate) / probe.time_base)
        """In ticks."""
        self.facts, self._sar = first[0].facts, first[0].sar
        self.begins = first[0].pts
        self._layout = readable(first[0].frame).format.name
        self._items = self._normalised(itertools.chain(first, timed))
        self.format = self._format(first[0])

    def __iter__(self) -> Iterator[Decoded]:
        before, fmt = (self.facts, self._sar), self.format
        for item in self._items:
            now = (item.facts, item.sar)
            broken = item.jumped or now != before or self._hole(item.pts)
            if now != before:
                before, fmt = now, self._format(item)
            picture = Picture(len(self.pts), item.pts, *self._shown(item))
            self.pts.append(item.pts)
            self._last_duration = item.duration
            yield Decoded(picture, fmt, item.facts, broken, item.damaged)

    @property
    def last_end(self) -> int:
        """Pts at which the last frame ends; one that lasts longer than a hole in time counts as a usual one."""
        usual_step = round(1 / (self.rate * self.probe.time_base))
        longest = longest_step(self.rate, self.probe.time_base)
        return self.pts[-1] + (self._last_duration if 0 < self._last_duration <= longest else usual_step)

    @property
    def rate_in_hindsight(self) -> Fraction:
        """Frames per second as all frames together show them: another than `rate` where several packets make a frame
        and the first frames did not tell."""
        if self.decoded + self.errors >= self._sent * SPARE:
            return self.rate
        return self._seen_rate(np.array(self.pts))

    def stream(self, stride: int) -> Stream:
        """What the pass showed; `stride` is the caller's thinning, written down with it.

        Raises `Rejected`: `no_timestamps` where too many frames were passed over for want of a time.
        """
        times, turned = self._times, self.facts.orientation.swap
        if too_many(times.dropped, len(self.pts)):
            raise Rejected(
                "no_timestamps", f"{times.dropped} of {times.dropped + len(self.pts)} frames have no usable time"
            )
        left, top, right, bottom = self._crop.box(self.facts.width, self.facts.height)
        width, height = right - left, bottom - top
        return Stream(
            frames=len(self.pts),
            decode_errors=self.errors,
            time_base=self.probe.time_base,
            first_pts=self.pts[0],
            last_pts=self.pts[-1],
            rate=self.rate,
            stride=stride,
            variable=self._variable(),
            width=height if turned else width,
            height=width if turned else height,
            sar=self.format.sar,
            rotation=self.facts.orientation.clockwise,
            pixel_format=self.facts.pixel_format,
            depth=self.format.depth,
            full_range=self.format.full_range,
            matrix=self.facts.matrix,
            transfer=self.facts.transfer,
            interlaced=self.interlaced,
            repaired=times.repaired,
            dropped=times.dropped,
        )

    def _clock(self, claims: list[Claim]) -> Times:
        """Gives frames their times; whether stored ones can be believed shows in the first."""
        stores, tick = self.probe.container != "avi", self.probe.time_base
        in_order = not stores or in_order_only(claims)
        return Times(round(1 / (self.probe.rate * tick)), round(1 / tick), in_order, stores)

    def _rate(self, times: list[int]) -> Fraction:
        """Frames per second: the packets' unless the first frames show that packets are not frames."""
        within = sum(times[0] <= tick <= times[-1] for tick in self._ahead)
        self._ahead.clear()
        return self._seen_rate(np.array(times)) if len(times) < within * SPARE else self.probe.rate

    def _seen_rate(self, ticks: NDArray[np.int64]) -> Fraction:
        """What frames show, unless it is the packets' but for 10 %: of all packets that is the better measure."""
        rate = frame_rate(ticks, self.probe.time_base, self.probe.rate)
        return rate if abs(rate - self.probe.rate) * 10 > self.probe.rate else self.probe.rate

    def _format(self, item: Timed) -> PictureFormat:
        sar = 1 / item.sar if item.facts.orientation.swap else item.sar
        return _picture_format(_depth_of(self._layout), item.facts.full_range, sar)

    def _shown(self, item: Timed) -> Iterable[Plane]:
        """The planes of a frame, cropped and turned."""
        width, height, stored = item.frame.width, item.frame.height, planes(item.frame)
        box, turned = self._crop.box(width, height), item.facts.orientation
        if box == (0, 0, width, height) and turned == UPRIGHT:
            return stored
        return [cast(Plane, turned(_cropped(plane, box, item.frame))) for plane in stored]

    def _variable(self) -> bool:
        distances: NDArray[np.int64] = np.diff(np.frombuffer(self.pts, np.int64)).astype(np.int64)
        return bool(len(distances) and usual(distances).mean() < 0.99)

    def _hole(self, pts: int) -> bool:
        return bool(self.pts) and pts - self.pts[-1] >= self._least_hole

    def _normalised(self, items: Iterator[Timed]) -> Iterator[Timed]:
        """Frames in one layout whose planes can be read, deinterlaced."""
        deinterlace = Deinterlacer()
        for item in items:
            frame, seen = readable(item.frame), item.facts
            if frame.format.name != self._layout:
                frame = converted(frame, self._layout, self.facts.full_range)
                seen = replace(seen, pixel_format=self.facts.pixel_format, full_range=self.facts.full_range)
            self.interlaced |= item.interlaced
            yield from deinterlace(item if frame is item.frame else replace(item, frame=frame, facts=seen))
        yield from deinterlace.finish()

    def _timed(self, raw: Iterator[Raw]) -> Iterator[Timed]:
        """Frames with a time. A damaged time is remembered until the next key frame."""
        bad: int | None = None
        for item in raw:
            frame = item.frame
            bad = _later(bad, item.spoiled)
            time = self._times(item.claim)
            if time is None:
                continue
            if frame.width * frame.height > self._limits.pixels:
                raise Rejected("too_large", f"{frame.width}x{frame.height}, limits.pixels is {self._limits.pixels}")
            if frame.is_corrupt:
                self.errors += 1
                bad = _later(bad, time.ticks)
            elif frame.key_frame and bad is not None and (time.ticks > bad or time.jumped):
                bad = None
            seen, damaged = facts(frame), bad is not None
            yield Timed(
                frame, time.ticks, frame.duration or 0, time.jumped, damaged, frame.interlaced_frame, seen, item.sar
            )

    def _frames(self) -> Iterator[Raw]:
        """Every frame that libav gives, counted."""
        order, spoiled = Order(), None
        for packet in packets(self._media, self._track):
            time = clock(packet, self.probe.container)
            broken = packet.is_corrupt
            frames: list[VideoFrame] = []
            try:
                frames = packet.decode()
                self._note(packet, time)
            except FFmpegError as why:
                raise_if_short(why)
                broken = True
            if broken:
                self.errors += 1
                spoiled = _later(spoiled, self.probe.first_pts if time is None else time)
            self._shapes.decoded(time)
            for frame, ordered in zip(frames, self._ordered(order, packet, len(frames)), strict=True):
                self.decoded += 1
                self._volume += frame.width * frame.height
                check_amount(self.decoded, self._volume, self._limits)
                yield Raw(frame, Claim(frame.pts, ordered, frame.key_frame), spoiled, self._shapes.at(frame.pts))
                spoiled = None

    def _note(self, packet: "Packet[VideoStream]", time: int | None) -> None:
        """Remember a packet that may give a frame; its time only before the first frame is passed on."""
        if packet.size and not packet.is_discard:
            self._sent += 1
            if not self.pts and time is not None:
                self._ahead.append(time)

    def _ordered(self, order: Order, packet: "Packet[VideoStream]", frames: int) -> list[int | None]:
        """What the places of `frames` in the order say, which the decoder gave for `packet`."""
        if not packet.size or packet.is_discard:
            return order.taken(frames)
        return order.sent(packet.dts, frames, self._track.codec_context.reorder_depth)


def _later(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


@lru_cache(maxsize=16)
def _picture_format(depth: int, full_range: bool, sar: Fraction) -> PictureFormat:
    return PictureFormat(depth, full_range, sar)


def _cropped(plane: Plane, box: tuple[int, int, int, int], frame: VideoFrame) -> Plane:
    """What `box` leaves of a plane, to whole samples outwards."""
    left, top, right, bottom = box
    fy, fx = round(frame.height / plane.shape[0]), round(frame.width / plane.shape[1])
    return plane[top // fy : -(-bottom // fy), left // fx : -(-right // fx)]


class _Shapes:
    """Pixel aspect ratios: the container's, until the stream's own changes; from there on the stream's."""

    def __init__(self, track: VideoStream) -> None:
        self._track = track
        self._own = track.codec_context.sample_aspect_ratio
        self._now = pixel_aspect(track.sample_aspect_ratio)
        self._next: tuple[int | None, Fraction] = (None, self._now)

    def decoded(self, time: int | None) -> None:
        """A packet was, which is shown at `time`; a new header in it holds from there on."""
        own = self._track.codec_context.sample_aspect_ratio
        if own != self._own:
            self._own, self._next = own, (time, pixel_aspect(own))

    def at(self, pts: int | None) -> Fraction:
        """Of the frame at `pts`."""
        since, sar = self._next
        if sar != self._now and (pts is None or since is None or pts >= since):
            self._now = sar
        return self._now


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
