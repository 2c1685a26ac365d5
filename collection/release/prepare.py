"""A built dataset -> the folder that goes to the Hub, with the card, pictures and metadata of a release.

`clips` is the whole dataset; `ids` holds no pixels, only what the clips can be built from. Shards are hard links where
the file system allows it. The same dataset, mode and results give the same bytes.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from collection.licences import forbidden
from collection.manifest.table import ManifestError, write_manifest
from collection.pack.seal import Body, file_entry, put, seal
from collection.recipe import Recipe, RecipeError, read_recipe
from collection.report.figures import level_sheet, png, scatter
from collection.report.rows import read_rows
from collection.report.scores import measured_on
from collection.viewing.page import VIEWER, viewer
from collection.viewing.table import TABLE, table_bytes
from collection.workspace.folder import Workspace
from mlst.checking.lint import HUB, lint, lint_files
from mlst.checking.verify import Finding, verify
from mlst.dataset.card import Release
from mlst.dataset.croissant import CROISSANT
from mlst.dataset.description import (
    ATTRIBUTION,
    CARD,
    DATASET,
    EXCLUSIONS,
    INDEX,
    LOCK,
    RECIPE,
    REVIEW,
    THRESHOLDS,
    Dataset,
    File,
    read_dataset,
    write_json,
)
from mlst.dataset.lock import LockRow, read_lock
from mlst.exits import Exit, UserError
from mlst.files import atomic, link_or_copy
from mlst.levels.levels import find_levels, read_levels
from mlst.records import Source
from mlst.signed import is_signed, public
from mlst.text import number_of

Mode = Literal["ids", "clips"]
MODES: tuple[Mode, ...] = ("ids", "clips")

SHEET, SCATTER = "assets/levels.png", "assets/scatter.png"
CAPTIONS = {
    SHEET: "Clips of the nine levels: texture grows to the right, motion downwards",
    SCATTER: "Every clip by spatial and temporal information, with the thresholds between the levels",
}
SHOWN = 20
"""Sources that an error lists."""
DOTS = 80
"""Per inch, of the pictures."""

MARKER = ".cache/mlst-release"
"""Says that a folder is ours to write; never sent, and ignored by `mlst verify`."""


class ReleaseError(UserError, ValueError):
    """A dataset that cannot be released as asked; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A source whose clips may not be redistributed."""

    source: str
    licence: str
    clips: int
    why: str


class UnsoundError(ReleaseError):
    """`mlst verify --hub` has findings."""

    exit_code = Exit.WRONG

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(
            f"{number_of(len(findings), 'finding')}, so nothing is published; `mlst verify --hub DIR` lists them and "
            "the first is: "
            + "; ".join(part for part in (findings[0].rule, findings[0].path, findings[0].detail) if part)
        )
        self.findings = tuple(findings)


class SignedError(ReleaseError):
    """Sources whose addresses carry a signature: nobody else may use them, and they expire."""

    exit_code = Exit.WRONG

    def __init__(self, sources: Sequence[Source]) -> None:
        lines = [f"  {source.id}: {public(source.url)}" for source in sources[:SHOWN]]
        super().__init__(
            f"{number_of(len(sources), 'source has', 'sources have')} presigned addresses, with which nobody else "
            "can find them:\n"
            + "\n".join([*lines, *["  ..."] * (len(sources) > SHOWN)])
            + "\nGive these rows of the manifest lasting addresses, or the files beside the manifest, and build again."
        )
        self.sources = tuple(source.id for source in sources)


class LicenceError(ReleaseError):
    """Clips that may not be redistributed."""

    exit_code = Exit.WRONG

    def __init__(self, refused: Sequence[Refusal]) -> None:
        lines = [f"  {one.source}: {number_of(one.clips, 'clip')}, {one.why}" for one in refused]
        super().__init__(
            f"{number_of(sum(one.clips for one in refused), 'clip')} of {number_of(len(refused), 'source')} may not "
            "be redistributed:\n" + "\n".join(lines) + "\nPublish with --mode ids, or build without these sources."
        )
        self.refused = tuple(refused)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder ready to be sent."""

    folder: Path
    mode: Mode
    dataset: Dataset
    files: tuple[File, ...]
    """All of it, by path."""
    lists: tuple[str, ...]
    """Where the lists that the recipe names lie in a release of mode `ids`."""


def prepare(source: Path, out: Path, mode: Mode, results: Sequence[Path], workers: int) -> Prepared:
    """Check the dataset in `source` and make its release in `out`, a folder that this function alone writes.

    `results` are files that `astm evaluate` wrote.

    Raises `UnsoundError`, `SignedError`, `LicenceError` or `ReleaseError`.
    """
    findings = [*verify(source, workers).findings, *lint(source)]
    if findings:
        raise UnsoundError(findings)
    dataset, lock = read_dataset(source), list(read_lock(source / LOCK))
    if signed := [row.source for row in lock if is_signed(row.source.url)]:
        raise SignedError(signed)
    if mode == "clips" and (refused := refusals(lock, dataset.licence)):
        raise LicenceError(refused)
    measured = tuple(one for path in results for one in measured_on(source, path))
    before = _before(out)
    made, release = _clips(source, out, dataset) if mode == "clips" else _ids(source, out, dataset, lock)
    pictures = _pictures(source, out, (SHEET, SCATTER) if release.pixels else (SCATTER,))
    release = replace(release, pictures=_captions(pictures), measured=measured)
    dataset, files = seal(out, _body(dataset, [*made, *pictures], lock), release)
    files = (*files, put(out, DATASET, [write_json(dataset)]))
    _tidy(out, before, files)
    if findings := list(lint_files(out, dataset, files, HUB)):
        raise UnsoundError(findings)
    recipe = _recipe(source)
    named = (recipe.sources, recipe.levels, recipe.exclusions, recipe.select.review)
    lists = tuple(str(Path(name)) for name in named if name)
    return Prepared(out, mode, dataset, tuple(sorted(files, key=lambda file: file.path)), lists)


