"""PredRNN++: towards a resolution of the deep-in-time dilemma in spatiotemporal predictive learning.

Wang, Gao, Long, Wang, Yu, ICML 2018, https://arxiv.org/abs/1804.06300; the Causal LSTM, equation (3), and the Gradient
Highway Unit, equation (4), in the paper's letters; primes are written p.

Departures from the paper, with the authors' code (https://github.com/Yunbo426/predrnn-pp):
* g' sees X and C but not M; o sees H as well. Tensor layer normalisation with a scale per channel follows each
  convolution but the 1 x 1 (`norm="none"` leaves it out), and 1 is added to f and f' (`forget_bias`).
Departures from that code:
* The loss is the mean squared error, not half its sum: Adam divides a constant factor out again.
* Weights start as PyTorch starts them, not uniform in +-0.001: the normalisation hides the scale of a convolution.
  OpenSTL (https://github.com/chengtan9907/OpenSTL), which has no normalisation and no biases, starts those of the
  highway so: `highway_scale=0.001`.
* Its second optimiser step on the time-reversed batch is left to the trainer.
The width of M follows the layers: the first reads the M of the last one's width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from astm.models.recurrent import Count, OddSide, Recurrent, RecurrentSettings, State
from astm.predictor import model
from astm.pretrained.provenance import Counts, Paper


class PredRNNppSettings(RecurrentSettings):
    """Layers of 128, 64, 64, 64, 5 x 5."""

    hidden: Annotated[tuple[Count, ...], Field(min_length=2)] = (128, 64, 64, 64)
    """Channels of each layer; the gradient highway is between the first two."""
    kernel: OddSide = 5
    norm: Literal["none", "group"] = "group"
    bias: bool = True
    """Of all convolutions."""
    highway_scale: Annotated[float, Field(ge=0)] = 0.0
    """The highway's weights start uniform between its negative and itself; 0 for PyTorch's scale."""
    forget_bias: float = 1.0


def gates(inputs: int, outputs: int, settings: PredRNNppSettings) -> nn.Sequential:
    """A convolution and its tensor layer normalisation."""
    conv = nn.Conv2d(inputs, outputs, settings.kernel, padding=settings.kernel // 2, bias=settings.bias)
    return nn.Sequential(conv, *([nn.GroupNorm(1, outputs)] if settings.norm == "group" else []))


class CausalLSTMCell(nn.Module):
    """Equation (3): `memory` channels of M come in, `hidden` go out."""

    def __init__(self, inputs: int, memory: int, hidden: int, settings: PredRNNppSettings) -> None:
        super().__init__()
        self.forget_bias = settings.forget_bias
        self.conv_x = gates(inputs, 7 * hidden, settings)
        self.conv_h = gates(hidden, 4 * hidden, settings)
        self.conv_c = gates(hidden, 3 * hidden, settings)
        self.conv_m = gates(memory, 3 * hidden, settings)
        self.conv_c_new = gates(hidden, 4 * hidden, settings)
        self.conv_m_new = gates(hidden, hidden, settings)
        self.conv_last = nn.Conv2d(2 * hidden, hidden, 1, bias=settings.bias)

    def forward(self, X: Tensor, H: Tensor, C: Tensor, M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """X_t, H^k_{t-1}, C^k_{t-1}, M^{k-1}_t, each (B, channels, h, w) -> H^k_t, C^k_t, M^k_t."""
        g_x, i_x, f_x, gp_x, ip_x, fp_x, o_x = self.conv_x(X).chunk(7, dim=1)
        g_h, i_h, f_h, o_h = self.conv_h(H).chunk(4, dim=1)
        g_c, i_c, f_c = self.conv_c(C).chunk(3, dim=1)
        i_m, f_m, m_m = self.conv_m(M).chunk(3, dim=1)
        g, i = torch.tanh(g_x + g_h + g_c), torch.sigmoid(i_x + i_h + i_c)
        f = torch.sigmoid(f_x + f_h + f_c + self.forget_bias)
        C = f * C + i * g
        gp_c, ip_c, fp_c, o_c = self.conv_c_new(C).chunk(4, dim=1)
        gp, ip = torch.tanh(gp_x + gp_c), torch.sigmoid(ip_x + i_m + ip_c)
        fp = torch.sigmoid(fp_x + f_m + fp_c + self.forget_bias)
        M = fp * torch.tanh(m_m) + ip * gp
        o = torch.tanh(o_x + o_h + o_c + self.conv_m_new(M))
        return o * torch.tanh(self.conv_last(torch.cat([C, M], dim=1))), C, M


class GHU(nn.Module):
    """The Gradient Highway Unit, equation (4)."""

    def __init__(self, hidden: int, settings: PredRNNppSettings) -> None:
        super().__init__()
        self.conv_x = gates(hidden, 2 * hidden, settings)
        self.conv_z = gates(hidden, 2 * hidden, settings)
        if scale := settings.highway_scale:
            for conv in (self.conv_x[0], self.conv_z[0]):
                nn.init.uniform_(conv.weight, -scale, scale)  # type: ignore[arg-type]  # a convolution's

    def forward(self, X: Tensor, Z: Tensor) -> Tensor:
        """X_t and Z_{t-1}, (B, hidden, h, w) -> Z_t."""
        P, S = (self.conv_x(X) + self.conv_z(Z)).chunk(2, dim=1)
        S = torch.sigmoid(S)
        return S * torch.tanh(P) + (1 - S) * Z


@model.named("predrnn_pp")
class PredRNNpp(Recurrent):
    """Causal LSTMs with a gradient highway between the first two. State: H and C per layer, M, Z."""

    Settings = PredRNNppSettings

    paper = Paper(
        title="PredRNN++: Towards A Resolution of the Deep-in-Time Dilemma in Spatiotemporal Predictive Learning",
        authors="Wang, Yunbo and Gao, Zhifeng and Long, Mingsheng and Wang, Jianmin and Yu, Philip S.",
        venue="ICML",
        year="2018",
        url="https://arxiv.org/abs/1804.06300",
    )
    published = Counts(38.6, 171.7, "4 x 128 (35.3 M, 171.7 GMAC here) with convolutions never used")

    settings: PredRNNppSettings

    def __init__(self, settings: PredRNNppSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        inputs = (s.depth, *s.hidden)
        self.cells = nn.ModuleList(CausalLSTMCell(inputs[k], s.hidden[k - 1], n, s) for k, n in enumerate(s.hidden))
        self.highway = GHU(s.hidden[0], s)
        self.decoder = nn.Conv2d(s.hidden[-1], s.depth, 1, bias=s.bias)

    def start(self, x: Tensor) -> State:
        zeros = tuple(x.new_zeros(x.shape[0], n, *x.shape[2:]) for n in self.settings.hidden)
        return zeros, zeros, zeros[-1], zeros[0]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        H, C, M, Z = state
        H_t, C_t = [], []
        for k, cell in enumerate(self.cells):
            h_t, c_t, M = cell(x, H[k], C[k], M)
            H_t.append(h_t)
            C_t.append(c_t)
            x = h_t
            if k == 0:
                x = Z = self.highway(h_t, Z)
        return self.decoder(x), (tuple(H_t), tuple(C_t), M, Z)
