"""The `mlst` command: parse, construct, call, say what came of it."""

import errno
import hashlib
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from collection import order as orders
from collection.cli.console import Bars, JsonLines, console, counted, safe
from collection.cli.manifest import manifest
from collection.cli.publish import publish_command
from collection.cli.upkeep import register
from collection.engine.run import Driver, Executor
from collection.engine.stage import FAILED, FULL
from collection.engine.waves import fetch_and_scan
from collection.executors import executor
from collection.executors.ray import Ray, RayError
from collection.fetch.ytdlp import Access, ConfigurationError
from collection.manifest.table import ManifestError
from collection.order import Order
from collection.pack.assemble import tools
from collection.pipeline import Built, NothingChosenError, build, by_id, stages
from collection.politeness.budget import Budget
from collection.recipe import RecipeError
from collection.report.estimate import estimate
from collection.report.html import write_report
from collection.report.inspection import NoClipError, inspect
from collection.report.status import Line, NoBuildError, remember, status
from collection.upkeep.takedown import TakedownError
from collection.workspace.folder import Workspace, WorkspaceBusyError, WorkspaceError, workspace_of
from collection.workspace.store import StoreError, looked_at, opened
from mlst.checking.lint import lint
from mlst.checking.verify import Report, verify
from mlst.dataset.description import DATASET
from mlst.dataset.diff import DiffError
from mlst.dataset.remote import is_url
from mlst.levels.levels import LEVELS, CorpusError, calibrate, write_levels
from mlst.records import SPLITS, canonical_json, digest, encode

OK, WRONG, UNUSABLE, PARTLY = 0, 1, 2, 3
REPORT = "report.html"
WAVE = 256
"""Sources whose videos are on the disk at a time: some 10 GB of 360-line YouTube videos of ten minutes."""
REFUSALS = (
    RecipeError,
    ManifestError,
    ConfigurationError,
    CorpusError,
    NoBuildError,
    NoClipError,
    WorkspaceBusyError,
    WorkspaceError,
    StoreError,
    RayError,
    TakedownError,
    DiffError,
)
"""What the user can mend; the text says how."""

