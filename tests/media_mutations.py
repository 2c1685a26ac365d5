"""Damaged and hostile media made from real files, the same for the same seed: a mutator for fuzzing.

There are two kinds: blind damage to bytes (bits, holes, cuts, splices), and edits of what demuxers steer by: sizes,
types, counts, dimensions, nesting in the boxes of MP4 (ISO/IEC 14496-12), Matroska's elements (RFC 8794), the packets
of MPEG-TS (ISO/IEC 13818-1) and the chunks of AVI (RIFF).
"""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Where programs that read integers go wrong."""
PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"moof", b"traf", b"mvex", b"udta")
HEAD = 4096
DEEPEST = 12
"""How far boxes and chunks inside each other are followed: `nest` makes thousands."""
PACKET = 188
"""Bytes of a packet of MPEG-TS."""
TABLES = (b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"co64", b"stss", b"elst", b"stsd", b"dref", b"trun", b"sidx")
SIDES = (0, 1, 2, 15, 16, 8191, 16384, 32767, 65535, 0x7FFFFFFF)
SIZES = ((b"avc1", 28, ">HH"), (b"mp4v", 28, ">HH"), (b"\xb0\x82", 2, ">H2xH"), (b"strf", 12, "<II"))
"""Where width and height stand: a mark, bytes behind its beginning, and how they are written."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed file and what was done to it."""

    name: str
    data: bytes


def mutate(data: bytes, other: bytes, seed: int, kind: str = "any") -> Mutant:
    """`data` after one to three changes of a kind in `KINDS` that `seed` chooses; some take parts of `other`."""
    rng = random.Random(seed)
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choice(KINDS[kind])
        names.append(change.__name__)
        data = bytes(change(bytearray(data), other, rng))
    return Mutant("+".join(names), data)


