import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from astm import create
from astm.models.savp_vae import (
    ConvLSTMCell,
    ConvPool,
    Generator,
    Posterior,
    SAVPVAESettings,
    UpConv,
    cdna,
    kernels,
    kl_weight,
    sampled_truth,
    symmetric,
    tiled,
)
from tests.astm.models import reference

TINY = {"size": 32, "ngf": 3, "nef": 3, "nz": 2}


def tiny(**settings):
    torch.manual_seed(1)
    return create("savp_vae", **{**TINY, **settings}).double()


def clip(frames, size=(16, 16), batch=2):
    return torch.rand(batch, frames, 1, *size, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_pooled_convolution_is_the_convolution_and_then_the_mean(kernel):
    layer, x = ConvPool(3, 4, kernel).double(), torch.randn(2, 3, 8, 12).double()
    with torch.no_grad():
        expected = layer.conv(x).unflatten(2, (4, 2)).unflatten(4, (6, 2)).mean(dim=(3, 5))
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_upsampling_is_that_of_the_authors_at_the_border_too(kernel):
    """Their order: zeros between the pixels, the bilinear kernel in full, the convolution in full, then the crop."""
    layer, x = UpConv(2, 3, kernel).double(), torch.randn(1, 2, 4, 5).double()
    spread = np.zeros((2, 7, 9))
    spread[:, ::2, ::2] = x[0]
    bilinear = np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25])
    once = np.eye(2)[:, :, None, None] * bilinear
    doubled = reference.conv(spread, once, pads=[(3, 3)] * 2)
    full = reference.conv(doubled, layer.conv.weight.detach().numpy(), pads=[(kernel - 1,) * 2] * 2)
    crop = 1 + kernel // 2
    expected = full[:, crop : crop + 8, crop : crop + 10]
    np.testing.assert_allclose(layer(x)[0].detach(), expected, atol=1e-12)
    clamped = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    other = torch.nn.functional.conv2d(clamped, layer.conv.weight, padding=kernel // 2)[0].detach()
    assert np.abs(other.numpy() - expected).max() > 0.01


def test_the_cell_is_a_convlstm_with_instance_normalisation():
    cell = ConvLSTMCell(2, 3).double()
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    X, H, C = torch.randn(2, 4, 5).double(), *torch.randn(2, 3, 4, 5).double()
    with torch.no_grad():
        ours = [tensor[0].numpy() for tensor in cell(X[None], H[None], C[None])]

    def norm(x, module):
        mean, deviation = x.mean((1, 2), keepdims=True), np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
        scale, shift = (one.detach().numpy()[:, None, None] for one in (module.weight, module.bias))
        return (x - mean) / deviation * scale + shift

    gates = norm(reference.conv(np.concatenate([X, H]), cell.W.weight.detach().numpy()), cell.norm)
    i, j, f, o = np.split(gates, 4)
    C = norm(reference.sigmoid(f + 1) * C.numpy() + reference.sigmoid(i) * np.tanh(j), cell.norm_c)
    np.testing.assert_allclose(ours[1], C, atol=1e-12)
    np.testing.assert_allclose(ours[0], reference.sigmoid(o) * np.tanh(C), atol=1e-12)


@pytest.mark.parametrize("width", [0, 1, 2])
def test_edges_are_mirrored_as_numpy_does(width):
    x = torch.randn(2, 3, 5)
    expected = np.pad(x.numpy(), [(0, 0), (0, 0), (width, width)], mode="symmetric")
    np.testing.assert_array_equal(symmetric(x, width).numpy(), expected)


def test_cdna_filters_each_clip_with_its_own_kernels():
    x, w = torch.randn(2, 3, 6, 7).double(), torch.rand(2, 4, 5, 5).double()
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (2, 2), (2, 2)], mode="symmetric")
    expected = np.zeros((2, 4, 3, 6, 7))
    for dy, dx in np.ndindex(5, 5):
        window = padded[:, None, :, dy : dy + 6, dx : dx + 7]
        expected += w[:, :, dy, dx].numpy()[:, :, None, None, None] * window
    np.testing.assert_allclose(cdna(x, w).numpy(), expected, atol=1e-12)


