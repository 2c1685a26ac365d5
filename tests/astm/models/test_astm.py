import gc
import weakref

import numpy as np
import pytest
import torch

from astm import ASTM, count_parameters, create
from astm.evaluation.cost import saved_bytes
from astm.models import astm as implementation
from astm.models.astm import EIFAG, ASTMCell, ASTMSettings, History, attend, eifag
from astm.predictor import patchify
from benchmarks.astm_memory import MIB, plain_eifag
from tests.astm.models import reference

SMALL = {"layers": 2, "hidden": 3, "kernel": (3, 3, 3), "tau": 3, "sampling_steps": 0}


def small(name="astm", **settings):
    torch.manual_seed(1)
    predictor = create(name, **{**SMALL, **settings})
    with torch.no_grad():  # larger than PyTorch's first weights, so that gates leave their linear range
        for parameter in predictor.parameters():
            parameter.mul_(2)
    return predictor


def clip(frames, size=(12, 12), batch=2):
    return torch.rand(batch, frames, 1, *size, generator=torch.Generator().manual_seed(2))


def memories(n, *, dtype=torch.float64, scale=2.0):
    return tuple(torch.randn(n, 2, 3, 2, 4, 4, dtype=dtype).mul(scale))


def full(states):
    return History(states, torch.zeros(len(states)))


def cell_weights(cell):
    """The weights of an `ASTMCell` under the names of the reference."""
    w = {}
    for name, sequence in (("x", cell.conv_x), ("h", cell.conv_h), ("m", cell.conv_m), ("o", cell.conv_o)):
        w[name], w[name + ".b"] = sequence[0].weight, sequence[0].bias
        if len(sequence) > 1:
            w[name + ".scale"], w[name + ".shift"] = sequence[1].weight, sequence[1].bias
    w["1"], w["1.b"] = cell.conv_last.weight, cell.conv_last.bias
    return {name: tensor.detach().double().numpy() for name, tensor in w.items()}


# ------------------------------------------------------------------------------------------------- against the paper


@pytest.mark.parametrize("norm", ["none", "group", "layer"])
@pytest.mark.parametrize("tau", [1, 4])
def test_the_cell_is_that_of_the_equations(norm, tau):
    settings = ASTMSettings(hidden=3, kernel=(3, 3, 5), tau=tau, norm=norm, grid=(4, 5))
    cell = ASTMCell(2, settings)
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    X, H, M = torch.randn(1, 2, 2, 4, 5), torch.randn(1, 3, 2, 4, 5), torch.randn(1, 3, 2, 4, 5)
    Cs = tuple(torch.randn(tau, 1, 3, 2, 4, 5) * 2)
    with torch.no_grad():
        ours = cell(X, H, full(Cs), full((M,)))
    X, H, M, *Cs = (tensor[0].double().numpy() for tensor in (X, H, M, *Cs))
    theirs = reference.astm(cell_weights(cell), X, H, Cs, [M])
    for name, one, other in zip("HCM", ours, theirs, strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "settings", [{}, {"window": 3, "norm": "group"}, {"history": "alias"}, {"tau": 2, "layers": 3}]
)
def test_the_network_is_that_of_figure_1(settings):
    """Zig-zag of M, window of frames, warm-up and tau of the history, feedback of predictions: ten steps, in NumPy."""
    predictor, past = small(**settings).double(), clip(4, batch=1).double()
    with torch.no_grad():
        ours = patchify(predictor(past, 7), 4)[0]
    s = predictor.settings
    theirs = reference.astm_network(
        [cell_weights(cell) for cell in predictor.cells],
        [tensor.detach().double().numpy() for tensor in (predictor.decoder.weight, predictor.decoder.bias)],
        patchify(past, 4)[0].numpy(),
        steps=10,
        tau=s.tau,
        window=s.window,
        alias=s.history == "alias",
    )
    np.testing.assert_allclose(ours, theirs[3:], atol=1e-9)


