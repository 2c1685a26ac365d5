"""SimVP: simpler yet better video prediction, with the gSTA translator; today's non-recurrent yardstick.

Gao, Tan, Wu, Li, CVPR 2022, https://arxiv.org/abs/2206.05099; gSTA (gated spatiotemporal attention): Tan, Gao, Li,
Li, https://arxiv.org/abs/2211.12509. Not in the tables of the ASTM paper. Defaults are those of the authors' code for
Moving MNIST (OpenSTL, https://github.com/chengtan9907/OpenSTL, `SimVP_gSTA`: 46.8 M parameters, 16.5 GMAC).

T frames go in, T frames come out in one shot: an encoder and a decoder of single frames, and between them a translator
of convolutions at a quarter of the resolution that sees the features of all T frames as channels.

Departures from that code:
* No drop path. Its configuration for Moving MNIST sets 0, but its rule makes that 0.01 in the first block of the
  translator, falling to 0 in the last; for KTH it sets 0.2.
What the paper leaves open:
* T is fixed by the weights (`frames`). Of a longer past the last T frames count; before a shorter one its first frame
  is repeated. A horizon beyond T continues from the predicted frames, T by T, as in that code; a shorter one is cut.
* Training is the mean squared error of the predicted frames, over the further rounds too if the future is longer.
The translator normalises over the batch: call `eval()` before predicting.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from astm.models.recurrent import Count, OddSide
from astm.predictor import ModelSettings, Predictor, check_frames, check_horizon, model
from astm.pretrained.provenance import Counts, Paper


class SimVPSettings(ModelSettings):
    """The published size for Moving MNIST."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB."""
    frames: Count = 10
    """T, frames in and frames out."""
    hidden: Annotated[int, Field(ge=4, multiple_of=2)] = 64
    """Channels of a frame in encoder and decoder; even, as they are normalised in two groups."""
    layers: Annotated[int, Field(ge=2, multiple_of=2)] = 4
    """N_s, convolutions of the encoder, and of the decoder; every second one halves (doubles) the resolution."""
    kernel: OddSide = 3
    """Of encoder and decoder."""
    translator: Count = 512
    """Channels of all frames together between the first and the last block of the translator."""
    blocks: Annotated[int, Field(ge=2)] = 8
    """N_t, of the translator."""
    expansion: Count = 8
    """The mixing part of a block has so many times its channels."""

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
        self.attention, self.mixing = GatedAttention(inputs), Mixing(inputs, expansion)
        self.scale_1, self.scale_2 = (nn.Parameter(torch.full((inputs, 1, 1), 0.01)) for _ in range(2))
        for part in [*self.attention.modules(), *self.mixing.modules()]:
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")
                part.weight.data.mul_(part.groups**0.5)  # PyTorch's fan-out is of all groups, the code's of one
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]  # it has one
        self.reduction: nn.Module = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale_1 * self.attention(self.norm_1(x))
        x = x + self.scale_2 * self.mixing(self.norm_2(x))
        y: Tensor = self.reduction(x)
        return y


@model.named("simvp")
class SimVP(Predictor):
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
        self.translator = nn.Sequential(*(Block(i, o, s.expansion) for i, o in pairwise(widths)))
        self.decoder = nn.Sequential(*(ConvSC(n, n, s.kernel, scale) for scale in ([-2, 1] * pairs)[:-1]))
        self.last = ConvSC(n, n, s.kernel)
        self.readout = nn.Conv2d(n, s.channels, 1)

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        s = self.settings
        check_frames(past, s.channels, s.patch, "set other layers")
        check_horizon(horizon)
        missing = max(0, s.frames - past.shape[1])
        frames = torch.cat([past[:, :1]] * missing + [past[:, -s.frames :]], dim=1)
        predicted: list[Tensor] = []
        for _ in range(0, horizon, s.frames):
            frames = self.shot(frames).to(past.dtype)
            predicted.append(frames)
        return torch.cat(predicted, dim=1)[:, :horizon]

    def shot(self, frames: Tensor) -> Tensor:
        """T frames, (B, T, C, H, W) -> the T that follow, of the same shape."""
        skip = self.first(frames.flatten(0, 1))  # (B*T, hidden, H, W)
        z = self.encoder(skip)  # (B*T, hidden, h, w)
        z = self.translator(z.reshape(len(frames), -1, *z.shape[2:])).reshape(z.shape)  # as (B, T*hidden, h, w)
        y: Tensor = self.readout(self.last(self.decoder(z) + skip))
        return y.reshape(frames.shape)
