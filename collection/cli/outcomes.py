"""How builds, upkeep and releases say what came of them: tables on standard output, JSON for programs."""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from collection.building import Finished
from collection.cli.console import console, refuse, results, safe
from collection.cli.options import LOOK
from collection.cli.shown import SHOWN, print_diff, print_facts, print_findings, print_lines, print_report, table
from collection.doctor.rules import RULES
from collection.engine.stage import FAILED
from collection.fetch.reasons import advice
from collection.forecast import Forecast, Range
from collection.manifest.summary import LicenceRow
from collection.pipeline import Built
from collection.release.prepare import Prepared
from collection.release.publish import Plan, Published, Target
from collection.report.display import pause, rough, showing, span
from collection.report.estimate import UNKNOWN_LENGTH, Estimate
from collection.report.status import Line, Spent, status
from collection.report.watch import GONE, NOTHING, RUNNING, Seen, watched
from collection.upkeep.drift import BYTES, PACKETS, PRESENT, STATES, DriftReport
from collection.upkeep.rebuild import DriftError
from collection.upkeep.takedown import Takedown
from collection.workspace.store import looked_at
from mlst.checking.verify import Finding
from mlst.dataset.description import EXCLUSIONS, Dataset
from mlst.dataset.diff import Difference
from mlst.exits import Exit
from mlst.levels.levels import LEVELS
from mlst.records import SPLITS, canonical_json, encode
from mlst.text import number_of

if TYPE_CHECKING:
    from collection.doctor.examine import Diagnosis  # imports what a build does not need

WORST = 10
"""Broken clips that are named on the console; the page shows more."""
SOUND = (BYTES, PACKETS, PRESENT)
"""States of sources that are still what they were."""


def print_built(built: Finished, seconds: float, as_json: bool) -> None:
    """What a build made, by level and split, where its report is, and what failed."""
    dataset, seen = built.dataset, built.report
    if as_json:
        print(json.dumps(_summary(built, seconds), sort_keys=True))
        return
    if built.mended:
        lost = ", ".join([*built.mended[:3], *(["..."] if len(built.mended) > 3 else [])])
        results.print(
            f"{number_of(len(built.mended), 'file of the dataset was', 'files of the dataset were')} damaged or lost, "
            f"and made again: {safe(lost)}"
        )
    elif not built.changed:
        results.print(f"Nothing to do: {safe(built.out)} is up to date ({number_of(dataset.clips, 'clip')}).")
    if built.changed:
        _print_levels(dataset)
        results.print(
            f"{number_of(built.rows, 'source')} ({dataset.sources} used), {number_of(built.shots, 'shot')}, "
            f"{number_of(dataset.clips, 'clip')}, {number_of(len(dataset.shards), 'shard')} in {safe(built.out)}, "
            f"{span(seconds)}"
        )
        results.print(f"Wall clock and processor time: {', '.join(map(_cost, built.spent))}")
        left = ", ".join(f"{count} {reason}" for reason, count in built.dropped.items())
        if left:
            results.print(f"Candidates left out: {left}")
        results.print(f"Report: {safe(built.page)}")
    if seen:
        print_report(seen)
    if built.failed:
        console.print(
            f"[yellow]{number_of(built.failed, 'item')} failed; the same command tries again what failed "
            "(see `mlst status`)[/]"
        )


def _summary(built: Finished, seconds: float) -> dict[str, Any]:
    return {
        "dataset": built.out,
        "changed": built.changed,
        "sources": {"rows": built.rows, "used": built.dataset.sources},
        "shots": built.shots,
        "clips": built.dataset.clips,
        "shards": len(built.dataset.shards),
        "dropped": built.dropped,
        "failed": built.failed,
        "mended": list(built.mended),
        "findings": [encode(finding) for finding in built.report.findings] if built.report else [],
        "seconds": round(seconds, 1),
    }


def _cost(one: Spent) -> str:
    return f"{one.stage} {span(one.seconds)} ({span(one.cpu_seconds)})"


def print_damaged(names: Collection[str]) -> None:
    """What of a workspace was damaged and removed."""
    for name in sorted(names)[:SHOWN]:
        console.print(safe(f"{name}: damaged; it is made again"))
    if len(names) > SHOWN:
        console.print(f"... and {len(names) - SHOWN} more")


