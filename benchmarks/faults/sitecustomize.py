"""Makes functions of the system fail, as PYTHONFAULT says, in every Python process that has this folder on its path.

Bad disks, file systems without locks and clocks that are set cannot be had on demand; what a program sees of them can.
`worker-` before a fault: only in a fork server and what it starts.
"""

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable
from typing import Never

DAY = 86400


def install(fault: str) -> None:
    """Put a fault in place: `fsync-EIO`, `worker-fsync-EIO`, `flock-ENOLCK`, `replace-EIO`, `clock-back` ..."""
    if fault.startswith("worker-"):
        if "-c" not in sys.orig_argv:
            return
        fault = fault.removeprefix("worker-")
    what, _, how = fault.partition("-")
    if what == "clock":
        set_clock(how)
    elif what:
        setattr(fcntl if what == "flock" else os, what, failing(getattr(errno, how)))


def failing(number: int) -> Callable[..., Never]:
    """Raises the error `number`, whatever it is given."""

    def fails(*_: object, **__: object) -> Never:
        raise OSError(number, os.strerror(number))

    return fails


def set_clock(how: str) -> None:
    """A clock that is set while the program runs: a day back or ahead after every five looks, or both in turn."""
    real, real_ns, looks = time.time, time.time_ns, 0

    def offset() -> int:
        nonlocal looks
        looks += 1
        return {"back": -DAY * (looks // 5), "forward": DAY * (looks // 5), "wild": 400 * DAY * (-1) ** looks}[how]

    time.time = lambda: real() + offset()
    time.time_ns = lambda: real_ns() + offset() * 10**9


install(os.environ.get("PYTHONFAULT", ""))
