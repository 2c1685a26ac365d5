"""Options that several commands share, each with one name, one type and one help text."""

from typing import Annotated

import typer

Settings = Annotated[list[str] | None, typer.Argument(metavar="TABLE.NAME=VALUE", help="Settings to change.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.NAME=VALUE", help="The same, as an option.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write results to standard output as JSON.")]
Data = Annotated[
    str,
    typer.Option(
        "--data", help="Dataset: moving_mnist, kth, mlst, folder, films, or a class of yours, package.module:Class."
    ),
]
Preset = Annotated[
    str, typer.Option("--preset", help="paper, authors, openstl, strong, tiny or small; empty for defaults.")
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="See `astm models`.")]
