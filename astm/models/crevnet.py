"""CrevNet: efficient and information-preserving future frame prediction and beyond.

Yu, Lu, Easterbrook, Fidler, ICLR 2020, https://openreview.net/forum?id=B1eY_pVYvB. The paper's parts: a reversible
auto-encoder, whose decoder is the inverse of its encoder and has the same weights, and between them a reversible
predictive module (RPM) of recurrent cells. What is read and predicted at each time step is a clip of 3 frames; clips
overlap, so that clip t + 1 is clip t without its first frame and with one new frame.

Letters: x1, x2 the two halves of the features; psi space to depth, 2 x 2; F the residual of a block; h, c hidden
state and cell of a recurrent cell; m the memory of the ST-LSTM, which zig-zags through layers and time; g the gate of
a layer of the RPM. Shapes: clips are (B, C, 3, H, W), features (B, channels, 3, h, w) with x1 before x2.

Auto-encoder, a block: (x1, x2) -> (x2, x1 + F(x2)); at the head of each stage but the first with psi on both halves
and a stride of 2 in F. RPM, a layer: h = cell(x1), g = sigmoid(1 x 1 x 1 convolution of h), and
(x1, x2) -> ((1 - g) x2 + g h, x1).

Reconstruction: `cell = "conv_lstm"`, the "CrevNet + ConvLSTM" of Table 1 of the ASTM paper, is not public. It is the
RPM of the public code (https://github.com/rrxi/CrevNet) with ConvLSTM cells of the same width and kernel: i, f, o, g
from [x, h], no peepholes. `cell = "st_lstm"` is that code's.
Departures from that code:
* F is normalised by GroupNorm of one group, not by BatchNorm (`norm = "batch"`), whose scale and shift it keeps. With
  statistics of the batch, the decoder, which runs on other features than the encoder, is not its inverse while
  training; one running average over 17 time steps and both directions fits neither; and computing a block again for
  the backward pass would count its statistics twice. GroupNorm has no state and sees one sample: the inverse is exact,
  training or not.
* With `checkpoint`, the backward pass rebuilds the inputs of the auto-encoder's blocks from their outputs; the code
  leaves all activations to autograd. A layer of the RPM can be inverted only by dividing by 1 - g, which float32 does
  not survive where g nears 1, and the states before it not at all. So the RPM is computed again from the states and
  from its input, which is the encoder's output and kept anyway.
* A past of fewer than 3 frames is preceded by copies of its first.
OpenSTL (https://github.com/chengtan9907/OpenSTL, 2024-03) has that code with its BatchNorm, and forgets what it has
read before it predicts: the first predicted clip is from the last three frames alone (`restart = True`).
As in that code, training reads true clips at every time step, without scheduled sampling (`teacher_forcing = false`
does not), and the loss is the sum over time of the mean squared error of whole clips, two thirds of which are frames
that were read. In prediction the known frames of a predicted clip replace the predicted ones before it is read; later
clips are read as they were predicted; the last frame of each is the prediction. Its data (digits of 32 pixels,
whole-pixel speeds) is not the usual Moving MNIST, so its numbers are not comparable.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from astm.models.convolution import Conv3d
from astm.models.recurrent import Count, OddSide, State, recomputed
from astm.predictor import ModelSettings, Predictor, check_frames, check_horizon, model
from astm.pretrained.provenance import Counts, Paper

CLIP = 3
"""Frames of a clip."""


class CrevNetSettings(ModelSettings):
    """12 blocks in 3 stages, 8 layers of 32 (grey), 3 x 3 x 3."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB. Nothing is lost in the auto-encoder, so all widths are proportional to it."""
    blocks: Annotated[tuple[Count, ...], Field(min_length=1)] = (4, 5, 3)
    """Of each stage of the auto-encoder; each stage halves the resolution and doubles the channels twice."""
    layers: Annotated[Count, Field(ge=2)] = 8
    """Of the RPM; with fewer than two, a half of the features is never predicted."""
    kernel: OddSide = 3
    """Of the cells, in time, height and width."""
    cell: Literal["conv_lstm", "st_lstm"] = "conv_lstm"
    norm: Literal["group", "batch"] = "group"
    """In the residuals of the auto-encoder. With `batch` all its activations are kept while training."""
    restart: bool = False
    """Predict from the last three frames, with an empty state, as OpenSTL does; training reads them all."""
    teacher_forcing: bool = True
    """Training reads true clips throughout, as the authors' does; else, after the past, what was predicted, as in
    prediction. A short training needs the latter: its errors otherwise grow from frame to frame."""

    @property
    def patch(self) -> int:
        """Side of the square of pixels that becomes one position of the grid: each stage halves the resolution."""
        side: int = 2 ** len(self.blocks)
        return side

    @property
    def half(self) -> int:
        """Channels of each half of the features at the end, which is also the width of the cells."""
        return self.channels * self.patch**2 // 2


