"""Checkpoints of other code bases become models of ours: which format holds which, and how one is recognised."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from astm.importing.draft import Draft, Imported
from astm.importing.others import crevnet, phydnet, predformer, simvp, swin_lstm, tau
from astm.importing.recurrent import Given, convlstm, e3d_lstm, mau, predrnn, predrnn_pp, predrnn_v2
from astm.importing.stam import stam
from astm.pretrained.foreign import read_foreign
from astm.pretrained.store import CheckpointError

__all__ = ["FORMATS", "Imported", "import_checkpoint"]

Rule: TypeAlias = Callable[[Draft, Given], Imported]


def refused(why: str) -> Rule:
    """The rule of a model that cannot become one of ours."""

    def rule(draft: Draft, given: Given) -> Imported:
        raise CheckpointError(why)

    return rule


NO_INCEPTION = refused("of SimVP's translators only gSTA can be loaded, not IncepU or another MetaFormer")
NORMED = "hid.enc.0.block.attn.spatial_gating_unit"

PREDRNN: Mapping[str, Rule] = {
    "gradient_highway.x_concat.0.weight": predrnn_pp,
    "adapter.weight": predrnn_v2,
    "cell_list.0.conv_m.0.weight": predrnn,
    "encoders.0.encoder_t_conv-1.weight": mau,
}
"""A name that is only in checkpoints of a model, and the model's rule; the first that is there counts."""

FORMATS: Mapping[str, Mapping[str, Rule]] = {
    "openstl": {
        **PREDRNN,
        "cell_list.0.conv_gm.0.conv3d.weight": e3d_lstm,
        "frame_predictor.convlstm.0.in_gate.weight": crevnet,
        "cell_list.0.conv_x.0.weight": convlstm,
        f"{NORMED}.fc.0.weight": tau,
        f"{NORMED}.conv_spatial.weight": simvp,
        "hid.enc.0.conv1.weight": NO_INCEPTION,
        "enc.enc.0.conv.conv.weight": NO_INCEPTION,
        "encoder.encoder_E.c1.main.0.weight": phydnet,
        "encoder_E.c1.main.0.weight": phydnet,
        "Downsample.patch_embed.proj.weight": swin_lstm,
        "to_patch_embedding.1.weight": predformer,
    },
    "predrnn": PREDRNN,
    "stam": {"cell_list.0.conv_x.0.weight": stam},
}
"""`openstl`: of OpenSTL and the codes that grew from it, or that it copied; `predrnn`: of the PredRNN family, MAU
included; `stam`: of STAM."""


def import_checkpoint(path: Path, kind: str, given: Given) -> Imported:
    """Read a checkpoint of another code base.

    Parameters
    ----------
    path: PyTorch's file with a state dict, by itself or as `state_dict` or `net_param`, or a safetensors file.
    kind: one of `FORMATS`.
    given: settings of the model that leave no trace in the weights (`channels`, `tau`, `heads` ...).

    Raises
    ------
    CheckpointError: an unknown format, a file that cannot be read, a model that is not known or that cannot be one of
        ours, or weights that do not fit.
    """
    if kind not in FORMATS:
        raise CheckpointError(f"unknown format {kind!r}; choices are {', '.join(FORMATS)}")
    draft = Draft(read_foreign(path))
    rule = next((rule for sign, rule in FORMATS[kind].items() if sign in draft), None)
    if rule is None:
        begins = ", ".join(sorted(draft.weights)[:3])
        raise CheckpointError(f"{path}: no model of the format {kind!r} has weights such as {begins}")
    try:
        return rule(draft, given)
    except CheckpointError as why:
        raise CheckpointError(f"{path}: {why}") from None
    except (RuntimeError, IndexError, ValueError, TypeError, ZeroDivisionError) as why:
        raise CheckpointError(
            f"{path}: its weights do not have the shapes of such a model, or a setting is wrong ({why}); compare both "
            f"with the code that trained it"
        ) from why
