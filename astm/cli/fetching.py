"""`astm data`: the public files of a dataset."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from astm.cli.console import say
from astm.cli.options import AsJson, completed
from mlst.exits import check_folder


def data(
    name: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="moving_mnist or kth.", autocompletion=completed("moving_mnist kth")),
    ],
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder; by default the dataset's data.root.")] = "",
    mirror: Annotated[str, typer.Option("--from", metavar="URL", help="Folder of the files on another server.")] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch the public files of a dataset; what is there is checked, and an interrupted download goes on.

    Content is compared with published hashes where there are any. Read the conditions of the datasets' authors first.
    """
    from astm.data import DataError, dataset
    from astm.data.public import FILES, fetch

    if name not in FILES:
        raise DataError(f"no public files are known of {name!r}; choices are {', '.join(FILES)}")
    folder = check_folder(Path(to or dataset[name].Settings().root))
    fetched = []
    for remote in FILES[name]:
        here = replace(remote, address=mirror.rstrip("/") + "/") if mirror else remote
        tenths = {0}

        def progress(done: int, total: int, label: str = remote.name, tenths: set[int] = tenths) -> None:
            tenth = 10 * done // total if total > 0 else 0
            if tenth not in tenths:
                tenths.add(tenth)
                say(f"{label}: {10 * tenth} % of {total / 2**20:.1f} MiB")

        one = fetch(here, folder, progress)
        fetched.append(one)
        say(f"{one.name}: {one.size:,} bytes, sha256 {one.sha256}; {one.checked}")
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in fetched], indent=1) + "\n")
    if name == "kth":
        say(f"unpack them where they are: for one in {folder}/*.zip; do unzip -n $one -d {folder}; done")
