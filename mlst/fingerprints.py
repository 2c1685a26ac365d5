"""Perceptual fingerprints: the same footage is found again in another encoding, size, letterbox, crop or cut.

Grid frames are hashed, each in central squares of three sizes: a centre crop to another aspect leaves the largest
square alone, and a crop of up to a fifth of the height makes one picture's whole square another's smaller one. Flat
frames and title cards look alike without being the same footage, and are left out.

A hash has three words of 64 bits: signs of the lowest DCT frequencies against their median (Zauner 2010,
Implementation and benchmarking of perceptual image hash functions), signs of horizontal and of vertical differences
of 8 x 8 block means (the "difference hash"). Thresholds are measured: docs/levels.md.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.frames import Frames

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
"""(F, len(WINDOWS), WORDS); all zero for a frame that was left out."""


def fingerprint(frames: Frames) -> str:
    """Hashes of up to `FRAMES` grid frames, hex: 48 digits for each window of each frame."""
    count = len(frames.luma8)
    chosen = sorted({round(i) for i in np.linspace(0, count - 1, min(count, FRAMES))})
    hashes = np.array([_frame(frames.luma8[i]) for i in chosen], dtype=">u8")
    return hashes.tobytes().hex()


def same_footage(a: str, b: str) -> bool:
    """Whether two fingerprints are of clips that show the same footage, if only in part."""
    return _same(_decoded(a), _decoded(b))


def link(fingerprints: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs `(i, j)`, i < j, sorted, of clips with the same footage.

    Only clips that share a band of a hash are compared, so that cost grows with the number of clips and of matches,
    not with that of pairs. Where hundreds of clips match one another, a camera that does not move, not every pair is
    listed, but chains of pairs that connect them.
    """
    hashes = [_decoded(text) for text in fingerprints]
    candidates = np.unique(np.concatenate([np.empty(0, np.int64), *_candidates(hashes)]))
    pairs = (divmod(int(code), len(hashes)) for code in candidates)
    return [(i, j) for i, j in pairs if _same(hashes[i], hashes[j])]


def _frame(luma: NDArray[np.uint8]) -> Hashes:
    """(len(WINDOWS), WORDS) hashes of a frame, zero where it says nothing."""
    counts = np.bincount(luma.ravel(), minlength=256)
    nothing = np.zeros((len(WINDOWS), WORDS), np.uint64)
    if np.convolve(counts, np.ones(5), "same").max() >= CARD_SHARE * luma.size:
        return nothing
    squares = [_square(luma, window) for window in WINDOWS]
    return nothing if squares[0].std() < FLAT_STD else np.array([_words(square) for square in squares])


def _square(luma: NDArray[np.uint8], window: float) -> NDArray[np.float32]:
    """(SIDE, SIDE) the central square, area-averaged."""
    height, width = luma.shape
    side = round(min(height, width) * window)
    top, left = (height - side) // 2, (width - side) // 2
    view = luma[top : top + side, left : left + side]
    square: NDArray[np.float32] = cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return square


def _words(square: NDArray[np.float32]) -> Hashes:
    """(WORDS,) the hash of a square."""
    frequencies = cv2.dct(square)[LOWEST]
    across = np.diff(cv2.resize(square, (9, 8), interpolation=cv2.INTER_AREA), axis=1)
    down = np.diff(cv2.resize(square, (8, 9), interpolation=cv2.INTER_AREA), axis=0)
    bits = [frequencies > np.median(frequencies), across.ravel() > 0, down.ravel() > 0]
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _lowest() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the 64 lowest frequencies but DC, diagonal by diagonal."""
    order = sorted((u + v, u, v) for u in range(12) for v in range(12) if u + v)[:64]
    return np.array([u for _, u, _ in order]), np.array([v for *_, v in order])


LOWEST = _lowest()


def _decoded(text: str) -> Hashes:
    words = np.frombuffer(bytes.fromhex(text), ">u8").astype(np.uint64)
    return words.reshape(-1, len(WINDOWS), WORDS)


def _same(a: Hashes, b: Hashes) -> bool:
    """Enough frames of each are near to some frame of the other, the largest window of one compared with all."""
    a, b = a[a.any(axis=(1, 2))], b[b.any(axis=(1, 2))]
    if min(len(a), len(b)) < MATCHES:
        return False
    near = np.zeros((len(a), len(b)), bool)
    for i, j in ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0)):
        near |= np.bitwise_count(a[:, None, i] ^ b[None, :, j]).sum(axis=2, dtype=int) <= DISTANCE
    return min(int(near.any(axis=1).sum()), int(near.any(axis=0).sum())) >= MATCHES


def _candidates(hashes: Sequence[Hashes]) -> Iterator[NDArray[np.int64]]:
    """Codes `i * n + j`, i < j, of clips that have a band of a hash in common."""
    whole = np.concatenate([np.empty((0, len(WINDOWS), WORDS), np.uint64), *hashes])
    clips = np.repeat(np.arange(len(hashes), dtype=np.uint64), [len(h) * len(WINDOWS) for h in hashes])
    words = whole.reshape(-1, WORDS)
    hashed = words.any(axis=1)
    clips, words = clips[hashed], words[hashed]
    for word in range(WORDS):
        for shift in range(0, 64, BAND):
            band = (words[:, word] >> np.uint64(shift)) & np.uint64((1 << BAND) - 1)
            yield _together(np.unique(band << np.uint64(32) | clips), len(hashes))


def _together(keyed: Hashes, n: int) -> NDArray[np.int64]:
    """Codes of the pairs among clips with one key, from sorted, distinct `key << 32 | clip`."""
    keys, clips = keyed >> np.uint64(32), (keyed & np.uint64(0xFFFF_FFFF)).astype(np.int64)
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
    codes: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for start, end in pairwise(starts):
        crowd = clips[start:end]
        if len(crowd) > CROWD:
            codes.extend(crowd[:-k] * n + crowd[k:] for k in range(1, NEIGHBOURS + 1))
        elif len(crowd) > 1:
            first, second = np.triu_indices(len(crowd), 1)
            codes.append(crowd[first] * n + crowd[second])
    return np.concatenate(codes)
