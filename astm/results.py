"""What an evaluation found, and the files that it is kept in."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlst import files
from mlst.exits import UserError
from mlst.records import decode, encode

FORMAT = "astm-evaluation/1"
ALL = "all"
"""Name of the group of all clips."""


class EvaluationError(UserError, ValueError):
    """Evaluations that cannot be made or read; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one model on clips of one size."""

    parameters: int
    macs: int
    """Multiply-accumulates to predict one clip."""
    activation_bytes: int
    """Kept for the backward pass of one clip; the paper's memory column is training memory of one sample."""
    peak_bytes: int
    """Most memory a CUDA device held while predicting; 0 on a CPU."""
    clips_per_second: float
    """Predicted, measured on the device; metrics and loading are not counted."""
    device: str


@dataclass(frozen=True, slots=True)
class Score:
    """One metric over a group of clips."""

    metric: str
    """Its registered name, of the model's prediction; with one of the endings of `sampled_names`, of samples."""
    mean: float
    low: float
    """Of the confidence interval of the mean."""
    high: float
    per_frame: tuple[float, ...]
    """Mean by predicted frame."""


@dataclass(frozen=True, slots=True)
class Group:
    """All clips, or those of one level."""

    level: str
    clips: int
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's result on a split."""

    format: str
    label: str
    """What the model is called in tables."""
    model: str
    """Its registered name."""
    dataset: str
    split: str
    protocol: str
    fingerprint: str
    """Of the split's pictures: results with the same one are of the same clips."""
    clips: int
    past: int
    horizon: int
    size: int
    channels: int
    policy: str
    interval: str
    groups: tuple[Group, ...]
    """The first is of all clips."""
    cost: Cost

    def score(self, name: str, level: str = ALL) -> Score:
        """The score of a metric. Raises KeyError."""
        for group in self.groups:
            for score in group.scores:
                if (group.level, score.metric) == (level, name):
                    return score
        raise KeyError(f"{self.label} has no {name} for {level}")


def sampled_names(metric: str, samples: int) -> tuple[str, ...]:
    """What the scores of a metric over so many samples are called: of the best, of their mean, of the first alone."""
    return (f"{metric}_best_of_{samples}", f"{metric}_mean_of_{samples}", f"{metric}_one_sample") if samples else ()


def base_and_ending(name: str) -> tuple[str, str]:
    """The inverse of `sampled_names`: "mse_sum", "best_of_100"; the ending is "" where there are no samples."""
    found = re.fullmatch(r"(.+)_(best_of_\d+|mean_of_\d+|one_sample)", name)
    return (found[1], found[2]) if found else (name, "")


def write_results(path: Path, results: Sequence[Evaluation]) -> None:
    """Write evaluations as JSON."""
    files.write(path, json.dumps([encode(result) for result in results], indent=1, allow_nan=False) + "\n")


def read_results(path: Path) -> list[Evaluation]:
    """Read what `write_results` wrote. Raises `EvaluationError`."""
    try:
        values: Any = json.loads(path.read_bytes())
        if not isinstance(values, list) or any(value.get("format") != FORMAT for value in values):
            raise ValueError(f"it is not a list of {FORMAT}")
        return [decode(Evaluation, value) for value in values]
    except FileNotFoundError:
        raise EvaluationError(f"{path}: no such file; make one with `astm evaluate`") from None
    except (ValueError, AttributeError, TypeError, KeyError) as why:
        raise EvaluationError(f"{path} is not a result of `astm evaluate`: {why}") from None
