"""What commands that run stages have in common: who does the work, who watches, and what follows a build."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from collection.addresses import is_web
from collection.cli.console import Bars, JsonLines, console, safe
from collection.engine.run import Executor, folder
from collection.engine.stage import FAILED, AnyStage
from collection.executors import Ray, executor
from collection.fetch.ytdlp import Access
from collection.order import Order, reorder
from collection.pipeline import Built
from collection.politeness.budget import Budget
from collection.report.html import write_report
from collection.report.story import story
from collection.starting import lists
from collection.workspace.folder import Workspace
from collection.workspace.store import StoreError
from mlst.checking.verify import Report
from mlst.dataset.description import DATASET
from mlst.exits import UserError
from mlst.sandbox.kernel import missing

PAGE = "report.html"
VERIFIED = "verified.txt"
"""File of a workspace with the sha256 of the description of the dataset that was last found sound."""


def access(
    cookies: str,
    proxy: str,
    rate: float,
    extractor_args: Sequence[str] = (),
    extractor_args_file: str = "",
    plugins: Sequence[str] = (),
) -> Access:
    """How sites are asked."""
    return Access(
        cookies=cookies,
        proxy=proxy,
        budget=Budget(requests_per_minute=rate),
        extractor_args=tuple(extractor_args),
        extractor_args_file=extractor_args_file,
        plugins=tuple(plugins),
    )


def recipe_of(given: Path, out: str, work: str, as_json: bool) -> Path:
    """The recipe `given`, or the one that stands for a list or a folder, which is said on standard error."""
    if lists.is_recipe(given):
        return given
    taken = lists.take(given, lasting(out), work)
    if as_json:
        told = {"recipe": str(taken.recipe), "manifest": str(taken.sources), "rows": taken.rows, "fresh": taken.fresh}
        print(json.dumps({"event": "recipe", **told}), file=sys.stderr, flush=True)
        return taken.recipe
    how = "written; edit it and run the same command again" if taken.fresh else "written before, used again"
    console.print(safe(f"recipe: {taken.recipe} ({how})\nmanifest: {taken.sources} ({taken.rows} rows)"))
    return taken.recipe


class SandboxError(UserError, RuntimeError):
    """Workers cannot be confined, and that is required."""


def crew(kind: str, workers: int, address: str, required: bool) -> Executor:
    """Who works on items, confined as far as this machine can, which is said where it cannot. Raises
    `typer.BadParameter`, and `SandboxError` where it cannot and that is `required`.
    """
    if required and (lacking := missing()):
        raise SandboxError(f"--require-sandbox: {lacking}; use Linux 5.13 or later with seccomp and Landlock")
    tell_sandbox()
    if kind not in executor:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(executor)}", param_hint="--executor")
    if address and kind != "ray":
        raise typer.BadParameter("only --executor ray joins a cluster", param_hint="--address")
    made: Executor = Ray(workers, address, required) if address else executor[kind](workers, required=required)
    return made


def tell_sandbox() -> None:
    """Say in a line on standard error what this machine lacks to confine workers, if anything."""
    if lacking := missing():
        console.print(f"[yellow]no full sandbox:[/] {safe(lacking)}")


def watcher(as_json: bool) -> Bars | JsonLines:
    """What shows the progress of stages."""
    return JsonLines() if as_json else Bars()


def lasting(place: str) -> str:
    """A place that outlives the command. Raises `StoreError`."""
    if place.startswith("memory:"):
        raise StoreError(f"{place}: memory:// lives in one process and ends with it; name a folder or another store")
    return place


def description(dataset: Workspace) -> bytes:
    """The dataset's `dataset.json`; empty where there is none."""
    path = dataset.path(DATASET)
    return path.read_bytes() if path.exists() else b""


def failures(built: Built) -> int:
    """Items of all stages that the next run tries again, or would with `--retry`."""
    counts = sum((result.outcomes.counts for result in built.results), Counter[tuple[str, str]]())
    return sum(count for (state, _), count in counts.items() if state == FAILED)


def after(
    built: Built, order: Order, dataset: Workspace, work: Workspace, look: Callable[[], Report | None]
) -> Report | None:
    """Report on a dataset and check it, unless this very dataset was found sound before and has not changed since."""
    state = hashlib.sha256(description(dataset)).hexdigest()
    if not built.mended and work.exists(VERIFIED) and work.path(VERIFIED).read_text() == state:
        return None
    write_page(built, order, dataset, work)
    seen = look()
    if seen and seen.ok:
        with work.create(VERIFIED) as (file, _):
            file.write(state.encode())
    return seen


def write_page(built: Built, order: Order, dataset: Workspace, work: Workspace) -> None:
    """Write the HTML report of a build into its workspace."""
    write_report(work.root / PAGE, dataset, order.levels, story(built.results, built.selection))
    work.sync(PAGE)


def reordered(dataset: Path, files: Path | None, asked: Access) -> Order:
    """What builds a dataset again. Raises `typer.BadParameter` where its files would all be found missing."""
    order = reorder(dataset, files or dataset, asked)
    local = [source.url for source in order.sources if not is_web(source.url)]
    if local and not files:
        what = f"{len(local)} sources are files, such as {local[0]!r}"
        raise typer.BadParameter(f"{what}; give the folder that they are relative to", param_hint="--sources")
    return order


def forget(work: Workspace, stage: AnyStage) -> None:
    """Remove the answers of a check, and videos that killed workers left."""
    for kind in ("ledger", "media"):
        for name in work.names(f"{folder(stage)}/{kind}"):
            work.remove(name)
