"""Where the frames of a clip lie: the boxes of an MP4 file (ISO/IEC 14496-12) with one track of H.264 (14496-15).

A demuxer of any format spends a seventh of the time that decoding a clip takes on finding out what it was given, and
knows many things that a clip never has. This one knows what clips have, and refuses all else.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

BRANDS = (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1")
"""Of MP4, as opposed to QuickTime; what libav writes is `isom`."""
_WORD, _PAIR, _RUN = struct.Struct(">I"), struct.Struct(">2H"), struct.Struct(">3I")
_ENTRY, _SIZE, _REST = 8, 24, 78
"""Of a sample description: offsets of the first entry, of width and height in it, and of the boxes behind them."""


class NotAClip(ValueError):
    """Bytes that are not such a clip; the text says what they are, after "is" or "has" ..."""


@dataclass(frozen=True, slots=True)
class Track:
    """The only track of a clip."""

    width: int
    height: int
    """Pixels, as the header says; the decoder may find others."""
    settings: bytes
    """The decoder's configuration, `avcC`."""
    samples: tuple[tuple[int, int], ...]
    """Offset and size of each coded frame, in the order of decoding; inside the file."""


def track_of(mp4: bytes) -> Track:
    """The track of an MP4 file that has one, of H.264. Raises `NotAClip`."""
    if mp4[4:8] != b"ftyp" or mp4[8:12] not in BRANDS:
        raise NotAClip(f"is no MP4: it begins with {mp4[:12].hex(' ') or 'nothing'}")
    try:
        media = _inside(mp4, range(len(mp4)), b"moov", b"trak", b"mdia")
        kind = _inside(mp4, media, b"hdlr")
        table = _inside(mp4, media, b"minf", b"stbl")
        described = _inside(mp4, table, b"stsd")
        if mp4[kind.start + 8 : kind.start + 12] != b"vide":
            raise NotAClip(f"has a track of {mp4[kind.start + 8 : kind.start + 12]!a}, not of video")
        name = mp4[described.start + 12 : described.start + 16]
        if _WORD.unpack_from(mp4, described.start + 4) != (1,) or name != b"avc1":
            raise NotAClip(f"is {name!a}, not H.264")
        entry = range(described.start + _ENTRY, described.stop)
        width, height = _PAIR.unpack_from(mp4, entry.start + 8 + _SIZE)
        settings = _inside(mp4, entry[8 + _REST :], b"avcC")
        samples = tuple(_samples(mp4, table))
    except struct.error as why:
        raise NotAClip(f"is a damaged MP4: {why}") from None
    return Track(width, height, mp4[settings.start : settings.stop], samples)


def _inside(mp4: bytes, place: range, *names: bytes) -> range:
    """Where the content of a box lies that is the only one of its name in the only one of the name before ..."""
    for name in names:
        found = [inside for kind, inside in _boxes(mp4, place) if kind == name]
        if len(found) != 1:
            raise NotAClip(f"is an MP4 with {len(found)} boxes {name.decode()!r}, not one")
        place = found[0]
    return place


def _boxes(mp4: bytes, place: range) -> Iterator[tuple[bytes, range]]:
    """Name and content of each box."""
    at = place.start
    while at + 8 <= place.stop:
        size, header = _WORD.unpack_from(mp4, at)[0], 8
        if size == 1:
            size, header = struct.unpack_from(">Q", mp4, at + 8)[0], 16
        elif size == 0:  # to the end
            size = place.stop - at
        if size < header or at + size > place.stop:
            raise NotAClip(f"is a damaged MP4: a box of {size} bytes at {at} of {place.stop}")
        yield mp4[at + 4 : at + 8], range(at + header, at + size)
        at += size


def _samples(mp4: bytes, table: range) -> Iterator[tuple[int, int]]:
    sizes, chunks = _sizes(mp4, _inside(mp4, table, b"stsz")), _chunks(mp4, table)
    begin = 0
    for offset, count in chunks:
        some = sizes[begin : begin + count]
        if len(some) < count or offset + sum(some) > len(mp4):
            raise NotAClip(f"is a damaged MP4: {count} frames at {offset} of {len(mp4)} bytes")
        yield from zip(accumulate(some[:-1], initial=offset), some, strict=True)
        begin += count
    if begin != len(sizes):
        raise NotAClip(f"is a damaged MP4: {len(sizes)} frames, {begin} of them somewhere")


def _sizes(mp4: bytes, box: range) -> tuple[int, ...]:
    same, count = struct.unpack_from(">2I", mp4, box.start + 4)
    if count * max(same, 1) > len(mp4):
        raise NotAClip(f"is a damaged MP4: {count} frames in {len(mp4)} bytes")
    return (same,) * count if same else _words(mp4, box.start + 12, count, box)


def _chunks(mp4: bytes, table: range) -> list[tuple[int, int]]:
    """Offset of each chunk, and how many frames lie there."""
    place, runs = _inside(mp4, table, b"stco"), _inside(mp4, table, b"stsc")
    offsets = _words(mp4, place.start + 8, _WORD.unpack_from(mp4, place.start + 4)[0], place)
    words = _words(mp4, runs.start + 8, 3 * _WORD.unpack_from(mp4, runs.start + 4)[0], runs)
    firsts = [*words[::3], len(offsets) + 1]
    if firsts[0] != 1 or any(a >= b for a, b in pairwise(firsts)):
        raise NotAClip(f"is a damaged MP4: chunks begin at {firsts[:4]}")
    counts = [count for (a, b), count in zip(pairwise(firsts), words[1::3], strict=True) for _ in range(a, b)]
    return list(zip(offsets, counts, strict=True))


def _words(mp4: bytes, at: int, count: int, box: range) -> tuple[int, ...]:
    if at + 4 * count > box.stop:
        raise NotAClip(f"is a damaged MP4: {count} numbers in a box of {len(box)} bytes")
    return struct.unpack_from(f">{count}I", mp4, at)
