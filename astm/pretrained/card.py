"""The model card `README.md`: what a reader on the Hub needs to know, and the scores as `model-index`.

Labels, levels and protocols may come from the names of strangers' folders: they reach Markdown through `plain` and
YAML through the Hub's own writer only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from astm.metrics import LOWER_IS_BETTER, metric
from astm.pretrained.described import Described, first_paragraph
from astm.pretrained.provenance import NO_PAPER, UNKNOWN
from astm.pretrained.store import CARD, LIBRARY
from astm.results import Evaluation, EvaluationError, base_and_ending, read_results
from mlst.dataset.card import environment, licence_fields
from mlst.files import write
from mlst.text import one_line

TAGS = ("video-prediction", "next-frame-prediction", "spatiotemporal", "astm")
TASK, TASK_NAME = "video-to-video", "Video prediction"
"""The Hub has no task named video prediction; this is the nearest of its list."""


@dataclass(frozen=True, slots=True)
class About:
    """What a card says that the model itself does not know."""

    repository: str
    """`owner/name`; "" for a folder."""
    licence: str
    """Of the weights; "" states none."""
    results: tuple[Path, ...]
    """Files of `astm evaluate`."""
    label: str
    """What the model is called in them; "" if it is the only one of its kind."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A model's evaluation, and those of other models on the same clips."""

    own: Evaluation
    others: tuple[Evaluation, ...]


def card(described: Described, about: About) -> str:
    """The card of a model. Raises `EvaluationError` for results that cannot be read or are not of this model."""
    d = described
    scored = scores(d, about)
    name = about.repository.partition("/")[2] or about.label or d.model
    values: dict[str, Any] = {
        "front": front_matter(d, about, name, scored).to_yaml(),
        "name": name,
        "about": about,
        "model": d,
        "paper": d.paper if d.paper != NO_PAPER else None,
        "origin": d.origin if d.origin != UNKNOWN else None,
        "recipe": fenced(d.origin.recipe, "toml"),
        "scored": scored,
        "metrics": definitions(scored),
        "mean": mean,
    }
    return environment("astm.pretrained").get_template("card.md.j2").render(values)


def write_card(folder: Path, text: str) -> None:
    """Write `README.md`, but never over one that this module did not write."""
    path = folder / CARD
    if not path.exists() or is_ours(path):
        write(path, text)


def is_ours(path: Path) -> bool:
    """Whether a file is a card that this module wrote: one that may be replaced."""
    return path.read_text(encoding="utf-8", errors="replace").startswith(f"---\nlibrary_name: {LIBRARY}\n")


def front_matter(described: Described, about: About, name: str, scored: Sequence[Scored]) -> ModelCardData:
    """The card's YAML, with every score of the model as `model-index`."""
    tags = [*TAGS, described.model, *([described.origin.data] if described.origin.data else [])]
    values: dict[str, Any] = {**licence_fields(about.licence or "unknown")}
    if scored:
        values |= {"model_name": one_line(name), "eval_results": [r for s in scored for r in model_index(s.own)]}
    tags = [one_line(tag) for tag in tags]
    return ModelCardData(library_name=LIBRARY, pipeline_tag=TASK, tags=tags, **values)


def model_index(evaluation: Evaluation) -> list[EvalResult]:
    """Every metric of every level. `config` is the level, `revision` the fingerprint of the split's clips."""
    e = evaluation
    about = {"protocol": one_line(e.protocol), "policy": one_line(e.policy), "interval": one_line(e.interval)}
    return [
        EvalResult(
            task_type=TASK,
            task_name=TASK_NAME,
            dataset_type=one_line(e.dataset),
            dataset_name=one_line(f"{e.dataset}, {e.past} -> {e.horizon} frames, {e.size} px, {group.level}"),
            dataset_config=one_line(group.level),
            dataset_split=e.split,
            dataset_revision=e.fingerprint,
            dataset_args={"clips": group.clips, **about},
            metric_type=score.metric,
            metric_name=definition(score.metric),
            metric_value=score.mean,
            metric_args={"low": score.low, "high": score.high},
        )
        for group in e.groups
        for score in group.scores
    ]


def scores(described: Described, about: About) -> tuple[Scored, ...]:
    """The model's evaluations among the results, each with those of other models on the same clips."""
    found = [evaluation for path in about.results for evaluation in read_results(path)]
    if not found:
        return ()
    own = _own(found, described, about.label)
    blocks = [(e.dataset, e.split, e.fingerprint) for e in own]
    if twice := [block for block in blocks if blocks.count(block) > 1]:
        raise EvaluationError(f"{own[0].label} is scored twice on {' '.join(twice[0][:2])}; give each result once")
    return tuple(
        Scored(one, tuple(e for e in found if e is not one and _clips(e) == _clips(one) and e.label != one.label))
        for one in own
    )


def _own(found: Sequence[Evaluation], described: Described, label: str) -> list[Evaluation]:
    """Those of this model: by its label, or else all of its kind and size, which must be of one label."""
    name, parameters = described.model, described.parameters
    fits = [e for e in found if (e.model, e.cost.parameters) == (name, parameters)]
    labels = sorted({e.label for e in fits})
    there = ", ".join(sorted({f"{e.label} ({e.model}, {e.cost.parameters:,} parameters)" for e in found}))
    if not fits or (label and label not in labels):
        wanted = f"{label!r}, " if label else ""
        raise EvaluationError(f"the results have no {wanted}{name} with {parameters:,} parameters; they have {there}")
    if not label and len(labels) > 1:
        raise EvaluationError(f"several results fit a {name} with {parameters:,} parameters; name one: {there}")
    return [e for e in fits if e.label == (label or labels[0])]


def _clips(e: Evaluation) -> tuple[str, str, str, int]:
    return e.dataset, e.split, e.fingerprint, e.clips


def definition(name: str) -> str:
    """Of a metric, and of the samples that it is of if there are several."""
    base, ending = base_and_ending(name)
    if base not in metric:
        return "not a metric of this version"
    return first_paragraph(metric[base]) + (f" ({ending.replace('_', ' ')})" if ending else "")


def definitions(scored: Sequence[Scored]) -> list[tuple[str, str, str]]:
    """Name, arrow towards the better and definition of every metric that occurs."""
    names = dict.fromkeys(s.metric for one in scored for group in one.own.groups for s in group.scores)
    return [(name, "↓" if name.startswith(LOWER_IS_BETTER) else "↑", definition(name)) for name in names]


def mean(evaluation: Evaluation, name: str) -> str:
    """Of a metric over all clips, in short; "-" where it was not measured."""
    return next((f"{s.mean:.4g}" for s in evaluation.groups[0].scores if s.metric == name), "-")


def fenced(text: str, language: str) -> str:
    """A code block that nothing inside `text` can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"
