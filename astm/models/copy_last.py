"""The floor: every future frame is the last frame seen. No parameters; a model that loses to it has learnt nothing."""

from torch import Tensor

from astm.predictor import Predictor, check_frames, check_horizon, model


@model.named("copy_last")
class CopyLast(Predictor):
    """Repeat the last frame; any size, any number of channels."""

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        check_frames(past, channels=past.shape[2] if past.ndim == 5 else 0, patch=1)
        check_horizon(horizon)
        return past[:, -1:].repeat(1, horizon, 1, 1, 1)
