"""What the kernel takes away from a process that reads a stranger's bytes, for good and with all its threads:

* every system call that is not on a list (`sandbox.calls`): the network, other programs and processes, the attributes
  of files, other processes' limits and priorities, shared memory that would outlive it, the kernel's riskier doors;
* every file but those that are named, system libraries and the Python installation (`sandbox.landlock`).

Linux on x86-64 and aarch64, Landlock from 5.13 on; no rights are needed. Elsewhere `missing` says what there is not.
`docs/security.md` lists what is promised, with a test for each promise.
"""

import ctypes
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlst.sandbox import landlock, places, seccomp

_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Room:
    """What a confined process may touch besides what `places.readable` names: files, or folders with all below."""

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    """Also readable; new files and folders may be made there, but no links."""


def prepare() -> None:
    """Do once, before this process forks, what is the same whenever one of its forks is confined: 5 ms of each."""
    places.readable()
    _libc()


def confine(room: Room) -> str:
    """Confine this process to `room`; "" where that was done in full, else as `missing`.

    Call it before the process starts threads: those that run already would keep what they have.
    """
    if sys.platform != "linux":
        return missing()
    libc = _libc()
    rights = [(path, landlock.READ) for path in (*places.readable(), *room.readable)]
    rights += [(path, landlock.WRITE) for path in (*room.writable, places.NOWHERE)]
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return _said(seccomp=False, files=False)
    files = landlock.restrict(libc, rights)
    return _said(seccomp=seccomp.install(libc), files=files)


def missing() -> str:
    """What this machine lacks to confine a process, and what that leaves open; "" where it lacks nothing."""
    if sys.platform != "linux":
        return f"{platform.system()} has neither seccomp nor Landlock: {_OPEN}"
    libc = _libc()
    return _said(seccomp=seccomp.available(libc), files=landlock.version(libc) >= 1)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


_OPEN = "code hidden in a video could use the network, start programs, and read and write your files"


def _said(seccomp: bool, files: bool) -> str:
    if seccomp and files:
        return ""
    if seccomp:
        return "this kernel has no Landlock (Linux 5.13): code hidden in a video could read and write your files"
    if files:
        return f"no seccomp filter on {platform.machine()}: code hidden in a video could use the network"
    return f"this kernel has no seccomp filter for {platform.machine()} and no Landlock: {_OPEN}"
