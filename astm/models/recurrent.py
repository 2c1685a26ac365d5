"""What the recurrent models share: patches in, one frame ahead at each time step, predictions fed back.

This is the wrapper that the PredRNN family has in common (Wang et al. 2017, https://papers.nips.cc/paper/6689, and
their public code): frames become patches (space to depth), the network reads the true frames of the past, then its own
predictions; while training, a true frame replaces a prediction with a probability that falls with the step (scheduled
sampling, Bengio et al. 2015, https://arxiv.org/abs/1506.03099), and every output counts in the loss, those over the
past included.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from astm.predictor import ModelSettings, Predictor, Steps, check_frames, check_horizon, patchify, unpatchify

State: TypeAlias = tuple[Any, ...]
"""Nested tuples of tensors: whatever a model carries from one time step to the next."""

MOST = 1 << 16
"""Of anything that a model has several of; those of papers stay below 1000."""
Count: TypeAlias = Annotated[int, Field(ge=1, le=MOST)]


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError(f"a kernel's sides must be odd to keep the picture's size; {side - 1} or {side + 1} would do")
    return side


OddSide: TypeAlias = Annotated[Count, AfterValidator(_odd)]


class RecurrentSettings(ModelSettings):
    """Settings of every recurrent model."""

    channels: Count = 1
    """Of a frame: 1 grey, 3 RGB."""
    patch: Count = 4
    """Side p of the square patches that become channels. 4 for 64 x 64, 8 for 128 x 128, 16 for 256 x 256: the grid
    is then 16 x 16 throughout, as in the authors' configurations."""
    sampling_steps: Steps = 50_000
    """Scheduled sampling ends here: the probability of seeing the true frame falls from 1 to 0 linearly. With 0 the
    model is trained on its own predictions from the start."""

    @property
    def depth(self) -> int:
        """Channels of a patched frame, p * p * C."""
        return self.patch * self.patch * self.channels

    @property
    def tile(self) -> int:
        """Side of the squares of pixels that must tile a frame: the patch, or more where the model halves its grid."""
        return self.patch

    def misfit(self, height: int, width: int) -> str:
        if height % self.tile == 0 and width % self.tile == 0:
            return ""
        return f"{height} x {width} pixels are not multiples of {self.tile}; crop, pad or resize them"


