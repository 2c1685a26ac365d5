"""Limits that the kernel keeps for a process: none is ever raised, and a confined process cannot set any."""

import math
import resource
import sys

FILE_BYTES = 64 << 30
"""Of a file that a confined process writes: a video's clips, or a shard."""
OPEN_FILES = 256


def limit(seconds: float, memory: int) -> None:
    """CPU time, and bytes of address space (0 for no limit); no core dumps. One busy thread that may run for
    `seconds` of wall-clock time meets that end before its CPU limit."""
    _lower(resource.RLIMIT_CPU, math.ceil(seconds) + 1, spare=1)  # SIGXCPU tells more than the SIGKILL after it
    limit_memory(memory)


def limit_memory(memory: int) -> None:
    """Bytes of address space (0 for no limit); no core dumps."""
    _lower(resource.RLIMIT_CORE, 0)
    if memory and sys.platform == "linux":  # macOS knows the limit and does not keep it
        _lower(resource.RLIMIT_AS, memory)


def limit_files() -> None:
    """Size and number of the files that a confined process has open."""
    _lower(resource.RLIMIT_FSIZE, FILE_BYTES)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)


def _lower(which: int, value: int, spare: int = 0) -> None:
    hard = resource.getrlimit(which)[1]
    most = value + spare if hard == resource.RLIM_INFINITY else min(value + spare, hard)
    resource.setrlimit(which, (min(value, most), most))
