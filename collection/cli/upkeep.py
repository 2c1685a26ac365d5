"""`mlst rebuild`, `drift` and `takedown`: what a published dataset needs later on."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import Exit


def rebuild(
    dataset: options.Place,
    out: options.Out,
    working: options.Working,
    fetching: options.Fetching,
    exact: Annotated[bool, typer.Option("--locked", help="Refuse footage that is not what the lock says.")] = False,
    files: options.Sources = None,
    work: options.WorkBesideOut = "",
    retry: options.Retry = False,
    wave: options.Wave = options.WAVE,
    verify: options.Verify = True,
    as_json: options.AsJson = False,
) -> None:
    """Build a dataset again from its own recipe, thresholds, lock and exclusions; show what changed.

    Keeps its clips wherever their sources are available, and fills gaps from the reserves. Exit codes: 0 done;
    1 the result is wrong, or --locked was given and it differs; 3 some items failed and can be tried again.
    """
    from collection import building, pipeline
    from collection import order as orders
    from collection.cli import outcomes, reading, running
    from collection.cli.console import refuse
    from collection.engine.run import Driver, Together
    from collection.pack.standing import check_own
    from collection.report.spent import measured
    from collection.report.status import remember
    from collection.upkeep import rebuild as again
    from collection.workspace.folder import workspace_of
    from collection.workspace.store import opened, written
    from mlst.dataset.description import DATASET, read_json
    from mlst.dataset.diff import diff

    work = workspace_of(out, work)
    access = running.access(fetching)
    crew = running.crew(working)
    with reading.described(dataset) as old:
        order = running.reordered(old, files, access)
        order = again.held_to_lock(order, old) if exact else order
        with opened(work) as here, written(out, work) as target, measured(here) as meter:
            check_own(target, here)
            orders.keep_exclusions(target, order.exclusions_txt)
            remember(here, order.recipe.name, order.recipe.version, pipeline.stages(order))
            with running.watcher(as_json, here.root) as watcher:
                do = Driver(here, crew, Together((meter, watcher)), retry, wave, False)
                try:
                    built = again.rebuild(order, old, target, do) if exact else pipeline.build(order, target, do)
                except again.DriftError as why:
                    raise typer.Exit(outcomes.refuse_drift(why)) from None
            building.write_page(built, order, target, here)
        with reading.described(out) as new:
            found = diff(old, new)
        same = read_json(old / DATASET).fingerprint == built.dataset.fingerprint
    findings = reading.verified(out, working.workers).findings if verify else ()
    failed = building.failures(built)
    outcomes.print_rebuilt(found, built, out, failed, findings, same, as_json)
    if exact and not same:
        refuse("all footage is what the lock says, but the dataset differs; compare the settings")
    raise typer.Exit(Exit.WRONG if findings or (exact and not same) else Exit.PARTLY if failed else Exit.DONE)


def drift(
    dataset: options.Place,
    working: options.Working,
    fetching: options.Fetching,
    deep: Annotated[
        bool, typer.Option("--deep", help="Fetch everything again; compare packets, then pictures.")
    ] = False,
    files: options.Sources = None,
    work: Annotated[
        str, typer.Option(help="Folder or URL of the workspace; DIR-work by default.", callback=options.writable)
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard the answers of an unfinished check.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Check whether a dataset's sources are still available and unchanged.

    Sources without an answer are `unknown`; the same command asks about them again. Once all have answered, the next
    check starts over. Exit codes: 0 nothing changed; 1 something changed; 3 something is unknown.
    """
    from collection.cli import outcomes, reading, running
    from collection.engine.run import Driver
    from collection.upkeep import drift as drifts
    from collection.workspace.folder import workspace_of
    from collection.workspace.store import opened

    access = running.access(fetching)
    crew = running.crew(working)
    with reading.described(dataset) as described:
        stage = drifts.DriftStage(running.reordered(described, files, access).fetch, deep)
        with opened(workspace_of(dataset, work)) as here, running.watcher(as_json, here.root) as watcher:
            if fresh:
                running.forget(here, stage)
            do = Driver(here, crew, watcher, True, 1, False)
            found = drifts.report(described, map(drifts.answered, do(stage, drifts.Asked(described, deep)).outcomes))
            states = Counter(drift.state for drift in found.sources)
            if not states[drifts.UNKNOWN]:
                running.forget(here, stage)
    outcomes.print_drift(found, states, as_json)
    changed = any(states[state] for state in drifts.STATES if state not in (*outcomes.SOUND, drifts.UNKNOWN))
    raise typer.Exit(Exit.WRONG if changed else Exit.PARTLY if states[drifts.UNKNOWN] else Exit.DONE)


def takedown(
    dataset: options.Folder,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="Source ids, addresses or YouTube ids; put -- before an id that starts with -.",
        ),
    ],
    work: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of a workspace to clear of them too.")
    ] = None,
    workers: options.Workers = options.WORKERS,
    verify: options.Verify = True,
    as_json: options.AsJson = False,
) -> None:
    """Remove sources from a dataset; later builds refuse them.

    Rewrites only the shards that held them. If interrupted, run the same command again.
    """
    from collection.cli import outcomes, reading
    from collection.order import read_exclusions
    from collection.upkeep import takedown as removal
    from collection.workspace.store import opened, written
    from mlst.dataset.description import EXCLUSIONS

    with written(str(dataset), ""):
        done = removal.takedown(dataset, ids)
    purged: tuple[str, ...] = ()
    if work:
        with opened(str(work)):
            purged = removal.purge(work, read_exclusions(dataset / EXCLUSIONS))
    findings = reading.verified(str(dataset), workers).findings if verify else ()
    outcomes.print_takedown(done, dataset, work, purged, findings, as_json)
    raise typer.Exit(Exit.WRONG if findings else Exit.DONE)


COMMANDS = (rebuild, drift, takedown)
