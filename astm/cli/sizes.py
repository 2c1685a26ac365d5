"""`astm models` and `astm bench`."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from astm.cli.console import say
from astm.cli.options import AsJson, Data, Device, Model, Preset, Set, Settings


def models(
    data: Data = "moving_mnist",
    chosen: Annotated[
        str, typer.Option("--preset", help="Sizes of this preset; empty for the models' defaults.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """All models, with their parameters and the multiply-accumulates of one clip."""
    from astm.cli.measuring import model_row
    from astm.predictor import model
    from astm.training.settings import SettingsError, presets

    names = presets(data).get(chosen, ()) if chosen else tuple(model)
    if not names:
        raise SettingsError(f"unknown preset {chosen!r} of {data}; choices are {', '.join(presets(data))}")
    rows = [model_row(name, data, chosen) for name in names]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    table = Table(title=f"{rows[0]['frames']}, {rows[0]['size']}")
    for head in ("model", "parameters", "published", "GMAC"):
        table.add_column(head, justify="left" if head == "model" else "right", no_wrap=True)
    table.add_column(f"presets for {data}")
    for row in rows:
        published = row["published_parameters"]
        table.add_row(
            row["model"],
            f"{row['parameters']:,}",
            f"{published:.1f} M{'*' if row['published_remark'] else ''}" if published else "-",
            "-" if row["macs"] is None else f"{row['macs'] / 1e9:.1f}",
            row["presets"],
        )
    Console().print(table)
    say("published: in OpenSTL's table of Moving MNIST, at full size. * Not the default settings here:")
    for row in rows:
        if row["published_remark"]:
            say(f"  {row['model']}: {row['published_remark']}")


def bench(
    name: Model,
    settings: Settings = None,
    data: Data = "moving_mnist",
    chosen: Preset = "tiny",
    more: Set = None,
    device: Device = "auto",
    repeat: Annotated[int, typer.Option(min=1, help="Batches to time.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Time and memory of training and prediction, on random pictures of the dataset's size."""
    from astm.cli.experiment import experiment_of
    from astm.cli.measuring import measure
    from astm.training.team import prepared

    experiment = experiment_of(name, data, chosen, [*(settings or []), *(more or [])])
    row = measure(experiment, prepared(device), repeat)
    if as_json:
        sys.stdout.write(json.dumps(row) + "\n")
        return
    table = Table("quantity", "value")
    for key, value in row.items():
        table.add_row(key, f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if key != "device" else value)
    Console().print(table)
