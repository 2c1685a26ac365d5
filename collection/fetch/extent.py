"""How long a file says that it is, for where its server says nothing: of MP4, Matroska, AVI; by headers alone."""

import struct
from typing import BinaryIO

BOXES = 100_000
"""Top-level boxes that are looked at: a fragmented MP4 has two for every fragment."""


TOP = (
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"emsg", b"prft", b"pdin", b"meta"),
    *(b"uuid", b"free", b"skip", b"wide", b"udta", b"pnot", b"PICT"),
)
"""Types of top-level boxes; what begins otherwise behind the last of them is no part of the file."""


def extent(file: BinaryIO, container: str) -> int:
    """Bytes that the file speaks of; 0 where it does not say. `container` names its demuxer."""
    measure = {"mov": _boxes, "matroska": _segment, "avi": _riff}.get(container)
    return measure(file) if measure else 0


def _boxes(file: BinaryIO) -> int:
    """End of the last top-level box that begins in the file (ISO/IEC 14496-12, 4.2)."""
    end = 0
    for _ in range(BOXES):
        file.seek(end)
        head = file.read(16)
        if head[4:8] not in TOP:
            return end
        size: int = struct.unpack(">I", head[:4])[0]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: to the end of the file, whatever that is
            return end
        end += size
    return end


def _riff(file: BinaryIO) -> int:
    file.seek(0)
    head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    return 8 + size if head[:4] == b"RIFF" and size != 0xFFFFFFFF else 0


def _segment(file: BinaryIO) -> int:
    """End of the segment (RFC 8794, 4 and 6; RFC 9559, 4.5); 0 where its size is unknown, as in live recordings."""
    end = 0
    for _ in range(8):
        file.seek(end)
        head = file.read(16)
        if len(head) < 16:
            return 0
        name = _number_length(head[0])
        length = _number_length(head[name]) if name < len(head) else 0
        field = head[name : name + length]
        size = int.from_bytes(field, "big") & ((1 << 7 * length) - 1)
        if size == (1 << 7 * length) - 1:
            return 0
        end += name + length + size
        if head[:4] == b"\x18\x53\x80\x67":
            return end
    return 0


def _number_length(first: int) -> int:
    """Bytes of an EBML number by its first one: the place of the highest bit that is set."""
    return 9 - first.bit_length()
