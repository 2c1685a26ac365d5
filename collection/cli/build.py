"""`mlst build`, `plan`, `status` and `calibrate`: from a recipe to a dataset, and what became of every item."""

import time
from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import Exit, check_file


def build(
    recipe: options.Buildable,
    out: options.Out,
    working: options.Working,
    fetching: options.Fetching,
    going: options.Going,
    work: options.WorkBesideOut = "",
    check: options.Check = False,
    verify: options.Verify = True,
    calibrate_first: Annotated[
        bool,
        typer.Option(
            "--calibrate-first",
            help="Fit the thresholds file that RECIPE names to its sources, unless it is there; then build with it.",
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Build, verify and report on the dataset that RECIPE describes.

    A list (a manifest, ids or URLs, VGGSound ...) or a folder of videos serves as well: a recipe and a manifest are
    written for it, beside OUT where possible, and used by the next run of the same command.

    Resumes an interrupted build; does nothing if everything is up to date. What is lost or was changed is made again.
    """
    from collection import building, pipeline
    from collection.cli import outcomes, running
    from collection.workspace.folder import workspace_of

    began = time.monotonic()
    access = running.access(fetching)
    recipe = running.recipe_of(recipe, out, work, as_json)
    place = running.lasting(workspace_of(running.lasting(out), work))
    crew = running.crew(working)
    how = building.How(access, crew, going.retry, going.wave, going.keep_videos, check, calibrate_first)
    try:
        built = building.make(recipe, out, place, how, running.show(out, working.workers, verify, as_json))
    except (pipeline.NothingChosenError, pipeline.NotPackedError):
        outcomes.print_status_of(place, as_json)
        raise
    outcomes.print_built(built, time.monotonic() - began, as_json)
    wrong = built.report is not None and not built.report.ok
    raise typer.Exit(Exit.WRONG if wrong else Exit.PARTLY if built.failed else Exit.DONE)


def plan(
    recipe: options.Buildable,
    cookies: options.Cookies = "",
    rate: options.Rate = options.RATE,
    wave: options.Wave = options.WAVE,
    keep_videos: options.KeepVideos = False,
    licences: Annotated[bool, typer.Option("--licences", help="Count sources by licence instead.")] = False,
    pilot: Annotated[
        str, typer.Option("--from", metavar="WORK", help="Workspace of a pilot's build to learn from instead.")
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """Estimate the requests, downloads, disk space and time of a build.

    For a list or a folder, of one with the recipe that `mlst build` would write. Makes no network requests, writes
    nothing. With --from, what became of the rows that a pilot built (`mlst manifest sample`) tells what will become of
    all: losses by reason, hours, clips, disk, with 95 % intervals.
    """
    from collection.cli import outcomes, running
    from collection.forecast import forecast
    from collection.manifest.summary import by_licence
    from collection.report.estimate import estimate
    from collection.workspace.store import looked_at

    order = running.order_of(recipe, running.access(options.Fetching(cookies=cookies, rate=rate)))
    if licences:
        outcomes.print_licences(by_licence(order.sources, order.recipe.fetch, order.recipe.licence), as_json)
        return
    at_once = len(order.sources) if keep_videos else wave
    if pilot:
        with looked_at(pilot) as work:
            outcomes.print_forecast(forecast(work, order.sources, at_once), as_json)
        return
    outcomes.print_estimate(estimate(order.sources, order.recipe, order.fetch, at_once), as_json)


def status(
    work: Annotated[str, typer.Argument(metavar="WORK", help="Folder or URL of a workspace.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Show what the build is doing until it ends or is killed; then the table.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Count the outcomes of a build by reason, also while it runs.

    With --watch and --json, an object at every change. Exit code 3 where --watch sees that the build was killed.
    """
    from collection.cli import outcomes, running
    from collection.report.watch import ENDED, GONE

    running.tell_sandbox()
    state = outcomes.print_watched(work, as_json) if watch else ENDED
    if not (watch and as_json):
        outcomes.print_status_of(work, as_json)
    raise typer.Exit(Exit.PARTLY if state == GONE else Exit.DONE)


def calibrate(
    recipe: options.Buildable,
    out: Annotated[Path, typer.Option(help="Thresholds file to write.", callback=check_file)],
    work: Annotated[str, typer.Option(help="Folder or URL of the workspace.", callback=options.writable)],
    working: options.Working,
    fetching: options.Fetching,
    going: options.Going,
    name: Annotated[str, typer.Option("--id", help="Name of the thresholds; the recipe's name by default.")] = "",
    quantiles: Annotated[tuple[float, float], typer.Option(help="Shares of clips below the two cuts of an axis.")] = (
        1 / 3,
        2 / 3,
    ),
    as_json: options.AsJson = False,
) -> None:
    """Fit the 3 x 3 level thresholds to the clips of RECIPE's sources: at least 300 shots.

    Fits the cuts of the definition that RECIPE names, or of the default where it names a file that is not there yet.
    Writes a thresholds file that recipes can name. For a list or a folder, writes a recipe and a manifest beside OUT.
    """
    from collection import fitting
    from collection.cli import running, shown
    from collection.engine.run import Driver
    from collection.order import read_order
    from collection.workspace.store import opened
    from mlst.levels.levels import DEFAULT, write_levels

    recipe = running.recipe_of(recipe, str(out.with_suffix("")), running.lasting(work), as_json)
    order = read_order(recipe, running.access(fetching), DEFAULT if fitting.lacks_thresholds(recipe) else "")
    crew = running.crew(working)
    with opened(work) as here, running.watcher(as_json, here.root) as watcher:
        do = Driver(here, crew, watcher, going.retry, going.wave, going.keep_videos)
        levels = fitting.fit(order, do, name or order.recipe.name, quantiles)
    write_levels(levels, out)
    shown.print_record(f"Thresholds in {out}", levels, as_json)


COMMANDS = (build, plan, status, calibrate)
