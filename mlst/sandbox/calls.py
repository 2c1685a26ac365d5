"""The system calls that decoding, encoding, Python, NumPy, OpenCV, PyTorch and malloc need: nothing else is answered.

Checked by tracing scans of every container by each detector, packing and cutting of spans
(`python -m benchmarks.system_calls`): 34 are made there, with glibc 2.36 and Linux 6 on x86-64. The others are the
same requests as other C libraries, kernels and aarch64 spell them, or what libraries ask for in rare moments.
Numbers are those on x86-64 and aarch64 (Linux: arch/x86/entry/syscalls/syscall_64.tbl,
include/uapi/asm-generic/unistd.h); -1 where an architecture has no such call.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Numbers = tuple[int, int]

ALLOWED: Mapping[str, Numbers] = {
    # Open files. pread64 and pwrite64: zip files of Python, NumPy's and libav's buffers.
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    # Names. Landlock says which; aarch64 has the calls that end in -at alone; statx and faccessat2: newer glibc.
    "open": (2, -1),
    "openat": (257, 56),
    "stat": (4, -1),
    "fstat": (5, 80),
    "lstat": (6, -1),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, -1),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, -1),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "mkdir": (83, -1),
    "mkdirat": (258, 34),
    "rmdir": (84, -1),
    "unlink": (87, -1),
    "unlinkat": (263, 35),
    "rename": (82, -1),
    "renameat": (264, 38),
    "ftruncate": (77, 46),
    "fsync": (74, 82),
    "fadvise64": (221, 223),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    # Pipes and waiting: C++ streams, Python's sleep before 3.11, its wake-up pipes.
    "dup": (32, 23),
    "dup2": (33, -1),
    "dup3": (292, 24),
    "pipe": (22, -1),
    "pipe2": (293, 59),
    "poll": (7, -1),
    "ppoll": (271, 73),
    "select": (23, -1),
    "pselect6": (270, 72),
    # Memory.
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    # Threads: NumPy's and PyTorch's pools, and what glibc does as one starts.
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "set_tid_address": (218, 96),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    # Clocks, usually read without a call.
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, -1),
    "times": (100, 153),
    # What it is and has: limits, memory of the machine (qsort of glibc), its numbers, random bytes.
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "getrandom": (318, 278),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    # Signals and the end. sigaltstack: faulthandler; restart_syscall: the kernel's own.
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Whatever their arguments."""

UNKNOWN: Mapping[str, Numbers] = {
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "openat2": (437, 437),
    "memfd_create": (319, 279),
    "get_mempolicy": (239, 236),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "futex_waitv": (449, 449),
    "membarrier": (324, 283),
    "renameat2": (316, 276),
}
"""Answered as by a kernel that is too old for them, because libraries then do the same by other calls: glibc starts
threads with clone, whose flags a filter can see."""

NEWER = 451
"""From this number on (Linux 5.18) all calls are unknown in the same way."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a word of a system call's arguments must be: `word & mask` one of `values`."""

    argument: int
    """0 for the first."""
    high: bool
    """The upper 32 bits of the argument; else the lower ones, which are all that an int has."""
    mask: int
    values: tuple[int, ...]


def _int(argument: int, *values: int, mask: int = 0xFFFFFFFF) -> Check:
    return Check(argument, False, mask, values)


_THREAD = 0x00010000
"""CLONE_THREAD of linux/sched.h: another thread of this process, never a process of its own."""
_NAMESPACES = 0x7E020080
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME."""
_NULL = (Check(2, False, 0xFFFFFFFF, (0,)), Check(2, True, 0xFFFFFFFF, (0,)))


def checked(pid: int) -> Mapping[str, tuple[Numbers, tuple[Check, ...]]]:
    """System calls that are answered where their arguments pass every check; `pid` is the caller's process."""
    return {
        "clone": ((56, 220), (_int(0, _THREAD, mask=_THREAD | _NAMESPACES),)),
        "kill": ((62, 129), (_int(0, 0, pid),)),  # 0: its own group, which is this process alone
        "tgkill": ((234, 131), (_int(0, pid),)),
        "prctl": ((157, 167), (_int(0, 15, 16, 0x53564D41),)),  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA
        "prlimit64": ((302, 261), (_int(0, 0, pid), *_NULL)),  # reads its own limits, sets none
        "ioctl": ((16, 29), (_int(1, 0x5401, 0x5413, 0x541B, 0x5450, 0x5451),)),
        # TCGETS and TIOCGWINSZ (isatty), FIONREAD, FIONCLEX, FIOCLEX
        "fcntl": ((72, 25), (_int(1, 0, 1, 2, 3, 4, 1030),)),  # F_DUPFD, F_GETFD ... F_SETFL, F_DUPFD_CLOEXEC
    }
