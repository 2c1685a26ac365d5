"""Part of a video without reading all of it: the packets from the key frame before a span to its end, copied.

libav works in a confined fork of the process that has the network, and asks it for the bytes that it wants. Nothing
is decoded or encoded and no pts is rounded: the copy keeps the source's time base, moved so that its first packet has
pts 0, and is read back and compared before it is trusted. What cannot be copied that way raises `Whole`: the caller
fetches the whole file.
"""

import errno
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from collection.engine.stage import Needs, Rejected
from collection.media.probe import GUARDS
from collection.sandbox.apart import Fetch, served
from mlst.pictures.presentation import Crop, declared_crop, main_video
from mlst.records import OPEN_END, Rational
from mlst.sandbox.kernel import Room

LEAD = Fraction(1)
"""Seconds before a span that are copied at least: a shot detector that looks back finds frames there."""

FIRST = 32
"""Packets that are looked at to find the smallest pts: more than any reorder delay (H.264: 16 frames)."""

MUXERS = {"mov": "mp4", "matroska": "matroska"}
"""Demuxer to muxer; what is not here is not copied."""

COPYING = Needs(seconds=3600.0, memory=4 << 30, network=False)
"""What copying a span may use."""
WHOLE = "whole"
"""Kind by which the fork says that there is reason to raise `Whole`."""
READ_AGAIN = 4
"""Times that a demuxer may read a file: its cache holds 16 MiB of it."""

BLOCK = 64 << 10
KEPT = 256
"""Blocks held at once: 16 MiB."""


class Whole(Exception):
    """The span cannot be copied exactly; fetch the whole file. The text says why."""


@dataclass(frozen=True, slots=True)
class Distant:
    """A file of `size` bytes that only the process with the network can read, by `fetch(offset, length)`."""

    fetch: Fetch
    size: int
    head: bytes
    """Its beginning, which is here already."""
    ahead: int
    """See `RangeFile`."""