class Recurrent(Predictor):
    """A model that reads one patched frame per time step and predicts the next one."""

    settings: RecurrentSettings

    @property
    def steady_from(self) -> float:
        """The end of scheduled sampling."""
        return self.settings.sampling_steps if type(self).loss is Recurrent.loss else super().steady_from

    def start(self, x: Tensor) -> State:
        """The state before the first frame x, (B, p*p*C, h, w)."""
        raise NotImplementedError

    def begin(self, x: Tensor, steps: int, step: int, seed: int) -> State:
        """The state before the first of `steps` frames while training, with what is drawn for them."""
        return self.start(x)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From frame t, (B, p*p*C, h, w), and the state: the predicted frame t + 1 and the next state."""
        raise NotImplementedError

    def check(self, frames: Tensor) -> None:
        """Refuse frames that the model cannot take, with a ValueError that names the remedy."""
        check_frames(frames, self.settings.channels, self.settings.tile)
        if misfit := self.settings.misfit(*frames.shape[3:]):
            raise ValueError(misfit)

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        self.check(past)
        check_horizon(horizon)
        frames = patchify(past, self.settings.patch)
        predicted = self.unroll(frames, past.shape[1] + horizon - 1)[:, past.shape[1] - 1 :]
        return unpatchify(predicted, self.settings.patch).to(past.dtype)

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """`criterion` over all T + T' - 1 outputs, with scheduled sampling; see `Predictor.loss`."""
        self.check(past)
        self.check(future)
        frames = patchify(torch.cat([past, future], dim=1), self.settings.patch)
        truth = self.truth(step, seed, (past.shape[0], future.shape[1] - 1))
        steps = frames.shape[1] - 1
        state = self.begin(frames[:, 0], steps, step, seed)
        predicted, _ = self.run(frames[:, :-1], steps, past.shape[1], truth, state)
        wide = torch.promote_types(frames.dtype, torch.float32)
        return self.criterion(predicted.to(wide), frames[:, 1:].to(wide))

    def truth(self, step: int, seed: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Where the true frame is read while training, (B, T' - 1): a pure function of its arguments."""
        return sampled_truth(step, seed, shape, self.settings.sampling_steps)

    def criterion(self, predicted: Tensor, frames: Tensor) -> Tensor:
        """How far patched frames (B, T + T' - 1, p*p*C, h, w) are from the true ones: their mean squared error."""
        return functional.mse_loss(predicted, frames)

    def unroll(self, frames: Tensor, steps: int, seen: int = 0, truth: NDArray[np.bool_] | None = None) -> Tensor:
        """The outputs of `run` from the start."""
        return self.run(frames, steps, seen or frames.shape[1], truth, self.start(frames[:, 0]))[0]

    def run(
        self, frames: Tensor, steps: int, seen: int, truth: NDArray[np.bool_] | None, state: State
    ) -> tuple[Tensor, State]:
        """Run the network.

        Parameters
        ----------
        frames: (B, T, p*p*C, h, w), true frames.
        steps: time steps to run.
        seen: the first frames that are always read.
        truth: (B, steps - seen), where a later time step reads the true frame instead of the prediction; None for
            nowhere.
        state: before the first frame.

        Returns
        -------
        (B, steps, p*p*C, h, w), whose t-th is the prediction of frame t + 1; and the last state.
        """
        if self.compiled:
            # The same tensor in several places, and zeros without a gradient before results with one, would each have
            # the cells compiled again.
            tensors, shape = flatten(state)
            state = unflatten([tensor.detach().requires_grad_(torch.is_grad_enabled()) for tensor in tensors], shape)
        predicted: list[Tensor] = []
        for t in range(steps):
            if t < seen:
                x = frames[:, t]
            elif truth is not None and truth[:, t - seen].any():
                given = torch.from_numpy(truth[:, t - seen]).to(frames.device).view(-1, 1, 1, 1)
                x = torch.where(given, frames[:, t], predicted[-1])
            else:
                x = predicted[-1]
            x, state = self.advance(x, state)
            predicted.append(x.to(frames.dtype))
        return torch.stack(predicted, dim=1), state

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """`step`, kept for the backward pass or, with `checkpoint`, recomputed there from x and the state."""
        if not (self.checkpoint and torch.is_grad_enabled()):
            return self.step(x, state)
        return recomputed(self.step, x, state)


def recomputed(step: Callable[[Tensor, State], tuple[Tensor, State]], x: Tensor, state: State) -> tuple[Tensor, State]:
    """`step(x, state)`, of which nothing but x and the state is kept for the backward pass."""
    tensors, shape = flatten(state)
    shapes = []

    def run(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        x, state = step(x, unflatten(tensors, shape))
        flat, after = flatten(state)
        shapes.append(after)
        return (x, *flat)

    # Tensors go in as plain arguments: autograd then owns them, and saved-tensor hooks see them.
    x, *tensors = checkpoint(run, x, *tensors, use_reentrant=False, preserve_rng_state=False)
    return x, unflatten(tensors, shapes[0])


def sampled_truth(step: int, seed: int, shape: tuple[int, int], decay: int) -> NDArray[np.bool_]:
    """Scheduled sampling: where the true frame is read, (B, decisions), a pure function of its arguments.

    The probability is max(0, 1 - step / decay), one draw per sample and time step (not per pixel), as in the public
    code of PredRNN, E3D-LSTM and STAM (1 - 2e-5 * step there, so decay = 50,000).
    """
    eta = max(0.0, 1.0 - step / decay) if decay else 0.0
    return np.random.default_rng([seed, step]).random(shape) < eta


def flatten(state: State) -> tuple[list[Tensor], State]:
    """Nested tuples of tensors -> the tensors in order, and the same nesting holding their positions."""
    tensors: list[Tensor] = []
    return tensors, _place(state, tensors)


def _place(part: Any, tensors: list[Tensor]) -> Any:
    # Not a function inside `flatten`: one that calls itself is a reference cycle and would hold the tensors.
    if isinstance(part, tuple):
        return tuple(_place(inner, tensors) for inner in part)
    tensors.append(part)
    return len(tensors) - 1


def unflatten(tensors: Any, shape: Any) -> Any:
    """The inverse of `flatten`."""
    if isinstance(shape, tuple):
        return tuple(unflatten(tensors, inner) for inner in shape)
    return tensors[shape]
