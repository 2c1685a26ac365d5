import numpy as np
import pytest
import torch

from astm import create
from astm.models.predrnn_pp import GHU, CausalLSTMCell, PredRNNppSettings
from astm.predictor import patchify
from tests.astm.models import reference


def weights(names):
    """Convolutions and their normalisation under the names of the reference."""
    w = {}
    for name, module in names.items():
        conv, *norm = module if isinstance(module, torch.nn.Sequential) else [module]
        w[name], w[name + ".b"] = conv.weight, conv.bias
        if norm:
            w[name + ".scale"], w[name + ".shift"] = norm[0].weight, norm[0].bias
    return {name: tensor.detach().double().numpy() for name, tensor in w.items()}


def cell_weights(cell):
    names = {"x": cell.conv_x, "h": cell.conv_h, "c": cell.conv_c, "m": cell.conv_m}
    return weights(names | {"c new": cell.conv_c_new, "m new": cell.conv_m_new, "1": cell.conv_last})


def uniform(module):
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    return module


@pytest.mark.parametrize("norm", ["group", "none"])
def test_the_cell_is_the_causal_lstm(norm):
    """With another width of M coming in (4) than going out (3)."""
    cell = uniform(CausalLSTMCell(2, 4, 3, PredRNNppSettings(kernel=3, norm=norm)))
    X, H, C, M = (torch.randn(1, channels, 5, 4) for channels in (2, 3, 3, 4))
    with torch.no_grad():
        ours = cell(X, H, C, M)
    w = cell_weights(cell)
    theirs = reference.causal_lstm(w, *(tensor[0].double().numpy() for tensor in (X, H, C, M)))
    for name, one, other in zip("HCM", ours, theirs, strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_the_highway_is_equation_4(norm):
    highway = uniform(GHU(3, PredRNNppSettings(kernel=3, norm=norm)))
    X, Z = torch.randn(2, 1, 3, 5, 4)
    with torch.no_grad():
        ours = highway(X, Z)
    w = weights({"x": highway.conv_x, "z": highway.conv_z})
    np.testing.assert_allclose(ours[0], reference.ghu(w, X[0].double().numpy(), Z[0].double().numpy()), atol=1e-5)


def test_the_spatial_memory_has_the_width_of_the_layer_before():
    predictor = create("predrnn_pp")
    widths = [(cell.conv_m[0].in_channels, cell.conv_m[0].out_channels // 3) for cell in predictor.cells]
    assert widths == [(64, 128), (128, 64), (64, 64), (64, 64)]


def test_the_network_has_its_highway_between_layers_1_and_2():
    predictor, past = create("predrnn_pp", hidden=(4, 3, 3), kernel=3).double(), torch.rand(1, 3, 1, 8, 12).double()
    frames, out = patchify(past, 4)[0].numpy(), []
    H, C = ([np.zeros((n, 2, 3)) for n in (4, 3, 3)] for _ in range(2))
    M, Z = np.zeros((3, 2, 3)), np.zeros((4, 2, 3))
    highway = weights({"x": predictor.highway.conv_x, "z": predictor.highway.conv_z})
    for t in range(6):
        X = frames[t] if t < 3 else out[-1]
        for k, cell in enumerate(predictor.cells):
            X, C[k], M = reference.causal_lstm(cell_weights(cell), X, H[k], C[k], M)
            H[k] = X
            if k == 0:
                X = Z = reference.ghu(highway, X, Z)
        out.append(reference.conv(X, *(p.detach().numpy() for p in predictor.decoder.parameters())))
    with torch.no_grad():
        np.testing.assert_allclose(patchify(predictor(past, 4), 4)[0], np.stack(out[2:]), atol=1e-9)
