"""LPIPS and ST-LPIPS beside the values of their authors' code."""

import importlib.util

import numpy as np
import pytest
import torch

from astm import perceptual
from astm.cli.scoring import chosen_metrics
from astm.metrics import better, metric
from astm.training.settings import SettingsError
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
    with pytest.raises(ValueError, match=r"20 x 40 are too small for stlpips_alex, which takes 21 x 21"):
        perceptual.st_lpips(torch.rand(1, 1, 1, 20, 40), torch.rand(1, 1, 1, 20, 40))
    monkeypatch.setattr(perceptual, "PACKAGE", "no-such-package")
    perceptual.network.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'mlst\[perceptual\]'"):
        perceptual.st_lpips(torch.rand(1, 1, 1, 32, 32), torch.rand(1, 1, 1, 32, 32))


CONVOLUTIONS = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Seeded numbers under the names of the two files."""
    folder, random = tmp_path_factory.mktemp("lpips"), np.random.RandomState(0)  # frozen for good
    alexnet, linear = {"classifier.1.bias": torch.zeros(1)}, {}
    for i, (place, shape) in enumerate(CONVOLUTIONS.items()):
        drawn = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        alexnet[f"features.{place}.weight"] = torch.from_numpy(drawn).float()
        alexnet[f"features.{place}.bias"] = torch.from_numpy(0.1 * random.standard_normal(shape[0])).float()
        drawn = np.abs(random.standard_normal((1, shape[0], 1, 1)))
        linear[f"lin{i}.model.1.weight"] = torch.from_numpy(drawn).float()
    torch.save(alexnet, folder / "alexnet-owt-0.pth")
    torch.save(linear, folder / "alex.pth")
    return folder


@pytest.fixture
def named(files, monkeypatch):
    monkeypatch.setattr(perceptual, "_named", [])
    assert chosen_metrics(f"mse_sum, lpips_alex={files}") == ["mse_sum", "lpips_alex"]


@pytest.mark.parametrize(
    ("shape", "value"), [((64, 64, 1), 1.6653426), ((31, 45, 3), 0.8311369)], ids=["grey", "small"]
)
@pytest.mark.usefixtures("named")
def test_values_of_lpips_own_code(shape, value):
    """Computed with the formula and layers of the package lpips 0.1.4, these weights, torch 2.13, `normalize=True`."""
    a, b = (picture(*shape, k)[None, None] for k in (0, 1))
    measured = metric["lpips_alex"](a.repeat(2, 2, 1, 1, 1), b.repeat(2, 2, 1, 1, 1))
    torch.testing.assert_close(measured, torch.full((2, 2), value, dtype=torch.float64), rtol=0, atol=1e-5)
    assert not metric["lpips_alex"](a, a).any()
    assert better("lpips_alex", 0.1, 0.2)


def test_weights_of_lpips_that_are_not_named_or_not_there(files, tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "_named", [])
    with pytest.raises(perceptual.WeightsError, match=r"write lpips_alex=FOLDER, with alexnet\*.pth and alex.pth"):
        metric["lpips_alex"](torch.rand(1, 1, 1, 64, 64), torch.rand(1, 1, 1, 64, 64))
    with pytest.raises(SettingsError, match="mse_sum takes no weights"):
        chosen_metrics("mse_sum=x")
    (tmp_path / "alex.pth").write_bytes((files / "alex.pth").read_bytes())
    with pytest.raises(perceptual.WeightsError, match=r"has no alexnet\*.pth"):
        perceptual.use(tmp_path)
    for content in (b"no weights", (files / "alex.pth").read_bytes()):
        (tmp_path / "alexnet.pth").write_bytes(content)
        with pytest.raises(perceptual.WeightsError, match="these are not the weights of LPIPS"):
            perceptual.use(tmp_path)
    perceptual.use(files)
    with pytest.raises(ValueError, match="too small for lpips_alex, which takes 31 x 31"):
        metric["lpips_alex"](torch.rand(1, 1, 1, 30, 64), torch.rand(1, 1, 1, 30, 64))


def test_the_refusal_of_a_pickle_does_not_advise_to_run_it(files, tmp_path):
    (tmp_path / "alex.pth").write_bytes((files / "alex.pth").read_bytes())
    torch.save({"features.0.weight": perceptual.WeightsError}, tmp_path / "alexnet.pth")
    with pytest.raises(perceptual.WeightsError, match="a file holds more than tensors, or is damaged"):
        perceptual.lpips_network(tmp_path)
