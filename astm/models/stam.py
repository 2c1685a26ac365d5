"""STAM: a spatiotemporal attention based memory for video prediction.

Chang et al., IEEE Transactions on Multimedia 2022; https://github.com/ZhengChang467/STAM-TMM (MIT). It
is the journal extension of ASTM by the same authors and the only one with public code: ASTM plus the same attention
over the spatial memory, so that equation (4) of ASTM becomes M^k_t = f o EIFAG(M of the last tau cells, f) + i o g,
where the cells count along the zig-zag: layer after layer, time step after time step.

Defaults are the public configuration for Moving MNIST: 4 layers of 32, 3 x 3 x 3, tau 5, LayerNorm per element. The
temporal history is aliased (see `astm.models.astm`), as the weights were trained; the spatial one is not.
"""

from typing import Literal

from astm.models.astm import ASTM, ASTMSettings
from astm.models.recurrent import Count, OddSide
from astm.predictor import model
from astm.pretrained.provenance import Paper


class STAMSettings(ASTMSettings):
    """The public configuration."""

    hidden: Count = 32
    kernel: tuple[OddSide, OddSide, OddSide] = (3, 3, 3)
    norm: Literal["none", "group", "layer"] = "layer"
    history: Literal["paper", "alias"] = "alias"


@model
class STAM(ASTM):
    """ASTM with attention over the last tau spatial memories as well."""

    Settings = STAMSettings

    paper = Paper(
        title="STAM: A SpatioTemporal Attention Based Memory for Video Prediction",
        authors="Chang, Zheng and Zhang, Xinfeng and Wang, Shanshe and Ma, Siwei and Gao, Wen",
        venue="IEEE Transactions on Multimedia",
        year="2022",
        url="https://github.com/ZhengChang467/STAM-TMM",
    )

    @property
    def spatial(self) -> int:
        return self.settings.tau
