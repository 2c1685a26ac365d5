"""Measures of a predicted frame, each named by its definition.

Papers print "MSE", "PSNR" and "SSIM" for numbers that differ by definition more than models do, so none is called
just that. Every function takes pictures (B, T, C, H, W), the prediction as the model gave it, the target in [0, 1],
and gives (B, T) float64. Unless a name ends in `_raw`, the prediction is clipped to [0, 1] first. Sums run over
channels too.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from astm import perceptual
from mlst.registry import Registry

Metric: TypeAlias = Callable[[Tensor, Tensor], Tensor]

metric: Registry[Metric] = Registry("metric")

LOWER_IS_BETTER = ("mse", "mae", "stlpips", "lpips")
"""How the names of errors begin; of all others, more is better."""

RANGES = {"ssim": (-1.0, 1.0), "psnr": (0.0, 100.0), "mse_mean": (0.0, 1.0)}
"""Lowest and highest value of metrics that have both, by how their names begin."""

ON_REQUEST = ("stlpips_alex", "lpips_alex")
"""Metrics that are only computed where they are named: they take longer than many models, or need an extra."""

TILE = 64
"""Most pixels that one product with a band gives, so that the work grows with the picture's width, not its square."""

FLOOR = 1e-10
"""A mean squared error below this counts as this, so that an exact frame has 100 dB and not infinity."""


@metric
def mse_sum(pred: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over the picture: the "MSE" of Moving MNIST tables (STAM, MAU: clipped first)."""
    return _sum((_clip(pred) - target.double()) ** 2)


@metric
def mse_sum_raw(pred: Tensor, target: Tensor) -> Tensor:
    """As `mse_sum` without clipping: OpenSTL's."""
    return _sum((pred.double() - target.double()) ** 2)


@metric
def mse_mean(pred: Tensor, target: Tensor) -> Tensor:
    """Squared error averaged over the picture."""
    return _mean((_clip(pred) - target.double()) ** 2)


@metric
def mae_sum(pred: Tensor, target: Tensor) -> Tensor:
    """Absolute error summed over the picture (MAU: clipped first; STAM's is the mean)."""
    return _sum((_clip(pred) - target.double()).abs())


@metric
def mae_sum_raw(pred: Tensor, target: Tensor) -> Tensor:
    """As `mae_sum` without clipping: OpenSTL's."""
    return _sum((pred.double() - target.double()).abs())


@metric
def psnr_frame(pred: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each frame, peak 1 (OpenSTL, MAU, STAM)."""
    return _decibels(mse_mean(pred, target))


@metric
def psnr_u8(pred: Tensor, target: Tensor) -> Tensor:
    """As `psnr_frame` after both were truncated to 8 bits (PredRNN, E3D-LSTM)."""
    return _decibels(_mean((_u8(pred) - _u8(target)) ** 2) / 255**2)


@metric
def ssim_wang(pred: Tensor, target: Tensor) -> Tensor:
    """Structural similarity as published (Wang et al. 2004): Gaussian window 11, sigma 1.5, range 1.

    Used by FRNN, SAVP and CrevNet.
    """
    return _ssim(_clip(pred), target.double(), _gaussian(11, 1.5), 1.0, sample=False)


@metric
def ssim_sk_u8(pred: Tensor, target: Tensor) -> Tensor:
    """scikit-image's default on 8-bit pictures: uniform window 7, sample covariance, range 255 (PredRNN family)."""
    return _ssim(_u8(pred), _u8(target), _uniform(7), 255.0, sample=True)


@metric
def ssim_sk_dr1(pred: Tensor, target: Tensor) -> Tensor:
    """scikit-image's default on floats with the range that they have, 1."""
    return _ssim(_clip(pred), target.double(), _uniform(7), 1.0, sample=True)


@metric
def ssim_sk_dr2(pred: Tensor, target: Tensor) -> Tensor:
    """As `ssim_sk_dr1` with range 2, which scikit-image below 0.20 assumed for floats and which flatters.

    Used by STAM, MAU and OpenSTL; see https://github.com/scikit-image/scikit-image/issues/6602.
    """
    return _ssim(_clip(pred), target.double(), _uniform(7), 2.0, sample=True)


@metric
def stlpips_alex(pred: Tensor, target: Tensor) -> Tensor:
    """ST-LPIPS with AlexNet (Ghildyal, Liu 2022), not LPIPS: a perceptual distance; see `astm.perceptual`."""
    return perceptual.st_lpips(pred, target)


@metric
def lpips_alex(pred: Tensor, target: Tensor) -> Tensor:
    """LPIPS 0.1 with AlexNet (Zhang et al. 2018), of weights that the user names: a perceptual distance."""
    return perceptual.lpips(pred, target)


def better(name: str, value: float, than: float) -> bool:
    """Whether one score of a metric is better than another."""
    return value < than if name.startswith(LOWER_IS_BETTER) else value > than


def widest(name: str) -> float:
    """The most by which two values of a metric can differ; infinity where there is no most."""
    return next((high - low for prefix, (low, high) in RANGES.items() if name.startswith(prefix)), math.inf)


def check_pair(pred: Tensor, target: Tensor) -> None:
    """Refuse pictures that do not match, are too small for the windows, or are predicted as no numbers."""
    if pred.shape != target.shape or pred.ndim != 5:
        raise ValueError(
            f"prediction {tuple(pred.shape)} and target {tuple(target.shape)} must both be (B, T, C, H, W)"
        )
    if min(pred.shape[-2:]) < 11:
        raise ValueError(f"pictures of {pred.shape[-2]} x {pred.shape[-1]} are smaller than the window of 11 x 11")
    if not pred.isfinite().all():
        raise ValueError("the prediction has values that are not finite; the model diverged, train it again")


def _clip(pictures: Tensor) -> Tensor:
    return pictures.double().clamp(0, 1)


def _u8(pictures: Tensor) -> Tensor:
    """Truncated to whole codes 0 ... 255, as `np.uint8(x * 255)` does in the float32 of the published code."""
    return (pictures.float().clamp(0, 1) * 255).floor().double()


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(2, 3, 4))


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3, 4))


