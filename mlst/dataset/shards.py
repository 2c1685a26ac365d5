"""The shard format: a plain USTAR archive with two members per clip, `<key>.mp4` and `<key>.json`, side by side.

The same clips give the same bytes: mtime 0, uid and gid 0, no names, mode 0644, JSON with sorted keys, closed with
zero blocks to a multiple of 10240 bytes as `tar` does. Reading goes forward only, never extracts, and refuses whatever
the writer would not have written (see docs/format.md).
"""

import hashlib
import io
import re
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Protocol

from mlst.inside import opened
from mlst.records import SPLITS

BLOCK = tarfile.BLOCKSIZE
RECORD = tarfile.RECORDSIZE
SUFFIXES = (".mp4", ".json")
KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")
"""No dot: loaders cut a member's name at its first one. With its suffix a name fits USTAR's 100 bytes."""
PATH = re.compile(rf"data/(s[012]t[012])/({'|'.join(SPLITS)})-(\d{{5}})-of-(\d{{5}})\.tar")
"""Level, split, index and count of a shard, from its path in the dataset."""
LARGEST = 1 << 28
"""Bytes of a video at most when reading: a clip is a few seconds of small video."""
LARGEST_JSON = 1 << 22
"""Bytes of the JSON beside it at most."""
PIECE = 1 << 20
"""Bytes asked for at a time, so that a header that lies about a size costs no memory."""


