"""A training step's forward and backward pass, recorded once as CUDA graphs and replayed.

A small recurrent model launches thousands of kernels of a few microseconds each, and Python cannot launch them as fast
as a GPU runs them. A graph launches them at once. It computes what was recorded: the same shapes, and nothing that
depends on the step.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from astm.predictor import Predictor
from astm.training.optimisation import mixed


class Replayed(nn.Module):
    """A predictor's loss, called like it, whose step and seed no longer matter.

    Gradients occupy the same memory at each step: use them before the next one.
    """

    def __init__(self, predictor: Predictor, past: Tensor, future: Tensor, precision: str) -> None:
        """Record the pass on a batch, whose values do not matter; (B, T, C, H, W) on a CUDA device."""
        super().__init__()
        kept = {name: buffer.clone() for name, buffer in predictor.named_buffers()}
        sample = past.clone(), future.clone()
        self.replay: Callable[[Tensor, Tensor], Tensor] = torch.cuda.make_graphed_callables(  # type: ignore[assignment]
            _Recorded(predictor, precision), sample, allow_unused_input=True
        )
        with torch.no_grad():  # recording ran the pass, which moves what a batch normalisation has seen
            for name, buffer in predictor.named_buffers():
                buffer.copy_(kept[name])

    def forward(self, past: Tensor, future: Tensor, step: int, seed: int) -> Tensor:
        return self.replay(past, future)


class _Recorded(nn.Module):
    def __init__(self, predictor: Predictor, precision: str) -> None:
        super().__init__()
        self.predictor, self.precision = predictor, precision

    def forward(self, past: Tensor, future: Tensor) -> Tensor:
        with mixed(past.device, self.precision):
            return self.predictor.loss(past, future, int(self.predictor.steady_from))
