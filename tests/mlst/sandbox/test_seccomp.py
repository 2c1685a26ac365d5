"""The filter's program, run by an interpreter of our own against the kernel's headers."""

import re
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlst.sandbox.calls import ALLOWED, NEWER, UNKNOWN, checked
from mlst.sandbox.seccomp import ALLOW, ARCHITECTURES, MISSING, REFUSED, bpf

PID = 4711
LONGEST = 4096
"""Instructions that the kernel takes (BPF_MAXINSNS)."""
COLUMNS = pytest.mark.parametrize("machine", ARCHITECTURES)


def answer(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What classic BPF, as far as the filter uses it, returns for a system call."""
    words = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
    steps = list(struct.iter_unpack("=HBBI", code))
    at, value = 0, 0
    while True:
        operation, yes, no, operand = steps[at]
        at += 1
        match operation:
            case 0x20:
                (value,) = struct.unpack_from("<I", words, operand)
            case 0x54:
                value &= operand
            case 0x15:
                at += yes if value == operand else no
            case 0x35:
                at += yes if value >= operand else no
            case 0x06:
                return int(operand)


@COLUMNS
def test_nothing_but_the_list_is_answered(machine: str) -> None:
    column, architecture = ARCHITECTURES[machine]
    code = bpf(column, architecture, PID)
    listed = {numbers[column] for numbers in ALLOWED.values()}
    unknown = {numbers[column] for numbers in UNKNOWN.values()}
    guarded = {numbers[column] for numbers, _ in checked(PID).values()}
    assert len(code) // 8 < LONGEST
    for number in range(700):
        if number not in guarded:
            wanted = ALLOW if number in listed else MISSING if number in unknown or number >= NEWER else REFUSED
            assert answer(code, architecture, number) == wanted, number


@COLUMNS
def test_other_numberings_are_refused(machine: str) -> None:
    column, architecture = ARCHITECTURES[machine]
    code = bpf(column, architecture, PID)
    others = {0x40000003, 0xC000003E, 0xC00000B7} - {architecture}  # i386, x86-64, aarch64
    assert {answer(code, other, number) for other in others for number in range(500)} == {REFUSED}
    assert {answer(code, architecture, 0x40000000 + number) for number in range(600)} == {MISSING}  # x32


THREAD = 0x3D0F00
"""Flags of pthread_create in glibc."""
MEANT = {
    "clone": [(THREAD,)],
    "kill": [(0, 9), (PID, 11)],
    "tgkill": [(PID, 4712, 6)],
    "prctl": [(15, 1), (0x53564D41, 0)],
    "prlimit64": [(0, 7, 0, 1 << 40), (PID, 7, 0, 1)],
    "ioctl": [(1, 0x5401), (1, 0x5413)],
    "fcntl": [(3, 1), (3, 1030), (3, 4, 0x800)],
}
ABUSED = {
    "clone": [(17,), (0,), (0x4111,), *((THREAD | flag,) for flag in (0x20000, 0x2000000, 0x80)), (0x10000000 | 17,)],
    "kill": [(-1 % 2**64, 9), (1, 9), (PID + 1, 0), (-PID % 2**64, 9)],
    "tgkill": [(1, 1, 9), (PID + 1, PID + 1, 0)],
    "prctl": [(22, 1), (4, 0), (8, 0), (23, 0), (36, 1), (0x59616D61, -1 % 2**64), (35, 13)],
    "prlimit64": [(0, 7, 1 << 32, 0), (0, 7, 1, 0), (1, 7, 0, 1), (PID + 1, 0, 1, 0)],
    "ioctl": [(0, 0x5412), (0, 0x5408), (0, 0x5402), (3, 0xAE01), (3, 0x40086602), (0, 0x540E)],
    "fcntl": [(3, 8, PID), (3, 10, 9), (3, 1024), (3, 1026), (3, 1031, 1 << 30), (3, 6)],
}


@COLUMNS
@pytest.mark.parametrize("name", MEANT)
def test_arguments_are_looked_at(machine: str, name: str) -> None:
    column, architecture = ARCHITECTURES[machine]
    code, number = bpf(column, architecture, PID), checked(PID)[name][0][column]
    assert {answer(code, architecture, number, *each) for each in MEANT[name]} == {ALLOW}
    assert {answer(code, architecture, number, *each) for each in ABUSED[name]} == {REFUSED}


def test_every_check_of_arguments_is_tried() -> None:
    assert MEANT.keys() == ABUSED.keys() == checked(PID).keys()


HEADERS = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm-generic/unistd.h")
ALIASES = {"newfstatat": "fstatat"}
"""asm-generic's names where they differ."""


def named(column: int) -> Mapping[str, int]:
    header = Path(HEADERS[column])
    if not header.exists():
        pytest.skip(f"no {header}")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    return {name: int(number) for name, number in lines}


@pytest.mark.parametrize("column", [0, 1])
def test_numbers_are_those_of_the_kernels_headers(column: int) -> None:
    known = named(column)
    ours = {**ALLOWED, **UNKNOWN, **{name: numbers for name, (numbers, _) in checked(PID).items()}}
    found = {name: known.get(name, known.get(ALIASES.get(name, ""), -1)) for name in ours}
    assert found == {name: numbers[column] for name, numbers in ours.items()}


STATED = {
    "read": (0, 63), "openat": (257, 56), "mmap": (9, 222), "futex": (202, 98), "clone": (56, 220),
    "clone3": (435, 435), "kill": (62, 129), "tgkill": (234, 131), "prctl": (157, 167), "prlimit64": (302, 261),
    "ioctl": (16, 29), "fcntl": (72, 25), "exit_group": (231, 94), "getrandom": (318, 278),
}  # fmt: skip
"""From the tables of the manual page syscalls(2) and the ABI of both architectures, for machines without headers."""


def test_numbers_are_as_stated() -> None:
    ours = {**ALLOWED, **UNKNOWN, **{name: numbers for name, (numbers, _) in checked(PID).items()}}
    assert {name: ours[name] for name in STATED} == STATED


NAMES = """
chmod fchmod fchmodat chown fchown lchown fchownat utime utimes utimensat futimesat setxattr lsetxattr fsetxattr
removexattr link linkat symlink symlinkat mknod mknodat truncate creat chroot pivot_root mount umount2 unshare
setns open_tree move_mount fsopen mount_setattr open_by_handle_at name_to_handle_at fanotify_init inotify_init1
swapon swapoff acct quotactl sethostname setdomainname adjtimex clock_adjtime settimeofday clock_settime reboot
kexec_load init_module finit_module delete_module iopl ioperm syslog vhangup bpf perf_event_open userfaultfd keyctl
add_key request_key ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_open pidfd_getfd
pidfd_send_signal socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom recvmsg
shutdown execve execveat fork vfork setsid setpgid setuid setgid setresuid setresgid setgroups capset seccomp
landlock_create_ruleset personality sched_setaffinity sched_setscheduler sched_setparam sched_setattr setpriority
ioprio_set setrlimit migrate_pages move_pages shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl
mq_open mq_unlink io_setup io_submit memfd_secret splice tee vmsplice sendfile copy_file_range tkill
rt_sigqueueinfo rt_tgsigqueueinfo timer_create setitimer alarm mlockall flock umask chdir fchdir
"""
DANGEROUS = NAMES.split()


@pytest.mark.parametrize("column", [0, 1])
def test_calls_that_change_more_than_the_worker_are_refused(column: int) -> None:
    known = named(column)
    _, architecture = list(ARCHITECTURES.values())[column]
    code = bpf(column, architecture, PID)
    there = [name for name in DANGEROUS if name in known]
    assert len(there) > 100
    assert {name: answer(code, architecture, known[name]) for name in there} == dict.fromkeys(there, REFUSED)
