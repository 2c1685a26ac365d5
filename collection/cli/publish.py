"""`mlst publish` and `mlst export`: a release on the Hugging Face Hub; a dataset in the layout of another library."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from collection.cli import options
from mlst.exits import check_folder
from mlst.text import number_of

Mode = Literal["ids", "clips"]
Layout = Literal["folder", "parquet", "lerobot", "lance", "mds"]
ReadBack = Literal["auto", "full", "hashes"]
Gated = Literal["", "auto", "manual"]


def publish(
    dataset: options.Folder,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Dataset repository; created if missing.")],
    mode: Annotated[
        Mode, typer.Option(help="ids: no pixels, everything that rebuilds the clips; clips: everything.")
    ] = "ids",
    tag: Annotated[str, typer.Option(help="Tag of this release, e.g. v1.0.0; tags never move.")] = "",
    revision: Annotated[str, typer.Option(help="Branch; created from main if missing.")] = "main",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    gated: Annotated[Gated, typer.Option(help="Readers must ask for access: auto or manual.")] = "",
    evaluations: Annotated[
        list[Path] | None, typer.Option("--results", help="Results of `astm evaluate` for the card; repeatable.")
    ] = None,
    read_back: Annotated[
        ReadBack, typer.Option(help="full: download again; hashes: compare the Hub's; auto: full up to 1 GiB.")
    ] = "auto",
    workers: options.Workers = options.WORKERS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the release to DIR-release, send nothing.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Verify a dataset, publish it on the Hugging Face Hub and read it back.

    The token is read from HF_TOKEN or `hf auth login`. Resumes an interrupted upload: files that are there are not
    sent again. Exit codes: 1 the dataset may not be published; 2 unusable input; 3 try again.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from collection.cli import outcomes, shown
    from collection.release import publish as releases
    from collection.release.prepare import prepare
    from mlst.checking.lint import advice

    if as_json or not sys.stderr.isatty():
        disable_progress_bars()
    target = releases.Target(repository, revision, tag, private, gated)
    out = dataset.resolve().with_name(dataset.resolve().name + "-release")
    releases.check(target)
    release = prepare(dataset, out, mode, evaluations or [], workers)
    shown.advise(advice(release.dataset))
    if dry_run:
        outcomes.print_plan(release, target, releases.plan(release, target, HfApi()), as_json)
    else:
        outcomes.print_published(releases.publish(release, target, HfApi(), read_back), as_json)


def export(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Folder, URL or Hub id OWNER/NAME of a dataset, e.g. s3://bucket/name."),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder to write to: new, empty, or of the same export interrupted.", callback=check_folder),
    ],
    layout: Annotated[
        Layout,
        typer.Option(
            "--format",
            help="folder: mp4 files and metadata.jsonl; parquet: mp4 bytes in tables; lerobot: LeRobot v3; "
            "lance: a Lance dataset per split; mds: shards of MosaicML Streaming.",
        ),
    ],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the Hub; the main branch by default.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """Write a dataset in the layout of another library, and read every clip back.

    Run the same command again to go on after an interruption: what is there and right stays.
    """
    from collection.cli.console import counted, results, safe
    from collection.export.write import export as exported
    from mlst.records import canonical_json

    with counted("export", "clips") as tell:
        done = exported(dataset, out, layout, tell, revision)
    if as_json:
        print(canonical_json(done))
        return
    results.print(
        f"{number_of(done.clips, 'clip')} in {number_of(done.files, 'file')} in {safe(str(out))}; all read back as "
        "the index says." + ("" if done.written else " Nothing had to be written.")
    )


COMMANDS = (publish, export)
