"""`mlst manifest`: make, check, convert and describe source lists."""

import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from collection.addresses import host_of, is_web
from collection.engine.stage import Rejected, Retry
from collection.fetch.ytdlp import Access, Client, ConfigurationError
from collection.manifest.expand import ListError, expand, listers
from collection.manifest.importers import guess, import_list, importer, sample
from collection.manifest.table import ANYTHING, ManifestError, check_manifest, read_manifest, write_manifest
from collection.politeness.budget import Politeness
from collection.recipe import FetchSettings, RecipeError, read_recipe
from mlst.records import OPEN_END, Source

manifest = typer.Typer(help="Make, check, convert and describe lists of sources.", no_args_is_help=True)
results = Console(highlight=False)
UNUSABLE = 2

Out = Annotated[Path, typer.Option("--out", "-o", help="File to write: .csv, .jsonl or .parquet.")]
Licence = Annotated[str, typer.Option(help="Licence of the videos, as an SPDX identifier.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
RecipePath = Annotated[Path | None, typer.Option("--recipe", help="Recipe whose [fetch] table says what is allowed.")]
Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help=".csv, .jsonl or .parquet")]


class UnusableError(ValueError):
    """Options that cannot be used together or name nothing."""


@manifest.command("import")
def import_command(
    path: Annotated[Path, typer.Argument(metavar="LIST")],
    out: Out,
    kind: Annotated[str, typer.Option("--format", help=f'One of: {", ".join(importer)}; "" to guess.')] = "",
    licence: Licence = "unknown",
    limit: Annotated[int, typer.Option(min=0, help="Only the first N rows; 0 for all.")] = 0,
    count: Annotated[int, typer.Option("--sample", min=0, help="Only N rows chosen by a hash; 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Changes which rows --sample chooses.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Turn a public list of videos into a manifest."""
    with _refusals():
        if kind and kind not in importer:
            raise UnusableError(f"--format {kind!r} is unknown; choices are {', '.join(importer)}")
        chosen = kind or guess(path)
        found = import_list(path, chosen, licence)
        rows = found.sources[:limit] if limit else found.sources
        rows = sample(rows, count, seed) if count else rows
        write_manifest(out, rows)
    facts = {"format": chosen, "rows": len(rows), "duplicates": found.duplicates, "foreign": found.foreign}
    _say({"manifest": str(out), **facts}, as_json)


@manifest.command("expand")
def expand_command(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Playlists or channels.")],
    out: Out,
    licence: Licence = "unknown",
    most: Annotated[int, typer.Option("--limit", min=1, help="Videos per URL at most.")] = 10_000,
    recipe: RecipePath = None,
    cookies: Annotated[str, typer.Option(help="Netscape cookie file, readable by you alone.")] = "",
    proxy: Annotated[str, typer.Option(help="URL of a proxy.")] = "",
    work: Annotated[Path | None, typer.Option(help="Workspace of a build, to share its request budget.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the videos of playlists and channels as a manifest, without asking for each video."""
    rows: dict[str, Source] = {}
    with _refusals(), tempfile.TemporaryDirectory() as scratch:
        fetch = _settings(recipe, FetchSettings())
        access, folder = Access(cookies, proxy), work or Path(scratch)
        polite = Politeness(folder / "politeness", access.address, access.budget)
        with Client(listers(fetch.extractors), access, folder / "yt-dlp", polite, math.inf) as client:
            for url in urls:
                for source in expand(url, client, fetch, licence, most):
                    rows.setdefault(source.id, source)
        write_manifest(out, rows.values())
    _say({"manifest": str(out), "rows": len(rows)}, as_json)


@manifest.command("check")
def check_command(path: Manifest, recipe: RecipePath = None, as_json: AsJson = False) -> None:
    """Read a manifest strictly; say every problem with row, column, value and what is allowed."""
    try:
        rows = check_manifest(path, _settings(recipe, ANYTHING))
    except ManifestError as why:
        if not as_json:
            _refuse(str(why))
        found = [{"row": p.row, "column": p.column, "value": p.value, "allowed": p.allowed} for p in why.problems]
        print(json.dumps({"manifest": str(path), "ok": False, "problems": found}))
        raise typer.Exit(UNUSABLE) from None
    except RecipeError as why:
        _refuse(str(why))
    _say({"manifest": str(path), "ok": True, "rows": len(rows)}, as_json)


@manifest.command("convert")
def convert_command(path: Manifest, out: Out, as_json: AsJson = False) -> None:
    """Write a manifest in another format; every field keeps its meaning."""
    with _refusals():
        rows = read_manifest(path, ANYTHING)
        if out.parent.resolve() != path.parent.resolve() and not all(is_web(row.url) for row in rows):
            raise UnusableError(
                f"{path} names files beside it; --out must lie in the same folder, or they are not found"
            )
        write_manifest(out, rows)
    _say({"manifest": str(out), "rows": len(rows)}, as_json)


@manifest.command("show")
def show_command(path: Manifest, as_json: AsJson = False) -> None:
    """Count a manifest's rows by licence, host and provenance, and add up its spans."""
    with _refusals():
        rows = read_manifest(path, ANYTHING)
    facts = summary(rows)
    if as_json:
        print(json.dumps(facts))
        return
    _say({name: value for name, value in facts.items() if not isinstance(value, dict)}, False)
    for name, counts in facts.items():
        if isinstance(counts, dict):
            _table(name, counts)


def summary(rows: tuple[Source, ...]) -> dict[str, Any]:
    """Counts of a manifest for `show`; labels behind a list's name in the provenance are left off."""
    spans = [row.end - row.start for row in rows if row.end != OPEN_END]
    return {
        "rows": len(rows),
        "videos": len({row.url for row in rows}),
        "groups": len({row.group for row in rows}),
        "span_seconds": float(sum(spans)),
        "whole_videos": len(rows) - len(spans),
        "licence": _counts(row.licence for row in rows),
        "host": _counts(host_of(row.url) for row in rows),
        "provenance": _counts(row.provenance.split(": ")[0] for row in rows),
    }


def _counts(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _settings(recipe: Path | None, otherwise: FetchSettings) -> FetchSettings:
    return read_recipe(recipe).fetch if recipe else otherwise


def _say(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
    else:
        _table("", facts)


def _table(name: str, facts: Mapping[str, Any], most: int = 20) -> None:
    table = Table(title=name or None, show_header=False, title_justify="left")
    for key, value in list(facts.items())[:most]:
        table.add_row(escape(str(key)), escape(str(value)))
    if len(facts) > most:
        table.add_row(f"... {len(facts) - most} more", "")
    results.print(table)


def _refuse(why: str) -> None:
    print(f"error: {why}", file=sys.stderr)
    raise typer.Exit(UNUSABLE)


@contextmanager
def _refusals() -> Iterator[None]:
    """What the user can mend becomes a message and exit status 2; bugs keep their traceback."""
    try:
        yield
    except (Rejected, Retry) as why:
        _refuse(f"{why.kind}: {why.detail}")
    except (ManifestError, RecipeError, ListError, ConfigurationError, UnusableError, OSError) as why:
        _refuse(str(why))
