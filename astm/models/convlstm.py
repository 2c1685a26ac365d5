"""ConvLSTM: Convolutional LSTM network, a machine learning approach for precipitation nowcasting.

Shi, Chen, Wang, Yeung, Wong, Woo, NeurIPS 2015, https://arxiv.org/abs/1506.04214; equation (3) in the paper's letters.

Departures from the paper, towards the strong form in which today's benchmarks train it (OpenSTL,
https://github.com/chengtan9907/OpenSTL, `ConvLSTM-S`: 4 layers of 128, 5 x 5, patches of 4):
* One stack that predicts the next frame and is fed its own prediction, instead of an encoder and a forecaster with
  copied states; the output is a 1 x 1 convolution of the last layer.
* Mean squared error instead of cross entropy, so that one loss serves every model and grey values.
* One convolution of [X, H] for W_x* and W_h*, whose weights start on the scale of both operands together. With
  `initial="separate"` each starts on the scale of its own, as two convolutions would.
* No peepholes by default. `peepholes=True` adds W_ci, W_cf and W_co, one number per channel instead of one per
  element, so that any size will do.
Departures from OpenSTL: it allocates two convolutions per layer that it never uses (15.0 M printed, 11.7 M used); here
there are none. It has no biases (`bias=False`), and two convolutions (`initial="separate"`).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from astm.models.recurrent import Count, OddSide, Recurrent, RecurrentSettings, State
from astm.predictor import model
from astm.pretrained.provenance import Counts, Paper


class ConvLSTMSettings(RecurrentSettings):
    """4 layers of 128, 5 x 5."""

    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (128, 128, 128, 128)
    """Channels of each layer."""
    kernel: OddSide = 5
    peepholes: bool = False
    bias: bool = True
    """Of the gates and of the decoder."""
    initial: Literal["joint", "separate"] = "joint"
    """Weights of X and of H start uniform within 1 / sqrt(fan-in): of both operands together, or of each by itself."""


class ConvLSTMCell(nn.Module):
    """Equation (3): W_x* and W_h* of all gates are one convolution of [X, H]."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        kernel: int,
        peepholes: bool,
        bias: bool = True,
        initial: Literal["joint", "separate"] = "joint",
    ) -> None:
        super().__init__()
        self.W = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2, bias=bias)
        if initial == "separate":
            for operand in torch.split(self.W.weight.data, [inputs, hidden], dim=1):
                bound = operand[0].numel() ** -0.5
                operand.uniform_(-bound, bound)
        self.peepholes = peepholes
        if peepholes:
            self.W_ci, self.W_cf, self.W_co = (nn.Parameter(torch.zeros(hidden, 1, 1)) for _ in range(3))

    def forward(self, X: Tensor, H: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        """X_t (B, inputs, h, w), H_{t-1} and C_{t-1} (B, hidden, h, w) -> H_t, C_t."""
        i, f, c, o = self.W(torch.cat([X, H], dim=1)).chunk(4, dim=1)
        if self.peepholes:
            i, f = i + self.W_ci * C, f + self.W_cf * C
        C = torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(c)
        if self.peepholes:
            o = o + self.W_co * C
        return torch.sigmoid(o) * torch.tanh(C), C


@model
class ConvLSTM(Recurrent):
    """A stack of ConvLSTM cells on patches. State: (H, C) per layer."""

    Settings = ConvLSTMSettings

    paper = Paper(
        title="Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
        authors=(
            "Shi, Xingjian and Chen, Zhourong and Wang, Hao and Yeung, Dit-Yan and Wong, Wai-kin and Woo, Wang-chun"
        ),
        venue="NeurIPS",
        year="2015",
        url="https://arxiv.org/abs/1506.04214",
    )
    published = Counts(15.0, 56.8, "with two convolutions more per layer, never used")

    settings: ConvLSTMSettings

    def __init__(self, settings: ConvLSTMSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        widths = (s.depth, *s.hidden)
        self.cells = nn.ModuleList(
            ConvLSTMCell(widths[k], n, s.kernel, s.peepholes, s.bias, s.initial) for k, n in enumerate(s.hidden)
        )
        self.decoder = nn.Conv2d(s.hidden[-1], s.depth, 1, bias=s.bias)

    def start(self, x: Tensor) -> State:
        return tuple((x.new_zeros(x.shape[0], n, *x.shape[2:]),) * 2 for n in self.settings.hidden)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        after = []
        for cell, (H, C) in zip(self.cells, state, strict=True):
            x, C_t = cell(x, H, C)
            after.append((x, C_t))
        return self.decoder(x), tuple(after)
