"""Checkpoints of other code bases, made of seeded numbers under their names, against what their own code computed.

`official.json` holds, for small sizes of each model, names and shapes of the weights and some of the outputs. They
were computed with the public code (OpenSTL of 2024-03, and PredFormer's) on PyTorch 2.13.
"""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from astm import from_pretrained, import_stam
from astm.cli.commands import app
from astm.importing import FORMATS, import_checkpoint
from astm.pretrained import foreign
from astm.pretrained.store import CheckpointError
from tests.astm.models.test_stam import public_state_dict

OFFICIAL = json.loads((Path(__file__).parent / "official.json").read_text())
ALSO_OF_THE_FAMILY = ("predrnn", "predrnn_v2", "mau")


def values(name, shape):
    """Numbers for a weight, by its name, on a scale that suits its kind. `RandomState` is frozen for good."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if name.endswith("running_var"):
        drawn = 1 + np.abs(drawn)
    elif len(shape) in (0, 1, 3):
        drawn = 0.2 * drawn + name.endswith("weight")
    else:
        drawn = drawn / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(drawn)).float()


def weights(name):
    return {weight: values(weight, shape) for weight, shape in OFFICIAL[name]["weights"].items()}


def clips(shape, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).random_sample(shape)).float()


def saved(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


@pytest.fixture(params=OFFICIAL)
def case(request, tmp_path):
    wrapped = {f"model.{name}": weight for name, weight in weights(request.param).items()}
    path = saved(tmp_path, {"state_dict": wrapped, "epoch": 3})
    return request.param, path, OFFICIAL[request.param]


def test_an_imported_model_predicts_what_its_own_code_does(case):
    name, path, official = case
    imported = import_checkpoint(path, "openstl", official["given"])
    with torch.no_grad():
        predicted = imported.predictor(clips(official["past"]), official["horizon"])
    assert imported.model == name
    np.testing.assert_allclose(predicted.flatten()[:: official["every"]], official["output"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in OFFICIAL if "loss" in OFFICIAL[name]])
def test_its_loss_is_that_of_its_own_code(name, tmp_path):
    official = OFFICIAL[name]
    predictor = import_checkpoint(saved(tmp_path, weights(name)), "openstl", official["given"]).predictor
    shape = [1, official["horizon"], *official["past"][2:]]
    loss = predictor.loss(clips(official["past"]), clips(shape, seed=1), step=10**9)
    assert loss.item() == pytest.approx(official["loss"], rel=1e-5)


def test_every_weight_is_accounted_for(case):
    _, path, official = case
    imported = import_checkpoint(path, "openstl", official["given"])
    used = {name for one in imported.mapped for name in one.theirs} | {one.theirs for one in imported.left}
    assert used == set(official["weights"])
    assert {one.ours for one in imported.mapped} == set(imported.predictor.state_dict())


@pytest.mark.parametrize("name", ALSO_OF_THE_FAMILY)
def test_the_family_keeps_them_as_net_param(name, tmp_path):
    path, official = saved(tmp_path, {"net_param": weights(name)}), OFFICIAL[name]
    imported = import_checkpoint(path, "predrnn", official["given"])
    with torch.no_grad():
        predicted = imported.predictor(clips(official["past"]), official["horizon"])
    np.testing.assert_allclose(predicted.flatten()[:: official["every"]], official["output"], rtol=0, atol=1e-5)


def test_the_report_says_what_was_done(tmp_path):
    imported = import_checkpoint(saved(tmp_path, weights("predrnn_pp")), "openstl", {})
    changes = {one.ours: one.change for one in imported.mapped}
    assert changes["cells.0.conv_c_new.0.weight"] == "gates i g f o as g i f o"
    assert changes["cells.0.conv_m.0.weight"] == ""
    assert [one.theirs for one in imported.left] == [f"cell_list.{k}.conv_o.0.weight" for k in range(3)]


def _without(name):
    return {key: value for key, value in weights("predrnn").items() if key != name}


NORMED = {"cell_list.0.conv_x.1.weight": torch.ones(21, 2, 2)}
E3D_NORMED = {"cell_list.0.conv_x.1.weight": torch.ones(28, 2, 4, 4)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_without("conv_last.weight"), "conv_last.weight is missing"),
        (weights("predrnn") | {"extra.weight": torch.ones(1)}, "predrnn does not have extra.weight"),
        (weights("predrnn") | NORMED, "trained with layer_norm = 1"),
        (
            weights("predrnn") | {"conv_last.weight": torch.ones(15, 3, 1, 1)},
            "15 channels are not square patches",
        ),
        (weights("e3d_lstm") | E3D_NORMED, "trained with layer_norm = 1"),
        ({"enc.enc.0.conv.conv.weight": torch.ones(1)}, "only gSTA can be loaded"),
        ({"fc.weight": torch.ones(1)}, "no model of the format 'openstl' has weights such as fc.weight"),
        ({"state_dict": {}}, "it has no state dict of tensors"),
        ({"epoch": 3}, "it has no state dict of tensors"),
        ([torch.ones(1)], "it has no state dict of tensors"),
        ({"a": torch.eye(3).to_sparse()}, "has sparse or quantised tensors"),
    ],
)
def test_what_is_not_such_a_checkpoint_is_refused(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(saved(tmp_path, content), "openstl", {})


@pytest.mark.parametrize(
    ("name", "weight", "change"),
    [
        ("crevnet", "frame_predictor.convlstm.0.in_gate.weight", torch.flatten),
        ("crevnet", "frame_predictor.convlstm.0.in_gate.bias", lambda bias: bias[0]),
        ("e3d_lstm", "cell_list.0._norm_c_t.weight", torch.flatten),
    ],
)
def test_weights_of_other_shapes_are_refused(tmp_path, name, weight, change):
    content = weights(name)
    content[weight] = change(content[weight])
    with pytest.raises(CheckpointError, match="do not have the shapes of such a model"):
        import_checkpoint(saved(tmp_path, content), "openstl", OFFICIAL[name]["given"])


@pytest.mark.parametrize("channels", [0, "three"])
def test_a_number_of_channels_that_is_none_is_refused(tmp_path, channels):
    with pytest.raises(CheckpointError, match="a setting is wrong"):
        import_checkpoint(saved(tmp_path, weights("e3d_lstm")), "openstl", {"channels": channels})


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=f"unknown format 'keras'; choices are {', '.join(FORMATS)}"):
        import_checkpoint(tmp_path / "x.pth", "keras", {})


def test_a_wrong_setting_is_refused_with_the_choices(tmp_path):
    with pytest.raises(CheckpointError, match="predrnn has no setting 'tua'; choices are"):
        import_checkpoint(saved(tmp_path, weights("predrnn")), "openstl", {"tua": 3})


def test_a_tensor_that_unfolds_to_more_than_the_limit_is_refused(tmp_path, monkeypatch):
    """A view with strides of 0 is as large as one likes, in a file of a few bytes."""
    path = saved(tmp_path, {"a": torch.zeros(1).expand(1 << 20, 1 << 20)})
    with pytest.raises(CheckpointError, match="holds 4,398,046,511,104 bytes, more than the limit"):
        import_checkpoint(path, "openstl", {})
    monkeypatch.setattr(foreign, "LIMIT", 100)
    with pytest.raises(CheckpointError, match="more than the limit of 100"):
        import_checkpoint(saved(tmp_path, weights("predrnn")), "openstl", {})


def test_a_stam_of_its_authors_is_a_format_too(tmp_path):
    path = saved(tmp_path, {"net_param": public_state_dict()})
    imported, past = import_checkpoint(path, "stam", {"tau": 3}), clips((1, 3, 1, 12, 16))
    with torch.no_grad():
        assert torch.equal(imported.predictor(past, 2), import_stam(path, tau=3)(past, 2))
    assert not imported.left


def test_the_command_writes_a_model_and_says_where_each_weight_went(tmp_path):
    path, official = saved(tmp_path, weights("mau")), OFFICIAL["mau"]
    given = ["--set", "tau=3", "--set", "residual=true", "--set", "recall=true"]
    asked = ["import", str(path), "--format", "openstl", "--out", str(tmp_path / "out"), *given]
    ran = CliRunner().invoke(app, [*asked, "--json"])
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert report["model"] == "mau"
    assert [one["theirs"] for one in report["left"]] == [
        f"{layer}.{part}" for layer in ("merge", "conv_last_sr") for part in ("weight", "bias")
    ]
    with torch.no_grad():
        predicted = from_pretrained(tmp_path / "out")(clips(official["past"]), official["horizon"])
    np.testing.assert_allclose(predicted.flatten()[:: official["every"]], official["output"], rtol=0, atol=1e-5)
    lines = CliRunner().invoke(app, asked).output.splitlines()
    assert "cells.0.conv_t.0.weight <- cell_list.0.conv_t.0.weight" in lines
    assert "- <- merge.bias: their code allocates it and never uses it" in lines


def test_a_weight_that_is_not_finite_is_refused_by_its_name(tmp_path):
    theirs = weights("predrnn")
    name = next(name for name, weight in theirs.items() if weight.ndim == 4)
    theirs[name].view(-1)[3] = float("nan")
    theirs[name].view(-1)[5] = float("inf")
    with pytest.raises(
        CheckpointError, match=rf"NaN or infinite: {re.escape(name)} \(2 of {theirs[name].numel()}\); .*"
    ):
        import_checkpoint(saved(tmp_path, theirs), "openstl", OFFICIAL["predrnn"]["given"])
