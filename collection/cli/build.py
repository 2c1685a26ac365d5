"""`mlst build`, `plan`, `status` and `calibrate`: from a recipe to a dataset, and what became of every item."""

import time
from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import Exit


def build(
    recipe: options.Buildable,
    out: options.Out,
    work: options.WorkBesideOut = "",
    workers: options.Workers = options.WORKERS,
    executor: options.Executor = "local",
    address: options.Address = "",
    require_sandbox: options.RequireSandbox = False,
    cookies: options.Cookies = "",
    proxy: options.Proxy = "",
    extractor_args: options.ExtractorArgs = [],  # noqa: B006
    extractor_args_file: options.ExtractorArgsFile = "",
    plugins: options.Plugins = [],  # noqa: B006
    rate: options.Rate = options.RATE,
    retry: options.Retry = False,
    wave: options.Wave = options.WAVE,
    keep_videos: options.KeepVideos = False,
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
    from collection import building, fitting, pipeline
    from collection import order as orders
    from collection.cli import outcomes, reading, running
    from collection.engine.run import Driver
    from collection.report.spent import REST, measured
    from collection.report.status import remember, status
    from collection.upkeep import check as checks
    from collection.workspace.folder import workspace_of
    from collection.workspace.store import opened, written
    from mlst.levels.levels import DEFAULT, write_levels

    began = time.monotonic()
    access = running.access(cookies, proxy, rate, extractor_args, extractor_args_file, plugins)
    recipe = running.recipe_of(recipe, out, work, as_json)
    unfitted = calibrate_first and not fitting.awaited(recipe).exists()
    order = orders.read_order(recipe, access, DEFAULT if unfitted else "")
    work = running.lasting(workspace_of(running.lasting(out), work))
    watcher = running.watcher(as_json)
    with opened(work) as here, written(out, work) as dataset, measured(here, watcher) as meter:
        orders.keep_exclusions(dataset, order)
        before = building.description(dataset)
        remember(here, order.recipe.name, order.recipe.version, pipeline.stages(order))
        crew = running.crew(executor, workers, address, require_sandbox)
        if check:
            outcomes.print_damaged(checks.check(here, pipeline.stages(order), dataset))
        with watcher:
            do = Driver(here, crew, meter, retry, wave, keep_videos)
            if unfitted:
                write_levels(fitting.fit(order, do, order.recipe.name), fitting.awaited(recipe))
                order = orders.read_order(recipe, access)
            try:
                built = pipeline.build(order, dataset, do)
            except (pipeline.NothingChosenError, pipeline.NotPackedError):
                outcomes.print_status(status(here), as_json)
                raise
        changed = building.description(dataset) != before
        meter.charge(REST)
        seen = building.after(built, order, dataset, here, lambda: reading.verified(out, workers) if verify else None)
        meter.charge("report, verify")
        outcomes.print_built(
            built, out, f"{work.rstrip('/')}/{building.PAGE}", changed, seen, time.monotonic() - began, as_json
        )
    raise typer.Exit(Exit.WRONG if seen and not seen.ok else Exit.PARTLY if building.failures(built) else Exit.DONE)


def plan(
    recipe: options.Recipe,
    cookies: options.Cookies = "",
    rate: options.Rate = options.RATE,
    wave: options.Wave = options.WAVE,
    keep_videos: options.KeepVideos = False,
    licences: Annotated[bool, typer.Option("--licences", help="Count sources by licence instead.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Estimate the requests, downloads, disk space and time of a build.

    Makes no network requests.
    """
    from collection.cli import outcomes, running, shown
    from collection.manifest.summary import by_licence
    from collection.order import read_order
    from collection.report.estimate import estimate

    order = read_order(recipe, running.access(cookies, "", rate))
    if licences:
        outcomes.print_licences(by_licence(order.sources, order.recipe.fetch, order.recipe.licence), as_json)
        return
    at_once = len(order.sources) if keep_videos else wave
    shown.print_record("Plan", estimate(order.sources, order.recipe, order.fetch, at_once), as_json)


def status(
    work: Annotated[str, typer.Argument(metavar="WORK", help="Folder or URL of a workspace.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Print a line at every change until the build ends; then the table.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Count the outcomes of a build by reason, also while it runs."""
    from collection.cli import outcomes, running
    from collection.report import status as reports
    from collection.workspace.store import looked_at

    running.tell_sandbox()
    if watch:
        for lines in reports.watched(lambda: looked_at(work), lambda: time.sleep(options.LOOK)):
            outcomes.print_standing(lines, as_json)
    with looked_at(work) as here:
        outcomes.print_status(reports.status(here), as_json)


def calibrate(
    recipe: options.Recipe,
    out: Annotated[Path, typer.Option(help="Thresholds file to write.")],
    work: Annotated[str, typer.Option(help="Folder or URL of the workspace.")],
    name: Annotated[str, typer.Option("--id", help="Name of the thresholds; the recipe's name by default.")] = "",
    quantiles: Annotated[tuple[float, float], typer.Option(help="Shares of clips below the two cuts of an axis.")] = (
        1 / 3,
        2 / 3,
    ),
    workers: options.Workers = options.WORKERS,
    executor: options.Executor = "local",
    address: options.Address = "",
    require_sandbox: options.RequireSandbox = False,
    cookies: options.Cookies = "",
    proxy: options.Proxy = "",
    extractor_args: options.ExtractorArgs = [],  # noqa: B006
    extractor_args_file: options.ExtractorArgsFile = "",
    plugins: options.Plugins = [],  # noqa: B006
    rate: options.Rate = options.RATE,
    retry: options.Retry = False,
    wave: options.Wave = options.WAVE,
    keep_videos: options.KeepVideos = False,
    as_json: options.AsJson = False,
) -> None:
    """Fit the 3 x 3 level thresholds to the clips of RECIPE's sources: at least 300 shots.

    Fits the cuts of the definition that RECIPE names, or of the default where it names a file that is not there yet.
    Writes a thresholds file that recipes can name.
    """
    from collection import fitting
    from collection.cli import running, shown
    from collection.engine.run import Driver
    from collection.order import read_order
    from collection.workspace.store import opened
    from mlst.levels.levels import DEFAULT, write_levels

    access = running.access(cookies, proxy, rate, extractor_args, extractor_args_file, plugins)
    order = read_order(recipe, access, DEFAULT if fitting.lacks_thresholds(recipe) else "")
    crew = running.crew(executor, workers, address, require_sandbox)
    with opened(running.lasting(work)) as here, running.watcher(as_json) as watcher:
        do = Driver(here, crew, watcher, retry, wave, keep_videos)
        levels = fitting.fit(order, do, name or order.recipe.name, quantiles)
    write_levels(levels, out)
    shown.print_record(f"Thresholds in {out}", levels, as_json)


COMMANDS = (build, plan, status, calibrate)
