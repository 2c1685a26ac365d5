"""SwinLSTM: improving spatiotemporal prediction accuracy using Swin Transformer and LSTM.

Tang, Li, Zhang, Tang, ICCV 2023, https://arxiv.org/abs/2308.09891; SwinLSTM-D, the deep form; the paper's letters. A
cell is an LSTM whose gates are replaced by Swin Transformer blocks (Liu et al. 2021, https://arxiv.org/abs/2103.14030):
STB of the input and the hidden state. Cells work at falling resolution, then at rising resolution.

Defaults are those of the authors' code for Moving MNIST (https://github.com/SongTang-x/SwinLSTM, and OpenSTL,
https://github.com/chengtan9907/OpenSTL). From that code, not in the paper:
* Of a cell's blocks the first reads X and H, then every second one reads what the last block gave and X again, through
  a linear map of both; the others read what the last one gave.
* The output is a sigmoid of a transposed 3 x 3 convolution.
Departures from that code:
* Linear maps for a second operand are only where there is one, and the upward path has no patch embedding: it has
  both and never uses them (1.3 M of its 20.2 M parameters).
* No stochastic depth by default; that code's rate of 0.1 is `drop_path=0.1`.
* A window may be as large as the smaller side of a grid; then it is not shifted.
"""

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.depth import kept, scaled
from astm.models.recurrent import Count, Recurrent, RecurrentSettings, State
from astm.predictor import Steps, model
from astm.pretrained.provenance import Paper


class SwinLSTMSettings(RecurrentSettings):
    """SwinLSTM-D for Moving MNIST: 128 channels, 2 and 6 blocks down, 6 and 2 up."""

    patch: Literal[1] = 1
    """Frames enter as they are."""
    scale: Count = 2
    """Pixels for each position of the first grid, per side."""
    width: Count = 128
    """Channels of the first grid; each halving of the resolution doubles them."""
    down: Annotated[tuple[Count, ...], Field(min_length=1)] = (2, 6)
    """Blocks of each cell on the way down."""
    up: Annotated[tuple[Count, ...], Field(min_length=1)] = (2, 6)
    """Blocks of each cell on the way up, the coarsest first."""
    heads: Annotated[tuple[Count, ...], Field(min_length=1)] = (4, 8)
    """Attention heads of each level."""
    window: Count = 4
    """Side of the windows within which is attended."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """While training, a sample passes a block's branches by with probabilities that rise to this one, the deeper."""
    sampling_steps: Steps = 0
    """As in `RecurrentSettings`; the authors train on the model's own predictions from the start."""

    @property
    def tile(self) -> int:
        return self.scale * self.window << len(self.down)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for each offset between two positions."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty((2 * window - 1) ** 2, heads), std=0.02))
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None, :] + window - 1  # (2, positions, positions)
        self.register_buffer("offset", offset[0] * (2 * window - 1) + offset[1], persistent=False)
        self.offset: Tensor

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B * windows, positions, width), mask (windows, positions, positions) or empty -> as x."""
        n, positions, width = x.shape
        q, k, v = self.qkv(x).reshape(n, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (n, heads, p, d)
        bias = self.bias[self.offset].permute(2, 0, 1)[None]  # (1, heads, positions, positions)
        if len(mask):
            bias = (bias + mask[:, None]).repeat(n // len(mask), 1, 1, 1)
        y = functional.scaled_dot_product_attention(q, k, v, bias.to(q.dtype))
        z: Tensor = self.proj(y.transpose(1, 2).reshape(n, positions, width))
        return z


class STB(nn.Module):
    """A Swin Transformer block, which may read a second operand."""

    def __init__(self, width: int, heads: int, window: int, shifted: bool, joins: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.reduction: nn.Module = nn.Linear(2 * width, width) if joins else nn.Identity()
        self.attention = WindowAttention(width, heads, window)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, other: Tensor | None, keep: Tensor | None) -> Tensor:
        """x and the second operand, (B, h, w, width), and which samples keep the branches, (2, B), or None -> as x."""
        first, second = (None, None) if keep is None else keep
        y = self.norm_1(x)
        if other is not None:
            y = self.reduction(torch.cat([y, self.norm_1(other)], dim=-1))
        x = x + scaled(self.attend(y), first)
        return x + scaled(self.mlp(self.norm_2(x)), second)

    def attend(self, x: Tensor) -> Tensor:
        """Attention within windows of x (B, h, w, width), cyclically shifted."""
        _, h, w, _ = x.shape
        shift = self.shift if min(h, w) > self.window else 0
        mask = shifted_mask(h, w, self.window, shift).to(x) if shift else x.new_zeros(0)
        x = windows(torch.roll(x, (-shift, -shift), (1, 2)), self.window)
        return torch.roll(unwindows(self.attention(x, mask), h, w, self.window), (shift, shift), (1, 2))


def windows(x: Tensor, side: int) -> Tensor:
    """(B, h, w, width) -> (B * windows, side * side, width)."""
    b, h, w, width = x.shape
    x = x.reshape(b, h // side, side, w // side, side, width)
    return x.transpose(2, 3).reshape(-1, side * side, width)


def unwindows(x: Tensor, h: int, w: int, side: int) -> Tensor:
    """The inverse of `windows`."""
    x = x.reshape(-1, h // side, w // side, side, side, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, h, w, x.shape[-1])


def shifted_mask(h: int, w: int, window: int, shift: int) -> Tensor:
    """(windows, positions, positions): -100 between positions that only the cyclic shift has made neighbours."""
    regions = [torch.bucketize(torch.arange(side), torch.tensor([side - window, side - shift]), right=True)
               for side in (h, w)]  # fmt: skip
    region = (regions[0][:, None] * 3 + regions[1])[None, :, :, None]
    of = windows(region, window)[:, :, 0]
    return (of[:, :, None] != of[:, None, :]) * -100.0


class SwinLSTMCell(nn.Module):
    """One cell at one time step."""

    def __init__(self, width: int, heads: int, window: int, blocks: int) -> None:
        super().__init__()
        self.STBs = nn.ModuleList(STB(width, heads, window, k % 2 == 1, k % 2 == 0) for k in range(blocks))

    def forward(self, X: Tensor, H: Tensor, C: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """X_t, H_{t-1} and C_{t-1}, each (B, h, w, width) -> H_t and C_t."""
        o = X
        for k, block in enumerate(self.STBs):
            other = (H if k == 0 else X) if k % 2 == 0 else None
            o = block(o, other, None if keep is None else keep[k])
        F = torch.sigmoid(o)
        C = F * (C + torch.tanh(o))
        return F * torch.tanh(C), C


class Merging(nn.Module):
    """Halves the resolution and doubles the width: 2 x 2 positions side by side, LayerNorm, a linear map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[:, dy::2, dx::2] for dx in (0, 1) for dy in (0, 1)]
        y: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return y


