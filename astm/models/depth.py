"""Stochastic depth: while training, a residual branch is left out of a sample at random.

Huang, Sun, Liu, Sedra, Weinberger, ECCV 2016, https://arxiv.org/abs/1603.09382. The decisions are made before the
forward pass, so that they depend on seed and step alone and a recomputed step repeats them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def kept(rates: NDArray[np.float64], shape: tuple[int, ...], step: int, seed: int) -> Tensor:
    """(blocks, *shape), float32: 0 where a branch is left out, else 1 / (1 - its rate), which keeps the mean."""
    rate = rates.reshape(-1, *(1 for _ in shape))
    stays = np.random.default_rng([seed, step, 2]).random((len(rates), *shape)) >= rate
    return torch.from_numpy((stays / (1 - rate)).astype(np.float32))


def scaled(branch: Tensor, keep: Tensor | None) -> Tensor:
    """A branch, (B, ...), times what `kept` says of each sample, (B,); None keeps it as it is."""
    if keep is None:
        return branch
    return branch * keep.to(branch).reshape(-1, *(1 for _ in branch.shape[1:]))
