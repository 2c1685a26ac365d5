"""Random words of named streams, the same on every machine and with every version of NumPy, and the order they give.

NumPy keeps the raw output of its bit generators stable, but not the methods of `Generator` (NEP 19). Two generators,
because orders of published datasets and of trained models are drawn from each.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def philox(count: int, *names: str | int) -> NDArray[np.uint64]:
    """(count,) words of the stream of these names, in sequence.

    Philox-4x64 (Salmon, Moraes, Dror, Shaw 2011, https://doi.org/10.1145/2063384.2063405), keyed with the first
    16 bytes of a sha256.
    """
    words: NDArray[np.uint64] = np.random.Philox(key=_number(names, 16)).random_raw(count)
    return words


def stream(*names: str | int) -> np.uint64:
    """Where the stream of these names begins for `splitmix`: the first 8 bytes of a sha256."""
    return np.uint64(_number(names, 8))


def splitmix(start: np.uint64, index: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """(N, count) words of the samples `index`, (N,), each >= 0, without drawing those of other samples.

    SplitMix64 (Steele, Lea, Flood 2014, https://doi.org/10.1145/2660193.2660195), whose state is a counter times a
    constant.
    """
    counter = index.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(1, count + 1, dtype=np.uint64)
    z: Any = start + counter * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return words


def uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each word: its upper 53 bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(N,): the numbers below N in the order of N words."""
    return np.argsort(words, kind="stable")


def _number(names: tuple[str | int, ...], size: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:size], "big")