def test_kernels_are_weights_around_the_identity():
    drawn = kernels(torch.randn(2, 4, 5, 5))
    assert (drawn >= 0).all()
    torch.testing.assert_close(drawn.sum(dim=(2, 3)), torch.ones(2, 4))
    x = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(cdna(x, kernels(torch.zeros(2, 1, 5, 5)))[:, 0], x)


@pytest.mark.parametrize(
    ("size", "down", "up"),
    [
        (32, [(32, True), (64, True)], [(32, True), (32, False)]),
        (64, [(32, True), (64, True), (128, True)], [(64, True), (32, True), (32, False)]),
        (
            128,
            [(32, False), (64, True), (128, True), (256, True)],
            [(256, True), (128, True), (64, False), (32, False)],
        ),
        (
            256,
            [(32, False), (64, False), (128, True), (256, True), (256, True)],
            [(256, True), (128, True), (64, False), (32, False), (32, False)],
        ),
    ],
)
def test_topologies_are_those_of_the_authors(size, down, up):
    with torch.device("meta"):
        generator = Generator(SAVPVAESettings(size=size))
        for levels, expected in ((generator.down, down), (generator.up, up)):
            assert [(level.norm.num_channels, len(level.cells) == 1) for level in levels] == expected
        smallest = []
        generator.down[-1].register_forward_hook(lambda level, arguments, result: smallest.append(result[0].shape))
        x = torch.zeros(1, 1, size, size)
        y, _ = generator(x, x, torch.zeros(1, 32), generator.start(x))
    assert y.shape == x.shape
    assert smallest[0][2:] == (8, 8), "what the dense layer of the kernels reads"


def test_a_latent_sees_its_own_pair_of_frames_alone():
    posterior, x = Posterior(1, 3, 2).double(), clip(5)
    changed = x.clone()
    changed[:, 2] += 0.5
    with torch.no_grad():
        for before, after in zip(posterior(x), posterior(changed), strict=True):
            assert before.shape == (2, 4, 2)
            assert [bool((before[:, t] != after[:, t]).all()) for t in range(4)] == [False, True, True, False]


def test_latents_of_a_prediction():
    """The posterior's mean while the next frame is known, then the prior's, 0."""
    predictor, past = tiny(), clip(3)
    seen = []
    predictor.generator.register_forward_pre_hook(lambda generator, arguments: seen.append(arguments[2]))
    with torch.no_grad():
        predictor(past, 2)
        mu, _ = predictor.posterior(past)
    assert torch.equal(torch.stack(seen[:2], dim=1), mu)
    assert len(seen) == 4
    assert not any(z.any() for z in seen[2:])
    assert mu.ne(0).all()


