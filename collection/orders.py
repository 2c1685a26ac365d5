"""Everything a build needs from the user, read and checked before anything is fetched or decoded."""

from fractions import Fraction
from pathlib import Path

from collection.detectors import make_detector
from collection.fetch import FetchStage
from collection.manifest import read_manifest
from collection.pipeline import Order
from collection.recipe import RecipeError, read_recipe
from collection.ytdlp import Access
from mlst.levels import find_levels, read_levels


def read_order(path: Path, access: Access) -> Order:
    """The recipe `path` with its manifest and thresholds.

    Raises `RecipeError`, `ManifestError` or `ConfigurationError`; each names file, setting and value.
    """
    recipe = read_recipe(path)
    folder = path.resolve().parent
    access.check()
    try:
        make_detector(recipe.scan.detector, recipe.scan.options, Fraction(25))
        thresholds = find_levels(recipe.levels, folder)
        levels = read_levels(thresholds)
    except ValueError as why:
        raise RecipeError(f"{path}: {why}") from None
    sources = read_manifest(folder / recipe.sources, recipe.fetch)
    fetch = FetchStage(recipe.fetch, str(folder / Path(recipe.sources).parent), access)
    return Order(recipe, path.read_bytes(), sources, levels, thresholds.read_bytes(), fetch, frozenset())
