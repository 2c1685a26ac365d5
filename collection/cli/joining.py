"""`mlst join`: parts of a corpus, built on their own, become one dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collection.cli import options
from mlst.exits import Exit, check_folder
from mlst.text import number_of

if TYPE_CHECKING:
    from collection.join.whole import Joined
    from mlst.checking.verify import Finding


def join(
    parts: Annotated[list[Path], typer.Argument(metavar="PART...", help="Folders of built datasets.")],
    recipe: Annotated[
        Path,
        typer.Option(metavar="RECIPE", help="Recipe of the whole: name, quota, splits; its sources are not read."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the dataset to.", callback=check_folder)],
    work: Annotated[
        str, typer.Option(help="Folder of the workspace; OUT-work by default.", callback=options.writable)
    ] = "",
    workers: options.Workers = options.WORKERS,
    verify: options.Verify = True,
    as_json: options.AsJson = False,
) -> None:
    """Join datasets that were built in parts, and verify the result.

    The clips of all parts are chosen from as a single build does: near-duplicates, splits, quotas. Nothing is decoded.
    Parts of other settings, thresholds or versions, damaged ones, and one source with two contents are refused by
    name. Run the same command again after an interruption. Exit codes: 0 joined; 1 the result is wrong; 2 refused.
    """
    from collection.cli import reading, running
    from collection.engine.run import Driver
    from collection.executors import executor
    from collection.join.parts import JoinError, check_places, read_part
    from collection.join.terms import read_terms
    from collection.join.whole import join as joined
    from collection.order import keep_exclusions
    from collection.pack.standing import check_own
    from collection.workspace.folder import workspace_of
    from collection.workspace.store import opened, written
    from mlst.records import canonical_json, encode

    terms = read_terms(recipe)
    place = running.lasting(workspace_of(str(out), work))
    check_places(parts, out, Path(place))
    try:
        read = [read_part(part) for part in parts]
        with (
            opened(place) as here,
            written(str(out), place) as target,
            running.watcher(as_json, Path(place)) as watcher,
        ):
            check_own(target, here)
            keep_exclusions(target, terms.exclusions_txt)
            done = joined(read, terms, target, Driver(here, executor["local"](1), watcher, True, options.WAVE, False))
    except JoinError as why:
        if as_json:
            print(canonical_json({"refused": [encode(one) for one in why.findings]}))
        raise
    findings = reading.verified(str(out), workers).findings if verify else ()
    _print(done, len(read), out, findings, as_json)
    raise typer.Exit(Exit.WRONG if findings else Exit.DONE)


def _print(done: "Joined", parts: int, out: Path, findings: Sequence["Finding"], as_json: bool) -> None:
    """What came of it."""
    from collection.cli.console import console, results, safe
    from collection.cli.shown import print_findings
    from mlst.records import canonical_json, encode

    print_findings(findings)
    dataset, reasons = done.dataset, done.selection.reasons()
    if as_json:
        counts = {"clips": dataset.clips, "sources": dataset.sources, "parts": parts, "dropped": reasons}
        more = {"fingerprint": dataset.fingerprint, "limited": done.limited, "findings": encode(findings)}
        print(canonical_json({**counts, **more}))
        return
    for part in done.limited:
        console.print(safe(f"{part}: its quota is smaller than that of the whole, so clips may be missing"))
    left = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
    results.print(
        f"{number_of(dataset.clips, 'clip')} of {number_of(dataset.sources, 'source')} from "
        f"{number_of(parts, 'part')} in {safe(str(out))}; left out: {left}"
    )


COMMANDS = (join,)
