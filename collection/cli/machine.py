"""`mlst doctor-env`: what is missing on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import Exit


def doctor_env(
    work: Annotated[
        Path, typer.Argument(metavar="WORK", help="Folder on the disk that builds will use; this one by default.")
    ] = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Tell what this machine has for building, and what is missing.

    Looks for extras, a JavaScript runtime, a sandbox, a GPU, room on the disk. Exit codes: 0 builds can run, perhaps
    not with everything; 1 something is missing that every build needs.
    """
    from collection.cli.console import results, safe
    from collection.cli.shown import table
    from collection.machine import checks
    from mlst.records import canonical_json

    found = checks(work)
    if as_json:
        print(canonical_json(found))
    else:
        rows = table("", ("what", "state", "found", "remedy"))
        for one in found:
            rows.add_row(*map(safe, (one.name, one.state, one.found, one.remedy)))
        results.print(rows)
    raise typer.Exit(Exit.WRONG if any(one.state == "needed" for one in found) else Exit.DONE)


COMMANDS = (doctor_env,)
