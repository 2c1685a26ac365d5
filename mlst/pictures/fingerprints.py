"""Perceptual fingerprints: the same footage is found again in another encoding, size, letterbox, crop or cut.

Grid frames are hashed, each in central squares of three sizes: a centre crop to another aspect leaves the largest
square alone, and a crop of up to a fifth of the height makes one picture's whole square another's smaller one. Flat
frames and title cards look alike without being the same footage, and are left out.

A hash has three words of 64 bits: signs of the lowest DCT frequencies against their median (Zauner 2010,
Implementation and benchmarking of perceptual image hash functions), signs of horizontal and of vertical differences
of 8 x 8 block means (the "difference hash"). Thresholds are measured: docs/levels.md.
"""

import os
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.pictures.frames import Frames, all_resized, counts

WINDOWS = (1.0, 0.9, 0.81)
"""Sides of the central squares over the picture's short side."""
WORDS, SIDE = 3, 32
FRAMES = 16
"""Grid frames hashed at most; of more, evenly chosen ones."""
FLAT_STD = 6.0
"""Standard deviation of luma (0..255) below which a square is flat."""
CARD_SHARE = 0.7
"""Share of a frame's pixels of one luma (+-2) from which it is a title card."""
DISTANCE = 32
"""Of the 192 bits of two hashes of one picture, so many differ at most; 49 was the least between two films."""
MATCHES = 2
"""Frames of either clip that must be found in the other."""
BAND = 32
"""Bits that two hashes must share exactly, in one of six places, to be compared at all."""
CROWD, NEIGHBOURS = 64, 8
"""Of more than `CROWD` clips with one band in common, each is compared with the next `NEIGHBOURS` only."""

Hashes = NDArray[np.uint64]
"""(..., F, len(WINDOWS), WORDS); all zero for a frame that was left out."""
HASHED = len(WINDOWS) * WORDS * 8
"""Bytes of a frame's hashes."""
HEX = re.compile(r"[0-9a-f]*")
BANDS = WORDS * 64 // BAND
KEY = np.uint32
"""Of `BAND` bits."""
PLACE = 31
"""Bits of a place in a list of clips, the lower part of a 63-bit number."""
PARTS = 4
"""Of all keys, so many parts are sorted one after the other: fewer take more memory, more take longer."""
CHUNK, PAIRS = 1 << 15, 1 << 11
"""Clips or hashes that are read at a time, and pairs that are compared at a time."""


def fingerprint(frames: Frames) -> str:
    """Hashes of up to `FRAMES` grid frames, hex: 48 digits for each window of each frame."""
    count = len(frames.luma8)
    chosen = sorted({round(i) for i in np.linspace(0, count - 1, min(count, FRAMES))})
    return _of_frames([frames.luma8[i] for i in chosen]).astype(">u8").tobytes().hex()


def is_fingerprint(text: str) -> bool:
    """Whether a text could be a clip's fingerprint."""
    return len(text) % (2 * HASHED) == 0 and HEX.fullmatch(text) is not None


def same_footage(a: str, b: str) -> bool:
    """Whether two fingerprints are of clips that show the same footage, if only in part."""
    return bool(_same(_decoded(a)[None], _decoded(b)[None])[0])


def link(fingerprints: Iterable[str]) -> list[tuple[int, int]]:
    """Pairs `(i, j)`, i < j, sorted, of clips with the same footage; see `Fingerprints.links`."""
    with tempfile.TemporaryFile() as file:
        known = Fingerprints(file)
        for text in fingerprints:
            known.add(text)
        return list(known.links(range(len(known))))


