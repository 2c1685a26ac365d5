"""Landlock (Linux 5.13 and later): what a process may read and write, also where its user may do more.

Everything is taken away that the kernel's version of it knows (linux/landlock.h): files from 5.13 on, TCP from 6.7,
signals and abstract Unix sockets from 6.12.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""landlock_create_ruleset, landlock_add_rule, landlock_restrict_self: the same numbers everywhere."""
_ASK_VERSION, _BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_DIR, MAKE_REG, REFER, TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14

_FILES = ((1, 0x1FFF), (2, REFER), (3, TRUNCATE), (5, 1 << 15))
"""By version, the rights on files that it can take away: execute, write, read, remove, make anything; link and rename
between folders; truncate; ioctl on devices."""
_TCP = 0b11
"""LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP, from version 4 on."""
_SCOPES = 0b11
"""LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and SIGNAL, from version 6 on."""

READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
"""No links, devices, sockets or pipes, and nothing to execute."""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
"""Rights that a rule for something else than a folder may name."""


def version(libc: ctypes.CDLL) -> int:
    """Of the kernel's Landlock; below 1 where there is none, or where it is switched off."""
    return int(libc.syscall(_CREATE, None, 0, _ASK_VERSION))


def restrict(libc: ctypes.CDLL, rights: Iterable[tuple[Path, int]]) -> bool:
    """Leave this thread, and all that it starts, no more than `rights` at and below each path; False where the kernel
    cannot. What is not there is passed over."""
    known = version(libc)
    if known < 1:
        return False
    handled = sum(right for since, right in _FILES if known >= since)
    fields = (handled, _TCP, _SCOPES)[: 3 if known >= 6 else 2 if known >= 4 else 1]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = libc.syscall(_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        done = [_allow(libc, rules, path, wanted & handled) for path, wanted in rights]
        return all(done) and bool(libc.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> bool:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        rights &= -1 if stat.S_ISDIR(os.fstat(place).st_mode) else _OF_FILES
        return bool(libc.syscall(_ADD, rules, _BENEATH, struct.pack("=Qi", rights, place), 0) == 0)
    finally:
        os.close(place)
