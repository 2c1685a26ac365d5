"""MAU: a motion-aware unit for video prediction and beyond.

Chang, Zhang, Wang, Ma, Ye, Xiang, Gao, NeurIPS 2021, https://openreview.net/forum?id=qwtfY-3ibt7; the paper's letters,
by the authors of ASTM. Attention module: how alike the present spatial state is to each of the last tau weighs the
temporal states of those steps (T_trend), and a gate mixes that with the last temporal state (T_AMI). Fusion module:
temporal and spatial state gate each other.

Defaults are the authors' code's for Moving MNIST (https://github.com/ZhengChang467/MAU), of which OpenSTL
(https://github.com/chengtan9907/OpenSTL) has a copy. Departures from that code:
* `norm="layer"`, LayerNorm with a scale per element, fixes the size of frames; `norm="group"` has one per channel.
* Two 1 x 1 convolutions that it allocates and never uses (8,259 parameters) are not here.
From that code, not in the paper:
* Attention weights are scaled by the root of all elements of a state, channels times grid.
* Before tau steps were made, the missing states are zeros that take their share of the weights.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from astm.models.recurrent import Count, OddSide, Recurrent, RecurrentSettings, State
from astm.predictor import model
from astm.pretrained.provenance import Counts, Paper


class MAUSettings(RecurrentSettings):
    """4 layers of 64, 5 x 5, at a quarter of the resolution, tau 5."""

    patch: Count = 1
    """Side p of the square patches that become channels, before the encoder."""
    scale: Literal[1, 2, 4, 8, 16] = 4
    """Of patches: the encoder halves their grid until it is this much smaller."""
    layers: Count = 4
    hidden: Count = 64
    kernel: OddSide = 5
    tau: Count = 5
    """Earlier steps that are attended to."""
    residual: bool = False
    """A cell's spatial state is added to the one that it makes."""
    recall: bool = False
    """The encoder's features are added to the decoder's."""
    norm: Literal["group", "layer"] = "layer"
    """After each convolution of a cell: LayerNorm with a scale per element (one size), or GroupNorm of one group."""
    grid: tuple[Count, Count] = (16, 16)
    """Height and width of a state that norm = "layer" is made for; otherwise without effect."""

    @property
    def tile(self) -> int:
        return self.patch * self.scale

    def misfit(self, height: int, width: int) -> str:
        made_for = tuple(side * self.tile for side in self.grid)
        if self.norm != "layer" or (height, width) == made_for:
            return super().misfit(height, width)
        return (
            f"with norm = 'layer' this model is made for {made_for[0]} x {made_for[1]} pixels (grid {self.grid}), "
            f"got {height} x {width}; norm = 'group' takes any size"
        )


class MAUCell(nn.Module):
    """One layer at one time step."""

    def __init__(self, settings: MAUSettings) -> None:
        super().__init__()
        self.residual = settings.residual
        n = settings.hidden
        self.conv_t, self.conv_s = (self._gates(3 * n, settings) for _ in range(2))
        self.conv_t_next, self.conv_s_next = (self._gates(n, settings) for _ in range(2))

    @staticmethod
    def _gates(outputs: int, s: MAUSettings) -> nn.Sequential:
        norm = nn.LayerNorm((outputs, *s.grid)) if s.norm == "layer" else nn.GroupNorm(1, outputs)
        return nn.Sequential(nn.Conv2d(s.hidden, outputs, s.kernel, padding=s.kernel // 2), norm)

    def forward(self, S: Tensor, Ts: tuple[Tensor, ...], Ss: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """S^{k-1}_t and, of the last tau steps, T^k and S^{k-1}, each (B, hidden, h, w) -> T^k_t, S^k_t."""
        queried, T, earlier = self.conv_s_next(S), Ts[-1], torch.stack(Ss, dim=1)  # (B, tau, hidden, h, w)
        alike = (earlier * queried[:, None]).flatten(2).sum(2) / math.sqrt(S[0].numel())  # (B, tau)
        T_trend = (alike.softmax(dim=1)[:, :, None, None, None] * torch.stack(Ts, dim=1)).sum(1)
        U = torch.sigmoid(self.conv_t_next(T))
        T_AMI = U * T + (1 - U) * T_trend
        U_t, T_t, T_s = self.conv_t(T_AMI).chunk(3, dim=1)
        U_s, S_t, S_s = self.conv_s(S).chunk(3, dim=1)
        U_t, U_s = torch.sigmoid(U_t), torch.sigmoid(U_s)
        S_new = U_s * S_s + (1 - U_s) * T_s
        return U_t * T_t + (1 - U_t) * S_t, S_new + S if self.residual else S_new


@model
class MAU(Recurrent):
    """A convolutional encoder and decoder, and MAUs between. State, per layer: the last tau T, and the last tau S."""

    Settings = MAUSettings

    paper = Paper(
        title="MAU: A Motion-Aware Unit for Video Prediction and Beyond",
        authors=(
            "Chang, Zheng and Zhang, Xinfeng and Wang, Shanshe and Ma, Siwei and Ye, Yan and Xiang, Xinguang and "
            "Gao, Wen"
        ),
        venue="NeurIPS",
        year="2021",
        url="https://openreview.net/forum?id=qwtfY-3ibt7",
    )
    published = Counts(4.5, 17.8, "")

    settings: MAUSettings

    def __init__(self, settings: MAUSettings | None = None) -> None:
        super().__init__(settings)
        s, n, halvings = self.settings, self.settings.hidden, self.settings.scale.bit_length() - 1
        self.first = nn.Conv2d(s.depth, n, 1)
        self.encoder = nn.ModuleList(nn.Conv2d(n, n, 3, stride=2, padding=1) for _ in range(halvings))
        self.cells = nn.ModuleList(MAUCell(s) for _ in range(s.layers))
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(n, n, 3, stride=2, padding=1, output_padding=1) for _ in range(halvings)
        )
        self.last = nn.Conv2d(n, s.depth, 1)

    def usual_size(self) -> tuple[int, int]:
        s = self.settings
        return (s.grid[0] * s.tile, s.grid[1] * s.tile) if s.norm == "layer" else super().usual_size()

    def start(self, x: Tensor) -> State:
        s = self.settings
        zero = x.new_zeros(len(x), s.hidden, x.shape[2] // s.scale, x.shape[3] // s.scale)
        zeros = ((zero,) * s.tau,) * s.layers
        return zeros, zeros

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        features = [functional.leaky_relu(self.first(x), 0.2)]  # (B, hidden, H / p, W / p), then halved
        for conv in self.encoder:
            features.append(functional.leaky_relu(conv(features[-1]), 0.2))
        S, after = features.pop(), []
        for cell, Ts, Ss in zip(self.cells, *state, strict=True):
            T, S_t = cell(S, Ts, Ss)
            after.append(((*Ts[1:], T), (*Ss[1:], S)))
            S = S_t
        for k, conv in enumerate(self.decoder, start=1):
            S = conv(S) if k == len(self.decoder) else functional.leaky_relu(conv(S), 0.2)
            S = S + features.pop() if self.settings.recall else S
        return self.last(S), tuple(zip(*after, strict=True))
