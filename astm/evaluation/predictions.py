"""Anybody's predictions as files: paired with the truth and scored; and those of our models, written."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from astm.data import Clips, Pairs
from astm.data.films import Film, Films
from astm.evaluation.clip_scores import ClipScores
from astm.evaluation.evaluate import INTERVAL, POLICY, Scored, Shelf, Tally, to_bytes
from astm.metrics import check_pair, metric
from astm.results import FORMAT, Cost, Evaluation, EvaluationError
from mlst.files import whole, write
from mlst.records import decode, digest
from mlst.text import number_of

TRUTH, ABOUT = "truth.npy", "truth.json"
"""What is written beside the predictions of our models: the films, and what is known of them."""
NOT_RUN = Cost(0, 0, 0, 0, 0.0, "")
"""Of a model whose predictions alone are known."""
LARGEST_TRUTH, LARGEST_PREDICTION = 1.001, 4.0
"""Values above are taken for pictures from 0 to 255; models leave [0, 1], but not so far."""

Seen: TypeAlias = Callable[[Pairs, torch.Tensor], None]
"""Called with a batch and the prediction of its future."""


@dataclass(frozen=True, slots=True)
class About:
    """What is known of the true films: `truth.json`."""

    dataset: str
    split: str
    protocol: str
    fingerprint: str
    keys: tuple[str, ...]
    videos: tuple[str, ...]
    levels: tuple[str, ...]


def paired(truth: Films, predicted: Films) -> Iterator[tuple[Film, Film]]:
    """Each true film and its prediction, in the order of the truth, with as many channels.

    Raises
    ------
    EvaluationError: a prediction is missing, or the numbers differ.
    """
    channels = truth.channels or predicted.channels or 3
    places: Sequence[int] = range(len(truth.keys))
    if truth.named and predicted.named:
        known = {key: i for i, key in enumerate(predicted.keys)}
        if missing := [key for key in truth.keys if key not in known]:
            raise EvaluationError(
                f"{predicted.place} has no prediction of {len(missing)} of {len(truth.keys)} films of {truth.place}: "
                f"{', '.join(missing[:3])} ...; it has {', '.join(predicted.keys[:3])} ..."
            )
        places = [known[key] for key in truth.keys]
    elif len(truth.keys) != len(predicted.keys):
        raise EvaluationError(
            f"{predicted.place} has {number_of(len(predicted.keys), 'film')} and "
            f"{truth.place} has {len(truth.keys)}; if axes are "
            f"in another order, say so with --layout or --truth-layout, e.g. TNHW"
        )
    for i, place in enumerate(places):
        yield (
            _checked(truth.read(i, channels, slice(None)), f"{truth.place}: {truth.keys[i]}", LARGEST_TRUTH, channels),
            _checked(
                predicted.read(place, channels, slice(None)),
                f"{predicted.place}: {predicted.keys[place]}",
                LARGEST_PREDICTION,
                channels,
            ),
        )


def about(truth: Films, place: Path) -> About:
    """What `truth.json` beside a stack says, or else the films' own keys and levels."""
    told = place.parent / ABOUT
    if place.name == TRUTH and told.is_file():
        try:
            return decode(About, json.loads(told.read_bytes()))
        except ValueError as why:
            raise EvaluationError(f"{told} was not written by `astm evaluate --save-predictions`: {why}") from None
    levels, name = tuple(truth.levels.get(key, "all") for key in truth.keys), place.resolve().name
    protocol = f"{len(truth.keys)} films of {name}"
    return About(name, "test", protocol, "", truth.keys, truth.keys, levels)


