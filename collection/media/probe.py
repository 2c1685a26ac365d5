"""What a file is, from its first bytes and its packets alone: nothing is decoded.

Which video stream counts is decided in `mlst.pictures.presentation`. Packets are not frames: two may hold the fields
of one, and some none. So `Probe.rate` is a first guess that `decode` corrects.

Media is hostile. The container is read off the magic bytes and the demuxer is named to libav, never guessed by it;
playlists and other texts that make a demuxer open further files or addresses are refused whatever they are called
(CVE-2023-6602 to 6605); libav may use the file protocol only, follow no reference inside a file, and open no picture
above the limit.
"""

import errno
import hashlib
import itertools
import mmap
import re
import resource
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from collection.engine.stage import Rejected
from collection.recipe import Limits
from mlst.pictures.presentation import main_video, video_streams
from mlst.pictures.times import FARTHEST, REORDER
from mlst.records import Probe
from mlst.text import number_of

Ticks = NDArray[np.int64]

HOLE = Fraction(1, 4)
"""Seconds without a frame from which what follows counts as another recording: two frames of the statistics' grid."""
MISSING = -(1 << 63)
"""In place of the position of a packet that has none."""

CODECS = (
    *("av1", "libdav1d", "ffv1", "flv", "gif", "h263", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4"),
    *("msmpeg4v2", "msmpeg4", "prores", "rawvideo", "svq3", "theora", "vc1", "vp6f", "vp8", "vp9"),
)
"""Decoders that may run: what video sites, cameras and the datasets of this field use."""

GUARDS = {
    "protocol_whitelist": "file",
    "codec_whitelist": ",".join(CODECS),
    "enable_drefs": "0",
    "use_absolute_path": "0",
}
"""libav opens nothing but what it is given, whatever a hostile file asks for, and wakes no other decoder to find out
what a stream is."""

RATES = tuple(
    Fraction(n, d)
    for n, d in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (50, 1), (60000, 1001), (60, 1))
) + tuple(Fraction(n) for n in (5, 6, 8, 10, 12, 15, 20, 90, 100, 120, 144, 240))
"""Rates that a coarse clock (Matroska: 1 ms) only approximates."""

_TEXTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<", b"[Reference]", b"[InternetShortcut]", b"{", b"SDP", b"v=0")
_AUDIO = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"#!AMR")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1", b"crx ")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof")
_MAGIC = (
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"OggS\0", "ogg"),
    (0, b"DKIF\0\0", "ivf"),
    (0, b"FLV\x01", "flv"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"YUV4MPEG2 ", "yuv4mpegpipe"),
    (0, b"\0\0\x01\xba", "mpeg"),
    (0, b"\0\0\x01\xb3", "mpegvideo"),
    (8, b"AVI ", "avi"),
)


CONTAINERS = (*dict.fromkeys(name for *_, name in _MAGIC), "mov", "mpegts")
"""Demuxers that `sniff` may name."""


