import numpy as np
import pytest
import torch

from astm import count_parameters, create
from astm.models.e3d_lstm import E3DLSTMCell, E3DLSTMSettings, recall
from astm.predictor import patchify
from tests.astm.models import reference

TINY = {"layers": 2, "hidden": 4, "kernel": (2, 3, 3), "sampling_steps": 0}


def clip(frames):
    return torch.rand(1, frames, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def weights(cell):
    w = {}
    for name, module in (("x", cell.conv_x), ("h", cell.conv_h), ("m", cell.conv_m)):
        w[name], w[name + ".b"] = module[0].conv.weight, module[0].conv.bias
        w[name + ".scale"], w[name + ".shift"] = module[1].weight, module[1].bias
    for name, conv in (("co", cell.conv_oc.conv), ("mo", cell.conv_om.conv), ("1", cell.conv_last)):
        w[name], w[name + ".b"] = conv.weight, conv.bias
    w["C.scale"], w["C.shift"] = cell.norm_c.weight, cell.norm_c.bias
    return {name: tensor.detach().double().numpy() for name, tensor in w.items()}


@pytest.mark.parametrize("kernel", [(2, 3, 3), (3, 5, 3), (2, 2, 4)])
def test_the_cell_is_the_eidetic_lstm(kernel):
    cell = E3DLSTMCell(2, E3DLSTMSettings(hidden=3, kernel=kernel))
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    X, (H, M, *Cs) = torch.randn(1, 2, 2, 3, 4), torch.randn(5, 1, 3, 2, 3, 4)
    with torch.no_grad():
        ours = cell(X, H, tuple(Cs), M)
    X, H, M, *Cs = (tensor[0].double().numpy() for tensor in (X, H, M, *Cs))
    for name, one, other in zip("HCM", ours, reference.e3d_lstm(weights(cell), X, H, Cs, M), strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-5, err_msg=name)


def test_the_network_attends_to_all_states_and_passes_m_on():
    predictor, past = create("e3d_lstm", **TINY).double(), clip(3).double()
    frames, out = patchify(past, 4)[0].numpy(), []
    zero = np.zeros((4, 2, 2, 2))
    H, C, M = [zero] * 2, [[zero], [zero]], zero
    before = np.zeros_like(frames[0])
    weight, bias = (parameter.detach().numpy() for parameter in predictor.decoder.parameters())
    for t in range(6):
        frame = frames[t] if t < 3 else out[-1]
        X, before = np.stack([before, frame], axis=1), frame
        for k, cell in enumerate(predictor.cells):
            X, state, M = reference.e3d_lstm(weights(cell), X, H[k], C[k], M)
            H[k] = X
            C[k].append(state)
        out.append(np.einsum("oil,ilhw->ohw", weight[..., 0, 0], X) + bias[:, None, None])
    with torch.no_grad():
        np.testing.assert_allclose(patchify(predictor(past, 4), 4)[0], np.stack(out[2:]), atol=1e-9)


def test_recall_looks_at_every_position_of_every_memory():
    R, *memories = torch.rand(4, 2, 3, 2, 2, 3)
    changed = [memory.clone() for memory in memories]
    changed[0][:, :, 1, 1, 2] += 5.0
    effect = (recall(R, tuple(changed)) - recall(R, tuple(memories))).abs()
    assert effect.flatten(2).amin(dim=2).gt(0).all(), "one position of the oldest memory is seen from all"


def test_the_new_memory_is_passed_on_unless_stale():
    memories = {}
    for stale in (False, True):
        torch.manual_seed(1)
        predictor = create("e3d_lstm", **TINY, stale_memory=stale)
        seen = memories.setdefault(stale, [])
        for cell in predictor.cells:
            cell.register_forward_pre_hook(lambda cell, arguments, seen=seen: seen.append(arguments[3]))
        predictor(clip(2), 2)
    assert not any(M.any() for M in memories[True]), "the official code: M stays zero"
    assert not memories[False][0].any()
    assert all(M.any() for M in memories[False][1:])


@pytest.mark.parametrize(("limit", "counts"), [(0, [1, 2, 3, 4, 5]), (3, [1, 2, 3, 3, 3])])
def test_how_far_recall_reaches(limit, counts):
    predictor = create("e3d_lstm", **TINY, recall=limit)
    seen = []
    predictor.cells[1].register_forward_pre_hook(lambda cell, arguments: seen.append(arguments[2]))
    predictor(clip(3), 3)
    assert [len(memories) for memories in seen] == counts
    assert len({memory.data_ptr() for memory in seen[-1]}) == counts[-1], "distinct states"


def test_the_loss_is_half_the_squared_plus_the_absolute_error():
    predictor = create("e3d_lstm", **TINY)
    predicted, frames = torch.full((1, 2, 16, 2, 2), 0.5), torch.zeros(1, 2, 16, 2, 2)
    assert predictor.criterion(predicted, frames).item() == pytest.approx(0.5 * 0.25 + 0.5)


def test_openstls_form_has_its_published_parameters_and_one_size():
    """Its table for KTH: 53.5 M."""
    with torch.device("meta"):
        predictor = create("e3d_lstm", hidden=128, patch=8, stride=2, form="openstl")
    assert count_parameters(predictor) == pytest.approx(53.5e6, rel=1e-3)
    with pytest.raises(ValueError, match=r"128 x 128 pixels \(grid \(16, 16\)\), got 128 x 64; .*grid to \[16, 8\]"):
        predictor(torch.empty(1, 2, 1, 128, 64, device="meta"), 1)
