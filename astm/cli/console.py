"""What commands print, and how errors end them. Imports nothing heavy."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from mlst.exits import EXTRAS, Exit, UserError, missing_extra
from mlst.text import printable

console = Console(stderr=True, highlight=False, quiet=os.environ.get("RANK", "0") != "0")
"""Progress and messages; standard output is for results. Of several processes only the first one prints."""

INTERRUPTED = 143
"""Exit code after SIGTERM or SIGINT, when training was saved but is not finished."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def say(text: str, style: str = "") -> None:
    """Print a line as it is: not wrapped, without markup."""
    console.print(printable(text), style=style, markup=False, soft_wrap=True)


@contextmanager
def refusals() -> Iterator[None]:
    """What the user can put right becomes an error message and an exit code; bugs keep their traceback."""
    try:
        yield
    except UserError as why:
        raise _stop(str(why), why.exit_code) from None
    except ModuleNotFoundError as why:
        if extra := missing_extra(why, {**EXTRAS, "matplotlib": "train", "tomli_w": "train"}):
            raise _stop(str(extra), extra.exit_code) from None
        raise
    except OSError as why:
        if why.filename is None:
            raise
        code = Exit.WRONG if why.errno in DISK_FULL else Exit.UNUSABLE
        raise _stop(f"{why.filename}: {why.strerror}; give another path", code) from None


def _stop(why: str, code: Exit) -> typer.Exit:
    say(f"astm: {why}", "red")
    return typer.Exit(code)
