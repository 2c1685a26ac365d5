"""Ways out of the sandbox, each one attempt: importable, because a worker unpickles them by name."""

import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from collection.engine.stage import Expected, Needs
from collection.workspace.folder import Span, Workspace
from tests.collection.engine.stages import Text

INPUT, OTHER = "fetch-1/media/own.mp4", "fetch-1/media/other.mp4"
SECRETS = (".ssh/id", ".netrc", "cookies.txt", ".bashrc")


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to reach; `lay` makes it."""

    root: Path
    own: Path
    """Where the worker may write."""
    victim: int
    """A process of the same user."""

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def input(self) -> Path:
        return self.work / INPUT

    def mine(self, name: str) -> Path:
        path = self.own / name
        path.write_bytes(b"attacker's")
        return path


def lay(root: Path) -> None:
    """A home folder with keys, and a workspace with what its driver and other workers keep in it."""
    names = [f"home/{name}" for name in SECRETS] + [f"work/{INPUT}", f"work/{OTHER}", "other-work/build.json"]
    names += [f"work/{name}" for name in ("lock", "build.json", "politeness/egress-a.json", "yt-dlp/player.js")]
    names += ["work/scan-1/ledger/000.jsonl", "work/scan-1/clips/other.bin"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("theirs")


X86 = platform.machine() == "x86_64"


def call(x86: int, arm: int, *arguments: Any) -> int:
    """A system call by its number. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer = int(libc.syscall(x86 if X86 else arm, *wide))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def buffer(size: int = 256) -> Any:
    return ctypes.create_string_buffer(size)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"attacker's")


def truncated(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def linked(scene: Scene) -> bytes:
    (scene.own / "link").symlink_to(scene.home / ".netrc")
    return (scene.own / "link").read_bytes()


def planted(scene: Scene) -> None:
    (scene.work / "politeness/egress-a.json.new").symlink_to(scene.home / ".bashrc")


def held(path: Path, change: Callable[[int], object]) -> None:
    """Do something with an open file."""
    file = os.open(path, os.O_RDONLY)
    try:
        change(file)
    finally:
        os.close(file)


def forked() -> None:
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)


def bound(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(scene.own / "s"))