def _decibels(mse: Tensor) -> Tensor:
    return -10 * mse.clamp_min(FLOOR).log10()


def _uniform(side: int) -> Tensor:
    return torch.full((side,), 1 / side, dtype=torch.float64)


def _gaussian(side: int, sigma: float) -> Tensor:
    x = torch.arange(side, dtype=torch.float64) - side // 2
    weights = torch.exp(-(x**2) / (2 * sigma**2))
    return weights / weights.sum()


def _ssim(x: Tensor, y: Tensor, window: Tensor, span: float, sample: bool) -> Tensor:
    """Mean of the SSIM map where the window is wholly inside the picture; `sample` divides covariances by n - 1."""
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    n = math.prod((len(window), len(window)))
    correction = n / (n - 1) if sample else 1.0
    pictures = torch.stack([x, y, x * x, y * y, x * y])  # (5, B, T, C, H, W)
    mx, my, xx, yy, xy = _filter(pictures, window.to(x.device))
    vx, vy, vxy = (correction * v for v in (xx - mx * mx, yy - my * my, xy - mx * my))
    similarity = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return _mean(similarity)


def _filter(pictures: Tensor, window: Tensor) -> Tensor:
    """(..., H, W) filtered with a separable window, without borders."""
    return _filter_rows(_filter_rows(pictures, window).mT, window).mT


def _filter_rows(pictures: Tensor, window: Tensor) -> Tensor:
    """(..., W) to (..., W - side + 1): products of tiles with a band matrix, 3 times as fast on a CPU as `conv2d`."""
    width, side = pictures.shape[-1] - len(window) + 1, len(window)
    tile = min(TILE, width)
    band = torch.zeros(tile + side - 1, tile, dtype=window.dtype, device=window.device)
    for i in range(side):
        band.diagonal(-i).fill_(window[i])
    padded = functional.pad(pictures, (0, -width % tile))
    return (padded.unfold(-1, tile + side - 1, tile) @ band).flatten(-2)[..., :width]
