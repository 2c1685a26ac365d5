"""FRNN: folded recurrent neural networks for future video prediction.

Oliu, Selva, Escalera, ECCV 2018, https://arxiv.org/abs/1712.00311. A bijective GRU updates its output from its input
(f, the encoder) and, with weights of its own, its input from its output (b, the decoder); encoder and decoder share
these states. The past is read by f alone. Then each frame is predicted by b alone, from the top layer down, before
which the top layer's f takes its own input once more: predictions are never encoded again.

Letters: x^l input and h^l output of layer l, both states; z update gate, r reset gate.

Topology, initialisation and loss are those of the authors' code (https://github.com/moliusimon/frnn, the same for
Moving MNIST and KTH): 105.7 M parameters. The first state of h^l is learned, one number per channel.
Departures from that code:
* It wants pictures in [-1, 1]; here they come and go in [0, 1] and are mapped at both ends. The absolute error is
  taken in [0, 1], half of the code's, which RMSProp divides out again.
* Any height and width that the poolings divide; the code is built for one.
* The random flips of its KTH training, and its 64 x 80 pictures, are left to the data.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self, TypeAlias

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from astm.models.recurrent import Count, OddSide, State, recomputed
from astm.predictor import ModelSettings, Predictor, check_frames, check_horizon, model
from astm.pretrained.provenance import Paper

Widths: TypeAlias = Annotated[tuple[Count, ...], Field(min_length=1)]
"""Channels, layer by layer."""


class FRNNSettings(ModelSettings):
    """Two convolutions and eight bijective GRUs."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB."""
    stem: Widths = (32, 64)
    """Channels of each convolution on the full picture."""
    stem_kernel: OddSide = 5
    hidden: Annotated[tuple[Widths, ...], Field(min_length=1)] = ((128, 128), (256, 256), (512, 512), (256, 256))
    """Channels of each bijective GRU's output, grouped by size of the picture: a pooling that halves it before each
    group."""
    kernels: tuple[OddSide, ...] = (5, 5, 3, 3)
    """Of each group."""
    criterion: Literal["l1", "l2"] = "l1"
    """Mean absolute error, as the authors; or mean squared error, which forgives blur and so learns in fewer steps."""

    @property
    def patch(self) -> int:
        """What must divide height and width: each pooling halves them."""
        return int(2 ** len(self.hidden))

    @model_validator(mode="after")
    def _a_kernel_for_each_group(self) -> Self:
        if len(self.kernels) != len(self.hidden):
            raise ValueError(f"{len(self.kernels)} kernels for {len(self.hidden)} groups of layers; give one for each")
        return self


class TiedConv(nn.Module):
    """A convolution, and back with the same weights transposed; a bias for each direction, tanh after both."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.b_f, self.b_b = nn.Parameter(torch.zeros(outputs)), nn.Parameter(torch.zeros(inputs))
        orthogonal(self.W)

    def forward(self, x: Tensor, back: bool = False) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W), or back."""
        side = self.W.shape[-1] // 2
        if back:
            return torch.tanh(functional.conv_transpose2d(x, self.W, self.b_b, padding=side))
        return torch.tanh(functional.conv2d(x, self.W, self.b_f, padding=side))


