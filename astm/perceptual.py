"""ST-LPIPS (Ghildyal, Liu 2022, https://arxiv.org/abs/2207.13686): a perceptual distance tolerant of small shifts.

Features of an AlexNet whose strides are replaced by blurs (Zhang 2019, https://arxiv.org/abs/1904.11486), scaled to
length 1 at each position; squared differences, weighted by channel, averaged over the picture and added up over five
layers (LPIPS, Zhang et al. 2018, https://arxiv.org/abs/1801.03924, equation 1). It is not LPIPS: network, weights and
values differ. Weights are those of the authors' package `stlpips-pytorch` 0.0.2 (BSD-2-Clause); of it only that file
is read.
"""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlst.exits import MissingExtraError

PACKAGE, FILE = "stlpips-pytorch", "alex_shift_tolerant.pth"
SMALLEST = 21
"""Pixels of a side that all layers take."""
BATCH = 32
"""Pictures that go through the network at a time: 64 MB of the first layer's features at 64 x 64."""


class Blur(nn.Module):
    """Every second pixel of a picture that was blurred by (1, 2, 1) both ways, mirrored by 2 pixels at borders."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.zeros(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (2, 2, 2, 2), "reflect"), self.filt, stride=2, groups=x.shape[1])


class Features(nn.Module):
    """Outputs of the five layers for pictures (B, 3, H, W) in [-1, 1]; names of parameters are those of the file."""

    def __init__(self) -> None:
        super().__init__()
        relu, pool = nn.ReLU(), nn.MaxPool2d(3, 1)
        self.slice1 = _numbered(0, nn.Conv2d(3, 64, 11, padding=2), Blur(64), relu)
        self.slice2 = _numbered(3, pool, Blur(64), nn.Conv2d(64, 192, 5, padding=2), relu)
        self.slice3 = _numbered(7, pool, Blur(192), nn.Conv2d(192, 384, 3, padding=1), relu)
        self.slice4 = _numbered(11, nn.Conv2d(384, 256, 3, padding=1), relu)
        self.slice5 = _numbered(13, nn.Conv2d(256, 256, 3, padding=1), relu)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for part in self.children():
            x = part(x)
            found.append(x)
        return found


class ShiftTolerant(nn.Module):
    """Distances (B,) of pictures (B, 3, H, W) in [0, 1]."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = Features()
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        self.weights = nn.ParameterList(torch.zeros(1, c, 1, 1) for c in (64, 192, 384, 256, 256))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        first, second = (self.net((2 * x - 1 - self.shift) / self.scale) for x in (a, b))
        parts = [
            functional.conv2d((_unit(x) - _unit(y)) ** 2, weight).mean(dim=(1, 2, 3))
            for x, y, weight in zip(first, second, self.weights, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)


@torch.no_grad()
def distance(pred: Tensor, target: Tensor) -> Tensor:
    """ST-LPIPS with AlexNet of pictures (B, T, C, H, W), clipped to [0, 1], C 1 or 3: (B, T) float64, less is better.

    Raises
    ------
    MissingExtraError: the weights are not installed. ValueError: pictures smaller than 21 x 21.
    """
    if min(pred.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"pictures of {pred.shape[-2]} x {pred.shape[-1]} are too small for ST-LPIPS, which takes "
            f"{SMALLEST} x {SMALLEST} and more; leave out stlpips_alex"
        )
    net = network().to(pred.device)
    pairs = [x.float().clamp(0, 1).flatten(0, 1).expand(-1, 3, -1, -1) for x in (pred, target)]
    parts = [net(a, b) for a, b in zip(*(torch.split(x, BATCH) for x in pairs), strict=True)]
    return torch.cat(parts).double().view(pred.shape[:2])


@lru_cache(maxsize=1)
def network() -> ShiftTolerant:
    """The network with its weights. Raises `MissingExtraError`."""
    tensors = torch.load(weights(), map_location="cpu", weights_only=True)
    net = ShiftTolerant()
    given = {name: tensor for name, tensor in tensors.items() if name.startswith("net.")}
    given |= {name: tensors[f"scaling_layer.{name}"] for name in ("shift", "scale")}
    given |= {f"weights.{i}": tensors[f"lin{i}.model.1.weight"] for i in range(5)}
    net.load_state_dict(given)
    return net.eval().requires_grad_(False)


def weights() -> Path:
    """The file of the weights in the installed package, which is not imported. Raises `MissingExtraError`."""
    try:
        found = [file for file in files(PACKAGE) or () if file.name == FILE]
    except PackageNotFoundError:
        found = []
    if not found:
        raise MissingExtraError(
            f"stlpips_alex needs the weights of {PACKAGE} (64 MB); install them with: pip install 'mlst[perceptual]'"
        )
    return Path(str(found[0].locate()))


def _unit(features: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + 1e-10)


def _numbered(first: int, *layers: nn.Module) -> nn.Sequential:
    """Layers under the names of their places in the whole network."""
    made = nn.Sequential()
    for i, layer in enumerate(layers, start=first):
        made.add_module(str(i), layer)
    return made
