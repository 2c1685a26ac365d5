"""`astm fvd`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from astm.cli.console import say
from astm.cli.options import AsJson, Device
from mlst.text import number_of


def fvd(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="The true films, as for `astm score`.")],
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="What a model made of their ends.")],
    network: Annotated[Path, typer.Option(metavar="FILE", help="I3D as TorchScript: i3d_torchscript.pt.")],
    run_it: Annotated[
        bool, typer.Option("--run-network", help="The file is a program; run it with the rights that you have.")
    ] = False,
    truth_layout: Annotated[str, typer.Option(help="Axes of the true films, e.g. TNHW for mnist_test_seq.npy.")] = "",
    layout: Annotated[str, typer.Option(help="Axes of the predictions, e.g. NTHWC.")] = "",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Fréchet video distance of predictions from the true films, by a network file that you have and trust."""
    from astm.data.films import open_films
    from astm.evaluation.fvd import distance, read_network
    from astm.training.settings import SettingsError
    from astm.training.team import prepared

    if not run_it:
        raise SettingsError(f"{network} is a program that would run with your rights; if you trust it, --run-network")
    true, predicted = open_films(truth, truth_layout), open_films(predictions, layout)
    tenth = max(1, len(true.keys) // 10)

    def progress(count: int) -> None:
        if count % tenth == 0:
            say(f"{count} of {len(true.keys)} films")

    found = distance(true, predicted, read_network(network, prepared(device)), progress)
    if as_json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        return
    say(
        f"fvd {found.fvd:.3f}: {number_of(found.films, 'film')} of {number_of(found.frames, 'predicted frame')}, "
        f"{number_of(found.features, 'feature')}"
    )
