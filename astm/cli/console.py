"""What commands print, and how errors end them. Imports nothing heavy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from mlst.exits import EXTRAS, Exit, Stopped, UserError, check_limits, heed_signals, missing_extra, of_the_system
from mlst.text import printable

console = Console(stderr=True, highlight=False, quiet=os.environ.get("RANK", "0") != "0")
"""Progress and messages; standard output is for results. Of several processes only the first one prints."""
PLACES = (NotADirectoryError, IsADirectoryError, PermissionError)
"""Errors of a path that was given: another one would do."""


def say(text: str, style: str = "") -> None:
    """Print a line as it is: not wrapped, without markup."""
    console.print(printable(text), style=style, markup=False, soft_wrap=True)


@contextmanager
def refusals() -> Iterator[None]:
    """What the user can put right becomes an error message and an exit code; bugs keep their traceback."""
    try:
        heed_signals()
        check_limits()
        yield
    except UserError as why:
        raise _stop(str(why), why.exit_code) from None
    except ModuleNotFoundError as why:
        if extra := missing_extra(why, {**EXTRAS, "matplotlib": "train", "tomli_w": "train"}):
            raise _stop(str(extra), extra.exit_code) from None
        raise
    except (OSError, MemoryError, RuntimeError) as why:
        if said := of_the_system(why):
            raise _stop(said, Exit.UNUSABLE if isinstance(why, PLACES) else Exit.WRONG) from None
        if isinstance(why, OSError) and why.filename is not None:
            raise _stop(f"{why.filename}: {why.strerror}; give another path", Exit.UNUSABLE) from None
        raise
    except Stopped as why:
        say(f"{why}; run the same command again")
        raise typer.Exit(why.exit_code) from None


def _stop(why: str, code: Exit) -> typer.Exit:
    say(f"astm: {why}", "red")
    return typer.Exit(code)