@pytest.mark.parametrize("n", [2, 5])
def test_eifag_is_equation_7(n):
    F, states = torch.rand(2, 3, 2, 4, 4, dtype=torch.float64), memories(n)
    ours = eifag(F, full(states))
    theirs = reference.eifag([state.numpy() for state in states], F.numpy())
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_eifag_attends_whatever_the_order():
    F, states = torch.rand(2, 3, 2, 4, 4, dtype=torch.float64), memories(4)
    torch.testing.assert_close(eifag(F, full(states)), eifag(F, full(states[::-1])), rtol=0, atol=1e-12)


def test_a_closed_gate_gives_the_mean_of_the_memories():
    states = memories(4)
    T = eifag(torch.zeros(2, 3, 2, 4, 4, dtype=torch.float64), full(states))
    torch.testing.assert_close(T, torch.stack(states).mean(0), rtol=0, atol=1e-12)


def test_weights_add_up_to_one_and_prefer_the_larger_memory():
    states = memories(3)
    _, C, a = attend(torch.full((2, 3, 2, 4, 4), 0.9, dtype=torch.float64), torch.zeros(3), states)
    torch.testing.assert_close(a.sum(0), torch.ones_like(a[0]), rtol=0, atol=1e-12)
    assert torch.equal(a.argmax(0), C.argmax(0))