def print_status(lines: Iterable[Line], as_json: bool) -> None:
    """Items by stage, outcome and reason."""
    if as_json:
        print(canonical_json(list(lines)))
        return
    rows = table("", ("stage", "outcome", "reason", "items"), right=("items",))
    counted = list(lines)
    for line in counted:
        rows.add_row(line.stage, line.status, safe(line.kind), str(line.count))
    results.print(rows)
    for line in counted:
        if line.status == FAILED and (remedy := advice(line.kind)):
            results.print(f"{safe(line.kind)}: {safe(remedy)}")


def print_status_of(work: str, as_json: bool) -> None:
    """The same of a workspace in a folder or a store."""
    with looked_at(work) as here:
        print_status(status(here), as_json)


def print_watched(work: str, as_json: bool) -> str:
    """What a build is doing that runs elsewhere, until it is over: as it shows itself, or for programs an object at
    every change. Gives the state in which it was seen last."""
    seen = watched(lambda: looked_at(work), lambda: time.sleep(LOOK))
    last = Seen(RUNNING, NOTHING.now)
    with nullcontext() if as_json else showing(console, lambda: last.now, pause):
        for now in seen:
            if as_json and now != last:
                print(canonical_json(now), flush=True)
            last = now
    if last.state == GONE:
        refuse("the build has stopped without a word: it was killed; the same command goes on from there")
    return last.state


def print_rebuilt(
    found: Difference, built: Built, out: str, failed: int, findings: Sequence[Finding], same: bool, as_json: bool
) -> None:
    """How a dataset that was built again differs from the one before."""
    print_findings(findings)
    if as_json:
        print(canonical_json({**encode(found), "failed": failed, "findings": encode(findings), "same": same}))
        return
    print_diff(found, False)
    results.print(
        f"{number_of(built.dataset.clips, 'clip')} of {number_of(built.dataset.sources, 'source')} in {safe(out)}"
    )


def refuse_drift(why: DriftError) -> Exit:
    """Name every source that is not what the lock says; `PARTLY` where another time may show something else."""
    for outcome in why.refused:
        console.print(safe(f"{outcome.key.partition('@')[0]}: {outcome.kind}: {outcome.detail.splitlines()[-1:]}"))
    refuse(f"{why}; without --locked, reserves replace what is lost")
    return Exit.PARTLY if all(outcome.status == FAILED for outcome in why.refused) else Exit.WRONG


def print_drift(found: DriftReport, states: Counter[str], as_json: bool) -> None:
    """Sources by what became of them, and how that changes the balance of the levels."""
    if as_json:
        print(canonical_json({**encode(found), "states": {state: states[state] for state in STATES}}))
        return
    odd = [drift for drift in found.sources if drift.state not in SOUND or drift.detail]
    rows = table("Sources", ("source", "state", "reason", "detail"))
    for drift in odd[:SHOWN]:
        rows.add_row(*map(safe, (drift.source, drift.state, drift.reason, (drift.detail.splitlines() or [""])[-1])))
    if odd:
        results.print(rows)
    if len(odd) > SHOWN:
        results.print(f"... and {len(odd) - SHOWN} more; --json prints all")
    seen = [state for state in STATES if states[state]]
    rows = table("Clips by the state of their sources", ("level", "split", "clips", *seen))
    for cell in found.cells:
        counts = dict(zip(STATES, cell.states, strict=True))
        rows.add_row(cell.level, cell.split, str(cell.clips), *(str(counts[state]) for state in seen))
    results.print(rows)
    rows = table("Balance of the levels", ("level", "clips", "left", "share", "share of what is left"))
    for one in found.balance:
        rows.add_row(one.level, str(one.clips), str(one.left), f"{one.share:.1%}", f"{one.share_left:.1%}")
    results.print(rows)
    results.print("Sources: " + ", ".join(f"{states[state]} {state} ({STATES[state]})" for state in seen))


def print_takedown(
    done: Takedown,
    dataset: Path,
    work: Path | None,
    purged: Sequence[str],
    findings: Sequence[Finding],
    as_json: bool,
) -> None:
    """What was removed, and what is left to do."""
    print_findings(findings)
    if as_json:
        print(canonical_json({**encode(done), "findings": encode(findings), "purged": purged}))
        return
    if not done.sources:
        results.print(f"Nothing to do: {safe(str(dataset))} does not hold them, and they are excluded.")
    else:
        results.print(
            f"Removed {number_of(len(done.sources), 'source')} with {number_of(done.clips, 'clip')}: "
            f"{safe(', '.join(done.sources))}. "
            f"Shards rewritten or removed: {len(done.rewritten)}, renumbered: {len(done.renamed)}. "
            f"{safe(str(dataset))} is now version {done.version}."
        )
    results.print(
        f"Copy {EXCLUSIONS} beside your recipe and set exclusions = {EXCLUSIONS!r}, so that builds refuse them."
    )
    if work:
        results.print(
            f"{safe(str(work))} held data of {number_of(len(purged), 'excluded source')}, which was removed."
        )
    else:
        results.print("Workspaces still hold what was fetched: give --work, or delete them.")
    results.print("Publish the new version.")


