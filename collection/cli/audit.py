"""`mlst audit`: faults in the clips of any video dataset, estimated from a sample."""

from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import Exit, check_file


def shots(
    place: Annotated[
        Path, typer.Argument(metavar="PLACE", help="Built dataset, folder of videos, or WebDataset tars.")
    ],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips to look at, drawn at random.")] = 300,
    every: Annotated[bool, typer.Option("--all", help="Look at every clip.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed draws other clips.")] = 0,
    detector: Annotated[
        str, typer.Option(help="Shot detector; by default transnetv2, or mlst where that made the clips.")
    ] = "",
    max_share: Annotated[
        float | None, typer.Option("--max-share", min=0, max=1, help="Largest share of broken clips, 0 to 1.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File for the page.", callback=check_file)] = Path("audit.html"),
    workers: options.Workers = options.WORKERS,
    require_sandbox: options.RequireSandbox = False,
    as_json: options.AsJson = False,
) -> None:
    """Look for cuts, dissolves, fades and wipes inside clips, and estimate the share of broken clips.

    Shows the worst in one HTML page. Exit codes: 0 done, and the share is surely at most --max-share; 1 it is surely
    above; 3 this sample cannot tell: look at more clips. Needs mlst[transnet], unless --detector is another.
    """
    from collection.audit import shots as auditing
    from collection.audit.page import summary, write_page
    from collection.cli import outcomes, running
    from collection.executors.local import ready
    from collection.workspace.folder import Workspace
    from collection.workspace.store import scratch, user_folder

    wanted = auditing.Wanted(auditing.EVERY if every else clips, seed, auditing.second(place, detector))
    ready(auditing.heavy(wanted.detector))
    crew = running.crew(options.Working(workers, require_sandbox=require_sandbox))
    with scratch(user_folder() / "audits") as folder, running.watcher(as_json, folder) as watcher:
        found = auditing.audit(place, wanted, crew, watcher, Workspace(folder, "audit"))
    write_page(out, found)
    outcomes.print_audit(summary(found, max_share), str(out), as_json)
    if max_share is None:
        raise typer.Exit(Exit.DONE if found.judged else Exit.WRONG)
    above = found.exceeds(max_share)
    raise typer.Exit(Exit.PARTLY if above is None else Exit.WRONG if above else Exit.DONE)


COMMANDS = (shots,)