def opened(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def sockets() -> None:
    """Use a socket that was open before: none but the worker's own pipe is."""
    found = [name for name in os.listdir("/proc/self/fd") if _is_socket(name)]
    if len(found) < 2:
        raise PermissionError(errno.EACCES, "no socket was left open")


def _is_socket(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    except OSError:
        return False


def terminal() -> None:
    """Write where the driver's output goes."""
    if os.readlink("/proc/self/fd/1") == os.devnull and os.readlink("/proc/self/fd/2") == os.devnull:
        raise PermissionError(errno.EACCES, "nobody reads it")


def raised_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    except ValueError as why:  # which is what Python makes of EPERM
        raise PermissionError(errno.EPERM, str(why)) from None


def shared_memory() -> None:
    made = call(29, 194, 0, 4096, 0o600)
    call(31, 195, made, 0, None)


def queue() -> None:
    made = call(68, 186, 0, 0o600)
    call(71, 187, made, 0, None)


def semaphore() -> None:
    made = call(64, 190, 0, 1, 0o600)
    call(66, 191, made, 0, 0, 0)


def environment() -> None:
    """Read a token that the driver had in its environment, also in the memory that it was started with."""
    if "HF_TOKEN" not in os.environ and b"HF_TOKEN" not in Path("/proc/self/environ").read_bytes():
        raise PermissionError(errno.EACCES, "it is not there")


Attempt = Callable[[Scene], object]

FILES: Mapping[str, Attempt] = {
    **{f"read ~/{name}": (lambda s, name=name: (s.home / name).read_bytes()) for name in SECRETS},
    "list the home folder": lambda s: os.listdir(s.home),
    "list the root folder": lambda s: os.listdir("/"),
    "read /etc/passwd": lambda s: Path("/etc/passwd").read_bytes(),
    "read another workspace": lambda s: (s.root / "other-work/build.json").read_bytes(),
    "read another item's video": lambda s: (s.work / OTHER).read_bytes(),
    "read the ledger": lambda s: (s.work / "scan-1/ledger/000.jsonl").read_bytes(),
    "read through /proc/self/root": lambda s: Path(f"/proc/self/root{s.home}/.netrc").read_bytes(),
    "read through a symbolic link": linked,
    "make a hard link to a key": lambda s: os.link(s.home / ".ssh/id", s.own / "id"),
    "read the driver's environment": lambda s: Path(f"/proc/{s.victim}/environ").read_bytes(),
    "read the driver's memory": lambda s: os.close(os.open(f"/proc/{s.victim}/mem", os.O_RDONLY)),
    "read a token of the environment": lambda s: environment(),
    "append to ~/.bashrc": lambda s: append(s.home / ".bashrc"),
    "make a file in the home folder": lambda s: (s.home / "new").write_text("x"),
    "make a folder in the workspace": lambda s: (s.work / "new").mkdir(),
    "plant a link in politeness/": planted,
    "write in politeness/": lambda s: append(s.work / "politeness/egress-a.json"),
    "write in yt-dlp/": lambda s: append(s.work / "yt-dlp/player.js"),
    "write in the ledger": lambda s: append(s.work / "scan-1/ledger/000.jsonl"),
    "empty the lock": lambda s: truncated(s.work / "lock"),
    "replace build.json": lambda s: os.replace(s.mine("a"), s.work / "build.json"),
    "move a file to the home folder": lambda s: os.rename(s.mine("b"), s.home / "b"),
    "overwrite another item's clips": lambda s: truncated(s.work / "scan-1/clips/other.bin"),
    "remove another item's clips": lambda s: os.unlink(s.work / "scan-1/clips/other.bin"),
    "remove a folder": lambda s: shutil.rmtree(s.work / "yt-dlp"),
    "write to its own input": lambda s: append(s.input),
    "empty its own input": lambda s: truncated(s.input),
    "write in /dev/shm": lambda s: (Path("/dev/shm") / f"mlst-{os.getpid()}").write_text(""),  # noqa: S108
    "write to the terminal": lambda s: terminal(),
    "make a pipe with a name": lambda s: os.mkfifo(s.own / "fifo"),
    "make a symbolic link": lambda s: os.symlink("/etc", s.own / "etc"),
    "change a mode": lambda s: os.chmod(s.home / ".ssh/id", 0o666),  # noqa: S103
    "change the mode of an open file": lambda s: held(s.input, lambda file: os.fchmod(file, 0o666)),
    "change an owner": lambda s: os.chown(s.home / ".ssh/id", os.getuid(), os.getgid()),
    "change times": lambda s: os.utime(s.home / ".netrc", (0, 0)),
    "set an attribute": lambda s: os.setxattr(s.input, "user.mlst", b"x"),
}

NETWORK: Mapping[str, Attempt] = {
    "TCP": lambda s: opened(socket.AF_INET, socket.SOCK_STREAM),
    "TCP over IPv6": lambda s: opened(socket.AF_INET6, socket.SOCK_STREAM),
    "UDP": lambda s: opened(socket.AF_INET, socket.SOCK_DGRAM),
    "a Unix socket": lambda s: opened(socket.AF_UNIX, socket.SOCK_STREAM),
    "a Unix socket with a name": bound,
    "netlink": lambda s: opened(16, socket.SOCK_RAW),
    "a pair of sockets": lambda s: socket.socketpair(),
    "a socket that was left open": lambda s: sockets(),
    "io_uring": lambda s: os.close(call(425, 425, 1, buffer())),
    "sendmsg": lambda s: call(46, 211, 0, buffer(), 0),
    "accept4": lambda s: call(288, 242, 0, None, None, 0),
}

PROCESSES: Mapping[str, Attempt] = {
    "fork": lambda s: forked(),
    "start a program": lambda s: subprocess.run(["/bin/true"], check=True),
    "become a program": lambda s: os.execv("/nowhere", ["nowhere"]),  # noqa: S606
    "signal the driver": lambda s: os.kill(s.victim, 0),
    "kill everybody": lambda s: os.kill(-1, 0) if os.getpid() != s.victim else None,
    "signal the driver's group": lambda s: os.killpg(os.getpgid(s.victim), 0),
    "tgkill the driver": lambda s: call(234, 131, s.victim, s.victim, 0),
    "queue a signal": lambda s: call(129, 138, s.victim, 0, struct.pack("<iii", 0, 0, -1) + bytes(116)),
    "hold the driver": lambda s: os.close(call(434, 434, s.victim, 0)),
    "signals by an open file": lambda s: held(s.input, lambda file: fcntl.fcntl(file, fcntl.F_SETOWN, s.victim)),
    "trace the driver": lambda s: call(101, 117, 16, s.victim, 0, 0),
    "read memory of the driver": lambda s: call(310, 270, s.victim, None, 0, None, 0, 0),
    "limit the driver": lambda s: resource.prlimit(s.victim, resource.RLIMIT_CORE, (0, 0)),
    "slow the driver": lambda s: os.setpriority(os.PRIO_PROCESS, s.victim, os.getpriority(0, 0)),
    "bind the driver to a processor": lambda s: os.sched_setaffinity(s.victim, os.sched_getaffinity(0)),
    "slow the driver's disk": lambda s: call(251, 30, 1, s.victim, 0),
    "change its own limits": lambda s: raised_limit(),
    "leave its session": lambda s: os.setsid(),
    "leave its group": lambda s: os.setpgid(0, 0),
    "clone into a user namespace": lambda s: call(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0),
    "clone3": lambda s: call(435, 435, buffer(88), 88),
    "unshare": lambda s: call(272, 97, 0x10000000),
    "setns": lambda s: call(308, 268, 0, 0),
    "become another user": lambda s: os.setuid(os.getuid()),
    "let others trace it": lambda s: call(157, 167, 4, 1, 0, 0, 0),
}

KERNEL: Mapping[str, Attempt] = {
    "mount": lambda s: call(165, 40, None, b"/nowhere", b"tmpfs", 0, None),
    "open_tree": lambda s: os.close(call(428, 428, -100, b"/", 1)),
    "chroot": lambda s: os.chroot("/"),
    "sethostname": lambda s: socket.sethostname(socket.gethostname()),
    "swapon": lambda s: call(167, 224, b"/nowhere", 0),
    "acct": lambda s: call(163, 89, b"/nowhere"),
    "quotactl": lambda s: call(179, 60, 0, None, 0, None),
    "adjtimex": lambda s: call(159, 171, buffer(512)),
    "settimeofday": lambda s: call(164, 170, None, None),
    "fanotify_init": lambda s: os.close(call(300, 262, 0, 0)),
    "inotify_init1": lambda s: os.close(call(294, 26, 0)),
    "bpf": lambda s: call(321, 280, 0, None, 0),
    "perf_event_open": lambda s: call(298, 241, None, 0, -1, -1, 0),
    "userfaultfd": lambda s: os.close(call(323, 282, 1)),
    "keyctl": lambda s: call(250, 219, 0, -3, 1),
    "add_key": lambda s: call(248, 217, b"user", b"mlst", b"x", 1, -2),
    "kexec_load": lambda s: call(246, 104, 0, 0, None, 0),
    "init_module": lambda s: call(175, 105, None, 0, b""),
    "syslog": lambda s: call(103, 116, 10, None, 0),
    "open_by_handle_at": lambda s: call(304, 265, -100, None, 0),
    "shared memory that stays": lambda s: shared_memory(),
    "a message queue that stays": lambda s: queue(),
    "semaphores that stay": lambda s: semaphore(),
    "memfd_create": lambda s: os.close(os.memfd_create("x")),
    "personality": lambda s: call(135, 92, 0xFFFFFFFF),
    "type into a terminal": lambda s: fcntl.ioctl(0, termios.TIOCSTI, b"x"),
    "a filter of its own": lambda s: call(317, 277, 2, 0, buffer()),
    "a ruleset of its own": lambda s: call(444, 444, None, 0, 1),
}

ATTEMPTS: Mapping[str, Mapping[str, Attempt]] = {
    "files": FILES,
    "network": NETWORK,
    "processes": PROCESSES,
    "kernel": KERNEL,
}

REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def tried(attempt: Attempt, scene: Scene) -> str:
    """ "" where it worked, else the name of the error."""
    try:
        attempt(scene)
    except OSError as why:
        return errno.errorcode.get(why.errno or 0, str(why))
    return ""


@dataclass(frozen=True, slots=True)
class Escaping:
    """Makes all attempts of the group that an item names."""

    root: str
    victim: int
    name: ClassVar[str] = "scan"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Text
    needs: ClassVar[Needs] = Needs(60.0, 4 << 30, network=False)

    def settings(self) -> Any:
        return {}

    def key(self, item: str) -> str:
        return item

    def reads(self, item: str) -> Iterable[Span]:
        return (Span(INPUT, 0, 6),)

    def expects(self, item: str) -> Expected:
        return Expected((), 1 << 20)

    def check(self, item: str, outputs: tuple[Text, ...]) -> None:
        pass

    def __call__(self, item: str, work: Workspace) -> Iterable[Text]:
        scene = Scene(Path(self.root), work.root / work.folder, self.victim)
        assert work.path(INPUT).read_text() == "theirs"
        yield Text(json.dumps({name: tried(attempt, scene) for name, attempt in ATTEMPTS[item].items()}), "")
