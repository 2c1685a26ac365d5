import itertools

import numpy as np
import pytest
import torch

from astm import count_parameters, create
from astm.evaluation.cost import saved_bytes
from astm.models.vpn import MU
from tests.astm.models import reference

SMALL = {"c": 4, "encoder": 2, "dilations": (1, 2), "decoder": 3}


def small(**settings):
    """Weights large enough that what should be seen is seen."""
    predictor = create("vpn", **{**SMALL, **settings}).double()
    for parameter in predictor.parameters():
        torch.nn.init.uniform_(parameter, -0.7, 0.7)
    return predictor


def frames(count, size=(4, 5), channels=1, batch=2):
    return torch.rand(batch, count, channels, *size, generator=torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize(("mask", "dilation"), [("none", 1), ("none", 2), ("A", 1), ("B", 1)])
def test_the_multiplicative_unit(mask, dilation):
    unit, h = MU(3, dilation, mask).double(), torch.randn(1, 3, 6, 5).double()
    weight = unit.W.weight.detach().numpy().copy()
    if mask != "none":
        weight[:, :, 2] = 0
        weight[:, :, 1, 2] = 0
    if mask == "A":
        weight[:, :, 1, 1] = 0
    spread = np.zeros((12, 3, 2 * dilation + 1, 2 * dilation + 1))  # a dilated kernel is one with holes
    spread[:, :, ::dilation, ::dilation] = weight
    g1, g2, g3, u = np.split(reference.conv(h[0].numpy(), spread, unit.W.bias.detach().numpy()), 4)
    carried = reference.sigmoid(g2) * (1 if mask == "A" else h[0].numpy())
    expected = reference.sigmoid(g1) * np.tanh(carried + reference.sigmoid(g3) * np.tanh(u))
    with torch.no_grad():
        np.testing.assert_allclose(unit(h)[0], expected, atol=1e-12)


# ------------------------------------------------------------------------------------------------- pixel dependency


@pytest.mark.parametrize("output", ["bernoulli", "softmax"])
def test_no_pixel_sees_itself_or_a_later_one(output):
    """By gradient, from every position to every position: nothing on or above the diagonal, something below."""
    predictor = small(pixel_dependency=True, output=output)
    Z, x = torch.randn(1, 8, 4, 5).double(), frames(1, batch=1)[:, 0]

    def by_position(frame):
        return predictor.logits(Z, frame).square().sum(1).flatten()

    seen = torch.autograd.functional.jacobian(by_position, x).reshape(20, 20)  # (output position, input position)
    assert torch.equal(seen.triu(), torch.zeros(20, 20).double())
    assert (seen.tril(-1) != 0).any(dim=0)[:-1].all(), "every pixel but the last is seen by a later one"
    assert (seen.tril(-1) != 0).any(dim=1)[1:].all(), "every pixel but the first sees an earlier one"


def test_no_pixel_of_the_likelihood_sees_itself_or_a_later_one():
    """By changing every pixel in turn, through everything: what is added to the loss is that of later pixels."""
    predictor, past, future = small(pixel_dependency=True), frames(2, batch=1), frames(2, batch=1)
    Z, _ = predictor.contexts(torch.cat([past, future], dim=1)[:, :-1, :], None)
    with torch.no_grad():
        before = [predictor.logits(Z[:, 1 + n], future[:, n]) for n in range(2)]
        for i, j in itertools.product(range(4), range(5)):
            changed = future.clone()
            changed[:, 1, :, i, j] += 0.5
            Z_changed, _ = predictor.contexts(torch.cat([past, changed], dim=1)[:, :-1], None)
            after = [predictor.logits(Z_changed[:, 1 + n], changed[:, n]) for n in range(2)]
            assert torch.equal(before[0], after[0])
            different = (before[1] != after[1]).flatten().nonzero().flatten().tolist()
            assert all(position > 5 * i + j for position in different)
            assert different or (i, j) == (3, 4)


def one_by_one(predictor, Z, choose):
    """A frame by the plain decoder: all of it anew for every position, of which one is kept."""
    height, width = Z.shape[2:]
    x = Z.new_zeros(len(Z), predictor.settings.depth, height, width)
    for i, j in itertools.product(range(height), range(width)):
        x[:, :, i, j] = choose(predictor.logits(Z, x)[:, :, i : i + 1, j : j + 1])[:, :, 0, 0]
    return x


@pytest.mark.parametrize("settings", [{}, {"channels": 3, "patch": 2}, {"output": "softmax"}])
@pytest.mark.parametrize("drawn", [False, True])
def test_incremental_decoding_is_the_plain_one(settings, drawn):
    predictor, Z = small(pixel_dependency=True, **settings), torch.randn(2, 8, 4, 5).double()

    def chooser():
        generators = [np.random.default_rng(seed) for seed in (1, 2)]
        return (lambda logits: predictor.draw(logits, generators)) if drawn else predictor.mean

    with torch.no_grad():
        plain, fast = one_by_one(predictor, Z, chooser()), predictor.decode(Z, chooser())
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
    assert plain.std() > 0.01


def test_incremental_decoding_computes_each_position_once():
    predictor = small(pixel_dependency=True)
    positions = []
    for block in predictor.decoder:
        block.W1.register_forward_hook(lambda module, given, result: positions.append(result[0, 0].numel()))
    with torch.no_grad():
        predictor.decode(torch.randn(1, 8, 4, 5).double(), predictor.mean)
    assert set(positions) == {1}
    assert len(positions) == 20 * (3 + 1)  # the first block again, once its pixel is chosen


@pytest.mark.parametrize("output", ["bernoulli", "softmax"])
def test_a_drawn_frame_has_the_likelihood_with_which_it_was_drawn(output):
    """The chain rule: what decoding believed, pixel by pixel, adds up to what the parallel pass says."""
    predictor, past = small(pixel_dependency=True, output=output), frames(2)
    generators, nats = [np.random.default_rng(seed) for seed in (5, 6)], torch.zeros(2).double()

    def choose(logits):
        nonlocal nats
        x = predictor.draw(logits, generators)
        p = predictor.probabilities(logits)
        if output == "bernoulli":
            chosen = torch.where(x > 0.5, p, 1 - p)
        else:
            chosen = p.gather(2, (x * 255).round().long()[:, :, None])
        nats = nats - chosen.log().flatten(1).sum(1)
        return x

    with torch.no_grad():
        drawn = predictor.roll(past, 1, choose)
        torch.testing.assert_close(predictor.nats(past, drawn)[:, 0], nats, rtol=1e-10, atol=0)


@pytest.mark.parametrize("settings", [{}, {"patch": 2, "channels": 3}])
def test_with_pixel_dependency_it_keeps_the_contract(settings):
    """The parts of tests/astm/models/test_models.py that decoding pixel by pixel could break."""
    predictor = small(pixel_dependency=True, **settings)
    past, future = frames(2, (4, 6), settings.get("channels", 1)), frames(3, (4, 6), settings.get("channels", 1))
    with torch.no_grad():
        longer = predictor(past, 3)
        assert torch.equal(predictor(past, 2), longer[:, :2])
        alone = torch.cat([predictor(sample[None], 3) for sample in past])
    torch.testing.assert_close(longer, alone, rtol=0, atol=1e-10)
    seen = past.clone().requires_grad_()
    predictor(seen, 1).sum().backward()
    assert seen.grad.abs().amax(dim=(0, 2, 3, 4)).gt(0).all()
    predictor.zero_grad()
    predictor.loss(past, future, 0).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in predictor.parameters())
    kept = saved_bytes(predictor, past, future)
    predictor.checkpoint = True
    assert saved_bytes(predictor, past, future) < 0.6 * kept