def print_plan(release: Prepared, target: Target, todo: Plan, as_json: bool) -> None:
    """What a release would send and remove."""
    size = sum(file.size for file in todo.send)
    if as_json:
        value: dict[str, Any] = {
            "repository": target.repository,
            "mode": release.mode,
            "release": str(release.folder),
            "send": [file.path for file in todo.send],
            "bytes": size,
            "remove": list(todo.remove),
            "same": todo.same,
        }
        print(json.dumps(value, sort_keys=True))
        return
    results.print(
        f"Would send {number_of(len(todo.send), 'file')}, {size} bytes, to {safe(target.repository)} ({release.mode}):"
    )
    print_lines([f"  {file.path}  {file.size}" for file in todo.send] + [f"  remove {path}" for path in todo.remove])
    results.print(
        f"{number_of(todo.same, 'file is', 'files are')} already there. The release is in {safe(str(release.folder))}."
    )


def print_published(done: Published, as_json: bool) -> None:
    """What was sent and read back."""
    if as_json:
        print(canonical_json(done))
        return
    results.print(f"Sent {number_of(done.sent, 'file')}, {done.bytes} bytes; removed {done.removed}.")
    results.print(
        f"Read back: {number_of(done.hashes, 'file')} by hash, {done.downloads} of them downloaded again; all as sent."
    )
    results.print(safe(f"{done.url} at {done.commit}" + (f", tag {done.tag}" if done.tag else "")))


def print_forecast(found: Forecast, as_json: bool) -> None:
    """What a pilot says of a build."""
    if as_json:
        print(canonical_json(found))
        return
    strata = f"{found.strata - found.strata_unseen} of {found.strata} strata"
    of = f"{number_of(found.pilot, 'source')} of a pilot in {strata}"
    left = f"; {number_of(found.unfinished, 'more has', 'more have')} no end yet" if found.unfinished else ""
    results.print(f"{number_of(found.sources, 'source')}, by {of}{left}; 95 % intervals")
    rows = table(
        "", ("what becomes of a source", "pilot", "sources", "from", "to"), ("pilot", "sources", "from", "to")
    )
    for fate in found.fates:
        bounds = (fate.sources.expected, fate.sources.low, fate.sources.high)
        rows.add_row(safe(fate.reason), str(fate.seen), *(f"{round(value):,}" for value in bounds))
    results.print(rows)
    facts = {
        "hours of video": _ranged(found.hours_of_video, lambda value: f"{value:,.2f}"),
        "clips, before quotas": _ranged(found.clips, lambda value: f"{round(value):,}"),
        "hours of clips": _ranged(found.clip_hours, lambda value: f"{value:,.2f}"),
        "download": _ranged(found.download_bytes, lambda value: decimal(round(value))),
        "encoded clips": _ranged(found.clip_bytes, lambda value: decimal(round(value))),
        "disk at most": decimal(round(found.disk_peak_bytes)),
        "fetching": _told(found.fetch_seconds, ""),
        "scanning": _told(found.scan_cpu_seconds, " of one core"),
    }
    print_facts("A build of it takes about", facts, False)


def _told(seconds: float | None, of: str) -> str:
    return "not known: the pilot's last run had none" if seconds is None else f"{rough(seconds)}{of}"


def _ranged(one: Range, shown: Callable[[float], str]) -> str:
    return f"{shown(one.expected)} ({shown(one.low)} to {shown(one.high)})"


