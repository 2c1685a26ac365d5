"""STMFANet: spatial-temporal multi-frequency analysis for high-fidelity, temporally consistent video prediction.

Jin, Hu, Tang, Niu, Shi, Han, Li, CVPR 2020, https://arxiv.org/abs/2002.09905. The authors' code
(https://github.com/Bei-Jin/STMFANet) holds the spatial half of the model only.

A DenseNet encodes a frame; the spatial wavelet module (S-WAM) adds to its features, at every scale, those of the
frame's Haar sub-bands; the temporal wavelet module (T-WAM) adds those of the sub-bands in time of the last frames. A
ConvLSTM carries on, a decoder of transposed convolutions draws the next frame. The network reads the past and then
its own predictions, in training too.

Letters: x frame in [-1, 1] inside; LL, LH, HL, HH sub-bands; A, D approximation and details in time; H, C state of the
ConvLSTM. Shapes: h = H / 2^scales, w = W / 2^scales.

Reconstructed, because no code of the authors shows it:
* T-WAM. The paper decomposes the frame sequence with a multi-level DWT along time, encodes the sub-bands with
  convolutions and fuses the result with the recurrent features. Here it is a three-level Haar transform of the last 8
  frames at every time step, the first frame repeated where there are fewer (any length of the past will do); the 8
  sub-band pictures are encoded by strided convolutions and added to the ConvLSTM's input.
* The adversarial loss (`adversarial`, off by default as in the authors' code, where it does not run): binary cross
  entropy of a discriminator that sees past and future in one stack. It convolves along time too instead of taking
  frames for channels, and takes the mean over the stack instead of a layer of fixed size, so that any length and size
  will do; it has layer normalisation. Both sides learn from the same batch at once instead of in turns; a term trains
  its own side only.
Departures from the authors' code:
* Instance instead of batch normalisation. With its batch of one they are the same in training, and a prediction does
  not depend on the other clips of its batch. Convolutions before it have no bias, which it would take out again.
* Unpooling by zeros and the transposed convolution after it are one transposed convolution of stride 2, the same sum;
  transposed convolutions of stride 1 are convolutions.
* The gradient difference loss leaves out the differences between the border and zeros beyond it.
* The decoder's weights are drawn so that its layers keep the scale of what they are given (He et al., ICCV 2015); with
  the authors' draw (Glorot) ReLU and the zeros between pixels shrink it. Its last bias starts at a mean `brightness`.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.convolution import Conv3d
from astm.models.recurrent import Count, State, recomputed
from astm.predictor import ModelSettings, Predictor, check_frames, check_horizon, model
from astm.pretrained.provenance import Paper


class STMFANetSettings(ModelSettings):
    """The authors' values."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB."""
    scales: Annotated[Count, Field(ge=2)] = 3
    """Halvings of the picture, and levels of the wavelet transform in space."""
    growth: Count = 16
    """Channels that each layer of a dense block adds."""
    block: Count = 3
    """Layers of a dense block."""
    hidden: Annotated[Count, Field(ge=16)] = 128
    """Channels of the ConvLSTM."""
    levels: Count = 3
    """Of the wavelet transform in time, over the last 2^levels frames."""
    gradient: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the gradient difference loss beside the squared error."""
    brightness: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What the decoder draws before training, roughly: best the mean of the pictures, 0.05 on Moving MNIST. From 0.5,
    all weights together learn the darkness first, and after 400 steps the prediction was still one picture for all."""
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the adversarial loss; with 0 there is no discriminator."""
    discriminator: Count = 64
    """Width of the discriminator's first layer."""

    @property
    def patch(self) -> int:
        """What height and width are multiples of: 2^scales."""
        return int(2**self.scales)


def instance_norm(channels: int) -> nn.GroupNorm:
    """Instance normalisation with scale and shift; a map of a single pixel becomes its shift."""
    return nn.GroupNorm(channels, channels)