class Fingerprints:
    """Fingerprints of very many clips, numbered from 0 as they are added.

    They lie in `file`, which is empty at first and of this object alone, because those of a million clips (72 bytes
    per frame, ten frames per second of video) would take a third of the memory that a build may have; on the disk
    they lie twice.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ends = array("q", [0])
        self._turned = 0

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, fingerprint: str) -> None:
        """Add a clip's. Raises ValueError for what is not a fingerprint."""
        hashes = bytes.fromhex(fingerprint)
        if len(hashes) % HASHED:
            raise ValueError(f"{len(hashes)} bytes are no fingerprint: a frame has {HASHED}")
        self._file.write(hashes)
        self._ends.append(self._ends[-1] + len(hashes) // HASHED)

    def links(self, numbers: Sequence[int] | NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Pairs `(i, j)`, i < j, sorted, of places in `numbers` with clips of the same footage.

        Only clips that share a band of a hash are compared, so that cost grows with the number of clips and of
        matches, not with that of pairs. Where hundreds of clips match one another, a camera that does not move, not
        every pair is listed, but chains of pairs that connect them; which, the order of `numbers` decides.
        """
        self._file.flush()
        self._turn()
        clips = np.asarray(numbers, np.int64)
        found = np.empty(0, np.int64)
        for band, part in product(range(BANDS), range(PARTS)):
            new = [found]
            for together in map(_together, _runs(self._keyed(band, part, clips))):
                codes = together[~_within(together, found)]
                one, other = _split(codes)
                new.append(codes[self._compared(clips[one], clips[other])])
            found = _distinct(np.concatenate(new))
        for start in range(0, len(found), CHUNK):
            one, other = _split(found[start : start + CHUNK])
            yield from zip(one.tolist(), other.tolist(), strict=True)

    def _turn(self) -> None:
        """Write all hashes once more behind the first, band by band within each chunk of clips, so that each of the
        24 looks at a band reads that one alone: links among 60,000 clips take a third of the time."""
        if self._turned == len(self):
            return
        for start in range(0, len(self), CHUNK):
            begin, end = self._ends[start], self._ends[min(start + CHUNK, len(self))]
            self._file.write(np.frombuffer(self._read(begin, end), KEY).reshape(-1, BANDS).T.tobytes())
        self._file.seek(HASHED * self._ends[-1])  # where the next clip goes
        self._turned = len(self)

    def _column(self, band: int, begin: int, end: int) -> NDArray[np.uint32]:
        """One band of the hashes of frames `[begin, end)`, which are a chunk of clips."""
        size = HASHED // BANDS * (end - begin)
        found = os.pread(self._file.fileno(), size, HASHED * (self._ends[-1] + begin) + band * size)
        return np.frombuffer(found, KEY)

    def _keyed(self, band: int, part: int, clips: NDArray[np.int64]) -> NDArray[np.int64]:
        """`key << PLACE | place`, sorted, of one band of the hashes of the clips with these numbers: all keys that
        leave the remainder `part`."""
        place = np.full(len(self), -1, np.int32)
        place[clips] = np.arange(len(clips), dtype=np.int32)
        keyed = [np.empty(0, np.int64)]
        for start in range(0, len(self), CHUNK):
            ends = np.array(self._ends[start : start + CHUNK + 1])
            column = self._column(band, int(ends[0]), int(ends[-1]))
            here = np.flatnonzero(column % PARTS == part)
            keys, places = column[here], place[start : start + CHUNK].repeat(len(WINDOWS) * np.diff(ends))[here]
            wanted = places >= 0
            if not keys.all():
                wanted &= self._said(int(ends[0]), int(ends[-1]))[here]
            keyed.append(keys[wanted].astype(np.int64) << PLACE | places[wanted])
        together = np.concatenate(keyed)
        together.sort()
        return together

    def _said(self, begin: int, end: int) -> NDArray[np.bool_]:
        """Which hashes of frames `[begin, end)` were not left out."""
        return np.asarray(np.frombuffer(self._read(begin, end), KEY).reshape(-1, BANDS).any(axis=1))

    def _compared(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the clips with these numbers, pair by pair, show the same footage."""
        same = [
            _same(self._hashes(one[start : start + PAIRS]), self._hashes(other[start : start + PAIRS]))
            for start in range(0, len(one), PAIRS)
        ]
        return np.concatenate([np.empty(0, bool), *same])

    def _hashes(self, numbers: NDArray[np.int64]) -> Hashes:
        """(N, F, len(WINDOWS), WORDS), zero after the last frame of a clip that has fewer than the longest."""
        spans = [(self._ends[n], self._ends[n + 1]) for n in numbers.tolist()]
        hashes = np.zeros((len(spans), max(end - start for start, end in spans), len(WINDOWS), WORDS), np.uint64)
        for row, (start, end) in zip(hashes, spans, strict=True):
            row[: end - start] = np.frombuffer(self._read(start, end), np.uint64).reshape(-1, len(WINDOWS), WORDS)
        return hashes

    def _read(self, start: int, end: int) -> bytes:
        """The hashes of frames `[start, end)` of all."""
        return os.pread(self._file.fileno(), HASHED * int(end - start), HASHED * int(start))


def _of_frames(lumas: Sequence[NDArray[np.uint8]]) -> Hashes:
    """Hashes of frames, zero for those that say nothing."""
    small = all_resized([_square(luma, window) for luma in lumas for window in WINDOWS], SIDE, SIDE)
    squares = small.astype(np.float32)
    hashes = _words(squares).reshape(-1, len(WINDOWS), WORDS)
    flat = squares[:: len(WINDOWS)].reshape(len(lumas), -1).std(axis=1) < FLAT_STD
    cards = [_near_one_luma(luma) >= CARD_SHARE * luma.size for luma in lumas]
    hashes[flat | cards] = 0
    return hashes


def _near_one_luma(luma: NDArray[np.uint8]) -> int:
    """The most pixels within 2 of any one luma."""
    total = np.concatenate([np.zeros(3, np.int64), counts(luma), np.zeros(2, np.int64)]).cumsum()
    return int((total[5:] - total[:-5]).max())


def _square(luma: NDArray[np.uint8], window: float) -> NDArray[np.uint8]:
    """The central square."""
    height, width = luma.shape
    side = round(min(height, width) * window)
    top, left = (height - side) // 2, (width - side) // 2
    return luma[top : top + side, left : left + side]


def _words(squares: NDArray[np.float32]) -> Hashes:
    """(N, WORDS) the hashes of (N, SIDE, SIDE) squares."""
    frequencies = np.stack([cv2.dct(square) for square in squares])[:, *LOWEST]
    middle = np.median(frequencies, axis=1, keepdims=True)
    across = np.stack([cv2.resize(square, (9, 8), interpolation=cv2.INTER_AREA) for square in squares])
    down = np.stack([cv2.resize(square, (8, 9), interpolation=cv2.INTER_AREA) for square in squares])
    rises = across[:, :, 1:] > across[:, :, :-1], down[:, 1:] > down[:, :-1]
    bits = np.stack([frequencies > middle, *(one.reshape(len(squares), -1) for one in rises)], axis=1)
    return np.packbits(bits, axis=2).view(">u8")[..., 0].astype(np.uint64)


def _lowest() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the 64 lowest frequencies but DC, diagonal by diagonal."""
    order = sorted((u + v, u, v) for u in range(12) for v in range(12) if u + v)[:64]
    return np.array([u for _, u, _ in order]), np.array([v for *_, v in order])


LOWEST = _lowest()


def _decoded(text: str) -> Hashes:
    words = np.frombuffer(bytes.fromhex(text), np.uint64)
    return words.reshape(-1, len(WINDOWS), WORDS)


def _hashed(hashes: Hashes) -> NDArray[np.bool_]:
    """Which frames were not left out."""
    return np.asarray(hashes.reshape(*hashes.shape[:-2], len(WINDOWS) * WORDS).any(axis=-1))


def _same(a: Hashes, b: Hashes) -> NDArray[np.bool_]:
    """Pair by pair, whether enough frames of each are near to some frame of the other, the largest window of one
    compared with all."""
    near = np.zeros((len(a), a.shape[1], b.shape[1]), bool)
    for i, j in ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0)):
        differing = np.zeros(near.shape, np.uint8)
        for word in range(WORDS):
            differing += np.bitwise_count(a[:, :, None, i, word] ^ b[:, None, :, j, word])
        np.logical_or(near, differing <= DISTANCE, out=near)
    near &= _hashed(a)[:, :, None] & _hashed(b)[:, None, :]
    ours, theirs = near.any(axis=2).sum(axis=1), near.any(axis=1).sum(axis=1)
    return np.asarray((ours >= MATCHES) & (theirs >= MATCHES))


def _runs(keyed: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """What is sorted, in parts; equal keys stay together."""
    start = 0
    while start < len(keyed):
        last = keyed[min(start + CHUNK, len(keyed)) - 1]
        end = int(np.searchsorted(keyed, last | (1 << PLACE) - 1, "right"))
        yield keyed[start:end]
        start = end


def _together(keyed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes `i << PLACE | j`, i < j, sorted, of places with one key, from sorted `key << PLACE | place`."""
    keys, places = _split(keyed[_news(keyed)])
    sizes = np.diff(np.flatnonzero(np.append(_news(keys), True)))
    crowded = np.repeat(sizes > CROWD, sizes)
    codes = [np.empty(0, np.int64)]
    for step in range(1, CROWD):
        first = np.flatnonzero((keys[step:] == keys[:-step]) & ~(crowded[step:] & (step > NEIGHBOURS)))
        if not len(first):
            break
        codes.append(places[first] << PLACE | places[first + step])
    return _distinct(np.concatenate(codes))


def _within(values: NDArray[np.int64], ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values are among the sorted ones."""
    places = np.searchsorted(ordered, values)
    return np.asarray(np.append(ordered, -1)[places] == values)


def _distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """As `np.unique`, which sorts a table of hashes and takes several times as long."""
    ordered = np.sort(values)
    return ordered[_news(ordered)]


def _news(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a value differs from the one before."""
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


def _split(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What stands above and in the lowest `PLACE` bits."""
    return codes >> PLACE, codes & ((1 << PLACE) - 1)
