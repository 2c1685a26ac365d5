"""`astm import`: checkpoints of other code bases."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from astm.cli.console import say
from astm.cli.options import AsJson, completed
from mlst.exits import check_folder


def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A checkpoint: PyTorch's file, or safetensors.")],
    kind: Annotated[
        str,
        typer.Option("--format", help="openstl, predrnn or stam.", autocompletion=completed("openstl predrnn stam")),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the model to write.", callback=check_folder)] = Path("imported"),
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting that weights do not show, e.g. tau=5."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a model here of a public checkpoint: its gates in our order, every weight accounted for.

    Nothing is unpickled but tensors. What is written loads like any saved model: `astm evaluate OUT`.
    """
    from astm.importing import import_checkpoint
    from astm.size import count_parameters
    from astm.training.settings import override

    settings = override(f"model.{assignment}" for assignment in given or []).get("model", {})
    imported = import_checkpoint(path, kind, settings)
    imported.predictor.save_pretrained(out)
    report = {
        "model": imported.model,
        "parameters": count_parameters(imported.predictor),
        "settings": imported.predictor.config(),
        "mapped": [asdict(one) for one in imported.mapped],
        "left": [asdict(one) for one in imported.left],
        "out": str(out),
    }
    if as_json:
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
        return
    for one in imported.mapped:
        sys.stdout.write(f"{one.ours} <- {', '.join(one.theirs)}{f': {one.change}' if one.change else ''}\n")
    for left in imported.left:
        sys.stdout.write(f"- <- {left.theirs}: {left.why}\n")
    say(f"{imported.model}, {report['parameters']:,} parameters, is in {out}: {json.dumps(report['settings'])}")
