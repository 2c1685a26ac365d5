"""The order of an epoch: a pure function of (seed, epoch) over the clips' places in the index.

Workers and ranks only share the order out, so it is the same for any number of them, and resuming is a slice. Random
words are those of `mlst.draws.philox`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlst.draws import permutation, philox, uniform

BLOCK = 256
"""Neighbouring clips of a shard that stay together when blocks are shuffled: about 12 MB of 256x256 clips."""
POOL = 8192
"""Clips shuffled with each other: those of some 32 blocks, so that reading touches about as many places at a time."""


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """What decides the order, besides the epoch."""

    shards: NDArray[np.int64]
    """(N,): which shard each clip lies in; clips of a shard stand together."""
    levels: NDArray[np.int64]
    """(N,): ordinal of each clip's level, an index of `weights`."""
    weights: tuple[float, ...]
    """Expected share of each level, up to a factor; empty for every clip once."""
    shuffle: bool
    """Without, clips come in the order of the index; needs `weights` to be empty."""
    seed: int

    def __len__(self) -> int:
        """Clips of an epoch; with weights as many as there are clips, though not each of them once."""
        return len(self.shards)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """(N,): the indices of the epoch's clips."""
        if self.weights:
            return weighted(self.shards, self.levels, self.weights, self.seed, epoch)
        return shuffled(self.shards, self.seed, epoch) if self.shuffle else np.arange(len(self), dtype=np.int64)


def shuffled(shards: NDArray[np.int64], *names: str | int) -> NDArray[np.int64]:
    """(N,): the numbers below N, each once, so that clips near in a shard are wanted at about the same time.

    Shards are cut into blocks of `BLOCK` clips, the blocks are permuted, and every `POOL` clips of that sequence
    are permuted again. Up to `POOL` clips this is a plain shuffle.
    """
    count = len(shards)
    first = np.flatnonzero(np.diff(shards, prepend=-1))
    inside = np.arange(count) - np.repeat(first, np.diff(first, append=count))
    block = np.cumsum(inside % BLOCK == 0) - 1
    place = np.argsort(permutation(philox(int(block[-1]) + 1, "blocks", *names)), kind="stable") if count else block
    sequence = np.argsort(place[block], kind="stable")
    pool = np.arange(count) // POOL
    return sequence[np.lexsort((philox(count, "pool", *names), pool))]


def apportion(weights: Sequence[float], total: int) -> NDArray[np.int64]:
    """(L,): `total` divided in proportion to `weights`, each > 0 or 0, by largest remainder."""
    shares = np.asarray(weights, np.float64) / sum(weights) * total
    counts = np.floor(shares).astype(np.int64)
    rest = np.argsort(counts - shares, kind="stable")
    counts[rest[: total - int(counts.sum())]] += 1
    return counts


def weighted(
    shards: NDArray[np.int64], levels: NDArray[np.int64], weights: Sequence[float], seed: int, epoch: int
) -> NDArray[np.int64]:
    """(N,): as many indices as there are clips, of each level in proportion to its weight.

    A level's clips come in passes, each a `shuffled` of its own, which run on through the epochs: no clip comes again
    before all others of its level were there. Levels are spread evenly: the k-th of n clips lies in the k-th n-th of
    the epoch.
    """
    indices, places = [], []
    for level, count in enumerate(apportion(weights, len(shards)).tolist()):
        members = np.flatnonzero(levels == level)
        indices.append(members[_passes(shards[members], count, seed, level, epoch)])
        jitter = uniform(philox(count, "mix", seed, level, epoch))
        places.append((np.arange(count) + jitter) / max(count, 1))
    return np.concatenate(indices)[np.argsort(np.concatenate(places), kind="stable")]


def _passes(shards: NDArray[np.int64], count: int, seed: int, level: int, epoch: int) -> NDArray[np.int64]:
    """Entries [epoch * count, (epoch + 1) * count) of a level's endless sequence of passes."""
    if not count:
        return np.empty(0, np.int64)
    begin, length = epoch * count, len(shards)
    first, last = begin // length, (begin + count - 1) // length
    passes = np.concatenate([shuffled(shards, "pass", seed, level, i) for i in range(first, last + 1)])
    return passes[begin - first * length :][:count]
