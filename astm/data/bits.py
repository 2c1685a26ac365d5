"""Random numbers by counter: draw k of sample n of a named stream, without drawing the ones before.

SplitMix64 (Steele, Lea, Flood 2014, https://doi.org/10.1145/2660193.2660195), whose state is a counter times a
constant. NumPy promises no stable streams for `Generator` methods across versions, and these sequences name test sets.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def stream(*names: str | int) -> np.uint64:
    """Where the stream of these names begins: the first 8 bytes of a sha256."""
    return np.uint64(int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8]))


def draws(start: np.uint64, index: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """(N, count) random 64-bit words of the samples `index`, (N,), each >= 0."""
    counter = index.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(1, count + 1, dtype=np.uint64)
    z: Any = start + counter * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return words


def uniform(start: np.uint64, index: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """(N, count) numbers in [0, 1): the upper 53 bits of each draw."""
    bits = draws(start, index, count) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def permutation(start: np.uint64, length: int) -> NDArray[np.int64]:
    """The numbers below `length` in the order of their draws."""
    return np.argsort(draws(start, np.arange(length), 1)[:, 0], kind="stable")
