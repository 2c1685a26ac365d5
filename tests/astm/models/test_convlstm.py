import numpy as np
import torch

from astm import create
from astm.models.convlstm import ConvLSTMCell
from astm.predictor import patchify
from tests.astm.models import reference


def weights(cell):
    weight, bias = cell.W.weight.detach().double().numpy(), cell.W.bias.detach().double().numpy()
    n = len(bias) // 4
    w = {}
    for k, gate in enumerate("ifco"):
        rows = slice(k * n, (k + 1) * n)
        w["x" + gate], w["h" + gate], w["b" + gate] = weight[rows, :-n], weight[rows, -n:], bias[rows]
    for gate in "ifo":
        peephole = getattr(cell, "W_c" + gate, torch.zeros(n))
        w["c" + gate] = peephole.detach().double().numpy().ravel()
    return w


def test_the_cell_is_equation_3_with_peepholes():
    n = 3
    cell = ConvLSTMCell(inputs=2, hidden=n, kernel=3, peepholes=True)
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    X, H, C = torch.randn(1, 2, 5, 4), torch.randn(1, n, 5, 4), torch.randn(1, n, 5, 4)
    with torch.no_grad():
        ours = cell(X, H, C)
    theirs = reference.convlstm(weights(cell), *(tensor[0].double().numpy() for tensor in (X, H, C)))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-5)


def test_the_network_carries_both_states_of_each_layer():
    predictor, past = create("convlstm", hidden=(3, 4), kernel=3).double(), torch.rand(1, 3, 1, 8, 12).double()
    frames, out = patchify(past, 4)[0].numpy(), []
    states = [(np.zeros((n, 2, 3)),) * 2 for n in (3, 4)]
    for t in range(6):
        X = frames[t] if t < 3 else out[-1]
        for k, cell in enumerate(predictor.cells):
            states[k] = reference.convlstm(weights(cell), X, *states[k])
            X = states[k][0]
        out.append(reference.conv(X, *(p.detach().numpy() for p in predictor.decoder.parameters())))
    with torch.no_grad():
        np.testing.assert_allclose(patchify(predictor(past, 4), 4)[0], np.stack(out[2:]), atol=1e-9)


def test_peepholes_are_off_by_default_and_train_when_on():
    assert not [name for name, _ in create("convlstm", hidden=(4,)).named_parameters() if "W_c" in name]
    predictor = create("convlstm", hidden=(4, 4), kernel=3, peepholes=True)
    predictor.loss(torch.rand(1, 3, 1, 8, 8), torch.rand(1, 2, 1, 8, 8), 0).backward()
    peepholes = {name: p.grad for name, p in predictor.named_parameters() if "W_c" in name}
    assert len(peepholes) == 6
    assert all(gradient.abs().sum() > 0 for gradient in peepholes.values())


def test_the_small_form_has_64_channels():
    assert create("convlstm", hidden=[64] * 4).settings.hidden == (64, 64, 64, 64)
