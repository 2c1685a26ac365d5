"""ConvLSTM, PredRNN, PredRNN-V2, PredRNN++, E3D-LSTM and MAU, as OpenSTL and the PredRNN family name their weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from astm.importing.draft import Draft, Imported, reordered
from astm.pretrained.store import CheckpointError

Given = Mapping[str, Any]
"""Settings that the user names, because they leave no trace in the weights."""

NO_NORM = "a checkpoint trained with layer_norm = 1 has a scale per element, which these models do not have here"


def common(draft: Draft, given: Given) -> dict[str, Any]:
    """Settings that all but MAU share, from the first cell and the last convolution."""
    if any(name.startswith("cell_list.0.conv_x.1.") for name in draft.weights):
        raise CheckpointError(NO_NORM)
    depth = draft.shape("conv_last.weight")[0]
    kernel = draft.shape("cell_list.0.conv_x.0.weight")[2]
    return {"patch": patch_of(depth, given), "kernel": kernel, **given}


def patch_of(depth: int, given: Given) -> int:
    """Side of the patches that make so many channels."""
    channels = int(given.get("channels", 1))
    patch = math.isqrt(depth // channels)
    if patch * patch * channels != depth:
        raise CheckpointError(
            f"frames of {depth} channels are not square patches of {channels} channel(s); name them: channels=3"
        )
    return patch


def widths(draft: Draft) -> list[int]:
    """Channels of each cell."""
    return [draft.shape(f"cell_list.{k}.conv_h.0.weight")[1] for k in range(draft.count(r"cell_list\.(\d+)\."))]


def convlstm(draft: Draft, given: Given) -> Imported:
    """OpenSTL's ConvLSTM."""
    hidden = widths(draft)
    for k in range(len(hidden)):
        at = f"cell_list.{k}"
        operands = [f"{at}.conv_{operand}.0.weight" for operand in "xh"]
        draft.take(f"cells.{k}.W.weight", operands, lambda x, h: torch.cat([x, h], dim=1), "two convolutions as one")
    draft.take("decoder.weight", "conv_last.weight")
    draft.leave(r"cell_list\.\d+\.(conv_o\.0|conv_last)\.weight", "their code allocates it and never uses it")
    settings = {"hidden": hidden, "bias": False, "initial": "separate", **common(draft, given)}
    return draft.model("convlstm", settings)


def _st_lstms(draft: Draft, given: Given) -> dict[str, Any]:
    hidden = widths(draft)
    if len(set(hidden)) > 1:
        raise CheckpointError(f"layers of {hidden} channels; predrnn has the same number in each here")
    orders = {
        "x": ("i f g ip fp gp o", "g i f gp ip fp o"),
        "h": ("i f g o", "g i f o"),
        "m": ("ip fp gp", "gp ip fp"),
    }
    for k in range(len(hidden)):
        at = f"cell_list.{k}"
        for operand, (theirs, ours) in orders.items():
            name, said = f"conv_{operand}.0.weight", f"gates {theirs} as {ours}"
            draft.take(f"cells.{k}.{name}", f"{at}.{name}", reordered(theirs, ours), said)
        for name in ("conv_o.0.weight", "conv_last.weight"):
            draft.take(f"cells.{k}.{name}", f"{at}.{name}")
    draft.take("decoder.weight", "conv_last.weight")
    return {"layers": len(hidden), "hidden": hidden[0], **common(draft, given)}


def predrnn(draft: Draft, given: Given) -> Imported:
    """PredRNN of either code."""
    return draft.model("predrnn", _st_lstms(draft, given))


def predrnn_v2(draft: Draft, given: Given) -> Imported:
    """PredRNN-V2 of either code."""
    draft.take("adapter.weight", "adapter.weight")
    return draft.model("predrnn_v2", _st_lstms(draft, given))


