"""Settings are strict, presets complete, overrides typed."""

import tomllib

import pytest
import torch

from astm.data import dataset
from astm.predictor import model
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
        assert list(found) == ["paper", "authors", "strong", "tiny", *(["small"] if data == "moving_mnist" else [])]
        assert all(compared <= set(found[name]) for name in ("authors", "strong", "tiny"))
        assert {"astm", "astm_basic", *OTHERS} <= set(found["paper"])
        assert set(OTHERS) <= set(found["tiny"])
    assert parse(preset("moving_mnist", "strong", "astm")).train.schedule == "onecycle"
    assert parse(preset("mlst", "paper", "astm")).data_settings.size == 256
    assert parse(preset("kth", "paper", "astm")).model_settings.patch == 8


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
        ({"data": {"name": "mnist"}}, "unknown dataset 'mnist'; choices are folder, kth, mlst, moving_mnist"),
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
