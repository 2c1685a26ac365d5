"""PhyDNet: disentangling physical dynamics from unknown factors for unsupervised video prediction.

Le Guen, Thome, CVPR 2020, https://arxiv.org/abs/2003.01460; the paper's letters. In the latent space of an encoder E
a PhyCell follows a partial differential equation (phi: the derivatives of h up to an order, combined linearly) and is
corrected by what is seen, with a Kalman gain K; a ConvLSTM follows the rest. Their decoded states are added.

Defaults are the authors' code's for Moving MNIST (https://github.com/vincent-leguen/PhyDNet), of which OpenSTL
(https://github.com/chengtan9907/OpenSTL) has a copy. From that code, not in the paper:
* GroupNorm between the derivatives and their combination, and after each convolution of encoders and decoders.
* The image term is the sum over time steps of the mean squared error, over the past too.
* A teacher is followed over the whole future of a batch or not at all, with a probability that falls from 1 to 0 in
  `sampling_steps`: 0.003 for each epoch of 625 batches there, a little at each step here.
* PhyCell is corrected by the model's own predictions in the future too, where the paper sets K = 0.
"""

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.recurrent import Count, OddSide, Recurrent, RecurrentSettings, State, sampled_truth
from astm.predictor import Steps, model
from astm.pretrained.provenance import Counts, Paper


class PhyDNetSettings(RecurrentSettings):
    """Features of 64 at a quarter of the resolution; derivatives of order 0 to 6; ConvLSTM layers of 128, 128, 64."""

    patch: Literal[1] = 1
    """Frames enter as they are."""
    scale: Literal[2, 4] = 4
    """Pixels for each position of a state, per side."""
    width: Annotated[Count, Field(ge=16, multiple_of=16)] = 32
    """Channels of the encoder's first layers, normalised in 16 groups; states have twice as many."""
    order: OddSide = 7
    """Side of the kernels of phi, whose square is the number of derivatives."""
    hidden: tuple[Count, ...] = (128, 128)
    """Channels of the ConvLSTM's layers before the last one, which has as many as a state."""
    moments: Annotated[float, Field(ge=0)] = 1.0
    """lambda, weight of the moment loss, which holds each kernel of phi to one derivative."""
    sampling_steps: Steps = 208_333

    @property
    def tile(self) -> int:
        return self.scale


class Layer(nn.Sequential):
    """3 x 3 convolution, GroupNorm of 16 groups, leaky ReLU. `scale`: 2 halves the resolution, -2 doubles it."""

    def __init__(self, inputs: int, outputs: int, scale: int = 1) -> None:
        super().__init__(convolution(inputs, outputs, scale), nn.GroupNorm(16, outputs), nn.LeakyReLU(0.2))


def convolution(inputs: int, outputs: int, scale: int) -> nn.Module:
    """3 x 3; a negative scale, -1 included, is a transposed convolution."""
    if scale > 0:
        return nn.Conv2d(inputs, outputs, 3, stride=scale, padding=1)
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=-scale, padding=1, output_padding=-scale - 1)


class PhyCell(nn.Module):
    """Equations (6) to (8): a step of the equation, and its correction."""

    def __init__(self, channels: int, order: int) -> None:
        super().__init__()
        self.derivatives = nn.Conv2d(channels, order * order, order, padding=order // 2)
        self.norm = nn.GroupNorm(order, order * order)
        self.combination = nn.Conv2d(order * order, channels, 1)
        self.gain = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, E: Tensor, h: Tensor) -> Tensor:
        """What is seen and h_t, (B, channels, h, w) -> h_{t+1}."""
        K = torch.sigmoid(self.gain(torch.cat([E, h], dim=1)))
        predicted = h + self.combination(self.norm(self.derivatives(h)))
        corrected: Tensor = predicted + K * (E - predicted)
        return corrected


