"""The model card `README.md`: what a reader on the Hub needs to know, and the scores as `model-index`.

Labels, levels and protocols may come from the names of strangers' folders: they reach Markdown through `plain` and
YAML through the Hub's own writer only.
"""

import inspect
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCardData

from astm.evaluation.evaluate import Evaluation, EvaluationError, base_and_ending, read_results
from astm.evaluation.metrics import LOWER_IS_BETTER, metric
from astm.predictor import Predictor, count_parameters, macs, name_of
from astm.pretrained.provenance import NO_PAPER, UNKNOWN
from mlst.dataset.card import environment, licence_fields
from mlst.text import one_line

TAGS = ("video-prediction", "next-frame-prediction", "spatiotemporal", "astm")
LIBRARY = "astm"
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


@dataclass(frozen=True, slots=True)
class Clip:
    """What one clip looks like to the model, in the example and where costs are counted."""

    past: int
    horizon: int
    channels: int
    height: int
    width: int


def card(predictor: Predictor, about: About) -> str:
    """The card of a model. Raises `EvaluationError` for results that cannot be read or are not of this model."""
    scored = scores(predictor, about)
    clip = usual_clip(predictor)
    name = about.repository.partition("/")[2] or about.label or name_of(type(predictor))
    values: dict[str, Any] = {
        "front": front_matter(predictor, about, name, scored).to_yaml(),
        "name": name,
        "about": about,
        "model": name_of(type(predictor)),
        "what": first_paragraph(type(predictor)),
        "description": description(predictor),
        "paper": predictor.paper if predictor.paper != NO_PAPER else None,
        "settings": [(name, json.dumps(value)) for name, value in predictor.config().items()],
        "parameters": count_parameters(predictor),
        "macs": multiply_accumulates(predictor, clip),
        "clip": clip,
        "takes": takes(predictor),
        "origin": predictor.origin if predictor.origin != UNKNOWN else None,
        "recipe": fenced(predictor.origin.recipe, "toml"),
        "scored": scored,
        "metrics": definitions(scored),
        "mean": mean,
    }
    return environment("astm.pretrained").get_template("card.md.j2").render(values)


def is_ours(path: Path) -> bool:
    """Whether a file is a card that this module wrote: one that may be replaced."""
    return path.read_text(encoding="utf-8", errors="replace").startswith(f"---\nlibrary_name: {LIBRARY}\n")


def front_matter(predictor: Predictor, about: About, name: str, scored: Sequence[Scored]) -> ModelCardData:
    """The card's YAML, with every score of the model as `model-index`."""
    tags = [*TAGS, name_of(type(predictor)), *([predictor.origin.data] if predictor.origin.data else [])]
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


def scores(predictor: Predictor, about: About) -> tuple[Scored, ...]:
    """The model's evaluations among the results, each with those of other models on the same clips."""
    found = [evaluation for path in about.results for evaluation in read_results(path)]
    if not found:
        return ()
    own = _own(found, predictor, about.label)
    blocks = [(e.dataset, e.split, e.fingerprint) for e in own]
    if twice := [block for block in blocks if blocks.count(block) > 1]:
        raise EvaluationError(f"{own[0].label} is scored twice on {' '.join(twice[0][:2])}; give each result once")
    return tuple(
        Scored(one, tuple(e for e in found if e is not one and _clips(e) == _clips(one) and e.label != one.label))
        for one in own
    )


def _own(found: Sequence[Evaluation], predictor: Predictor, label: str) -> list[Evaluation]:
    """Those of this model: by its label, or else all of its kind and size, which must be of one label."""
    name, parameters = name_of(type(predictor)), count_parameters(predictor)
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


def usual_clip(predictor: Predictor) -> Clip:
    """As the model was trained; 10 -> 10 frames of a size that it takes where that is not known."""
    channels = int(getattr(predictor.settings, "channels", 1))
    origin = predictor.origin
    if origin != UNKNOWN:
        return Clip(origin.past, origin.horizon, channels, origin.size, origin.size)
    return Clip(10, 10, channels, *predictor.usual_size())


def takes(predictor: Predictor) -> str:
    """What frames must be like, in words."""
    channels, patch = getattr(predictor.settings, "channels", 0), getattr(predictor.settings, "patch", 1)
    kind = {0: "any number of channels", 1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    return f"{kind}, height and width {f'multiples of {patch}' if patch > 1 else 'as you like'}"


def multiply_accumulates(predictor: Predictor, clip: Clip) -> int:
    """Of one clip, on a model without weights, so that nothing is copied."""
    with torch.device("meta"):
        shadow = type(predictor)(predictor.settings)
    return macs(shadow, clip.past, clip.horizon, (clip.height, clip.width))


def description(predictor: Predictor) -> str:
    """What the model's file says of it: the paper, and where the code departs from it."""
    text = inspect.cleandoc(sys.modules[type(predictor).__module__].__doc__ or "")
    lines: list[str] = []
    for line in text.splitlines():
        if line[:1] not in ("", " ", "*") and lines and lines[-1][:1] in (" ", "*"):
            lines.append("")  # else Markdown takes the line for a part of the list before it
        lines.append(line)
    return "\n".join(lines)


def first_paragraph(documented: object) -> str:
    """Of a docstring, on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


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
