"""The gradients of a 3D convolution in bfloat16 on a CPU, against those in float64."""

import pytest
import torch
from torch import nn

from astm.models.convolution import Conv3d

BFLOAT16 = 2**-8
"""Relative spacing of numbers with 8 bits of significand."""


def spoil_free_memory():
    """What a kernel that does not write its result would hand out."""
    for size in (100, 1_000, 5_000, 20_000, 100_000):
        torch.full((size,), float("nan"))


def gradients(conv, x, dtype):
    conv.zero_grad()
    x = x.to(dtype).requires_grad_()
    conv(x).double().square().sum().backward()
    return [x.grad, *(parameter.grad for parameter in conv.parameters())]


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize(
    ("kernel", "depth"),
    [((3, 5, 5), 2), ((3, 3, 3), 2), ((5, 5, 5), 3), ((2, 5, 5), 1), ((1, 5, 5), 2), ((3, 3, 3), 5)],
)
def test_gradients_are_those_of_float64(kernel, depth, autocast):
    torch.manual_seed(3)
    conv = Conv3d(4, 16, kernel, padding=[side // 2 for side in kernel]).bfloat16()
    x = torch.randn(2, 4, depth, 4, 4).bfloat16()
    exact = nn.Conv3d(4, 16, kernel, padding=conv.padding).double()
    exact.load_state_dict({name: tensor.double() for name, tensor in conv.state_dict().items()})
    wanted = gradients(exact, x, torch.float64)
    if autocast:
        conv.float()
    spoil_free_memory()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = gradients(conv, x, torch.float32 if autocast else torch.bfloat16)
    for one, other in zip(found, wanted, strict=True):
        assert (one.double() - other).abs().max() < 4 * BFLOAT16 * other.abs().max()


def test_only_bfloat16_is_computed_otherwise():
    torch.manual_seed(3)
    conv, x = Conv3d(4, 6, (3, 5, 5), padding="same"), torch.randn(1, 4, 2, 4, 4)
    plain = nn.Conv3d(4, 6, (3, 5, 5), padding="same")
    plain.load_state_dict(conv.state_dict())
    assert torch.equal(conv(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(x).dtype == plain(x).dtype == torch.bfloat16
