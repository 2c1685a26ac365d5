"""The allow-list of `sandbox.calls` as a seccomp filter: a program of classic BPF (seccomp(2))."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator

from mlst.sandbox.calls import ALLOWED, NEWER, UNKNOWN, Check, checked

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By machine: the column of its numbers, and AUDIT_ARCH of linux/audit.h."""

ALLOW, ERROR = 0x7FFF0000, 0x00050000
"""SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO, to which an error number is added."""
REFUSED, MISSING = ERROR | errno.EPERM, ERROR | errno.ENOSYS

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
"""Instructions of classic BPF: load a word, mask it, jump if equal, jump if not below, return."""
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data; an argument has 8 bytes, the lower word first."""
_SET_SECCOMP, _FILTER = 22, 2

Step = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, operand."""


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def available(libc: ctypes.CDLL) -> bool:
    """Whether this machine has such filters: asked with no program, a kernel that does complains of the address."""
    if platform.machine() not in ARCHITECTURES:
        return False
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, None, 0, 0) != 0 and ctypes.get_errno() == errno.EFAULT)


def install(libc: ctypes.CDLL) -> bool:
    """Give this thread and all that it starts the filter, for good; False where it could not be."""
    if platform.machine() not in ARCHITECTURES:
        return False
    code = bpf(*ARCHITECTURES[platform.machine()], os.getpid())
    program = _Program(len(code) // 8, code)
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def bpf(column: int, architecture: int, pid: int) -> bytes:
    """The program for the process `pid`: what is not listed is refused with EPERM or ENOSYS, and so are all system
    calls of another architecture and, on x86-64, those of the numbering x32.

    Calls that are allowed whatever their arguments come first: the kernel remembers those (Linux 5.11).
    """
    steps: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, REFUSED),
        (_LOAD, 0, 0, _NUMBER),
        *_answered((numbers[column] for numbers in ALLOWED.values()), ALLOW),
    ]
    for numbers, checks in checked(pid).values():
        block = [*(step for check in checks for step in _passed(check)), (_RETURN, 0, 0, ALLOW)]
        steps += [(_EQUAL, 0, len(block), numbers[column]), *block]
    steps += _answered((numbers[column] for numbers in UNKNOWN.values()), MISSING)
    steps += [(_AT_LEAST, 0, 1, NEWER), (_RETURN, 0, 0, MISSING), (_RETURN, 0, 0, REFUSED)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _answered(numbers: Iterable[int], answer: int) -> Iterator[Step]:
    for number in numbers:
        if number >= 0:
            yield from ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer))


def _passed(check: Check) -> Iterator[Step]:
    """Go on where the argument is one of the values, else refuse."""
    yield _LOAD, 0, 0, _ARGUMENTS + 8 * check.argument + 4 * check.high
    yield _AND, 0, 0, check.mask
    for left, value in zip(reversed(range(len(check.values))), check.values, strict=True):
        yield _EQUAL, left + 1, 0, value
    yield _RETURN, 0, 0, REFUSED