def score_films(
    truth: Films,
    predicted: Films,
    known: About,
    *,
    label: str,
    model: str,
    metrics: Sequence[str],
    batch_size: int,
    keep: int,
    progress: Callable[[int], None] = lambda clips: None,
) -> Scored:
    """Score predictions against the last frames of the true films.

    Parameters
    ----------
    model: the registered name of the model that made them, for `astm table`; or any other name.

    Raises
    ------
    EvaluationError: see `paired`; films shorter than their predictions. ValueError: pictures of other sizes.
    """
    tally, shelf, hashed = Tally(metrics), Shelf(keep), list[str]()
    batch = list[tuple[Film, Film]]()
    shape: tuple[int, ...] = ()
    for i, (film, guess) in enumerate(paired(truth, predicted), start=1):
        if len(film) < len(guess):
            raise EvaluationError(
                f"{known.keys[i - 1]}: {number_of(len(guess), 'frame is', 'frames are')} predicted, "
                f"the film has {len(film)}"
            )
        if not known.fingerprint:
            hashed.append(digest([list(film.shape), hashlib.sha256(to_bytes(_tensor(film)).tobytes()).hexdigest()]))
        batch.append((film, guess))
        shape = (len(film) - len(guess), *guess.shape)
        if len(batch) == batch_size or i == len(truth.keys):
            rows = slice(i - len(batch), i)
            _score(batch, known.keys[rows], known.levels[rows], tally, shelf)
            batch.clear()
            progress(i)
    past, horizon, channels, height, _ = shape
    fingerprint = known.fingerprint or digest(hashed)
    result = Evaluation(
        format=FORMAT,
        label=label,
        model=model,
        dataset=known.dataset,
        split=known.split,
        protocol=known.protocol,
        fingerprint=fingerprint,
        clips=len(tally.levels),
        past=past,
        horizon=horizon,
        size=height,
        channels=channels,
        policy=POLICY,
        interval=INTERVAL,
        groups=tally.groups(),
        cost=NOT_RUN,
    )
    by_clip = ClipScores(label, fingerprint, known.keys, known.videos, known.levels, tally.by_clip())
    return Scored(result, shelf.examples(), by_clip)


def _score(
    batch: Sequence[tuple[Film, Film]], keys: Sequence[str], levels: Sequence[str], tally: Tally, shelf: Shelf
) -> None:
    horizon = len(batch[0][1])
    try:
        films, guesses = (torch.stack([_tensor(pair[side]) for pair in batch]) for side in (0, 1))
    except RuntimeError:
        raise EvaluationError(
            f"films of {keys[0]} to {keys[-1]} differ in size or length; use --batch-size 1"
        ) from None
    past, future = films[:, : films.shape[1] - horizon], films[:, films.shape[1] - horizon :]
    try:
        check_pair(guesses, future)
    except ValueError as why:
        raise EvaluationError(f"films of {keys[0]} to {keys[-1]}: {why}") from None
    tally.add({name: metric[name](guesses, future).numpy() for name in tally.metrics}, keys, levels)
    shelf.add(keys, levels, past, future, guesses)


@contextlib.contextmanager
def saving(folder: Path, label: str, clips: Clips, dataset: str, count: int) -> Iterator[Seen]:
    """Write what a model predicts of the first `count` clips, for `astm score` and other people's code.

    `<label>.npy` has the predictions, (N, T', C, H, W) float32 as the model gave them, `truth.npy` the films,
    (N, T + T', C, H, W) uint8, `truth.json` their keys, videos and levels. Call what this gives with each batch.
    """
    s, place = clips.settings, folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', label)}.npy"
    keys, levels = list[str](), list[str]()
    folder.mkdir(parents=True, exist_ok=True)
    with whole(place) as guesses, whole(folder / TRUTH) as films:
        shape = (s.channels, *s.picture)
        ours = np.lib.format.open_memmap(guesses, "w+", np.float32, (count, s.horizon, *shape))
        true = np.lib.format.open_memmap(films, "w+", np.uint8, (count, s.length, *shape))

        def seen(batch: Pairs, predicted: torch.Tensor) -> None:
            rows = slice(len(keys), len(keys) + len(batch.keys))
            ours[rows] = predicted.float().cpu().numpy()
            true[rows] = to_bytes(torch.cat([batch.past, batch.future], dim=1))
            keys.extend(batch.keys)
            levels.extend(batch.levels)

        yield seen
        ours.flush()
        true.flush()
    videos = tuple(map(clips.video, keys))
    told = About(dataset, clips.split, clips.protocol, clips.fingerprint, tuple(keys), videos, tuple(levels))
    write(folder / ABOUT, json.dumps(asdict(told), indent=1) + "\n")


def _checked(film: Film, name: str, largest: float, channels: int) -> Film:
    if film.shape[1] != channels:
        raise EvaluationError(f"{name} has {film.shape[1]} channels, the other one {channels}")
    if film.dtype != np.uint8 and not np.issubdtype(film.dtype, np.floating):
        raise EvaluationError(f"{name} is of type {film.dtype}; give uint8, or floating point from 0 to 1")
    if film.dtype != np.uint8 and film.size and float(film.max()) > largest:
        raise EvaluationError(f"{name} has values up to {float(film.max()):g}; floating point must be from 0 to 1")
    return film


def _tensor(film: Film) -> torch.Tensor:
    values = torch.from_numpy(np.array(film))  # a copy, which may be written to
    return values.float() / 255 if film.dtype == np.uint8 else values.float()
