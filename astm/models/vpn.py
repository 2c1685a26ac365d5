"""VPN: video pixel networks.

Kalchbrenner, van den Oord, Simonyan, Danihelka, Vinyals, Graves, Kavukcuoglu, ICML 2017,
https://arxiv.org/abs/1610.00527. An encoder of residual multiplicative blocks reads each frame at full resolution, a
convolutional LSTM carries what it found through time, and a decoder gives the distribution of every pixel of the next
frame: a PixelCNN, in which a pixel depends on those before it in raster order (`pixel_dependency=True`), or the
paper's baseline, the same blocks without masks, in which it does not (the default; the comparisons' "VPN").

Letters: MU multiplicative unit, RMB residual multiplicative block, g1, g2, g3 gates, u update, h features, Z context
(the LSTM's output), c channels of a unit; blocks are 2c wide.

What is predicted is the mean of the distribution, which is best in squared error (with pixel dependency, each pixel's
mean given the means before it); `samples` draws from the distribution, and `nats` is its negative log-likelihood.
Training is on true frames throughout.

There is no public code of the authors. Reconstructed, in part after https://github.com/o-tawab/Video-Pixel-Networks:
* How the current frame enters the decoder: its first block reads the context and the frame by a 1 x 1 convolution, its
  first unit has mask A (it does not see the current pixel), all others mask B (they do, since what they see of it no
  longer holds the pixel). The skip around that block takes the context alone, and in its mask-A unit the term g2 o h,
  which would let the pixel through, is g2.
* The output: one 1 x 1 convolution. Dilations 1, 2, 4, 8, twice, in the encoder. 29.7 M parameters, as that code's.
* The loss counts the frames of the future only. The output's bias starts at the logit of a mean `brightness`.
Departures from the paper:
* The channels of a pixel do not depend on each other, only on earlier pixels. With `patch` above 1, which the paper
  does not have, the same is true of the pixels of a patch, and raster order is that of the patches.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from astm.models.convlstm import ConvLSTMCell
from astm.models.recurrent import Count
from astm.predictor import ModelSettings, Predictor, check_frames, check_horizon, model, patchify, unpatchify
from astm.pretrained.provenance import Paper

LEVELS = 256
"""Grey levels of `output = "softmax"`."""


class VPNSettings(ModelSettings):
    """The paper's sizes."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB."""
    patch: Count = 1
    """Side p of the square patches that become channels; the paper works on pixels."""
    c: Count = 128
    """Channels of a multiplicative unit; blocks and LSTM have twice as many."""
    encoder: Count = 8
    """Blocks that read a frame."""
    dilations: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 4, 8)
    """Of the encoder's blocks, over and over."""
    decoder: Count = 12
    """Blocks from context to distribution."""
    pixel_dependency: bool = False
    """Whether a pixel depends on those before it in its frame. Then a frame is predicted pixel by pixel."""
    output: Literal["bernoulli", "softmax"] = "bernoulli"
    """`bernoulli`: one probability per pixel, whose target may be grey (the paper's Moving MNIST). `softmax`: 256
    levels."""

    brightness: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What `bernoulli` predicts before training: best the mean of the pictures, 0.05 on Moving MNIST. From 0.5, all
    weights together learn the darkness first, and after 400 steps the prediction was still one picture for all."""

    @property
    def depth(self) -> int:
        """Channels of a patched frame, p * p * C."""
        return self.patch * self.patch * self.channels


Mask = Literal["none", "A", "B"]


class MU(nn.Module):
    """The multiplicative unit, g1 o tanh(g2 o h + g3 o u), with one 3 x 3 convolution for g1, g2, g3 and u.

    Masks A and B hide what comes after the current pixel in raster order; A hides the pixel too.
    """

    def __init__(self, c: int, dilation: int = 1, mask: Mask = "none") -> None:
        super().__init__()
        self.W = nn.Conv2d(c, 4 * c, 3, padding=dilation, dilation=dilation)
        self.mask = mask
        taps = {"none": 9, "A": 4, "B": 5}[mask]
        self.register_buffer("visible", (torch.arange(9) < taps).reshape(3, 3), persistent=False)
        self.visible: Tensor

    def forward(self, h: Tensor) -> Tensor:
        """(B, c, H, W) -> the same."""
        if self.mask == "none":
            return self.gated(self.W(h), h)
        return self.gated(functional.conv2d(h, self.W.weight * self.visible, self.W.bias, padding=1), h)

    def gated(self, gates: Tensor, h: Tensor) -> Tensor:
        """From the convolution's result (B, 4c, H, W) and h to the unit's output."""
        g1, g2, g3, u = gates.chunk(4, dim=1)
        carried = torch.sigmoid(g2) if self.mask == "A" else torch.sigmoid(g2) * h
        return torch.sigmoid(g1) * torch.tanh(carried + torch.sigmoid(g3) * torch.tanh(u))


class RMB(nn.Module):
    """The residual multiplicative block, h + W4 MU(MU(W1 h)), with 1 x 1 convolutions W1 and W4."""

    def __init__(self, inputs: int, c: int, dilation: int = 1, masks: tuple[Mask, Mask] = ("none", "none")) -> None:
        super().__init__()
        self.W1 = nn.Conv2d(inputs, c, 1)
        self.units = nn.ModuleList(MU(c, dilation, mask) for mask in masks)
        self.W4 = nn.Conv2d(c, 2 * c, 1)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """h (B, 2c, H, W), around the units, and z (B, inputs, H, W), through them, mostly the same -> as h."""
        return self.through(self.units, h, z)

    def through(self, units: "nn.ModuleList | list[Raster]", h: Tensor, z: Tensor) -> Tensor:
        """The same with other forms of the units."""
        z = self.W1(z)
        for unit in units:
            z = unit(z)
        after: Tensor = h + self.W4(z)
        return after


class Raster:
    """A masked MU, pixel by pixel in raster order: it keeps what it saw of this row and the one above."""

    def __init__(self, unit: MU, width: int) -> None:
        self.unit, self.width = unit, width
        self.kernel = unit.W.weight[:, :, unit.visible].flatten(1)[..., None, None]  # (4c, c * taps, 1, 1)
        self.above: list[Tensor] = []
        self.row: list[Tensor] = []

    def __call__(self, h: Tensor) -> Tensor:
        """The next pixel of the unit's input, (B, c, 1, 1) -> of its output."""
        zero = torch.zeros_like(h)
        if len(self.row) in (0, self.width + 1):
            self.above = [*self.row, zero] if self.row else [zero] * (self.width + 2)
            self.row = [zero]
        j = len(self.row)
        self.row.append(h)
        seen = [*self.above[j - 1 : j + 2], *self.row[j - 1 :]][: 5 if self.unit.mask == "B" else 4]
        taps = torch.stack(seen, dim=2).flatten(1, 2)  # (B, c * taps, 1, 1)
        return self.unit.gated(functional.conv2d(taps, self.kernel, self.unit.W.bias), h)


