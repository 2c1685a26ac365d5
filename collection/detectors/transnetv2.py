"""TransNetV2 (Soucek and Lokoc 2020, arXiv:2008.04838): the network alone, in inference form.

Modules carry the paper's names, which are also those of the released weights: a DDCNN cell (dilated deep convolutional
network) of four dilations, two of them stacked with a shortcut and spatial pooling to an SDDCNN block, three blocks of
F = 16, 32 and 64 filters; beside them the similarities of learned features and of colour histograms between each frame
and its 101 neighbours.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

HEIGHT, WIDTH = 27, 48
DILATIONS = (1, 2, 4, 8)
FILTERS = (16, 32, 64)
"""F of the three SDDCNN blocks."""
NEIGHBOURS = 50
"""Frames on either side with which a frame is compared."""


class Conv3D(nn.Module):
    """A 3x3x3 convolution factorised into space (1x3x3) and dilated time (3x1x1); no bias."""

    def __init__(self, channels: int, filters: int, dilation: int) -> None:
        super().__init__()
        space = nn.Conv3d(channels, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
        time = nn.Conv3d(
            2 * filters, filters, (3, 1, 1), padding=(dilation, 0, 0), dilation=(dilation, 1, 1), bias=False
        )
        self.layers = nn.ModuleList([space, time])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, filters, T, H, W)."""
        space, time = self.layers
        found: Tensor = time(space(x))
        return found


class DDCNN(nn.Module):
    """One cell: the four dilations side by side, normalised together."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        for dilation in DILATIONS:
            self.add_module(f"Conv3D_{dilation}", Conv3D(channels, filters, dilation))
        self.bn = nn.BatchNorm3d(len(DILATIONS) * filters, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, 4F, T, H, W), without activation."""
        normalised: Tensor = self.bn(torch.cat([self.get_submodule(f"Conv3D_{d}")(x) for d in DILATIONS], dim=1))
        return normalised


class SDDCNN(nn.Module):
    """Two cells with a shortcut from the first over the second, then half the height and width."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([DDCNN(channels, filters), DDCNN(len(DILATIONS) * filters, filters)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, 4F, T, H // 2, W // 2)."""
        first, second = self.DDCNN
        shortcut = functional.relu(first(x))
        return functional.avg_pool3d(functional.relu(second(shortcut)) + shortcut, (1, 2, 2))


class Similarity(nn.Module):
    """What a frame has in common with each of its neighbours, as 128 features."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * NEIGHBOURS + 1, 128)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) descriptions of frames -> (B, T, 128)."""
        x = functional.normalize(x, dim=2)
        cosine = functional.pad(x @ x.transpose(1, 2), (NEIGHBOURS, NEIGHBOURS))  # (B, T, T + 100)
        # Row t of the padded matrix holds frame t - 50 in column t: its diagonals are the neighbourhoods.
        near = torch.stack([row[:, t : t + 2 * NEIGHBOURS + 1] for t, row in enumerate(cosine.unbind(1))], dim=1)
        return functional.relu(self.fc(near))


class FrameSimilarity(Similarity):
    """`Similarity` of the blocks' features, averaged over the picture and projected to 128 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(sum(len(DILATIONS) * f for f in FILTERS), 128)

    def of(self, blocks: Sequence[Tensor]) -> Tensor:
        """Features (B, 4F, T, h, w) of each block -> (B, T, 128)."""
        means = torch.cat([block.mean(dim=(3, 4)) for block in blocks], dim=1)  # (B, 448, T)
        found: Tensor = self(self.projection(means.transpose(1, 2)))
        return found


def histograms(frames: Tensor) -> Tensor:
    """(B, T, H, W, 3) uint8 R, G, B -> (B, T, 512) counts, three bits of each channel."""
    r, g, b = (frames.flatten(2, 3) >> 5).long().unbind(-1)
    colours = r * 64 + g * 8 + b  # (B, T, H * W)
    counts = torch.zeros(*colours.shape[:2], 512, device=frames.device)
    return counts.scatter_add_(2, colours, torch.ones((), device=frames.device).expand(colours.shape))


class TransNetV2(nn.Module):
    """The whole network. A transition has one peak in the first output and covers its frames in the second."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *(len(DILATIONS) * f for f in FILTERS))
        self.SDDCNN = nn.ModuleList([SDDCNN(c, f) for c, f in zip(channels, FILTERS, strict=False)])
        self.frame_sim_layer = FrameSimilarity()
        self.color_hist_layer = Similarity()
        pooled = channels[-1] * (HEIGHT >> len(FILTERS)) * (WIDTH >> len(FILTERS))
        self.fc1 = nn.Linear(128 + 128 + pooled, 1024)
        self.cls_layer1 = nn.Linear(1024, 1)
        self.cls_layer2 = nn.Linear(1024, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 27, 48, 3) uint8 R, G, B -> probabilities (B, T, 2): single frame, all frames."""
        x = frames.permute(0, 4, 1, 2, 3).float() / 255  # (B, 3, T, 27, 48)
        blocks = [x := block(x) for block in self.SDDCNN]
        x = x.permute(0, 2, 3, 4, 1).flatten(2)  # (B, T, 3 * 6 * 256)
        x = torch.cat([self.color_hist_layer(histograms(frames)), self.frame_sim_layer.of(blocks), x], dim=2)
        x = functional.relu(self.fc1(x))  # (B, T, 1024)
        return torch.cat([self.cls_layer1(x), self.cls_layer2(x)], dim=2).sigmoid()


def load(weights: Path) -> TransNetV2:
    """The network with the released weights, ready to run. Raises what `torch.load` does."""
    with torch.device("meta"):  # nothing is drawn at random, so that generators stay as they were
        network = TransNetV2()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), assign=True)
    return network.eval()
