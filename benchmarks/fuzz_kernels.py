"""Compiled kernels against their plain functions, on pictures of any size, for some time.

    python -m benchmarks.fuzz_kernels [--seconds 60] [--seed 0]

Under the sanitizers of gcc, which find what is read or written beyond an array (libraries as gcc names them):

    export CFLAGS="-fsanitize=address,undefined"
    python -c "import setuptools; setuptools.setup()" -q build_ext --inplace --force
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \\
        python -m benchmarks.fuzz_kernels

Compile again without them afterwards. A difference ends it, with the name of the function and the size.
"""

import argparse
import time
from collections import Counter

import numpy as np

from mlst.native import USED, compiled, plain
from mlst.pictures import scaling
from tests.mlst.native.test_native import ARGUMENTS, RUN, alike, codes

LARGEST, LARGEST_PLANE = 700, 2300
"""Pixels of a side."""


def main() -> None:
    """Draw, compare and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not USED:
        raise SystemExit("there are no compiled kernels here: see mlst doctor-env")
    draw, end, compared = np.random.default_rng(options.seed), time.monotonic() + options.seconds, Counter[str]()
    while time.monotonic() < end:
        for name in RUN:
            compared[name] += compare(name, draw)
        compared["scaled"] += compare_scaled(draw)
    print("\n".join(f"{name:<20} {count:>6} equal" for name, count in sorted(compared.items())))


def sizes(draw: np.random.Generator, count: int, least: int, most: int) -> tuple[int, ...]:
    """Small ones as often as large ones."""
    return tuple(int(side) for side in np.exp(draw.uniform(np.log(least), np.log(most), count)))


def compare(name: str, draw: np.random.Generator) -> int:
    """How many pictures were compared: the kernel may not take the one that is drawn."""
    height, width = sizes(draw, 2, 1, LARGEST)
    arguments = ARGUMENTS[name](draw, (height, width))
    theirs = tuple(value.copy() if isinstance(value, np.ndarray) else value for value in arguments)
    found = getattr(compiled, name)(*arguments)
    if found is None:
        return 0
    if not (alike(found, plain[name](*theirs)) and alike(arguments, theirs)):
        raise SystemExit(f"{name} differs for a picture of {width} x {height}")
    return 1


def compare_scaled(draw: np.random.Generator) -> int:
    """Planes of any size scaled to any other, by the kernel and by libswscale."""
    height, width = sizes(draw, 2, scaling.LEAST_SIDE, LARGEST_PLANE)
    rows, columns = sizes(draw, 2, scaling.LEAST_SIDE, LARGEST)
    plane, made = codes(draw, (height, width)), np.zeros((rows, columns), np.uint8)
    if not scaling._possible(plane, columns, rows):
        return 0
    scaling.scale_into(made, plane)
    (expected,) = scaling.Scaler("gray", plane.shape, columns, rows)([plane])
    if not np.array_equal(made, expected):
        raise SystemExit(f"scaling {width} x {height} to {columns} x {rows} differs")
    return 1


if __name__ == "__main__":
    main()
