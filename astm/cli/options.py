"""Options that several commands share, each with one name, one type and one help text."""

from collections.abc import Callable
from typing import Annotated

import typer


def completed(names: str) -> Callable[[str], list[str]]:
    """What a shell offers for a value: those of the names, with blanks between, that begin as what was typed."""
    return lambda incomplete: [name for name in names.split() if name.startswith(incomplete)]


DATASETS, PRESETS = "moving_mnist kth mlst folder films manifest", "paper authors openstl strong tiny small"
MODELS = (
    "astm astm_basic convlstm copy_last crevnet e3d_lstm frnn mau phydnet predformer predrnn predrnn_pp predrnn_v2 "
    "savp_vae simvp stam stmfanet swin_lstm tau vpn"
)
"""All registered models: asking the registry takes seconds, and a shell waits."""
READY = "copy_last moving-mnist-small"
"""Models that can be used without a file of the user's."""


def or_files(names: str) -> Callable[[str], list[str]]:
    """The same where files will do as well, which a shell offers if nothing else is: names once one is begun."""
    return lambda incomplete: completed(names)(incomplete) if incomplete else []


Settings = Annotated[list[str] | None, typer.Argument(metavar="TABLE.NAME=VALUE", help="Settings to change.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.NAME=VALUE", help="The same, as an option.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", autocompletion=completed("auto cpu cuda"))]
AsJson = Annotated[bool, typer.Option("--json", help="Write results to standard output as JSON.")]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="Dataset: moving_mnist, kth, mlst, folder, films, manifest, or a class of yours, package.module:Class.",
        autocompletion=completed(DATASETS),
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="paper, authors, openstl, strong, tiny or small; empty for defaults.",
        autocompletion=completed(PRESETS),
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="See `astm models`.", autocompletion=completed(MODELS))]
