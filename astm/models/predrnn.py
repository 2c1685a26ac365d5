"""PredRNN: recurrent neural networks for predictive learning using spatiotemporal LSTMs.

Wang, Long, Wang, Gao, Yu, NeurIPS 2017, https://papers.nips.cc/paper/6689; the ST-LSTM in the paper's letters.

Departures from the paper, with the authors' code (https://github.com/thuml/predrnn-pytorch):
* No biases in any convolution; 1 is added to f and f' (`forget_bias`).
* `norm="group"` is its optional layer normalisation, with a scale per channel instead of one per element, so that any
  size will do; off by default, as in its script for Moving MNIST.
* Its second optimiser step on the time-reversed batch (`reverse_input`) concerns the data, not the model, and is left
  to the trainer.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from astm.models.recurrent import Count, OddSide, Recurrent, RecurrentSettings, State
from astm.predictor import model
from astm.pretrained.provenance import Counts, Paper


class PredRNNSettings(RecurrentSettings):
    """4 layers of 128, 5 x 5."""

    layers: Count = 4
    hidden: Count = 128
    kernel: OddSide = 5
    norm: Literal["none", "group"] = "none"
    forget_bias: float = 1.0


class STLSTMCell(nn.Module):
    """The ST-LSTM: convolutions of X for (g, i, f, g', i', f', o), of H for (g, i, f, o), of M for (g', i', f')."""

    def __init__(self, inputs: int, settings: PredRNNSettings) -> None:
        super().__init__()
        self.forget_bias = settings.forget_bias
        n = settings.hidden
        self.conv_x = self._gates(inputs, 7 * n, settings)
        self.conv_h = self._gates(n, 4 * n, settings)
        self.conv_m = self._gates(n, 3 * n, settings)
        self.conv_o = self._gates(2 * n, n, settings)
        self.conv_last = nn.Conv2d(2 * n, n, 1, bias=False)

    @staticmethod
    def _gates(inputs: int, outputs: int, settings: PredRNNSettings) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, settings.kernel, padding=settings.kernel // 2, bias=False)
        return nn.Sequential(conv, *([nn.GroupNorm(1, outputs)] if settings.norm == "group" else []))

    def forward(self, X: Tensor, H: Tensor, C: Tensor, M: Tensor) -> tuple[Tensor, ...]:
        """X_t, H^l_{t-1}, C^l_{t-1}, M^{l-1}_t, each (B, channels, h, w) -> H^l_t, C^l_t, M^l_t."""
        return self.update(X, H, C, M)[:3]

    def update(self, X: Tensor, H: Tensor, C: Tensor, M: Tensor) -> tuple[Tensor, ...]:
        """H^l_t, C^l_t, M^l_t, and what was added to the two memories, i o g and i' o g'."""
        g_x, i_x, f_x, gp_x, ip_x, fp_x, o_x = self.conv_x(X).chunk(7, dim=1)
        g_h, i_h, f_h, o_h = self.conv_h(H).chunk(4, dim=1)
        gp_m, ip_m, fp_m = self.conv_m(M).chunk(3, dim=1)
        g, i = torch.tanh(g_x + g_h), torch.sigmoid(i_x + i_h)
        f = torch.sigmoid(f_x + f_h + self.forget_bias)
        dC = i * g
        C = f * C + dC
        gp, ip = torch.tanh(gp_x + gp_m), torch.sigmoid(ip_x + ip_m)
        fp = torch.sigmoid(fp_x + fp_m + self.forget_bias)
        dM = ip * gp
        M = fp * M + dM
        CM = torch.cat([C, M], dim=1)
        o = torch.sigmoid(o_x + o_h + self.conv_o(CM))
        return o * torch.tanh(self.conv_last(CM)), C, M, dC, dM


@model
class PredRNN(Recurrent):
    """A stack of ST-LSTMs through which M zig-zags. State: H per layer, C per layer, M."""

    Settings = PredRNNSettings

    paper = Paper(
        title="PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs",
        authors="Wang, Yunbo and Long, Mingsheng and Wang, Jianmin and Gao, Zhifeng and Yu, Philip S.",
        venue="NeurIPS",
        year="2017",
        url="https://papers.nips.cc/paper/6689",
    )
    published = Counts(23.8, 116.0, "")

    settings: PredRNNSettings

    def __init__(self, settings: PredRNNSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        self.cells = nn.ModuleList(self.cell(s.depth if k == 0 else s.hidden) for k in range(s.layers))
        self.decoder = nn.Conv2d(s.hidden, s.depth, 1, bias=False)

    def cell(self, inputs: int) -> STLSTMCell:
        """One layer."""
        return STLSTMCell(inputs, self.settings)

    def start(self, x: Tensor) -> State:
        zero = x.new_zeros(x.shape[0], self.settings.hidden, *x.shape[2:])
        zeros = (zero,) * self.settings.layers
        return zeros, zeros, zero

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        H, C, M = state
        H_t, C_t = [], []
        for cell, h, c in zip(self.cells, H, C, strict=True):
            x, c_t, M = cell(x, h, c, M)
            H_t.append(x)
            C_t.append(c_t)
        return self.decoder(x), (tuple(H_t), tuple(C_t), M)