class RangeFile:
    """A file of `size` bytes whose content comes from `fetch(offset, length)`, for PyAV.

    Reads whole blocks and keeps the last `KEPT`; a gap in the cache is filled by one call for `ahead` bytes, for more
    when several have followed one another directly.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, head: bytes, ahead: int) -> None:
        self._fetch, self._size, self.ahead = fetch, size, ahead
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position, self._next, self._run = 0, -1, 0
        self._keep(0, head[: size if len(head) >= size else len(head) - len(head) % BLOCK])

    def read(self, length: int = -1) -> bytes:
        """At most `length` bytes from the position on."""
        length = self._size - self._position if length < 0 else min(length, self._size - self._position)
        if length <= 0:
            return b""
        index, inside = divmod(self._position, BLOCK)
        if index not in self._blocks:
            self._fill(index)
        data = self._blocks[index][inside : inside + length]
        self._blocks.move_to_end(index)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As `io.IOBase.seek`."""
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def seekable(self) -> bool:
        """Always."""
        return True

    def readable(self) -> bool:
        """Always."""
        return True

    def aim(self, share: float) -> None:
        """Set `ahead` so that one call brings such a share of the file, within [128 KiB, 4 MiB]."""
        self.ahead = int(min(max(share * self._size, 128 << 10), 4 << 20))

    def _fill(self, index: int) -> None:
        self._run = self._run + 1 if index == self._next else 0
        wanted = min(self.ahead << min(max(self._run - 1, 0), 2), KEPT * BLOCK // 2)
        blocks = max(1, -(-wanted // BLOCK))
        end = index + 1
        while end < index + blocks and end not in self._blocks and end * BLOCK < self._size:
            end += 1
        start, stop = index * BLOCK, min(end * BLOCK, self._size)
        self._keep(start, self._fetch(start, stop - start))
        self._next = end

    def _keep(self, start: int, data: bytes) -> None:
        for offset in range(0, len(data), BLOCK):
            self._blocks[(start + offset) // BLOCK] = data[offset : offset + BLOCK]
        while len(self._blocks) > KEPT:
            self._blocks.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Copied:
    """What identifies a copied packet: pts relative to the copy's first, size, key frame."""

    pts: int
    size: int
    key: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """What the fork that copies a span answers: see `copy_span`."""

    seconds: Rational


def copy_span(file: Distant | Path, container: str, start: Fraction, end: Fraction, target: Path) -> Fraction:
    """Copy the video packets of `[start, end)` and what their decoding needs from `file` into a new file `target`.

    `container` names the file's demuxer. `start` and `end` are seconds on the source's own clock, whose 0 is the first
    video frame. Returns the origin: seconds on the copy's clock at which the source's shows 0. Raises `Whole`,
    `Rejected("span")` when the video ends before `start`, what `file.fetch` raises, and `Retry` where the fork ends
    oddly.
    """
    if container not in MUXERS:
        raise Whole(f"spans of {container} files are not copied")
    with tempfile.TemporaryDirectory(prefix="span-", dir=target.parent) as folder:
        copy = Path(folder, "copy")
        room = Room((file,) if isinstance(file, Path) else (), (Path(folder),))
        try:
            found = served(Origin, _copying(file, container, (start, end), copy), COPYING, room, _bounded(file))
        except Rejected as why:
            raise Whole(why.detail) if why.kind == WHOLE else why from None
        if copy.is_symlink() or not copy.is_file():
            raise Whole("the copy is no plain file")
        copy.replace(target)
    return found.seconds


def _bounded(file: Distant | Path) -> Fetch:
    """Reads `file` for the fork: inside the file, and not more than the whole of it a few times."""
    left = 0 if isinstance(file, Path) else READ_AGAIN * file.size + (READ_AGAIN << 20)

    def fetch(offset: int, length: int) -> bytes:
        nonlocal left
        left -= length
        if isinstance(file, Path) or left < 0 or not length or offset + length > file.size:
            raise Whole(f"the demuxer wants {length} bytes at {offset}, or reads everything over and over")
        return file.fetch(offset, length)

    return fetch


def _copying(
    file: Distant | Path, container: str, span: tuple[Fraction, Fraction], target: Path
) -> Callable[[Fetch], Origin]:
    """What the fork does: it is given what asks its parent for bytes."""

    def copying(ask: Fetch) -> Origin:
        opened = str(file) if isinstance(file, Path) else RangeFile(ask, file.size, file.head, file.ahead)
        try:
            return Origin(_copied_span(opened, container, span, target))
        except Whole as why:
            raise Rejected(WHOLE, str(why)) from None

    return copying


def _copied_span(file: RangeFile | str, container: str, span: tuple[Fraction, Fraction], target: Path) -> Fraction:
    """As `copy_span`, in the process that may be taken over."""
    start, end = span
    try:
        with av.open(file, "r", format=container, options=GUARDS, metadata_errors="replace") as source:
            stream = _video(source)
            zero = _first_pts(source, stream)
            if isinstance(file, RangeFile):
                file.aim(_share(source, stream, start, end))
            low, high = zero + start / _base(stream), zero + end / _base(stream) if end < OPEN_END else None
            copied, first = _copy(source, stream, (zero, low, high), target)
            base, crop = _base(stream), declared_crop(source, stream)
        origin = _verified(target, MUXERS[container], base, copied)
        _check_crop(target, MUXERS[container], crop)
    except (av.FFmpegError, MemoryError) as why:
        if isinstance(why, OSError) and why.errno == errno.ENOSPC:
            raise
        raise Whole(f"{type(why).__name__}: {why}") from None
    return (origin - first + zero) * base


def _video(source: InputContainer) -> VideoStream:
    video = main_video(source)
    if video is None:
        raise Whole("no video stream")
    for other in source.streams:
        if other.index != video.index:
            other.discard = Discard.all
    return video


def _share(source: InputContainer, stream: VideoStream, start: Fraction, end: Fraction) -> float:
    """Which part of the file a span is likely to take, with its lead and half a key frame distance of 5 s."""
    duration = float(stream.duration * _base(stream)) if stream.duration else (source.duration or 0) / 1e6
    return (
        min(1.0, float(min(end, Fraction(duration)) - start + LEAD + Fraction(5, 2)) / duration)
        if duration > 0
        else 1.0
    )


def _base(stream: VideoStream) -> Fraction:
    if stream.time_base is None:
        raise Whole("the stream has no time base")
    return stream.time_base


def _first_pts(source: InputContainer, stream: VideoStream) -> int:
    """Smallest pts that is presented."""
    found: list[int] = []
    for packet in _packets(source, stream):
        if packet.pts is None or packet.is_discard:
            raise Whole("packets without pts, or cut off by an edit list")
        found.append(packet.pts)
        if len(found) == FIRST:
            break
    if not found:
        raise Whole("no video packets")
    return min(found)


def _packets(source: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    return (packet for packet in source.demux(stream) if packet.size)


def _copy(
    source: InputContainer, stream: VideoStream, span: tuple[int, Fraction, Fraction | None], target: Path
) -> tuple[list[_Copied], int]:
    """Write the packets; returns what was written and the source's pts of the first."""
    zero, low, high = span
    base, copied, first, last = _base(stream), list[_Copied](), 0, zero
    container = MUXERS[source.format.name.split(",")[0]]
    ticks = str(base.denominator) if base.numerator == 1 else "1"
    clock = {"movflags": "+faststart", "movie_timescale": ticks, "video_track_timescale": ticks}
    options = {"fflags": "+bitexact"} | (clock if container == "mp4" else {})
    with av.open(str(target), "w", format=container, options=options) as out:
        copy = out.add_stream_from_template(stream)
        copy.time_base = base
        for packet in _from_key(source, stream, zero, low):
            if packet.pts is None or packet.dts is None or packet.is_discard:
                raise Whole("packets without pts or dts, or cut off by an edit list")
            if high is not None and packet.dts >= high:
                break
            if not copied:
                first = packet.pts
            if packet.pts < first:  # leading pictures of an open GOP: they need the one before
                continue
            last = max(last, packet.pts)
            copied.append(_Copied(packet.pts - first, packet.size, packet.is_keyframe))
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, copy
            out.mux(packet)
    if last < low:
        raise Rejected("span", f"the video ends {float((low - last) * base):.3f} s before the span begins")
    return copied, first


def _from_key(
    source: InputContainer, stream: VideoStream, zero: int, low: Fraction
) -> Iterator["Packet[VideoStream]"]:
    """Packets from a key frame on that is presented at least `LEAD` before `low`, or from the beginning."""
    lead = LEAD / _base(stream)
    while low - lead > zero:
        source.seek(int(low - lead), stream=stream, backward=True)
        packets = _packets(source, stream)
        packet = next(packets, None)
        if (
            packet is not None
            and packet.is_keyframe
            and packet.pts is not None
            and packet.pts <= low - LEAD / _base(stream)
        ):
            yield packet
            yield from packets
            return
        lead *= 2
    source.seek(zero, stream=stream, backward=True)
    yield from _packets(source, stream)


def _check_crop(target: Path, container: str, crop: Crop) -> None:
    """Raises `Whole` unless the copy shows the same part of its pictures."""
    with _reopened(target, container) as back:
        if declared_crop(back, back.streams.video[0]) != crop:
            raise Whole(f"a {container} file does not keep this stream's crop")


def _reopened(target: Path, container: str) -> InputContainer:
    demuxer = "mov" if container == "mp4" else container
    return av.open(f"file:{target}", "r", format=demuxer, options=GUARDS, metadata_errors="replace")


def _verified(target: Path, container: str, base: Fraction, copied: list[_Copied]) -> int:
    """Read the copy back; returns its first packet's pts. Raises `Whole` unless it is what was written."""
    with _reopened(target, container) as back:
        stream = back.streams.video[0]
        found = [_Copied(p.pts or 0, p.size, p.is_keyframe) for p in _packets(back, stream)]
        first = found[0].pts if found else 0
        if stream.time_base != base or [_Copied(p.pts - first, p.size, p.key) for p in found] != copied:
            raise Whole(f"a {container} file cannot hold this stream's packets or times unchanged")
        return first
