"""The files of a saved model: settings, weights and card in one folder, which may be bundled or on the Hub.

Nothing is ever unpickled.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from astm.pretrained import bundled
from astm.pretrained.provenance import UNKNOWN, Origin
from mlst.exits import UserError
from mlst.files import whole, write
from mlst.records import decode, encode

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
LIBRARY = "astm"


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
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no {CONFIG}, so it is not a checkpoint of this library") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error})") from None
    if (
        not isinstance(values, dict)
        or not isinstance(values.get("settings"), dict)
        or values.get("library") != LIBRARY
    ):
        raise CheckpointError(f"{path} was not written by this library: it needs library 'astm', model and settings")
    try:
        origin = _origin(values["training"]) if "training" in values else UNKNOWN
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Config(str(values.get("model")), values["settings"], origin)


def write_weights(folder: Path, net: nn.Module) -> None:
    """Write the state of a network as `model.safetensors`, whole or not at all. Raises `OSError`."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with saving(folder / WEIGHTS), whole(folder / WEIGHTS) as temporary:
        save_file(weights, temporary, {"format": "pt"})


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """What the operating system says against writing `path` is an `OSError`, which safetensors only puts in words."""
    try:
        yield
    except SafetensorError as why:
        said = re.search(r"os error (\d+)|code: (\d+)", str(why))
        if said is None:
            raise
        number = int(said[1] or said[2])
        raise OSError(number, os.strerror(number), str(path)) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises
    ------
    CheckpointError: the file is missing or is not safetensors.
    """
    if not path.is_file():
        beside = ", ".join(sorted(file.name for file in path.parent.iterdir())) or "nothing"
        raise CheckpointError(f"{path.parent} has no {WEIGHTS} (it has {beside}); pickled weights are never loaded")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}); fetch or save it again") from None


def load_weights(net: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a model whose names and shapes they must match exactly; `source` is for the message."""
    own = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    problems = [f"{name} is missing" for name in own.keys() - given.keys()]
    problems += [f"{name} is not in the model" for name in given.keys() - own.keys()]
    problems += [
        f"{name} has shape {given[name]}, the model wants {own[name]}"
        for name in own.keys() & given.keys()
        if own[name] != given[name]
    ]
    counters = {name for name, tensor in net.state_dict().items() if not tensor.is_floating_point()}
    problems += [
        f"{name} has dtype {tensor.dtype}"
        for name, tensor in weights.items()
        if tensor.is_floating_point() == (name in counters)
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"the weights of {source} do not fit: {'; '.join(sorted(problems)[:5])}{more}")
    net.load_state_dict(dict(weights), strict=True)


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
    wrong = [name for name, value in asdict(origin).items() if type(value) is not type(getattr(UNKNOWN, name))]
    if wrong:
        raise ValueError(f"training: bad value of {', '.join(wrong)}")
    return origin
