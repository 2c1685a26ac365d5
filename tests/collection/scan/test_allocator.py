"""What is freed is kept for the next picture."""

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
from resource import RUSAGE_SELF, getrusage
from collection.scan.allocator import keep_freed

def faults():
    before = getrusage(RUSAGE_SELF).ru_minflt
    for _ in range(10):
        [b"x" * (1 << 20) for _ in range(16)]
    return getrusage(RUSAGE_SELF).ru_minflt - before

print(faults())
keep_freed()
print(faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_pages_are_mapped_once() -> None:
    shown = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True).stdout
    without, kept = map(int, shown.split())
    assert kept < without / 4, shown