@model
class VPN(Predictor):
    """Residual multiplicative blocks around a convolutional LSTM; the mean of what it believes of each pixel."""

    Settings = VPNSettings

    paper = Paper(
        title="Video Pixel Networks",
        authors=(
            'Kalchbrenner, Nal and van den Oord, A{\\"a}ron and Simonyan, Karen and Danihelka, Ivo and '
            "Vinyals, Oriol and Graves, Alex and Kavukcuoglu, Koray"
        ),
        venue="ICML",
        year="2017",
        url="https://arxiv.org/abs/1610.00527",
    )

    settings: VPNSettings

    def __init__(self, settings: VPNSettings | None = None) -> None:
        super().__init__(settings)
        s, c = self.settings, self.settings.c
        self.enter = nn.Conv2d(s.depth, 2 * c, 1)
        self.encoder = nn.ModuleList(RMB(2 * c, c, s.dilations[k % len(s.dilations)]) for k in range(s.encoder))
        self.lstm = ConvLSTMCell(2 * c, 2 * c, kernel=3, peepholes=False)
        nn.init.ones_(self.lstm.W.bias.data[2 * c : 4 * c])  # type: ignore[union-attr]  # the forget gate
        first: tuple[Mask, Mask] = ("A", "B") if s.pixel_dependency else ("none", "none")
        later: tuple[Mask, Mask] = ("B", "B") if s.pixel_dependency else ("none", "none")
        seen = s.depth if s.pixel_dependency else 0
        self.decoder = nn.ModuleList(
            RMB(2 * c if k else 2 * c + seen, c, masks=later if k else first) for k in range(s.decoder)
        )
        self.leave = nn.Conv2d(2 * c, s.depth * (LEVELS if s.output == "softmax" else 1), 1)
        if s.output == "bernoulli":
            nn.init.constant_(self.leave.bias, math.log(s.brightness / (1 - s.brightness)))  # type: ignore[arg-type]

    @property
    def cells(self) -> list[nn.Module]:
        """All blocks and the LSTM."""
        return [*self.encoder, self.lstm, *self.decoder]

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        return self.roll(past, horizon, self.mean)

    def samples(self, past: Tensor, horizon: int, count: int, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Frames drawn from the distribution, each fed back; see `Predictor.samples`.

        With `output = "bernoulli"` they are black and white: the distribution of a pixel is that of a bit.
        """
        for k in range(count):
            generators = [np.random.default_rng([seed, k]) for seed in seeds]
            yield self.roll(past, horizon, partial(self.draw, generators=generators))

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """Mean negative log-likelihood of the future's pixels, in nats per pixel and channel."""
        return self.nats(past, future).mean() / future[0, 0].numel()

    def nats(self, past: Tensor, future: Tensor) -> Tensor:
        """Negative log-likelihood of each frame of the future given all true frames before it, in one parallel pass.

        Parameters
        ----------
        past, future: (B, T, C, H, W) and (B, T', C, H, W) in [0, 1].

        Returns
        -------
        (B, T'), nats per frame, float32 or wider. With `bernoulli` it is the cross entropy against grey targets, as
        the paper reports on Moving MNIST, whose lower bound is not 0.
        """
        self.check(past)
        self.check(future)
        p = self.settings.patch
        frames = patchify(torch.cat([past, future], dim=1), p)
        Z, _ = self.contexts(frames[:, :-1], None)
        Z = Z[:, past.shape[1] - 1 :].flatten(0, 1)  # (B * T', 2c, h, w)
        x = frames[:, past.shape[1] :].flatten(0, 1)
        return self.surprise(self.logits(Z, x), x).reshape(future.shape[:2])

    def check(self, frames: Tensor) -> None:
        """Refuse frames that the model cannot take, with a ValueError that names the remedy."""
        check_frames(frames, self.settings.channels, self.settings.patch)

    def roll(self, past: Tensor, horizon: int, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Predict frames, each by `choose` from logits to values, and feed them back; see `Predictor.forward`."""
        self.check(past)
        check_horizon(horizon)
        Z, state = self.contexts(patchify(past, self.settings.patch), None)
        predicted: list[Tensor] = []
        for n in range(horizon):
            if n:
                Z, state = self.contexts(predicted[-1][:, None], state)
            frame = self.decode(Z[:, -1], choose) if self.settings.pixel_dependency else choose(self.logits(Z[:, -1]))
            predicted.append(frame.to(past.dtype))
        return unpatchify(torch.stack(predicted, dim=1), self.settings.patch)

    def contexts(self, frames: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read patched frames (B, T, depth, h, w) with the LSTM's (H, C), None before the first.

        Returns Z (B, T, 2c, h, w) and (H, C): Z at t knows the frames up to t, the context of frame t + 1.
        """
        h = self.enter(frames.flatten(0, 1))  # (B * T, 2c, h, w)
        for block in self.encoder:
            h = self.run(block, h, h)
        X = h.reshape(*frames.shape[:2], *h.shape[1:])
        H, C = state or (torch.zeros_like(X[:, 0]),) * 2
        Z = []
        for t in range(frames.shape[1]):
            H, C = self.run(self.lstm, X[:, t], H, C)
            Z.append(H)
        return torch.stack(Z, dim=1), (H, C)

    def logits(self, Z: Tensor, x: Tensor | None = None) -> Tensor:
        """From a context (B, 2c, h, w) to (B, depth, h, w), or (B, depth * 256, h, w) for `softmax`.

        With `pixel_dependency`, each position sees what is before it in the frame x (B, depth, h, w).
        """
        h, z = Z, torch.cat([Z, x], dim=1) if x is not None and self.settings.pixel_dependency else Z
        for block in self.decoder:
            h = z = self.run(block, h, z)
        y: Tensor = self.leave(h)
        return y

    def decode(self, Z: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """The same frame as `logits` gives if each pixel is chosen and put back in turn, each computed only once.

        Z is (B, 2c, h, w), the result (B, depth, h, w).
        """
        height, width = Z.shape[2:]
        blocks = cast(list[RMB], list(self.decoder))
        units = [[Raster(cast(MU, unit), width) for unit in block.units] for block in blocks]
        unknown = Z.new_zeros(len(Z), self.settings.depth, 1, 1)
        pixels = []
        for i in range(height):
            for j in range(width):
                context = h = Z[:, :, i : i + 1, j : j + 1]
                z = torch.cat([context, unknown], dim=1)
                for block, rasters in zip(blocks, units, strict=True):
                    h = z = block.through(rasters, h, z)
                pixels.append(choose(self.leave(h)).to(Z.dtype))
                # Mask A has hidden the unknown from this pixel; the next ones see what was chosen.
                units[0][0].row[-1] = blocks[0].W1(torch.cat([context, pixels[-1]], dim=1))
        return torch.cat(pixels, dim=3).reshape(len(Z), -1, height, width)

    def mean(self, logits: Tensor) -> Tensor:
        """Of the distribution: (B, depth or depth * 256, h, w) -> (B, depth, h, w) in [0, 1]."""
        p = self.probabilities(logits)
        if self.settings.output == "bernoulli":
            return p
        levels = torch.arange(LEVELS, device=p.device, dtype=p.dtype) / (LEVELS - 1)
        return torch.einsum("bdlhw,l->bdhw", p, levels)

    def draw(self, logits: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """From the distribution, by uniform numbers of a generator for each of the B; as `mean`."""
        p = self.probabilities(logits)
        shape = (self.settings.depth, *p.shape[-2:])
        uniform = torch.from_numpy(np.stack([one.random(shape, np.float32) for one in generators])).to(p)
        if self.settings.output == "bernoulli":
            return (uniform < p).to(p)
        level = (p.cumsum(2) < uniform[:, :, None]).sum(2).clamp(max=LEVELS - 1)
        return level.to(p) / (LEVELS - 1)

    def surprise(self, logits: Tensor, x: Tensor) -> Tensor:
        """Negative log-likelihood, (B,), of frames x (B, depth, h, w), in nats."""
        wide = torch.promote_types(x.dtype, torch.float32)
        if self.settings.output == "bernoulli":
            each = functional.binary_cross_entropy_with_logits(logits.to(wide), x.to(wide), reduction="none")
        else:
            levels = (x * (LEVELS - 1)).round().long()
            scores = self.by_level(logits.to(wide)).transpose(1, 2)  # (B, 256, depth, h, w)
            each = functional.cross_entropy(scores, levels, reduction="none")
        return each.flatten(1).sum(1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, depth, h, w), or (B, depth, 256, h, w) for `softmax`."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.settings.output == "bernoulli":
            return torch.sigmoid(wide)
        return torch.softmax(self.by_level(wide), dim=2)

    def by_level(self, logits: Tensor) -> Tensor:
        """(B, depth * 256, h, w) -> (B, depth, 256, h, w)."""
        return logits.reshape(len(logits), -1, LEVELS, *logits.shape[2:])

    def run(self, module: nn.Module, *inputs: Tensor) -> Any:
        """A module's result, kept for the backward pass or, with `checkpoint`, recomputed there."""
        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(module, *inputs, use_reentrant=False, preserve_rng_state=False)
        return module(*inputs)