def sniff(path: Path) -> str:
    """The demuxer for a file by its first bytes: `mov`, `matroska`, `avi`, `mpegts`, `mpeg`, `mpegvideo`, `ogg`,
    `ivf`, `flv`, `gif` or `yuv4mpegpipe`.

    Raises `Rejected`: `corrupt` when empty, `no_video` for audio, `not_media` for playlists, texts, still images and
    whatever is not known.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\0"):
        raise Rejected("corrupt", "the file is empty" if not head else "the file begins with nothing but zeros")
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset) and (name != "avi" or head.startswith(b"RIFF")):
            return name
    if head[4:8] in _BOXES:
        if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
            raise Rejected("not_media", "a still image (HEIF)")
        return "mov"
    if any(_syncs(head)):
        return "mpegts"
    _refuse(head)
    if any(_followed(head, match.start()) for match in _PES.finditer(head)):
        return "mpeg"
    raise Rejected("not_media", f"no known container begins with the bytes {head[:8].hex(' ')}")


HEAD = 8192
"""Bytes that are looked at."""
_TRANSPORT = (188, 192, 204)
"""Lengths of the packets of MPEG-TS: plain, with time codes (M2TS), with error correction."""
_PES = re.compile(rb"\0\0\x01[\xba-\xef]")
"""Start of a pack, or of a packet of an MPEG program stream."""


def _syncs(head: bytes) -> Iterator[tuple[int, int]]:
    """From where on and how far apart at least five sync bytes lie, to the end: recordings start within a packet."""
    for first in itertools.islice(re.finditer(b"G", head), _TRANSPORT[-1] * 8):
        for step in _TRANSPORT:
            found = head[first.start() :: step]
            if len(found) >= 5 and not found.strip(b"G"):
                yield first.start(), step


def _followed(head: bytes, at: int) -> bool:
    """Whether two more packets of a program stream follow the one at a position: recordings start within one."""
    for _ in range(2):
        at += 6 + int.from_bytes(head[at + 4 : at + 6])
        if head[at + 3 : at + 4] == b"\xba":
            at += 12 if head[at + 4 : at + 5] < b"\x40" else 14
        if not _PES.match(head, at):
            return False
    return True


def _refuse(head: bytes) -> None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(_TEXTS):
        raise Rejected("not_media", f"a text or playlist, beginning with {text[:24]!r}")
    if head.startswith(_AUDIO) or (head.startswith(b"RIFF") and head[8:12] == b"WAVE"):
        raise Rejected("no_video", "an audio file")
    if head.startswith(_IMAGES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        raise Rejected("not_media", "a still image")


@contextmanager
def open_media(path: Path, container: str, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file's demuxer and first video stream, ready to decode on one thread.

    Raises `Rejected`: `corrupt` when libav cannot open it, `no_video`, `codec`, `too_large`.
    """
    pixels = str(min(limits.pixels, 2**31 - 1))  # libav's option is an int
    options = {
        "format_whitelist": av.ContainerFormat(container, "r").name,
        "max_pixels": pixels,
        **GUARDS,
    }
    try:
        media = av.open(f"file:{path}", "r", format=container, options=options, metadata_errors="replace")
    except FFmpegError as why:
        raise_if_short(why)
        raise Rejected("corrupt", f"the {container} demuxer cannot open it: {reason(why)}") from why
    with media:
        stream = _video_stream(media, limits)
        stream.thread_count = 1
        stream.codec_context.options = {"max_pixels": pixels, "flags": "+bitexact"}
        yield media, stream


def _video_stream(media: InputContainer, limits: Limits) -> VideoStream:
    if not len(media.streams):
        raise Rejected("corrupt", "the file has a header and no stream")
    stream = main_video(media)
    if stream is None:
        what = "only an attached picture" if media.streams.video else "no video stream"
        raise Rejected("no_video", f"{what} among {number_of(len(media.streams), 'stream')}")
    if stream.codec_context is None or stream.codec_context.name not in CODECS:
        codec = stream.codec_context.name if stream.codec_context else "an unknown codec"
        raise Rejected("codec", f"{codec} is not decoded here; choices are {', '.join(CODECS)}")
    if stream.width * stream.height > limits.pixels:
        raise Rejected("too_large", f"{stream.width}x{stream.height} pixels, limits.pixels is {limits.pixels}")
    return stream


def reason(why: FFmpegError) -> str:
    """libav's words, without the file's path."""
    return "more streams or larger tables than libav takes" if why.errno == errno.ENOMEM else str(why.strerror)


LARGEST = (1 << 31) - 1
"""Bytes that libav allocates at once at most (INT_MAX, `av_max_alloc`)."""


