"""What the models without recurrence share: T frames go in, the T that follow come out at once.

T is fixed by the weights (`frames`), which their papers leave at that. Of a longer past the last T frames count;
before a shorter one its first frame is repeated. A horizon beyond T continues from the predicted frames, T by T, as in
OpenSTL (https://github.com/chengtan9907/OpenSTL); a shorter one is cut. Training is the mean squared error of the
predicted frames, over the further rounds too if the future is longer.
"""

import torch
from torch import Tensor

from astm.models.recurrent import Count
from astm.predictor import ModelSettings, Predictor, check_frames, check_horizon


class OneShotSettings(ModelSettings):
    """Settings of every such model."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB."""
    frames: Count = 10
    """T, frames in and frames out."""


class OneShot(Predictor):
    """A model that predicts T frames at once."""

    settings: OneShotSettings

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        self.check(past)
        check_horizon(horizon)
        return self.rounds(past, horizon, None)

    def shot(self, frames: Tensor, keep: Tensor | None) -> Tensor:
        """T frames, (B, T, C, H, W) -> the T that follow, of the same shape.

        `keep` says which branches of which sample stay, for models with stochastic depth; None for all.
        """
        raise NotImplementedError

    def check(self, past: Tensor) -> None:
        """Refuse frames that the model cannot take, with a ValueError that names the remedy."""
        check_frames(past, self.settings.channels, int(getattr(self.settings, "patch", 1)))

    def rounds(self, past: Tensor, horizon: int, keep: Tensor | None) -> Tensor:
        """The frames after past (B, T', C, H, W), T by T; `keep` is of each round, (rounds, ...), or None."""
        T = self.settings.frames
        missing = max(0, T - past.shape[1])
        frames = torch.cat([past[:, :1]] * missing + [past[:, -T:]], dim=1)
        predicted: list[Tensor] = []
        for k in range(-(-horizon // T)):
            frames = self.shot(frames, None if keep is None else keep[k]).to(past.dtype)
            predicted.append(frames)
        return torch.cat(predicted, dim=1)[:, :horizon]