def psi(x: Tensor) -> Tensor:
    """Space to depth, (B, C, T, H, W) -> (B, 4 C, T, H / 2, W / 2), channel = (dy, dx, c) row-major."""
    B, C, T, H, W = x.shape
    x = x.reshape(B, C, T, H // 2, 2, W // 2, 2).permute(0, 4, 6, 1, 2, 3, 5)
    return x.reshape(B, 4 * C, T, H // 2, W // 2)


def unpsi(x: Tensor) -> Tensor:
    """The inverse of `psi`."""
    B, C, T, h, w = x.shape
    x = x.reshape(B, 2, 2, C // 4, T, h, w).permute(0, 3, 4, 5, 1, 6, 2)
    return x.reshape(B, C // 4, T, 2 * h, 2 * w)


class Block(nn.Module):
    """(x1, x2) -> (x2, x1 + F(x2)), with `down` (psi x2, psi x1 + F(x2)); and back."""

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool, batch: bool = False) -> None:
        """`inputs` and `outputs` are channels of a half; the first block of all has no normalisation before F.

        With `batch` it is by statistics of the batch.
        """
        super().__init__()
        self.down = down
        n = max(1, outputs // 2)
        norm = nn.BatchNorm3d if batch else partial(nn.GroupNorm, 1)
        before = [] if first else [norm(inputs), nn.ReLU()]
        self.F = nn.Sequential(
            *before,
            Conv3d(inputs, n, 3, stride=(1, 2, 2) if down else 1, padding=1, bias=False),
            *(norm(n), nn.ReLU(), Conv3d(n, n, 3, padding=1, bias=False)),
            *(norm(n), nn.ReLU(), Conv3d(n, outputs, 3, padding=1, bias=False)),
        )

    def psi(self, x: Tensor) -> Tensor:
        """Of a half."""
        return psi(x) if self.down else x

    def unpsi(self, y: Tensor) -> Tensor:
        """Of a half."""
        return unpsi(y) if self.down else y

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=1)
        return torch.cat([self.psi(x2), self.psi(x1) + self.F(x2)], dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """x from y = forward(x)."""
        y1, y2 = y.chunk(2, dim=1)
        x2 = self.unpsi(y1)
        return torch.cat([self.unpsi(y2 - self.F(x2)), x2], dim=1)

    def undo(self, y: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """From y = forward(x) and its gradient: x, its gradient, and those of the parameters."""
        (y1, y2), (dy1, dy2) = y.chunk(2, dim=1), dy.chunk(2, dim=1)
        x2, dx1 = self.unpsi(y1), self.unpsi(dy2)
        f, pull = linearised(self.F, x2)
        dx2, *parameters = pull(dy2)
        x, dx = [self.unpsi(y2 - f), x2], [dx1, self.unpsi(dy1) + dx2]
        return torch.cat(x, dim=1), torch.cat(dx, dim=1), parameters

    def undo_inverse(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """From x = inverse(y) and its gradient: y, its gradient, and those of the parameters."""
        (x1, x2), (dx1, dx2) = x.chunk(2, dim=1), dx.chunk(2, dim=1)
        dy2 = self.psi(dx1)
        f, pull = linearised(self.F, x2)
        df, *parameters = pull(-dy2)
        y, dy = [self.psi(x2), self.psi(x1) + f], [self.psi(dx2 + df), dy2]
        return torch.cat(y, dim=1), torch.cat(dy, dim=1), parameters


Pull = Callable[[Tensor], tuple[Tensor, ...]]


def linearised(F: nn.Module, x: Tensor) -> tuple[Tensor, Pull]:
    """F(x), and what takes a gradient of it to those of x and of the parameters."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        f = F(x)
    return f.detach(), lambda d: torch.autograd.grad(f, [x, *F.parameters()], d.to(f.dtype))


def encode(blocks: Sequence[Block], x: Tensor) -> Tensor:
    """Forward through all blocks."""
    for block in blocks:
        x = block(x)
    return x


def decode(blocks: Sequence[Block], y: Tensor) -> Tensor:
    """The inverse of `encode`."""
    for block in reversed(blocks):
        y = block.inverse(y)
    return y


class Reversible(torch.autograd.Function):
    """`encode`, or with `inverse` `decode`, of which only the result is kept.

    The backward pass goes back from there, block by block, at the price of one more evaluation of each F.
    """

    @staticmethod
    def forward(ctx: Any, blocks: list[Block], inverse: bool, x: Tensor, *parameters: Tensor) -> Tensor:
        y = decode(blocks, x) if inverse else encode(blocks, x)
        ctx.blocks, ctx.inverse, ctx.autocast = blocks, inverse, autocast_of(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        (y,) = ctx.saved_tensors
        gradients: dict[Block, list[Tensor]] = {}
        with ctx.autocast:
            for block in ctx.blocks if ctx.inverse else reversed(ctx.blocks):
                y, dy, gradients[block] = (block.undo_inverse if ctx.inverse else block.undo)(y, dy)
        return None, None, dy, *(gradient for block in ctx.blocks for gradient in gradients[block])


def autocast_of(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """The autocast of now, to be entered later; without its cache, which may hold weights cast without a graph."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False)


class ConvLSTMCell(nn.Module):
    """A ConvLSTM in 3D."""

    def __init__(self, n: int, kernel: int) -> None:
        super().__init__()
        self.gates = Conv3d(2 * n, 4 * n, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_t, h_{t-1}, c_{t-1} -> h_t, c_t, each (B, n, 3, h, w); m is passed through."""
        i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c, m


class STLSTMCell(nn.Module):
    """The ST-LSTM in 3D as in the authors' code: i, f, g see c, and the gates of m see the new c instead of h."""

    def __init__(self, n: int, kernel: int) -> None:
        super().__init__()
        self.gates = Conv3d(3 * n, 3 * n, kernel, padding=kernel // 2)
        self.memory = Conv3d(3 * n, 3 * n, kernel, padding=kernel // 2)
        self.out = Conv3d(4 * n, n, kernel, padding=kernel // 2)
        self.last = Conv3d(2 * n, n, 1)

    def forward(self, x: Tensor, h: Tensor, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_t, h^l_{t-1}, c^l_{t-1}, m^{l-1}_t -> h^l_t, c^l_t, m^l_t, each (B, n, 3, h, w)."""
        i, f, g = self.gates(torch.cat([x, h, c], dim=1)).chunk(3, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        i, f, g = self.memory(torch.cat([x, m, c], dim=1)).chunk(3, dim=1)
        m = torch.sigmoid(f) * m + torch.sigmoid(i) * torch.tanh(g)
        o = torch.sigmoid(self.out(torch.cat([x, h, c, m], dim=1)))
        return o * torch.tanh(self.last(torch.cat([c, m], dim=1))), c, m


@model.named("crevnet")
class CrevNet(Predictor):
    """Encoder, RPM and decoder at each time step. State: h per layer, c per layer, m."""

    Settings = CrevNetSettings

    paper = Paper(
        title="Efficient and Information-Preserving Future Frame Prediction and Beyond",
        authors="Yu, Wei and Lu, Yichao and Easterbrook, Steve and Fidler, Sanja",
        venue="ICLR",
        year="2020",
        url="https://openreview.net/forum?id=B1eY_pVYvB",
    )
    published = Counts(5.0, 270.7, "ST-LSTM cells (5.0 M here); its GMAC very probably of 16 sequences")

    settings: CrevNetSettings

    def __init__(self, settings: CrevNetSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        halves = [2 * s.channels * 4**stage for stage in range(len(s.blocks))]
        self.blocks = nn.ModuleList(
            Block(halves[max(0, stage - (k == 0))], n, stage > 0 and k == 0, stage == k == 0, s.norm == "batch")
            for stage, n in enumerate(halves)
            for k in range(s.blocks[stage])
        )
        cell = {"conv_lstm": ConvLSTMCell, "st_lstm": STLSTMCell}[s.cell]
        self.cells = nn.ModuleList(cell(s.half, s.kernel) for _ in range(s.layers))
        self.gates = nn.ModuleList(Conv3d(s.half, s.half, 1) for _ in range(s.layers))

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        frames = self.padded(past)[:, -CLIP if self.settings.restart else 0 :]
        check_horizon(horizon)
        known = frames.shape[1]
        clips = self.unroll(frames, known - CLIP + horizon)[:, known - CLIP :]
        return clips[:, :, :, -1].to(past.dtype)

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """The sum over all time steps of the mean squared error of the predicted clip."""
        self.padded(future)
        frames = torch.cat([self.padded(past), future], dim=1)
        steps = frames.shape[1] - CLIP
        read = frames if self.settings.teacher_forcing else frames[:, : -future.shape[1]]
        predicted = self.unroll(read, steps)
        true = frames[:, 1:].unfold(1, CLIP, 1).movedim(-1, 3)  # (B, steps, C, 3, H, W)
        wide = torch.promote_types(frames.dtype, torch.float32)
        return steps * functional.mse_loss(predicted.to(wide), true.to(wide))

    def padded(self, past: Tensor) -> Tensor:
        """At least a clip, of frames that were checked."""
        check_frames(past, self.settings.channels, self.settings.patch, "set another number of stages in blocks")
        return torch.cat([past[:, :1]] * max(0, CLIP - past.shape[1]) + [past], dim=1)

    def unroll(self, frames: Tensor, steps: int) -> Tensor:
        """Run the network.

        Parameters
        ----------
        frames: (B, T, C, H, W), what is known, T >= 3.
        steps: time steps to run.

        Returns
        -------
        (B, steps, C, 3, H, W): clip t is the prediction of frames t + 1, t + 2 and t + 3.
        """
        frames = frames.transpose(1, 2)  # (B, C, T, H, W)
        clip, state = frames[:, :, :CLIP], self.start(frames)
        predicted = []
        for t in range(1, steps + 1):
            clip, state = self.advance(clip, state)
            clip = clip.to(frames.dtype)
            predicted.append(clip)
            known = frames[:, :, t : t + CLIP]
            clip = torch.cat([known, clip[:, :, known.shape[2] :]], dim=2)
        return torch.stack(predicted, dim=1)

    def start(self, frames: Tensor) -> State:
        """The state before the first clip."""
        s, (B, _, _, H, W) = self.settings, frames.shape
        zero = frames.new_zeros(B, s.half, CLIP, H // s.patch, W // s.patch)
        return (zero,) * s.layers, (zero,) * s.layers, zero

    def advance(self, clip: Tensor, state: State) -> tuple[Tensor, State]:
        """From a clip and the state: the predicted next clip, (B, C, 3, H, W), and the next state."""
        if not (self.checkpoint and torch.is_grad_enabled()):
            x, state = self.predict(encode(self.all_blocks, psi(clip)), state)
            return unpsi(decode(self.all_blocks, x)), state
        x, state = recomputed(self.predict, self.coded(False, psi(clip)), state)
        return unpsi(self.coded(True, x)), state

    def predict(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The RPM: the next features from those of now, (B, 2 half, 3, h, w)."""
        H, C, m = state
        x1, x2 = x.chunk(2, dim=1)
        H_t, C_t = [], []
        for cell, gate, h, c in zip(self.cells, self.gates, H, C, strict=True):
            h, c, m = cell(x1, h, c, m)  # noqa: PLW2901
            g = torch.sigmoid(gate(h))
            x1, x2 = (1 - g) * x2 + g * h, x1
            H_t.append(h)
            C_t.append(c)
        return torch.cat([x1, x2], dim=1), (tuple(H_t), tuple(C_t), m)

    @property
    def all_blocks(self) -> list[Block]:
        """Of the auto-encoder, in order."""
        return list(self.blocks)  # type: ignore[arg-type]  # a ModuleList does not know of what

    def coded(self, inverse: bool, x: Tensor) -> Tensor:
        """`encode` or `decode`, keeping the result alone; with BatchNorm, which cannot be undone, everything."""
        if self.settings.norm == "batch":
            return decode(self.all_blocks, x) if inverse else encode(self.all_blocks, x)
        y: Tensor = Reversible.apply(self.all_blocks, inverse, x, *self.blocks.parameters())  # type: ignore[no-untyped-call]
        return y
