"""Every metric against scikit-image, torchmetrics or NumPy."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from astm.metrics import ON_REQUEST, better, check_pair, metric


@pytest.fixture(params=[1, 3], ids=["grey", "rgb"])
def pair(request):
    """Smooth pictures and noisy predictions of them that leave [0, 1] in places."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(request.param)
    coarse = torch.rand(6, request.param, 4, 5, generator=generator)
    target = torch.nn.functional.interpolate(coarse, (24, 30), mode="bilinear").view(2, 3, request.param, 24, 30)
    return target + 0.2 * torch.randn(target.shape, generator=generator), target


def frames(pred, target, convert):
    """(index, prediction, target) of each frame as (H, W, C) arrays."""
    for b, t in np.ndindex(*pred.shape[:2]):
        yield (b, t), convert(pred[b, t].permute(1, 2, 0).numpy()), convert(target[b, t].permute(1, 2, 0).numpy())


def as_float(x):
    return np.clip(x.astype(np.float64), 0, 1)


def as_u8(x):
    return np.uint8(np.clip(x, 0, 1) * 255)


WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

ORACLES = {
    "mse_sum": (as_float, lambda p, t: ((p - t) ** 2).sum()),
    "mse_sum_raw": (np.float64, lambda p, t: ((p - t) ** 2).sum()),
    "mse_mean": (as_float, lambda p, t: ((p - t) ** 2).mean()),
    "mae_sum": (as_float, lambda p, t: np.abs(p - t).sum()),
    "mae_sum_raw": (np.float64, lambda p, t: np.abs(p - t).sum()),
    "psnr_frame": (as_float, lambda p, t: peak_signal_noise_ratio(t, p, data_range=1)),
    "psnr_u8": (as_u8, lambda p, t: peak_signal_noise_ratio(t, p, data_range=255)),
    "ssim_wang": (as_float, lambda p, t: structural_similarity(p, t, data_range=1, channel_axis=2, **WANG)),
    "ssim_sk_u8": (as_u8, lambda p, t: structural_similarity(p, t, channel_axis=2)),
    "ssim_sk_dr1": (as_float, lambda p, t: structural_similarity(p, t, data_range=1, channel_axis=2)),
    "ssim_sk_dr2": (as_float, lambda p, t: structural_similarity(p, t, data_range=2, channel_axis=2)),
}


def test_every_metric_has_an_oracle():
    assert set(metric) == set(ORACLES) | set(ON_REQUEST)  # of the others, see test_perceptual


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_oracle(name, pair):
    convert, oracle = ORACLES[name]
    measured = metric[name](*pair)
    assert measured.dtype == torch.float64
    assert measured.shape == (2, 3)
    for at, pred, target in frames(*pair, convert):
        assert float(measured[at]) == pytest.approx(oracle(pred, target), rel=1e-6)


@pytest.mark.parametrize("size", [(11, 11), (64, 64), (80, 150)], ids=str)
@pytest.mark.parametrize("name", [name for name in sorted(ORACLES) if name.startswith("ssim")])
def test_ssim_is_exact_at_every_width(name, size):
    """One product, and several with a rest: 80 and 150 are not multiples of what one product gives."""
    target = torch.rand(1, 1, 1, *size, generator=torch.Generator().manual_seed(5))
    pred = target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(6))
    convert, oracle = ORACLES[name]
    ((_, *arrays),) = frames(pred, target, convert)
    assert float(metric[name](pred, target)) == pytest.approx(oracle(*arrays), abs=1e-12)


def test_wang_map_equals_torchmetrics(pair):
    """torchmetrics also averages borders made of reflected pixels; inside of them the maps are the same."""
    pred, target = pair[0].clamp(0, 1).double().flatten(0, 1), pair[1].double().flatten(0, 1)
    _, full = structural_similarity_index_measure(pred, target, data_range=1.0, reduction=None, return_full_image=True)
    inside = full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    assert torch.allclose(metric["ssim_wang"](*pair).flatten(), inside, rtol=1e-5)


def test_definitions_differ_as_documented(pair):
    """A wider assumed range flatters: range 2 scores above range 1 on the same pictures."""
    assert (metric["ssim_sk_dr2"](*pair) > metric["ssim_sk_dr1"](*pair) + 0.01).all()


def test_exact_frames():
    target = torch.rand(1, 2, 1, 16, 16)
    assert metric["psnr_frame"](target, target).tolist() == [[100.0, 100.0]]
    assert metric["ssim_wang"](target, target).tolist() == [pytest.approx([1.0, 1.0])]
    assert metric["mse_sum"](target, target).sum() == 0


def test_eight_bit_differences_do_not_wrap():
    """Code 0 against 255 is the worst error; in uint8 arithmetic it would be 1."""
    black, white = torch.zeros(1, 1, 1, 16, 16), torch.ones(1, 1, 1, 16, 16)
    assert float(metric["psnr_u8"](black, white)) == 0


def test_better():
    assert better("mse_sum", 1, 2)
    assert better("psnr_frame", 2, 1)
    assert not better("mae_sum", float("nan"), 1)


def test_unfit_pairs_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2, 1, 16, 16\) and target \(1, 3, 1, 16, 16\)"):
        check_pair(torch.zeros(1, 2, 1, 16, 16), torch.zeros(1, 3, 1, 16, 16))
    with pytest.raises(ValueError, match="8 x 16 are smaller"):
        check_pair(torch.zeros(1, 2, 1, 8, 16), torch.zeros(1, 2, 1, 8, 16))
