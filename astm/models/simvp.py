"""SimVP: simpler yet better video prediction, with the gSTA translator; today's non-recurrent yardstick.

Gao, Tan, Wu, Li, CVPR 2022, https://arxiv.org/abs/2206.05099; gSTA (gated spatiotemporal attention): Tan, Gao, Li,
Li, https://arxiv.org/abs/2211.12509. Not in the tables of the ASTM paper. Defaults are those of the authors' code for
Moving MNIST (OpenSTL, https://github.com/chengtan9907/OpenSTL, `SimVP_gSTA`: 46.8 M parameters, 16.5 GMAC).

T frames go in, T frames come out in one shot: an encoder and a decoder of single frames, and between them a translator
of convolutions at a quarter of the resolution that sees the features of all T frames as channels.

Departure from that code:
* No drop path by default. Its configuration for Moving MNIST sets 0, but its rule makes that 0.01 in the first block
  of the translator, falling to 0 in the last; for KTH it sets 0.2. `drop_path` takes both ends.
Other lengths than T are in `astm.models.oneshot`. The translator normalises over the batch: call `eval()` before
predicting.
"""

import math
from itertools import pairwise
from typing import Annotated, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.depth import kept, scaled
from astm.models.oneshot import OneShot, OneShotSettings
from astm.models.recurrent import Count, OddSide
from astm.predictor import check_frames, model
from astm.pretrained.provenance import Counts, Paper

