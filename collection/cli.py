"""The `mlst` command: parse, construct, call, say what came of it."""

import errno
import hashlib
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from collection import orders
from collection.estimate import estimate
from collection.executors import executor
from collection.inspection import NoClipError, inspect
from collection.manifest import ManifestError
from collection.manifest_cli import manifest
from collection.pipeline import STAGES, Built, Driver, NothingChosenError, Order, build, stages
from collection.politeness import Budget
from collection.progress import Bars, JsonLines, console, counted
from collection.publish_cli import publish_command
from collection.recipe import RecipeError
from collection.report import write_report
from collection.stage import FAILED, FULL
from collection.status import Line, NoBuildError, remember, status
from collection.workspace import Workspace, WorkspaceBusyError, atomic, locked
from collection.ytdlp import Access, ConfigurationError
from mlst.dataset import DATASET
from mlst.levels import LEVELS, CorpusError, calibrate, write_levels
from mlst.lint import lint
from mlst.records import SPLITS, canonical_json, digest, encode
from mlst.verify import Report, verify

OK, WRONG, UNUSABLE, PARTLY = 0, 1, 2, 3
REFUSALS = (
    RecipeError,
    ManifestError,
    ConfigurationError,
    CorpusError,
    NoBuildError,
    NoClipError,
    WorkspaceBusyError,
)
"""What the user can mend; the text says how."""