def activated(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Normalisation, ReLU, convolution of the same size."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(instance_norm(inputs), nn.ReLU(), conv)


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the orthonormal Haar transform: x (..., H, W) -> LL and (LH, HL, HH) along a new third axis from
    the end, (..., H/2, W/2) and (..., 3, H/2, W/2). LH holds the differences between rows, HL between columns."""
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    details = torch.stack([a + b - c - d, a - b + c - d, a - b - c + d], dim=-3)
    return (a + b + c + d) / 2, details / 2


def haar_in_time(x: Tensor, levels: int) -> Tensor:
    """Orthonormal Haar transform along axis 1: x (B, 2^levels, ...) -> (B, 2^levels, ...): the approximation A, then
    the details D from the coarsest level, one picture, to the finest, 2^levels / 2 pictures."""
    bands: list[Tensor] = []
    for _ in range(levels):
        even, odd = x[:, ::2], x[:, 1::2]
        bands.insert(0, (even - odd) / 2**0.5)
        x = (even + odd) / 2**0.5
    return torch.cat([x, *bands], dim=1)


class Dense(nn.Module):
    """A dense block: each layer sees all before it; (B, inputs, h, w) -> (B, inputs + layers * growth, h, w)."""

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(activated(inputs + k * growth, 4 * growth, 1), activated(4 * growth, growth, 3))
            for k in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class SWAM(nn.Module):
    """The spatial wavelet module: features of the sub-bands of each level, for the scale of that size."""

    def __init__(self, channels: int, widths: list[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(4 * channels, n // 2, 3, padding=1, bias=False),
                activated(n // 2, n, 3),
                instance_norm(n),
                nn.ReLU(),
            )
            for n in widths
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (B, C, H, W) -> (B, width, H/2^l, W/2^l) for l = 1, 2 ..."""
        features = []
        for encode in self.encoders:
            x, details = haar(x)
            features.append(encode(torch.cat([x, details.flatten(1, 2)], dim=1)))
        return features


class TWAM(nn.Module):
    """The temporal wavelet module, reconstructed: features of the sub-bands in time of the last frames."""

    def __init__(self, settings: STMFANetSettings) -> None:
        super().__init__()
        s = settings
        self.levels = s.levels
        widths = [s.channels << s.levels, *(s.hidden >> (s.scales - 1 - k) for k in range(s.scales))]
        self.net = nn.Sequential()
        for inputs, outputs in pairwise(widths):
            self.net.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
            self.net.append(instance_norm(outputs))
            self.net.append(nn.ReLU())

    def forward(self, window: Tensor) -> Tensor:
        """The last frames (B, 2^levels, C, H, W) -> (B, hidden, h, w)."""
        y: Tensor = self.net(haar_in_time(window, self.levels).flatten(1, 2))
        return y


class Encoder(nn.Module):
    """DenseNet with S-WAM: x (B, C, H, W) -> (B, hidden, h, w)."""

    def __init__(self, settings: STMFANetSettings) -> None:
        super().__init__()
        s = settings
        self.stem = nn.Conv2d(s.channels, s.growth, 3, padding=1, bias=False)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        width, widths = s.growth, list[int]()
        for _ in range(s.scales):
            self.blocks.append(Dense(width, s.growth, s.block))
            dense = width + s.block * s.growth
            width = dense // 2
            self.transitions.append(nn.Sequential(activated(dense, width, 1), nn.AvgPool2d(2)))
            widths.append(width)
        self.wavelets = SWAM(s.channels, widths)
        self.out = nn.Sequential(activated(width, s.hidden, 1), instance_norm(s.hidden), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for block, transition, wavelets in zip(self.blocks, self.transitions, self.wavelets(x), strict=True):
            y = transition(block(y)) + wavelets
        result: Tensor = self.out(y)
        return result


class ConvLSTMCell(nn.Module):
    """A ConvLSTM, 3 x 3; 1 is added to f."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.W = nn.Conv2d(2 * hidden, 4 * hidden, 3, padding=1)

    def forward(self, X: Tensor, H: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        """X_t, H_{t-1}, C_{t-1}, each (B, hidden, h, w) -> H_t, C_t."""
        i, j, f, o = self.W(torch.cat([X, H], dim=1)).chunk(4, dim=1)
        C = torch.sigmoid(f + 1) * C + torch.sigmoid(i) * torch.tanh(j)
        return torch.sigmoid(o) * torch.tanh(C), C


class Decoder(nn.Sequential):
    """H (B, hidden, h, w) -> the next frame (B, C, H, W) in [-1, 1]. Each scale doubles the size; widths are
    n, n/2, n/4 at the first, then a half of those before at each."""

    def __init__(self, settings: STMFANetSettings) -> None:
        super().__init__()
        n = settings.hidden
        stages = [[n, n, n // 2, n // 4]]
        while len(stages) < settings.scales:
            width = stages[-1][-1]
            stages.append([width, width, max(width // 2, 1)])
        stages[-1][-1] = settings.channels
        for widths in stages:
            self.append(nn.ConvTranspose2d(widths[0], widths[1], 3, stride=2, padding=1, output_padding=1))
            for inputs, outputs in pairwise(widths[1:]):
                self.append(nn.ReLU())
                self.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            self.append(nn.ReLU())
        self[-1] = nn.Tanh()
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                taps = 9 / layer.stride[0] ** 2  # of the kernel that meet a pixel rather than zeros between pixels
                nn.init.normal_(layer.weight, std=(2 / (layer.in_channels * taps)) ** 0.5)
                nn.init.zeros_(cast(Tensor, layer.bias))
        nn.init.constant_(cast(Tensor, self[-2].bias), math.atanh(2 * settings.brightness - 1))


class Discriminator(nn.Module):
    """Whether the second part of a stack of frames is true, as a logit: (B, T, C, H, W) -> (B,)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        self.net = nn.Sequential()
        for k, (inputs, outputs) in enumerate(pairwise(widths)):
            self.net.append(Conv3d(inputs, outputs, 3, stride=(1, 2, 2), padding=1, bias=k == 0))
            if k:
                self.net.append(nn.GroupNorm(1, outputs))
            self.net.append(nn.LeakyReLU(0.2))
        self.out = nn.Linear(widths[-1], 1)

    def forward(self, frames: Tensor) -> Tensor:
        y: Tensor = self.out(self.net(frames.transpose(1, 2)).mean(dim=(2, 3, 4)))
        return y[:, 0]


@model
class STMFANet(Predictor):
    """Multi-frequency analysis in space and time around a ConvLSTM; its temporal half is reconstructed."""

    Settings: ClassVar[type[STMFANetSettings]] = STMFANetSettings

    paper = Paper(
        title=(
            "Exploring Spatial-Temporal Multi-Frequency Analysis for High-Fidelity and Temporal-Consistency "
            "Video Prediction"
        ),
        authors="Jin, Beibei and Hu, Yu and Tang, Qiankun and Niu, Jingyu and Shi, Zhiping and Han, Yinhe and "
        "Li, Xiaowei",
        venue="CVPR",
        year="2020",
        url="https://arxiv.org/abs/2002.09905",
    )

    settings: STMFANetSettings

    def __init__(self, settings: STMFANetSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        self.encoder, self.motion = Encoder(s), TWAM(s)
        self.cell, self.decoder = ConvLSTMCell(s.hidden), Decoder(s)
        if s.adversarial:
            self.discriminator = Discriminator(s.channels, s.discriminator)

    def check(self, frames: Tensor) -> None:
        """Refuse frames that the model cannot take, with a ValueError that names the remedy."""
        check_frames(frames, self.settings.channels, self.settings.patch, "set fewer scales")

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        self.check(past)
        check_horizon(horizon)
        frames = 2 * past - 1
        batch, seen, _, height, width = past.shape
        zero = past.new_zeros(batch, self.settings.hidden, height // self.settings.patch, width // self.settings.patch)
        state: State = (frames[:, :1].expand(-1, 2**self.settings.levels, -1, -1, -1), zero, zero)
        for t in range(seen - 1):
            _, state = self.advance(self.read, frames[:, t], state)
        x, predicted = frames[:, -1], list[Tensor]()
        for _ in range(horizon):
            x, state = self.advance(self.step, x, state)
            x = x.to(past.dtype)
            predicted.append(x)
        return (torch.stack(predicted, dim=1) + 1) / 2

    def advance(
        self, step: Callable[[Tensor, State], tuple[Tensor, State]], x: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """A time step, kept for the backward pass or, with `checkpoint`, recomputed there."""
        return recomputed(step, x, state) if self.checkpoint and torch.is_grad_enabled() else step(x, state)

    def read(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x_t (B, C, H, W) and (the last frames, H, C) -> H_t and the next state."""
        window, H, C = state
        window = torch.cat([window[:, 1:], x[:, None]], dim=1)  # (B, 2^levels, C, H, W)
        H, C = self.cell(self.encoder(x) + self.motion(window), H, C)
        return H, (window, H, C)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x_t and the state -> the predicted x_{t+1} and the next state."""
        H, state = self.read(x, state)
        return self.decoder(H), state

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """Squared error and gradient difference of the predicted frames, and with `adversarial` the losses of both
        sides of the game; see `Predictor.loss`."""
        self.check(future)
        predicted = self(past, future.shape[1])
        wide = torch.promote_types(future.dtype, torch.float32)
        y, target = predicted.to(wide), future.to(wide)
        loss = functional.mse_loss(y, target) + self.settings.gradient * gradient_difference(y, target)
        return loss + self.game(past, predicted, future) if self.settings.adversarial else loss

    def game(self, past: Tensor, predicted: Tensor, future: Tensor) -> Tensor:
        """The adversarial loss of the predictor, times its weight, plus that of the discriminator.

        The predictor is judged by a discriminator whose weights get no gradient of it, and the discriminator by
        predictions that get none of its, so that one backward pass and one optimiser serve both.
        """
        fixed = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        fooled = torch.func.functional_call(self.discriminator, fixed, (torch.cat([past, predicted], dim=1),))
        false = self.discriminator(torch.cat([past, predicted.detach()], dim=1))
        true = self.discriminator(torch.cat([past, future], dim=1))
        softplus = functional.softplus  # the cross entropy of a logit: of -logit where true is right, else of logit
        return self.settings.adversarial * softplus(-fooled).mean() + (softplus(-true) + softplus(false)).mean()

    def compile_cells(self, backend: str = "inductor") -> None:
        """Compile the parts of a time step."""
        self.compiled = True
        for part in (self.encoder, self.motion, self.cell, self.decoder):
            part.compile(backend=backend)


def gradient_difference(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the first differences of pictures (..., H, W), along width plus along height."""
    error = predicted - target
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
