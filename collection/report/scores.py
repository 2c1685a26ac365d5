"""What was measured on a dataset, as `astm evaluate` writes it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mlst.dataset.card import Measured
from mlst.exits import UserError


class ScoresError(UserError, ValueError):
    """A file that holds no results."""


class _Score(BaseModel):
    model_config = ConfigDict(extra="ignore")
    metric: str
    mean: float


class _Group(BaseModel):
    level: str
    clips: int
    scores: list[_Score]


class _Evaluation(BaseModel):
    label: str
    split: str
    protocol: str
    groups: list[_Group]


def read_measured(path: Path) -> Iterator[Measured]:
    """What cards and reports show of a file that `astm evaluate` wrote. Raises `ScoresError`."""
    try:
        evaluations = TypeAdapter(list[_Evaluation]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as why:
        raise ScoresError(f"{path} is not a result of `astm evaluate`: {why}") from None
    for one in evaluations:
        means: dict[str, list[tuple[str, int, float]]] = {}
        for group in one.groups:
            for score in group.scores:
                means.setdefault(score.metric, []).append((group.level, group.clips, score.mean))
        for metric, groups in means.items():
            yield Measured(one.label, one.split, one.protocol, metric, tuple(groups))
