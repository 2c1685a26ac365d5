import itertools
import math

import numpy as np
import pytest
import torch

from astm import count_parameters, create, macs
from tests.astm.models.reference import conv, sigmoid

SMALL = {"frames": 3, "hidden": 4, "layers": 4, "translator": 6, "blocks": 3, "expansion": 2}


def small(**settings):
    torch.manual_seed(1)
    return create("simvp", **{**SMALL, **settings})


def clips(frames, size=(8, 12), channels=1):
    return torch.rand(2, frames, channels, *size, generator=torch.Generator().manual_seed(2))


# ------------------------------------------------------------------------------------------------ again, in NumPy


def layer(w, name, x, dilation=1, depthwise=False):
    """A convolution with bias that keeps the size; gaps and separate channels are made of zeros in a full kernel."""
    weight = w[name + ".weight"]
    outputs, inputs, *kernel = weight.shape
    full = np.zeros((outputs, len(x), *(dilation * (side - 1) + 1 for side in kernel)))
    for o, i in itertools.product(range(outputs), range(inputs)):
        full[o, o if depthwise else i, ::dilation, ::dilation] = weight[o, i]
    return conv(x, full, w[name + ".bias"])


def conv_sc(w, name, x, scale):
    y = layer(w, name + ".conv", x)
    if scale == 2:
        y = y[:, ::2, ::2]
    if scale == -2:
        C, H, W = y.shape
        z = np.empty((C // 4, 2 * H, 2 * W))
        for c, dy, dx in itertools.product(range(C // 4), range(2), range(2)):
            z[c, dy::2, dx::2] = y[4 * c + 2 * dy + dx]
        y = z
    groups = np.split(y, 2)
    y = np.concatenate([(group - group.mean()) / np.sqrt(group.var() + 1e-5) for group in groups])
    y = y * w[name + ".norm.weight"][:, None, None] + w[name + ".norm.bias"][:, None, None]
    return y * sigmoid(y)


def batch_norm(w, name, x):
    mean, var, scale, shift = (w[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None] * scale[:, None, None] + shift[:, None, None]


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def block(w, name, x):
    u = batch_norm(w, name + ".norm_1", x)
    y = gelu(layer(w, name + ".attention.proj_1", u))
    y = layer(w, name + ".attention.depthwise", y, depthwise=True)
    y = layer(w, name + ".attention.dilated", y, dilation=3, depthwise=True)
    f, g = np.split(layer(w, name + ".attention.pointwise", y), 2)
    x = x + w[name + ".scale_1"] * (u + layer(w, name + ".attention.proj_2", sigmoid(g) * f))
    y = layer(w, name + ".mixing.0", batch_norm(w, name + ".norm_2", x))
    y = gelu(layer(w, name + ".mixing.1", y, depthwise=True))
    x = x + w[name + ".scale_2"] * layer(w, name + ".mixing.3", y)
    return layer(w, name + ".reduction", x) if name + ".reduction.weight" in w else x


def chain(w, name, x, scales):
    for k, scale in enumerate(scales):
        x = conv_sc(w, f"{name}.{k}", x, scale)
    return x


def shot(w, frames, blocks):
    """T frames (T, C, H, W) -> the next T."""
    skips = [conv_sc(w, "first", frame, 1) for frame in frames]
    z = np.concatenate([chain(w, "encoder", skip, (2, 1, 2)) for skip in skips])
    for k in range(blocks):
        z = block(w, f"translator.{k}", z)
    decoded = [chain(w, "decoder", part, (-2, 1, -2)) for part in np.split(z, len(frames))]
    sums = [part + skip for part, skip in zip(decoded, skips, strict=True)]
    return np.stack([layer(w, "readout", conv_sc(w, "last", total, 1)) for total in sums])


def test_the_network_is_that_of_an_independent_computation():
    predictor, past = small().double().eval(), clips(3).double()
    for name, value in predictor.state_dict().items():
        if value.is_floating_point():
            torch.nn.init.uniform_(value, *((0.5, 2) if "running_var" in name else (-0.5, 0.5)))
    w = {name: value.numpy() for name, value in predictor.state_dict().items()}
    first = shot(w, past[1].numpy(), 3)
    with torch.no_grad():
        ours = predictor(past, 5)[1]
    np.testing.assert_allclose(ours, np.concatenate([first, shot(w, first, 3)])[:5], atol=1e-9)


# ----------------------------------------------------------------------------------------- any past, any horizon


def test_of_a_longer_past_the_last_frames_count_and_a_shorter_one_is_filled_up():
    predictor, past = small().eval(), clips(5)
    with torch.no_grad():
        assert torch.equal(predictor(past, 2), predictor(past[:, 2:], 2))
        filled = torch.cat([past[:, :1], past[:, :2]], dim=1)
        assert torch.equal(predictor(past[:, :2], 2), predictor(filled, 2))


def test_a_longer_horizon_goes_on_from_the_prediction():
    predictor, past = small().eval(), clips(3)
    with torch.no_grad():
        first = predictor(past, 3)
        assert torch.equal(predictor(past, 7), torch.cat([first, predictor(first, 4)], dim=1))
        future = clips(7)
        torch.testing.assert_close(predictor.loss(past, future, 0), (predictor(past, 7) - future).square().mean())


def test_a_size_that_its_layers_do_not_tile_is_refused():
    with pytest.raises(
        ValueError, match=r"width 18 is not a multiple of the patch, 4; .* 16 or 20, or set other layers"
    ):
        small()(clips(3, (8, 18)), 2)
    with pytest.raises(ValueError, match="simvp: bad value 3 of layers"):
        create("simvp", layers=3)


# ------------------------------------------------------------------------------------------------ published numbers


def block_parameters(width, expansion=8):
    wide = expansion * width
    attention = 4 * width**2 + (25 + 49) * width + 6 * width
    mixing = 2 * width * wide + 9 * wide + 2 * wide + width
    return attention + mixing + 6 * width  # two normalisations, two scales


def test_parameters_and_multiplications_are_those_published():
    """OpenSTL's table for Moving MNIST: 46.8 M, 16.5 G."""
    with torch.device("meta"):
        predictor = create("simvp")
    n, frames, wide = 64, 640, 512
    encoder = (1 * 9 + 3) * n + 3 * (n * 9 + 3) * n
    decoder = 2 * (n * 9 * 4 * n + 4 * n + 2 * n) + 2 * (n * 9 + 3) * n + n + 1
    reductions = frames * wide + wide + wide * frames + frames
    expected = encoder + decoder + reductions + block_parameters(frames) + 7 * block_parameters(wide)
    assert count_parameters(predictor) == expected == 46_769_665
    assert macs(predictor) / 1e9 == pytest.approx(16.5, abs=0.05)


def test_the_published_size_for_kth():
    """OpenSTL's table for KTH: 15.6 M, 76.8 G."""
    with torch.device("meta"):
        predictor = create("simvp", layers=2, translator=256, blocks=6)
    assert count_parameters(predictor) / 1e6 == pytest.approx(15.6, abs=0.05)
    assert macs(predictor, size=(128, 128)) / 1e9 == pytest.approx(76.8, rel=5e-3)


def test_convolutions_start_with_the_variance_of_their_fan_out():
    first = create("simvp", frames=2, hidden=64, translator=128, blocks=2).translator[0]
    assert first.attention.proj_1.weight.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    assert first.attention.depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 25), rel=0.05)
