"""Options that several commands share, each with one name, one type and one help text."""

from collections.abc import Callable
from typing import Annotated

import typer


def completed(names: str) -> Callable[[str], list[str]]:
    """What a shell offers for a value: those of the names, with blanks between, that begin as what was typed."""
    return lambda incomplete: [name for name in names.split() if name.startswith(incomplete)]


Settings = Annotated[list[str] | None, typer.Argument(metavar="TABLE.NAME=VALUE", help="Settings to change.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.NAME=VALUE", help="The same, as an option.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write results to standard output as JSON.")]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="Dataset: moving_mnist, kth, mlst, folder, films, manifest, or a class of yours, package.module:Class.",
        autocompletion=completed("moving_mnist kth mlst folder films"),
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="paper, authors, openstl, strong, tiny or small; empty for defaults.",
        autocompletion=completed("paper authors openstl strong tiny small"),
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="See `astm models`.")]
