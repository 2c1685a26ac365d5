"""Options and arguments that several commands share, and groups of them (see `grouping`). Light: `mlst --help` imports
this and no more."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from mlst.exits import check_folder


def completed(*names: str) -> Callable[[str], list[str]]:
    """What a shell offers for the value of an option: those of the names that begin as what was typed."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def writable(place: str) -> str:
    """`place`, if it is a URL, a folder that can be written to, or "" for none. Raises as `check_folder`."""
    if place and "://" not in place:
        check_folder(Path(place))
    return place


WAVE = 256
"""Sources kept on disk at once: some 10 GB of 360-line YouTube videos of ten minutes."""
RATE = 40.0
"""Requests a minute to one site."""
WORKERS = 2
LOOK = 2.0
"""Seconds between two looks at a build that runs elsewhere."""
EXECUTORS = ("local", "ray")

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="Path of a recipe.toml.")]
Buildable = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="A recipe.toml, a list of videos, or a folder of videos."),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a built dataset.")]
Place = Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a dataset, e.g. s3://bucket/name.")]
Out = Annotated[
    str,
    typer.Option(help="Folder or URL to write the dataset to, e.g. s3://bucket/name.", callback=writable),
]
WorkBesideOut = Annotated[
    str, typer.Option(help="Folder or URL of the workspace; OUT-work by default.", callback=writable)
]
Sources = Annotated[
    Path | None,
    typer.Option("--sources", exists=True, file_okay=False, help="Base folder of local source files."),
]
Workers = Annotated[int, typer.Option(min=1, help="Number of parallel workers.")]
Executor = Annotated[
    str,
    typer.Option(
        "--executor",
        help=f"Where the work is done: {' or '.join(EXECUTORS)}.",
        autocompletion=completed(*EXECUTORS),
    ),
]
Address = Annotated[
    str,
    typer.Option(help='Ray cluster to join, e.g. "auto" or HOST:PORT; by default, Ray runs on this machine.'),
]
Cookies = Annotated[
    str, typer.Option(help="Netscape cookie file, readable by you alone; its content is never logged.")
]
Proxy = Annotated[str, typer.Option(help="URL of a proxy for fetching.")]
ExtractorArgs = Annotated[
    list[str],
    typer.Option(
        "--extractor-args",
        metavar="EXTRACTOR:ARGS",
        help='Arguments of a yt-dlp extractor, e.g. "youtube:player_client=web,tv"; never recorded.',
    ),
]
ExtractorArgsFile = Annotated[
    str, typer.Option("--extractor-args-file", help="File of such arguments, one per line, readable by you alone.")
]
Plugins = Annotated[
    list[str],
    typer.Option("--yt-dlp-plugin", metavar="NAME", help="Installed package whose yt-dlp plug-ins may be used."),
]
Rate = Annotated[float, typer.Option("--requests-per-minute", min=0.01, help="Request limit, shared by all workers.")]
Retry = Annotated[bool, typer.Option("--retry", help="Try quarantined items again.")]
RequireSandbox = Annotated[
    bool, typer.Option("--require-sandbox", help="Refuse to run where workers cannot be confined.")
]
Check = Annotated[
    bool, typer.Option("--check", help="Read all of workspace and dataset again, and make anew what is damaged.")
]
Wave = Annotated[int, typer.Option(min=1, help="Sources kept on disk at once.")]
KeepVideos = Annotated[bool, typer.Option("--keep-videos", help="Keep fetched videos after they are scanned.")]
Verify = Annotated[bool, typer.Option("--verify/--no-verify", help="Verify the result, decoding every clip.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Fetching:
    """How sites are asked: options of every command that fetches."""

    cookies: Cookies = ""
    proxy: Proxy = ""
    extractor_args: ExtractorArgs = field(default_factory=list)
    extractor_args_file: ExtractorArgsFile = ""
    plugins: Plugins = field(default_factory=list)
    rate: Rate = RATE


@dataclass(frozen=True, slots=True)
class Working:
    """Who works: options of every command that runs the stages of a build."""

    workers: Workers = WORKERS
    executor: Executor = "local"
    address: Address = ""
    require_sandbox: RequireSandbox = False


@dataclass(frozen=True, slots=True)
class Going:
    """How a build goes through its sources."""

    retry: Retry = False
    wave: Wave = WAVE
    keep_videos: KeepVideos = False