def raise_if_short(why: FFmpegError) -> None:
    """Raise libav's ENOMEM again if memory can have been short. It also means that a file asks for too much: over
    1000 streams (`max_streams`), a table above `LARGEST`."""
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + LARGEST
    try:
        if why.errno == errno.ENOMEM:
            mmap.mmap(-1, most, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        raise why from None


def packets(media: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """The stream's packets as stored and at last the empty one that flushes the decoder; a broken end is an end.

    Empty packets before it (Theora and AVI repeat a frame that way) are passed over: to a decoder they mean the end.
    """
    walk, last = media.demux(stream), None
    while True:
        try:
            packet = next(walk, None)
        except FFmpegError as why:
            raise_if_short(why)
            return
        except IndexError:  # PyAV, behind the last packet, of a stream that was found while reading
            break
        if packet is None:
            break
        last = packet
        if packet.size:
            yield packet
    if last is not None and not last.size:
        yield last


def clock(packet: "Packet[VideoStream]", container: str) -> int | None:
    """A packet's position in ticks. AVI stores no presentation times, only that frames follow at a constant rate, and
    libav's guesses for B-frames are wrong; Matroska may store decoding times instead (VfW)."""
    return packet.dts if container == "avi" or packet.pts is None else packet.pts


def probe(path: Path, limits: Limits) -> Probe:
    """What the packets of the main video stream say.

    Packets that an edit list hides count for the hash but not for the times. Raises `Rejected`: what `sniff` and
    `open_media` raise, `gone.drm` for encryption, `too_large` (bytes, pixels, volume), `too_long` (seconds,
    frames), `too_fast`, `no_timestamps`, `corrupt`.
    """
    container = sniff(path)
    size = path.stat().st_size
    if size > limits.bytes:
        raise Rejected("too_large", f"{size} bytes, limits.bytes is {limits.bytes}")
    with open_media(path.absolute(), container, limits) as (media, stream):
        _check_readable(path, container, stream)
        time_base = Fraction(stream.time_base or 0)
        sha256, walked, count = hashlib.sha256(), _Walked(), 0
        for packet in packets(media, stream):
            if not packet.size:
                continue
            if packet.has_sidedata("encryption_info"):
                raise Rejected("gone.drm", f"packet {count} of the video stream is encrypted")
            count += 1
            check_amount(count, count * stream.width * stream.height, limits)
            sha256.update(packet)
            if not packet.is_discard:
                walked.add(clock(packet, container), packet.dts, packet.duration or 0)
        if not count:
            raise Rejected("corrupt", f"the {container} demuxer finds no video packet in {size} bytes")
        if not walked.timed or not time_base:
            raise Rejected("no_timestamps", f"none of {count} packets says when it is shown")
        ticks, last = walked.positions()
        rate = frame_rate(ticks, time_base, Fraction(stream.average_rate or 1))
        longest = longest_step(rate, time_base)
        end = min(last, longest) if len(ticks) > 1 else last
        length = (int(ticks.max()) - int(ticks.min())) * time_base + (end * time_base or 1 / rate)
        hidden = np.maximum(np.diff(np.sort(ticks)) - longest, 0).sum()
        _within(limits, length - int(hidden) * time_base, rate)
        return Probe(
            container=container,
            codec=stream.codec_context.name,
            width=stream.width,
            height=stream.height,
            time_base=time_base,
            first_pts=int(ticks.min()),
            last_pts=int(ticks.max()),
            duration=length,
            rate=rate,
            packets=count,
            packets_sha256=sha256.hexdigest(),
            streams=len(video_streams(media)),
        )


def _check_readable(path: Path, container: str, stream: VideoStream) -> None:
    """Refuse what says of itself that it is encrypted."""
    if container == "mpegts" and _scrambled(path):
        raise Rejected("gone.drm", "the transport stream is scrambled")
    if "enc_key_id" in stream.metadata:  # as libav notes a Matroska track's ContentEncryption
        raise Rejected("gone.drm", "the video track is encrypted")
    if (tag := _tag(stream)) in ("encv", "drmi"):
        raise Rejected("gone.drm", f"the video stream is encrypted ({tag})")


def _tag(stream: VideoStream) -> str:
    """The container's four letters for the codec; "" where they are no ASCII, which PyAV 18 does not read."""
    try:
        return stream.codec_context.codec_tag
    except UnicodeDecodeError:
        return ""


def _scrambled(path: Path) -> bool:
    """Whether most of the first packets of a transport stream say that they are (`transport_scrambling_control`)."""
    with path.open("rb") as file:
        head = file.read(HEAD * 32)
    first, step = next(_syncs(head[:HEAD]))
    controls = head[first + 3 :: step]
    return sum(control & 0xC0 != 0 for control in controls) > len(controls) / 2


class _Walked:
    """Positions of the packets that are shown, in decoding order."""

    def __init__(self) -> None:
        self._ticks, self._order, self._lengths = array("q"), array("q"), array("q")
        self.timed = False

    def add(self, tick: int | None, dts: int | None, length: int) -> None:
        """The next packet: when it is shown and decoded, and for how long."""
        tick = MISSING if tick is None or abs(tick) > FARTHEST else tick
        dts = None if dts is None or abs(dts) > FARTHEST else dts
        self.timed |= tick != MISSING
        self._ticks.append(tick)
        self._order.append(tick if dts is None else dts)
        self._lengths.append(length)

    def positions(self) -> tuple[Ticks, int]:
        """When each is shown, in ticks, and for how long the last. Where some do not say it, decoding times do, which
        lie evenly between those that are there. Where the clock jumps back, time continues after the jump."""
        ticks, order = np.array(self._ticks), _evened(np.array(self._order))
        if (missing := ticks == MISSING).any():
            first = int(np.argmin(missing))
            ticks = order + (ticks[first] - order[first])
        falls, step = np.diff(order), _usual_step(order)
        ticks[1:] += np.cumsum(np.where(falls <= -REORDER * step, step - falls, 0))
        return ticks, int(self._lengths[int(ticks.argmax())])


def _evened(ticks: Ticks) -> Ticks:
    """With what is missing put evenly between its neighbours."""
    there = np.flatnonzero(ticks != MISSING)
    if len(there) in (0, len(ticks)):
        return ticks
    known = ticks[there]
    each = float(np.median(np.diff(known) / np.diff(there))) if len(there) > 1 else 1.0
    places = np.arange(len(ticks))
    filled = np.interp(places, there, known)
    filled += each * (np.minimum(places - there[0], 0) + np.maximum(places - there[-1], 0))
    return np.where(ticks == MISSING, np.rint(filled).astype(np.int64), ticks)


def _usual_step(order: Ticks) -> int:
    """Median distance of neighbours that rise, at least 1."""
    rises = np.diff(order)
    rises = np.sort(rises[rises > 0])
    return int(rises[len(rises) // 2]) if len(rises) else 1


def longest_step(rate: Fraction, time_base: Fraction) -> int:
    """Ticks from one frame to the next from which there is a hole between them."""
    return min(int(max(HOLE, 4 / rate) / time_base), FARTHEST)


def check_amount(frames: int, volume: int, limits: Limits) -> None:
    """Raise `Rejected` where so many frames, or so many pixels in all of them, are too many."""
    if frames > limits.frames:
        raise Rejected("too_long", f"more than {limits.frames} frames, which is limits.frames")
    if volume > limits.volume:
        raise Rejected(
            "too_large", f"{frames} frames or more have {volume} pixels together, limits.volume is {limits.volume}"
        )


def _within(limits: Limits, seconds: Fraction, rate: Fraction) -> None:
    if float(seconds) > limits.seconds:
        raise Rejected("too_long", f"{float(seconds):.1f} s, limits.seconds is {limits.seconds}")
    if float(rate) > limits.rate:
        raise Rejected("too_fast", f"{float(rate):.2f} frames per second, limits.rate is {limits.rate}")


def usual(distances: Ticks) -> NDArray[np.bool_]:
    """Which distances between neighbouring frames lie within 10 % of their median, or one tick where that is less than
    the median."""
    median = np.sort(distances)[len(distances) // 2]
    return np.asarray(np.abs(distances - median) * 10 <= max(10 if median > 1 else 0, median))


def frame_rate(ticks: Ticks, time_base: Fraction, fallback: Fraction) -> Fraction:
    """Frames per second of frames at `ticks`, in any order.

    Where 99 of 100 distances are alike: the mean of those, as one of `RATES` if the clock is too coarse to tell it
    from that, else with a denominator of at most 1001. Where they are not: from the median distance. `fallback` when
    there are fewer than two frames.
    """
    distances: Ticks = np.diff(np.unique(ticks)).astype(np.int64)
    if not len(distances):
        return fallback
    alike = usual(distances)
    if alike.mean() < 0.99:
        return (1 / (int(np.sort(distances)[len(distances) // 2]) * time_base)).limit_denominator(1001)
    count, total = int(alike.sum()), int(distances[alike].sum())
    rate = count / (total * time_base)
    slack = 1 + len(distances) - count
    known = min(RATES, key=lambda r: abs(r - rate))
    if abs(count / (known * time_base) - total) <= slack:
        return known
    return rate.limit_denominator(1001) or rate
