"""SimVP, TAU, PhyDNet, SwinLSTM, CrevNet and PredFormer, as OpenSTL and their authors' codes name their weights."""

import math
from typing import Any

import torch
from torch import Tensor

from astm.importing.draft import Draft, Imported
from astm.importing.recurrent import Given, patch_of
from astm.pretrained.store import CheckpointError


def simvp(draft: Draft, given: Given) -> Imported:
    """OpenSTL's SimVP with the gSTA translator."""
    return draft.model("simvp", _simvp(draft, given))


def tau(draft: Draft, given: Given) -> Imported:
    """OpenSTL's TAU."""
    for k in range(draft.count(r"hid\.enc\.(\d+)\.")):
        for ours, theirs in (("squeeze", "fc.0"), ("excite", "fc.2")):
            draft.layer(f"translator.{k}.attention.{ours}", f"hid.enc.{k}.block.attn.spatial_gating_unit.{theirs}")
    return draft.model("tau", _simvp(draft, given))


def _simvp(draft: Draft, given: Given) -> dict[str, Any]:
    """What both have, and its settings."""
    layers, blocks = draft.count(r"enc\.enc\.(\d+)\."), draft.count(r"hid\.enc\.(\d+)\.")
    places = [("first", "enc.enc.0"), *((f"encoder.{k}", f"enc.enc.{k + 1}") for k in range(layers - 1))]
    places += [(f"decoder.{k}", f"dec.dec.{k}") for k in range(layers - 1)] + [("last", f"dec.dec.{layers - 1}")]
    for ours, theirs in places:
        shuffled = f"{theirs}.conv.conv.0.weight" in draft
        draft.layer(f"{ours}.conv", f"{theirs}.conv.conv" + ".0" * shuffled)
        draft.layer(f"{ours}.norm", f"{theirs}.conv.norm")
    draft.layer("readout", "dec.readout")
    parts = {
        "norm_1": "norm1",
        "norm_2": "norm2",
        "attention.proj_1": "attn.proj_1",
        "attention.proj_2": "attn.proj_2",
        "attention.depthwise": "attn.spatial_gating_unit.conv0",
        "attention.dilated": "attn.spatial_gating_unit.conv_spatial",
        "attention.pointwise": "attn.spatial_gating_unit.conv1",
        "mixing.0": "mlp.fc1",
        "mixing.1": "mlp.dwconv.dwconv",
        "mixing.3": "mlp.fc2",
    }
    for k in range(blocks):
        at = f"hid.enc.{k}"
        for ours, theirs in parts.items():
            draft.layer(f"translator.{k}.{ours}", f"{at}.block.{theirs}")
        for n in (1, 2):
            theirs = f"{at}.block.layer_scale_{n}"
            draft.take(f"translator.{k}.scale_{n}", theirs, lambda scale: scale.reshape(-1, 1, 1), "as (C, 1, 1)")
        if f"{at}.reduction.weight" in draft:
            draft.layer(f"translator.{k}.reduction", f"{at}.reduction")
    hidden, channels, *_ = draft.shape("enc.enc.0.conv.conv.weight")
    wide, inputs, *_ = draft.shape("hid.enc.0.block.mlp.fc1.weight")
    return {
        "channels": channels,
        "frames": inputs // hidden,
        "hidden": hidden,
        "layers": layers,
        "kernel": draft.shape("enc.enc.0.conv.conv.weight")[2],
        "translator": draft.shape("hid.enc.1.block.norm1.weight")[0],
        "blocks": blocks,
        "expansion": wide // inputs,
        **given,
    }


