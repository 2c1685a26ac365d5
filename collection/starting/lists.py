"""A recipe and a manifest for a list of videos or a folder of them, so that it can be built from as it is.

They are written once and used from then on: what the user changes in the recipe holds, and a list or folder that has
changed since is refused, for it would be another dataset under the same name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath

from collection.addresses import is_web, is_youtube
from collection.manifest.importers import Entry, guess, import_list, row_of
from collection.manifest.table import (
    ANYTHING,
    COLUMNS,
    ManifestError,
    Report,
    clean,
    read_manifest,
    text_lines,
    write_manifest,
)
from collection.starting.template import RECIPE, RECIPE_TEXT, StartError, dataset_name, write_new
from collection.workspace.folder import workspace_of
from collection.workspace.store import finished
from mlst.dataset.remote import is_url
from mlst.records import OPEN_END, Source
from mlst.tars import VIDEOS

TABLES = (".jsonl", ".parquet")
"""Suffixes of manifests that no other list has."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What stands for a list or a folder from now on."""

    recipe: Path
    sources: Path
    rows: int
    fresh: bool
    """Whether the recipe was made just now."""


def is_recipe(given: Path) -> bool:
    """Whether a path is meant as that of a recipe: by its suffix, or a folder with one inside."""
    return given.suffix == ".toml" or (given / RECIPE).is_file()


def take(given: Path, out: str, work: str) -> Taken:
    """The recipe and the manifest of a list or a folder for the dataset `out`, made unless they are there.

    Both are beside the dataset, or where files that they name do not lie below that folder (or it is a URL) beside the
    list or in the folder itself: a manifest names files below its own folder. Raises `StartError`, and `ManifestError`
    for lists that cannot be used.
    """
    base = given if given.is_dir() else given.parent
    rows = _listed(given, [Path(place) for place in (out, workspace_of(out, work)) if not is_url(place)])
    place = _place(base, out, any(not is_web(row.url) for row in rows))
    name = dataset_name(Path(PurePosixPath(out.rstrip("/")).name)) if is_url(out) else dataset_name(Path(out))
    made = Taken(place / f"{name}.{RECIPE}", place / f"{name}.sources.csv", len(rows), False)
    rows = tuple(_seen_from(row, base, place) for row in rows)
    try:
        place.mkdir(parents=True, exist_ok=True)
        return _written(made, name, rows, given)
    except (PermissionError, NotADirectoryError, FileExistsError) as why:
        raise StartError(
            f"{why.filename}: {why.strerror}: recipe and manifest cannot be written there; give --out a place below "
            "whose folder the videos lie"
        ) from None


def drafted(given: Path, folder: Path) -> Path:
    """The recipe of a list or a folder, with its manifest in the empty `folder`, to be read and thrown away: files are
    named as seen from the list. Raises as `take`."""
    rows = _listed(given, [])
    name = dataset_name(given.with_suffix(""))
    return _written(Taken(folder / RECIPE, folder / "sources.csv", len(rows), False), name, rows, given).recipe


def _written(made: Taken, name: str, rows: tuple[Source, ...], given: Path) -> Taken:
    """Write what is not there yet. Raises `StartError` where a manifest of other rows is there."""
    if not made.sources.exists():
        write_manifest(made.sources, rows)
    elif (there := read_manifest(made.sources, ANYTHING)) != rows:
        raise StartError(
            f"{made.sources} was made before and has other rows ({len(there)}) than {given} has now ({len(rows)}); "
            f"delete it to take the list anew, or build {made.recipe} to use it as it is"
        )
    if made.recipe.exists():
        return made
    write_new(made.recipe, _recipe_text(name, made.sources.name, rows))
    return replace(made, fresh=True)


def _recipe_text(name: str, sources: str, rows: tuple[Source, ...]) -> str:
    """A recipe that allows what the rows name and no more."""
    tube = any(is_youtube(row.url) for row in rows)
    http = any(is_web(row.url) and not is_youtube(row.url) for row in rows)
    return RECIPE_TEXT.format(
        name=name,
        sources=sources,
        extractors='["youtube"]' if tube else "[]",
        http=str(http).lower(),
        local=str(not all(is_web(row.url) for row in rows)).lower(),
    )


def _listed(given: Path, passed_over: list[Path]) -> tuple[Source, ...]:
    if given.is_dir():
        return tuple(_videos(given, [place.resolve() for place in passed_over])) or _none(given)
    if not given.exists():
        raise StartError(f"{given}: no such file; give a recipe.toml, a list of videos or a folder of videos")
    if given.suffix in TABLES or _has_columns(given):
        return read_manifest(given, ANYTHING)
    try:
        kind = guess(given)
    except ManifestError as why:
        raise StartError(f"{why}; `mlst manifest import` takes --format and makes a manifest of it") from None
    return import_list(given, kind).sources


def _has_columns(given: Path) -> bool:
    """Whether a text file begins as a manifest does: with a line that names most of its columns."""
    _, line = next(text_lines(given, Report(given)), (0, ""))
    return given.suffix == ".csv" and len(set(line.replace('"', "").split(",")) & set(COLUMNS)) > len(COLUMNS) // 2


def _videos(folder: Path, passed_over: list[Path]) -> Iterator[Source]:
    for path in finished(folder):
        inside = any(path.resolve().is_relative_to(place) for place in passed_over)
        if path.suffix.lower() in VIDEOS and not inside:
            url = _as_file(path.relative_to(folder).as_posix())
            row = row_of(Entry(url, Fraction(0), OPEN_END, ""), "unknown", "a folder of videos")
            yield replace(row, title=clean(path.stem, "title"))


def _none(folder: Path) -> tuple[Source, ...]:
    raise StartError(f"{folder} has neither a {RECIPE} nor videos ({', '.join(VIDEOS)}); `mlst init` makes a recipe")


def _as_file(name: str) -> str:
    """The path of a file as manifests write it: `./` before what would mean something else."""
    return f"./{name}" if is_web(name) or is_youtube(name) or name.startswith("~") else name


def _place(base: Path, out: str, has_files: bool) -> Path:
    """The folder for recipe and manifest."""
    if is_url(out):
        return base
    beside = Path(out).parent
    return beside if not has_files or base.resolve().is_relative_to(beside.resolve()) else base


def _seen_from(row: Source, base: Path, place: Path) -> Source:
    """A row whose file is named relative to `base`, named relative to a folder above it."""
    steps = base.resolve().relative_to(place.resolve()).parts if not is_web(row.url) else ()
    return replace(row, url=_as_file("/".join((*steps, row.url.removeprefix("./"))))) if steps else row
