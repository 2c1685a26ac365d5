"""The `mlst` command: which commands there are, and how errors end them."""

import errno
import importlib.metadata
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from collection.cli import audit, build, checking, manifest, publish, studying, upkeep
from mlst.exits import Exit, UserError, missing_extra

HELP = """Build, verify and publish multi-level spatiotemporal video datasets.

Exit codes: 0 done; 1 no result, or a wrong one; 2 unusable input; 3 partly done: run the same command again.
"""
INTERRUPTED = 130
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR)
"""Errors of the operating system that the user can put right; any other is a bug and keeps its traceback."""


class Commands(TyperGroup):
    """Commands whose errors that the user can put right end in a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with refusals():
            return super().invoke(ctx)


@contextmanager
def refusals() -> Iterator[None]:
    """What the user can put right becomes an error message and an exit code; bugs keep their traceback."""
    try:
        yield
    except UserError as why:
        raise _stop(str(why), why.exit_code) from None
    except ModuleNotFoundError as why:
        if extra := missing_extra(why):
            raise _stop(str(extra), extra.exit_code) from None
        raise
    except OSError as why:
        if why.errno in OF_THE_DISK:
            raise _stop(f"{why}; finished work is kept", Exit.WRONG) from None
        raise
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to resume.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def group(title: str, commands: tuple[Callable[..., None], ...]) -> typer.Typer:
    """Commands under one name; each is called as its function is, and its docstring is its help."""
    made = typer.Typer(
        cls=Commands,
        help=title,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for command in commands:
        made.command(command.__name__.rstrip("_"))(command)
    return made


app = group(HELP, (*build.COMMANDS, *checking.COMMANDS, *studying.COMMANDS, *publish.COMMANDS, *upkeep.COMMANDS))
app.add_typer(group("Make, check, convert and describe source lists.", manifest.COMMANDS), name="manifest")
app.add_typer(group("Look for faults in the clips of any video dataset.", audit.COMMANDS), name="audit")


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _tell_versions() if wanted else None,
            is_eager=True,
            help="Print the versions of everything that may change a dataset.",
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of `mlst`."""
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _tell_versions() -> NoReturn:
    from collection.pack.versions import LIBRARIES, versions

    for name, version in sorted(versions(library for library in LIBRARIES if _is_installed(library)).items()):
        print(name, version)
    raise typer.Exit


def _is_installed(distribution: str) -> bool:
    try:
        return bool(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return False


def _stop(text: str, code: Exit) -> typer.Exit:
    from collection.cli.console import refuse

    refuse(text)
    return typer.Exit(code)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