def test_equal_memories_give_that_memory():
    """Why EIFAG has no effect in the authors' code, whose history holds one tensor tau times."""
    F, (state,) = torch.rand(2, 3, 2, 4, 4, dtype=torch.float64), memories(1)
    torch.testing.assert_close(eifag(F, full((state,) * 5)), state, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_large_memories_do_not_overflow(dtype):
    states = tuple(memory.to(dtype) for memory in memories(3, scale=2000.0))
    F = torch.ones(2, 3, 2, 4, 4, dtype=dtype)
    T = eifag(F, full(states))
    assert T.dtype == torch.float32, "computed and handed on in float32"
    torch.testing.assert_close(T, torch.stack(states).float().amax(0), rtol=0.01, atol=5)


# ----------------------------------------------------------------------------------------------- tau distinct states


def _histories(predictor, past, horizon):
    """What each call of the first cell attends to, and the C that it returns."""
    calls = []

    def record(cell, arguments, result):
        calls.append((arguments[2], result[1]))

    handle = predictor.cells[0].register_forward_hook(record)
    predictor(past, horizon)
    handle.remove()
    return calls


def test_the_history_holds_the_last_tau_memories_and_they_are_distinct():
    calls = _histories(small(), clip(4), 4)
    for t in range(3, 7):
        attended, made = calls[t][0], [C for _, C in calls[t - 3 : t]]
        assert all(one is other for one, other in zip(attended.memories, made, strict=True))
        assert len({memory.data_ptr() for memory in attended.memories}) == 3
        assert attended.absent.tolist() == [0, 0, 0]
        assert not torch.allclose(attended.memories[0], attended.memories[2], atol=1e-4)


@pytest.mark.parametrize("age", [1, 2, 3])
def test_every_one_of_the_tau_memories_matters(age):
    predictor, frames = small(), patchify(clip(5), 4)
    with torch.no_grad():
        state = predictor.start(frames[:, 0])
        for t in range(4):
            _, state = predictor.step(frames[:, t], state)
        before, _ = predictor.step(frames[:, 4], state)
        for k in range(2):
            window, H, Cs, Ms = state
            changed = list(Cs[k])
            changed[-age] = changed[-age] + 0.5
            other = (*Cs[:k], tuple(changed), *Cs[k + 1 :])
            after, _ = predictor.step(frames[:, 4], (window, H, other, Ms))
            assert (after - before).abs().max() > 1e-3


def test_gradients_reach_every_one_of_the_tau_memories():
    F, states = torch.rand(2, 3, 2, 4, 4), tuple(torch.randn(5, 2, 3, 2, 4, 4).requires_grad_().unbind(0))
    gradients = torch.autograd.grad(eifag(F, full(states)).sum(), states)
    assert all(gradient.abs().min() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    ("warmup", "counts"), [("grow", [1, 2, 3, 3, 3]), ("zeros", [3, 3, 3, 3, 3]), ("mask", [1, 1, 2, 3, 3])]
)
def test_warm_up(warmup, counts):
    calls = _histories(small(warmup=warmup), clip(5), 1)
    made = [C for _, C in calls]
    assert [int((history.absent == 0).sum()) for history, _ in calls] == counts
    for t, (history, _) in enumerate(calls):
        present = [m for m, gone in zip(history.memories, history.absent, strict=True) if gone == 0]
        real = made[max(0, t - counts[t]) : t] if warmup != "mask" or t else []
        zeros = present[: len(present) - len(real)]
        assert all(not zero.any() for zero in zeros)
        assert all(one is other for one, other in zip(present[len(zeros) :], real, strict=True))


def test_absent_memories_get_no_weight_and_no_gradient():
    F = torch.rand(2, 3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    states = tuple(state.requires_grad_() for state in memories(4))
    absent = torch.tensor([-torch.inf, -torch.inf, 0, 0])
    T = eifag(F, History(states, absent))
    torch.testing.assert_close(T, eifag(F, full(states[2:])), rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(T.sum(), [F, *states])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[1].any()
    assert not gradients[2].any()


@pytest.mark.parametrize("settings", [{"tau": 1}, {"history": "alias"}, {"attention": "none"}])
@pytest.mark.parametrize("warmup", ["grow", "zeros", "mask"])
def test_one_memory_and_an_alias_are_the_basic_model_exactly(settings, warmup):
    astm, basic = small(warmup=warmup, **settings), small("astm_basic")
    with torch.no_grad():
        assert torch.equal(astm(clip(4), 5), basic(clip(4), 5))


def test_attention_changes_the_prediction():
    with torch.no_grad():
        difference = small()(clip(4), 5) - small("astm_basic")(clip(4), 5)
    assert difference.abs().amax(dim=(0, 2, 3, 4)).min() > 1e-3


# ------------------------------------------------------------------------------------------------- speed and memory


def test_gradients_of_eifag_are_right():
    F = torch.rand(1, 1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    states = tuple(torch.randn(4, 1, 1, 2, 2, 2, dtype=torch.float64).mul(2).requires_grad_().unbind(0))
    assert torch.autograd.gradcheck(lambda F, *C: EIFAG.apply(F, torch.zeros(4), *C), (F, *states))
    absent = torch.tensor([-torch.inf, 0, 0, 0])
    assert torch.autograd.gradcheck(lambda F, *C: EIFAG.apply(F, absent, *C), (F, *states))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("name", ["astm", "stam"])
def test_recomputing_eifag_changes_nothing(monkeypatch, name, dtype, tolerance):
    results = []
    for function in (eifag, plain_eifag):
        monkeypatch.setattr(implementation, "eifag", function)
        predictor = small(name, norm="group").to(dtype)
        loss = predictor.loss(clip(3).to(dtype), clip(4).to(dtype), 0)
        loss.backward()
        results.append([loss.detach(), *(parameter.grad for parameter in predictor.parameters())])
    torch.testing.assert_close(*results, rtol=0, atol=tolerance)


def test_activations_saved_per_sample_are_within_budget():
    """Full size, counted on the meta device: the sizes are exact, nothing is computed."""
    with torch.device("meta"):
        predictor = create("astm", sampling_steps=0)
        past, future = torch.rand(2, 1, 10, 1, 64, 64).unbind(0)
    lean = saved_bytes(predictor, past, future) / MIB
    predictor.checkpoint = True
    recomputed = saved_bytes(predictor, past, future) / MIB
    assert 120 < lean < 135
    assert 20 < recomputed < 60


def test_saved_bytes_counts_a_known_graph():
    """Two of 4,000 bytes each for x * y and tanh, whose output is saved once though used twice."""

    class Toy(torch.nn.Module):
        def loss(self, past, future, step=0):
            x = torch.ones(1000, requires_grad=True) + past
            y = torch.tanh(x)
            return (y * y + future).sum()

    assert saved_bytes(Toy(), torch.zeros(1000), torch.zeros(1000)) == 4000


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_saved_bytes_leaves_no_graph_behind(device):
    """tanh saves its own output: a hook that keeps it keeps the graph as well, out of the collector's sight."""
    kept = []

    class Toy(torch.nn.Module):
        def loss(self, past, future, step=0):
            y = torch.tanh(torch.ones(10, requires_grad=True, device=device) + past)
            kept.append(weakref.ref(y))
            return (y * future).sum()

    assert saved_bytes(Toy(), torch.zeros(10, device=device), torch.zeros(10, device=device)) == 40
    gc.collect()
    assert kept[0]() is None


def test_one_compilation_serves_every_time_step():
    """Warm-up, tau and feedback must not have the cell compiled anew: first and other layers, context and feedback."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    plain, compiled = small(layers=3), small(layers=3)
    for cell in compiled.cells:
        cell.compile(backend=count, fullgraph=True)
    compiled.compiled = True
    losses = [predictor.loss(clip(5), clip(4), 0) for predictor in (plain, compiled)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-6)
    assert len(graphs) <= 3


def test_channels_last_predicts_the_same():
    predictor, past = small(), clip(4)
    with torch.no_grad():
        before = predictor(past, 3)
        after = predictor.to(memory_format=torch.channels_last_3d)(past, 3)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-5)


def test_memories_stay_in_float32_under_autocast():
    predictor = small(norm="group")
    with torch.autocast("cpu", torch.bfloat16):
        calls = _histories(predictor, clip(4), 3)
    assert {C.dtype for _, C in calls} == {torch.float32}


# ------------------------------------------------------------------------------------------------------------ options


def test_normalisation_adds_the_parameters_it_should():
    counts = {}
    for norm in ("none", "group", "layer"):
        with torch.device("meta"):
            counts[norm] = count_parameters(create("astm", norm=norm))
    assert counts["none"] == 18_086_928
    assert counts["group"] == counts["none"] + 4 * 15 * 64 * 2
    assert counts["layer"] == counts["none"] + 4 * 15 * 64 * 2 * (2 * 16 * 16)


def test_layer_normalisation_is_made_for_one_size():
    predictor = small(norm="layer", grid=(3, 3))
    assert predictor(clip(2), 1).shape[-2:] == (12, 12)
    with pytest.raises(ValueError, match=r"made for 12 x 12 pixels \(grid \(3, 3\)\), got 12 x 16; norm = 'group'"):
        predictor(clip(2, (12, 16)), 1)


def test_the_encoder_of_the_paper_is_one_convolution():
    with torch.device("meta"):
        encoded = create("astm", encoder="conv")
    assert [tuple(encoded.encoder.kernel_size), encoded.encoder.out_channels] == [(3, 5, 5), 64]
    layer_1 = 7 * 64 * (64 - 16) * 75  # reads 64 features instead of 16 pixels
    assert count_parameters(encoded) == 18_086_928 + 16 * 64 * 75 + 64 + layer_1
    small(encoder="conv").loss(clip(2), clip(2), 0).backward()


@pytest.mark.parametrize("pad", ["zeros", "replicate"])
def test_what_comes_before_the_first_frame(pad):
    windows = []
    predictor, past = small(pad=pad, window=3), clip(3)
    predictor.encoder.register_forward_hook(lambda encoder, arguments, result: windows.append(result))
    predictor(past, 1)
    frames = patchify(past, 4)
    before = frames[:, 0] if pad == "replicate" else torch.zeros_like(frames[:, 0])
    expected = [[before, before, frames[:, 0]], [before, *frames[:, :2].unbind(1)], list(frames.unbind(1))]
    for window, parts in zip(windows, expected, strict=True):
        assert torch.equal(window, torch.stack(parts, dim=2))


def test_the_forget_bias_opens_both_forget_gates():
    biased, plain = small(forget_bias=1.0), small(forget_bias=0.0)
    n = 3
    with torch.no_grad():
        for cell in plain.cells:
            for gate in (1, 4):  # F and f
                cell.conv_x[0].bias[gate * n : (gate + 1) * n] += 1
        torch.testing.assert_close(biased(clip(3), 3), plain(clip(3), 3), rtol=0, atol=1e-6)


def test_the_basic_model_is_an_astm():
    assert isinstance(create("astm_basic"), ASTM)
    assert create("astm_basic").settings.attention == "none"
