"""Checkpoints: one safetensors file with weights, optimiser and, as JSON in its header, everything else. Never pickle.

Random numbers need no saving: those of a step are a function of (seed, step, rank).
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from astm.predictor import Predictor, model, with_weights
from astm.pretrained.provenance import Origin
from astm.pretrained.store import CONFIG, CheckpointError
from astm.pretrained.tensors import DamagedError, read_tensors, save_tensors
from astm.training.settings import OVERRIDES, Experiment, Override, SettingsError, parse, to_toml
from mlst import __version__

FORMAT = "astm-checkpoint/1"
LAST, BEST = "last.safetensors", "best.safetensors"
WEIGHTS, AVERAGE, OPTIMISER, SCALER = "weights.", "average.", "optimiser.", "scaler."
"""How the names of tensors begin."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    step: int
    """Batches done."""
    epoch: int
    position: int
    """Batches taken of that epoch."""
    best: float
    """Lowest validation score so far, `mse_sum`; infinity before the first."""
    best_step: int


START = Progress(0, 0, 0, float("inf"), 0)


@dataclass(frozen=True, slots=True)
class State:
    """The tensors of a run."""

    weights: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    """Their moving average; empty without one."""
    optimiser: Mapping[str, Tensor]
    """By "<index of the parameter>.<name>"."""
    scaler: Mapping[str, Tensor]
    """Of the loss; empty unless in float16."""

    @property
    def best(self) -> Mapping[str, Tensor]:
        """The weights to predict with."""
        return self.average or self.weights


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run at a step: all that continuing it takes."""

    experiment: Experiment
    """With the settings of that step."""
    overrides: tuple[Override, ...]
    """What was changed until then."""
    progress: Progress
    state: State


def save(path: Path, run: Checkpoint) -> None:
    """Write a checkpoint whole or not at all. Raises `OSError` where the disk cannot take it; the one before stays."""
    state = run.state
    parts = {WEIGHTS: state.weights, AVERAGE: state.average, OPTIMISER: state.optimiser, SCALER: state.scaler}
    tensors = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    about = {
        "format": FORMAT,
        "experiment": run.experiment.tree(),
        OVERRIDES: [asdict(change) for change in run.overrides],
        "progress": asdict(run.progress),
    }
    save_tensors(path, tensors, {"astm": json.dumps(about)})


def read(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises `CheckpointError` where it is corrupt or not ours."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        tensors, metadata = read_tensors(path)
        about = json.loads(metadata.get("astm", "{}"))
        if about.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} was not written by `astm train`; foreign weights are read from a folder with {CONFIG}, "
                f"see docs/models.md"
            )
        experiment, progress = parse(about["experiment"]), Progress(**about["progress"])
        overrides = tuple(Override(**change) for change in about.get(OVERRIDES, ()))
    except (DamagedError, OSError, json.JSONDecodeError, RecursionError) as why:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({why}); pickled checkpoints are never loaded"
        ) from None
    except (SettingsError, KeyError, TypeError) as why:
        raise CheckpointError(f"{path} does not fit this version: {why}") from None
    state = State(*(_part(tensors, prefix) for prefix in (WEIGHTS, AVERAGE, OPTIMISER, SCALER)))
    return Checkpoint(experiment, overrides, progress, state)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by "<index of the parameter>.<name>"."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, values in state.items() for name, tensor in values.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave; hyper-parameters come from the settings."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def find(source: Path) -> Path:
    """The checkpoint to evaluate: the file itself, or a run's best one, or its last."""
    if source.is_dir():
        for name in (BEST, LAST):
            if (source / name).is_file():
                return source / name
        raise CheckpointError(
            f"{source} holds no {BEST}, {LAST} or {CONFIG}; give a run, a checkpoint or a saved model"
        )
    return source


def load_predictor(source: str) -> Predictor:
    """A model to use.

    Parameters
    ----------
    source: a run's folder, a checkpoint file, a folder or Hub id that `save_pretrained` or `push_to_hub` wrote, the
        name of a bundled checkpoint, or that of a registered model without weights, such as `copy_last`.

    Raises
    ------
    CheckpointError: nothing of that kind; the message says what was tried.
    """
    path = Path(source)
    if path.is_file() or (path.is_dir() and not (path / CONFIG).is_file()):
        checkpoint = read(find(path))
        experiment, weights = checkpoint.experiment, checkpoint.state.best
        predictor = with_weights(model[experiment.model], experiment.model_settings, weights, source)
        predictor.origin = origin(checkpoint)
        return predictor
    if source in model and not path.exists():
        predictor = model[source]()
        if next(predictor.parameters(), None) is not None:
            raise CheckpointError(f"{source!r} must be trained first; give its run or checkpoint")
        return predictor
    try:
        return Predictor.from_pretrained(source)
    except CheckpointError as why:
        with torch.device("meta"):  # 0.2 s for all models, where drawing their weights takes 10
            weightless = [name for name in model if next(model[name]().parameters(), None) is None]
        raise CheckpointError(f"{why}; neither is it a model without weights: {', '.join(weightless)}") from None


def origin(run: Checkpoint, protocol: str = "", fingerprint: str = "") -> Origin:
    """What to say of weights that a run made; `protocol` and `fingerprint` of its training split."""
    experiment, progress = run.experiment, run.progress
    tree, d = experiment.tree(), experiment.data_settings
    kept = {name: tree[name] for name in ("model", "data", "train")}
    kept["data"] = {name: _no_folder(value) for name, value in tree["data"].items() if name not in d.places}
    kept["train"] = {name: _no_folder(value) for name, value in tree["train"].items()}
    return Origin(
        version=__version__,
        data=experiment.data,
        protocol=protocol,
        fingerprint=fingerprint,
        past=d.past,
        horizon=d.horizon,
        size=d.size,
        channels=d.channels,
        step=progress.best_step or progress.step,
        steps=experiment.train.steps,
        score=progress.best if math.isfinite(progress.best) else -1.0,
        recipe=to_toml(kept, run.overrides),
    )


def _no_folder(value: Any) -> Any:
    """A setting without the folder of a file on this machine."""
    is_path = isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~"))
    return Path(value).name if is_path else value


def read_experiment(source: str) -> Experiment:
    """The settings that a run, checkpoint or saved model was made with, of a saved one without the places of data.

    Raises
    ------
    CheckpointError: no such thing, or nothing is known of its training.
    """
    path = Path(source)
    if path.is_file() or (path.is_dir() and not (path / CONFIG).is_file()):
        return read(find(path)).experiment
    recipe = load_predictor(source).origin.recipe
    try:
        return parse(tomllib.loads(recipe))
    except (SettingsError, tomllib.TOMLDecodeError):
        raise CheckpointError(f"{source} does not say what it was trained on; name the dataset with --data") from None


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
