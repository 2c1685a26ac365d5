"""`astm import`: checkpoints of other code bases."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from astm.cli.console import say
from astm.cli.options import AsJson


def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A checkpoint: PyTorch's file, or safetensors.")],
    kind: Annotated[str, typer.Option("--format", help="openstl, predrnn or stam.")],
    out: Annotated[Path, typer.Option(help="Folder of the model to write.")] = Path("imported"),
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
    table = Table("ours", "theirs", "shape", "change", title=f"{imported.model} from {path}")
    for one in imported.mapped:
        table.add_row(one.ours, ", ".join(one.theirs), " x ".join(map(str, one.shape)), one.change)
    for left in imported.left:
        table.add_row("-", left.theirs, "", left.why)
    Console().print(table)
    say(f"{imported.model}, {report['parameters']:,} parameters, is in {out}: {json.dumps(report['settings'])}")