HELP = """Build multi-level spatiotemporal video datasets.

Exit status: 0 done; 1 there is no result, or it is wrong; 2 the input cannot be used; 3 done as far as possible, and
the same command tries again what failed.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
results = Console(highlight=False, soft_wrap=True)
"""Standard output: what a command was asked for."""

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe.toml.")]
DatasetPath = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a built dataset.")]
Workers = Annotated[int, typer.Option(min=1, help="Items worked on at a time.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]
Cookies = Annotated[
    str, typer.Option(help="Netscape cookie file that only you can read; its content is never logged.")
]
Proxy = Annotated[str, typer.Option(help="URL of a proxy for fetching.")]
Rate = Annotated[float, typer.Option("--requests-per-minute", min=0.01, help="Budget shared by all workers.")]
Retry = Annotated[bool, typer.Option("--retry", help="Try quarantined items again.")]
Kind = Annotated[str, typer.Option("--executor", help=f"Where items are worked on: {', '.join(executor)}.")]
Address = Annotated[
    str, typer.Option(help='Ray cluster to join, e.g. "auto" or HOST:PORT; without one Ray runs on this machine.')
]
Wave = Annotated[int, typer.Option(min=1, help="Sources whose videos are on the disk at a time.")]
Keep = Annotated[
    bool, typer.Option("--keep-videos", help="Leave fetched videos in the workspace once they are scanned.")
]


def _tell_versions(wanted: bool) -> None:
    if wanted:
        for tool in tools():
            print(tool.name, tool.version)
        raise typer.Exit


@app.callback()
def main_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_versions, is_eager=True, help="Versions of all that may change a dataset."
        ),
    ] = False,
) -> None:
    pass


@app.command("build")
def build_command(
    recipe: RecipePath,
    out: Annotated[str, typer.Option(help="Folder of the dataset, or its place in a store, e.g. s3://bucket/name.")],
    work: Annotated[str, typer.Option(help="Workspace, a folder or a place in a store; OUT-work by default.")] = "",
    workers: Workers = 2,
    kind: Kind = "local",
    address: Address = "",
    cookies: Cookies = "",
    proxy: Proxy = "",
    rate: Rate = 40.0,
    retry: Retry = False,
    wave: Wave = WAVE,
    keep_videos: Keep = False,
    check: Annotated[bool, typer.Option("--verify/--no-verify", help="Check the result, every clip decoded.")] = True,
    as_json: AsJson = False,
) -> None:
    """Build the dataset that RECIPE describes, verify it and report.

    It goes on where it was stopped, and does nothing when nothing has changed.
    """
    began = time.monotonic()
    order = orders.read_order(recipe, Access(cookies=cookies, proxy=proxy, budget=Budget(requests_per_minute=rate)))
    work = _lasting(workspace_of(_lasting(out), work))
    with opened(work) as here, looked_at(out) as dataset:
        orders.keep_exclusions(dataset, order)
        before = _description(dataset)
        remember(here, order.recipe.name, order.recipe.version, stages(order))
        with _watcher(as_json) as watcher:
            do = Driver(here, _executor(kind, workers, address), watcher, retry, wave, keep_videos)
            try:
                built = build(order, dataset, do)
            except NothingChosenError:
                _print_status(status(here), as_json)
                raise
        changed = _description(dataset) != before
        seen = _after(built, order, dataset, here, lambda: _verified(out, workers) if check else None)
        _print_built(built, out, changed, seen, time.monotonic() - began, as_json)
    raise typer.Exit(WRONG if seen and not seen.ok else PARTLY if _failed(built) else OK)


@app.command()
def plan(
    recipe: RecipePath,
    cookies: Cookies = "",
    rate: Rate = 40.0,
    wave: Wave = WAVE,
    keep_videos: Keep = False,
    as_json: AsJson = False,
) -> None:
    """Say what a build would fetch, and what disk and time it takes.

    Nobody is asked anything.
    """
    order = orders.read_order(recipe, Access(cookies=cookies, budget=Budget(requests_per_minute=rate)))
    at_once = len(order.sources) if keep_videos else wave
    _print_record("Plan", estimate(order.sources, order.recipe, order.fetch, at_once), as_json)


@app.command("status")
def status_command(
    work: Annotated[str, typer.Argument(metavar="WORK", help="Workspace of a build.")], as_json: AsJson = False
) -> None:
    """Count the outcomes of a build, running or killed, by reason."""
    with looked_at(work) as here:
        _print_status(status(here), as_json)


@app.command("calibrate")
def calibrate_command(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option(help="Thresholds file to write.")],
    work: Annotated[str, typer.Option(help="Workspace, a folder or a place in a store.")],
    name: Annotated[str, typer.Option("--id", help="Name of the thresholds; the recipe's name by default.")] = "",
    quantiles: Annotated[tuple[float, float], typer.Option(help="Shares of the clips below each cut.")] = (
        1 / 3,
        2 / 3,
    ),
    workers: Workers = 2,
    kind: Kind = "local",
    address: Address = "",
    wave: Wave = WAVE,
    keep_videos: Keep = False,
    as_json: AsJson = False,
) -> None:
    """Fit the 3 x 3 thresholds to the clips of RECIPE's sources.

    They go to a file that recipes can name.
    """
    order = orders.read_order(recipe, Access())
    fetch, scan, _ = stages(order)
    with opened(_lasting(work)) as here, _watcher(as_json) as watcher:
        do = Driver(here, _executor(kind, workers, address), watcher, False, wave, keep_videos)
        scans = fetch_and_scan(fetch, scan, by_id(order.sources), do).scanned.outputs
        clips = sorted((clip for scan in scans for clip in scan.clips), key=lambda clip: clip.key)
    levels = calibrate(
        [clip.statistics for clip in clips],
        [f"{clip.source}/{clip.shot}" for clip in clips],
        id=name or order.recipe.name,
        corpus=f"{order.recipe.name} {order.recipe.version}",
        corpus_sha256=digest([[clip.key, clip.sha256] for clip in clips]),
        quantiles=quantiles,
    )
    write_levels(levels, out)
    _print_record(f"Thresholds in {out}", levels, as_json)


@app.command("verify")
def verify_command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or URL of a built dataset.")],
    workers: Workers = 2,
    hub: Annotated[bool, typer.Option("--hub", help="Also look for what the Hugging Face Hub trips over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a dataset: hashes, keys, schemas, cuts, splits, levels.

    Every clip is decoded.
    """
    if hub and is_url(dataset):
        raise typer.BadParameter("works on a folder; download the dataset first", param_hint="--hub")
    if not is_url(dataset) and not Path(dataset).is_dir():
        raise typer.BadParameter(f"{dataset!r} is no folder; give the folder of a built dataset", param_hint="DATASET")
    seen = _verified(dataset, workers)
    if hub:
        seen = replace(seen, findings=tuple(sorted({*seen.findings, *lint(Path(dataset))})))
    if as_json:
        print(canonical_json(seen))
    else:
        _print_findings(seen)
    raise typer.Exit(OK if seen.ok else WRONG)


