"""The commands of `astm`."""

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from astm.cli import distances, explaining, fetching, importing, scoring, sizes, training, usage
from astm.cli.console import refusals
from mlst import __version__
from mlst.exits import check_words

HELP = """Train, evaluate and publish video prediction models.

Exit codes: 0 done; 1 no result, or a wrong one; 2 unusable input; 3 partly done: run the same command again.
"""


class Commands(TyperGroup):
    """Commands whose errors that the user can put right end in a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with refusals():
            return super().invoke(ctx)


class Command(TyperCommand):
    """A command that refuses empty values, but for presets, of which an empty one is none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words that were given."""
        check_words(self, ctx, args, but="--preset")
        return super().parse_args(ctx, args)


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=HELP, cls=Commands)

for command in (
    *(training.train, scoring.evaluate, usage.predict, usage.publish),
    *(
        scoring.score,
        scoring.report,
        scoring.table,
        scoring.compare,
        distances.fvd,
        explaining.why,
        sizes.models,
        sizes.bench,
    ),
):
    app.command(cls=Command)(command)
app.command(cls=Command)(fetching.data)
app.command("import", cls=Command)(importing.import_)


def _print_versions(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"astm {__version__}\ntorch {version('torch')}\n")
        raise typer.Exit


@app.callback()
def common(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_versions, is_eager=True, help="Print versions of astm and torch."),
    ] = False,
) -> None:
    pass
