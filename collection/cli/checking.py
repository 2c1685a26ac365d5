"""`mlst verify`, `inspect`, `report`, `view` and `diff`: what is in a dataset, and whether it is right."""

from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import Exit, check_file


def verify(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or URL of a built dataset.")],
    workers: options.Workers = options.WORKERS,
    hub: Annotated[bool, typer.Option("--hub", help="Also check what the Hugging Face Hub requires.")] = False,
    readers: Annotated[
        bool, typer.Option("--readers", help="Also read it with datasets and webdataset, and compare every clip.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="First mend what is damaged, from the workspace that built it.")
    ] = False,
    work: Annotated[str, typer.Option(help="Folder or URL of that workspace; DATASET-work by default.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """Check a dataset: hashes, keys, schemas, cuts, splits and levels.

    Decodes every clip.
    """
    from dataclasses import replace

    from collection.cli import reading, shown
    from mlst.checking.lint import advice, lint
    from mlst.checking.readers import compare_readers
    from mlst.dataset.description import DATASET, read_json
    from mlst.dataset.remote import is_url

    for wanted, name in ((hub, "--hub"), (readers, "--readers"), (repair, "--repair")):
        if wanted and is_url(dataset):
            raise typer.BadParameter("works on a folder; download the dataset first", param_hint=name)
    if not is_url(dataset) and not Path(dataset).is_dir():
        raise typer.BadParameter(
            f"{dataset!r} is not a folder; give the folder of a built dataset", param_hint="DATASET"
        )
    if repair:
        reading.repair(Path(dataset), work)
    read = compare_readers(Path(dataset)) if readers else ()
    seen = reading.verified(dataset, workers)
    more = {*read, *(lint(Path(dataset)) if hub else ())}
    seen = replace(seen, findings=tuple(sorted({*seen.findings, *more})))
    shown.print_verified(seen, as_json)
    if hub and seen.ok:
        shown.advise(advice(read_json(Path(dataset) / DATASET)))
    raise typer.Exit(Exit.DONE if seen.ok else Exit.WRONG)


def inspect(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Key of a clip.")],
    dataset: Annotated[Path, typer.Option(help="Folder of a built dataset.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "--sheet", help="PNG file for the contact sheet; CLIP.png in this folder by default."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print a clip's record and write a contact sheet of its frames."""
    from collection.cli import shown
    from collection.report import inspection

    sheet = check_file((out or Path(f"{clip}.png")).resolve())
    row = inspection.inspect(dataset, clip, sheet)
    shown.print_record(f"{clip}, contact sheet in {sheet}", row, as_json)


def report(
    dataset: options.Folder,
    out: Annotated[Path, typer.Option(help="File for the page.", callback=check_file)] = Path("report.html"),
    previews: Annotated[int, typer.Option(min=0, help="Clips of each level with a moving preview.")] = 4,
    scores: Annotated[
        list[Path] | None,
        typer.Option("--scores", help="Results of `astm evaluate` on DIR to show by level; repeatable."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Workspace that built DIR and tells what became of every item; DIR-work by default."),
    ] = None,
) -> None:
    """Write a page about a dataset: levels, clips, shots, statistics, splits, sources, and baselines if given.

    One HTML file that plays and filters in a browser and makes no network requests.
    """
    from collection.cli.console import console, results, safe
    from collection.report import html
    from collection.report.story import lacking
    from mlst.dataset.description import read_dataset

    place = work or dataset.resolve().with_name(f"{dataset.resolve().name}-work")
    html.report_on(dataset, out, previews, place, scores or ())
    if why := lacking(place, read_dataset(dataset).fingerprint):
        without = "so the page does not tell what became of every item; give the workspace of the build with --work"
        console.print(safe(f"{why}, {without}"))
    results.print(f"Report: {safe(str(out))}")


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="Folder or URL of a dataset.")],
    two: Annotated[str, typer.Argument(metavar="B", help="Folder or URL of another, or of its next version.")],
    as_json: options.AsJson = False,
) -> None:
    """Show how the clips, sources and settings of two datasets differ.

    Exit code 0 if they are equal, else 1.
    """
    from collection.cli import shown
    from collection.cli.reading import described
    from mlst.dataset import diff as differences

    with described(one) as before, described(two) as after:
        found = differences.diff(before, after)
    shown.print_diff(found, as_json)
    raise typer.Exit(Exit.DONE if found.equal else Exit.WRONG)


def view(
    dataset: options.Folder,
    review: Annotated[
        Path | None, typer.Option(help="CSV file for marks of clips; DIR-review.csv by default. A recipe can name it.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Play and mark the clips of a dataset in a browser on this machine, until Ctrl-C.

    Serves DIR to 127.0.0.1 alone, read only. Marks go into the review, which `select.review` of a recipe takes.
    """
    import time
    import webbrowser

    from collection.cli.console import results, safe
    from collection.viewing.server import serving, shelf
    from mlst.exits import Stopped

    folder = dataset.resolve()
    file = review or folder.with_name(f"{folder.name}-review.csv")
    with serving(shelf(dataset, file), port) as address:
        results.print(f"{safe(address)}\nMarks are kept in {safe(str(file))}. Press Ctrl-C to stop.")
        if browser:
            webbrowser.open(address)
        try:
            while True:
                time.sleep(3600)
        except (KeyboardInterrupt, Stopped):
            results.print("Stopped.")


COMMANDS = (verify, inspect, report, view, diff)
