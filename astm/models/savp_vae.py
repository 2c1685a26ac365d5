"""SAVP-VAE: stochastic adversarial video prediction without the adversary, a conditional variational auto-encoder.

Lee, Zhang, Ebert, Abbeel, Finn, Levine 2018, https://arxiv.org/abs/1804.01523, the ablation that the paper calls
"ours, VAE-only"; what its text leaves open as in the authors' code for KTH
(https://github.com/alexlee-gk/video_prediction, `ours_vae_l1`).

A generator G makes frame x_{t+1} from x_t, x_0 and a latent z_t. In training z_t is drawn from the posterior
q(z_t | x_t, x_{t+1}) = N(mu, sigma^2); in prediction it is too while x_{t+1} is known, and after that it is drawn from
the prior N(0, I), which is fixed, not learnt. `forward` takes the mean of either instead of drawing, so that it is a
function of the past; `samples` draws.

Letters: x, z, mu, sigma as above; H, C state of a ConvLSTM; w CDNA's kernels; ngf, nef, nz widths as in the code.

Departures from the authors' code:
* Convolutions before an instance normalisation have no bias: the normalisation takes it out again.
* A convolution followed by the mean over 2 x 2 pixels is one convolution of stride 2 with the averaged kernel, the
  same sum at 2.8 times fewer multiplications for 5 x 5.
* The layer that makes w is dense in the smallest map, which has 8 x 8 pixels in every topology. For pictures of other
  sizes the map is first averaged (or repeated) to 8 x 8, so that any size will do; at the size that the topology is
  made for nothing changes.
* Weights are drawn as PyTorch draws them.
Reconstructed:
* The authors have topologies for 32, 64, 128 and 256 pixels and published KTH at 64. The published table that is
  compared with here has 128; `size` chooses.
Worth knowing: z is constant over the picture, and so is what a convolution makes of it, which the instance
normalisation after it removes. So z acts through the zeros beyond the border alone, in the authors' code as here.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.recurrent import Count, OddSide, State, recomputed
from astm.predictor import ModelSettings, Predictor, Steps, check_frames, check_horizon, model
from astm.pretrained.provenance import Paper

# Width of each level in units of ngf, and whether it has a ConvLSTM.
ENCODERS = {
    32: ((1, True), (2, True)),
    64: ((1, True), (2, True), (4, True)),
    128: ((1, False), (2, True), (4, True), (8, True)),
    256: ((1, False), (2, False), (4, True), (8, True), (8, True)),
}
DECODERS = {
    32: ((1, True), (1, False)),
    64: ((2, True), (1, True), (1, False)),
    128: ((8, True), (4, True), (2, False), (1, False)),
    256: ((8, True), (4, True), (2, False), (1, False), (1, False)),
}
SMALLEST = 8
"""Side of the smallest map, 32 / 2^2 = 64 / 2^3 = 128 / 2^4 = 256 / 2^5."""


class SAVPVAESettings(ModelSettings):
    """The authors' values for KTH."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB."""
    size: Literal[32, 64, 128, 256] = 64
    """Which topology: the one for pictures of this height and width. Any size that 2^levels divides can be given."""
    ngf: Count = 32
    """Width of the generator."""
    nef: Count = 64
    """Width of the posterior."""
    nz: Count = 32
    """Length of z."""
    transformed: Count = 4
    """Pictures that CDNA makes of the previous one."""
    kernel: OddSide = 5
    """Side of CDNA's kernels: nothing moves further in a step than half of it."""
    loss: Literal["l1", "l2"] = "l1"
    """Mean absolute or mean squared error; the authors use both, the former on KTH."""
    kl_weight: Annotated[float, Field(ge=0)] = 1e-5
    """Of the divergence of posterior and prior, once annealed."""
    kl_from: Steps = 50_000
    """The weight rises linearly from 0 at this step ..."""
    kl_to: Annotated[Steps, Field(ge=1)] = 100_000
    """... to `kl_weight` at this one."""
    sampling_k: Annotated[float, Field(gt=0)] = 900.0
    """Scheduled sampling: a true frame is read with probability k / (k + exp(step / k))."""

    @property
    def patch(self) -> int:
        """What height and width are multiples of: 2^levels."""
        return int(2 ** len(ENCODERS[self.size]))