# -------------------------------------------------------------------------------------------- distribution and time


@pytest.mark.parametrize("pixel_dependency", [False, True])
def test_a_frame_depends_on_earlier_frames_alone(pixel_dependency):
    predictor, past = small(pixel_dependency=pixel_dependency), frames(2)
    future = frames(3).requires_grad_()
    nats = predictor.nats(past, future)
    assert nats.shape == (2, 3)
    for t in range(3):
        (gradient,) = torch.autograd.grad(nats[:, t].sum(), future, retain_graph=True)
        assert torch.equal(gradient[:, t + 1 :], torch.zeros_like(gradient[:, t + 1 :]))
        assert gradient[:, : t + 1].abs().amax(dim=(0, 2, 3, 4)).gt(0).all()


def test_nats_of_bits_are_the_cross_entropy_of_what_is_predicted():
    predictor, past, future = small(patch=2, channels=3), frames(2, (4, 6), 3), frames(1, (4, 6), 3)
    with torch.no_grad():
        p, nats = predictor(past, 1), predictor.nats(past, future)
    entropy = -(future * p.log() + (1 - future) * (1 - p).log())
    torch.testing.assert_close(nats, entropy.sum(dim=(2, 3, 4)), rtol=1e-10, atol=0)
    assert predictor.loss(past, future, 0).item() == pytest.approx(entropy.mean().item(), rel=1e-10)


