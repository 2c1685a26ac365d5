"""Pictures of results: filmstrips as in the paper's Figs. 4-6, films, error maps, curves by frame, a map by level."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from astm.data.video import write_video
from astm.evaluation.evaluate import Example
from astm.results import Evaluation, base_and_ending
from mlst.files import whole

mpl.use("Agg")
from matplotlib import pyplot as plt

SHOWN = 10
"""Frames in a row at most; evenly chosen from more."""
GAP = 3
"""Pixels between frames."""
RATE = Fraction(5)
"""Frames per second of films."""
LEAST = 128
"""Height of films, pixels."""


def filmstrip(path: Path, examples: Mapping[str, Example]) -> None:
    """Inputs, ground truth, and what each model (by label) predicted for the same clip, one row each."""
    first = next(iter(examples.values()))
    rows = {"Inputs": (first.past, -len(first.past))} if len(first.past) else {}
    rows |= {"Ground truth": (first.future, 0)}
    rows |= {label: (example.predicted, 0) for label, example in examples.items()}
    _strips(path, rows, f"{first.key} ({first.level})", "gray")


def error_maps(path: Path, examples: Mapping[str, Example]) -> None:
    """|prediction - truth| of each model, mean over channels, on one scale from 0 to 1."""
    first = next(iter(examples.values()))
    rows = {
        label: (np.abs(example.predicted.astype(int) - example.future).mean(axis=1, keepdims=True).astype(np.uint8), 0)
        for label, example in examples.items()
    }
    _strips(path, rows, f"|error|, {first.key} ({first.level})", "magma")


def film(examples: Sequence[Example]) -> NDArray[np.uint8]:
    """The truth and what each model predicted for the same clip, side by side, (T, H, W', 3), at least 128 high."""
    first = examples[0]
    columns = [np.concatenate([first.past, shown]) for shown in (first.future, *(one.predicted for one in examples))]
    scale = -(-LEAST // first.future.shape[2])
    wide = [
        column.repeat(scale, axis=2).repeat(scale, axis=3).repeat(3 // column.shape[1], axis=1) for column in columns
    ]
    line = np.full((*wide[0].shape[:3], 2 * GAP), 255, np.uint8)
    parts = [part for column in wide for part in (column, line)][:-1]
    return np.ascontiguousarray(np.concatenate(parts, axis=3).transpose(0, 2, 3, 1))


def curves(path: Path, results: Sequence[Evaluation], metric: str) -> None:
    """A metric by predicted frame, a line for each model."""
    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for result in results:
        axes.plot(range(1, result.horizon + 1), result.score(metric).per_frame, marker=".", label=result.label)
    axes.set(xlabel="predicted frame", ylabel=metric, title=f"{results[0].dataset} {results[0].split}")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(path, figure)


def level_map(path: Path, result: Evaluation, metric: str) -> None:
    """A 3 x 3 map of a metric by level: texture s from left to right, motion t from bottom to top."""
    figure, axes = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
    counts = {group.level: group.clips for group in result.groups}
    values = np.full((3, 3), np.nan)
    for t, s in np.ndindex(3, 3):
        level = f"s{s}t{t}"
        if level in counts:
            values[t, s] = result.score(metric, level).mean
            text = f"{values[t, s]:.2f}\nn = {counts[level]}"
            axes.text(s, t, text, ha="center", va="center", color="white", fontweight="bold", path_effects=_outline())
    image = axes.imshow(values, origin="lower", cmap="viridis")
    names = ("low", "medium", "high")
    axes.set(xticks=range(3), xticklabels=names, yticks=range(3), yticklabels=names)
    axes.set(xlabel="texture (s)", ylabel="motion (t)", title=f"{result.label}: {metric} by level")
    figure.colorbar(image, ax=axes)
    _save(path, figure)


def has_levels(result: Evaluation) -> bool:
    """Whether any group is one of the nine levels."""
    return any(group.level in {f"s{s}t{t}" for s in range(3) for t in range(3)} for group in result.groups)


def draw(folder: Path, results: Sequence[Evaluation], examples: Sequence[Sequence[Example]]) -> list[Path]:
    """All pictures of a set of results; `examples` has the kept clips of each, in that order. Gives their paths."""
    made = []
    for i, clips in enumerate(zip(*examples, strict=True)):
        by_label = {result.label: clip for result, clip in zip(results, clips, strict=True)}
        made += [folder / f"filmstrip-{i}.png", folder / f"errors-{i}.png", folder / f"film-{i}.mp4"]
        filmstrip(made[-3], by_label)
        error_maps(made[-2], by_label)
        write_video(made[-1], film(list(by_label.values())), RATE)
    for score in results[0].groups[0].scores:
        if base_and_ending(score.metric)[1]:
            continue  # of samples: the tables have them
        made.append(folder / f"curve-{score.metric}.png")
        curves(made[-1], results, score.metric)
    for i, result in enumerate(results):
        if has_levels(result) and any(score.metric == "psnr_frame" for score in result.groups[0].scores):
            made.append(folder / f"levels-{i}.png")
            level_map(made[-1], result, "psnr_frame")
    return made


def _strips(path: Path, rows: Mapping[str, tuple[NDArray[np.uint8], int]], title: str, colours: str) -> None:
    """Rows of frames (T, C, H, W), each with the number of its first frame."""
    columns = max(min(len(frames), SHOWN) for frames, _ in rows.values())
    width, height = 1.4 + 0.9 * columns, 1.15 * len(rows) + 0.4  # inches
    figure, axes = plt.subplots(len(rows), 1, figsize=(width, height), squeeze=False)
    figure.suptitle(title, y=1 - 0.15 / height, va="center", fontsize=9)
    for axis, (label, (frames, number)) in zip(axes[:, 0], rows.items(), strict=True):
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), SHOWN)).round().astype(int))
        axis.imshow(_row(frames[chosen], columns), cmap=colours, vmin=0, vmax=255, interpolation="nearest")
        side = frames.shape[-1]
        places = [i * (side + GAP) + side / 2 for i in range(len(chosen))]
        axis.set_xticks(places, [_time(number + i + 1) for i in chosen.tolist()], fontsize=6)
        axis.set_yticks([])
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        axis.tick_params(length=0, pad=1)
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.subplots_adjust(left=1.3 / width, right=0.99, bottom=0.2 / height, top=1 - 0.3 / height, hspace=0.2)
    _save(path, figure)


def _row(frames: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """(T, C, H, W) side by side as (H, W'[, 3]), white between them and after the last."""
    count, channels, height, width = frames.shape
    canvas = np.full((height, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for i in range(count):
        canvas[:, i * (width + GAP) : i * (width + GAP) + width] = frames[i].transpose(1, 2, 0)
    return canvas[..., 0] if channels == 1 else canvas


def _time(frame: int) -> str:
    """Frames are counted from the first predicted one, 1; the last one seen is 0."""
    return f"t = {frame:+d}" if frame else "t = 0"


def _outline() -> list[Any]:
    from matplotlib import patheffects  # noqa: PLC0415

    return [patheffects.withStroke(linewidth=2, foreground="black")]


def _save(path: Path, figure: Any) -> None:
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={"Software": None})
    plt.close(figure)
