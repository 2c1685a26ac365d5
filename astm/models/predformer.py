"""PredFormer: video prediction transformers without recurrence or convolution.

Tang, Qi, Xie, Li, Ma, Yang, 2024, https://arxiv.org/abs/2410.04733. Patches of all frames are tokens; gated blocks
(attention, then SwiGLU) attend over time (T) or over space (S), in the order that `layer` spells. Defaults are the
authors' for Moving MNIST (https://github.com/yyyujintang/PredFormer): 6 layers of TSST. Other lengths than T
are in `astm.models.oneshot`. Not here: dropout and stochastic depth, which they set to 0 for Moving MNIST.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.oneshot import OneShot, OneShotSettings
from astm.models.recurrent import Count
from astm.predictor import model, patchify, unpatchify
from astm.pretrained.provenance import Paper


class PredFormerSettings(OneShotSettings):
    """The published size for Moving MNIST."""

    patch: Count = 8
    """Side of the square patches that become tokens."""
    width: Annotated[Count, Field(ge=2, multiple_of=2)] = 256
    """Channels of a token; even, half of its position's code are sines."""
    heads: Count = 8
    head: Count = 32
    """Channels of a head."""
    expansion: Count = 4
    """SwiGLU has so many times the channels of a token."""
    layer: Annotated[str, Field(pattern="^[TS]+$")] = "TSST"
    """The blocks of a layer: T attends over time, S over space."""
    layers: Count = 6


class GatedTransformer(nn.Module):
    """Attention and SwiGLU, each after LayerNorm and with a shortcut, and a LayerNorm at the end."""

    def __init__(self, settings: PredFormerSettings) -> None:
        super().__init__()
        s, n = settings, settings.width
        self.heads = s.heads
        self.norm_1, self.norm_2, self.norm_3 = (nn.LayerNorm(n) for _ in range(3))
        self.qkv = nn.Linear(n, 3 * s.heads * s.head, bias=False)
        self.proj = nn.Linear(s.heads * s.head, n)
        self.gate, self.value = (nn.Linear(n, s.expansion * n) for _ in range(2))
        self.out = nn.Linear(s.expansion * n, n)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width), each of the N by itself."""
        x = x + self.attention(self.norm_1(x))
        y = self.norm_2(x)
        x = x + self.out(functional.silu(self.gate(y)) * self.value(y))
        z: Tensor = self.norm_3(x)
        return z

    def attention(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> the same."""
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (N, heads, tokens, head)
        y = functional.scaled_dot_product_attention(q, k, v)
        z: Tensor = self.proj(y.transpose(1, 2).reshape(n, tokens, -1))
        return z


@model.named("predformer")
class PredFormer(OneShot):
    """Patches, a code of their position, transformer blocks over time and over space, patches."""

    Settings = PredFormerSettings

    paper = Paper(
        title="Video Prediction Transformers without Recurrence or Convolution",
        authors="Tang, Yujin and Qi, Lu and Xie, Fei and Li, Xiangtai and Ma, Chao and Yang, Ming-Hsuan",
        venue="arXiv",
        year="2024",
        url="https://arxiv.org/abs/2410.04733",
    )

    settings: PredFormerSettings

    def __init__(self, settings: PredFormerSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        depth = s.patch * s.patch * s.channels
        self.embed = nn.Linear(depth, s.width)
        self.blocks = nn.ModuleList(GatedTransformer(s) for _ in range(s.layers * len(s.layer)))
        self.norm, self.readout = nn.LayerNorm(s.width), nn.Linear(s.width, depth)

    def shot(self, frames: Tensor, keep: Tensor | None) -> Tensor:
        p, s = patchify(frames, self.settings.patch), self.settings  # (B, T, p*p*C, h, w)
        b, t, _, h, w = p.shape
        x = self.embed(p.permute(0, 1, 3, 4, 2).flatten(2, 3))  # (B, T, h*w, width)
        x = x + positions(t * h * w, s.width).to(x).reshape(t, h * w, s.width)
        for block, axis in zip(self.blocks, s.layer * s.layers, strict=True):
            over = x.transpose(1, 2) if axis == "T" else x
            y = block(over.flatten(0, 1)).reshape(over.shape)
            x = y.transpose(1, 2) if axis == "T" else y
        y = self.readout(self.norm(x)).reshape(b, t, h, w, -1).permute(0, 1, 4, 2, 3)
        return unpatchify(y, s.patch)


def positions(count: int, width: int) -> Tensor:
    """(count, width): sines and cosines by turns of the position over 10000^(2 i / width) (Vaswani et al. 2017)."""
    angle = torch.arange(count)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
