"""Score models on a split: streaming, every clip counts the same, metrics by definition, by frame and by level."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from astm.data import Clips
from astm.data.clips import Pairs, ordered_batches
from astm.evaluation.clip_scores import ClipScores
from astm.evaluation.cost import Stopwatch, cost
from astm.metrics import LOWER_IS_BETTER, Metric, check_pair, metric
from astm.predictor import Predictor, name_of
from astm.results import ALL, FORMAT, Cost, Evaluation, Group, Score, base_and_ending, sampled_names
from mlst.text import number_of

RESAMPLES, CONFIDENCE = 1000, 0.95
POLICY = "predictions clipped to [0, 1] except for *_raw; frames averaged within a clip, clips averaged equally"
DRAWN = "; {} samples of each clip, seeded with its position, the best one chosen for each clip and metric"
INTERVAL = f"percentile bootstrap over clips, {RESAMPLES} resamples, seed 0, {CONFIDENCE:.0%}"


@dataclass(frozen=True, slots=True)
class Example:
    """A clip and what a model made of it, for pictures; (T, C, H, W) uint8."""

    key: str
    level: str
    past: NDArray[np.uint8]
    future: NDArray[np.uint8]
    predicted: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scored:
    """What an evaluation gives."""

    result: Evaluation
    examples: tuple[Example, ...]
    clips: ClipScores


class Tally:
    """Scores as they come in: pictures are not kept."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = metrics
        self.keys: list[str] = []
        self.levels: list[str] = []
        self.scores: dict[str, list[NDArray[np.float64]]] = {name: [] for name in metrics}

    def add(self, scores: Mapping[str, NDArray[np.float64]], keys: Iterable[str], levels: Iterable[str]) -> None:
        """Scores (B, T) of a batch by metric, and the keys and levels of its clips."""
        for name in self.metrics:
            self.scores[name].append(scores[name])
        self.keys += keys
        self.levels += levels

    def by_clip(self) -> dict[str, NDArray[np.float64]]:
        """Means over the frames of each clip, (N,), by metric."""
        return {name: np.concatenate(parts).mean(axis=1) for name, parts in self.scores.items()}

    def groups(self) -> tuple[Group, ...]:
        """All clips, then every level if there are several."""
        levels = np.array(self.levels)
        table = {name: np.concatenate(parts) for name, parts in self.scores.items()}
        names = sorted(set(self.levels))
        chosen = [(ALL, np.ones(len(levels), bool))] + [(name, levels == name) for name in names if len(names) > 1]
        return tuple(
            Group(level, int(rows.sum()), tuple(summarise(name, values[rows]) for name, values in table.items()))
            for level, rows in chosen
        )


def summarise(name: str, scores: NDArray[np.float64]) -> Score:
    """Mean, confidence interval and curve of scores (N, T)."""
    low, high = bootstrap(scores.mean(axis=1))
    return Score(name, float(scores.mean()), low, high, tuple(scores.mean(axis=0).tolist()))


def bootstrap(values: NDArray[np.float64]) -> tuple[float, float]:
    """Percentile interval of the mean of (N,) values (Efron 1979), the same for the same values."""
    generator = np.random.default_rng(0)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