def predrnn_pp(draft: Draft, given: Given) -> Imported:
    """OpenSTL's PredRNN++."""
    hidden = widths(draft)
    orders = {
        "conv_x": ("conv_x", "i f g ip fp gp o", "g i f gp ip fp o"),
        "conv_h": ("conv_h", "i f g o", "g i f o"),
        "conv_c": ("conv_c", "i f g", "g i f"),
        "conv_m": ("conv_m", "i f m", "i f m"),
        "conv_c_new": ("conv_c2m", "i g f o", "g i f o"),
        "conv_m_new": ("conv_om", "o", "o"),
    }
    for k in range(len(hidden)):
        for mine, (name, theirs, ours) in orders.items():
            said = f"gates {theirs} as {ours}" if theirs != ours else ""
            source = f"cell_list.{k}.{name}.0.weight"
            draft.take(f"cells.{k}.{mine}.0.weight", source, reordered(theirs, ours), said)
        draft.take(f"cells.{k}.conv_last.weight", f"cell_list.{k}.conv_last.weight")
    for operand in "xz":
        draft.take(f"highway.conv_{operand}.0.weight", f"gradient_highway.{operand}_concat.0.weight")
    draft.take("decoder.weight", "conv_last.weight")
    draft.leave(r"cell_list\.\d+\.conv_o\.0\.weight", "their code allocates it and never uses it")
    settings = {"hidden": hidden, "norm": "none", "bias": False, "highway_scale": 0.001, **common(draft, given)}
    return draft.model("predrnn_pp", settings)


def e3d_lstm(draft: Draft, given: Given) -> Imported:
    """OpenSTL's E3D-LSTM; a stride leaves no trace in the weights."""
    if any(name.startswith("cell_list.0.conv_x.1.") for name in draft.weights):
        raise CheckpointError(NO_NORM)
    parts = {
        "conv_x.0.conv": "conv_x.0.conv3d",
        "conv_h.0.conv": "conv_h.0.conv3d",
        "conv_m.0.conv": "conv_gm.0.conv3d",
        "norm_c": "_norm_c_t",
        "conv_oc.conv": "conv_new_cell.0.conv3d",
        "conv_om.conv": "conv_new_gm.0.conv3d",
        "conv_last": "conv_last.conv3d",
    }
    layers = draft.count(r"cell_list\.(\d+)\.")
    for k in range(layers):
        for ours, theirs in parts.items():
            draft.layer(f"cells.{k}.{ours}", f"cell_list.{k}.{theirs}")
    draft.layer("decoder", "conv_last")
    hidden, window, *grid = draft.shape("cell_list.0._norm_c_t.weight")
    settings = {
        "patch": patch_of(draft.shape("conv_last.weight")[0], given),
        "layers": layers,
        "hidden": hidden,
        "kernel": draft.shape("cell_list.0.conv_h.0.conv3d.weight")[2:],
        "window": window,
        "grid": grid,
    }
    return draft.model("e3d_lstm", {"form": "openstl", "stale_memory": True, **settings, **given})


def mau(draft: Draft, given: Given) -> Imported:
    """MAU of either code; tau, residual and recall leave no trace in the weights."""
    layers, halvings = draft.count(r"cell_list\.(\d+)\."), draft.count(r"encoders\.(\d+)\.") - 1
    draft.layer("first", "encoders.0.encoder_t_conv-1")
    for k in range(halvings):
        draft.layer(f"encoder.{k}", f"encoders.{k + 1}.encoder_t{k}")
        draft.layer(f"decoder.{k}", f"decoders.{k}.c_decoder{k}")
    for k in range(layers):
        for part in ("conv_t", "conv_s", "conv_t_next", "conv_s_next"):
            for place in (0, 1):
                draft.layer(f"cells.{k}.{part}.{place}", f"cell_list.{k}.{part}.{place}")
    draft.layer("last", "srcnn.0")
    draft.leave(r"(merge|conv_last_sr)\.(weight|bias)", "their code allocates it and never uses it")
    gates = draft.shape("cell_list.0.conv_t_next.0.weight")
    settings = {
        "patch": patch_of(draft.shape("srcnn.0.weight")[0], given),
        "scale": 2**halvings,
        "layers": layers,
        "hidden": gates[0],
        "kernel": gates[2],
        "grid": draft.shape("cell_list.0.conv_t_next.1.weight")[1:],
    }
    return draft.model("mau", {**settings, **given})
