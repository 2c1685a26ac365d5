"""Damaged and hostile media made from real files, the same for the same seed: a mutator for fuzzing.

Besides blind damage (bits, holes, cuts, splices) it edits what demuxers steer by: sizes, types and numbers in the
boxes of MP4 (ISO/IEC 14496-12), and lengths and values of Matroska's elements (RFC 8794).
"""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Where programs that read integers go wrong."""
PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"moof", b"traf", b"mvex", b"udta")
HEAD = 4096


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed file and what was done to it."""

    name: str
    data: bytes


def mutate(data: bytes, other: bytes, seed: int) -> Mutant:
    """`data` after one to three changes that `seed` chooses; some of them take parts of `other`."""
    rng = random.Random(seed)
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choice(CHANGES)
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


Change = Callable[[bytearray, bytes, random.Random], bytearray]
CHANGES: tuple[Change, ...] = (
    *(flip, flip_head, flip_tail, truncate, header_only, behead, blank, scramble, remove, repeat, swap, splice, graft),
    *(number, number, edit_boxes, edit_boxes, edit_elements, edit_elements),
)


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


def _boxes(data: bytearray, low: int, high: int) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and type of the boxes in `[low, high)` and of those inside them."""
    while low + 8 <= high:
        size, kind = struct.unpack_from(">I4s", data, low)
        end = low + size if size >= 8 else high
        if end > high:
            return
        yield low, end, kind
        if kind in PARENTS:
            yield from _boxes(data, low + 8, end)
        low = end


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