Rate: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class SimVPSettings(OneShotSettings):
    """The published size for Moving MNIST."""

    hidden: Annotated[Count, Field(ge=4, multiple_of=2)] = 64
    """Channels of a frame in encoder and decoder; even, as they are normalised in two groups."""
    layers: Annotated[Count, Field(ge=2, multiple_of=2)] = 4
    """N_s, convolutions of the encoder, and of the decoder; every second one halves (doubles) the resolution."""
    kernel: OddSide = 3
    """Of encoder and decoder."""
    translator: Count = 512
    """Channels of all frames together between the first and the last block of the translator."""
    blocks: Annotated[Count, Field(ge=2)] = 8
    """N_t, of the translator."""
    expansion: Count = 8
    """The mixing part of a block has so many times its channels."""
    drop_path: tuple[Rate, Rate] = (0.0, 0.0)
    """While training, a sample passes the first and the last block's branches by with these probabilities, the blocks
    between them with those on the line between."""

    @property
    def patch(self) -> int:
        """Side of the square of pixels that becomes one position of the translator's grid."""
        side: int = 2 ** (self.layers // 2)
        return side


class ConvSC(nn.Module):
    """A convolution of single frames, GroupNorm and SiLU. `scale`: 2 halves the resolution, -2 doubles it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, scale: int = 1) -> None:
        super().__init__()
        if scale == -2:
            self.conv = nn.Conv2d(inputs, 4 * outputs, kernel, padding=kernel // 2)
            self.shuffle: nn.Module = nn.PixelShuffle(2)
        else:
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride=scale, padding=kernel // 2)
            self.shuffle = nn.Identity()
        self.norm = nn.GroupNorm(2, outputs)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(self.norm(self.shuffle(self.conv(x))))


class GatedAttention(nn.Module):
    """A large kernel that gates itself, and a shortcut: 23 x 23 positions through 5 x 5 and 7 x 7 with gaps of 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(width, width, 1)
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.dilated = nn.Conv2d(width, width, 7, padding=9, groups=width, dilation=3)
        self.pointwise = nn.Conv2d(width, 2 * width, 1)
        self.proj_2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.gelu(self.proj_1(x))
        f, g = self.pointwise(self.dilated(self.depthwise(y))).chunk(2, dim=1)
        z: Tensor = x + self.proj_2(torch.sigmoid(g) * f)
        return z


class Mixing(nn.Sequential):
    """1 x 1 up, 3 x 3 each channel by itself, 1 x 1 down."""

    def __init__(self, width: int, expansion: int) -> None:
        wide = expansion * width
        super().__init__(
            nn.Conv2d(width, wide, 1),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            nn.GELU(),
            nn.Conv2d(wide, width, 1),
        )


class Block(nn.Module):
    """Of the translator: attention, then mixing, each scaled by channel and added; a 1 x 1 where the width changes."""

    def __init__(self, inputs: int, outputs: int, expansion: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(inputs)
        self.attention, self.mixing = self.attend(inputs), Mixing(inputs, expansion)
        self.scale_1, self.scale_2 = (nn.Parameter(torch.full((inputs, 1, 1), 0.01)) for _ in range(2))
        for part in self.started():
            for layer in part.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
                    layer.weight.data.mul_(layer.groups**0.5)  # PyTorch's fan-out is of all groups, the code's of one
                    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
        self.reduction: nn.Module = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def attend(self, width: int) -> nn.Module:
        """The attention."""
        return GatedAttention(width)

    def started(self) -> tuple[nn.Module, ...]:
        """The parts whose convolutions start with a variance of 2 / fan-out."""
        return self.attention, self.mixing

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """x (B, inputs, h, w), and which samples keep the two branches, (2, B), or None -> (B, outputs, h, w)."""
        first, second = (None, None) if keep is None else keep
        x = x + scaled(self.scale_1 * self.attention(self.norm_1(x)), first)
        x = x + scaled(self.scale_2 * self.mixing(self.norm_2(x)), second)
        y: Tensor = self.reduction(x)
        return y


@model.named("simvp")
class SimVP(OneShot):
    """Encoder, translator, decoder; the encoder's first features go to the decoder's last convolution as well."""

    Settings = SimVPSettings

    paper = Paper(
        title="SimVP: Simpler yet Better Video Prediction",
        authors="Gao, Zhangyang and Tan, Cheng and Wu, Lirong and Li, Stan Z.",
        venue="CVPR",
        year="2022",
        url="https://arxiv.org/abs/2206.05099",
    )
    published = Counts(46.8, 16.5, "")

    settings: SimVPSettings

    def __init__(self, settings: SimVPSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        n, pairs = s.hidden, s.layers // 2
        widths = [s.frames * n, *[s.translator] * (s.blocks - 1), s.frames * n]
        self.first = ConvSC(s.channels, n, s.kernel)
        self.encoder = nn.Sequential(*(ConvSC(n, n, s.kernel, scale) for scale in ([1, 2] * pairs)[1:]))
        self.translator = nn.ModuleList(self.block(i, o) for i, o in pairwise(widths))
        self.decoder = nn.Sequential(*(ConvSC(n, n, s.kernel, scale) for scale in ([-2, 1] * pairs)[:-1]))
        self.last = ConvSC(n, n, s.kernel)
        self.readout = nn.Conv2d(n, s.channels, 1)

    def check(self, past: Tensor) -> None:
        check_frames(past, self.settings.channels, self.settings.patch, "set other layers")

    def block(self, inputs: int, outputs: int) -> Block:
        """One of the translator's."""
        return Block(inputs, outputs, self.settings.expansion)

    @property
    def steady_from(self) -> float:
        """Never with stochastic depth, which draws at each step."""
        return math.inf if any(self.settings.drop_path) else 0

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """`criterion` of the predicted frames, with stochastic depth; see `Predictor.loss`."""
        self.check(past)
        s, horizon = self.settings, future.shape[1]
        keep = None
        if any(s.drop_path):
            rounds = -(-horizon // s.frames)
            drawn = kept(np.linspace(*s.drop_path, s.blocks), (2, rounds, len(past)), step, seed)
            keep = drawn.permute(2, 0, 1, 3).to(past.device)  # (rounds, blocks, 2, B)
        wide = torch.promote_types(future.dtype, torch.float32)
        return self.criterion(self.rounds(past, horizon, keep).to(wide), future.to(wide))

    def criterion(self, predicted: Tensor, future: Tensor) -> Tensor:
        """How far the predicted frames (B, T', C, H, W) are from the true ones: their mean squared error."""
        return functional.mse_loss(predicted, future)

    def shot(self, frames: Tensor, keep: Tensor | None) -> Tensor:
        skip = self.first(frames.flatten(0, 1))  # (B*T, hidden, H, W)
        z = self.encoder(skip)  # (B*T, hidden, h, w)
        grid = z.shape
        z = z.reshape(len(frames), -1, *grid[2:])  # (B, T*hidden, h, w)
        for k, block in enumerate(self.translator):
            z = block(z, None if keep is None else keep[k])
        y: Tensor = self.readout(self.last(self.decoder(z.reshape(grid)) + skip))
        return y.reshape(frames.shape)
