"""STAM, as its authors' code (https://github.com/ZhengChang467/STAM-TMM) names its weights."""

import math
import re
from pathlib import Path
from typing import cast

from astm.importing.draft import Draft, Imported
from astm.importing.recurrent import Given
from astm.models.stam import STAM
from astm.pretrained.foreign import read_foreign
from astm.pretrained.store import CheckpointError


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
    draft = Draft(read_foreign(Path(path)))
    try:
        return cast(STAM, stam(draft, {"tau": tau, "channels": channels}).predictor)
    except CheckpointError as why:
        raise CheckpointError(f"{path}: {why}") from None


def stam(draft: Draft, given: Given) -> Imported:
    """The authors' STAM."""
    strided = sorted(name for name in draft.weights if name.startswith(("conv_encoder.", "conv_decoder.")))
    if strided:
        raise CheckpointError(f"it has a strided encoder ({strided[0]} ...); only sr_size = 1 can be loaded")
    gates, norm = (draft.shape(f"cell_list.0.conv_h.{place}.weight") for place in (0, 1))
    depth, _, window, *_ = draft.shape("conv_last.weight")
    for name in draft.weights:
        cell = re.fullmatch(r"cell_list\.(\d+\.(?:conv_[xhmo]\.[01]|conv_last)\.(?:weight|bias))", name)
        if cell:
            draft.take(f"cells.{cell[1]}", name)
    draft.layer("decoder", "conv_last")
    settings = {
        "patch": math.isqrt(depth // int(given.get("channels", 1))),
        "layers": draft.count(r"cell_list\.(\d+)\."),
        "hidden": gates[1],
        "kernel": gates[2:],
        "window": window,
        "grid": norm[2:],
    }
    return draft.model("stam", {**settings, **given})
