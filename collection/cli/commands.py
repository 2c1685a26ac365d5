"""The commands of `mlst`, and how errors end them."""

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from collection.cli import audit, build, checking, doctor, init, joining, machine, manifest, publish, studying, upkeep
from collection.cli.grouping import ungrouped
from mlst.exits import (
    Exit,
    Stopped,
    UserError,
    check_limits,
    check_words,
    heed_signals,
    missing_extra,
    of_the_system,
)

HELP = """Build, verify and publish multi-level spatiotemporal video datasets.

Exit codes: 0 done; 1 no result, or a wrong one; 2 unusable input; 3 partly done: run the same command again.
"""


class Commands(TyperGroup):
    """Commands whose errors that the user can put right end in a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with refusals():
            return super().invoke(ctx)


class Command(TyperCommand):
    """A command that refuses empty values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words that were given."""
        check_words(self, ctx, args)
        return super().parse_args(ctx, args)


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
        if extra := missing_extra(why):
            raise _stop(str(extra), extra.exit_code) from None
        raise
    except (OSError, MemoryError, RuntimeError) as why:
        if said := of_the_system(why):
            raise _stop(f"{said}; finished work is kept", Exit.WRONG) from None
        raise
    except Stopped as why:
        print(f"{why}; finished work is kept, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(why.exit_code) from None


def group(title: str, commands: tuple[Callable[..., None], ...], *, completion: bool = False) -> typer.Typer:
    """Commands under one name; each is called as its function is, and its docstring is its help."""
    made = typer.Typer(
        cls=Commands,
        help=title,
        no_args_is_help=True,
        add_completion=completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for command in commands:
        made.command(command.__name__.rstrip("_").replace("_", "-"), cls=Command)(ungrouped(command))
    return made


app = group(
    HELP,
    (
        *(*init.COMMANDS, *build.COMMANDS, *joining.COMMANDS, *checking.COMMANDS, *studying.COMMANDS),
        *(*publish.COMMANDS, *upkeep.COMMANDS, *doctor.COMMANDS, *machine.COMMANDS),
    ),
    completion=True,
)
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