def test_nats_of_levels_are_the_logarithm_of_their_probability():
    predictor, logits = small(patch=2, output="softmax"), torch.randn(2, 4 * 256, 3, 2).double()
    levels = torch.randint(256, (2, 4, 3, 2))
    p = np.exp(logits.reshape(2, 4, 256, 3, 2).numpy())
    p /= p.sum(axis=2, keepdims=True)
    chosen = np.take_along_axis(p, levels[:, :, None].numpy(), axis=2)
    nats = predictor.surprise(logits, levels.double() / 255)
    np.testing.assert_allclose(nats, -np.log(chosen).sum(axis=(1, 2, 3, 4)), rtol=1e-10)
    np.testing.assert_allclose(predictor.mean(logits), np.einsum("bdlhw,l->bdhw", p, np.arange(256) / 255), rtol=1e-10)


@pytest.mark.parametrize("output", ["bernoulli", "softmax"])
def test_draws_follow_the_distribution(output):
    """20,000 draws of one pixel: the mean within 5 standard errors, and only values with a probability."""
    predictor = small(output=output)
    logits = torch.full((256, 1), -30.0).double()
    logits[[3, 200]] = torch.tensor([[1.0], [0.0]]).double()
    logits = logits if output == "softmax" else torch.tensor([[0.8]]).double()
    drawn = predictor.draw(logits[None, :, :, None].expand(1, -1, 100, 200), [np.random.default_rng(0)])
    assert set((drawn * 255).round().int().flatten().tolist()) == ({3, 200} if output == "softmax" else {0, 255})
    expected = float(predictor.mean(logits[None, :, :, None]))
    assert float(drawn.mean()) == pytest.approx(expected, abs=5 * float(drawn.std()) / 20_000**0.5)


@pytest.mark.parametrize("pixel_dependency", [False, True])
def test_samples_are_a_function_of_the_seed(pixel_dependency):
    predictor, past = small(pixel_dependency=pixel_dependency), frames(2)
    with torch.no_grad():
        (one, second), (again,), (other,) = (
            list(predictor.samples(past, 2, count, seeds)) for count, seeds in [(2, (1, 2)), (1, (1, 2)), (1, (1, 3))]
        )
        (alone,) = predictor.samples(past[1:], 2, 1, [2])
    assert torch.equal(one, again)
    assert torch.equal(one[1:], alone)
    assert [bool((one[i] == other[i]).all()) for i in (0, 1)] == [True, False]
    assert not torch.equal(one, second)
    assert one.shape == (2, 2, 1, 4, 5)
    assert set(one.flatten().tolist()) == {0.0, 1.0}


def test_masks_cost_the_reading_of_the_frame_alone():
    with torch.device("meta"):
        plain, masked = create("vpn"), create("vpn", pixel_dependency=True)
    assert count_parameters(masked) - count_parameters(plain) == 128


def test_prediction_starts_from_the_brightness():
    with torch.no_grad():
        dark, middle = (create("vpn", **SMALL, brightness=mean)(frames(2).float(), 1) for mean in (0.05, 0.5))
    assert dark.mean().item() == pytest.approx(0.05, abs=0.03)
    assert middle.mean().item() == pytest.approx(0.5, abs=0.15)


def test_the_forget_gate_starts_open():
    bias = create("vpn", **SMALL).lstm.W.bias
    assert bias[8:16].eq(1).all()
    assert not bias[:8].eq(1).any()
