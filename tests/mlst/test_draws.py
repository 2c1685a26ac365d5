"""Random words against their published generators."""

import hashlib
import subprocess
import sys

import numpy as np

from mlst.draws import permutation, philox, splitmix, stream, uniform


def philox_by_hand(key: int, count: int) -> list[int]:
    """Philox-4x64-10, written from the paper; NumPy's counter starts at 1."""
    mask, found = 2**64 - 1, []
    for block in range(1, -(-count // 4) + 1):
        x, k = [block, 0, 0, 0], [key & mask, key >> 64]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
            x = [(b >> 64) ^ x[1] ^ k[0], b & mask, (a >> 64) ^ x[3] ^ k[1], a & mask]
            k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
        found += x
    return found[:count]


def test_philox() -> None:
    key = int.from_bytes(hashlib.sha256(b"('pool', 3)").digest()[:16], "big")
    assert philox(9, "pool", 3).tolist() == philox_by_hand(key, 9)


def test_splitmix() -> None:
    """First outputs of SplitMix64 seeded with 1234567, from https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64."""
    words = splitmix(np.uint64(1234567), np.array([0]), 5)[0].tolist()
    assert words == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_samples_do_not_depend_on_each_other() -> None:
    start = stream("x", 1)
    both = splitmix(start, np.array([3, 9]), 4)
    assert np.array_equal(both[1], splitmix(start, np.array([9]), 4)[0])
    assert not np.array_equal(both[0], both[1])


def test_uniform() -> None:
    many = uniform(splitmix(stream("x", 1), np.arange(5000), 2))
    assert many.min() >= 0
    assert many.max() < 1
    assert abs(many.mean() - 0.5) < 0.01
    assert uniform(np.array([2**64 - 1, 2**11], np.uint64)).tolist() == [1 - 2**-53, 2**-53]


def test_permutation() -> None:
    assert permutation(np.array([5, 2, 9, 2], np.uint64)).tolist() == [1, 3, 0, 2]
    order = permutation(philox(1000, "order", 0))
    assert sorted(order.tolist()) == list(range(1000))


def test_orders_of_published_streams_stay() -> None:
    """Datasets and checkpoints name these: a change of either would shuffle every resumed run differently."""
    assert permutation(philox(8, "pool", 0, 0)).tolist() == [4, 5, 0, 3, 1, 7, 6, 2]
    assert permutation(splitmix(stream("order", 0, 0), np.arange(8), 1)[:, 0]).tolist() == [1, 3, 4, 6, 7, 5, 0, 2]


def test_needs_no_torch() -> None:
    code = "import sys, mlst.draws; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