@torch.no_grad()
def evaluate(
    predictor: Predictor,
    clips: Clips,
    *,
    dataset: str,
    label: str,
    device: torch.device,
    metrics: Sequence[str],
    batch_size: int = 16,
    count: int = 0,
    workers: int = 0,
    keep: int = 3,
    samples: int = 0,
    progress: Callable[[int], None] = lambda clips: None,
    seen: Callable[[Pairs, torch.Tensor], None] = lambda batch, predicted: None,
) -> Scored:
    """Score a model.

    Parameters
    ----------
    dataset: name of the dataset that `clips` come from. label: what to call the model.
    metrics: names from the registry `metric`.
    count: only the first clips; 0 for all.
    keep: examples to return: the first clip of each level, then the first ones, up to this many (or as many as
        there are levels).
    samples: also score so many draws of each clip (`Predictor.samples`), seeded with its position; 0 for none.
    progress: called after each batch with the number of clips scored so far.
    seen: called with each batch and the prediction of its future.

    Raises KeyError for an unknown metric, ValueError for clips that the model cannot take and for predictions that
    are not finite.
    """
    chosen = {name: metric[name] for name in metrics}
    predictor = predictor.to(device).eval()
    names = [*chosen, *(name for base in chosen for name in sampled_names(base, samples))]
    watch, tally, shelf = Stopwatch(device), Tally(names), Shelf(keep)
    s = clips.settings
    for batch in ordered_batches(clips, count, batch_size, workers, device):
        if not watch.clips:
            predictor(batch.past, s.horizon)  # warms up, off the clock
            first = batch.past[:1], batch.future[:1]
        predicted = watch.predict(predictor, batch.past, s.horizon)
        check_pair(predicted, batch.future)
        seen(batch, predicted)
        scores = {n: f(predicted, batch.future).cpu().numpy() for n, f in chosen.items()}
        if samples:
            scores |= _of_draws(predictor, batch, chosen, samples, len(tally.keys))
        tally.add(scores, batch.keys, batch.levels)
        shelf.add(batch.keys, batch.levels, batch.past, batch.future, predicted)
        progress(len(tally.keys))
    with torch.enable_grad():
        spent = cost(predictor, watch, *first)
    result = _evaluation(predictor, clips, dataset, label, samples, tally, spent)
    videos = tuple(map(clips.video, tally.keys))
    by_clip = ClipScores(label, clips.fingerprint, tuple(tally.keys), videos, tuple(tally.levels), tally.by_clip())
    return Scored(result, shelf.examples(), by_clip)


def _evaluation(
    predictor: Predictor, clips: Clips, dataset: str, label: str, samples: int, tally: Tally, spent: Cost
) -> Evaluation:
    """The record of what was scored, and on what."""
    s = clips.settings
    return Evaluation(
        format=FORMAT,
        label=label,
        model=name_of(type(predictor)),
        dataset=dataset,
        split=clips.split,
        protocol=clips.protocol,
        fingerprint=clips.fingerprint,
        clips=len(tally.levels),
        past=s.past,
        horizon=s.horizon,
        size=s.size,
        channels=s.channels,
        policy=POLICY + (DRAWN.format(samples) if samples else ""),
        interval=INTERVAL,
        groups=tally.groups(),
        cost=spent,
    )


def _of_draws(
    predictor: Predictor, batch: Pairs, metrics: Mapping[str, Metric], samples: int, first: int
) -> dict[str, NDArray[np.float64]]:
    """The scores of `samples` draws of each clip of a batch, seeded with its position; `first` is the first clip's."""
    seeds = range(first, first + len(batch.keys))
    drawn = predictor.samples(batch.past, batch.future.shape[1], samples, seeds)
    return score_samples(drawn, batch.future, metrics, samples)


def score_samples(
    drawn: Iterable[torch.Tensor], future: torch.Tensor, metrics: Mapping[str, Metric], samples: int
) -> dict[str, NDArray[np.float64]]:
    """Scores (B, T) of samples (B, T, C, H, W) by `sampled_names`; no more than one sample is held.

    The best sample of a clip is chosen for each metric by its mean over the frames, as in SAVP's evaluation. The mean
    is that of the scores, not the score of a mean picture.
    """
    best, total, first = (dict[str, NDArray[np.float64]]() for _ in range(3))
    count = 0
    for count, sample in enumerate(drawn, start=1):  # noqa: B007, a model may have fewer samples than asked for
        check_pair(sample, future)
        for name, measure in metrics.items():
            scores = measure(sample, future).cpu().numpy()
            sign = 1 if name.startswith(LOWER_IS_BETTER) else -1
            leader = best.setdefault(name, scores)
            wins = sign * scores.mean(axis=1) < sign * leader.mean(axis=1)
            best[name] = np.where(wins[:, None], scores, leader)
            total[name] = total[name] + scores if name in total else scores
            first.setdefault(name, scores)
    return {
        key: values
        for name in metrics
        for key, values in zip(
            sampled_names(name, samples), (best[name], total[name] / count, first[name]), strict=True
        )
    }


