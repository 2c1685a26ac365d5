"""Perceptual distances: LPIPS (Zhang et al. 2018, https://arxiv.org/abs/1801.03924) and ST-LPIPS (Ghildyal, Liu 2022,
https://arxiv.org/abs/2207.13686), which is tolerant of small shifts.

Features of an AlexNet, scaled to length 1 at each position; squared differences, weighted by channel, averaged over
the picture and added up over five layers (LPIPS, equation 1). ST-LPIPS is not LPIPS: strides of its network are
replaced by blurs (Zhang 2019, https://arxiv.org/abs/1904.11486); weights and values differ.

Weights of ST-LPIPS are those of the authors' package `stlpips-pytorch` 0.0.2 (BSD-2-Clause); of it only that file is
read. Those of LPIPS, version 0.1, come with no package that is light enough: the user names a folder of the two files.
"""

import pickle
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlst.exits import MissingExtraError, UserError

PACKAGE, FILE = "stlpips-pytorch", "alex_shift_tolerant.pth"
SMALLEST = 21
"""Pixels of a side that all layers take."""
SMALLEST_LPIPS = 31
LPIPS_FILES = ("alexnet*.pth", "alex.pth")
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of channels in [-1, 1], as LPIPS has them: mean and deviation of ImageNet, rounded."""
BATCH = 32
"""Pictures that go through the network at a time: 64 MB of the first layer's features at 64 x 64."""


_named: list[Path] = []
"""Folders of LPIPS' weights that commands named; the last one counts."""


class WeightsError(UserError):
    """Weights of a metric that are not named, not there or not its own."""


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


class AlexNet(nn.Module):
    """The same of an AlexNet as it was published; names of parameters are those of torchvision's file."""

    def __init__(self) -> None:
        super().__init__()
        relu, pool = nn.ReLU(), nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), relu, pool),
            *(nn.Conv2d(64, 192, 5, padding=2), relu, pool),
            *(nn.Conv2d(192, 384, 3, padding=1), relu),
            *(nn.Conv2d(384, 256, 3, padding=1), relu),
            *(nn.Conv2d(256, 256, 3, padding=1), relu),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for layer in self.features:
            x = layer(x)
            found += [x] if isinstance(layer, nn.ReLU) else []
        return found


class Perceptual(nn.Module):
    """Distances (B,) of pictures (B, 3, H, W) in [0, 1], by the features that a network finds."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Features | AlexNet) -> None:
        super().__init__()
        self.net = net
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


def st_lpips(pred: Tensor, target: Tensor) -> Tensor:
    """ST-LPIPS with AlexNet of pictures (B, T, C, H, W), clipped to [0, 1], C 1 or 3: (B, T) float64, less is better.

    Raises
    ------
    MissingExtraError: the weights are not installed. ValueError: pictures smaller than 21 x 21.
    """
    _check_size(pred, SMALLEST, "stlpips_alex")
    return distance(network(), pred, target)


def lpips(pred: Tensor, target: Tensor) -> Tensor:
    """LPIPS 0.1 with AlexNet, as `st_lpips`.

    Raises
    ------
    WeightsError: `use` has named no folder. ValueError: pictures smaller than 31 x 31.
    """
    if not _named:
        raise WeightsError(
            f"lpips_alex needs weights: write lpips_alex=FOLDER, with {' and '.join(LPIPS_FILES)} in it"
        )
    _check_size(pred, SMALLEST_LPIPS, "lpips_alex")
    return distance(lpips_network(_named[-1]), pred, target)


def use(folder: Path) -> None:
    """Name the folder of LPIPS' weights. Raises `WeightsError` where they cannot be read."""
    lpips_network(folder)
    _named.append(folder)


@torch.no_grad()
def distance(net: Perceptual, pred: Tensor, target: Tensor) -> Tensor:
    """Distances (B, T) float64 of pictures (B, T, C, H, W), clipped to [0, 1], C 1 or 3."""
    net = net.to(pred.device)
    pairs = [x.float().clamp(0, 1).flatten(0, 1).expand(-1, 3, -1, -1) for x in (pred, target)]
    parts = [net(a, b) for a, b in zip(*(torch.split(x, BATCH) for x in pairs), strict=True)]
    return torch.cat(parts).double().view(pred.shape[:2])


def _check_size(pictures: Tensor, smallest: int, name: str) -> None:
    if min(pictures.shape[-2:]) < smallest:
        raise ValueError(
            f"pictures of {pictures.shape[-2]} x {pictures.shape[-1]} are too small for {name}, which takes "
            f"{smallest} x {smallest} and more; leave it out"
        )


@lru_cache(maxsize=1)
def network() -> Perceptual:
    """The network of ST-LPIPS with its weights. Raises `MissingExtraError`."""
    tensors = torch.load(weights(), map_location="cpu", weights_only=True)
    given = {name: tensor for name, tensor in tensors.items() if name.startswith("net.")}
    given |= {name: tensors[f"scaling_layer.{name}"] for name in ("shift", "scale")}
    return _filled(Perceptual(Features()), given, tensors)


NO_LPIPS = "these are not the weights of LPIPS with AlexNet"


@lru_cache(maxsize=2)
def lpips_network(folder: Path) -> Perceptual:
    """The network of LPIPS with the weights of torchvision's AlexNet and the authors' for its channels.

    Raises
    ------
    WeightsError: a file is missing, or is not such a file. They are read with `weights_only=True`.
    """
    found = {name: sorted(folder.glob(name)) for name in LPIPS_FILES}
    if missing := [name for name, paths in found.items() if not paths]:
        raise WeightsError(
            f"{folder} has no {' and no '.join(missing)}: it must hold torchvision's weights of AlexNet and those of "
            f"the package lpips (lpips/weights/v0.1); see docs/evaluation.md"
        )
    try:
        features, linear = (torch.load(paths[0], map_location="cpu", weights_only=True) for paths in found.values())
        given = {f"net.{name}": tensor for name, tensor in features.items() if name.startswith("features.")}
        given |= {"shift": torch.tensor(SHIFT).view(1, 3, 1, 1), "scale": torch.tensor(SCALE).view(1, 3, 1, 1)}
        return _filled(Perceptual(AlexNet()), given, linear)
    except pickle.UnpicklingError:  # whose text advises to run what the file holds
        raise WeightsError(f"{folder}: {NO_LPIPS}: a file holds more than tensors, or is damaged") from None
    except KeyError as why:
        raise WeightsError(f"{folder}: {NO_LPIPS}: {why} is missing") from None
    except (OSError, RuntimeError, EOFError, AttributeError) as why:
        raise WeightsError(f"{folder}: {NO_LPIPS}: {str(why)[:300]}") from None


def _filled(net: Perceptual, given: Mapping[str, Tensor], linear: Mapping[str, Tensor]) -> Perceptual:
    net.load_state_dict({**given, **{f"weights.{i}": linear[f"lin{i}.model.1.weight"] for i in range(5)}})
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
