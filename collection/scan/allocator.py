"""Memory for pictures, which are freed and wanted again thirty times a second."""

import ctypes
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""
KEPT, LARGEST = 64 << 20, 32 << 20
"""Bytes that stay with the process when they are free, and of the largest block that is taken from them."""


@cache
def keep_freed() -> None:
    """Keep what is freed for the next picture: else glibc gives it back, and every page is mapped and cleared anew.

    Other C libraries go on as they do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, KEPT)