class ConvGRU(nn.Module):
    """One direction of a bijective GRU: the states of one side, updated from those of the other."""

    def __init__(self, inputs: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.W_zr = nn.Conv2d(inputs + hidden, 2 * hidden, kernel, padding=kernel // 2)
        self.W = nn.Conv2d(inputs + hidden, hidden, kernel, padding=kernel // 2)
        for weight in (*self.W_zr.weight.data.chunk(2), self.W.weight.data):
            orthogonal(weight)
        for conv in (self.W_zr, self.W):
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """x (B, inputs, H, W) and h (B, hidden, H, W) -> the next h."""
        z, r = torch.sigmoid(self.W_zr(torch.cat([x, h], dim=1))).chunk(2, dim=1)
        return (1 - z) * h + z * torch.tanh(self.W(torch.cat([x, r * h], dim=1)))


def orthogonal(weight: Tensor) -> None:
    """Fill a kernel with an orthogonal matrix of deviation 2 / sqrt(fan in + outputs), as the authors' code."""
    outputs, fan_in = weight.shape[0], weight[0].numel()
    nn.init.orthogonal_(weight, gain=2 * math.sqrt(max(outputs, fan_in) / (outputs + fan_in)))


@model
class FRNN(Predictor):
    """A stack of bijective GRUs, folded: states are shared between encoder and decoder, predictions not read again."""

    Settings = FRNNSettings

    paper = Paper(
        title="Folded Recurrent Neural Networks for Future Video Prediction",
        authors="Oliu, Marc and Selva, Javier and Escalera, Sergio",
        venue="ECCV",
        year="2018",
        url="https://arxiv.org/abs/1712.00311",
    )

    settings: FRNNSettings

    def __init__(self, settings: FRNNSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        widths = (s.channels, *s.stem)
        self.stem = nn.ModuleList(TiedConv(widths[k], n, s.stem_kernel) for k, n in enumerate(s.stem))
        self.f, self.b, self.h_0 = nn.ModuleList(), nn.ModuleList(), nn.ParameterList()
        """Of each layer: (x, h) -> h; (h, x) -> x; the first h."""
        self.pooled: list[bool] = []
        """Whether a pooling comes before each layer."""
        inputs = s.stem[-1]
        for group, kernel in zip(s.hidden, s.kernels, strict=True):
            for k, hidden in enumerate(group):
                self.f.append(ConvGRU(inputs, hidden, kernel))
                self.b.append(ConvGRU(hidden, inputs, kernel))
                self.h_0.append(nn.Parameter(torch.zeros(hidden, 1, 1)))
                self.pooled.append(k == 0)
                inputs = hidden

    @property
    def cells(self) -> list[nn.Module]:
        """Both directions of all layers."""
        return [*self.f, *self.b]

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        check_frames(past, self.settings.channels, self.settings.patch)
        check_horizon(horizon)
        h, x = self.encode(2 * past - 1)
        predicted = []
        for n in range(horizon):
            if n:
                h = self.f[-1](x[-1], h)
            frame, x = self.step(self.predict, h, x)
            predicted.append(frame)
        return (torch.stack(predicted, dim=1).to(past.dtype) + 1) / 2

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """Mean absolute (or squared) error of the predicted frames."""
        if self.settings.criterion == "l2":
            return super().loss(past, future, step, seed)
        wide = torch.promote_types(future.dtype, torch.float32)
        return functional.l1_loss(self(past, future.shape[1]).to(wide), future.to(wide))

    def encode(self, frames: Tensor) -> tuple[Tensor, State]:
        """Read frames (B, T, C, H, W) in [-1, 1]; the top layer's h and each layer's x after the last one."""
        (batch, height, width), hs = (len(frames), *frames.shape[3:]), []
        for h_0, pooled in zip(self.h_0, self.pooled, strict=True):
            height, width = (height // 2, width // 2) if pooled else (height, width)
            hs.append(frames.new_zeros(batch, len(h_0), height, width) + h_0)
        state: State = tuple(hs)
        for t in range(frames.shape[1]):
            h, (xs, state) = self.step(self.read, frames[:, t], state)
        return h, xs

    def read(self, x: Tensor, h: State) -> tuple[Tensor, State]:
        """f: from a frame and each layer's h, to the top h and each layer's x and h."""
        for conv in self.stem:
            x = conv(x)
        xs, hs = [], []
        for f, pooled, before in zip(self.f, self.pooled, h, strict=True):
            if pooled:
                x = functional.max_pool2d(x, 2)
            xs.append(x)
            x = f(x, before)
            hs.append(x)
        return x, (tuple(xs), tuple(hs))

    def predict(self, h: Tensor, x: State) -> tuple[Tensor, State]:
        """b: from the top layer's h and each layer's x, to the next frame in [-1, 1] and each layer's x."""
        xs = []
        for b, pooled, before in reversed(list(zip(self.b, self.pooled, x, strict=True))):
            h = b(h, before)
            xs.append(h)
            if pooled:
                h = functional.interpolate(h, scale_factor=2, mode="nearest")
        for conv in reversed(self.stem):
            h = conv(h, back=True)
        return h, tuple(reversed(xs))

    def step(
        self, run: Callable[[Tensor, State], tuple[Tensor, State]], x: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """`read` or `predict`, kept for the backward pass or, with `checkpoint`, recomputed there."""
        return recomputed(run, x, state) if self.checkpoint and torch.is_grad_enabled() else run(x, state)
