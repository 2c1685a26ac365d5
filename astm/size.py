"""How large a model is: its parameters, and the multiply-accumulates of one prediction."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(module: nn.Module) -> int:
    """Trained numbers in a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def macs(predictor: nn.Module, past: int = 10, horizon: int = 10, size: tuple[int, int] = (64, 64)) -> int:
    """Multiply-accumulates of convolutions and matrix products to predict one sequence.

    Counted on the meta device, so nothing is computed. Taps on padding count, element-wise work does not, as in
    the published tables (whose "FLOPs" are these MACs).
    """
    shadow = copy.deepcopy(predictor).to("meta")
    channels = int(getattr(getattr(predictor, "settings", None), "channels", 1))
    frames = torch.empty(1, past, channels, *size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(frames, horizon)
    return int(counter.get_total_flops()) // 2
