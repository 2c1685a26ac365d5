"""`astm train`."""

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from astm.cli.console import console, say
from astm.cli.options import AsJson, Data, Device, Model, Preset, Set, Settings
from mlst.exits import check_folder


def train(
    name: Model,
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run in it is resumed.")] = Path(
        "runs/run"
    ),
    data: Data = "moving_mnist",
    chosen: Preset = "tiny",
    more: Set = None,
    start: Annotated[
        str,
        typer.Option("--from", metavar="SOURCE", help="Run, checkpoint, saved model or Hub id to take weights from."),
    ] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--override", metavar="train.NAME=VALUE", help="Continue the run with another value; may be repeated."
        ),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Continue the run from its best weights, not from its last.")
    ] = False,
    device: Device = "auto",
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all settings as TOML and exit.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files into the run's folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model. The same command continues an interrupted run; `torchrun -m astm train` uses several GPUs.

    Settings of a run stay as they are until `--override` changes them, in a finished run too.
    """
    from astm.cli.experiment import experiment_of
    from astm.cli.listeners import Bars, Boards, LogFile
    from astm.training import train as loop
    from astm.training.settings import overridden, to_toml

    given = [*(settings or []), *(more or []), *([f"train.start={json.dumps(start)}"] if start else [])]
    how = loop.Continuing(overridden(changes or []), rollback)
    experiment = experiment_of(name, data, chosen, [*given, *(changes or [])])
    if print_config:
        sys.stdout.write(to_toml(experiment.tree()))
        return
    check_folder(out)
    with Bars() as bars:
        listeners: list[loop.Listener] = [bars, LogFile(out / "log.jsonl"), *([Boards(out)] if tensorboard else [])]
        ended = loop.train(experiment, out, device, listeners, how)
    progress = ended.progress
    if as_json and not console.quiet:
        best = {"best": progress.best, "best_step": progress.best_step} if math.isfinite(progress.best) else {}
        result = {"finished": ended.finished, "step": progress.step, "seconds": round(ended.seconds, 1), **best}
        sys.stdout.write(json.dumps({**result, "out": str(out)}) + "\n")
    if not ended.finished:
        say(f"stopped after step {progress.step}, saved in {out}; the same command resumes from there")
        raise typer.Exit(128 + ended.signal)
    said = "all {} steps were done before" if math.isnan(ended.loss) else "finished {} steps in {:.0f} s"
    early = progress.step < experiment.train.steps
    said += f", none better than step {progress.best_step} for train.patience validations" if early else ""
    say(f"{said.format(progress.step, ended.seconds)}; best model in {out / loop.PRETRAINED}")