def test_the_latent_passes_an_lstm():
    """PyTorch's, which adds two biases and nothing to f."""
    generator, z = tiny().generator, torch.randn(3, 2, 2).double()
    lstm = torch.nn.LSTMCell(2, 2).double()
    i, j, f, o = (
        torch.cat([w, b[:, None]], dim=1)
        for w, b in zip(generator.lstm_z.weight.chunk(4), generator.lstm_z.bias.chunk(4), strict=True)
    )
    rows = torch.cat([i, f, j, o])
    with torch.no_grad():
        lstm.weight_ih.copy_(rows[:, :2])
        lstm.weight_hh.copy_(rows[:, 2:4])
        lstm.bias_ih.copy_(rows[:, 4])
        lstm.bias_hh.copy_(torch.tensor([0, 1, 0, 0]).repeat_interleave(2))
        x, state, expected = clip(1)[:, 0], None, None
        for one in z:
            _, state = generator(x, x, one, state or generator.start(x))
            expected = lstm(one, expected)
            for ours, theirs in zip(state[0], expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_time_step_is_wired_as_in_the_paper():
    """A U-Net whose decoder sees the encoder's maps of the same size, and seven pictures under one softmax."""
    predictor, (x, first) = tiny(size=64), clip(2).unbind(1)
    generator, seen = predictor.generator, {}
    for name, module in generator.named_modules():
        module.register_forward_hook(lambda module, given, result, name=name: seen.update({name: (given, result)}))
    with torch.no_grad():
        y, ((h, _), _) = generator(x, first, torch.randn(2, 2).double(), generator.start(x))
    given, result = ({name: value[part] for name, value in seen.items()} for part in (0, 1))
    down, up = ([result[f"{way}.{k}"][0] for k in range(3)] for way in ("down", "up"))
    for name, expected in {
        "down.0": torch.cat([x, first], dim=1),
        "down.1": down[0],
        "down.2": down[1],
        "up.0": down[2],
        "up.1": torch.cat([up[0], down[1]], dim=1),
        "up.2": torch.cat([up[1], down[0]], dim=1),
    }.items():
        assert torch.equal(given[name][0], expected), name
        assert given[name][1] is h, "every level sees the latent"
        z = h[:, :, None, None].expand(-1, -1, *expected.shape[2:])
        assert torch.equal(given[f"{name}.resize"][0], torch.cat([expected, z], dim=1))
    assert torch.equal(given["dense_w"][0].view(2, -1, 8, 8)[:, :, ::4, ::4], down[2]), "2 x 2 pixels, repeated"
    moved = cdna(x, kernels(result["dense_w"].view(2, 4, 5, 5)))
    pictures = torch.cat([moved, torch.stack([x, first, torch.sigmoid(result["scratch"])], dim=1)], dim=1)
    assert torch.equal(given["heads"][0], up[2])
    assert torch.equal(given["masks"][0][:, 3:], pictures.flatten(1, 2))
    masks = result["masks"].exp() / result["masks"].exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(y, (masks[:, :, None] * pictures).sum(dim=1), rtol=0, atol=1e-12)


def test_a_frame_is_put_together_from_pictures_in_range():
    with torch.no_grad():
        predicted = tiny()(clip(2).round(), 6)
    assert predicted.amin() >= 0
    assert predicted.amax() <= 1


def test_samples_are_draws_of_a_clip_and_of_nothing_else():
    predictor, past = tiny(), clip(3)
    with torch.no_grad():
        first, second = predictor.samples(past, 4, 2, [7, 8])
        torch.manual_seed(5)
        (again,) = predictor.samples(past[1:], 4, 1, [8])
        (shorter,) = predictor.samples(past, 2, 1, [7, 8])
        (other,) = predictor.samples(past, 4, 1, [9, 8])
        _, neighbour = predictor.samples(past[1:], 4, 2, [7])
        prediction = predictor(past, 4)
    torch.testing.assert_close(again[0], first[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(shorter, first[:, :2], rtol=0, atol=1e-12)
    assert torch.equal(other[1], first[1])
    for one, another in [(first, second), (first, prediction), (first[:1], other[:1]), (again, neighbour)]:
        assert (one - another).abs().amax() > 1e-6


def test_a_sample_draws_every_latent_once():
    predictor, past = tiny(), clip(3)
    seen = []
    predictor.generator.register_forward_pre_hook(lambda generator, arguments: seen.append(arguments[2]))
    with torch.no_grad():
        mu, log_variance = predictor.posterior(past)
        next(predictor.samples(past, 2, 1, [7, 8]))
    noise = [np.random.default_rng([seed, 0]).standard_normal((4, 2)) for seed in (7, 8)]
    noise = torch.from_numpy(np.stack(noise))
    known = Normal(mu, (log_variance / 2).exp())
    torch.testing.assert_close((torch.stack(seen[:2], dim=1) - known.mean) / known.stddev, noise[:, :2])
    assert torch.equal(torch.stack(seen[2:], dim=1), noise[:, 2:])


def test_the_loss_adds_the_annealed_divergence():
    past, future = clip(2), clip(3) ** 2
    settings = {"kl_from": 10, "kl_to": 20}
    without, weighted = tiny(**settings, kl_weight=0.0), tiny(**settings, kl_weight=0.5)
    with torch.no_grad():
        mu, log_variance = weighted.posterior(torch.cat([past, future], dim=1))
        divergence = kl_divergence(Normal(mu, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(-1).mean()
        for step, share in [(0, 0.0), (10, 0.0), (13, 0.3), (20, 1.0), (99, 1.0)]:
            added = weighted.loss(past, future, step) - without.loss(past, future, step)
            torch.testing.assert_close(added, 0.5 * share * divergence, rtol=1e-9, atol=1e-12)


def test_the_weight_of_the_divergence_is_a_function_of_the_step():
    s = SAVPVAESettings()
    assert [kl_weight(s, step) / s.kl_weight for step in (0, 50_000, 75_000, 100_000, 300_000)] == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize(("loss", "power"), [("l1", 1), ("l2", 2)])
def test_every_next_frame_counts_and_is_made_with_the_posterior(loss, power):
    predictor, past, future = tiny(loss=loss, sampling_k=1e9), clip(2), clip(3) ** 2
    frames = torch.cat([past, future], dim=1)
    with torch.no_grad():
        mu, log_variance = predictor.posterior(frames)
        noise = torch.from_numpy(np.random.default_rng([4, 9, 1]).standard_normal((2, 4, 2)))
        predicted = predictor.unroll(frames[:, :-1], mu + (log_variance / 2).exp() * noise)
        expected = (predicted - frames[:, 1:]).abs().pow(power).mean()
        torch.testing.assert_close(predictor.loss(past, future, step=9, seed=4), expected, rtol=1e-12, atol=0)


def test_in_the_end_the_model_reads_its_own_predictions():
    predictor, past, future = tiny(sampling_k=2.0), clip(2), clip(3) ** 2
    reads = []
    predictor.generator.register_forward_pre_hook(lambda generator, arguments: reads.append(arguments[0]))
    with torch.no_grad():
        predictor.loss(past, future, step=1_000)
    assert torch.equal(torch.stack(reads[:2], dim=1), past)
    assert all(not torch.equal(x, future[:, t]) for t, x in enumerate(reads[2:]))


def test_scheduled_sampling_falls_by_the_inverse_sigmoid():
    for step in (0, 3_000, 6_122, 8_000):
        expected = 900 / (900 + math.exp(step / 900))
        assert sampled_truth(step, 5, (200, 100), 900.0).mean() == pytest.approx(expected, abs=0.02)
    assert not sampled_truth(13_000, 5, (1_000, 100), 900.0).any(), "below 0.001 it is 0"
    assert not sampled_truth(10**9, 5, (9, 9), 900.0).any()
    assert (sampled_truth(6_000, 5, (8, 9), 900.0) == sampled_truth(6_000, 5, (8, 9), 900.0)).all()


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"width 20 is not a multiple of the patch, 8; .* 16 or 24, or set another size"
    ):
        create("savp_vae", ngf=2)(torch.rand(1, 1, 1, 16, 20), 1)
    with pytest.raises(ValueError, match=r"takes 1 channel\(s\), the frames have 3; .*set channels = 3"):
        tiny().loss(torch.rand(1, 2, 3, 16, 16), torch.rand(1, 2, 3, 16, 16), 0)
    with pytest.raises(ValueError, match=r"bad value 96 of size: .*32, 64, 128 or 256"):
        create("savp_vae", size=96)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_latent_is_a_constant_but_at_the_border(kernel):
    """What the instance normalisation after it leaves of z comes from the padding."""
    layer, x = ConvPool(1 + 2, 3, kernel).double(), torch.randn(1, 1, 12, 12).double()
    with torch.no_grad():
        one, other = (layer(tiled(x, z)) for z in torch.randn(2, 1, 2).double())
    effect, margin = one - other, (kernel // 2 + 1) // 2
    inner = effect[..., margin:-margin, margin:-margin]
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner), rtol=0, atol=1e-12)
    assert (effect - inner[..., :1, :1]).abs().amax() > 1e-3
