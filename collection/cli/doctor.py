"""`mlst doctor`: what is wrong with any video dataset."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from collection.cli import options
from mlst.exits import Exit, check_file


def doctor(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="Built dataset, WebDataset tars, folder of videos, LeRobot 3 dataset, or a URL of one.",
        ),
    ],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips to decode, drawn at random.")] = 1000,
    every: Annotated[bool, typer.Option("--all", help="Decode every clip.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed draws other clips.")] = 0,
    fail_on: Annotated[
        Literal["error", "warning", "note", "never"], typer.Option(help="Lowest severity that gives exit code 1.")
    ] = "error",
    out: Annotated[Path, typer.Option(help="File for the page.", callback=check_file)] = Path("doctor.html"),
    workers: options.Workers = options.WORKERS,
    require_sandbox: options.RequireSandbox = False,
    as_json: options.AsJson = False,
) -> None:
    """Examine any video dataset: files, records, shards and clips.

    Reads all names, records and tables, decodes a sample of the clips in confined workers, and writes one HTML page.
    Changes nothing. Exit codes: 0 nothing of --fail-on or worse; 1 something.
    """
    import sys

    from collection.cli import outcomes, running
    from collection.doctor.examine import examine
    from collection.doctor.page import summary, write_page
    from collection.doctor.rules import SEVERITIES
    from collection.executors.local import ready
    from collection.workspace.folder import Workspace
    from collection.workspace.store import scratch, user_folder

    crew = running.crew(options.Working(workers, require_sandbox=require_sandbox))
    ready(("collection.doctor.watch",))
    with scratch(user_folder() / "audits") as folder, running.watcher(as_json, folder) as watcher:
        found = examine(place, sys.maxsize if every else clips, seed, crew, watcher, Workspace(folder, "doctor"))
    write_page(out, found)
    outcomes.print_diagnosis(found, summary(found), str(out), as_json)
    worst = found.worst()
    bad = worst and fail_on != "never" and SEVERITIES.index(worst) <= SEVERITIES.index(fail_on)
    raise typer.Exit(Exit.WRONG if bad else Exit.DONE)


COMMANDS = (doctor,)