class Expanding(nn.Module):
    """Doubles the resolution and halves the width: a linear map, its channels spread over 2 x 2, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(width // 2)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, width = x.shape
        x = self.expand(x).reshape(b, h, w, 2, 2, width // 2)
        y: Tensor = self.norm(x.transpose(2, 3).reshape(b, 2 * h, 2 * w, width // 2))
        return y


@model.named("swin_lstm")
class SwinLSTM(Recurrent):
    """SwinLSTM-D. State: (H, C) of each cell, down then up; and what `kept` drew for the steps to come, or nothing."""

    Settings = SwinLSTMSettings

    paper = Paper(
        title="SwinLSTM: Improving Spatiotemporal Prediction Accuracy using Swin Transformer and LSTM",
        authors="Tang, Song and Li, Chuang and Zhang, Pu and Tang, RongNian",
        venue="ICCV",
        year="2023",
        url="https://arxiv.org/abs/2308.09891",
    )

    settings: SwinLSTMSettings

    def __init__(self, settings: SwinLSTMSettings | None = None) -> None:
        super().__init__(settings)
        s, levels = self.settings, len(self.settings.down)
        widths = [s.width * 2**k for k in range(levels + 1)]
        self.embed = nn.Conv2d(s.channels, s.width, s.scale, stride=s.scale)
        self.norm = nn.LayerNorm(s.width)
        down = [SwinLSTMCell(widths[k], s.heads[k], s.window, s.down[k]) for k in range(levels)]
        up = [SwinLSTMCell(widths[levels - k], s.heads[levels - 1 - k], s.window, s.up[k]) for k in range(levels)]
        self.cells = nn.ModuleList(down + up)
        self.merge = nn.ModuleList(Merging(widths[k]) for k in range(levels))
        self.expand = nn.ModuleList(Expanding(widths[levels - k]) for k in range(levels))
        self.decoder = nn.ConvTranspose2d(
            s.width, s.channels, 3, stride=s.scale, padding=1, output_padding=s.scale - 1
        )

    @property
    def steady_from(self) -> float:
        """Never with stochastic depth, which draws at each step."""
        return math.inf if self.settings.drop_path else super().steady_from

    def compile_cells(self, backend: str = "inductor") -> None:
        """One graph for each size of a cell: for sizes that vary, tracing took 11 times as long."""
        self.compiled = True
        for cell in self.cells:
            cell.compile(backend=backend, dynamic=False)

    def start(self, x: Tensor) -> State:
        s = self.settings
        h, w = x.shape[2] // s.scale, x.shape[3] // s.scale
        levels = [*range(len(s.down)), *range(len(s.down), 0, -1)]
        zeros = [x.new_zeros(len(x), h // 2**k, w // 2**k, s.width * 2**k) for k in levels]
        return tuple((zero, zero) for zero in zeros), x.new_zeros(0)

    def begin(self, x: Tensor, steps: int, step: int, seed: int) -> State:
        s = self.settings
        states, all_kept = self.start(x)
        if not s.drop_path:
            return states, all_kept
        down, up = np.linspace(0, s.drop_path, sum(s.down)), np.linspace(s.drop_path, 0, sum(s.up))
        drawn = kept(np.concatenate([down, up]), (2, steps, len(x)), step, seed)
        return states, drawn.permute(2, 0, 1, 3).to(x)  # (steps, blocks, 2, B)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = self.norm(self.embed(x).permute(0, 2, 3, 1))  # (B, h, w, width)
        states, keep = state
        branches = keep[0].split([*self.settings.down, *self.settings.up]) if len(keep) else [None] * len(self.cells)
        after = []
        resizes = [*self.merge, *self.expand]
        for cell, (H, C), kept_here, resize in zip(self.cells, states, branches, resizes, strict=True):
            H_t, C_t = cell(y, H, C, kept_here)
            after.append((H_t, C_t))
            y = resize(H_t)
        return torch.sigmoid(self.decoder(y.permute(0, 3, 1, 2))), (tuple(after), keep[1:])
