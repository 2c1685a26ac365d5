"""Settings are strict, presets complete, overrides typed."""

import tomllib

import pytest
import torch

from astm.data import dataset
from astm.evaluation.cost import saved_bytes
from astm.predictor import model
from astm.size import count_parameters
from astm.training.settings import SettingsError, merge, override, parse, preset, presets, to_toml

CHOICES = [(data, name, chosen) for data in dataset for name, models in presets(data).items() for chosen in models]


@pytest.mark.parametrize("choice", CHOICES, ids="-".join)
def test_every_preset_is_a_model_that_fits_its_data(choice):
    e = parse(preset(*choice))
    d = e.data_settings
    with torch.device("meta"):
        predicted = e.predictor()(torch.zeros(1, 2, d.channels, d.size, d.size), 1)
    assert predicted.shape == (1, 1, d.channels, d.size, d.size)


OTHERS = ("frnn", "vpn", "crevnet", "savp_vae", "stmfanet", "simvp")


def test_presets_are_there_for_all_models_of_the_comparison():
    compared = {"astm", "astm_basic", "convlstm", "predrnn", "predrnn_pp", "e3d_lstm"}
    for data in ("moving_mnist", "kth", "mlst"):
        found = presets(data)
        more = {"moving_mnist": ["openstl", "small"], "kth": ["openstl"], "mlst": []}[data]
        assert list(found) == ["paper", "authors", "strong", "tiny", *more]
        assert all(compared <= set(found[name]) for name in ("authors", "strong", "tiny"))
        assert {"astm", "astm_basic", *OTHERS} <= set(found["paper"])
        assert set(OTHERS) <= set(found["tiny"])
    assert parse(preset("moving_mnist", "strong", "astm")).train.schedule == "onecycle"
    assert parse(preset("mlst", "paper", "astm")).data_settings.size == 256
    assert parse(preset("kth", "paper", "astm")).model_settings.patch == 8


OPENSTL = {
    ("moving_mnist", "convlstm"): {"lr": 5e-4, "hidden": (128,) * 4, "bias": False, "initial": "separate", "patch": 4},
    ("moving_mnist", "predrnn"): {"lr": 5e-4, "hidden": 128, "layers": 4, "norm": "none", "patch": 4, "kernel": 5},
    ("moving_mnist", "predrnn_v2"): {"lr": 5e-4, "beta": 0.1, "sampling_from": 25_000, "sampling_alpha": 5_000},
    ("moving_mnist", "predrnn_pp"): {"lr": 1e-4, "hidden": (128,) * 4, "norm": "none", "bias": False, "kernel": 5},
    ("moving_mnist", "e3d_lstm"): {"lr": 1e-4, "hidden": 128, "layers": 4, "form": "openstl", "patch": 4, "stride": 1},
    ("moving_mnist", "crevnet"): {"lr": 1e-3, "blocks": (4, 5, 3), "layers": 8, "cell": "st_lstm", "norm": "batch"},
    ("moving_mnist", "mau"): {"lr": 1e-3, "scale": 4, "tau": 5, "hidden": 64, "layers": 4, "norm": "layer"},
    ("moving_mnist", "phydnet"): {"lr": 1e-3, "scale": 4, "order": 7, "hidden": (128, 128)},
    ("moving_mnist", "simvp"): {"lr": 1e-3, "hidden": 64, "translator": 512, "blocks": 8, "drop_path": (0.01, 0.0)},
    ("moving_mnist", "tau"): {"lr": 1e-3, "alpha": 0.1, "translator": 512, "blocks": 8, "layers": 4},
    ("moving_mnist", "swin_lstm"): {"lr": 1e-4, "width": 128, "window": 4, "drop_path": 0.1, "sampling_steps": 0},
    ("kth", "convlstm"): {"lr": 1e-3, "patch": 2, "hidden": (128,) * 4, "bias": False},
    ("kth", "predrnn"): {"lr": 1e-3, "patch": 2, "hidden": 128, "norm": "none"},
    ("kth", "predrnn_v2"): {"lr": 1e-3, "patch": 2, "beta": 0.01, "sampling_alpha": 5_000},
    ("kth", "predrnn_pp"): {"lr": 1e-3, "patch": 2, "hidden": (128,) * 4, "highway_scale": 0.001},
    ("kth", "e3d_lstm"): {"lr": 5e-4, "hidden": 128, "patch": 8, "stride": 2, "form": "openstl", "stale_memory": True},
    ("kth", "mau"): {"lr": 5e-4, "scale": 2, "grid": (64, 64)},
    ("kth", "phydnet"): {"lr": 1e-3, "scale": 4},
    ("kth", "simvp"): {"lr": 1e-3, "layers": 2, "translator": 256, "blocks": 6, "drop_path": (0.01, 0.2)},
    ("kth", "tau"): {"lr": 1e-3, "layers": 2, "translator": 256, "blocks": 6, "drop_path": (0.01, 0.1)},
}
"""What its configurations say, by our names."""


def test_openstl_has_no_other_models():
    assert {(data, name) for data in ("moving_mnist", "kth") for name in presets(data)["openstl"]} == set(OPENSTL)


