"""Ways to run a model: what is measured beside each other on the same weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from astm.models.astm import ASTM
from astm.predictor import Predictor
from astm.training.graphs import Replayed
from benchmarks.gate_convolution import fold
from benchmarks.gpu.plain import PlainASTM

Precision: TypeAlias = Literal["float32", "tf32", "bfloat16"]
Way: TypeAlias = Literal["eager", "plain", "folded", "channels_last", "compiled", "graph", "compiled graph"]
Loss: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True)
class Ready:
    """A model prepared for a way."""

    net: nn.Module
    """Whose forward pass (past, horizon) predicts."""
    loss: Loss


def set_precision(precision: Precision) -> None:
    """Whether convolutions and matrix products round their float32 operands to TF32; for the whole process."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"


def prepare(predictor: Predictor, way: Way, precision: Precision, past: Tensor, future: Tensor) -> Ready:
    """Make a predictor run in this way, in place.

    Raises
    ------
    NotImplementedError: there is no such way for this model.
    """
    net: nn.Module = predictor
    if way == "plain":
        net = PlainASTM(_astm(predictor, way))
        return Ready(net, _cast(net.loss, precision))
    if way == "folded":
        fold_time(_astm(predictor, way))
    if way == "channels_last":
        kind = torch.channels_last_3d if isinstance(predictor, ASTM) else torch.channels_last
        predictor.to(memory_format=kind)  # type: ignore[call-overload]
    if way.startswith("compiled"):
        compile_whole_or_cells(predictor)
    if way.endswith("graph"):
        replay = Replayed(predictor, past, future, precision)
        return Ready(predictor, lambda past, future, step: replay(past, future, step, 0))
    return Ready(predictor, _cast(predictor.loss, precision))


def _cast(loss: Loss, precision: Precision) -> Loss:
    def run(past: Tensor, future: Tensor, step: int) -> Tensor:
        with torch.autocast(past.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return loss(past, future, step)

    return run


def _astm(predictor: Predictor, way: str) -> ASTM:
    if not isinstance(predictor, ASTM):
        raise NotImplementedError(f"{way} is for astm, not {type(predictor).__name__}")
    return predictor


def compile_whole_or_cells(predictor: Predictor) -> None:
    """Cells where there are some, else the whole forward pass."""
    if hasattr(predictor, "cells"):
        predictor.compile_cells()
    else:
        predictor.compile()


class FoldedConv3d(nn.Conv3d):
    """A convolution of few frames with three taps in time, computed as one of their channels side by side."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames, h, w = x.shape
        weight = fold(self.weight, frames)
        bias = None if self.bias is None else self.bias.repeat(frames)
        flat = x.transpose(1, 2).reshape(batch, frames * channels, h, w)
        y = functional.conv2d(flat, weight, bias, padding="same")
        return y.view(batch, frames, -1, h, w).transpose(1, 2)


def fold_time(predictor: ASTM) -> None:
    """Compute every convolution with three taps in time as a 2D one; weights and their names stay."""
    for module in predictor.modules():
        if type(module) is nn.Conv3d and module.kernel_size[0] == 3:
            module.__class__ = FoldedConv3d