def phydnet(draft: Draft, given: Given) -> Imported:
    """PhyDNet of either code; OpenSTL's has each weight of the two cells twice."""
    root = "encoder." if "encoder.encoder_E.c1.main.0.weight" in draft else ""
    places = {f"E.{k}": f"encoder_E.c{k + 1}" for k in range(3)}
    for ours, theirs in (("E_p", "encoder_Ep"), ("E_r", "encoder_Er")):
        places |= {f"{ours}.{k}": f"{theirs}.c{k + 1}" for k in range(2)}
    for ours, theirs in (("D_p", "decoder_Dp"), ("D_r", "decoder_Dr"), ("D", "decoder_D")):
        places |= {f"{ours}.{k}": f"{theirs}.upc{k + 1}" for k in range(2)}
    for ours, theirs in places.items():
        for part in (0, 1):
            draft.layer(f"{ours}.{part}", f"{root}{theirs}.main.{part}")
    draft.layer("D.2", f"{root}decoder_D.upc3")
    physical = f"{root}phycell.cell_list.0"
    names = (("derivatives", "F.conv1"), ("norm", "F.bn1"), ("combination", "F.conv2"), ("gain", "convgate"))
    for ours, theirs in names:
        draft.layer(f"cells.0.{ours}", f"{physical}.{theirs}")
    cells = draft.count(rf"{root}convcell\.cell_list\.(\d+)\.".replace("encoder.", r"encoder\."))
    for k in range(cells):
        draft.layer(f"cells.{k + 1}.W", f"{root}convcell.cell_list.{k}.conv")
    if root:
        draft.leave(r"(phycell|convcell)\..*", "the same weight again")
    draft.leave(r"k2m\..*", "a constant")
    hidden = [draft.shape(f"{root}convcell.cell_list.{k}.conv.weight")[0] // 4 for k in range(cells)]
    width, channels, *_ = draft.shape(f"{root}encoder_E.c1.main.0.weight")
    # The stride of the encoder leaves no trace: 4 unless it is named.
    settings = {"channels": channels, "width": width, "order": draft.shape(f"{physical}.F.conv1.weight")[2]}
    return draft.model("phydnet", {**settings, "hidden": hidden[:-1], **given})


def swin_lstm(draft: Draft, given: Given) -> Imported:
    """SwinLSTM-D of either code."""
    levels = draft.count(r"Downsample\.layers\.(\d+)\.")
    draft.layer("embed", "Downsample.patch_embed.proj")
    draft.layer("norm", "Downsample.patch_embed.norm")
    cells = [f"Downsample.layers.{k}" for k in range(levels)] + [f"Upsample.layers.{k}" for k in range(levels)]
    blocks = [draft.count(cell.replace(".", r"\.") + r"\.STBs\.(\d+)\.") for cell in cells]
    parts = {"norm_1": "norm1", "norm_2": "norm2", "attention.qkv": "attn.qkv", "attention.proj": "attn.proj"}
    parts |= {"mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
    for k, cell in enumerate(cells):
        for j in range(blocks[k]):
            ours, theirs = f"cells.{k}.STBs.{j}", f"{cell}.STBs.{j}"
            for mine, name in {**parts, **({"reduction": "red"} if j % 2 == 0 else {})}.items():
                draft.layer(f"{ours}.{mine}", f"{theirs}.{name}")
            draft.take(f"{ours}.attention.bias", f"{theirs}.attn.relative_position_bias_table")
    for k in range(levels):
        for part in ("norm", "reduction"):
            draft.layer(f"merge.{k}.{part}", f"Downsample.downsample.{k}.{part}")
        for part in ("expand", "norm"):
            draft.layer(f"expand.{k}.{part}", f"Upsample.upsample.{k}.{part}")
    draft.layer("decoder", "Upsample.Unembed.Conv")
    draft.leave(r".*\.STBs\.\d*[13579]\.red\.(weight|bias)", "their code allocates it and never uses it")
    draft.leave(r"Upsample\.patch_embed\..*", "their code allocates it and never uses it")
    draft.leave(r".*\.(attn_mask|attn\.relative_position_index)", "a constant")
    width, channels, scale, _ = draft.shape("Downsample.patch_embed.proj.weight")
    tables = [draft.shape(f"{cell}.STBs.0.attn.relative_position_bias_table") for cell in cells]
    settings = {"channels": channels, "scale": scale, "width": width, "down": blocks[:levels], "up": blocks[levels:]}
    settings |= {"heads": [heads for _, heads in tables[:levels]], "window": (math.isqrt(tables[0][0]) + 1) // 2}
    return draft.model("swin_lstm", {**settings, **given})


def crevnet(draft: Draft, given: Given) -> Imported:
    """OpenSTL's CrevNet."""
    blocks, layers = draft.count(r"encoder\.stack\.(\d+)\."), draft.count(r"frame_predictor\.convlstm\.(\d+)\.")
    for k in range(blocks):
        # Theirs has a dropout of 0 more; the first block has no normalisation in front.
        places = {0: 0, 1: 1, 3: 3, 4: 5, 6: 7} if k == 0 else {0: 0, 2: 2, 3: 3, 5: 5, 6: 7, 8: 9}
        for here, there in places.items():
            draft.layer(f"blocks.{k}.F.{here}", f"encoder.stack.{k}.bottleneck_block.{there}")
    gates = ("in_gate", "remember_gate", "cell_gate")
    for k in range(layers):
        ours, theirs = f"cells.{k}", f"frame_predictor.convlstm.{k}"
        for part in ("weight", "bias"):
            for mine, suffix in (("gates", ""), ("memory", "1")):
                names = [f"{theirs}.{gate}{suffix}.{part}" for gate in gates]
                draft.take(f"{ours}.{mine}.{part}", names, lambda *gate: torch.cat(gate), "three convolutions as one")
        draft.layer(f"{ours}.out", f"{theirs}.out_gate")
        draft.layer(f"{ours}.last", f"{theirs}.w1")
        draft.layer(f"gates.{k}", f"frame_predictor.att.{k}.0")
    return draft.model("crevnet", {**_crevnet(draft, blocks), "layers": layers, **given})


def _crevnet(draft: Draft, blocks: int) -> dict[str, Any]:
    """Its settings: a block whose residual has four times the channels of the one before begins a stage."""
    last = [f"encoder.stack.{k}.bottleneck_block.{7 if k == 0 else 9}.weight" for k in range(blocks)]
    outputs = [draft.shape(name)[0] for name in last]
    stages = [outputs.count(outputs[0] * 4**stage) for stage in range(len(set(outputs)))]
    return {"channels": outputs[0] // 2, "blocks": stages, "cell": "st_lstm", "norm": "batch", "restart": True}


ORDERS = {
    "TSST": ("ts_temporal_transformer", "ts_space_transformer", "st_space_transformer", "st_temporal_transformer")
}


def predformer(draft: Draft, given: Given) -> Imported:
    """PredFormer's TSST; how attention is split into heads leaves no trace in the weights."""
    layers = draft.count(r"blocks\.(\d+)\.")
    stages = ORDERS["TSST"]
    if f"blocks.0.{stages[-1]}.norm.weight" not in draft or f"blocks.0.{stages[0]}.layers.1.0.norm.weight" in draft:
        raise CheckpointError("of PredFormer's forms only TSST with one block for each letter can be loaded")
    draft.layer("embed", "to_patch_embedding.1")
    parts = {
        "norm_1": "layers.0.0.norm",
        "qkv": "layers.0.0.fn.to_qkv",
        "proj": "layers.0.0.fn.to_out.0",
        "norm_2": "layers.0.1.norm",
        "gate": "layers.0.1.fn.fc1_g",
        "value": "layers.0.1.fn.fc1_x",
        "out": "layers.0.1.fn.fc2",
        "norm_3": "norm",
    }
    for k in range(layers):
        for j, stage in enumerate(stages):
            for ours, theirs in parts.items():
                draft.layer(f"blocks.{k * len(stages) + j}.{ours}", f"blocks.{k}.{stage}.{theirs}")
    draft.layer("norm", "mlp_head.0")
    width, depth = draft.shape("to_patch_embedding.1.weight")
    patch, heads = patch_of(depth, given), int(given.get("heads", 8))
    for part in ("weight", "bias"):
        said = "outputs (C, dy, dx) as (dy, dx, C)"
        draft.take(f"readout.{part}", f"mlp_head.1.{part}", lambda w: _channels_last(w, patch), said)
    draft.leave("pos_embedding", "a constant")
    wide = draft.shape(f"blocks.0.{stages[0]}.layers.0.1.fn.fc1_g.weight")[0]
    inner = draft.shape(f"blocks.0.{stages[0]}.layers.0.0.fn.to_qkv.weight")[0] // 3
    settings = {"patch": patch, "width": width, "heads": heads, "head": inner // heads, "expansion": wide // width}
    return draft.model("predformer", {**settings, "layers": layers, **given})


def _channels_last(weight: Tensor, patch: int) -> Tensor:
    """Rows (C, dy, dx) as (dy, dx, C)."""
    rows = weight.reshape(-1, patch, patch, *weight.shape[1:])
    return rows.movedim(0, 2).reshape(weight.shape)
