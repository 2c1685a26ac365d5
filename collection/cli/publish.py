"""`mlst publish`: parse, construct, call, say what came of it."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from huggingface_hub import HfApi
from huggingface_hub.utils.tqdm import disable_progress_bars
from rich.console import Console
from rich.markup import escape

from collection.release.prepare import LicenceError, Mode, Prepared, ReleaseError, UnsoundError, prepare
from collection.release.publish import (
    Plan,
    Published,
    PublishError,
    ReadBack,
    Target,
    TargetError,
    check,
    plan,
    publish,
)
from mlst.records import canonical_json

WRONG, UNUSABLE, PARTLY = 1, 2, 3
SHOWN = 20

results = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def publish_command(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a built dataset.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Dataset repository; made if missing.")],
    mode: Annotated[
        Mode, typer.Option(help="ids: no pixels, all that rebuilds the clips; clips: everything.")
    ] = "ids",
    tag: Annotated[str, typer.Option(help="Tag of this release, e.g. v1.0.0; tags never move.")] = "",
    revision: Annotated[str, typer.Option(help="Branch; made from main if missing.")] = "main",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    gated: Annotated[str, typer.Option(help="auto or manual: readers ask for access.")] = "",
    evaluations: Annotated[
        list[Path] | None, typer.Option("--results", help="Results of `astm evaluate` for the card; may be repeated.")
    ] = None,
    read_back: Annotated[
        ReadBack, typer.Option(help="full: download all again; hashes: compare the Hub's; auto: full up to 1 GiB.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Shards verified at a time.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the release in DIR-release, send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for scripts.")] = False,
) -> None:
    """Publish a dataset on the Hugging Face Hub, and read it back.

    First it is verified and linted. The token comes from HF_TOKEN or from `hf auth login`. Run it again after an
    interruption: what is there is not sent twice. Exit status: 1 the dataset may not be published so,
    2 the input cannot be used, 3 try again.
    """
    if gated not in ("", "auto", "manual"):
        raise typer.BadParameter(f"{gated!r} is not auto or manual", param_hint="--gated")
    if as_json or not sys.stderr.isatty():
        disable_progress_bars()
    target = Target(repository, revision, tag, private, gated)  # type: ignore[arg-type]
    out = dataset.resolve().with_name(dataset.resolve().name + "-release")
    try:
        check(target)
        release = prepare(dataset, out, mode, evaluations or [], workers)
        if dry_run:
            _print_plan(release, target, plan(release, target, HfApi()), as_json)
        else:
            _print_published(publish(release, target, HfApi(), read_back), as_json)
    except (UnsoundError, LicenceError) as why:
        raise _stop(why, WRONG) from None
    except (ReleaseError, TargetError) as why:
        raise _stop(why, UNUSABLE) from None
    except PublishError as why:
        raise _stop(why, PARTLY) from None


def _stop(why: Exception, status: int) -> typer.Exit:
    errors.print(f"[red]error:[/] {escape(str(why))}")
    return typer.Exit(status)


def _print_plan(release: Prepared, target: Target, todo: Plan, as_json: bool) -> None:
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
    results.print(f"Would send {len(todo.send)} files, {size} bytes, to {escape(target.repository)} ({release.mode}):")
    lines = [f"  {file.path}  {file.size}" for file in todo.send] + [f"  remove {path}" for path in todo.remove]
    for line in lines[:SHOWN]:
        results.print(escape(line))
    if len(lines) > SHOWN:
        results.print(f"  ... and {len(lines) - SHOWN} more")
    results.print(f"{todo.same} files are there already. The release lies in {escape(str(release.folder))}.")


def _print_published(done: Published, as_json: bool) -> None:
    if as_json:
        print(canonical_json(done))
        return
    results.print(f"Sent {done.sent} files, {done.bytes} bytes; removed {done.removed}.")
    results.print(f"Read back: {done.hashes} files by hash, {done.downloads} of them downloaded again. All are right.")
    results.print(escape(f"{done.url} at {done.commit}" + (f", tag {done.tag}" if done.tag else "")))
