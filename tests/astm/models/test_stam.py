import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from astm import create, import_stam
from astm.models.stam import STAM
from astm.predictor import patchify
from astm.pretrained.store import CheckpointError
from tests.astm.models import reference

HIDDEN, LAYERS, DEPTH, WINDOW, GRID = 3, 2, 16, 2, (3, 4)


def public_state_dict(kernel=(3, 3, 3)):
    """A state dict with the names and shapes of core/models/STAM.py and core/layers/STAMCell.py of the public code."""
    generator = torch.Generator().manual_seed(5)

    def values(*shape, scale=0.3):
        return torch.randn(*shape, generator=generator) * scale

    weights = {}
    for layer in range(LAYERS):
        inputs = {"x": DEPTH if layer == 0 else HIDDEN, "h": HIDDEN, "m": HIDDEN, "o": 2 * HIDDEN}
        for name, times in (("x", 7), ("h", 4), ("m", 3), ("o", 1)):
            at = f"cell_list.{layer}.conv_{name}"
            weights[f"{at}.0.weight"] = values(times * HIDDEN, inputs[name], *kernel)
            weights[f"{at}.0.bias"] = values(times * HIDDEN)
            weights[f"{at}.1.weight"] = 1 + values(times * HIDDEN, WINDOW, *GRID)
            weights[f"{at}.1.bias"] = values(times * HIDDEN, WINDOW, *GRID)
        weights[f"cell_list.{layer}.conv_last.weight"] = values(HIDDEN, 2 * HIDDEN, 1, 1, 1)
        weights[f"cell_list.{layer}.conv_last.bias"] = values(HIDDEN)
    weights["conv_last.weight"] = values(DEPTH, HIDDEN, WINDOW, 1, 1)
    weights["conv_last.bias"] = values(DEPTH)
    return weights


def reference_cells(weights):
    cells = []
    for layer in range(LAYERS):
        w = {}
        for name in "xhmo":
            at = f"cell_list.{layer}.conv_{name}"
            w[name], w[name + ".b"] = weights[f"{at}.0.weight"], weights[f"{at}.0.bias"]
            w[name + ".scale"], w[name + ".shift"] = weights[f"{at}.1.weight"], weights[f"{at}.1.bias"]
        w["1"], w["1.b"] = (weights[f"cell_list.{layer}.conv_last.{part}"] for part in ("weight", "bias"))
        cells.append({name: tensor.double().numpy() for name, tensor in w.items()})
    return cells


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.ckpt-155000"
    torch.save({"net_param": public_state_dict()}, path)
    return path


def test_settings_are_read_off_the_weights(checkpoint):
    s = import_stam(checkpoint).settings
    assert (s.layers, s.hidden, s.kernel, s.patch, s.window, s.grid) == (2, 3, (3, 3, 3), 4, 2, (3, 4))
    assert (s.tau, s.norm, s.history, s.attention, s.encoder) == (5, "layer", "alias", "eifag", "identity")


@pytest.mark.parametrize("tau", [5, 3])
def test_the_imported_model_predicts_what_the_public_code_computes(checkpoint, tau):
    """Against NumPy: aliased temporal history, attention over the last tau spatial memories along the zig-zag."""
    stam, past = import_stam(checkpoint, tau=tau).double(), torch.rand(1, 4, 1, 12, 16).double()
    weights = public_state_dict()
    theirs = reference.astm_network(
        reference_cells(weights),
        [weights[f"conv_last.{part}"].double().numpy() for part in ("weight", "bias")],
        patchify(past, 4)[0].numpy(),
        steps=9,
        tau=tau,
        spatial_tau=tau,
        alias=True,
    )
    with torch.no_grad():
        np.testing.assert_allclose(patchify(stam(past, 6), 4)[0], theirs[3:], atol=1e-9)


def test_a_safetensors_file_of_the_same_weights_will_do(checkpoint, tmp_path):
    save_file(public_state_dict(), tmp_path / "stam.safetensors")
    one, other = import_stam(checkpoint), import_stam(tmp_path / "stam.safetensors")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_spatial_attention_sees_tau_distinct_memories():
    predictor = create("stam", layers=2, hidden=4, tau=5, norm="group")
    attended = []
    predictor.cells[1].register_forward_pre_hook(lambda cell, arguments: attended.append(arguments[3]))
    predictor(torch.rand(1, 4, 1, 8, 8), 1)
    assert [int((history.absent == 0).sum()) for history in attended] == [2, 4, 5, 5]
    assert len({memory.data_ptr() for memory in attended[-1].memories}) == 5


def test_the_public_configuration_has_its_number_of_parameters():
    """4 layers of 32, 3 x 3 x 3, patches of 4, LayerNorm with a scale per element of a 2 x 16 x 16 window."""
    convolutions = sum((7 * x + 4 * 32 + 3 * 32 + 64) * 32 * 27 + 64 * 32 + 16 * 32 for x in (16, 32, 32, 32))
    norms = 4 * 15 * 32 * (2 * 16 * 16) * 2
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in create("stam").parameters())
    assert parameters == convolutions + norms + 2 * 32 * 16 + 16


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net_param": public_state_dict() | {"conv_encoder.encoder0.weight": torch.ones(1)}}, "only sr_size = 1"),
        ({"net_param": {"fc.weight": torch.ones(1)}}, "cell_list.0.conv_h.0.weight is missing"),
        ({"net_param": public_state_dict() | {"extra": torch.ones(1)}}, "stam does not have extra"),
        ({"net_param": public_state_dict(kernel=(3, 2, 3))}, "bad value 2 of kernel.1"),
        ({"state_dict": {}}, "it has no state dict of tensors"),
        ({"net_param": {"a": 1}}, "it has no state dict of tensors"),
        (["net_param"], "it has no state dict of tensors"),
        ({"net_param": Harmful()}, "cannot be read as tensors alone"),
        (b"not a checkpoint", "cannot be read as tensors alone"),
        (None, "does not exist"),
    ],
)
def test_what_is_not_such_a_checkpoint_is_refused(tmp_path, content, message):
    path = tmp_path / "model.ckpt-1"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        import_stam(path)


def test_an_imported_model_is_saved_and_loaded(checkpoint, tmp_path):
    stam, past = import_stam(checkpoint), torch.rand(1, 2, 1, 12, 16)
    stam.save_pretrained(tmp_path / "ours")
    with torch.no_grad():
        assert torch.equal(STAM.from_pretrained(tmp_path / "ours")(past, 2), stam(past, 2))