class ShardError(ValueError):
    """A shard that breaks the format; `key` is the clip at which it was seen, "" where there is none."""

    def __init__(self, detail: str, key: str) -> None:
        super().__init__(detail)
        self.detail, self.key = detail, key


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """A clip as it lies in a shard."""

    key: str
    mp4: bytes
    json: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """Where a clip's video lies: `size` bytes from `offset` of the shard."""

    key: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_shard` wrote."""

    members: tuple[Member, ...]
    size: int
    sha256: str


def shard_path(level: str, split: str, index: int, count: int) -> str:
    """`data/s0t2/train-00012-of-00040.tar`, relative to the dataset."""
    return f"data/{level}/{split}-{index:05d}-of-{count:05d}.tar"


def largest_clip(side: int, frames: int) -> int:
    """Bytes of a clip's video at most: twice what its pictures take when they are not compressed, and 1 MiB."""
    return min(3 * side * side * frames + (1 << 20), LARGEST)


def sample_bytes(mp4: int, json: int) -> int:
    """What a clip adds to a shard, given the sizes of its two files."""
    return 2 * BLOCK + _padded(mp4) + _padded(json)


def partition(sizes: Sequence[int], limit: int) -> tuple[int, ...]:
    """Cut `sizes` into as few consecutive parts as fit `limit` each, then make the largest part as small as possible.

    Gives the number of items in each part, none of them 0; an item above the limit has a part of its own.
    """
    largest, ends = max(sizes, default=0), list(accumulate(sizes, initial=0))
    if largest > limit:
        return _fill(ends, limit)
    fewest = len(_fill(ends, limit))
    low, high = largest, limit
    while low < high:
        middle = (low + high) // 2
        if len(_fill(ends, middle)) <= fewest:
            high = middle
        else:
            low = middle + 1
    return _fill(ends, high)


def _fill(ends: Sequence[int], limit: int) -> tuple[int, ...]:
    """Items of each part, filled one after the other; `ends` are the sums of the first 0, 1 ... sizes."""
    parts: list[int] = []
    begin, count = 0, len(ends) - 1
    while begin < count:
        fit = bisect_right(ends, ends[begin] + limit, begin) - 1 - begin
        parts.append(max(fit, 1))
        begin += parts[-1]
    return tuple(parts)


def write_shard(file: BinaryIO, samples: Iterable[ClipFiles]) -> Written:
    """Write the samples to `file` in their order, one at a time.

    Raises ValueError for a key that does not match `KEY` or is a duplicate, and for no samples at all:
    `datasets` cannot read an empty shard.
    """
    total = hashlib.sha256()
    position = 0
    members: dict[str, Member] = {}

    def put(data: bytes) -> None:
        nonlocal position
        file.write(data)
        total.update(data)
        position += len(data)

    for sample in samples:
        if not KEY.fullmatch(sample.key) or sample.key in members:
            raise ValueError(f"key {sample.key!r} is a duplicate in the shard or does not match {KEY.pattern}")
        put(_header(f"{sample.key}.mp4", len(sample.mp4)))
        sha256 = hashlib.sha256(sample.mp4).hexdigest()
        members[sample.key] = Member(sample.key, position, len(sample.mp4), sha256)
        put(sample.mp4 + bytes(-len(sample.mp4) % BLOCK))
        put(_header(f"{sample.key}.json", len(sample.json)))
        put(sample.json + bytes(-len(sample.json) % BLOCK))
    if not members:
        raise ValueError("a shard needs at least one clip")
    put(bytes(2 * BLOCK))
    put(bytes(-position % RECORD))
    return Written(tuple(members.values()), position, total.hexdigest())


class Readable(Protocol):
    """A stream of bytes that goes forward: a file, an HTTP response."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes or fewer; none at the end."""


def read_shard(file: Readable, largest: int = LARGEST) -> Iterator[tuple[ClipFiles, int]]:
    """The samples of a shard, each with the offset of its video, in one forward pass over a binary stream.

    Raises `ShardError` where the stream is not exactly what `write_shard` writes: member names, types, order, header
    fields, padding, end. Nothing is extracted, no video above `largest` bytes is read, no JSON above `LARGEST_JSON`.
    """
    reader = _Reader(file, largest)
    seen: set[str] = set()
    while True:
        mp4 = reader.member()
        if mp4 is None:
            break
        key, suffix, offset, video = mp4
        if suffix != ".mp4" or key in seen:
            raise ShardError(f"member {key + suffix!r} where the .mp4 of a new clip should begin", key)
        seen.add(key)
        json = reader.member()
        if json is None or json[:2] != (key, ".json"):
            found = "the end" if json is None else repr(json[0] + json[1])
            raise ShardError(f"{found} where {key + '.json'!r} should follow", key)
        yield ClipFiles(key, video, json[3]), offset
    reader.end()
    if not seen:
        raise ShardError("the shard is empty", "")


def open_shard(path: Path) -> Iterator[tuple[ClipFiles, int]]:
    """`read_shard` over the file `path`, a regular one."""
    with opened(path) as file:
        yield from read_shard(file)


class _Reader:
    """Takes members off a stream; knows how far it is."""

    def __init__(self, file: Readable, largest: int) -> None:
        self.file, self.position, self.key = file, 0, ""
        self.largest = {".mp4": largest, ".json": LARGEST_JSON}

    def take(self, size: int) -> bytes:
        parts, missing = io.BytesIO(), size
        while missing and (part := self.file.read(min(missing, PIECE))):
            parts.write(part)
            missing -= len(part)
        if missing:
            raise ShardError(f"cut off: {size} bytes wanted at {self.position}, {size - missing} are there", self.key)
        self.position += size
        return parts.getvalue()

    def member(self) -> tuple[str, str, int, bytes] | None:
        """Key, suffix, offset and bytes of the next member; None at the first zero block."""
        start, header = self.position, self.take(BLOCK)
        if not any(header):
            return None
        try:
            info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError) as why:
            raise ShardError(f"no tar header at {start}: {why}", self.key) from None
        self.key, dot, rest = info.name.partition(".")
        suffix = dot + rest
        if not KEY.fullmatch(self.key) or suffix not in SUFFIXES:
            raise ShardError(f"member name {info.name!r} is not <key>.mp4 or <key>.json", self.key)
        if not 0 <= info.size <= (most := self.largest[suffix]):
            raise ShardError(f"{info.name} claims {info.size} bytes; at most {most} are read", self.key)
        if header != _header(info.name, info.size):
            raise ShardError(f"header of {info.name} differs from the canonical one: {_odd(info)}", self.key)
        offset, data = self.position, self.take(info.size)
        if any(self.take(-info.size % BLOCK)):
            raise ShardError(f"padding of {info.name} is not zero", self.key)
        return self.key, suffix, offset, data

    def end(self) -> None:
        """Check what follows the first zero block: zeros to the next full record, and nothing else."""
        rest = self.take(-self.position % RECORD or RECORD)
        if any(rest) or self.file.read(1):
            raise ShardError(f"bytes follow the end of the archive at {self.position}", "")


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _odd(info: tarfile.TarInfo) -> str:
    usual = {"mode": 0o644, "uid": 0, "gid": 0, "mtime": 0, "uname": "", "gname": "", "type": tarfile.REGTYPE}
    odd = {name: getattr(info, name) for name, value in usual.items() if getattr(info, name) != value}
    return ", ".join(f"{name} = {value!r}" for name, value in odd.items()) or "not USTAR"


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
