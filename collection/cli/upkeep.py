"""`mlst rebuild`, `mlst drift`, `mlst takedown` and `mlst diff`: what a published dataset needs later on."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from collection.addresses import is_web
from collection.cli.console import Bars, JsonLines, console, counted, safe
from collection.engine.run import Driver, Executor, folder
from collection.engine.stage import FAILED, Stage
from collection.executors import executor
from collection.executors.ray import Ray
from collection.fetch.ytdlp import Access
from collection.order import Order, keep_exclusions, read_exclusions, reorder
from collection.pipeline import Built, build, stages
from collection.politeness.budget import Budget
from collection.report.html import write_report
from collection.report.status import remember
from collection.upkeep.drift import (
    BYTES,
    PACKETS,
    PRESENT,
    STATES,
    UNKNOWN,
    Asked,
    DriftReport,
    DriftStage,
    answered,
    report,
)
from collection.upkeep.rebuild import DriftError, locked, rebuild
from collection.upkeep.takedown import Takedown, purge, takedown
from collection.workspace.folder import Workspace, workspace_of
from collection.workspace.store import looked_at, opened
from mlst.checking.verify import Finding, verify
from mlst.dataset.description import DATASET, EXCLUSIONS, read_json
from mlst.dataset.diff import Difference, diff
from mlst.dataset.remote import is_url, mirrored
from mlst.records import canonical_json, encode

OK, WRONG, PARTLY = 0, 1, 3
SOUND = (BYTES, PACKETS, PRESENT)
REPORT = "report.html"
SHOWN = 50
"""Lines of a table at most; --json has all."""

results = Console(highlight=False, soft_wrap=True)
"""Standard output: what a command was asked for."""

Place = Annotated[str, typer.Argument(metavar="DIR", help="A dataset: its folder, or its place in a store.")]
Files = Annotated[
    Path | None,
    typer.Option(
        "--sources", exists=True, file_okay=False, help="Folder that sources that are files are relative to."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Items worked on at a time.")]
Kind = Annotated[str, typer.Option("--executor", help=f"Where items are worked on: {', '.join(executor)}.")]
Address = Annotated[
    str, typer.Option(help='Ray cluster to join, e.g. "auto" or HOST:PORT; without one Ray runs on this machine.')
]
Cookies = Annotated[str, typer.Option(help="Netscape cookie file that only you can read.")]
Proxy = Annotated[str, typer.Option(help="URL of a proxy for fetching.")]
Rate = Annotated[float, typer.Option("--requests-per-minute", min=0.01, help="Budget shared by all workers.")]
Check = Annotated[bool, typer.Option("--verify/--no-verify", help="Check the result, every clip decoded.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]


def diff_command(
    one: Annotated[str, typer.Argument(metavar="A", help="A dataset: its folder, or its place in a store.")],
    two: Annotated[str, typer.Argument(metavar="B", help="Another, or its next version.")],
    as_json: AsJson = False,
) -> None:
    """Say how clips, sources and settings of two datasets differ.

    Exit status 0 where none do, else 1.
    """
    with _described(one) as before, _described(two) as after:
        found = diff(before, after)
    if as_json:
        print(canonical_json(found))
    else:
        _print_diff(found)
    raise typer.Exit(OK if found.equal else WRONG)


def takedown_command(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a built dataset.")],
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...", help="Ids or addresses of sources, or YouTube ids; write -- before an id -..."
        ),
    ],
    work: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of a workspace to clear of them too.")
    ] = None,
    workers: Workers = 2,
    check: Check = True,
    as_json: AsJson = False,
) -> None:
    """Remove sources from a dataset; later builds refuse them.

    Only shards that held them are written again. Whatever stops it, the same command ends it.
    """
    done = takedown(dataset, ids)
    purged: tuple[str, ...] = ()
    if work:
        with opened(str(work)):
            purged = purge(work, read_exclusions(dataset / EXCLUSIONS))
    findings = _checked(str(dataset), workers) if check else ()
    if as_json:
        print(canonical_json({**encode(done), "findings": encode(findings), "purged": purged}))
    else:
        _print_takedown(done, dataset)
        if work:
            results.print(f"{safe(str(work))} held something of {len(purged)} excluded sources, which was removed.")
        else:
            results.print("Workspaces still hold what was fetched: give --work, or delete them.")
        results.print("Publish the new version.")
    raise typer.Exit(WRONG if findings else OK)


def drift_command(
    dataset: Place,
    deep: Annotated[bool, typer.Option("--deep", help="Fetch all again; compare packets, then pictures.")] = False,
    files: Files = None,
    work: Annotated[str, typer.Option(help="Workspace; DIR-work by default.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the answers of an unfinished check.")] = False,
    workers: Workers = 2,
    kind: Kind = "local",
    address: Address = "",
    cookies: Cookies = "",
    proxy: Proxy = "",
    rate: Rate = 40.0,
    as_json: AsJson = False,
) -> None:
    """Ask whether a dataset's sources are still what they were.

    Sources that could not be asked are `unknown`: the same command asks those again. Once all have answered, the next
    check begins anew. Exit status: 0 nothing has changed, 1 something has, 3 something is unknown.
    """
    access = Access(cookies=cookies, proxy=proxy, budget=Budget(requests_per_minute=rate))
    with _described(dataset) as described:
        stage = DriftStage(_ordered(described, files, access).fetch, deep)
        with opened(workspace_of(dataset, work)) as here, _watcher(as_json) as watcher:
            if fresh:
                _forget(here, stage)
            do = Driver(here, _executor(kind, workers, address), watcher, True, 1, False)
            found = report(described, map(answered, do(stage, Asked(described, deep)).outcomes))
            states = Counter(drift.state for drift in found.sources)
            if not states[UNKNOWN]:
                _forget(here, stage)
    if as_json:
        print(canonical_json({**encode(found), "states": {state: states[state] for state in STATES}}))
    else:
        _print_drift(found, states)
    changed = any(states[state] for state in STATES if state not in (*SOUND, UNKNOWN))
    raise typer.Exit(WRONG if changed else PARTLY if states[UNKNOWN] else OK)


def rebuild_command(
    dataset: Place,
    out: Annotated[str, typer.Option(help="Folder of the new dataset, or its place in a store.")],
    exact: Annotated[bool, typer.Option("--locked", help="The same dataset or none: refuse other footage.")] = False,
    files: Files = None,
    work: Annotated[str, typer.Option(help="Workspace; OUT-work by default.")] = "",
    workers: Workers = 2,
    kind: Kind = "local",
    address: Address = "",
    cookies: Cookies = "",
    proxy: Proxy = "",
    rate: Rate = 40.0,
    retry: Annotated[bool, typer.Option("--retry", help="Try quarantined items again.")] = False,
    wave: Annotated[int, typer.Option(min=1, help="Sources whose videos are on the disk at a time.")] = 256,
    check: Check = True,
    as_json: AsJson = False,
) -> None:
    """Build a dataset again from its own files; say what changed.

    Those are its recipe, thresholds, lock and exclusions. Its clips are kept wherever their sources are; what is lost
    is filled from the reserves. Exit status: 0 done, 1 --locked was asked for and it is not the same, or
    it is wrong, 3 some items failed and can be tried again.
    """
    work = workspace_of(out, work)
    access = Access(cookies=cookies, proxy=proxy, budget=Budget(requests_per_minute=rate))
    with _described(dataset) as old:
        order = _ordered(old, files, access)
        order = locked(order, old) if exact else order
        with opened(work) as here, looked_at(out) as target:
            keep_exclusions(target, order)
            remember(here, order.recipe.name, order.recipe.version, stages(order))
            with _watcher(as_json) as watcher:
                do = Driver(here, _executor(kind, workers, address), watcher, retry, wave, False)
                try:
                    built = (rebuild if exact else build)(order, target, do)
                except DriftError as why:
                    raise _refused(why) from None
            _report(built, order, target, here)
        with _described(out) as new:
            found = diff(old, new)
        same = read_json(old / DATASET).fingerprint == built.dataset.fingerprint
    findings = _checked(out, workers) if check else ()
    failed = sum(
        count for result in built.results for (end, _), count in result.outcomes.counts.items() if end == FAILED
    )
    if as_json:
        print(canonical_json({**encode(found), "failed": failed, "findings": encode(findings), "same": same}))
    else:
        _print_diff(found)
        results.print(f"{built.dataset.clips} clips of {built.dataset.sources} sources in {safe(out)}")
    if exact and not same:
        console.print("[red]error:[/] all footage is what the lock says, but the dataset is another; see the settings")
    raise typer.Exit(WRONG if findings or (exact and not same) else PARTLY if failed else OK)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("rebuild")(rebuild_command)
    app.command("drift")(drift_command)
    app.command("takedown")(takedown_command)
    app.command("diff")(diff_command)


def _ordered(dataset: Path, files: Path | None, access: Access) -> Order:
    """What builds a dataset again. Without `--sources`, files would all be found missing, which says nothing."""
    order = reorder(dataset, files or dataset, access)
    local = [source.url for source in order.sources if not is_web(source.url)]
    if local and not files:
        what = f"{len(local)} sources are files, such as {local[0]!r}"
        raise typer.BadParameter(f"{what}; give the folder that they are relative to", param_hint="--sources")
    return order


@contextlib.contextmanager
def _described(place: str) -> Iterator[Path]:
    """A folder with all of a dataset but perhaps its shards."""
    if not is_url(place):
        yield Path(place)
        return
    with mirrored(place) as here:
        yield here


def _executor(kind: str, workers: int, address: str) -> Executor:
    if kind not in executor:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(executor)}", param_hint="--executor")
    if address and kind != "ray":
        raise typer.BadParameter("only --executor ray joins a cluster", param_hint="--address")
    made: Executor = Ray(workers, address) if address else executor[kind](workers)
    return made


def _watcher(as_json: bool) -> Bars | JsonLines:
    return JsonLines() if as_json else Bars()


def _forget(work: Workspace, stage: Stage) -> None:
    """Remove the answers of a check, and videos that killed workers left."""
    for kind in ("ledger", "media"):
        for name in work.names(f"{folder(stage)}/{kind}"):
            work.remove(name)


def _report(built: Built, order: Order, dataset: Workspace, work: Workspace) -> None:
    title, dropped = order.recipe.title or order.recipe.name, Counter(built.selection.reasons())
    write_report(work.root / REPORT, dataset, title, order.levels, built.results, dropped)
    work.sync(REPORT)


def _checked(place: str, workers: int) -> tuple[Finding, ...]:
    with counted("verify", "shards") as watch:
        findings = verify(place, workers, watch).findings
    for finding in findings[:SHOWN]:
        console.print(safe(f"{finding.rule}: {finding.path} {finding.key} {finding.detail}"))
    return findings


def _refused(why: DriftError) -> typer.Exit:
    """Name every source that is not what the lock says; 3 where it may be so at another time."""
    for outcome in why.refused:
        console.print(safe(f"{outcome.key.partition('@')[0]}: {outcome.kind}: {outcome.detail.splitlines()[-1:]}"))
    console.print(f"[red]error:[/] {safe(str(why))}; without --locked, reserves take the place of what is lost")
    return typer.Exit(PARTLY if all(outcome.status == FAILED for outcome in why.refused) else WRONG)


def _print_diff(found: Difference) -> None:
    if found.equal:
        results.print("The datasets are equal" + ("." if found.same_bytes else ", but not described byte for byte."))
        return
    table = _table("Clips", ("level", "split", "A", "B", "added", "removed", "changed", "moved in", "moved out"))
    for cell in found.cells:
        counts = (cell.before, cell.after, cell.added, cell.removed, cell.changed, cell.arrived, cell.left)
        table.add_row(cell.level, cell.split, *map(str, counts))
    results.print(table)
    lists = [("source added", found.sources_added), ("source removed", found.sources_removed)]
    lists.append(("source with other footage", found.sources_changed))
    lines = [f"{what}: {name}" for what, names in lists for name in names]
    lines += [f"{one.name}: {one.before or 'none'} -> {one.after or 'none'}" for one in found.settings]
    lines += [f"moved: {clip.key} {clip.before} -> {clip.after}" for clip in found.moved]
    lines += [f"{one.column}: differs for {one.clips} clips of the same bytes" for one in found.described]
    _print_lines(lines)


def _print_drift(found: DriftReport, states: Counter[str]) -> None:
    odd = [drift for drift in found.sources if drift.state not in SOUND or drift.detail]
    table = _table("Sources", ("source", "state", "reason", "detail"))
    for drift in odd[:SHOWN]:
        table.add_row(*map(safe, (drift.source, drift.state, drift.reason, (drift.detail.splitlines() or [""])[-1])))
    if odd:
        results.print(table)
    if len(odd) > SHOWN:
        results.print(f"... and {len(odd) - SHOWN} more; --json has all")
    seen = [state for state in STATES if states[state]]
    table = _table("Clips by what became of their sources", ("level", "split", "clips", *seen))
    for cell in found.cells:
        counts = dict(zip(STATES, cell.states, strict=True))
        table.add_row(cell.level, cell.split, str(cell.clips), *(str(counts[state]) for state in seen))
    results.print(table)
    table = _table("Balance of the levels", ("level", "clips", "left", "share", "share of what is left"))
    for one in found.balance:
        table.add_row(one.level, str(one.clips), str(one.left), f"{one.share:.1%}", f"{one.share_left:.1%}")
    results.print(table)
    results.print("Sources: " + ", ".join(f"{states[state]} {state} ({STATES[state]})" for state in seen))


def _print_takedown(done: Takedown, dataset: Path) -> None:
    if not done.sources:
        results.print(f"Nothing to do: they are not in {safe(str(dataset))}, and excluded.")
    else:
        results.print(
            f"Removed {len(done.sources)} sources with {done.clips} clips: {safe(', '.join(done.sources))}. "
            f"{len(done.rewritten)} shards were written again or removed, {len(done.renamed)} have another number. "
            f"{safe(str(dataset))} is now version {done.version}."
        )
    results.print(
        f"Copy {EXCLUSIONS} beside your recipe and set exclusions = {EXCLUSIONS!r}, so that builds refuse them."
    )


def _print_lines(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        results.print(safe(line))
    if len(lines) > SHOWN:
        results.print(f"... and {len(lines) - SHOWN} more; --json has all")


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