class Shelf:
    """Keeps few examples: one per level first."""

    def __init__(self, keep: int) -> None:
        self.keep, self.first, self.others = keep, dict[str, Example](), list[Example]()

    def add(self, keys: Sequence[str], levels: Sequence[str], *pictures: torch.Tensor) -> None:
        """Offer a batch."""
        for i, (key, level) in enumerate(zip(keys, levels, strict=True)):
            new = level not in self.first
            if self.keep and (new or len(self.others) < self.keep):
                example = Example(key, level, *(to_bytes(part[i]) for part in pictures))
                if new:
                    self.first[level] = example
                else:
                    self.others.append(example)

    def examples(self) -> tuple[Example, ...]:
        """By level, then the rest."""
        found = [self.first[level] for level in sorted(self.first)] + self.others
        return tuple(found[: max(self.keep, len(self.first))])


def to_bytes(pictures: torch.Tensor) -> NDArray[np.uint8]:
    """Pictures in [0, 1], any shape, as rounded codes."""
    rounded: NDArray[np.uint8] = (pictures.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return rounded


def markdown(results: Sequence[Evaluation]) -> str:
    """Tables of the results: all clips, then each metric by level."""
    names = [score.metric for score in results[0].groups[0].scores if not base_and_ending(score.metric)[1]]
    arrows = [f"{name} {'↓' if name.startswith(LOWER_IS_BETTER) else '↑'}" for name in names]
    lines = [
        f"{results[0].protocol}, {number_of(results[0].clips, 'clip')}. {results[0].policy}. In brackets: {INTERVAL}.",
        "",
    ]
    head = ["model", *arrows, "parameters", "GMAC", "activations MiB", "clips/s"]
    lines += _table(head, [_row(result, names) for result in results])
    lines += _samples_table(results)
    levels = [group.level for group in results[0].groups[1:]]
    for name in names if levels else ():
        rows = [[r.label, *(f"{r.score(name, level).mean:.4g}" for level in levels)] for r in results]
        counts = [f"{group.level} ({group.clips})" for group in results[0].groups[1:]]
        lines += ["", f"{name} by level (clips):", "", *_table(["model", *counts], rows)]
    device = results[0].cost.device
    lines += ["", f"{f'Speed on {device}. ' if device else ''}Clips {results[0].fingerprint[:16]}."]
    return "\n".join(lines) + "\n"


def _samples_table(results: Sequence[Evaluation]) -> list[str]:
    """A row for each model and metric, a column for each way to count samples; nothing where none were drawn."""
    found = [score.metric for score in results[0].groups[0].scores if base_and_ending(score.metric)[1]]
    if not found:
        return []
    bases, endings = ([*dict.fromkeys(parts)] for parts in zip(*map(base_and_ending, found), strict=True))
    rows = [
        [result.label, base, *(f"{result.score(f'{base}_{ending}').mean:.4g}" for ending in endings)]
        for base in bases
        for result in results
    ]
    head = ["model", "metric", *(ending.replace("_", " ") for ending in endings)]
    return ["", "Samples, beside the one prediction above:", "", *_table(head, rows)]


def _row(result: Evaluation, names: Sequence[str]) -> list[str]:
    scores = [result.score(name) for name in names]
    c = result.cost
    costs = [
        f"{c.parameters:,}",
        f"{c.macs / 1e9:.1f}",
        f"{c.activation_bytes / 2**20:.1f}",
        f"{c.clips_per_second:.1f}",
    ]
    return [
        result.label,
        *(f"{score.mean:.4g} [{score.low:.4g}, {score.high:.4g}]" for score in scores),
        *(costs if c.device else "-" * len(costs)),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    texts = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (head, *rows)]
    return [texts[0], "| --- " * len(head) + "|", *texts[1:]]
