"""Checkpoints of other code bases, read as tensors and nothing else.

PyTorch's files are pickles. `weights_only=True` builds tensors and plain containers from them, and refuses the rest.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from astm.pretrained.store import CheckpointError, read_weights

LIMIT = 4 << 30
"""Bytes of a file, of what it unpacks to, and of its tensors: the largest published model here has 0.4 GiB."""
HOMES = ("state_dict", "net_param", "model")
"""Where checkpoints keep their state dict: Lightning's, those of the PredRNN family, others."""
PREFIXES = ("module.", "model.")
"""Of every name, where a model was wrapped."""


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint: PyTorch's file, or safetensors.

    Returns
    -------
    Tensors by name, without the prefixes of wrappers.

    Raises
    ------
    CheckpointError: missing, unreadable as tensors alone, without a state dict, or larger than `LIMIT`.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist, or is not a file")
    _check_size(path, path.stat().st_size)
    weights = read_weights(path) if path.suffix == ".safetensors" else _state_dict(path, _load(path))
    dense = all(tensor.layout == torch.strided and not tensor.is_quantized for tensor in weights.values())
    if not dense:
        raise CheckpointError(f"{path} has sparse or quantised tensors; save it with plain ones")
    _check_size(path, sum(tensor.numel() * tensor.element_size() for tensor in weights.values()))
    for prefix in PREFIXES:
        while weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _load(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                _check_size(path, sum(entry.file_size for entry in packed.infolist()))
        return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # zip, pickle and runtime errors, by what is wrong with the file
        raise CheckpointError(
            f"{path} cannot be read as tensors alone ({type(error).__name__}: {error}); if you trust it, save "
            f"its state dict by itself"
        ) from None


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The one table of tensors in what a file holds."""
    found = content
    if isinstance(content, Mapping):
        found = next((content[home] for home in HOMES if isinstance(content.get(home), Mapping)), content)
    if not isinstance(found, Mapping) or not found or not all(_is_weight(*item) for item in found.items()):
        raise CheckpointError(
            f"{path} is not a checkpoint: it has no state dict of tensors, be it the whole file or one of "
            f"{', '.join(map(repr, HOMES))}"
        )
    return dict(found)


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _check_size(path: Path, size: int) -> None:
    if size > LIMIT:
        raise CheckpointError(
            f"{path} holds {size:,} bytes, more than the limit of {LIMIT:,}; no model here is so large"
        )
