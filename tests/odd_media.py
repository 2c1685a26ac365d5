"""Videos that say something else than they show: bytes of sound ones changed, and streams written by hand."""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.synthetic import Painter, Spec, _options, counted, packed, write

Bits = list[int]

# MP4: boxes.

INSIDE = {b"stsd": 8, b"avc1": 78}
"""Bytes of a box before the boxes inside it."""


def boxes(data: bytes | bytearray, path: Sequence[bytes]) -> list[tuple[int, int]]:
    """(position, size) of the first box on each step of `path`, from the top."""
    found, start, end = [], 0, len(data)
    for name in path:
        while data[start + 4 : start + 8] != name:
            start += int(struct.unpack(">I", data[start : start + 4])[0])
            assert start < end, f"no box {name!r}"
        size = int(struct.unpack(">I", data[start : start + 4])[0])
        found.append((start, size))
        start, end = start + 8 + INSIDE.get(name, 0), start + size
    return found


TABLE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def without_box(source: Path, target: Path, *path: bytes) -> Path:
    """An MP4 file in which the box at the end of `path` counts as free space."""
    data = bytearray(source.read_bytes())
    at, _ = boxes(data, path)[-1]
    data[at + 4 : at + 8] = b"free"
    target.write_bytes(data)
    return target


def clapped(source: Path, target: Path, size: tuple[int, int], offset: tuple[int, int]) -> Path:
    """An H.264 MP4 file, `moov` last, with a clean aperture: (width, height), its middle moved by (right, down)."""
    data = bytearray(source.read_bytes())
    chain = boxes(data, (*TABLE, b"stsd", b"avc1"))
    (width, height), (right, down) = size, offset
    clap = struct.pack(">I4s4I", 40, b"clap", width, 1, height, 1) + struct.pack(">iIiI", right, 1, down, 1)
    at, length = chain[-1]
    data[at + length : at + length] = clap
    for begin, old in chain:
        data[begin : begin + 4] = struct.pack(">I", old + len(clap))
    target.write_bytes(data)
    return target


def lasting(source: Path, target: Path, seconds: int) -> Path:
    """An MP4 file whose last frame is shown for so long."""
    with av.open(str(source)) as media, av.open(str(target), "w") as out:
        track = media.streams.video[0]
        copy = out.add_stream_from_template(track)
        packets = [packet for packet in media.demux(track) if packet.size]
        for packet in packets:
            if packet is packets[-1]:
                packet.duration = int(seconds / packet.time_base)
            packet.stream = copy
            out.mux(packet)
    return target


def streams(target: Path, *specs: Spec) -> Path:
    """One file of several video streams, each as its own `Spec` says, in the container of the suffix."""
    with av.open(str(target), "w") as out:
        packets = []
        for spec in specs:
            alone = write(target.with_name(f"alone-{len(packets)}.mp4"), spec)
            with av.open(str(alone)) as media:
                copy = out.add_stream_from_template(media.streams.video[0])
                copy.disposition = Disposition.default
                for packet in media.demux(video=0):
                    if packet.size:
                        packet.stream = copy
                        packets.append(packet)
            alone.unlink()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return target


def encrypted(source: Path, target: Path) -> Path:
    """Common Encryption (ISO/IEC 23001-7) of an MP4 file."""
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "00" * 16, "encryption_kid": "11" * 16}
    with av.open(str(source)) as media, av.open(str(target), "w", options=options) as out:
        copy = out.add_stream_from_template(media.streams.video[0])
        for packet in media.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    return target


# AVI.


