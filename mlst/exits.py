"""How the commands `mlst` and `astm` end: their exit codes, the errors that need no traceback, and signals."""

import errno
import os
import resource
import signal
import sys
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn


class Exit(IntEnum):
    """Exit codes of both commands."""

    DONE = 0
    WRONG = 1
    """There is no result, or it is wrong."""
    UNUSABLE = 2
    """The input cannot be used; nothing was done."""
    PARTLY = 3
    """Done as far as possible; the same command tries the rest again."""


class UserError(Exception):
    """What the user can put right; the text names the value, the choices and the remedy.

    A command prints the text without a traceback and ends with `exit_code`.
    """

    exit_code: ClassVar[Exit] = Exit.UNUSABLE


class MissingExtraError(UserError):
    """A command needs a package that comes with an extra of `mlst` that is not installed."""


class Stopped(KeyboardInterrupt):
    """A signal asks the command to end; `exit_code` is the shell's for it: 130 after SIGINT, 143 after SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def leave_at_signals() -> None:
    """End the process at once and without a word at SIGINT and SIGTERM: so long as a command is being imported and its
    words are read, there is nothing to finish, and an exception would come out of any import with its traceback."""
    for number in SIGNALS:
        signal.signal(number, _leave)


def heed_signals() -> None:
    """Where `leave_at_signals` was called, raise `Stopped` instead; a second signal of a kind ends the process.

    Changes no handler of a program that runs a command inside itself.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is _leave:
            signal.signal(number, _stop)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(number)


REMEDIES: Mapping[int, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room on that disk"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions, or give another path"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENXIO), "the disk or its connection fails; see the system's log"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n)"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), "give another path"),
    errno.EROFS: "give a path that can be written to",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EAGAIN: "allow more processes (ulimit -u)",
    errno.ENOMEM: "allow more memory (ulimit -v), or use fewer --workers",
    errno.ENOLCK: "the file system has no locks; use a disk of this machine",
}
"""What the user can do about an error of the operating system. Any other error number is a bug's."""


def of_the_system(why: BaseException) -> str:
    """What to tell the user of an error that the machine is to blame for, with the remedy; "" for any other."""
    if isinstance(why, RuntimeError) and "can't start new thread" in str(why):
        return f"no more threads can be started; {REMEDIES[errno.EAGAIN]}, or use fewer --workers"
    if isinstance(why, MemoryError):
        return f"memory is exhausted: {REMEDIES[errno.ENOMEM]}"
    if not isinstance(why, OSError) or why.errno is None or why.errno not in REMEDIES:
        return ""
    place = f"{os.fspath(why.filename)!s}: " if why.filename is not None else ""
    return f"{place}{why.strerror}; {REMEDIES[why.errno]}"


MEMORY, FILES = 2 << 30, 64
"""Bytes of address space and open files that a command needs at least."""


class LimitError(UserError):
    """The shell allows too little."""


def check_limits() -> None:
    """Raise `LimitError` where importing libraries or starting workers could fail half-way, or hang."""
    memory = resource.getrlimit(resource.RLIMIT_AS)[0] if sys.platform == "linux" else resource.RLIM_INFINITY
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if memory not in (resource.RLIM_INFINITY, -1) and memory < MEMORY:
        raise LimitError(f"{memory >> 10} KiB of memory are allowed (ulimit -v), {MEMORY >> 10} are needed at least")
    if files not in (resource.RLIM_INFINITY, -1) and files < FILES:
        raise LimitError(f"{files} open files are allowed (ulimit -n), {FILES} are needed at least")


class GivenError(UserError):
    """What was given to an option cannot be used, whatever the command would do with it."""


def check_words(command: Any, context: Any, words: list[str], but: str = "") -> None:
    """Raise `GivenError` for the first option or argument of a click command that is given an empty value: a path of
    nothing would be the current folder. `but` names the option that has a use for one."""
    if context.resilient_parsing:  # a shell that completes words asks about unfinished ones
        return
    given, _, _ = command.make_parser(context).parse_args(args=list(words))
    for one in command.params:
        value = given.get(one.name)
        if but not in one.opts and (value == "" or (isinstance(value, list | tuple) and "" in value)):
            name = max(one.opts, key=len) if one.param_type_name == "option" else one.metavar
            raise GivenError(f"{name} is empty: is a variable of the shell not set? Give a value, or leave it out")


def check_file(path: Path) -> Path:
    """`path`, if a file can be written there: a new one, or in the place of another. Raises as `check_folder`."""
    if path.is_dir():
        raise GivenError(f"{path} is a folder; give the path of a file")
    check_folder(path.parent)
    return path


def check_folder(path: Path) -> Path:
    """`path`, if files can be written below it; it need not be there yet. Makes none that stays.

    Raises `GivenError`, and OSError where the machine is to blame, e.g. for a full disk.
    """
    import tempfile  # noqa: PLC0415 - 10 ms of commands that write nothing

    whole = path.absolute()
    there = next(place for place in (whole, *whole.parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        raise GivenError(f"{there} is not a folder; give another path than {path}")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as why:
        if why.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):  # the last is what /proc says
            raise
        raise GivenError(f"{path}: no files can be made in {there}; give another path") from None
    return path


EXTRAS: Mapping[str, str] = {
    "Cryptodome": "build",
    "braceexpand": "build",
    "datasets": "readers",
    "ffmpeg": "build",
    "imageio_ffmpeg": "build",
    "lance": "lance",
    "matplotlib": "build",
    "ray": "ray",
    "s3fs": "s3",
    "safetensors": "train",
    "scenedetect": "build",
    "scipy": "train",
    "tensorboard": "train",
    "tomli_w": "build",
    "tomlkit": "build",
    "webdataset": "readers",
    "yt_dlp": "build",
}
"""The extra that brings a module which `pip install mlst` alone does not."""


def missing_extra(why: ModuleNotFoundError, extras: Mapping[str, str] = EXTRAS) -> MissingExtraError | None:
    """What to tell the user of an import that failed; None where no extra would help, which is a bug."""
    module = (why.name or "").partition(".")[0]
    if module not in extras:
        return None
    return MissingExtraError(
        f"this command needs the package {module}; install it with: pip install 'mlst[{extras[module]}]'"
    )
