"""The study, top to bottom."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from collection.engine.run import Driver, Result
from collection.engine.stage import Out
from collection.study.bits import CostStage
from collection.study.findings import Seen, Study, find
from collection.study.pieces import NothingToStudyError, local, pieces_of, sample
from collection.study.renditions import RENDITIONS, RenditionStage
from collection.study.sweeps import swept
from mlst.exits import UserError
from mlst.levels.levels import Levels

SCORES = "clips.parquet"
"""What `astm evaluate` writes beside its results: a row for each model and clip."""
TEXTS = ("label", "key")


class ScoresError(UserError, ValueError):
    """A file that is not one of `astm evaluate`."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many clips are looked at, at most."""

    costs: int
    renditions: int


def study(place: Path, levels: Levels, sizes: Sizes, scores: Mapping[str, Mapping[str, float]], do: Driver) -> Study:
    """Measure what a sample of clips costs and what their renditions are, and say what levels are worth.

    Raises `NothingToStudyError` and `ScoresError`.
    """
    root, pieces = pieces_of(place, levels, do)
    keys = {piece.key for piece in pieces}
    for title, errors in scores.items():
        if keys.isdisjoint(errors):
            raise ScoresError(f"{title}: none of its clips is in {place}; evaluate models on what is studied")
    rule = levels.active_picture
    costs = _measured(do(CostStage(rule), list(local(sample(pieces, sizes.costs), root, do.work))))
    remakes = _measured(
        do(RenditionStage(RENDITIONS, rule), list(local(sample(pieces, sizes.renditions), root, do.work)))
    )
    return find(str(place), levels, Seen(pieces, costs, remakes, list(swept()), scores))


def _measured(result: Result[Out]) -> list[Out]:
    """What a stage gave. Raises `NothingToStudyError` where every item failed."""
    found = list(result.outputs)
    undone = list(result.outcomes.undone)
    if undone and not found:
        raise NothingToStudyError(
            f"{result.stage}: none of {len(undone)} clips was done; the first: {undone[0].detail}"
        )
    return found


def read_scores(folders: Sequence[Path], metric: str) -> dict[str, dict[str, float]]:
    """Errors of evaluated models: by the model's label, and by clip. Raises `ScoresError`."""
    found: dict[str, dict[str, float]] = {}
    for folder in folders:
        for label, key, error in _rows(folder / SCORES, metric):
            if error is not None:
                found.setdefault(f"{metric} of {label}", {})[key] = error
    return found


def _rows(path: Path, metric: str) -> Iterator[tuple[str, str, float | None]]:
    """Label, key and score of every row. Raises `ScoresError`."""
    try:
        table = pq.read_table(path)
        texts = [table[name].to_pylist() for name in TEXTS]
    except (OSError, pa.ArrowException, KeyError) as why:
        raise ScoresError(f"{path}: {why}; give a folder that `astm evaluate` wrote") from None
    metrics = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    if metric not in metrics:
        raise ScoresError(f"{path} has no {metric}; metrics are {', '.join(metrics)}")
    return zip(*texts, table[metric].to_pylist(), strict=True)
