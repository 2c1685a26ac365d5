"""Several models evaluated in turn: what one found is kept, whatever becomes of the others."""

import contextlib
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from astm.cli.console import console, say
from astm.cli.reading import fits
from astm.data import Clips
from astm.evaluation.clip_scores import FILE, write_clip_scores
from astm.evaluation.evaluate import Scored, evaluate, markdown
from astm.evaluation.predictions import saving
from astm.results import EvaluationError, read_results, write_results
from astm.training.checkpoint import load_predictor
from astm.versions import write_versions
from mlst.exits import UserError
from mlst.files import write

RESULTS = "results.json"

Score: TypeAlias = Callable[[str, str, Callable[[int], None]], Scored]
"""Evaluates (a source, under this label), and calls with the number of clips scored so far."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How to evaluate models on the clips of a dataset: see `astm.evaluation.evaluate.evaluate`."""

    dataset: str
    device: torch.device
    metrics: Sequence[str]
    batch_size: int
    count: int
    workers: int
    keep: int
    samples: int
    save: Path | None
    """Folder of the predictions, or None to write none."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that has no result."""

    label: str
    why: Exception


def on_clips(clips: Clips, asked: Asked) -> Score:
    """What evaluates models on clips."""

    def score(source: str, label: str, progress: Callable[[int], None]) -> Scored:
        predictor = load_predictor(source)
        each = min(asked.count or len(clips), len(clips))
        nothing = contextlib.nullcontext(lambda batch, frames: None)
        keeping = saving(asked.save, label, clips, asked.dataset, each) if asked.save else nothing
        with fits(source), keeping as seen:
            return evaluate(
                predictor,
                clips,
                dataset=asked.dataset,
                label=label,
                device=asked.device,
                metrics=asked.metrics,
                batch_size=asked.batch_size,
                count=asked.count,
                workers=asked.workers,
                keep=asked.keep,
                samples=asked.samples,
                progress=progress,
                seen=seen,
            )

    return score


def evaluate_all(
    sources: Mapping[str, str], score: Score, clips: int, out: Path
) -> tuple[list[Scored], list[Failure]]:
    """Evaluate the sources, by label, each on so many clips; write every result as soon as there is one.

    Whatever ends one model does not end the others: a broken file, frames that do not fit, no memory, a bug, whose
    traceback is printed.

    Raises
    ------
    EvaluationError: the folder has results of other models.
    """
    _check_kept(out, sources)
    found, failures = list[Scored](), list[Failure]()
    with _Bars(clips, len(sources)) as bars:
        for label, source in sources.items():
            bars.start(label)
            try:
                found.append(score(source, label, bars.update))
            except Exception as why:
                failures.append(Failure(label, why))
                if len(sources) > 1:  # of a single one the caller raises it
                    say(why_failed(why) if isinstance(why, UserError) else traceback.format_exc(), "red")
            else:
                write_all(out, found)
            bars.end(label)
    return found, failures


def write_all(out: Path, found: list[Scored]) -> None:
    """Write everything but the pictures."""
    results = [one.result for one in found]
    write_results(out / RESULTS, results)
    write_versions(out, results[0].cost.device)
    write(out / "results.md", markdown(results))
    write_clip_scores(out / FILE, [one.clips for one in found])


def _check_kept(out: Path, labels: Collection[str]) -> None:
    """Refuse to write over results that are not made again. Raises `EvaluationError`."""
    place = out / RESULTS
    if others := [one.label for one in read_results(place) if one.label not in labels] if place.exists() else []:
        raise EvaluationError(
            f"{place} has results of {', '.join(others)}, which would be lost; give another folder with --out, or "
            f"delete that one"
        )


def why_failed(why: Exception) -> str:
    """An error in a line."""
    said = str(why).strip().splitlines()
    return (said[0] if said else "") if isinstance(why, UserError) else f"{type(why).__name__}: {' '.join(said[:1])}"


class _Bars:
    """A bar for the clips of all models with the time left; without a terminal a line after each model."""

    def __init__(self, clips: int, models: int) -> None:
        self.clips, self.models, self.done, self.began = clips, models, 0, time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("clips, left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=self.clips * self.models)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, label: str) -> None:
        self._bar.update(self._task, description=label.replace("[", "\\["))

    def update(self, clips: int) -> None:
        self._bar.update(self._task, completed=self.done * self.clips + clips)

    def end(self, label: str) -> None:
        """After a model, whether it failed or not."""
        self.done += 1
        self.update(0)
        seconds = (time.monotonic() - self.began) / self.done * (self.models - self.done)
        if not console.is_terminal and self.models > 1:
            say(f"{label}: model {self.done} of {self.models}, about {round(seconds)} s left")
