"""What a step does to the weights: optimiser, schedule, precision, average. Functions of the settings and the step."""

import copy
import math
from contextlib import AbstractContextManager

import torch

from astm.predictor import Predictor
from astm.training.settings import TrainSettings

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions of autocast."""
SCALE = 2.0**16
"""What losses are multiplied by at first in float16, PyTorch's default."""


def make_optimiser(predictor: Predictor, settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """Adam, AdamW or RMSProp over all parameters."""
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(
            predictor.parameters(), settings.lr, alpha=0.9, eps=1e-5, weight_decay=settings.weight_decay
        )
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    fused, decay = device.type == "cuda", settings.weight_decay
    return kind(predictor.parameters(), settings.lr, settings.betas, weight_decay=decay, fused=fused)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Of a step, counted from 0."""
    s = settings
    if s.schedule == "exponential":
        return s.lr * s.decay ** (max(0, step - s.decay_from) // s.decay_every)
    if s.schedule == "linear":
        return s.lr * min(1.0, (s.steps - step) / max(s.steps - s.decay_from, 1))
    if s.schedule == "onecycle":
        low = s.lr / 25
        return _one_cycle(s.steps, step, low, s.lr, low / 10_000)
    return s.lr


def first_beta(settings: TrainSettings, step: int) -> float:
    """Adam's first beta: `onecycle` moves it between 0.95 and 0.85, against the learning rate, as PyTorch's does."""
    if settings.schedule == "onecycle":
        return _one_cycle(settings.steps, step, 0.95, 0.85, 0.95)
    return settings.betas[0]


def _one_cycle(steps: int, step: int, start: float, middle: float, end: float) -> float:
    """Cosine from start to middle in the first 30 % of the steps, then from middle to end."""
    turn = 0.3 * steps - 1
    if step <= turn:
        return _cosine(start, middle, step / turn)
    return _cosine(middle, end, (step - turn) / max(steps - 1 - turn, 1e-9))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


def mixed(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Autocast in this precision; nothing in float32."""
    return torch.autocast(device.type, HALVES.get(precision, torch.bfloat16), enabled=precision in HALVES)


def make_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Keeps gradients above what float16 rounds to 0 (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740).

    It doubles its scale every 2,000 steps, and halves it and leaves out the step where a gradient overflows. In other
    precisions it does nothing.
    """
    return torch.amp.GradScaler(device.type, SCALE, enabled=precision == "float16")


class Average:
    """Exponential moving average of a model's weights (Polyak, Juditsky 1992), as a model of its own."""

    def __init__(self, predictor: Predictor, decay: float) -> None:
        self.net, self.decay = copy.deepcopy(predictor).eval().requires_grad_(False), decay

    @torch.no_grad()
    def follow(self, predictor: Predictor, step: int) -> None:
        """Take in the weights after a step, counted from 0.

        The decay is at most (1 + step) / (10 + step), as in TensorFlow's `ExponentialMovingAverage` with
        `num_updates`: else the first, random weights would stay in the average for long.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = predictor.state_dict()
        for name, mine in self.net.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(weights[name], 1 - decay)
            else:
                mine.copy_(weights[name])
