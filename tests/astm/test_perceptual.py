"""ST-LPIPS beside the values of its authors' code."""

import importlib.util

import numpy as np
import pytest
import torch

from astm import perceptual
from astm.metrics import better, metric
from mlst.exits import MissingExtraError

installed = pytest.mark.skipif(
    importlib.util.find_spec("stlpips_pytorch") is None, reason="stlpips-pytorch is an extra"
)


def picture(height, width, channels, k):
    """Waves, rounded to 8 bits."""
    y, x = np.mgrid[:height, :width]
    waves = [
        127.5
        + 90 * np.sin(x * (0.11 + 0.05 * k) + i) * np.cos(y * (0.07 + 0.02 * i))
        + 30 * np.sin((x + k) * (y + i) * 0.02)
        for i in range(channels)
    ]
    return torch.from_numpy(np.clip(np.round(np.stack(waves)), 0, 255)).float().div(255)


@installed
@pytest.mark.parametrize(
    ("shape", "value"),
    [((64, 64, 1), 0.09014587), ((48, 80, 3), 0.31141299), ((21, 33, 3), 0.09762349)],
    ids=["grey", "rgb", "small"],
)
def test_values_of_the_authors_code(shape, value):
    """Computed with stlpips-pytorch 0.0.2 itself, torch 2.13, `normalize=True`."""
    a, b = (picture(*shape, k)[None, None] for k in (0, 1))
    measured = metric["stlpips_alex"](a.repeat(2, 2, 1, 1, 1), b.repeat(2, 2, 1, 1, 1))
    assert measured.dtype == torch.float64
    torch.testing.assert_close(measured, torch.full((2, 2), value, dtype=torch.float64), rtol=0, atol=1e-5)


@installed
def test_it_is_a_distance_that_grows_with_blur():
    target = picture(32, 32, 1, 0)[None, None]
    soft = [torch.nn.functional.avg_pool2d(target[0], k, 1, k // 2)[None] for k in (3, 7)]
    scores = [float(metric["stlpips_alex"](pred, target)) for pred in (target, *soft)]
    assert scores[0] == 0
    assert scores == sorted(scores)
    assert better("stlpips_alex", *scores[:2])


def test_what_is_missing_or_too_small(monkeypatch):
    with pytest.raises(ValueError, match=r"20 x 40 are too small for ST-LPIPS, which takes 21 x 21"):
        perceptual.distance(torch.rand(1, 1, 1, 20, 40), torch.rand(1, 1, 1, 20, 40))
    monkeypatch.setattr(perceptual, "PACKAGE", "no-such-package")
    perceptual.network.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'mlst\[perceptual\]'"):
        perceptual.distance(torch.rand(1, 1, 1, 32, 32), torch.rand(1, 1, 1, 32, 32))