HELP = """Build multi-level spatiotemporal video datasets.

Exit status: 0 done; 1 there is no result, or it is wrong; 2 the input cannot be used; 3 done as far as possible, and
the same command tries again what failed.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
app.add_typer(manifest, name="manifest")
app.command("publish")(publish_command)
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


@app.command("build")
def build_command(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option(help="Folder of the dataset.")],
    work: Annotated[Path | None, typer.Option(help="Workspace; OUT-work by default.")] = None,
    workers: Workers = 2,
    kind: Annotated[str, typer.Option("--executor", help=f"One of: {', '.join(executor)}.")] = "local",
    cookies: Cookies = "",
    proxy: Proxy = "",
    rate: Rate = 40.0,
    retry: Retry = False,
    check: Annotated[bool, typer.Option("--verify/--no-verify", help="Check the result, every clip decoded.")] = True,
    as_json: AsJson = False,
) -> None:
    """Build the dataset that RECIPE describes: fetch, scan, select, pack, verify, report.

    It goes on where it was stopped, and does nothing when nothing has changed.
    """
    began = time.monotonic()
    order = orders.read_order(recipe, Access(cookies=cookies, proxy=proxy, budget=Budget(requests_per_minute=rate)))
    work = work or out.with_name(out.name + "-work")
    before = _description(out)
    with locked(work), _watcher(as_json) as watcher:
        remember(work, order.recipe.name, order.recipe.version, stages(order))
        do = Driver(Workspace(work, ""), _executor(kind, workers), watcher, lambda o: retry and o.status == FAILED)
        try:
            built = build(order, out, do)
        except NothingChosenError:
            _print_status(status(work, STAGES), as_json)
            raise
    changed = _description(out) != before
    seen = _after(built, order, out, work, workers, check)
    _print_built(built, out, changed, seen, time.monotonic() - began, as_json)
    failed = sum(outcome.status == FAILED for result in built.results for outcome in result.outcomes)
    raise typer.Exit(WRONG if seen and not seen.ok else PARTLY if failed else OK)


@app.command()
def plan(recipe: RecipePath, cookies: Cookies = "", rate: Rate = 40.0, as_json: AsJson = False) -> None:
    """Say what a build would fetch, and how much disk and time it would take. Asks nobody anything."""
    order = orders.read_order(recipe, Access(cookies=cookies, budget=Budget(requests_per_minute=rate)))
    _print_record("Plan", estimate(order.sources, order.recipe, order.fetch), as_json)


@app.command("status")
def status_command(
    work: Annotated[Path, typer.Argument(metavar="WORK", help="Workspace of a build.")], as_json: AsJson = False
) -> None:
    """Count the outcomes of a build by stage and reason; works while it runs and after it was killed."""
    _print_status(status(work, STAGES), as_json)


@app.command("calibrate")
def calibrate_command(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option(help="Thresholds file to write.")],
    work: Annotated[Path, typer.Option(help="Workspace.")],
    name: Annotated[str, typer.Option("--id", help="Name of the thresholds; the recipe's name by default.")] = "",
    quantiles: Annotated[tuple[float, float], typer.Option(help="Shares of the clips below each cut.")] = (
        1 / 3,
        2 / 3,
    ),
    workers: Workers = 2,
    kind: Annotated[str, typer.Option("--executor", help=f"One of: {', '.join(executor)}.")] = "local",
    as_json: AsJson = False,
) -> None:
    """Fit the 3 x 3 thresholds to the clips of RECIPE's sources and write them to a file that recipes can name."""
    order = orders.read_order(recipe, Access())
    fetch, scan, _ = stages(order)
    with locked(work), _watcher(as_json) as watcher:
        do = Driver(Workspace(work, ""), _executor(kind, workers), watcher, lambda o: False)
        scans = do(scan, do(fetch, order.sources).outputs).outputs
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
    dataset: DatasetPath,
    workers: Workers = 2,
    hub: Annotated[bool, typer.Option("--hub", help="Also look for what the Hugging Face Hub trips over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a dataset: every hash, key, schema, boundary, split and level, and that every clip decodes."""
    with counted("verify", "shards") as watch:
        seen = verify(dataset, workers, watch)
    if hub:
        seen = replace(seen, findings=tuple(sorted({*seen.findings, *lint(dataset)})))
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


def _after(built: Built, order: Order, out: Path, work: Path, workers: int, check: bool) -> Report | None:
    """Report on a dataset and verify it, unless this very dataset was found sound before."""
    state, sound = hashlib.sha256(_description(out)).hexdigest(), work / "verified.txt"
    if sound.exists() and sound.read_text() == state:
        return None
    dropped = Counter(built.selection.reasons())
    title = order.recipe.title or order.recipe.name
    write_report(work / "report.html", out, title, order.levels, built.results, dropped)
    if not check:
        return None
    with counted("verify", "shards") as watch:
        seen = verify(out, workers, watch)
    if seen.ok:
        with atomic(sound) as file:
            file.write(state.encode())
    return seen


def _description(out: Path) -> bytes:
    path = out / DATASET
    return path.read_bytes() if path.exists() else b""


def _executor(kind: str, workers: int) -> Any:
    if kind not in executor:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(executor)}", param_hint="--executor")
    return executor[kind](workers)


def _watcher(as_json: bool) -> Bars | JsonLines:
    return JsonLines() if as_json else Bars()


def _print_built(built: Built, out: Path, changed: bool, seen: Report | None, seconds: float, as_json: bool) -> None:
    dataset, failed = built.dataset, Counter(o.status for result in built.results for o in result.outcomes)[FAILED]
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
        results.print(f"Nothing to do: {escape(str(out))} is up to date ({dataset.clips} clips).")
    else:
        _print_levels(built)
        results.print(
            f"{summary['sources']['rows']} sources ({dataset.sources} used), {summary['shots']} shots, "
            f"{dataset.clips} clips, {len(dataset.shards)} shards in {escape(str(out))}, {seconds:.0f} s"
        )
        left = ", ".join(f"{count} {reason}" for reason, count in built.selection.reasons().items())
        if left:
            results.print(f"Candidates left out: {left}")
    if seen and not as_json:
        _print_findings(seen)
    if failed:
        console.print(f"[yellow]{failed} items failed; the same command tries them again (see `mlst status`)[/]")


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
        table.add_row(line.stage, line.status, line.kind, str(line.count))
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
        table.add_row(*map(escape, (finding.rule, finding.path, finding.key, finding.detail)))
    results.print(table)


def _print_record(title: str, record: Any, as_json: bool) -> None:
    if as_json:
        print(canonical_json(record))
        return
    table = Table(title=escape(title), show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _flat(encode(record), ""):
        table.add_row(name, escape(value))
    results.print(table)


def _flat(value: Any, name: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif name.endswith("bytes"):
        yield name, decimal(int(value))
    elif name.endswith("seconds") and value >= 100:
        yield name, f"{timedelta(seconds=round(value))} (h:mm:ss)"
    elif isinstance(value, float):
        yield name, f"{value:.6g}"
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
        console.print(f"[red]error:[/] {escape(str(why))}")
        sys.exit(WRONG)
    except REFUSALS as why:
        console.print(f"[red]error:[/] {escape(str(why))}")
        sys.exit(UNUSABLE)
    except OSError as why:
        if why.errno not in (*FULL, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
            raise
        console.print(f"[red]error:[/] {escape(str(why))}; what is done so far is kept")
        sys.exit(WRONG)
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on where it was.")
        sys.exit(130)
