"""The scores of every clip, and the file that they are kept in: what paired comparisons are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from astm.results import EvaluationError
from mlst.files import whole
from mlst.text import number_of

FILE = "clips.parquet"
TEXTS = ("label", "fingerprint", "key", "video", "level")
"""Columns of text: the model's label, the fingerprint of the split's pictures, and three of the clip. All others are
metrics, float64, averaged over the frames of the clip; null where a model was scored without one."""


@dataclass(frozen=True, slots=True)
class ClipScores:
    """One model's scores, clip by clip."""

    label: str
    fingerprint: str
    """Of the split's pictures, as in `Evaluation`."""
    keys: tuple[str, ...]
    videos: tuple[str, ...]
    """The video that each clip was cut from."""
    levels: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    """(N,) by metric: means over the frames of a clip."""


def write_clip_scores(path: Path, models: Sequence[ClipScores]) -> None:
    """Write the scores of models as Parquet, a row for each model and clip."""
    tables = [pa.table({**_texts(scores), **scores.values}) for scores in models]
    table = pa.concat_tables(tables, promote_options="default")
    with whole(path) as file:
        pq.write_table(table, file, compression="zstd")


def read_clip_scores(path: Path) -> list[ClipScores]:
    """Read what `write_clip_scores` wrote. Raises `EvaluationError`."""
    if not path.is_file():
        raise EvaluationError(f"{path}: no such file; make one with `astm evaluate`")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as why:
        raise EvaluationError(f"{path} is not a Parquet file: {why}") from None
    if missing := [name for name in TEXTS if name not in table.column_names]:
        raise EvaluationError(f"{path} is not a file of `astm evaluate`: it has no column {', '.join(missing)}")
    return [_scores(table.filter(pa.compute.equal(table["label"], label))) for label in table["label"].unique()]


def labelled(models: Sequence[ClipScores], label: str) -> ClipScores:
    """The scores of the only model of this label. Raises `EvaluationError`."""
    found = [scores for scores in models if scores.label == label]
    if len(found) != 1:
        known = ", ".join(scores.label for scores in models)
        raise EvaluationError(
            f"{number_of(len(found), 'model is', 'models are')} labelled {label!r}; the results have {known}"
        )
    return found[0]


def _texts(scores: ClipScores) -> dict[str, Sequence[str]]:
    count = len(scores.keys)
    same = {"label": [scores.label] * count, "fingerprint": [scores.fingerprint] * count}
    return {**same, "key": scores.keys, "video": scores.videos, "level": scores.levels}


def _scores(table: pa.Table) -> ClipScores:
    names = [name for name in table.column_names if name not in TEXTS and not table[name].null_count]
    return ClipScores(
        label=table["label"][0].as_py(),
        fingerprint=table["fingerprint"][0].as_py(),
        keys=tuple(table["key"].to_pylist()),
        videos=tuple(table["video"].to_pylist()),
        levels=tuple(table["level"].to_pylist()),
        values={name: table[name].to_numpy() for name in names},
    )
