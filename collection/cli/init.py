"""`mlst init`: files to start a dataset from."""

from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import check_folder


def init(
    name: Annotated[
        Path,
        typer.Argument(
            metavar="NAME",
            help="Folder of the new recipe, made if need be; this one by default.",
            callback=check_folder,
        ),
    ] = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Write a recipe with comments and a manifest with an example row; asks nothing, overwrites nothing."""
    import json

    from collection.cli.console import results, safe
    from collection.starting.template import start

    made = start(name)
    if as_json:
        print(json.dumps({"recipe": str(made.recipe), "manifest": str(made.sources), "kept": made.kept}))
        return
    what = "was there, and stays" if made.kept else "replace its example row by yours"
    results.print(safe(f"Recipe: {made.recipe}: edit it\nManifest: {made.sources}: {what}"))
    results.print(safe(f"Next: mlst plan {made.recipe}"))


COMMANDS = (init,)
