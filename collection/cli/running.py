"""What commands that run stages have in common: who does the work, who watches, and what follows a build."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from collection.addresses import is_web
from collection.cli.console import Bars, JsonLines, console, safe
from collection.engine.run import Executor, folder
from collection.engine.stage import AnyStage
from collection.executors import Ray, executor
from collection.fetch.ytdlp import Access
from collection.order import Order, reorder
from collection.politeness.budget import Budget
from collection.starting import lists
from collection.workspace.folder import Workspace
from collection.workspace.store import StoreError
from mlst.exits import UserError
from mlst.sandbox.kernel import missing


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
    console.print(safe(f"recipe: {taken.recipe} ({how})\nmanifest: {taken.sources}, rows: {taken.rows}"))
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