def flip(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Single bits anywhere."""
    return _flipped(data, 0, len(data), rng)


def flip_head(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Single bits in the first bytes."""
    return _flipped(data, 0, min(HEAD, len(data)), rng)


def flip_tail(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Single bits in the last bytes, where many files keep their index."""
    return _flipped(data, max(0, len(data) - HEAD), len(data), rng)


def truncate(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """The beginning alone."""
    return data[: rng.randrange(len(data) + 1)]


def header_only(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """A few bytes."""
    return data[: rng.choice((4, 8, 12, 16, 40, 100, 500, 2000))]


def behead(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """The first bytes, which tell the container, and then the end of the file."""
    return data[:64] + data[rng.randrange(len(data) + 1) :]


def blank(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Zeros in a range."""
    start, end = _range(data, rng)
    data[start:end] = bytes(end - start)
    return data


def scramble(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Noise in a range."""
    start, end = _range(data, rng)
    data[start:end] = rng.randbytes(end - start)
    return data


def remove(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Without a range."""
    start, end = _range(data, rng)
    return data[:start] + data[end:]


def repeat(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """A range, one to eight times more."""
    start, end = _range(data, rng)
    return data[:end] + data[start:end] * rng.randint(1, 8) + data[end:]


def swap(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Two neighbouring ranges in the other order."""
    start, end = _range(data, rng)
    middle = rng.randint(start, end)
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


def splice(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """The beginning of one file and the end of another."""
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def graft(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """A range out of another file, written over this one."""
    start, end = _range(data, rng)
    at = rng.randrange(max(1, len(other) - (end - start)))
    part = other[at : at + end - start]
    data[start : start + len(part)] = part
    return data


def number(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """An odd integer of 1, 2, 4 or 8 bytes in the first or last 64 KiB."""
    low = rng.choice((0, max(0, len(data) - (64 << 10))))
    return _numbers(data, low, min(len(data), low + (64 << 10)), rng)


def edit_boxes(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """One to four MP4 boxes with another size, another type, an odd number inside, or twice."""
    for _ in range(rng.randint(1, 4)):
        boxes = [box for box in _boxes(data, 0, len(data)) if box[2] != b"mdat"]
        if not boxes:
            return flip_head(data, b"", rng)
        start, end, kind = rng.choice(boxes)
        match rng.choice(("size", "type", "number", "number", "number", "twice")):
            case "size":
                sizes = (*NUMBERS, end - start - 1, end - start + 1, 2 * (end - start))
                data[start : start + 4] = struct.pack(">I", rng.choice(sizes))
            case "type":
                data[start + 4 : start + 8] = rng.choice([box[2] for box in boxes] + [b"dref", b"rmra", b"cmov", kind])
            case "number":
                _numbers(data, start + 8, end, rng)
            case _:
                data[end:end] = data[start:end]
    return data


def edit_elements(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """One to four Matroska elements with another length or an odd value."""
    if not data.startswith(b"\x1aE\xdf\xa3"):
        return edit_boxes(data, b"", rng)
    for _ in range(rng.randint(1, 4)):
        elements = list(_elements(data, 0, len(data), 0))
        if not elements:
            return data
        at, width, start, end = rng.choice(elements)
        if rng.random() < 0.4:
            length = rng.choice((0, 1, end - start - 1, end - start + 1, (1 << (7 * width)) - 1, 1 << (7 * width - 1)))
            data[at : at + width] = (max(0, length) | 1 << (7 * width)).to_bytes(width + 1, "big")[-width:]
        else:
            _numbers(data, start, min(end, start + 64), rng)
    return data


def edit_packets(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """One to eight packets of a transport stream with an odd header, table, length or time; some come twice."""
    if data[:1] != b"\x47" or len(data) < 3 * PACKET:
        return edit_chunks(data, b"", rng)
    for _ in range(rng.randint(1, 8)):
        at = PACKET * rng.randrange(min(len(data) // PACKET, rng.choice((4, 1000))))
        match rng.choice(("header", "length", "inside", "twice", "lost")):
            case "header":
                data[at + rng.randrange(4)] ^= 1 << rng.randrange(8)
            case "length":
                data[at + 3] |= 0x20
                data[at + 4] = rng.choice((0, 1, 7, 182, 183, 184, 255))
            case "inside":
                _numbers(data, at + 4, at + 40, rng)
            case "twice":
                data[at:at] = data[at : at + PACKET] * rng.choice((1, 20))
            case _:
                del data[at : at + PACKET]
    return data


def edit_chunks(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """One to four chunks of an AVI with another size, another type or an odd number inside."""
    if not data.startswith(b"RIFF"):
        return edit_elements(data, b"", rng)
    for _ in range(rng.randint(1, 4)):
        chunks = list(_chunks(data, 0, len(data)))
        at, end = rng.choice(chunks[: rng.choice((8, 40, len(chunks)))])
        match rng.choice(("size", "type", "number", "number", "number")):
            case "size":
                data[at + 4 : at + 8] = struct.pack("<I", rng.choice((*NUMBERS, end - at - 7, 2 * (end - at))))
            case "type":
                data[at : at + 4] = rng.choice((b"LIST", b"indx", b"idx1", b"00db", b"99dc", b"JUNK", b"strf"))
            case _:
                _numbers(data, at + 8, min(end, at + 80), rng)
    return data


def count(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """A table of MP4 that says that it has another number of entries, or samples of another size."""
    tables = [box for box in _boxes(data, 0, len(data)) if box[2] in TABLES and box[1] - box[0] >= 20]
    if not tables:
        return edit_packets(data, b"", rng)
    start, _, kind = rng.choice(tables)
    at = start + (16 if kind == b"stsz" else 12)
    (now,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, rng.choice((*NUMBERS, max(0, now - 1), min(now + 1, 0xFFFFFFFF))))
    if rng.random() < 0.5:  # so many samples in a file of a few kilobytes: one size, one duration for all
        struct.pack_into(">I", data, start + (12 if kind == b"stsz" else 16), rng.choice((1, 1 << 20, 0xFFFFFFFF)))
    return data


def resize(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """Another width and height in the header of MP4, Matroska or AVI."""
    for mark, skip, form in SIZES:
        if (at := data.find(mark)) >= 0 and at + skip + struct.calcsize(form) <= len(data):
            most = (1 << 4 * struct.calcsize(form)) - 1
            struct.pack_into(form, data, at + skip, *(min(most, rng.choice(SIDES)) for _ in range(2)))
            return data
    return edit_packets(data, b"", rng)


def nest(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """A box, element or chunk inside itself, up to 20,000 times."""
    depth = rng.choice((3, 40, 1000, 20_000))
    if data.startswith(b"RIFF"):
        body = bytes(data[12:])
        heads = (b"LIST" + struct.pack("<I", len(body) + 12 * k) + b"hdrl" for k in range(depth, 0, -1))
        return data[:12] + b"".join(heads) + body
    if data.startswith(b"\x1aE\xdf\xa3"):
        tag = b"".join(b"\x67\xc8\x01" + (10 * k).to_bytes(7, "big") for k in range(depth, 0, -1))
        return data + b"\x12\x54\xc3\x67\x01" + len(tag).to_bytes(7, "big") + tag
    boxes = [box for box in _boxes(data, 0, len(data)) if box[2] in PARENTS]
    if not boxes:
        return edit_packets(data, b"", rng)
    start, end, kind = rng.choice(boxes)
    heads = (struct.pack(">I4s", end - start + 8 * k, kind) for k in range(depth, 0, -1))
    return data[:start] + b"".join(heads) + data[start:]


def bomb(data: bytearray, _other: bytes, rng: random.Random) -> bytearray:
    """The second half sixteen to 64 times more: many packets, or many headers, in a file of a few megabytes."""
    half = bytes(data[len(data) // 2 :])
    return data + half * min(rng.choice((16, 64)), (4 << 20) // max(1, len(half)))


Change = Callable[[bytearray, bytes, random.Random], bytearray]
BYTES: tuple[Change, ...] = (
    *(flip, flip_head, flip_tail, truncate, header_only, behead, blank, scramble, remove, repeat, swap, splice, graft),
    *(number, number),
)
BOXES: tuple[Change, ...] = (*(edit_boxes, edit_elements, edit_packets, edit_chunks), *(count, resize, nest, bomb))
CHANGES: tuple[Change, ...] = (*BYTES, *(edit_boxes, edit_boxes, edit_elements, edit_elements), *BOXES)
KINDS = {"bytes": BYTES, "boxes": BOXES, "any": CHANGES}


def _range(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """Short ones are as likely as long ones."""
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + (1 << rng.randint(0, 18)))


def _flipped(data: bytearray, low: int, high: int, rng: random.Random) -> bytearray:
    for _ in range(1 << rng.randint(0, 7) if high > low else 0):
        data[rng.randrange(low, high)] ^= 1 << rng.randrange(8)
    return data


def _numbers(data: bytearray, low: int, high: int, rng: random.Random) -> bytearray:
    """Write odd numbers over one to three places in `[low, high)`; the length stays."""
    for _ in range(rng.randint(1, 3)):
        width = rng.choice((1, 2, 4, 8))
        if high - low >= width:
            at = rng.randrange(low, high - width + 1)
            value = rng.choice(NUMBERS) & (1 << 8 * width) - 1
            data[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))
    return data


def _boxes(data: bytearray, low: int, high: int, depth: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and type of the boxes in `[low, high)` and of those inside them."""
    while low + 8 <= high:
        size, kind = struct.unpack_from(">I4s", data, low)
        end = low + size if size >= 8 else high
        if end > high:
            return
        yield low, end, kind
        if kind in PARENTS and depth < DEEPEST:
            yield from _boxes(data, low + 8, end, depth + 1)
        low = end


def _chunks(data: bytearray, low: int, high: int, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Start and end of the chunks in `[low, high)` and of those inside lists."""
    while low + 8 <= high:
        (size,) = struct.unpack_from("<I", data, low + 4)
        end = min(high, low + 8 + size)
        yield low, end
        if data[low : low + 4] in (b"RIFF", b"LIST") and depth < DEEPEST:
            yield from _chunks(data, low + 12, end, depth + 1)
        low = end + (size & 1)


_MASTERS = (0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x114D9B74, 0x4DBB, 0x1C53BB6B, 0xBB, 0xB7, 0x1F43B675)
"""Segment, Info, Tracks, TrackEntry, Video, SeekHead, Seek, Cues, CuePoint, CueTrackPositions, Cluster."""


def _elements(data: bytearray, low: int, high: int, depth: int) -> Iterator[tuple[int, int, int, int]]:
    """Place and width of the length, start and end of the content, of elements in `[low, high)` and inside them."""
    while low < high and data[low]:
        wide = 9 - data[low].bit_length()
        at = low + wide
        if at >= high or not data[at]:
            return
        width = 9 - data[at].bit_length()
        kind, length = int.from_bytes(data[low:at], "big"), int.from_bytes(data[at : at + width], "big")
        length &= (1 << (7 * width)) - 1
        start = at + width
        end = min(high, start + length)
        yield at, width, start, end
        if kind in _MASTERS and depth < 6:
            yield from _elements(data, start, end, depth + 1)
        low = max(end, start)
