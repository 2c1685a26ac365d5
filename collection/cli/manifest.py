"""`mlst manifest`: make, check, convert and describe source lists."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collection.cli import options
from mlst.exits import UserError, check_file, check_folder

if TYPE_CHECKING:
    from mlst.records import Source

FORMATS = ("audioset", "clipshots", "ids", "kinetics", "vggsound")

Out = Annotated[
    Path, typer.Option("--out", "-o", help="File to write: .csv, .jsonl or .parquet.", callback=check_file)
]
Licence = Annotated[str, typer.Option(help="Licence of the videos, as an SPDX identifier.")]
Recipe = Annotated[Path | None, typer.Option("--recipe", help="Recipe whose [fetch] table says what is allowed.")]
Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A .csv, .jsonl or .parquet file.")]


def import_(
    path: Annotated[Path, typer.Argument(metavar="LIST", help="A public list of videos.")],
    out: Out,
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help=f"Format of LIST, guessed by default: {', '.join(FORMATS)}.",
            autocompletion=options.completed(*FORMATS),
        ),
    ] = "",
    licence: Licence = "unknown",
    limit: Annotated[int, typer.Option(min=0, help="Use only the first N rows; 0 for all.")] = 0,
    count: Annotated[int, typer.Option("--sample", min=0, help="Use only N rows chosen by hash; 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Changes which rows --sample chooses.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Turn a public list of videos into a manifest."""
    from collection.cli.shown import print_facts
    from collection.manifest.importers import guess, import_list, importer, sample
    from collection.manifest.table import write_manifest

    if kind and kind not in importer:
        raise UserError(f"--format {kind!r} is unknown; choices are {', '.join(importer)}")
    with _files():
        _check_other(path, out)
        chosen = kind or guess(path)
        found = import_list(path, chosen, licence)
        rows = found.sources[:limit] if limit else found.sources
        rows = sample(rows, count, seed) if count else rows
        write_manifest(out, rows)
    facts = {"format": chosen, "rows": len(rows), "duplicates": found.duplicates, "foreign": found.foreign}
    print_facts("", {"manifest": str(out), **facts}, as_json)


def expand(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Playlists or channels.")],
    out: Out,
    licence: Licence = "unknown",
    most: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of videos per URL.")] = 10_000,
    recipe: Recipe = None,
    cookies: options.Cookies = "",
    proxy: options.Proxy = "",
    work: Annotated[Path | None, typer.Option(help="Workspace of a build, to share its request limit.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the videos of playlists and channels in a manifest, without a request for each video."""
    import math
    import tempfile

    from collection.cli.shown import print_facts
    from collection.engine.stage import Rejected, Retry
    from collection.fetch.ytdlp import Access, Client
    from collection.manifest import expand as lists
    from collection.manifest.table import write_manifest
    from collection.politeness.budget import Politeness
    from collection.recipe import FetchSettings, read_recipe
    from mlst.records import Source

    fetch = read_recipe(recipe).fetch if recipe else FetchSettings()
    access, rows = Access(cookies, proxy), dict[str, Source]()
    with _files(), tempfile.TemporaryDirectory() as scratch:
        folder = check_folder(work or Path(scratch))
        polite = Politeness(folder / "politeness", access.address, access.budget)
        try:
            names, cache = lists.listers(fetch.extractors), folder / "yt-dlp"
            with Client(names, access, cache, polite, math.inf, private=fetch.private) as client:
                for url in urls:
                    for row in lists.expand(url, client, fetch, licence, most):
                        rows.setdefault(row.id, row)
        except (Rejected, Retry) as why:
            raise UserError(f"{why.kind}: {why.detail}") from None
        write_manifest(out, rows.values())
    print_facts("", {"manifest": str(out), "rows": len(rows)}, as_json)


def check(path: Manifest, recipe: Recipe = None, as_json: options.AsJson = False) -> None:
    """Read a manifest strictly and list every problem: row, column, value and what is allowed."""
    import json

    from collection.cli.shown import print_facts
    from collection.manifest.table import ANYTHING, ManifestError, check_manifest
    from collection.recipe import read_recipe

    allowed = read_recipe(recipe).fetch if recipe else ANYTHING
    try:
        rows = check_manifest(path, allowed)
    except ManifestError as why:
        if not as_json:
            raise
        found = [{"row": p.row, "column": p.column, "value": p.value, "allowed": p.allowed} for p in why.problems]
        print(json.dumps({"manifest": str(path), "ok": False, "problems": found}))
        raise typer.Exit(why.exit_code) from None
    print_facts("", {"manifest": str(path), "ok": True, "rows": len(rows)}, as_json)


def convert(path: Manifest, out: Out, as_json: options.AsJson = False) -> None:
    """Write a manifest in another format; every field keeps its meaning."""
    from collection.cli.shown import print_facts
    from collection.manifest.table import ANYTHING, read_manifest, write_manifest

    with _files():
        rows = read_manifest(path, ANYTHING)
        _check_beside(path, out, rows)
        write_manifest(out, rows)
    print_facts("", {"manifest": str(out), "rows": len(rows)}, as_json)


def sample(
    path: Manifest,
    out: Out,
    count: Annotated[int, typer.Option("--sample", min=1, help="Number of rows.")] = 100,
    seed: Annotated[int, typer.Option(help="Changes which rows are chosen.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Choose rows for a pilot: of each list, licence and host its share, labels and groups in turns."""
    from collection.cli.shown import print_facts
    from collection.manifest.pilot import pilot, strata
    from collection.manifest.table import ANYTHING, read_manifest, write_manifest

    with _files():
        _check_other(path, out)
        rows = read_manifest(path, ANYTHING)
        _check_beside(path, out, rows)
        chosen = pilot(rows, count, seed)
        write_manifest(out, chosen)
    facts = {"rows": len(chosen), "of": len(rows), "strata": len(strata(chosen)), "of_strata": len(strata(rows))}
    print_facts("", {"manifest": str(out), **facts}, as_json)


def show(path: Manifest, as_json: options.AsJson = False) -> None:
    """Count a manifest's rows by licence, host and provenance, and add up its spans."""
    from collection.cli.shown import print_facts, print_lines
    from collection.manifest.summary import summary
    from collection.manifest.table import ANYTHING, read_manifest

    facts = summary(read_manifest(path, ANYTHING))
    if as_json:
        print_facts("", facts, as_json)
        return
    print_facts("", {name: value for name, value in facts.items() if not isinstance(value, dict)}, False)
    for name, counts in facts.items():
        if isinstance(counts, dict):
            print_facts(name, dict(list(counts.items())[:20]), False)
            print_lines([f"... {len(counts) - 20} more"] * (len(counts) > 20))


def _check_beside(path: Path, out: Path, rows: "Iterable[Source]") -> None:
    from collection.addresses import is_web

    if out.parent.resolve() != path.parent.resolve() and not all(is_web(row.url) for row in rows):
        raise UserError(f"{path} names files beside it; --out must be in the same folder, or they are not found")


def _check_other(path: Path, out: Path) -> None:
    """What is written has less in it than what is read."""
    if out.exists() and path.exists() and out.samefile(path):
        raise UserError(f"--out {out} would replace {path}, and rows of it would be lost; give another name")


@contextmanager
def _files() -> Iterator[None]:
    """A file of the user's that cannot be read or written is unusable input."""
    try:
        yield
    except OSError as why:
        raise UserError(str(why)) from None


COMMANDS = (import_, expand, check, convert, sample, show)