def print_estimate(found: Estimate, as_json: bool) -> None:
    """What a build will take."""
    if as_json:
        print(canonical_json(found))
        return
    kinds = ((found.site, "from sites"), (found.http, "by URL of a file"), (found.local, "on this machine"))
    facts = {
        "sources": f"{found.sources}: " + ", ".join(f"{count} {kind}" for count, kind in kinds if count),
        "video": rough(found.seconds_of_video),
        "requests": f"{found.requests:,}",
        "download": decimal(found.download_bytes),
        "disk at most": decimal(found.disk_peak_bytes),
        "fetching": rough(found.fetch_seconds) if found.fetch_seconds else "no time",
        "scanning": f"{rough(found.cpu_seconds)} of one core",
    }
    if found.unknown_length:
        facts["guessed"] = (
            f"{number_of(found.unknown_length, 'video')} of unknown length, {rough(UNKNOWN_LENGTH)} each"
        )
    print_facts("A build of it takes about", facts, False)


def print_licences(rows: Sequence[LicenceRow], as_json: bool) -> None:
    """Sources by licence, and what may be done with them."""
    if as_json:
        print(canonical_json(rows))
        return
    found = table("", ("licence", "sources", "hours", "accepted", "with pixels"), right=("sources", "hours"))
    for row in rows:
        may = ("yes" if known else "no" for known in (row.accepted, row.pixels))
        found.add_row(safe(row.licence), str(row.sources), f"{row.seconds / 3600:.1f}", *may)
    results.print(found)


def print_diagnosis(found: "Diagnosis", told: dict[str, Any], page: str, as_json: bool) -> None:
    """What a diagnosis came to, and where its page is."""
    if as_json:
        print(json.dumps({**told, "page": page}, sort_keys=True))
        return
    results.print(
        f"{found.kind}: {number_of(found.clips, 'clip')}, {found.looked_at} of them decoded. "
        f"{number_of(len(found.findings), 'finding')}."
    )
    rows = table("", ("severity", "rule", "findings", "of all clips", "what", "for example"), right=("findings",))
    bounds = {share.rule: share.bounds for share in found.shares}
    for rule, count in found.counted().items():
        about, first = RULES[rule], next(one for one in found.findings if one.rule == rule)
        share = f"{100 * bounds[rule].low:.1f} to {100 * bounds[rule].high:.1f} %" if rule in bounds else ""
        rows.add_row(
            about.severity,
            rule,
            str(count),
            share,
            about.meaning,
            safe(f"{first.where or 'the whole dataset'}: {first.detail}"),
        )
    if found.findings:
        results.print(rows)
    results.print(f"Page: {safe(page)}")


def print_audit(found: dict[str, Any], page: str, as_json: bool) -> None:
    """What an audit of shots came to, and where its page is."""
    if as_json:
        print(json.dumps({**found, "page": page}, sort_keys=True))
        return
    low, high = (100 * bound for bound in found["interval"])
    results.print(
        f"{len(found['broken'])} of {number_of(found['looked_at'], 'clip is', 'clips are')} broken: "
        f"{100 * found['share']:.1f} %, 95 % interval {low:.1f} to {high:.1f} %. "
        f"{number_of(found['clips'], 'clip')} in all; {found['detector']} looked."
    )
    lines = [f"  {one['key']}  {_transitions(one['transitions'])}" for one in found["broken"][:WORST]]
    print_lines(lines)
    if more := len(found["broken"]) - len(lines):
        results.print(f"  and {more} more")
    if found["unread"]:
        kinds = Counter(one["kind"] for one in found["unread"]).most_common()
        told = ", ".join(f"{count} {kind}" for kind, count in kinds)
        refuse(f"{number_of(len(found['unread']), 'clip')} could not be looked at: {told}")
    if found["max_share"] is not None:
        bar = f"{100 * found['max_share']:g} %"
        verdict = {True: f"Above {bar}.", False: f"At most {bar}."}
        undecided = f"This sample cannot tell whether the share is above {bar}: look at more, with --clips or --all."
        results.print(verdict.get(found["exceeded"], undecided))
    results.print(f"Page: {safe(page)}")


def _transitions(found: Sequence[dict[str, Any]]) -> str:
    return ", ".join(
        f"{one['kind']} {one['start']}" + (f" to {one['end'] - 1}" if one["end"] > one["start"] else "")
        for one in found
    )


def _print_levels(dataset: Dataset) -> None:
    counts = {(cell.level, cell.split): cell.clips for cell in dataset.cells}
    rows = table("Clips per level and split", ("level", *SPLITS, "all"), right=(*SPLITS, "all"))
    for level in LEVELS:
        row = [counts.get((level.name, split), 0) for split in SPLITS]
        rows.add_row(f"{level.label} ({level.number})", *map(str, row), str(sum(row)))
    results.print(rows)
