"""What a worker may do to its machine: little.

Every worker has limits of the kernel: CPU time, no core dumps, and address space where its stage says so. A worker
whose stage needs no network, such as the one that decodes a stranger's video, loses in addition, for good and with all
threads and children it may start,

* the network, other programs, a way out of its process group, with which it is killed, and the kernel's riskier
  doors: a seccomp filter answers the system calls in `DENIED` with EACCES (Linux on x86-64 and aarch64);
* writing outside the folders it is given: Landlock (Linux 5.13 and later; from 6.12 on also signals to others);
* files above `FILE_BYTES`, and more than `OPEN_FILES` open ones.

Elsewhere, and where a kernel was built without the two, the limits and libav's own guards (`media.probe`) remain.
`docs/security.md` says what that leaves open.
"""

import ctypes
import errno
import math
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from collection.engine.stage import Needs

FILE_BYTES = 64 << 30
"""Of a file that a worker without network writes: a video's clips, or a shard."""
OPEN_FILES = 256

DENIED = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "execve": (59, 221),
    "execveat": (322, 281),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "mknodat": (259, 33),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
}
"""System calls by their numbers on x86-64 and aarch64 (Linux: arch/x86/entry/syscalls/syscall_64.tbl,
include/uapi/asm-generic/unistd.h)."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column in `DENIED`, and AUDIT_ARCH of linux/audit.h."""


def confine(needs: Needs, writable: Sequence[Path]) -> None:
    """Take away from this process what its stage does not need; `writable` are folders it may write in.

    Call it before the process starts threads: those that run already would keep the network.
    """
    limit(needs)
    if not needs.network and sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            _landlock(libc, writable)
            _seccomp(libc)


def limit(needs: Needs) -> None:
    """Set the kernel's limits; none is raised. One busy thread meets the wall clock before its CPU limit."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, math.ceil(needs.seconds) + 1, spare=1)  # SIGXCPU tells more than the SIGKILL after it
    if needs.memory and sys.platform == "linux":  # macOS knows the limit and does not keep it
        _lower(resource.RLIMIT_AS, needs.memory)
    if not needs.network:
        _lower(resource.RLIMIT_FSIZE, FILE_BYTES)
        _lower(resource.RLIMIT_NOFILE, OPEN_FILES)


def _lower(which: int, value: int, spare: int = 0) -> None:
    hard = resource.getrlimit(which)[1]
    most = value + spare if hard == resource.RLIM_INFINITY else min(value + spare, hard)
    resource.setrlimit(which, (min(value, most), most))


_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
"""Instructions of classic BPF: load a word, jump if equal or not below, return."""
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER, _ARCHITECTURE = 0, 4
"""Offsets in struct seccomp_data."""
_X32 = 0x40000000
"""Second numbering of the same calls on x86-64."""


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Install the filter; False where this machine has none."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    column, architecture = _ARCHITECTURES[platform.machine()]
    code = bpf([numbers[column] for numbers in DENIED.values()], architecture)
    program = _Program(len(code) // 8, code)
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def bpf(numbers: Sequence[int], architecture: int) -> bytes:
    """A program that denies system calls by number, and all of another architecture's (seccomp(2))."""
    count = len(numbers)
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, count + 3, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, count + 1, 0, _X32),
        *((_EQUAL, count - at, 0, number) for at, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""landlock_create_ruleset, landlock_add_rule, landlock_restrict_self: the same numbers everywhere."""
_VERSION, _BENEATH = 1, 1
_WRITES = ((1, 0x1FF2), (2, 1 << 13), (3, 1 << 14))
"""By version of Landlock, the rights that it can take away (linux/landlock.h): write, remove, make anything; link and
rename between folders; truncate."""
_OF_FILES = 1 << 1 | 1 << 14
"""Those that a rule for a file may name: write and truncate."""
_NOWHERE = Path(os.devnull)
"""Writable for everybody: libraries open it for writing while they are imported."""
_SIGNALS = 1 << 1
"""LANDLOCK_SCOPE_SIGNAL, from version 6 on."""


def _landlock(libc: ctypes.CDLL, writable: Iterable[Path]) -> bool:
    """Forbid writing outside `writable`, and signals to other processes; False where the kernel cannot."""
    version = libc.syscall(_CREATE, None, 0, _VERSION)
    if version < 1:
        return False
    rights = sum(right for since, right in _WRITES if version >= since)
    attributes = struct.pack("=QQQ", rights, 0, _SIGNALS)[: 24 if version >= 6 else 8]
    rules = libc.syscall(_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        for place in (*writable, _NOWHERE):
            opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
            allowed = rights if place.is_dir() else rights & _OF_FILES
            try:
                libc.syscall(_ADD, rules, _BENEATH, struct.pack("=Qi", allowed, opened), 0)
            finally:
                os.close(opened)
        return bool(libc.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)