@pytest.mark.parametrize(("data", "name"), OPENSTL)
def test_openstl_is_its_configurations(data, name):
    e = parse(preset(data, "openstl", name))
    found = {**e.train.model_dump(), **e.model_settings.model_dump()}
    assert {key: found[key] for key in OPENSTL[data, name]} == OPENSTL[data, name]
    assert (e.train.batch_size, e.train.schedule, e.train.optimiser) == (16, "onecycle", "adam")
    assert (e.train.clip_norm, e.train.weight_decay, e.train.reverse_input) == (0, 0, False)
    assert e.train.steps == {"moving_mnist": 200 * 625, "kth": 100 * 325}[data]
    assert (e.data_settings.past, e.data_settings.horizon) == (10, {"moving_mnist": 10, "kth": 20}[data])
    assert found.get("sampling_steps", 50_000) in (50_000, 0, 208_333, 108_333)


@pytest.mark.parametrize("data", ["moving_mnist", "kth", "mlst", "folder"])
def test_vpn_of_its_paper_fits_a_gpu_of_80_gb(data):
    """What a part keeps for the backward pass, weights, gradients, RMSProp's averages; room for a block more."""
    e = parse(preset(data, "paper", "vpn"))
    d, part = e.data_settings, e.train.batch_size // e.train.accumulate
    with torch.device("meta"):
        predictor = e.predictor()
        frames = (torch.empty(1, length, d.channels, d.size, d.size) for length in (d.past, d.horizon))
        predictor.checkpoint = e.train.checkpoint
        kept = part * saved_bytes(predictor, *frames)
    assert part * e.train.accumulate == 64
    assert kept + 3 * 4 * count_parameters(predictor) < 50e9


def test_printed_settings_read_back():
    e = parse(preset("kth", "tiny", "e3d_lstm"))
    assert parse(tomllib.loads(to_toml(e.tree()))) == e


def test_overrides():
    given = [
        "train.steps=5",
        "train.lr = 1e-4",
        "data.root=/a b/c",
        'data.test="x"',
        "model.hidden=[1,2]",
        "train.steps=7",
    ]
    assert override(given) == {
        "train": {"steps": 7, "lr": 1e-4},
        "data": {"root": "/a b/c", "test": "x"},
        "model": {"hidden": [1, 2]},
    }
    assert parse(merge(preset("moving_mnist", "tiny", "astm"), override(given[:2]))).train.steps == 5


def test_channels_follow_the_data():
    tree = {"model": {"name": "convlstm"}, "data": {"name": "mlst", "channels": 3}}
    assert parse(tree).model_settings.channels == 3
    with pytest.raises(SettingsError, match=r"model.channels = 1, but data.channels = 3"):
        parse(merge(tree, {"model": {"channels": 1}}))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"model": {"name": "astn"}}, "unknown model 'astn'; choices are astm, astm_basic"),
        ({"data": {"name": "mnist"}}, "unknown dataset 'mnist'; choices are films, folder, kth, manifest, mlst"),
        ({"model": {"hiden": 3}}, "model.hiden = 3: unknown setting; choices are hidden, "),
        ({"train": {"lr": -1}}, r"train.lr = -1: Input should be greater than 0"),
        (
            {"train": {"schedule": "cosine"}},
            r"train.schedule = 'cosine': .*'constant', 'exponential', 'linear' or 'onecycle'",
        ),
        ({"data": {"size": 66}}, "data.size = 66 is not a multiple of model.patch = 4"),
        (
            {"model": {"norm": "layer", "patch": 8}},
            r"model: with norm = 'layer' this model is made for 128 x 128 pixels \(grid \(16, 16\)\), got 64 x 64",
        ),
        (
            {"data": {"name": "mlst", "levels": "[s0t0, s1t1]"}},
            r"""in a shell write 'data.levels=\["s0t0", "s1t1"\]'""",
        ),
        ({"optim": {}}, "unknown table 'optim'; choices are model, data, train, run"),
    ],
)
def test_mistakes_are_named(tree, message):
    base = {"model": {"name": "astm"}, "data": {"name": "moving_mnist"}}
    with pytest.raises(SettingsError, match=message):
        parse(merge(base, tree))


def test_all_mistakes_are_named_at_once():
    with pytest.raises(SettingsError, match=r"(?s)model.tau = 0.*data.past = 0.*train.steps = 'x'"):
        parse({"model": {"name": "astm", "tau": 0}, "data": {"name": "kth", "past": 0}, "train": {"steps": "x"}})


@pytest.mark.parametrize("text", ["steps=3", "train.steps", "a.b.c=1", ".x=1", "=1"])
def test_malformed_overrides(text):
    with pytest.raises(SettingsError, match=r"write table.name=value"):
        override([text])


def test_unknown_presets():
    with pytest.raises(SettingsError, match=r"unknown preset 'best' of kth; choices are paper, authors, strong, tiny"):
        preset("kth", "best", "astm")
    with pytest.raises(
        SettingsError, match=r"kth has no preset 'paper' for the model 'predrnn'; .* predrnn has authors"
    ):
        preset("kth", "paper", "predrnn")
    with pytest.raises(SettingsError, match=r"unknown model 'svg'; choices are astm"):
        preset("kth", "paper", "svg")
    assert "svg" not in model
