"""STAM: a spatiotemporal attention based memory for video prediction; and how to load the authors' checkpoints.

Chang et al., IEEE Transactions on Multimedia 2022; https://github.com/ZhengChang467/STAM-TMM (MIT). It
is the journal extension of ASTM by the same authors and the only one with public code: ASTM plus the same attention
over the spatial memory, so that equation (4) of ASTM becomes M^k_t = f o EIFAG(M of the last tau cells, f) + i o g,
where the cells count along the zig-zag: layer after layer, time step after time step.

Defaults are the public configuration for Moving MNIST: 4 layers of 32, 3 x 3 x 3, tau 5, LayerNorm per element. The
temporal history is aliased (see `astm.models.astm`), as the weights were trained; the spatial one is not.
"""

import math
import re
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from astm.models.astm import ASTM, ASTMSettings
from astm.models.recurrent import Count, OddSide
from astm.predictor import model
from astm.pretrained.provenance import Paper
from astm.pretrained.store import CheckpointError, load_weights, read_weights


class STAMSettings(ASTMSettings):
    """The public configuration."""

    hidden: Count = 32
    kernel: tuple[OddSide, OddSide, OddSide] = (3, 3, 3)
    norm: Literal["none", "group", "layer"] = "layer"
    history: Literal["paper", "alias"] = "alias"


@model
class STAM(ASTM):
    """ASTM with attention over the last tau spatial memories as well."""

    Settings = STAMSettings

    paper = Paper(
        title="STAM: A SpatioTemporal Attention Based Memory for Video Prediction",
        authors="Chang, Zheng and Zhang, Xinfeng and Wang, Shanshe and Ma, Siwei and Gao, Wen",
        venue="IEEE Transactions on Multimedia",
        year="2022",
        url="https://github.com/ZhengChang467/STAM-TMM",
    )

    @property
    def spatial(self) -> int:
        return self.settings.tau


def import_stam(path: str | Path, tau: int = 5, channels: int = 1) -> STAM:
    """Load a checkpoint of the public STAM code.

    Layers, width, kernel, patch, window and grid are read off the weights; tau and channels leave no trace there.

    Parameters
    ----------
    path: `model.ckpt-N` as the code writes it ({"net_param": state dict}), or the same state dict as safetensors. The
        former is read with `torch.load(weights_only=True)`, which builds tensors and nothing else.
    tau: memories attended to; 5 in every public configuration.
    channels: of a frame; 1 in every public configuration.

    Raises
    ------
    CheckpointError: not such a file, or of the variant with a strided encoder (`sr_size` above 1), which is not built.
    """
    weights = _read(Path(path))
    names = {_ours(name): tensor for name, tensor in weights.items()}
    strided = sorted(name for name in weights if name.startswith(("conv_encoder.", "conv_decoder.")))
    if strided:
        raise CheckpointError(f"{path} has a strided encoder ({strided[0]} ...); only sr_size = 1 can be loaded")
    try:
        gates, norm = names["cells.0.conv_h.0.weight"], names["cells.0.conv_h.1.weight"]
        depth, window = names["decoder.weight"].shape[0], names["decoder.weight"].shape[2]
        settings = {
            "channels": channels,
            "patch": math.isqrt(depth // channels),
            "layers": 1 + max(int(name.split(".")[1]) for name in names if name.startswith("cells.")),
            "hidden": gates.shape[1],
            "kernel": gates.shape[2:],
            "tau": tau,
            "window": window,
            "grid": norm.shape[2:],
        }
        stam = STAM.of(**settings)
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f"{path} is not a STAM checkpoint: {error}") from None
    load_weights(stam, names, str(path))
    return stam


def _ours(name: str) -> str:
    """Names in the public code -> names here; cells differ in the name of their list only."""
    return re.sub(r"^conv_last\.", "decoder.", re.sub(r"^cell_list\.", "cells.", name))


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except Exception as error:  # zip, pickle and runtime errors, by what is wrong with the file
        raise CheckpointError(f"{path} cannot be read as tensors alone ({type(error).__name__}: {error})") from None
    weights = content.get("net_param") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise CheckpointError(f"{path} is not a STAM checkpoint: it has no 'net_param' of tensors")
    return weights
