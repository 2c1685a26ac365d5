"""Everything a build needs from the user, read and checked before anything is fetched or decoded."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from collection.detectors import make_detector
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.filters import NO_FILTER, ClipFilter, find_filter
from collection.manifest.table import read_manifest
from collection.recipe import Recipe, RecipeError, read_recipe
from collection.review import NO_REVIEW, Review, ReviewError, parse_review
from collection.workspace.folder import Workspace
from mlst.dataset.description import EXCLUSIONS, INDEX, LOCK, RECIPE, REVIEW, THRESHOLDS, read_dataset
from mlst.dataset.exclusions import Exclusions, ExclusionsError, parse_exclusions
from mlst.dataset.index import read_index_columns
from mlst.dataset.lock import read_lock
from mlst.levels.flags import NEEDS
from mlst.levels.levels import Levels, find_levels, read_levels
from mlst.records import STATISTICS, Source

NOTHING = Exclusions("none", frozenset())


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built, read and checked."""

    recipe: Recipe
    recipe_toml: bytes
    sources: tuple[Source, ...]
    levels: Levels
    levels_toml: bytes
    fetch: FetchStage
    preferred: frozenset[str]
    """Keys of clips of an earlier release, preferred wherever there is a choice; see `select`."""
    exclusions_txt: bytes
    """The list of sources that must not be used, as it is; empty for none."""
    review: Review = NO_REVIEW
    """What a person said of clips."""
    review_csv: bytes = b""
    """The same as it is; empty for nothing."""
    filter: ClipFilter = NO_FILTER
    """What changes the pictures of clips."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The statistics to measure."""
        return columns(self.recipe.scan.columns, self.levels)


def read_order(path: Path, access: Access, levels: str = "") -> Order:
    """The recipe `path` with its manifest and thresholds; `levels` are used instead of the recipe's unless "".

    Raises `RecipeError`, `ManifestError` or `ConfigurationError`; each names file, setting and value.
    """
    recipe = read_recipe(path)
    folder = path.resolve().parent
    try:
        thresholds = find_levels(levels or recipe.levels, folder)
    except ValueError as why:
        raise RecipeError(f"{path}: {why}") from None
    sources = read_manifest(folder / recipe.sources, recipe.fetch)
    listed = folder / recipe.exclusions if recipe.exclusions else None
    order = _order(path, recipe, thresholds, sources, folder / Path(recipe.sources).parent, listed, access)
    return _reviewed(order, folder / recipe.select.review) if recipe.select.review else order


def reorder(dataset: Path, files: Path, access: Access) -> Order:
    """What builds the dataset in the folder `dataset` again, from itself alone: its recipe and thresholds, the sources
    of its lock, its exclusions; its clips are preferred. Local sources are relative to `files`.

    Raises as `read_order`.
    """
    path = dataset / RECIPE
    try:
        read_dataset(dataset)
        recipe = read_recipe(path)
        sources = tuple(row.source for row in read_lock(dataset / LOCK))
        preferred = frozenset(read_index_columns(dataset / INDEX, ["key"])["key"].to_pylist())
    except FileNotFoundError as why:
        raise RecipeError(f"{why.filename}: no such file; give the folder of a dataset") from None
    except (OSError, ValueError) as why:
        raise RecipeError(f"{dataset}: {why}; give the folder of a dataset that `mlst verify` finds sound") from None
    listed = dataset / EXCLUSIONS if (dataset / EXCLUSIONS).exists() else None
    order = _order(path, recipe, dataset / THRESHOLDS, sources, files.resolve(), listed, access)
    order = _reviewed(order, dataset / REVIEW) if (dataset / REVIEW).exists() else order
    return replace(order, preferred=preferred)


def _reviewed(order: Order, path: Path) -> Order:
    """The order with the review in the file `path`. Raises `RecipeError`."""
    try:
        if path.exists() and not path.is_file():
            raise ReviewError(f"{path} is not a regular file")
        text = path.read_bytes()
        return replace(order, review=parse_review(text, str(path)), review_csv=text)
    except (OSError, ReviewError) as why:
        raise RecipeError(f"select.review: {why}") from None


def _order(
    path: Path,
    recipe: Recipe,
    thresholds: Path,
    sources: tuple[Source, ...],
    files: Path,
    exclusions: Path | None,
    access: Access,
) -> Order:
    access.check()
    try:
        make_detector(recipe.scan.detector, recipe.scan.options, Fraction(25))
        changed = find_filter(recipe.scan.filter)
        levels = read_levels(thresholds)
        _check_measured(recipe, levels)
    except ValueError as why:
        raise RecipeError(f"{path}: {why}") from None
    refused = read_exclusions(exclusions) if exclusions else NOTHING
    excluded = frozenset(source.id for source in sources if refused.excludes(source))
    fetch = FetchStage(recipe.fetch, str(files), access, excluded)
    text = refused.text() if exclusions else b""
    order = Order(recipe, path.read_bytes(), sources, levels, thresholds.read_bytes(), fetch, frozenset(), text)
    return replace(order, filter=changed)


def columns(setting: str | tuple[str, ...], levels: Levels) -> tuple[str, ...]:
    """The statistics that a recipe's `scan.columns` asks for under a definition of the levels, in their order."""
    sets: dict[str | tuple[str, ...], tuple[str, ...]]
    sets = {"default": levels.columns, "all": STATISTICS, "needed": ()}
    wanted = levels.needed | set(sets.get(setting, setting))
    return tuple(name for name in STATISTICS if name in wanted)


def _check_measured(recipe: Recipe, levels: Levels) -> None:
    """Raise ValueError for a flag that nothing tells of, and for the range of a statistic that is not measured."""
    measured = columns(recipe.scan.columns, levels)
    asked = {f"reject names {flag}, which": NEEDS.get(flag, ()) for flag in recipe.select.reject}
    asked |= {f"keep.{name}": (name,) for name in recipe.select.keep}
    for what, needs in asked.items():
        if lacking := set(needs) - set(measured):
            raise ValueError(
                f'select.{what} needs {", ".join(sorted(lacking))}: add this to scan.columns, or set it to "all"'
            )


def read_exclusions(path: Path) -> Exclusions:
    """The list in the file `path`. Raises `RecipeError`."""
    try:
        return parse_exclusions(path.read_bytes(), str(path))
    except (OSError, ExclusionsError) as why:
        raise RecipeError(f"exclusions: {why}") from None


def keep_exclusions(out: Workspace, exclusions_txt: bytes) -> None:
    """Raise `RecipeError` if building into `out` would forget exclusions of the dataset that is there already."""
    if not out.exists(EXCLUSIONS):
        return
    path = out.path(EXCLUSIONS)
    before = read_exclusions(path)
    now = parse_exclusions(exclusions_txt, EXCLUSIONS) if exclusions_txt else NOTHING
    if lost := before.hashes - now.hashes:
        raise RecipeError(
            f"{path} excludes sources ({len(lost)} names) that the recipe does not; copy it beside the recipe and set "
            f'exclusions = "{EXCLUSIONS}"'
        )
