"""What commands that run stages have in common: who does the work, who watches, and what follows a build."""

import json
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import typer

from collection.addresses import is_web
from collection.building import Show
from collection.cli import options, outcomes, reading
from collection.cli.console import JsonLines, busy, console, safe
from collection.engine.run import Executor, folder
from collection.engine.stage import AnyStage
from collection.executors import Ray, executor
from collection.fetch.ytdlp import Access
from collection.order import Order, read_order, reorder
from collection.politeness.budget import Budget
from collection.report.display import Bars
from collection.starting import lists
from collection.workspace.folder import Workspace
from collection.workspace.store import StoreError
from mlst.checking.verify import verify
from mlst.exits import UserError
from mlst.sandbox.kernel import missing
from mlst.text import number_of


def access(given: options.Fetching) -> Access:
    """How sites are asked."""
    return Access(
        cookies=given.cookies,
        proxy=given.proxy,
        budget=Budget(requests_per_minute=given.rate),
        extractor_args=tuple(given.extractor_args),
        extractor_args_file=given.extractor_args_file,
        plugins=tuple(given.plugins),
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


def crew(given: options.Working) -> Executor:
    """Who works on items, confined as far as this machine can, which is said where it cannot. Raises
    `typer.BadParameter`, and `SandboxError` where it cannot and that is required.
    """
    kind, workers, required = given.executor, given.workers, given.require_sandbox
    if required and (lacking := missing()):
        raise SandboxError(f"--require-sandbox: {lacking}; use Linux 5.13 or later with seccomp and Landlock")
    tell_sandbox()
    if kind not in executor:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(executor)}", param_hint="--executor")
    if given.address and kind != "ray":
        raise typer.BadParameter("only --executor ray joins a cluster", param_hint="--address")
    made: Executor
    made = Ray(workers, given.address, required) if given.address else executor[kind](workers, required=required)
    return made


def tell_sandbox() -> None:
    """Say in a line on standard error what this machine lacks to confine workers, if anything."""
    if lacking := missing():
        console.print(f"[yellow]no full sandbox:[/] {safe(lacking)}")


def watcher(as_json: bool, disk: Path) -> Bars | JsonLines:
    """What shows the progress of stages that write to the disk of a folder."""
    return JsonLines() if as_json else Bars(console, disk)


def show(out: str, workers: int, verified: bool, as_json: bool) -> Show:
    """What is shown of a build; standard error holds nothing but JSON where that is asked for."""
    look = verify if as_json else reading.verified
    return Show(
        stages=lambda disk: watcher(as_json, disk),
        page=lambda: nullcontext() if as_json else busy("writing the report"),
        damaged=outcomes.print_damaged,
        verify=lambda: look(out, workers) if verified else None,
    )


def order_of(given: Path, asked: Access) -> Order:
    """What a recipe orders, or the recipe that would be written for a list or a folder; writes nothing."""
    if lists.is_recipe(given):
        return read_order(given, asked)
    with tempfile.TemporaryDirectory() as folder:
        order = read_order(lists.drafted(given, Path(folder)), asked)
    base = given if given.is_dir() else given.parent
    return replace(order, fetch=replace(order.fetch, manifest=str(base)))


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
        what = f"{number_of(len(local), 'source is a file', 'sources are files')}, such as {local[0]!r}"
        raise typer.BadParameter(f"{what}; give the folder that they are relative to", param_hint="--sources")
    return order


def forget(work: Workspace, stage: AnyStage) -> None:
    """Remove the answers of a check, and videos that killed workers left."""
    for kind in ("ledger", "media"):
        for name in work.names(f"{folder(stage)}/{kind}"):
            work.remove(name)