def refusals(lock: Iterable[LockRow], whole: str) -> list[Refusal]:
    """Sources with clips whose licence does not allow to pass these on; `whole` is the licence of the dataset.

    The source list's licence counts; where the site gave one when the video was fetched, that has to allow it too.
    """
    found = []
    for row in lock:
        for origin, licence in (("the source list", row.source.licence), ("the site", row.upstream.licence)):
            why = forbidden(licence.strip(), whole)
            said_nothing = origin == "the site" and not licence.strip()
            if row.chosen and why and not said_nothing:
                found.append(
                    Refusal(row.source.id, licence, row.chosen, f"{licence or 'no licence'!r} ({origin}): {why}")
                )
                break
    return found


def _clips(source: Path, out: Path, dataset: Dataset) -> tuple[list[File], Release]:
    """The whole dataset but for its card and metadata, which a release has of its own, and a player."""
    remade = (CARD, CROISSANT, TABLE, VIEWER)
    made = [_link(source, out, file) for file in dataset.files if file.path not in remade]
    made.append(put(out, TABLE, [table_bytes(source, dataset)]))
    made.append(put(out, VIEWER, [viewer(f"{dataset.title or dataset.name} {dataset.version}", "").encode()]))
    return made, Release(True, "", (), (), tuple(file for file in made if not file.path.startswith("data/")))


def _ids(source: Path, out: Path, dataset: Dataset, lock: Sequence[LockRow]) -> tuple[list[File], Release]:
    """All but the pixels, and the list of sources under the name that the recipe gives it."""
    names = (ATTRIBUTION, EXCLUSIONS, INDEX, LOCK, RECIPE, REVIEW, THRESHOLDS)
    made = [_link(source, out, file) for file in dataset.files if file.path in names]
    recipe = _recipe(source)
    sources = _inside(recipe.sources, "sources")
    try:
        write_manifest(out / sources, [row.source for row in lock])
    except ManifestError as why:
        raise ReleaseError(f"the list of sources cannot be written: {why}") from None
    made.append(file_entry(out, sources))
    if not _bundled(recipe.levels) and (levels := _inside(recipe.levels, "levels")) != THRESHOLDS:
        made.append(put(out, levels, [(source / THRESHOLDS).read_bytes()]))
    if recipe.exclusions and (exclusions := _inside(recipe.exclusions, "exclusions")) != EXCLUSIONS:
        made.append(put(out, exclusions, [(source / EXCLUSIONS).read_bytes()]))
    if recipe.select.review and (review := _inside(recipe.select.review, "select.review")) != REVIEW:
        made.append(put(out, review, [(source / REVIEW).read_bytes()]))
    return made, Release(False, sources, (), (), tuple(made))


def _body(dataset: Dataset, files: Sequence[File], lock: Sequence[LockRow]) -> Body:
    used = [row for row in lock if row.chosen]
    clips = {row.source.id: row.chosen for row in used}
    return Body(dataset, tuple(files), tuple(row.source for row in used), clips)


def _recipe(source: Path) -> Recipe:
    try:
        return read_recipe(source / RECIPE)
    except RecipeError as why:
        raise ReleaseError(str(why)) from None


def _bundled(levels: str) -> bool:
    with contextlib.suppress(ValueError):
        return find_levels(levels, Path("/nonexistent")).is_file()
    return False


def _inside(name: str, setting: str) -> str:
    """`name` without `./`, if it is a plain path below the recipe's folder."""
    parts = Path(name).parts
    taken = {ATTRIBUTION, CARD, CROISSANT, DATASET, INDEX, LOCK, RECIPE}
    if not parts or Path(name).is_absolute() or ".." in parts or name in taken:
        raise ReleaseError(
            f"recipe.toml says {setting} = {name!r}, which cannot be part of a release; "
            f"build with a recipe whose {setting} lie beside it"
        )
    return Path(name).as_posix()


def _pictures(source: Path, out: Path, wanted: Sequence[str]) -> list[File]:
    levels = read_levels(source / THRESHOLDS)
    rows = read_rows(source / INDEX, levels)
    make = {
        SHEET: lambda: level_sheet(Workspace(source, ""), rows, levels, per_level=1),
        SCATTER: lambda: scatter(rows, levels),
    }
    return [put(out, name, [png(make[name](), DOTS)]) for name in wanted]


def _captions(made: Sequence[File]) -> tuple[tuple[str, str], ...]:
    return tuple((path, caption) for path, caption in CAPTIONS.items() if path in {file.path for file in made})


def _before(out: Path) -> set[str]:
    """Files of the release that `out` holds already. Raises `ReleaseError` where `out` is something else."""
    if not (out / MARKER).exists():
        if out.exists() and any(out.iterdir()):
            raise ReleaseError(f"{out} exists and is not a release; move it away")
        with atomic(out / MARKER):
            pass
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()} - {MARKER}


def _tidy(out: Path, before: set[str], files: Sequence[File]) -> None:
    """Remove what an earlier release left."""
    for name in sorted(before - {file.path for file in files}):
        (out / name).unlink()
        with contextlib.suppress(OSError):  # until a folder is not empty
            for folder in (out / name).relative_to(out).parents:
                (out / folder).rmdir()


def _link(source: Path, out: Path, file: File) -> File:
    """Link or copy a file of the dataset, unless it is there already."""
    link_or_copy(source / file.path, out / file.path)
    return file