def instance_norm(channels: int) -> nn.GroupNorm:
    """Instance normalisation with scale and shift; a map of a single pixel becomes its shift."""
    return nn.GroupNorm(channels, channels)


def tiled(x: Tensor, z: Tensor) -> Tensor:
    """z (B, nz) at every pixel of x (B, n, h, w), as further channels."""
    return torch.cat([x, z[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)


class ConvPool(nn.Module):
    """A convolution without bias, then the mean over 2 x 2 pixels: (B, inputs, h, w) -> (B, outputs, h/2, w/2)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        averaged = functional.avg_pool2d(functional.pad(self.conv.weight, (1, 1, 1, 1)), 2, stride=1)
        return functional.conv2d(x, averaged, stride=2, padding=self.conv.padding)  # the same sum, see the docstring


class UpConv(nn.Module):
    """Twice the size by bilinear interpolation, then a convolution: (B, inputs, h, w) -> (B, outputs, 2h, 2w).

    As in the authors' code, x is 0 beyond its border: the first of the doubled pixels is 3/4 of that of x, and one
    more, 1/4 of it, lies outside and is convolved too; only then is the picture cropped.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False)
        self.margin = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        framed = functional.pad(x, (1, 1, 1, 1))
        doubled = functional.interpolate(framed, scale_factor=2, mode="bilinear", align_corners=False)
        y: Tensor = self.conv(functional.pad(doubled, (self.margin - 2,) * 4))  # (B, inputs, 2h + k - 1, 2w + k - 1)
        return y


class ConvLSTMCell(nn.Module):
    """A ConvLSTM, 5 x 5, with instance normalisation of each gate and of the new C; 1 is added to f."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.W = nn.Conv2d(inputs + hidden, 4 * hidden, 5, padding=2, bias=False)
        self.norm = instance_norm(4 * hidden)
        self.norm_c = instance_norm(hidden)

    def forward(self, X: Tensor, H: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        """X_t (B, inputs, h, w), H_{t-1}, C_{t-1} (B, hidden, h, w) -> H_t, C_t."""
        i, j, f, o = self.norm(self.W(torch.cat([X, H], dim=1))).chunk(4, dim=1)
        C = self.norm_c(torch.sigmoid(f + 1) * C + torch.sigmoid(i) * torch.tanh(j))
        return torch.sigmoid(o) * torch.tanh(C), C


class Level(nn.Module):
    """A level of the U-Net: halve or double the size, normalise, ReLU, and a ConvLSTM if it has one; z at each."""

    def __init__(self, resize: ConvPool | UpConv, outputs: int, recurrent: bool, nz: int) -> None:
        super().__init__()
        self.resize, self.norm = resize, instance_norm(outputs)
        self.cells = nn.ModuleList([ConvLSTMCell(outputs + nz, outputs)] if recurrent else [])

    def forward(self, x: Tensor, z: Tensor, state: State) -> tuple[Tensor, State]:
        """x (B, inputs, h, w), z (B, nz), ((H, C)) or () -> (B, outputs, h/2 or 2h, ...) and the next state."""
        x = torch.relu(self.norm(self.resize(tiled(x, z))))
        if not state:
            return x, ()
        H, C = state
        H, C = self.cells[0](tiled(x, z), H, C)
        return H, (H, C)


class Generator(nn.Module):
    """One time step: a U-Net that says how to put the next frame together from copies and a new picture."""

    def __init__(self, settings: SAVPVAESettings) -> None:
        super().__init__()
        s, n, nz = settings, settings.ngf, settings.nz
        self.kernel, self.transformed = s.kernel, s.transformed
        widths = [2 * s.channels, *(n * width for width, _ in ENCODERS[s.size])]
        self.down = nn.ModuleList(
            Level(ConvPool(widths[k] + nz, widths[k + 1], 3 if k else 5), widths[k + 1], recurrent, nz)
            for k, (_, recurrent) in enumerate(ENCODERS[s.size])
        )
        inputs = widths[-1]
        self.up = nn.ModuleList()
        for k, (width, recurrent) in enumerate(DECODERS[s.size]):
            self.up.append(Level(UpConv(inputs + nz, n * width, 3), n * width, recurrent, nz))
            inputs = n * width + widths[-2 - k]  # the level below and the skip
        self.lstm_z = nn.Linear(2 * nz, 4 * nz)
        self.dense_w = nn.Linear(widths[-1] * SMALLEST * SMALLEST, s.transformed * s.kernel**2)
        self.heads = nn.Sequential(nn.Conv2d(n, 2 * n, 3, padding=1, bias=False), instance_norm(2 * n), nn.ReLU())
        layers = s.transformed + 3
        self.scratch = nn.Conv2d(n, s.channels, 3, padding=1)
        self.masks = nn.Conv2d(n + layers * s.channels, layers, 3, padding=1)

    def start(self, x: Tensor) -> State:
        """Zeros: (h, c) of z's LSTM, and (H, C) or () of each level, for frames (B, C, H, W)."""
        batch, _, height, width = x.shape
        nz = self.lstm_z.out_features // 4
        states: list[State] = []
        for k, level in enumerate([*self.down, *self.up]):
            depth = k + 1 if k < len(self.down) else 2 * len(self.down) - k - 1
            size = (batch, level.norm.num_channels, height >> depth, width >> depth)
            states.append((x.new_zeros(size), x.new_zeros(size)) if level.cells else ())
        return (x.new_zeros(batch, nz), x.new_zeros(batch, nz)), tuple(states)

    def forward(self, x: Tensor, first: Tensor, z: Tensor, state: State) -> tuple[Tensor, State]:
        """x_t and x_0 (B, C, H, W), z_t (B, nz) and the state -> x_{t+1} and the next state."""
        (h, c), levels = state
        i, j, f, o = self.lstm_z(torch.cat([z, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(j)
        h = torch.sigmoid(o) * torch.tanh(c)  # (B, nz)

        count, after = len(self.down), []
        maps = [torch.cat([x, first], dim=1)]
        for level, before in zip(self.down, levels[:count], strict=True):
            y, now = level(maps[-1], h, before)
            maps.append(y)
            after.append(now)
        smallest = maps.pop()  # (B, ngf * 4 or 8, H / 2^levels, W / 2^levels)
        y = smallest
        for k, (level, before) in enumerate(zip(self.up, levels[count:], strict=True)):
            y, now = level(torch.cat([y, maps.pop()], dim=1) if k else y, h, before)
            after.append(now)  # y (B, ngf, H, W) in the end

        for_scratch, for_masks = self.heads(y).chunk(2, dim=1)
        layers = self.layers(x, first, smallest, for_scratch)  # (B, layers, C, H, W)
        masks = torch.softmax(self.masks(torch.cat([for_masks, layers.flatten(1, 2)], dim=1)), dim=1)
        return (masks[:, :, None] * layers).sum(dim=1), ((h, c), tuple(after))

    def layers(self, x: Tensor, first: Tensor, smallest: Tensor, for_scratch: Tensor) -> Tensor:
        """What the next frame is put together from: CDNA's pictures, x_t, x_0 and a new one; (B, n, C, H, W)."""
        grid = functional.adaptive_avg_pool2d(smallest, SMALLEST).flatten(1)
        w = self.dense_w(grid).view(-1, self.transformed, self.kernel, self.kernel)
        scratch = torch.sigmoid(self.scratch(for_scratch))
        copies = torch.stack([x, first, scratch.to(x.dtype)], dim=1)
        return torch.cat([cdna(x, kernels(w).to(x.dtype)), copies], dim=1)


def kernels(w: Tensor) -> Tensor:
    """CDNA's kernels (B, n, k, k) from what the dense layer gives: plus the identity, not negative, of sum 1."""
    identity = torch.zeros_like(w[0, 0])
    identity[identity.shape[0] // 2, identity.shape[1] // 2] = 1
    w = torch.relu(w.float() + identity) + 1e-12
    return w / w.sum(dim=(2, 3), keepdim=True)


def cdna(x: Tensor, w: Tensor) -> Tensor:
    """x (B, C, H, W) filtered with each of its own kernels w (B, n, k, k) -> (B, n, C, H, W); edges are mirrored."""
    batch, n, side, _ = w.shape
    mirrored = symmetric(symmetric(x, side // 2).transpose(2, 3), side // 2).transpose(2, 3)
    filtered = functional.conv2d(mirrored.transpose(0, 1), w.flatten(0, 1)[:, None], groups=batch)  # (C, B * n, H, W)
    return filtered.view(x.shape[1], batch, n, *x.shape[2:]).permute(1, 2, 0, 3, 4)


def symmetric(x: Tensor, width: int) -> Tensor:
    """Mirror columns at either edge, the edge itself included: cb|abc|ba -> ba|abc|cb for 2."""
    if width == 0:
        return x
    return torch.cat([x[..., :width].flip(-1), x, x[..., -width:].flip(-1)], dim=-1)


class Posterior(nn.Module):
    """q(z_t | x_t, x_{t+1}): three convolutions of stride 2 and the mean over the picture."""

    def __init__(self, channels: int, nef: int, nz: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2 * channels, nef, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(nef, 2 * nef, 4, stride=2, padding=1, bias=False),
            instance_norm(2 * nef),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * nef, 4 * nef, 4, stride=2, padding=1, bias=False),
            instance_norm(4 * nef),
            nn.LeakyReLU(0.2),
        )
        self.mu = nn.Linear(4 * nef, nz)
        self.log_variance = nn.Linear(4 * nef, nz)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, C, H, W) -> mu and log sigma^2, each (B, T - 1, nz), float32 or wider."""
        pairs = torch.cat([x[:, :-1], x[:, 1:]], dim=2)
        features = self.net(pairs.flatten(0, 1)).mean(dim=(2, 3))
        wide = torch.promote_types(x.dtype, torch.float32)
        mu, log_variance = (
            head(features).to(wide).view(x.shape[0], -1, head.out_features) for head in (self.mu, self.log_variance)
        )
        return mu, log_variance.clamp(-10, 10)


@model.named("savp_vae")
class SAVPVAE(Predictor):
    """CDNA generator with a latent for each time step. `forward` is the prediction at the prior's mean, z = 0."""

    Settings: ClassVar[type[SAVPVAESettings]] = SAVPVAESettings

    paper = Paper(
        title="Stochastic Adversarial Video Prediction",
        authors="Lee, Alex X. and Zhang, Richard and Ebert, Frederik and Abbeel, Pieter and Finn, Chelsea and "
        "Levine, Sergey",
        venue="arXiv",
        year="2018",
        url="https://arxiv.org/abs/1804.01523",
    )

    settings: SAVPVAESettings

    def __init__(self, settings: SAVPVAESettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        self.generator = Generator(s)
        self.posterior = Posterior(s.channels, s.nef, s.nz)

    def check(self, frames: Tensor) -> None:
        """Refuse frames that the model cannot take, with a ValueError that names the remedy."""
        check_frames(frames, self.settings.channels, self.settings.patch, "set another size of the topology")

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        self.check(past)
        check_horizon(horizon)
        return self.predict(past, past.new_zeros(past.shape[0], past.shape[1] - 1 + horizon, self.settings.nz))

    def samples(self, past: Tensor, horizon: int, count: int, seeds: Sequence[int]) -> Iterator[Tensor]:
        """`count` draws; see `Predictor.samples`. A longer horizon does not change the earlier frames of a draw."""
        self.check(past)
        check_horizon(horizon)
        shape = (past.shape[1] - 1 + horizon, self.settings.nz)
        for k in range(count):
            noise = np.stack([np.random.default_rng([seed, k]).standard_normal(shape) for seed in seeds])
            yield self.predict(past, torch.from_numpy(noise).to(past))

    def predict(self, past: Tensor, noise: Tensor) -> Tensor:
        """The frames after past (B, T, C, H, W), for standard normal noise (B, T - 1 + horizon, nz)."""
        seen = past.shape[1]
        z = noise
        if seen > 1:
            mu, log_variance = self.posterior(past)
            known = mu + (log_variance / 2).exp() * noise[:, : seen - 1]
            z = torch.cat([known.to(noise.dtype), noise[:, seen - 1 :]], dim=1)
        return self.unroll(past, z)[:, seen - 1 :]

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """Error of all T + T' - 1 next frames made with z of the posterior, plus the annealed divergence."""
        self.check(past)
        self.check(future)
        s, x = self.settings, torch.cat([past, future], dim=1)
        mu, log_variance = self.posterior(x)
        noise = np.random.default_rng([seed, step, 1]).standard_normal(mu.shape)
        z = mu + (log_variance / 2).exp() * torch.from_numpy(noise).to(mu)
        truth = sampled_truth(step, seed, (x.shape[0], future.shape[1] - 1), s.sampling_k)
        wide = torch.promote_types(x.dtype, torch.float32)
        predicted, frames = self.unroll(x[:, :-1], z.to(x.dtype), past.shape[1], truth).to(wide), x[:, 1:].to(wide)
        error = (predicted - frames).abs().mean() if s.loss == "l1" else functional.mse_loss(predicted, frames)
        divergence: Tensor = (log_variance.exp() + mu**2 - 1 - log_variance).sum(dim=2).mean() / 2
        return error + kl_weight(s, step) * divergence

    def unroll(self, frames: Tensor, z: Tensor, seen: int = 0, truth: NDArray[np.bool_] | None = None) -> Tensor:
        """Run the generator for every z.

        Parameters
        ----------
        frames: (B, T, C, H, W), true frames. z: (B, steps, nz).
        seen: the first frames that are always read; by default, all of `frames`.
        truth: (B, steps - seen), where a later time step reads the true frame instead of the prediction;
            by default nowhere.

        Returns
        -------
        (B, steps, C, H, W): output t is the prediction of frame t + 1.
        """
        seen = seen or frames.shape[1]
        state = self.generator.start(frames[:, 0])
        predicted: list[Tensor] = []
        for t in range(z.shape[1]):
            x = frames[:, t] if t < seen else predicted[-1]
            if t >= seen and truth is not None and truth[:, t - seen].any():
                given = torch.from_numpy(truth[:, t - seen]).to(frames.device).view(-1, 1, 1, 1)
                x = torch.where(given, frames[:, t], predicted[-1])
            x, state = self.advance(x, (frames[:, 0], z[:, t], state))
            predicted.append(x.to(frames.dtype))
        return torch.stack(predicted, dim=1)

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The generator's step, kept for the backward pass or, with `checkpoint`, recomputed there."""
        if not (self.checkpoint and torch.is_grad_enabled()):
            return self.step(x, state)
        return recomputed(self.step, x, state)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x_t and (x_0, z_t, the generator's state) -> x_{t+1} and the generator's next state."""
        first, z, inner = state
        y: tuple[Tensor, State] = self.generator(x, first, z, inner)
        return y

    def compile_cells(self, backend: str = "inductor") -> None:
        """Compile the generator's time step."""
        self.compiled = True
        self.generator.compile(backend=backend)


def kl_weight(settings: SAVPVAESettings, step: int) -> float:
    """Of the divergence at a step: 0 until `kl_from`, then linearly up to its full value at `kl_to`."""
    span = max(settings.kl_to - settings.kl_from, 1)
    return settings.kl_weight * min(max((step - settings.kl_from) / span, 0.0), 1.0)


def sampled_truth(step: int, seed: int, shape: tuple[int, int], k: float) -> NDArray[np.bool_]:
    """Scheduled sampling by inverse sigmoid decay: where the true frame is read, a pure function of its arguments.

    The probability k / (k + exp(step / k)) (Bengio et al. 2015) counts as 0 below 0.001, as in the authors' code.
    """
    probability = 1 / (1 + math.exp(min(step / k - math.log(k), 700.0)))
    return np.random.default_rng([seed, step]).random(shape) < (probability if probability >= 0.001 else 0.0)
