import numpy as np
import torch

from astm import create
from astm.models.predrnn import PredRNNSettings, STLSTMCell
from astm.predictor import patchify
from tests.astm.models import reference


def weights(cell):
    w = {}
    for operand, sequence, gates in (
        ("x", cell.conv_x, ("g", "i", "f", "g'", "i'", "f'", "o")),
        ("h", cell.conv_h, ("g", "i", "f", "o")),
        ("m", cell.conv_m, ("g'", "i'", "f'")),
    ):
        parts = sequence[0].weight.detach().double().chunk(len(gates))
        w |= {operand + gate: part.numpy() for gate, part in zip(gates, parts, strict=True)}
    w["co"], w["mo"] = (part.detach().double().numpy() for part in cell.conv_o[0].weight.chunk(2, dim=1))
    w["1"] = cell.conv_last.weight.detach().double().numpy()
    return w


def test_the_cell_is_the_st_lstm():
    n = 3
    cell = STLSTMCell(2, PredRNNSettings(hidden=n, kernel=3))
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    X, (H, C, M) = torch.randn(1, 2, 5, 4), torch.randn(3, 1, n, 5, 4)
    with torch.no_grad():
        ours = cell(X, H, C, M)
    theirs = reference.st_lstm(weights(cell), *(tensor[0].double().numpy() for tensor in (X, H, C, M)))
    for name, one, other in zip("HCM", ours, theirs, strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-5, err_msg=name)


def test_the_network_lets_m_zig_zag():
    predictor, past = create("predrnn", layers=2, hidden=3, kernel=3).double(), torch.rand(1, 3, 1, 8, 12).double()
    frames, out = patchify(past, 4)[0].numpy(), []
    zero = np.zeros((3, 2, 3))
    H, C, M = [zero] * 2, [zero] * 2, zero
    for t in range(6):
        X = frames[t] if t < 3 else out[-1]
        for k, cell in enumerate(predictor.cells):
            X, C[k], M = reference.st_lstm(weights(cell), X, H[k], C[k], M)
            H[k] = X
        out.append(reference.conv(X, predictor.decoder.weight.detach().numpy()))
    with torch.no_grad():
        np.testing.assert_allclose(patchify(predictor(past, 4), 4)[0], np.stack(out[2:]), atol=1e-9)
