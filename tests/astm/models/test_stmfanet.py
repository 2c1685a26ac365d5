import numpy as np
import pytest
import torch
from torch.nn import functional

from astm import create
from astm.models.stmfanet import ConvLSTMCell, Decoder, STMFANetSettings, gradient_difference, haar, haar_in_time
from tests.astm.models import reference

TINY = {"scales": 2, "growth": 4, "block": 2, "hidden": 16}


def tiny(**settings):
    torch.manual_seed(1)
    return create("stmfanet", **{**TINY, **settings}).double()


def clip(frames, size=(16, 16), batch=2):
    return torch.rand(batch, frames, 1, *size, generator=torch.Generator().manual_seed(2)).double()


def test_sub_bands_in_space_are_an_orthonormal_basis():
    """Each pixel's unit picture: the 16 transforms are the columns of an orthogonal matrix."""
    units = torch.eye(16).double().view(16, 4, 4)
    LL, details = haar(units)
    matrix = torch.cat([LL.flatten(1), details.flatten(1)], dim=1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16).double())


def test_sub_bands_in_space_have_their_direction():
    rows, columns = torch.ones(4, 4), torch.ones(4, 4)
    rows[1::2], columns[:, 1::2] = 0, 0
    for picture, band in [(rows, 0), (columns, 1), ((rows - columns) ** 2, 2)]:
        LL, details = haar(picture)
        energy = details.square().sum(dim=(1, 2))
        assert energy[band] > 0
        assert energy.sum() == energy[band]
        assert (LL == 1).all()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_sub_bands_in_time_are_the_haar_basis(levels):
    count = 2**levels
    matrix = haar_in_time(torch.eye(count).double(), levels).T.numpy()  # a row for each sub-band picture
    expected = [np.full(count, count**-0.5)]
    for pieces in [2**k for k in range(levels)]:
        length = count // pieces
        for k in range(pieces):
            wavelet = np.zeros(count)
            wavelet[k * length : k * length + length // 2], wavelet[k * length + length // 2 : (k + 1) * length] = (
                1,
                -1,
            )
            expected.append(wavelet / length**0.5)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_the_temporal_module_sees_the_last_frames_the_first_one_repeated():
    predictor, past = tiny(), clip(3)
    windows = []
    predictor.motion.register_forward_pre_hook(lambda module, arguments: windows.append(arguments[0]))
    with torch.no_grad():
        predicted = predictor(past, 8)
    frames = 2 * torch.cat([past[:, :1].repeat(1, 7, 1, 1, 1), past, predicted], dim=1) - 1
    assert len(windows) == 10
    for t, window in enumerate(windows):
        torch.testing.assert_close(window, frames[:, t : t + 8], rtol=0, atol=1e-12)


def test_the_encoder_adds_the_features_of_the_sub_bands_of_each_scale():
    encoder, seen = tiny().encoder, {}
    for name, module in encoder.named_modules():
        module.register_forward_hook(lambda module, given, result, name=name: seen.update({name: (given[0], result)}))
    x = torch.randn(2, 1, 16, 24).double()
    with torch.no_grad():
        encoder(x)
        LL, y = x, seen["stem"][1]
        for scale in range(2):
            before = y
            for layer in range(2):
                assert torch.equal(seen[f"blocks.{scale}.layers.{layer}"][0], y)
                y = torch.cat([y, seen[f"blocks.{scale}.layers.{layer}"][1]], dim=1)
            assert y.shape[1] == before.shape[1] + 2 * 4
            assert torch.equal(seen[f"transitions.{scale}"][0], y)
            bands = LL.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, C, h, dy, w, dx)
            LL = bands.sum(dim=(3, 5)) / 2
            torch.testing.assert_close(seen[f"wavelets.encoders.{scale}"][0][:, :1], LL, rtol=0, atol=1e-12)
            y = seen[f"transitions.{scale}"][1] + seen[f"wavelets.encoders.{scale}"][1]
        assert torch.equal(seen["out"][0], y)


