"""The members of anybody's WebDataset shard, as loaders see them, within bounds."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

VIDEOS = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm"),
    *(".wmv", ".y4m"),
)

COMPANIONS = (".json", ".txt", ".cls", ".jpg", ".png", ".npy", ".wav", ".vtt", ".srt")
"""What lies beside a video."""
LARGEST_RECORD = 1 << 20
"""Bytes of a JSON member that is read."""

PADDING = 1 << 24
"""Bytes of zeros that may end a tar: `tar` pads to 10 KiB, to 16 MiB with the largest blocks in use."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar."""

    name: str
    key: str
    """Its folder and name up to the first dot, as `webdataset` and `datasets` divide it."""
    suffix: str
    """What follows that dot, in lower case."""
    split: bool
    """Whether the name has another dot before its real suffix, so that the key is cut short."""
    offset: int
    size: int
    data: bytes
    """Of a JSON member that is not too large; else empty."""


def members(file: BinaryIO) -> Iterator[Member | str]:
    """The members of a tar; at a damage what is wrong, last. Only headers and JSON are read."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.size < 0:
                    yield f"{member.name!r} claims {member.size} bytes"
                    return
                if member.offset_data + member.size > size:
                    yield f"{member.name!r} ends behind the end of the file: it is cut off"
                    return
                if member.isfile():
                    yield _member(tar, member)
                tar.members = []  # type: ignore[attr-defined]  # a tar of a million members must not stay in memory
            rest = size - tar.offset
            if rest > PADDING or (rest > 0 and _more(file, tar.offset)):
                yield f"{rest} bytes from {tar.offset} on are no tar"
    except (tarfile.TarError, OSError, ValueError, LookupError, OverflowError, RecursionError) as why:
        yield f"{why}"


def _more(file: BinaryIO, offset: int) -> bool:
    """Whether anything but zeros follows, a damaged header for example."""
    file.seek(offset)
    return any(part.strip(b"\0") for part in iter(lambda: file.read(1 << 20), b""))


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Member:
    folder, _, name = member.name.rpartition("/")
    first, _, suffix = name.partition(".")
    real = PurePosixPath(name).suffix.lower()
    known = real in VIDEOS or real in COMPANIONS
    file = tar.extractfile(member) if _is_record(member, suffix) else None
    data = file.read() if file else b""
    key = f"{folder}/{first}" if folder else first
    cut_short = known and f".{suffix.lower()}" != real
    return Member(member.name, key, suffix.lower(), cut_short, member.offset_data, member.size, data)


def _is_record(member: tarfile.TarInfo, suffix: str) -> bool:
    """A sparse member would unpack to more than it takes."""
    return suffix.lower() == "json" and member.size <= LARGEST_RECORD and not member.issparse()
