import re

import numpy as np
import pytest
import torch

from astm import create
from astm.models.frnn import ConvGRU, TiedConv, orthogonal
from tests.astm.models import reference

SMALL = {"stem": (3, 4), "stem_kernel": 3, "hidden": ((4, 3), (5,)), "kernels": (3, 5)}


def numbers(tensor):
    return tensor.detach().double().numpy()


def small(**settings):
    predictor = create("frnn", **{**SMALL, **settings}).double()
    for parameter in predictor.parameters():
        torch.nn.init.uniform_(parameter, -0.4, 0.4)
    return predictor


def gru(module, x, h):
    """The other operand's gate weights come first, then those of the state that is updated."""
    n = len(h)
    both = np.concatenate([x, h])
    weight, bias = numbers(module.W_zr.weight), numbers(module.W_zr.bias)
    z = reference.sigmoid(reference.conv(both, weight[:n], bias[:n]))
    r = reference.sigmoid(reference.conv(both, weight[n:], bias[n:]))
    new = np.tanh(reference.conv(np.concatenate([x, r * h]), numbers(module.W.weight), numbers(module.W.bias)))
    return z * new + (1 - z) * h


def transposed(weight):
    """The kernel of the transposed convolution: inputs and outputs swapped, both sides flipped."""
    return weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]


def pooled(x):
    c, height, width = x.shape
    return x.reshape(c, height // 2, 2, width // 2, 2).max(axis=(2, 4))


def network(predictor, frames, horizon):
    """`SMALL` by hand: (T, C, H, W) in [0, 1] -> (horizon, C, H, W)."""
    one, two = predictor.stem
    h = [numbers(h_0) * np.ones((1, *frames.shape[2:])) for h_0 in predictor.h_0]
    h = [h[0][:, ::2, ::2], h[1][:, ::2, ::2], h[2][:, ::4, ::4]]
    for frame in frames:
        x = np.tanh(reference.conv(2 * frame - 1, numbers(one.W), numbers(one.b_f)))
        x = np.tanh(reference.conv(x, numbers(two.W), numbers(two.b_f)))
        x0 = pooled(x)
        h[0] = gru(predictor.f[0], x0, h[0])
        x1 = h[0]
        h[1] = gru(predictor.f[1], x1, h[1])
        x2 = pooled(h[1])
        h[2] = gru(predictor.f[2], x2, h[2])
    top, out = h[2], []
    for _ in range(horizon):
        x2 = gru(predictor.b[2], top, x2)
        x1 = gru(predictor.b[1], x2.repeat(2, axis=1).repeat(2, axis=2), x1)
        x0 = gru(predictor.b[0], x1, x0)
        y = x0.repeat(2, axis=1).repeat(2, axis=2)
        y = np.tanh(reference.conv(y, transposed(numbers(two.W)), numbers(two.b_b)))
        y = np.tanh(reference.conv(y, transposed(numbers(one.W)), numbers(one.b_b)))
        out.append((y + 1) / 2)
        top = gru(predictor.f[2], x2, top)
    return np.stack(out)


def test_the_network_is_the_folded_one():
    predictor, past = small(channels=2), torch.rand(1, 3, 2, 8, 12).double()
    with torch.no_grad():
        ours = predictor(past, 4)[0]
    np.testing.assert_allclose(ours, network(predictor, past[0].numpy(), 4), atol=1e-9)


def test_the_update_is_a_gru():
    cell, x, h = ConvGRU(2, 3, 5).double(), torch.rand(1, 2, 6, 5).double(), torch.rand(1, 3, 6, 5).double()
    with torch.no_grad():
        np.testing.assert_allclose(cell(x, h)[0], gru(cell, x[0].numpy(), h[0].numpy()), atol=1e-12)


def test_the_way_back_is_the_transposed_convolution():
    """<W x, h> = <x, W^T h>; atanh undoes the tanh."""
    conv = TiedConv(2, 3, 5).double()
    x, h = 0.05 * torch.randn(1, 2, 7, 6).double(), 0.05 * torch.randn(1, 3, 7, 6).double()
    with torch.no_grad():
        there, back = torch.atanh(conv(x)), torch.atanh(conv(h, back=True))
    torch.testing.assert_close((there * h).sum(), (x * back).sum(), rtol=0, atol=1e-12)


def test_predictions_are_never_encoded_again():
    """f reads the past; then b alone predicts, but for the top f between two frames."""
    predictor = small()
    calls = dict.fromkeys([*(("f", k) for k in range(3)), *(("b", k) for k in range(3))], 0)
    for side, k in calls:

        def count(*_, key=(side, k)):
            calls[key] += 1

        getattr(predictor, side)[k].register_forward_hook(count)
    with torch.no_grad():
        predictor(torch.rand(1, 4, 1, 8, 8).double(), 7)
    assert [calls["f", k] for k in range(3)] == [4, 4, 4 + 6]
    assert [calls["b", k] for k in range(3)] == [7, 7, 7]


def test_each_direction_has_its_own_weights_and_the_first_state_is_learned():
    predictor = small()
    loss = predictor.loss(torch.rand(1, 2, 1, 8, 8).double(), torch.rand(1, 3, 1, 8, 8).double(), 0)
    loss.backward()
    assert all(h_0.grad.abs().min() > 0 for h_0 in predictor.h_0)
    shapes = [
        (tuple(f.W.weight.shape), tuple(b.W.weight.shape)) for f, b in zip(predictor.f, predictor.b, strict=True)
    ]
    assert shapes == [((4, 8, 3, 3), (4, 8, 3, 3)), ((3, 7, 3, 3), (4, 7, 3, 3)), ((5, 8, 5, 5), (3, 8, 5, 5))]


def test_the_loss_is_that_of_the_predicted_frames():
    past, future = torch.rand(2, 3, 1, 8, 8).double(), torch.rand(2, 2, 1, 8, 8).double()
    predictor = small()
    error = predictor(past, 2) - future
    assert predictor.loss(past, future, 0).item() == pytest.approx(error.abs().mean().item(), rel=1e-12)
    squared = small(criterion="l2")
    squared.load_state_dict(predictor.state_dict())
    assert squared.loss(past, future, 0).item() == pytest.approx(error.square().mean().item(), rel=1e-12)


@pytest.mark.parametrize("shape", [(3, 8, 3, 3), (20, 1, 3, 3)])
def test_kernels_start_orthogonal(shape):
    weight = torch.empty(shape)
    orthogonal(weight)
    matrix = weight.flatten(1).double()
    matrix = matrix if len(matrix) < matrix.shape[1] else matrix.T
    gram = matrix @ matrix.T
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(len(gram)).double(), rtol=0, atol=1e-5)
    outputs, fan_in = weight.shape[0], weight[0].numel()
    assert float(matrix.square().mean().sqrt()) == pytest.approx(2 / np.sqrt(outputs + fan_in), rel=1e-5)


def test_sizes_must_be_multiples_of_the_poolings():
    with pytest.raises(ValueError, match=r"height 10 is not a multiple of the patch, 4; .* 8 or 12"):
        small()(torch.rand(1, 2, 1, 10, 8).double(), 1)
    assert create("frnn", **SMALL).usual_size() == (64, 64)


def test_a_group_without_a_kernel_is_refused():
    with pytest.raises(ValueError, match=re.escape("2 kernels for 3 groups of layers; give one for each")):
        create("frnn", hidden=((4,), (4,), (4,)), kernels=(3, 3))