def test_the_cell_is_a_convlstm():
    cell = ConvLSTMCell(3).double()
    X, H, C = torch.randn(3, 3, 4, 5).double()
    with torch.no_grad():
        ours = [tensor[0].numpy() for tensor in cell(X[None], H[None], C[None])]
    gates = reference.conv(np.concatenate([X, H]), cell.W.weight.detach().numpy(), cell.W.bias.detach().numpy())
    i, j, f, o = np.split(gates, 4)
    C = reference.sigmoid(f + 1) * C.numpy() + reference.sigmoid(i) * np.tanh(j)
    np.testing.assert_allclose(ours[1], C, atol=1e-12)
    np.testing.assert_allclose(ours[0], reference.sigmoid(o) * np.tanh(C), atol=1e-12)


@pytest.mark.parametrize("scales", [2, 3])
def test_the_decoder_is_unpooling_by_zeros_and_transposed_convolutions(scales):
    decoder, H = Decoder(STMFANetSettings(scales=scales, hidden=16, channels=3)).double(), torch.randn(1, 16, 2, 3)
    widths = {2: [16, 16, 8, 4, 4, 3], 3: [16, 16, 8, 4, 4, 2, 2, 3]}[scales]
    layers = [layer for layer in decoder if hasattr(layer, "weight")]
    assert [layers[0].in_channels, *(layer.out_channels for layer in layers)] == widths
    y = H = H.double()
    with torch.no_grad():
        for layer in layers:
            weight = layer.weight
            if isinstance(layer, torch.nn.ConvTranspose2d):
                unpooled = torch.zeros(*y.shape[:2], 2 * y.shape[2], 2 * y.shape[3]).double()
                unpooled[:, :, ::2, ::2] = y
                y = unpooled
            else:
                weight = weight.transpose(0, 1).flip(2, 3)
            y = functional.conv_transpose2d(y, weight, layer.bias, padding=1)
            y = torch.tanh(y) if layer is layers[-1] else torch.relu(y)
        torch.testing.assert_close(decoder(H), y, rtol=0, atol=1e-12)


def test_prediction_starts_from_the_brightness():
    """An empty state draws it, because no other bias of the decoder is drawn."""
    decoder = Decoder(STMFANetSettings(hidden=32, brightness=0.05))
    torch.testing.assert_close((decoder(torch.zeros(1, 32, 2, 2)) + 1) / 2, torch.full((1, 1, 16, 16), 0.05))


def test_the_decoder_keeps_the_scale_of_what_it_is_given():
    """Each layer adds up 9 taps, or 9 / 4 where zeros lie between pixels, of what ReLU left: half of the power."""
    net = Decoder(STMFANetSettings(hidden=128))
    x, powers = torch.randn(2, 128, 8, 8, generator=torch.Generator().manual_seed(0)), []
    with torch.no_grad():
        for layer in list(net)[:-1]:
            x = layer(x)
            if not isinstance(layer, torch.nn.ReLU):
                powers.append(x.square().mean().item())
    assert all(0.4 < power < 4 for power in powers)


def test_gradient_difference():
    predicted, target = np.random.default_rng(1).random((2, 2, 3, 1, 5, 6))
    expected = sum(np.abs(np.diff(predicted, axis=a) - np.diff(target, axis=a)).mean() for a in (-1, -2))
    ours = gradient_difference(torch.from_numpy(predicted), torch.from_numpy(target))
    assert ours.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_loss_is_of_predictions_from_predictions(weight):
    predictor, past, future = tiny(gradient=weight), clip(3), clip(4) ** 2
    with torch.no_grad():
        predicted = predictor(past, 4)
        expected = functional.mse_loss(predicted, future) + weight * gradient_difference(predicted, future)
        for step in (0, 100_000):
            torch.testing.assert_close(predictor.loss(past, future, step), expected, rtol=1e-12, atol=0)
    assert predicted.amin() > 0
    assert predicted.amax() < 1