def sparse(target: Path, frames: int, skip: int, *, coded: bool) -> Path:
    """An MPEG-4 AVI file at 25 frames per second, whose every `skip`-th chunk gives no frame: it is empty, or holds a
    vop that is not coded. The counters tell the chunk."""

    def paint(number: int, height: int, width: int) -> NDArray[np.uint8]:
        return counted(number + number // (skip - 1), height, width)

    spec = Spec(frames=frames, codec="mpeg4", options={"qscale": "2"})
    whole = write(target.with_suffix(".mp4"), spec, paint)
    with av.open(str(whole)) as media, av.open(str(target), "w") as out:
        copy = out.add_stream_from_template(media.streams.video[0])
        for number, packet in enumerate(p for p in media.demux(video=0) if p.size):
            _put(out, copy, packet, number + number // (skip - 1))
            if coded and number % (skip - 1) == skip - 2:
                vop = av.Packet(_bytes([*_fixed(0x1B6, 32), 0, 1, 0, 1, *_fixed(0, 5), 1, 0, 1]))
                _put(out, copy, vop, number + number // (skip - 1) + 1)
    whole.unlink()
    return target


def _put(out: OutputContainer, stream: VideoStream, packet: "Packet[VideoStream]", frame: int) -> None:
    packet.stream, packet.time_base = stream, Fraction(1, 25)
    packet.pts = packet.dts = frame
    packet.duration = 1
    out.mux(packet)


# MPEG-TS.


def joined(target: Path, *specs: tuple[Spec, Painter]) -> Path:
    """Transport streams one behind the other, without a seam in the numbers of their packets."""
    parts = [write(target.with_name(f"{k}.ts"), spec, paint) for k, (spec, paint) in enumerate(specs)]
    data, numbers = bytearray(b"".join(part.read_bytes() for part in parts)), Counter[bytes]()
    for at in range(0, len(data), 188):
        identity = bytes((data[at + 1] & 0x1F, data[at + 2]))
        data[at + 3] = data[at + 3] & 0xF0 | numbers[identity] % 16
        numbers[identity] += bool(data[at + 3] & 0x10)
    target.write_bytes(data)
    return target


def counted_from(first: int) -> Painter:
    """`counted`, from another number on."""
    return lambda frame, height, width: counted(frame + first, height, width)


def thinned(source: Path, target: Path, every: int) -> Path:
    """A transport stream in which one in `every` video frames says when it is shown and decoded."""
    data = bytearray(source.read_bytes())
    number = 0
    for at in range(0, len(data), 188):
        payload = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        if not data[at + 1] & 0x40 or data[payload : payload + 3] != b"\0\0\1" or data[payload + 3] >> 4 != 0xE:
            continue
        if number % every:
            data[payload + 7] &= 0x3F
            data[payload + 9 : payload + 9 + data[payload + 8]] = b"\xff" * data[payload + 8]
        number += 1
    target.write_bytes(data)
    return target


def scrambled(source: Path, target: Path) -> Path:
    """A transport stream that says of itself that it is encrypted."""
    data = bytearray(source.read_bytes())
    for at in range(0, len(data), 188):
        data[at + 3] |= 0x80
    target.write_bytes(data)
    return target


# Matroska, written by hand.


def element(name: str, content: bytes | int | str) -> bytes:
    """An EBML element; `name` is its id in hex."""
    if isinstance(content, int):
        content = content.to_bytes(max(1, -(-content.bit_length() // 8)), "big")
    if isinstance(content, str):
        content = content.encode()
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


@dataclass(frozen=True)
class Track:
    """A video track."""

    codec: str
    private: bytes
    width: int
    height: int
    blocks: Sequence[tuple[int, bytes, bool]]
    """(milliseconds, payload, key frame) in decoding order."""
    default: bool = True
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Left, right, top, bottom."""
    encrypted: bool = False


def matroska(target: Path, *tracks: Track) -> Path:
    """A Matroska file of one cluster per block."""
    head = element("1A45DFA3", element("4282", "matroska") + element("4287", 4) + element("4285", 2))
    info = element("1549A966", element("2AD7B1", 1_000_000) + element("4D80", "t") + element("5741", "t"))
    entries = b"".join(_entry(number, track) for number, track in enumerate(tracks, 1))
    blocks = sorted((at, n, data, key) for n, track in enumerate(tracks, 1) for at, data, key in track.blocks)
    clusters = b"".join(
        element("1F43B675", element("E7", at) + element("A3", bytes([0x80 | n, 0, 0, 0x80 * key]) + data))
        for at, n, data, key in blocks
    )
    target.write_bytes(head + element("18538067", info + element("1654AE6B", entries) + clusters))
    return target


def _entry(number: int, track: Track) -> bytes:
    cuts = (element(name, cut) for name, cut in zip(("54CC", "54DD", "54BB", "54AA"), track.crop, strict=True) if cut)
    video = element("B0", track.width) + element("BA", track.height) + b"".join(cuts)
    ids = element("D7", number) + element("73C5", number) + element("83", 1) + element("88", int(track.default))
    codec = element("86", track.codec) + (element("63A2", track.private) if track.private else b"")
    secret = element("5035", element("47E1", 5) + element("47E2", b"key"))  # ContentEncryption: AES, the key's id
    encoding = element("6D80", element("6240", element("5033", 1) + secret)) if track.encrypted else b""
    return element("AE", ids + codec + element("E0", video) + encoding)


def encoded(spec: Spec, paint: Painter = counted) -> list[tuple[int, int, bytes, bool]]:
    """(pts, dts, payload, key frame) of frames as the encoder gives them, in decoding order, counted in frames."""
    context = av.CodecContext.create(spec.codec, "w")
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pix_fmt  # type: ignore[attr-defined]
    context.time_base, context.framerate, context.thread_count = 1 / spec.rate, spec.rate, 1  # type: ignore[attr-defined]
    context.options = {**_options(spec), **spec.options}
    packets = []
    for number in range(spec.frames):
        frame = packed(paint(number, spec.height, spec.width), spec.pix_fmt, spec.full_range)
        frame.pts, frame.time_base = number, 1 / spec.rate
        packets += context.encode(frame)  # type: ignore[attr-defined]
    packets += context.encode(None)  # type: ignore[attr-defined]
    return [(packet.pts, packet.dts, bytes(packet), packet.is_keyframe) for packet in packets]


def video_for_windows(target: Path, spec: Spec) -> Path:
    """A Matroska file that was an AVI file: a FOURCC, and decoding times instead of presentation times."""
    header = struct.pack("<IiiHH4sIiiII", 40, spec.width, spec.height, 1, 24, b"H264", 0, 0, 0, 0, 0)
    packets = encoded(spec)
    step = int(1000 / spec.rate)
    blocks = [(number * step, data, key) for number, (_, _, data, key) in enumerate(packets)]
    return matroska(target, Track("V_MS/VFW/FOURCC", header, spec.width, spec.height, blocks))


# H.264 field pictures, uncompressed (I_PCM).


def _ue(value: int) -> Bits:
    """Unsigned Exp-Golomb code (ITU-T H.264, 9.1)."""
    bits = [int(b) for b in f"{value + 1:b}"]
    return [0] * (len(bits) - 1) + bits


def _fixed(value: int, count: int) -> Bits:
    return [value >> k & 1 for k in reversed(range(count))]


def _bytes(bits: Bits) -> bytes:
    bits = bits + [0] * (-len(bits) % 8)
    return np.packbits(np.array(bits, np.uint8)).tobytes()


def _nal(header: int, payload: bytes) -> bytes:
    """With emulation prevention (7.4.1)."""
    out, zeros = bytearray([header]), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def parameter_sets(width: int, height: int) -> tuple[bytes, bytes]:
    """SPS (Main, level 3, interlaced) and PPS for `field`; sides in multiples of 16 and 32."""
    sps = [
        *_fixed(77, 8), *_fixed(0, 8), *_fixed(30, 8), *_ue(0),  # profile, constraints, level, id
        *_ue(4), *_ue(2), *_ue(1), 0,  # 8 bits of frame_num; output in decoding order; one reference
        *_ue(width // 16 - 1), *_ue(height // 32 - 1), 0, 0, 1, 0, 0, 1,  # fields, no MBAFF
    ]  # fmt: skip
    pps = [*_ue(0), *_ue(0), 0, 0, *_ue(0), *_ue(0), *_ue(0), 0, 0, 0, *_ue(0), *_ue(0), *_ue(0), 0, 0, 0, 1]
    return _nal(0x67, _bytes(sps)), _nal(0x68, _bytes(pps))


def field(planes: Sequence[NDArray[np.uint8]], number: int, bottom: bool) -> bytes:
    """One field of frame `number` as a slice: all macroblocks of Y, U and V (of the field alone) as they are."""
    key = number == 0 and not bottom
    bits = [*_ue(0), *_ue(7), *_ue(0), *_fixed(number % 256, 8), 1, int(bottom)]  # an I slice of a field
    bits += [*_ue(0), 0, 0] if key else [0]  # idr_pic_id; marking of references
    bits += _ue(0)  # slice_qp_delta
    for row in range(planes[0].shape[0] // 16):
        for column in range(planes[0].shape[1] // 16):
            bits += _ue(25)  # I_PCM
            bits += [0] * (-len(bits) % 8)
            for plane, side in zip(planes, (16, 8, 8), strict=True):
                block = plane[row * side : (row + 1) * side, column * side : (column + 1) * side]
                bits += np.unpackbits(np.ascontiguousarray(block).ravel()).tolist()
    return _nal(0x65 if key else 0x61, _bytes([*bits, 1]))


def field_pictures(target: Path, frames: int, woven: int = 0, paint: Painter = counted) -> Path:
    """H.264 in Matroska at 25 frames per second, 96 x 64; the first `woven` frames have one packet each, the others
    one for each field."""
    sps, pps = parameter_sets(96, 64)
    private = b"\x01" + sps[1:4] + b"\xff\xe1" + len(sps).to_bytes(2, "big") + sps
    private += b"\x01" + len(pps).to_bytes(2, "big") + pps
    blocks = []
    for number in range(frames):
        picture = paint(number, 64, 96)
        planes = (picture[0], picture[1, ::2, ::2], picture[2, ::2, ::2])
        halves = [field([plane[bottom::2] for plane in planes], number, bool(bottom)) for bottom in (0, 1)]
        units = [len(half).to_bytes(4, "big") + half for half in halves]
        if number < woven:
            blocks.append((number * 40, b"".join(units), number == 0))
        else:
            blocks += [(number * 40 + 20 * bottom, unit, number == bottom == 0) for bottom, unit in enumerate(units)]
    return matroska(target, Track("V_MPEG4/ISO/AVC", private, 96, 64, blocks))
