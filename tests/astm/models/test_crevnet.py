import gc
import itertools
import weakref

import numpy as np
import pytest
import torch

from astm import count_parameters, create, macs
from astm.evaluation.cost import saved_bytes
from astm.models.crevnet import Block, decode, encode, psi, unpsi
from astm.predictor import patchify
from tests.astm.models.reference import conv, layer_norm, sigmoid

SMALL = {"blocks": (2, 1), "layers": 3}
CELLS = ("conv_lstm", "st_lstm")


def small(cell="conv_lstm", **settings):
    torch.manual_seed(1)
    return create("crevnet", **{**SMALL, "cell": cell, **settings})


def clips(frames, size=(16, 16), channels=1, batch=2):
    return torch.rand(batch, frames, channels, *size, generator=torch.Generator().manual_seed(2))


# ------------------------------------------------------------------------------------------------ again, in NumPy


def numbers(module):
    return {name: value.detach().double().numpy() for name, value in module.named_parameters()}


def squeeze(x):
    """psi, pixel by pixel."""
    C, T, H, W = x.shape
    y = np.empty((4 * C, T, H // 2, W // 2))
    for dy, dx, c, h, w in itertools.product(range(2), range(2), range(C), range(H // 2), range(W // 2)):
        y[(2 * dy + dx) * C + c, :, h, w] = x[c, :, 2 * h + dy, 2 * w + dx]
    return y


def unsqueeze(y):
    C, T, h, w = y.shape
    x = np.empty((C // 4, T, 2 * h, 2 * w))
    for dy, dx in itertools.product(range(2), range(2)):
        x[:, :, dy::2, dx::2] = y[(2 * dy + dx) * C // 4 : (2 * dy + dx + 1) * C // 4]
    return x


def residual(block, x, first, down):
    """F, from its weights in order: normalisation, convolution, ...; the first block of all has no first one."""
    w = list(numbers(block.F).values())
    if not first:
        x = np.maximum(layer_norm(x, w.pop(0), w.pop(0)), 0)
    x = conv(x, w.pop(0))[:, :, :: 1 + down, :: 1 + down]
    while w:
        x = conv(np.maximum(layer_norm(x, w.pop(0), w.pop(0)), 0), w.pop(0))
    return x


def conv_lstm(w, x, h, c, m):
    i, f, o, g = np.split(conv(np.concatenate([x, h]), w["gates.weight"], w["gates.bias"]), 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c, m


def st_lstm(w, x, h, c, m):
    i, f, g = np.split(conv(np.concatenate([x, h, c]), w["gates.weight"], w["gates.bias"]), 3)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    i, f, g = np.split(conv(np.concatenate([x, m, c]), w["memory.weight"], w["memory.bias"]), 3)
    m = sigmoid(f) * m + sigmoid(i) * np.tanh(g)
    o = sigmoid(conv(np.concatenate([x, h, c, m]), w["out.weight"], w["out.bias"]))
    return o * np.tanh(conv(np.concatenate([c, m]), w["last.weight"], w["last.bias"])), c, m


def network(predictor, frames, steps):
    """Predicted clips (steps, C, 3, H, W) of one sample: `frames` (T, C, H, W) are known, no later ones are."""
    stages = [(stage, k) for stage, depth in enumerate(predictor.settings.blocks) for k in range(depth)]
    cell = {"conv_lstm": conv_lstm, "st_lstm": st_lstm}[predictor.settings.cell]
    clip, predicted = np.stack(frames[:3], axis=1), []
    h = c = [0.0] * len(predictor.cells)
    h, c, m = list(h), list(c), 0.0
    for t in range(steps):
        x1, x2 = np.split(squeeze(clip), 2)
        for block, (stage, k) in zip(predictor.blocks, stages, strict=True):
            down = stage > 0 and k == 0
            shrink = squeeze if down else np.asarray
            x1, x2 = shrink(x2), shrink(x1) + residual(block, x2, stage == k == 0, down)
        for n, (one, gate) in enumerate(zip(predictor.cells, predictor.gates, strict=True)):
            zero = np.zeros_like(x1)
            h[n], c[n], m = cell(numbers(one), x1, h[n] + zero, c[n] + zero, m + zero)
            g = sigmoid(conv(h[n], numbers(gate)["weight"], numbers(gate)["bias"]))
            x1, x2 = (1 - g) * x2 + g * h[n], x1
        for block, (stage, k) in reversed(list(zip(predictor.blocks, stages, strict=True))):
            down = stage > 0 and k == 0
            grow = unsqueeze if down else np.asarray
            x1, x2 = x2, grow(x1)
            x1 = grow(np.asarray(x1) - residual(block, x2, stage == k == 0, down))
        clip = unsqueeze(np.concatenate([x1, x2]))
        predicted.append(clip.copy())
        for place in range(3):
            if t + 1 + place < len(frames):
                clip[:, place] = frames[t + 1 + place]
    return np.stack(predicted)


@pytest.mark.parametrize("cell", CELLS)
def test_the_network_is_that_of_an_independent_computation(cell):
    predictor = small(cell).double()
    for parameter in predictor.parameters():
        torch.nn.init.uniform_(parameter, -0.4, 0.4)
    past = clips(4, (8, 12)).double()
    theirs = network(predictor, past[1].numpy(), 5)
    with torch.no_grad():
        np.testing.assert_allclose(predictor.unroll(past, 5)[1], theirs, atol=1e-9)
        np.testing.assert_allclose(predictor(past, 4)[1], theirs[1:, :, 2], atol=1e-9)


# ------------------------------------------------------------------------------------------------ the auto-encoder


def test_psi_is_space_to_depth_of_each_frame():
    frames = clips(3, (8, 12), channels=2)
    assert torch.equal(psi(frames.transpose(1, 2)).transpose(1, 2), patchify(frames, 2))
    assert torch.equal(unpsi(psi(frames)), frames)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("blocks", "channels"), [((4, 5, 3), 1), ((1, 2), 3)])
def test_decoder_and_encoder_are_inverse_to_each_other(mode, kind, tolerance, blocks, channels):
    blocks = small(blocks=blocks, channels=channels).to(kind).train(mode).all_blocks
    x = psi(clips(3, (16, 24), channels).to(kind).transpose(1, 2))
    y = torch.randn(2, 2 * blocks[-1].F[-1].out_channels, 3, 4, 5, dtype=kind)
    with torch.no_grad():
        features = encode(blocks, x)
        torch.testing.assert_close(decode(blocks, features), x, rtol=0, atol=tolerance)
        torch.testing.assert_close(encode(blocks, decode(blocks, y)), y, rtol=0, atol=10 * tolerance)
    assert features.numel() == x.numel()
    assert not torch.allclose(features.flatten().sort()[0], x.flatten().sort()[0], atol=0.1), "it only moves pixels"


def plain_gradients(function, block, x, dy):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), [x, *block.parameters()], dy)


@pytest.mark.parametrize("down", [False, True])
def test_a_block_is_undone_with_its_gradients(down):
    torch.manual_seed(3)
    block = Block(4, 16 if down else 4, down, first=False).double()
    x = torch.randn(2, 8, 3, 4, 6).double()
    y = block(x).detach()
    dx, dy = torch.randn_like(x), torch.randn_like(y)
    for given, gradient, function, undo, expected in (
        (y, dy, block, block.undo, x),
        (x, dx, block.inverse, block.undo_inverse, y),
    ):
        before, slope, parameters = undo(given, gradient)
        torch.testing.assert_close(before, expected, rtol=0, atol=1e-12)
        for one, other in zip([slope, *parameters], plain_gradients(function, block, expected, gradient), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


# ---------------------------------------------------------------------------------------- less memory, same gradients


def gradients(predictor, past, future, checkpoint):
    predictor.checkpoint = checkpoint
    predictor.zero_grad()
    predictor.loss(past, future, 0).backward()
    return torch.cat([parameter.grad.flatten().clone() for parameter in predictor.parameters()])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-2), (torch.float64, 1e-9)])
def test_the_reversible_backward_pass_gives_the_same_gradients(cell, kind, tolerance):
    """In float32 the inputs are rebuilt to 1e-5, and a ReLU near 0 may turn over."""
    predictor, past, future = small(cell).to(kind), clips(4).to(kind), clips(3).to(kind) ** 2
    plain, reversible = (gradients(predictor, past, future, checkpoint) for checkpoint in (False, True))
    assert (plain - reversible).norm() < tolerance * plain.norm()


def test_the_reversible_backward_pass_runs_in_the_precision_of_the_forward_pass():
    predictor, past, future, kinds = small(), clips(4), clips(3) ** 2, []
    exact = gradients(predictor, past, future, False)
    predictor.blocks[1].F[-1].register_forward_hook(lambda module, arguments, result: kinds.append(result.dtype))
    predictor.checkpoint = True
    predictor.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = predictor.loss(past, future, 0)
    loss.backward()  # outside, as the trainer does
    found = torch.cat([parameter.grad.flatten() for parameter in predictor.parameters()])
    assert kinds == [torch.bfloat16] * 4 * 2 * 2  # time steps, there and back, forward and backward pass
    assert (found - exact).norm() < 0.2 * exact.norm()


def test_with_batch_norm_checkpointing_changes_neither_gradients_nor_statistics():
    plain, recomputed = small(norm="batch").double(), small(norm="batch").double()
    past, future = clips(4).double(), clips(3).double() ** 2
    found = [gradients(one, past, future, on) for one, on in ((plain, False), (recomputed, True))]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)
    assert plain.blocks[0].F[1].num_batches_tracked == 4 * 2  # time steps, there and back
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, recomputed.get_buffer(name)), name


def kept(checkpoint, **settings):
    """Bytes for the backward pass of one 4 -> 3 sample at the published size."""
    predictor = create("crevnet", **settings)
    predictor.checkpoint = checkpoint
    return saved_bytes(predictor, *torch.rand(1, 7, 1, 64, 64).split([4, 3], dim=1))


@pytest.mark.parametrize("cell", CELLS)
def test_the_reversible_backward_pass_saves_memory(cell):
    plain, reversible = (kept(checkpoint, cell=cell) for checkpoint in (False, True))
    assert reversible < 0.12 * plain


def test_blocks_of_the_auto_encoder_cost_no_memory():
    """What is kept depends on the size of the features alone, however deep the auto-encoder."""
    assert kept(True, blocks=(1, 1, 1)) == kept(True, blocks=(4, 5, 3))
    assert kept(False, blocks=(4, 5, 3)) > 1.5 * kept(False, blocks=(1, 1, 1))


@pytest.mark.parametrize("checkpoint", [False, True])
def test_memory_is_freed_without_the_garbage_collector(checkpoint):
    predictor, outputs = small(), []
    predictor.checkpoint = checkpoint
    predictor.loss(clips(2), clips(3), 0).backward()  # torch's checkpoint leaves a cycle when a process first calls it
    for module in (predictor.cells[0], predictor.blocks[1].F):
        module.register_forward_hook(
            lambda module, arguments, result: outputs.append(
                weakref.ref(result if isinstance(result, torch.Tensor) else result[0])
            )
        )
    gc.collect()
    gc.disable()
    try:
        predictor.loss(clips(2), clips(3), 0).backward()
        alive = [reference for reference in outputs if reference() is not None]
    finally:
        gc.enable()
    assert len(outputs) >= 9
    assert not alive


# ------------------------------------------------------------------------------------------------ training, prediction


def test_training_reads_true_clips_only():
    """So that it does not matter where the past ends; the loss is a sum over time of means over whole clips."""
    predictor, frames = small().double(), clips(8).double()
    with torch.no_grad():
        loss = predictor.loss(frames[:, :5], frames[:, 5:], 0)
        assert torch.equal(loss, predictor.loss(frames[:, :3], frames[:, 3:], step=10_000, seed=1))
        predicted = predictor.unroll(frames, 5)
    errors = [(predicted[:, t, 0] - frames[:, t + 1 : t + 4, 0]).square().mean() for t in range(5)]
    torch.testing.assert_close(loss, sum(errors), rtol=1e-12, atol=0)


def test_without_teacher_forcing_training_reads_what_prediction_reads():
    predictor, past, future = small(teacher_forcing=False), clips(4), clips(3) ** 2
    with torch.no_grad():
        predicted = predictor.unroll(past, 4)
        true = torch.stack([torch.cat([past, future], 1)[:, t + 1 : t + 4] for t in range(4)], dim=1).transpose(2, 3)
        torch.testing.assert_close(predictor.loss(past, future, 0), 4 * (predicted - true).square().mean())
        assert not torch.allclose(small().loss(past, future, 0), predictor.loss(past, future, 0), rtol=1e-4)


def test_a_short_past_is_preceded_by_copies_of_its_first_frame():
    predictor, past = small(), clips(2)
    longer = torch.cat([past[:, :1], past], dim=1)
    with torch.no_grad():
        assert torch.equal(predictor(past, 3), predictor(longer, 3))
        assert torch.equal(predictor.loss(past, clips(3), 0), predictor.loss(longer, clips(3), 0))


def test_a_size_that_its_stages_do_not_tile_is_refused():
    with pytest.raises(ValueError, match=r"multiple of the patch, 8; .* 16 or 24, or set another number of stages"):
        create("crevnet", blocks=(1, 1, 1), layers=2)(clips(3, (16, 20)), 2)
    with pytest.raises(ValueError, match="crevnet: bad value 1 of layers"):
        create("crevnet", layers=1)


# ------------------------------------------------------------------------------------------------ published numbers


def auto_encoder_parameters():
    """12 blocks of 3 x 3 x 3 convolutions, half the width in the middle (at least 1), two numbers to scale each."""
    total, before = 0, 2
    for width, depth in ((2, 4), (8, 5), (32, 3)):
        n = max(1, width // 2)
        for k in range(depth):
            inputs = before if k == 0 else width
            total += 27 * n * (inputs + n + width) + 4 * n + 2 * inputs
        before = width
    return total - 2 * 2  # the first block of all starts with a convolution


@pytest.mark.parametrize(
    ("cell", "each", "exact"),
    [
        ("conv_lstm", 64 * 128 * 27 + 128, 1_883_460),
        ("st_lstm", 2 * (96 * 96 * 27 + 96) + 128 * 32 * 27 + 32 + 64 * 32 + 32, 4_997_444),
    ],
)
def test_parameters_are_those_published(cell, each, exact):
    """OpenSTL's table gives 5.0 M for the ST-LSTM, and 270.7 GMAC: 16 times ours, its batch being 16."""
    with torch.device("meta"):
        predictor = create("crevnet", cell=cell)
    assert count_parameters(predictor) == auto_encoder_parameters() + 8 * (each + 32 * 32 + 32) == exact
    if cell == "st_lstm":
        steps = 17  # of 10 -> 10
        assert 16 * steps * macs(predictor, past=3, horizon=1) / 1e9 == pytest.approx(270.7, rel=2e-3)