def test_both_wavelet_modules_count():
    """Without either module's features the prediction is another."""
    past = clip(4)
    with torch.no_grad():
        whole = tiny()(past, 2)
        for part in ("motion.net", "encoder.wavelets.encoders.0", "encoder.wavelets.encoders.1"):
            predictor = tiny()
            predictor.get_submodule(part)[-2].weight.zero_()
            assert (predictor(past, 2) - whole).abs().amax() > 1e-4, part


# --------------------------------------------------------------------------------------------------- the adversary


def gradients(predictor, loss):
    predictor.zero_grad()
    loss.backward()
    return {name: weight.grad for name, weight in predictor.named_parameters()}


def test_each_side_learns_from_its_own_loss():
    """The predictor's gradient is that of a game against a fixed judge, the judge's that of judging fixed frames."""
    predictor, past, future = tiny(adversarial=0.3, discriminator=4), clip(3), clip(2)
    both = gradients(predictor, predictor.loss(past, future, 0))
    judge, plain = predictor.discriminator, functional.binary_cross_entropy_with_logits
    one, zero = torch.ones(2).double(), torch.zeros(2).double()

    predicted = predictor(past, 2)
    content = functional.mse_loss(predicted, future) + gradient_difference(predicted, future)
    fooled = judge(torch.cat([past, predicted], dim=1))
    ours = gradients(predictor, content + 0.3 * plain(fooled, one))
    predicted = predictor(past, 2).detach()
    judged = plain(judge(torch.cat([past, predicted], dim=1)), zero) + plain(judge(torch.cat([past, future], 1)), one)
    theirs = gradients(predictor, judged)
    for name, gradient in both.items():
        expected = (theirs if name.startswith("discriminator.") else ours)[name]
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-14, msg=name)
        assert gradient.abs().sum() > 0, name


def test_the_adversary_learns_to_tell_and_the_predictor_to_fool():
    predictor, past = tiny(adversarial=1.0, discriminator=4).float(), clip(3).float()
    future = past[:, -1:].repeat(1, 2, 1, 1, 1)
    optimiser = torch.optim.Adam(predictor.discriminator.parameters(), 1e-2)

    def judge(frames):
        return predictor.discriminator(torch.cat([past, frames], dim=1)).mean()

    for step in range(20):
        optimiser.zero_grad()
        predictor.loss(past, future, step).backward()
        optimiser.step()
    with torch.no_grad():
        before = judge(predictor(past, 2))
        assert judge(future) > 0 > before
    optimiser = torch.optim.Adam([w for n, w in predictor.named_parameters() if "discriminator" not in n], 1e-3)
    for step in range(10):
        optimiser.zero_grad()
        predictor.loss(past, future, step).backward()
        optimiser.step()
    with torch.no_grad():
        assert judge(predictor(past, 2)) > before


def test_there_is_no_adversary_unless_asked_for():
    assert not any("discriminator" in name for name in tiny().state_dict())
    on = tiny(adversarial=0.1, discriminator=4)
    off = tiny()
    off.load_state_dict({name: value for name, value in on.state_dict().items() if "discriminator" not in name})
    with torch.no_grad():
        assert torch.equal(on(clip(2), 3), off(clip(2), 3))
        added = on.game(clip(2), on(clip(2), 3), clip(3))
        torch.testing.assert_close(on.loss(clip(2), clip(3), 0) - added, off.loss(clip(2), clip(3), 0))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"height 12 is not a multiple of the patch, 8; .* 8 or 16, or set fewer scales"
    ):
        create("stmfanet", growth=2, hidden=16)(torch.rand(1, 1, 1, 12, 16), 1)
    with pytest.raises(ValueError, match=r"takes 1 channel\(s\), the frames have 3"):
        tiny().loss(clip(2), torch.rand(1, 2, 3, 16, 16), 0)
