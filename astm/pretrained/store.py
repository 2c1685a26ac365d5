"""The files of a saved model: settings, weights and card in one folder, which may be bundled or on the Hub.

Nothing is ever unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from astm.pretrained import bundled
from astm.pretrained.provenance import UNKNOWN, Origin
from astm.pretrained.tensors import DamagedError, read_tensors, save_tensors
from mlst.dataset.schema import parse_json
from mlst.exits import UserError
from mlst.files import write
from mlst.inside import content
from mlst.records import decode, encode

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
LIBRARY = "astm"
LARGEST = 1 << 20
"""Bytes of `config.json`; one with its recipe has 3 kB."""
LARGEST_NUMBER = 1 << 53
"""In it: what a double holds exactly."""


class CheckpointError(UserError, ValueError):
    """A folder or repository that is not a checkpoint of this library, or of this model."""


@dataclass(frozen=True, slots=True)
class Config:
    """What `config.json` says."""

    model: str
    """Registered name."""
    settings: Mapping[str, object]
    """The model's settings as JSON values, not yet checked."""
    origin: Origin
    """`UNKNOWN` where the file does not say how the weights were made."""


def write_config(folder: Path, config: Config) -> None:
    """Write `config.json` whole or not at all."""
    values = {"library": LIBRARY, "model": config.model, "settings": config.settings}
    training = {} if config.origin == UNKNOWN else {"training": encode(config.origin)}
    write(folder / CONFIG, json.dumps({**values, **training}, indent=2, sort_keys=True) + "\n")


def read_config(folder: Path) -> Config:
    """Read `config.json`. Raises `CheckpointError` for a missing, foreign or corrupt one."""
    path = folder / CONFIG
    try:
        values = parse_json(content(path.resolve(), LARGEST), CONFIG)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no {CONFIG}, so it is not a checkpoint of this library") from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if (
        not isinstance(values, dict)
        or not isinstance(values.get("settings"), dict)
        or values.get("library") != LIBRARY
    ):
        raise CheckpointError(f"{path} was not written by this library: it needs library 'astm', model and settings")
    try:
        origin = _origin(values["training"]) if "training" in values else UNKNOWN
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {str(error)[:1000]}") from None
    return Config(str(values.get("model")), values["settings"], origin)


def write_weights(folder: Path, net: nn.Module) -> None:
    """Write the state of a network as `model.safetensors`, whole or not at all. Raises `OSError`."""
    save_tensors(folder / WEIGHTS, net.state_dict(), {"format": "pt"})


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises
    ------
    CheckpointError: the file is missing, is not safetensors, or is not as it was written.
    """
    if not path.is_file():
        beside = ", ".join(sorted(file.name for file in path.parent.iterdir())) or "nothing"
        raise CheckpointError(f"{path.parent} has no {WEIGHTS} (it has {beside}); pickled weights are never loaded")
    try:
        return read_tensors(path)[0]
    except (DamagedError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}); fetch or save it again") from None


def load_weights(net: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a model that they must fit, see `check_weights`; `source` is for the message."""
    check_weights(net, weights, source)
    net.load_state_dict(dict(weights), strict=True)


def check_weights(net: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` where names and shapes of weights are not exactly those of a model, which may be one on
    the meta device, or where values are not finite."""
    state = net.state_dict()
    own = {name: tuple(tensor.shape) for name, tensor in state.items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    problems = [f"{name} is missing" for name in own.keys() - given.keys()]
    problems += [f"{name[:200]!a} is not in the model" for name in given.keys() - own.keys()]
    problems += [
        f"{name} has shape {given[name]}, the model wants {own[name]}"
        for name in own.keys() & given.keys()
        if own[name] != given[name]
    ]
    counters = {name for name, tensor in state.items() if not tensor.is_floating_point()}
    problems += [
        f"{name} has dtype {weights[name].dtype}"
        for name in own.keys() & given.keys()
        if weights[name].is_floating_point() == (name in counters)
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"the weights of {source} do not fit: {'; '.join(sorted(problems)[:5])}{more}")
    check_finite(weights, source)


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` where a weight is NaN or infinite, as all predictions would be; names the first five."""
    bad = {name: int(tensor.numel() - torch.isfinite(tensor).sum()) for name, tensor in weights.items()}
    named = [f"{name[:200]} ({count} of {weights[name].numel()})" for name, count in bad.items() if count]
    if named:
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        raise CheckpointError(
            f"the weights of {source} have values that are NaN or infinite: {', '.join(named[:5])}{more}; the "
            "training that made them diverged: take an earlier checkpoint, or train with a lower rate"
        )


def locate(source: str | Path, revision: str) -> Path:
    """The folder itself, a bundled one, or where the Hub's files are after fetching just the two that matter."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if source in bundled.names():
        try:
            return bundled.folder_of(str(source))
        except bundled.DamagedError as why:
            raise CheckpointError(str(why)) from None
    if not isinstance(source, str) or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise CheckpointError(
            f"{source!s} is neither a folder, nor a bundled checkpoint ({', '.join(bundled.names())}), "
            "nor a Hub id (owner/name)"
        )
    from huggingface_hub import snapshot_download  # noqa: PLC0415, heavy, and only needed for Hub ids
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise CheckpointError(f"{source!r} is not a folder, and the Hub gave no such repository: {error}") from error


def _origin(values: dict[str, object]) -> Origin:
    """The training that a config names. Raises `ValueError` for other fields or types than ours."""
    origin = decode(Origin, values)
    wrong = [
        name
        for name, value in asdict(origin).items()
        if type(value) is not type(getattr(UNKNOWN, name))
        or (not isinstance(value, str) and not abs(value) <= LARGEST_NUMBER)
    ]
    if wrong:
        raise ValueError(f"training: bad value of {', '.join(wrong)}")
    return origin