class LSTMCell(nn.Module):
    """A convolutional LSTM without peepholes, 3 x 3."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.W = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, inputs, h, w), h and c (B, hidden, h, w) -> the next h and c."""
        i, f, o, g = self.W(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


@model
class PhyDNet(Recurrent):
    """Two branches between encoders and decoders. State: h of PhyCell, and (h, c) of each layer of the ConvLSTM."""

    Settings = PhyDNetSettings

    paper = Paper(
        title="Disentangling Physical Dynamics from Unknown Factors for Unsupervised Video Prediction",
        authors="Le Guen, Vincent and Thome, Nicolas",
        venue="CVPR",
        year="2020",
        url="https://arxiv.org/abs/2003.01460",
    )
    published = Counts(3.1, 15.3, "")

    settings: PhyDNetSettings

    def __init__(self, settings: PhyDNetSettings | None = None) -> None:
        super().__init__(settings)
        s, n, wide, half = self.settings, self.settings.width, 2 * self.settings.width, self.settings.scale // 2
        widths = (wide, *s.hidden, wide)
        lstm = [LSTMCell(inputs, outputs) for inputs, outputs in pairwise(widths)]
        self.cells = nn.ModuleList([PhyCell(wide, s.order), *lstm])
        self.E = nn.Sequential(Layer(s.channels, n, 2), Layer(n, n), Layer(n, wide, half))
        self.E_p, self.E_r = (nn.Sequential(Layer(wide, wide), Layer(wide, wide)) for _ in range(2))
        self.D_p, self.D_r = (nn.Sequential(Layer(wide, wide, -1), Layer(wide, wide, -1)) for _ in range(2))
        self.D = nn.Sequential(Layer(wide, n, -2), Layer(n, n, -1), convolution(n, s.channels, -half))
        self.register_buffer("M", moment_matrix(s.order), persistent=False)
        self.M: Tensor

    def start(self, x: Tensor) -> State:
        s = self.settings
        widths = (2 * s.width, *s.hidden, 2 * s.width)
        h, *zeros = (x.new_zeros(len(x), n, x.shape[2] // s.scale, x.shape[3] // s.scale) for n in widths)
        return h, tuple((zero, zero) for zero in zeros)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, memories = state
        physical, *lstm = self.cells
        z = self.E(x)  # (B, 2 * width, h, w)
        h = physical(self.E_p(z), h)
        r, after = self.E_r(z), []
        for cell, (r_t, c_t) in zip(lstm, memories, strict=True):
            r, c = cell(r, r_t, c_t)
            after.append((r, c))
        return torch.sigmoid(self.D(self.D_p(h) + self.D_r(r))), (h, tuple(after))

    def truth(self, step: int, seed: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
        return np.tile(sampled_truth(step, seed, (1, 1), self.settings.sampling_steps), shape)

    def criterion(self, predicted: Tensor, frames: Tensor) -> Tensor:
        """The mean squared errors of the T + T' - 1 outputs, summed, plus `moments` times the moment loss."""
        return functional.mse_loss(predicted, frames) * frames.shape[1] + self.settings.moments * self.moment_loss()

    def moment_loss(self) -> Tensor:
        """How far the moments of phi's kernels are from those of single derivatives: the j-th, 1 at the j-th place.

        A kernel's moments are M w M^T with M_{ik} = k^i / i!, k = -order/2 ... order/2 (Long et al. 2018,
        https://arxiv.org/abs/1710.09668). The mean square over kernels and places, summed over input channels.
        """
        physical, n = self.cells[0], self.settings.order
        weight: Tensor = physical.derivatives.weight  # type: ignore[assignment, union-attr]  # (n*n, channels, n, n)
        w = weight.to(self.M.dtype)
        moments = self.M @ w @ self.M.T
        wanted = torch.eye(n * n, dtype=w.dtype, device=w.device).reshape(n * n, 1, n, n)
        return (moments - wanted).square().mean(dim=(0, 2, 3)).sum().to(torch.float32)


def moment_matrix(order: int) -> Tensor:
    """M, (order, order), float64."""
    place = torch.arange(order, dtype=torch.float64) - (order - 1) // 2
    power = torch.arange(order, dtype=torch.float64)[:, None]
    return place**power / torch.exp(torch.lgamma(power + 1))