@app.command("inspect")
def inspect_command(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Key of a clip.")],
    dataset: Annotated[Path, typer.Option(help="Folder of a built dataset.")],
    sheet: Annotated[Path | None, typer.Option(help="Where the contact sheet goes; CLIP.png by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a clip's record and write a contact sheet of its frames."""
    sheet = sheet or Path(f"{clip}.png")
    row = inspect(dataset, clip, sheet)
    _print_record(f"{clip}, contact sheet in {sheet}", row, as_json)


app.command("publish")(publish_command)
register(app)
app.add_typer(manifest, name="manifest")


def _after(
    built: Built, order: Order, dataset: Workspace, work: Workspace, check: Callable[[], Report | None]
) -> Report | None:
    """Report on a dataset and check it, unless this very dataset was found sound before."""
    state, sound = hashlib.sha256(_description(dataset)).hexdigest(), "verified.txt"
    if work.exists(sound) and work.path(sound).read_text() == state:
        return None
    dropped = Counter(built.selection.reasons())
    title = order.recipe.title or order.recipe.name
    write_report(work.root / REPORT, dataset, title, order.levels, built.results, dropped)
    work.sync(REPORT)
    seen = check()
    if seen and seen.ok:
        with work.create(sound) as (file, _):
            file.write(state.encode())
    return seen


def _verified(dataset: str, workers: int) -> Report:
    with counted("verify", "shards") as watch:
        return verify(dataset, workers, watch)


def _lasting(place: str) -> str:
    if place.startswith("memory:"):
        raise StoreError(f"{place}: memory:// lives in one process and ends with it; name a folder or another store")
    return place


def _description(dataset: Workspace) -> bytes:
    path = dataset.path(DATASET)
    return path.read_bytes() if path.exists() else b""


def _executor(kind: str, workers: int, address: str) -> Executor:
    if kind not in executor:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(executor)}", param_hint="--executor")
    if address and kind != "ray":
        raise typer.BadParameter("only --executor ray joins a cluster", param_hint="--address")
    return Ray(workers, address) if address else executor[kind](workers)


def _watcher(as_json: bool) -> Bars | JsonLines:
    return JsonLines() if as_json else Bars()


def _print_built(built: Built, out: str, changed: bool, seen: Report | None, seconds: float, as_json: bool) -> None:
    dataset, failed = built.dataset, _failed(built)
    summary: dict[str, Any] = {
        "dataset": str(out),
        "changed": changed,
        "sources": {"rows": len(built.results[0].outcomes), "used": dataset.sources},
        "shots": sum(len(scan.shots) for scan in built.results[1].outputs),
        "clips": dataset.clips,
        "shards": len(dataset.shards),
        "dropped": built.selection.reasons(),
        "failed": failed,
        "findings": [encode(finding) for finding in seen.findings] if seen else [],
        "seconds": round(seconds, 1),
    }
    if as_json:
        print(json.dumps(summary, sort_keys=True))
        return
    if not changed:
        results.print(f"Nothing to do: {safe(str(out))} is up to date ({dataset.clips} clips).")
    else:
        _print_levels(built)
        results.print(
            f"{summary['sources']['rows']} sources ({dataset.sources} used), {summary['shots']} shots, "
            f"{dataset.clips} clips, {len(dataset.shards)} shards in {safe(str(out))}, {seconds:.0f} s"
        )
        left = ", ".join(f"{count} {reason}" for reason, count in built.selection.reasons().items())
        if left:
            results.print(f"Candidates left out: {left}")
    if seen:
        _print_findings(seen)
    if failed:
        console.print(f"[yellow]{failed} items failed; the same command tries them again (see `mlst status`)[/]")


def _failed(built: Built) -> int:
    """Items of all stages that the next run tries again, or would with `--retry`."""
    counts = sum((result.outcomes.counts for result in built.results), Counter[tuple[str, str]]())
    return sum(count for (state, _), count in counts.items() if state == FAILED)


def _print_levels(built: Built) -> None:
    counts = {(cell.level, cell.split): cell.clips for cell in built.dataset.cells}
    table = Table(title="Clips per level and split")
    for heading in ("level", *SPLITS, "all"):
        table.add_column(heading, justify="left" if heading == "level" else "right")
    for level in LEVELS:
        row = [counts.get((level.name, split), 0) for split in SPLITS]
        table.add_row(f"{level.label} ({level.number})", *map(str, row), str(sum(row)))
    results.print(table)


def _print_status(lines: Iterable[Line], as_json: bool) -> None:
    if as_json:
        print(canonical_json(list(lines)))
        return
    table = Table()
    for heading in ("stage", "outcome", "reason", "items"):
        table.add_column(heading, justify="right" if heading == "items" else "left")
    for line in lines:
        table.add_row(line.stage, line.status, safe(line.kind), str(line.count))
    results.print(table)


def _print_findings(seen: Report) -> None:
    if seen.ok:
        results.print(
            f"Verified: {seen.files} files, {seen.shards} shards, {seen.clips} clips, {seen.frames} frames decoded"
        )
        return
    table = Table(title=f"{len(seen.findings)} findings")
    for heading in ("rule", "path", "clip", "what is wrong"):
        table.add_column(heading, overflow="fold")
    for finding in seen.findings[:100]:
        table.add_row(*map(safe, (finding.rule, finding.path, finding.key, finding.detail)))
    results.print(table)


def _print_record(title: str, record: Any, as_json: bool) -> None:
    if as_json:
        print(canonical_json(record))
        return
    table = Table(title=safe(title), show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _flat(encode(record), ""):
        table.add_row(name, safe(value))
    results.print(table)


def _flat(value: Any, name: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif name.endswith("bytes"):
        yield name, decimal(int(value))
    elif "seconds" in name and value >= 60:
        yield name, f"{timedelta(seconds=round(value))} (h:mm:ss)"
    elif isinstance(value, float):
        yield name, f"{value:.6g}"
    elif name.endswith("fingerprint"):
        yield name, f"{value[:16]}... ({len(value)} hex digits; --json has all)"
    else:
        yield name, str(value)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: what the user can mend is said in a few lines on standard error; a bug keeps its traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except NothingChosenError as why:
        console.print(f"[red]error:[/] {safe(str(why))}")
        sys.exit(WRONG)
    except REFUSALS as why:
        console.print(f"[red]error:[/] {safe(str(why))}")
        sys.exit(UNUSABLE)
    except OSError as why:
        if why.errno not in (*FULL, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
            raise
        console.print(f"[red]error:[/] {safe(str(why))}; what is done so far is kept")
        sys.exit(WRONG)
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on where it was.")
        sys.exit(130)
