"""Cuts fitted to the clips of a recipe's sources, before or without a build of them."""

from pathlib import Path

from collection import pipeline
from collection.engine.run import Driver
from collection.order import Order
from collection.recipe import RecipeError, read_recipe
from mlst.levels.calibration import THIRDS, calibrate
from mlst.levels.levels import Levels, bundled
from mlst.records import digest


def fit(order: Order, do: Driver, id: str, quantiles: tuple[float, float] = THIRDS) -> Levels:
    """Cuts of the order's definition at quantiles of the clips of its sources, which are scanned as in a build.

    Raises `CorpusError`, for fewer than 300 shots among others.
    """
    scans = pipeline.look(order, do).scanned.outputs
    clips = sorted((clip for scan in scans for clip in scan.clips), key=lambda clip: clip.key)
    return calibrate(
        [clip.statistics for clip in clips],
        [f"{clip.source}/{clip.shot}" for clip in clips],
        order.levels,
        id=id,
        corpus=f"{order.recipe.name} {order.recipe.version}",
        corpus_sha256=digest([[clip.key, clip.sha256] for clip in clips]),
        quantiles=quantiles,
    )


def awaited(path: Path) -> Path:
    """The thresholds file that the recipe `path` names, there or not yet.

    Raises `RecipeError` where it names cuts that come with `mlst`.
    """
    name = read_recipe(path).levels
    if name in bundled():
        raise RecipeError(
            f'{path}: levels = "{name}" comes with mlst and is never fitted; set levels = "levels.toml", the file '
            f"that fitted cuts are written to"
        )
    return path.resolve().parent / name


def lacks_thresholds(path: Path) -> bool:
    """Whether the recipe `path` names a thresholds file that is not there yet."""
    name = read_recipe(path).levels
    return name not in bundled() and not (path.resolve().parent / name).exists()
