"""What the parts are joined under: the recipe of the whole, without its list of sources, which the parts have."""

from dataclasses import dataclass
from pathlib import Path

from collection.order import read_exclusions
from collection.recipe import Recipe, RecipeError, read_recipe
from collection.review import Review, ReviewError, parse_review
from mlst.dataset.exclusions import Exclusions
from mlst.inside import opened
from mlst.levels.levels import Levels, find_levels, read_levels

NOTHING = Exclusions("none", frozenset())


@dataclass(frozen=True, slots=True)
class Terms:
    """A recipe and what it names but the sources, read and checked."""

    recipe: Recipe
    recipe_toml: bytes
    levels: Levels
    levels_toml: bytes
    exclusions: Exclusions
    exclusions_txt: bytes
    """Empty for none, as the next."""
    review: Review
    review_csv: bytes


def read_terms(path: Path) -> Terms:
    """The recipe at `path`. Raises `RecipeError`."""
    recipe, folder = read_recipe(path), path.resolve().parent
    try:
        thresholds = find_levels(recipe.levels, folder)
        levels, levels_toml = read_levels(thresholds), thresholds.read_bytes()
        review_csv = _read(folder / recipe.select.review) if recipe.select.review else b""
        review = parse_review(review_csv, recipe.select.review) if review_csv else Review({})
    except (OSError, ReviewError, ValueError) as why:
        raise RecipeError(f"{path}: {why}") from None
    exclusions = read_exclusions(folder / recipe.exclusions) if recipe.exclusions else NOTHING
    exclusions_txt = exclusions.text() if recipe.exclusions else b""
    return Terms(recipe, path.read_bytes(), levels, levels_toml, exclusions, exclusions_txt, review, review_csv)


def _read(path: Path) -> bytes:
    with opened(path) as file:
        return file.read()
