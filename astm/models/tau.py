"""TAU: temporal attention unit, towards efficient spatiotemporal predictive learning.

Tan, Gao, Wu, Xu, Xia, Li, Li, CVPR 2023, https://arxiv.org/abs/2206.12126: SimVP's encoder and decoder, and a
translator whose attention has two factors: statical attention within a frame, by large kernels, and dynamical
attention between frames, by squeeze and excitation of the channels, which hold the frames. Defaults are those of the
authors' code for Moving MNIST (OpenSTL, https://github.com/chengtan9907/OpenSTL).

The loss adds `alpha` times the differential divergence: how far the distribution over pixels of a predicted frame's
change is from that of the true change, a softmax at temperature 0.1 of each.

From that code, not in the paper:
* The divergence is a mean over pixels instead of their sum, so 1 / (C H W) of it; there is none for two frames.
* The attention starts with PyTorch's weights, the mixing part with a variance of 2 / fan-out.
Stochastic depth and other lengths are as in `astm.models.simvp`.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.simvp import Block, SimVP, SimVPSettings
from astm.predictor import model
from astm.pretrained.provenance import Counts, Paper

TEMPERATURE, EPSILON = 0.1, 1e-12


class TAUSettings(SimVPSettings):
    """The published size for Moving MNIST."""

    alpha: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the differential divergence."""


class TemporalAttention(nn.Module):
    """Statical attention of large kernels times dynamical attention of channels, gating what came in; a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = width // max(width // 16, 4)
        self.proj_1 = nn.Conv2d(width, width, 1)
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.dilated = nn.Conv2d(width, width, 7, padding=9, groups=width, dilation=3)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.squeeze = nn.Linear(width, squeezed, bias=False)
        self.excite = nn.Linear(squeezed, width, bias=False)
        self.proj_2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.proj_1(x))
        SA = self.pointwise(self.dilated(self.depthwise(y)))  # (B, width, h, w)
        DA = torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean(dim=(2, 3))))))  # (B, width)
        z: Tensor = x + self.proj_2(DA[:, :, None, None] * SA * y)
        return z


class TAUBlock(Block):
    """Of the translator."""

    def attend(self, width: int) -> nn.Module:
        return TemporalAttention(width)

    def started(self) -> tuple[nn.Module, ...]:
        return (self.mixing,)


@model
class TAU(SimVP):
    """SimVP with temporal attention units as its translator."""

    Settings = TAUSettings

    paper = Paper(
        title="Temporal Attention Unit: Towards Efficient Spatiotemporal Predictive Learning",
        authors=(
            "Tan, Cheng and Gao, Zhangyang and Wu, Lirong and Xu, Yongjie and Xia, Jun and Li, Siyuan and Li, Stan Z."
        ),
        venue="CVPR",
        year="2023",
        url="https://arxiv.org/abs/2206.12126",
    )
    published = Counts(44.7, 16.0, "")

    settings: TAUSettings

    def block(self, inputs: int, outputs: int) -> Block:
        return TAUBlock(inputs, outputs, self.settings.expansion)

    def criterion(self, predicted: Tensor, future: Tensor) -> Tensor:
        """The mean squared error plus `alpha` times the differential divergence."""
        return super().criterion(predicted, future) + self.settings.alpha * divergence(predicted, future)


def divergence(predicted: Tensor, future: Tensor) -> Tensor:
    """How far predicted changes between frames (B, T, C, H, W) are from the true ones; 0 for fewer than 3 frames."""
    if future.shape[1] < 3:
        return predicted.new_zeros(())
    p, q = (
        torch.softmax(frames.diff(dim=1).flatten(2) / TEMPERATURE, dim=2) for frames in (predicted, future)
    )  # (B, T-1, C*H*W)
    return (p * torch.log(p / (q + EPSILON) + EPSILON)).mean()
