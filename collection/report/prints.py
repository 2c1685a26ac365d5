"""What the fingerprints in an index tell without a look at any picture: near-duplicates, doubtful cuts."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlst.dataset.index import read_index_batches
from mlst.pictures.fingerprints import HASHED, WINDOWS, WORDS, Fingerprints

BATCH = 10_000
"""Rows of an index whose fingerprints are in memory at a time: 30 MB."""
NEAR = 60
"""Source frames between two clips at most for what lies between them to be one transition: two seconds."""
UNKNOWN = np.nan
"""Distance to a frame that has no hash, because it is flat or a title card."""


@dataclass(frozen=True, slots=True)
class Seam:
    """Two neighbouring clips of a film in neighbouring shots, by their places in the index."""

    before: int
    after: int
    distance: float
    """Bits of 192 in which the last hashed frame of one differs from the first of the other: few across no cut."""


@dataclass(frozen=True, slots=True)
class Jump:
    """The place of a clip, by its place in the index, where its picture changes most."""

    clip: int
    where: float
    """Share of the clip's time before it, 0..1."""
    height: float
    """Bits by which this change stands out among the others of the clip."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the fingerprints of an index tell."""

    alike: tuple[tuple[int, int], ...]
    """Pairs of clips, of different shots, that show the same footage."""
    seams: tuple[Seam, ...]
    """The least distance first."""
    jumps: tuple[Jump, ...]
    """The highest first."""


def told(index: Path, most: int) -> Told:
    """What the index in the file `index` tells: up to `most` of each kind. Its rows are read in one pass."""
    with tempfile.TemporaryFile() as file:
        prints, shots = Fingerprints(file), _Shots([], [], [], [], [])
        jumps: list[Jump] = []
        for batch in read_index_batches(index, ["fingerprint", *_Shots.COLUMNS], BATCH):
            texts = batch["fingerprint"].to_pylist()
            jumps = sorted([*jumps, *_jumps(texts, len(prints))], key=lambda jump: (-jump.height, jump.clip))[:most]
            for text in texts:
                prints.add(text)
            shots.add(batch, texts)
        links = ((a, b) for a, b in prints.links(range(len(prints))) if shots.name(a) != shots.name(b))
        seams = sorted(shots.seams(), key=lambda seam: (seam.distance, seam.before))
        return Told(tuple(islice(links, most)), tuple(seams[:most]), tuple(jumps))


@dataclass(frozen=True, slots=True)
class _Shots:
    """Where every clip of an index lies in its film, and what its first and last frame look like."""

    source: list[str]
    shot: list[int]
    first: list[int]
    end: list[int]
    edges: list[NDArray[np.uint64]]
    """(n, 2, WORDS) for each batch."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("source", "shot", "first_frame", "end_frame")

    def add(self, batch: Any, texts: Sequence[str]) -> None:
        columns: tuple[list[Any], ...] = (self.source, self.shot, self.first, self.end)
        for name, column in zip(self.COLUMNS, columns, strict=True):
            column.extend(batch[name].to_pylist())
        ends = [text[: 2 * HASHED] + text[-2 * HASHED :] for text in texts]
        self.edges.append(_hashes(ends, 2))

    def name(self, clip: int) -> tuple[str, int]:
        return self.source[clip], self.shot[clip]

    def seams(self) -> Iterator[Seam]:
        """Those whose frames have hashes."""
        edges = np.concatenate(self.edges)
        order = sorted(range(len(self.shot)), key=lambda n: (self.source[n], self.first[n]))
        near = [
            (a, b)
            for a, b in pairwise(order)
            if self.source[a] == self.source[b] and self.shot[b] == self.shot[a] + 1
            and self.first[b] - self.end[a] <= NEAR
        ]  # fmt: skip
        before, after = np.array(near, np.int64).reshape(-1, 2).T
        for (a, b), bits in zip(near, _distances(edges[before, 1], edges[after, 0]).tolist(), strict=True):
            if not np.isnan(bits):
                yield Seam(a, b, bits)


def _jumps(texts: Sequence[str], first: int) -> Iterator[Jump]:
    """The jump of every clip of a batch that has one; `first` is the place of the first clip."""
    for length in sorted(set(map(len, texts))):
        places = [n for n, text in enumerate(texts) if len(text) == length]
        frames = length // (2 * HASHED)
        if frames < 3:
            continue
        steps = _steps(_hashes([texts[n] for n in places], frames))
        at = np.nanargmax(np.nan_to_num(steps, nan=-1.0), axis=1)
        heights = steps[np.arange(len(at)), at] - _median(steps)
        for n, where, height in zip(places, at.tolist(), heights.tolist(), strict=True):
            if height > 0:
                yield Jump(first + n, (where + 0.5) / (frames - 1), height)


def _steps(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """(n, frames - 1): from each frame to the next; less where those around both are alike: a flash."""
    steps = _distances(hashes[:, :-1], hashes[:, 1:])
    around = _distances(hashes[:, :-3], hashes[:, 3:])
    steps[:, 1:-1] = np.fmin(steps[:, 1:-1], around)
    return steps


def _median(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, as far as it is known; `UNKNOWN` for a row of which nothing is."""
    known = ~np.isnan(steps).all(axis=1)
    medians = np.full(len(steps), UNKNOWN)
    medians[known] = np.nanmedian(steps[known], axis=1)
    return medians


def _hashes(texts: Sequence[str], frames: int) -> NDArray[np.uint64]:
    """(n, frames, WORDS) of the largest square of each frame."""
    words = np.frombuffer(bytes.fromhex("".join(texts)), np.uint64)
    return words.reshape(len(texts), frames, len(WINDOWS), WORDS)[:, :, 0]


def _distances(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Bits in which hashes (..., WORDS) differ; `UNKNOWN` where one is missing."""
    bits = np.bitwise_count(a ^ b).sum(axis=-1).astype(np.float64)
    return np.where(a.any(axis=-1) & b.any(axis=-1), bits, UNKNOWN)
