"""PredRNN-V2: a recurrent neural network for spatiotemporal predictive learning.

Wang, Wu, Zhang, Gao, Wang, Yu, Long, TPAMI 2022, https://arxiv.org/abs/2103.09504: PredRNN, with memory decoupling
and reverse scheduled sampling, in the paper's letters; settings of the authors' code
(https://github.com/thuml/predrnn-pytorch). Departures from the paper are those of `astm.models.predrnn`.

* Decoupling: what is added to the two memories, Delta C and Delta M, is pushed apart: one 1 x 1 convolution for all
  layers, then the mean over layers, time steps and channels of |cos| between the two, over positions, is `beta` of the
  loss. It concerns training alone and is not computed in prediction.
* Reverse scheduled sampling: while training, the past is not always true either. Up to `sampling_from` each frame from
  the second on is the true one with probability 1/2; from then to `sampling_steps` that grows exponentially to 1 over
  the past, on the scale `sampling_alpha`, and falls linearly to 0 over the future.
"""

import math
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.predrnn import PredRNN, PredRNNSettings, STLSTMCell
from astm.models.recurrent import State
from astm.predictor import Steps, model, patchify
from astm.pretrained.provenance import Counts, Paper


class PredRNNv2Settings(PredRNNSettings):
    """4 layers of 128, 5 x 5."""

    beta: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the decoupling loss; 0.01 for KTH."""
    sampling_from: Steps = 25_000
    """Reverse scheduled sampling changes from this step on, and ends at `sampling_steps`."""
    sampling_alpha: Annotated[float, Field(gt=0)] = 2_500.0
    """Steps in which the gap to 1, over the past, falls to 1/e."""


class DecoupledCell(STLSTMCell):
    """An ST-LSTM that tells what it added to its memories."""

    def forward(self, X: Tensor, H: Tensor, C: Tensor, M: Tensor) -> tuple[Tensor, ...]:
        """As in `STLSTMCell`, and Delta C^l_t and Delta M^l_t."""
        return self.update(X, H, C, M)


@model.named("predrnn_v2")
class PredRNNv2(PredRNN):
    """PredRNN with memory decoupling. State: H per layer, C per layer, M, and the sum of |cos| so far."""

    Settings = PredRNNv2Settings

    paper = Paper(
        title="PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning",
        authors=(
            "Wang, Yunbo and Wu, Haixu and Zhang, Jianjin and Gao, Zhifeng and Wang, Jianmin and Yu, Philip S. and "
            "Long, Mingsheng"
        ),
        venue="IEEE Transactions on Pattern Analysis and Machine Intelligence",
        year="2022",
        url="https://arxiv.org/abs/2103.09504",
    )
    published = Counts(23.9, 116.6, "")

    settings: PredRNNv2Settings

    def __init__(self, settings: PredRNNv2Settings | None = None) -> None:
        super().__init__(settings)
        n = self.settings.hidden
        self.adapter = nn.Conv2d(n, n, 1, bias=False)

    def cell(self, inputs: int) -> STLSTMCell:
        return DecoupledCell(inputs, self.settings)

    @property
    def steady_from(self) -> float:
        """The end of reverse scheduled sampling."""
        return self.settings.sampling_steps

    def start(self, x: Tensor) -> State:
        return *super().start(x), x.new_zeros(())

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        H, C, M, coupled = state
        H_t, C_t = [], []
        for cell, h, c in zip(self.cells, H, C, strict=True):
            x, c_t, M, dC, dM = cell(x, h, c, M)
            H_t.append(x)
            C_t.append(c_t)
            if torch.is_grad_enabled():  # in training alone
                coupled = coupled + self.coupling(dC, dM)
        return self.decoder(x), (tuple(H_t), tuple(C_t), M, coupled)

    def coupling(self, dC: Tensor, dM: Tensor) -> Tensor:
        """The mean over samples and channels of |cos| between what was added to C and to M, (B, hidden, h, w)."""
        return (
            functional.cosine_similarity(self.adapter(dC).flatten(2), self.adapter(dM).flatten(2), dim=2).abs().mean()
        )

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """The mean squared error of all T + T' - 1 outputs plus `beta` times the coupling; see `Predictor.loss`."""
        self.check(past)
        self.check(future)
        s, T = self.settings, past.shape[1]
        frames = patchify(torch.cat([past, future], dim=1), s.patch)
        steps = frames.shape[1] - 1
        truth = reverse_truth(step, seed, (len(past), steps - 1), T - 1, s)
        predicted, state = self.run(frames[:, :-1], steps, 1, truth, self.start(frames[:, 0]))
        wide = torch.promote_types(frames.dtype, torch.float32)
        error = self.criterion(predicted.to(wide), frames[:, 1:].to(wide))
        coupling: Tensor = state[3].to(wide) / (steps * s.layers)
        return error + s.beta * coupling


def reverse_truth(
    step: int, seed: int, shape: tuple[int, int], past: int, settings: PredRNNv2Settings
) -> NDArray[np.bool_]:
    """Where the true frame is read, (B, T + T' - 2) from the second frame on, of which `past` are of the past."""
    s, (batch, decisions) = settings, shape
    if step >= s.sampling_steps:
        known, unknown = 1.0, 0.0
    elif step < s.sampling_from:
        known = unknown = 0.5
    else:
        known = 1 - 0.5 * math.exp(-(step - s.sampling_from) / s.sampling_alpha)
        unknown = 0.5 * (s.sampling_steps - step) / (s.sampling_steps - s.sampling_from)
    chance = np.where(np.arange(decisions) < past, known, unknown)
    return np.random.default_rng([seed, step]).random((batch, decisions)) < chance
