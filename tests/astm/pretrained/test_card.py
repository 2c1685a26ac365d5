"""The card that lies beside a saved model: its YAML by the Hub's own parser, its example by running it."""

import json
import re
from dataclasses import replace

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from astm import create, from_pretrained, model
from astm.data import open_clips
from astm.data.mlst import Mlst, MlstSettings
from astm.evaluation.evaluate import evaluate
from astm.metrics import metric
from astm.predictor import described
from astm.pretrained.card import About, fenced
from astm.pretrained.card import card as card_of
from astm.pretrained.provenance import UNKNOWN
from astm.pretrained.store import CheckpointError
from astm.results import EvaluationError, read_results, write_results
from astm.training.checkpoint import load_predictor, origin, read, read_experiment
from astm.training.train import PRETRAINED, train
from tests.astm.data.media import experiment, mlst_dataset, mnist
from tests.astm.models.test_models import tiny

CPU = torch.device("cpu")
NAMES = ("mse_sum", "psnr_frame", "ssim_wang")
NOTHING = About("", "", (), "")


def card(predictor, about):
    return card_of(described(predictor), about)


def small(seed=0):
    torch.manual_seed(seed)
    return create("convlstm", hidden=[3], kernel=3, patch=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that finished."""
    root = mnist(tmp_path_factory.mktemp("mnist"))
    out = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    train(experiment(root, {"train": {"steps": 4}}), out, "cpu")
    return out


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two models of one kind, and `copy_last`, on two levels of MLST."""
    folder = tmp_path_factory.mktemp("results")
    mlst_dataset(folder / "data", splits=("test",))
    clips = Mlst(MlstSettings(root=str(folder / "data"), past=2, horizon=3, size=24), "test")
    models = {"first": small(0), "second": small(1), "copy_last": create("copy_last")}
    found = [
        evaluate(m, clips, dataset="mlst", label=label, device=CPU, metrics=NAMES).result
        for label, m in models.items()
    ]
    write_results(folder / "results.json", found)
    write_results(folder / "one.json", [found[0], found[2]])
    return folder


def parsed(text):
    """The card as the Hub's client reads it, errors in the metadata included."""
    return ModelCard(text, ignore_metadata_errors=False).data


def sections(text):
    body = text.split("---\n", 2)[2]
    parts = re.split(r"^(##+ .+)$", body, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def examples(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


# ------------------------------------------------------------------------------------------------- every model's card


@pytest.mark.parametrize("name", list(model))
def test_every_model_has_a_card_whose_example_runs(name, tmp_path, monkeypatch, capsys):
    predictor = tiny(name)
    predictor.origin = replace(UNKNOWN, data="folder", past=2, horizon=3, size=16, channels=1, steps=1)
    predictor.save_pretrained(tmp_path, licence="mit")
    text = (tmp_path / "README.md").read_text()
    data = parsed(text)
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "astm", "video-to-video")
    assert {name, "folder"} <= set(data.tags)
    assert data.eval_results is None
    for title, content in sections(text).items():
        assert content.strip(), f"{title} is empty"
    assert all(f"| {setting} |" in text for setting in predictor.config())
    assert ("@misc" in text) == (name != "copy_last")
    monkeypatch.chdir(tmp_path)
    (example,) = examples(text)
    exec(example, {})  # noqa: S102
    assert capsys.readouterr().out == "torch.Size([1, 3, 1, 16, 16])\n"


def test_costs_are_those_of_the_documented_model():
    text = card(create("astm"), NOTHING)
    assert "| parameters | 18,086,928 |" in text
    assert "| 176 G to predict one clip, 10 -> 10 frames of 1 x 64 x 64 |" in text


def test_a_model_for_one_size_has_an_example_of_it(tmp_path, monkeypatch, capsys):
    create("stam", layers=1, hidden=4, patch=2, grid=(3, 5)).save_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(examples((tmp_path / "README.md").read_text())[0], {})  # noqa: S102
    assert capsys.readouterr().out == "torch.Size([1, 10, 1, 6, 10])\n"


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("", {"license": "unknown"}),
        (
            "My licence: yours?\n---\nlicense: mit",
            {"license": "other", "license_name": "my-licence-yours-license-mit"},
        ),
    ],
)
def test_licences(licence, fields):
    text = card(small(), replace(NOTHING, licence=licence))
    front = yaml.safe_load(text.split("---\n")[1])
    assert {name: value for name, value in front.items() if name.startswith("license")} == fields
    assert ("No licence was stated" in text) == (licence == "")


# ------------------------------------------------------------------------------------------------------------ training


def test_a_finished_run_says_what_it_was_trained_on(run):
    trained = from_pretrained(run / PRETRAINED)
    e = read_experiment(str(run))
    clips = open_clips(e.data, e.data_settings, "train")
    origin = trained.origin
    assert (origin.protocol, origin.fingerprint) == (clips.protocol, clips.fingerprint)
    assert (origin.data, origin.past, origin.horizon, origin.size, origin.steps) == ("moving_mnist", 3, 2, 32, 4)
    assert origin.score > 0
    text = (run / PRETRAINED / "README.md").read_text()
    assert clips.fingerprint in text
    assert "torch.rand(1, 3, 1, 32, 32)" in text
    assert "moving_mnist" in parsed(text).tags
    assert f"train_count = {e.data_settings.train_count}" in sections(text)["## Training"]
    assert "root" not in sections(text)["## Training"]
    for file in ("README.md", "config.json"):
        assert e.data_settings.root not in (run / PRETRAINED / file).read_text(), "a folder of this machine"


def test_no_folder_of_this_machine_is_told(run):
    made = read(run / "best.safetensors")
    e = made.experiment
    data = e.data_settings.model_copy(update={"train": "/home/me/train.npz"})
    started = e.train.model_copy(update={"start": "/home/me/runs/a"})
    recipe = origin(replace(made, experiment=replace(e, data_settings=data, train=started))).recipe
    assert 'train = "train.npz"' in recipe
    assert 'start = "a"' in recipe
    assert "/home" not in recipe


def test_the_training_is_kept_when_a_model_is_saved_again(run, tmp_path):
    from_pretrained(run / PRETRAINED).save_pretrained(tmp_path)
    for file in ("README.md", "config.json", "model.safetensors"):
        assert (tmp_path / file).read_bytes() == (run / PRETRAINED / file).read_bytes()


def test_a_checkpoint_says_what_it_knows(run):
    predictor = load_predictor(str(run / "best.safetensors"))
    assert predictor.origin.fingerprint == ""
    assert replace(from_pretrained(run / PRETRAINED).origin, protocol="", fingerprint="") == predictor.origin
    assert "The fingerprint of the clips is not recorded" in card(predictor, NOTHING)


@pytest.mark.parametrize("change", [{"steps": "many"}, {"extra": 1}, None, []])
def test_a_bad_record_of_training_is_refused(run, tmp_path, change):
    from_pretrained(run / PRETRAINED).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["training"] = {**config["training"], **change} if isinstance(change, dict) else change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        from_pretrained(tmp_path)


def test_no_recipe_ends_its_block():
    block = fenced("a\n```\n# heading\n````\n", "toml").splitlines()
    assert block[0] == "`````toml"
    assert block[-1] == "`````"
    assert "`````" not in block[1:-1]


# ---------------------------------------------------------------------------------------------------------- evaluation


def test_every_score_is_in_the_model_index(results):
    text = card(small(), replace(NOTHING, results=(results / "one.json",)))
    own, floor = read_results(results / "one.json")
    data = parsed(text)
    found = {(r.dataset_config, r.metric_type): r for r in data.eval_results}
    assert len(found) == len(data.eval_results) == 3 * len(NAMES)
    for group in own.groups:
        for score in group.scores:
            result = found[group.level, score.metric]
            assert result.metric_value == score.mean
            assert (result.metric_args["low"], result.metric_args["high"]) == (score.low, score.high)
            assert (result.dataset_args["protocol"], result.dataset_args["clips"]) == (own.protocol, group.clips)
            assert (result.dataset_type, result.dataset_split) == ("mlst", "test")
            assert result.dataset_revision == own.fingerprint
    evaluation = text.split("## Evaluation")[1].split("## Limits")[0]
    rows = [line for line in evaluation.splitlines() if line.startswith("| ")]
    assert [row.split(" |")[0] for row in rows] == [
        *("| clips", "| all", "| s0t0", "| s2t1", "| model", "| first (convlstm)", r"| copy\_last (copy\_last)")
    ]
    assert f"{own.score('psnr_frame', 's2t1').mean:.4g} [" in rows[3]
    assert f"{floor.score('psnr_frame').mean:.4g}" in rows[6]
    assert all(metric[name].__doc__.split("\n")[0][:40] in evaluation for name in NAMES)


def test_of_two_of_a_kind_one_has_to_be_named(results):
    both = replace(NOTHING, results=(results / "results.json",))
    with pytest.raises(EvaluationError, match=r"several results fit a convlstm .* first \(convlstm, .* second"):
        card(small(), both)
    second = read_results(results / "results.json")[1]
    values = {r.metric_value for r in parsed(card(small(), replace(both, label="second"))).eval_results}
    assert second.score("mse_sum").mean in values
    with pytest.raises(EvaluationError, match="have no 'third', convlstm"):
        card(small(), replace(both, label="third"))


def test_results_of_other_weights_are_refused(results, tmp_path):
    larger = create("convlstm", hidden=[4], kernel=3, patch=8)
    with pytest.raises(EvaluationError, match=r"have no convlstm with [\d,]+ parameters; they have copy_last"):
        larger.save_pretrained(tmp_path / "saved", results=results / "one.json", label="")
    with pytest.raises(EvaluationError, match="no such file"):
        larger.save_pretrained(tmp_path / "saved", results=[results / "none.json"])
    assert not (tmp_path / "saved").exists()
    with pytest.raises(EvaluationError, match="first is scored twice on mlst test"):
        card(small(), replace(NOTHING, results=(results / "one.json",) * 2))


def test_names_of_strangers_are_text(results, tmp_path):
    nasty = "</details>|`x`<script>alert(1)</script>\n---\nlicense: mit\n# [a](http://b)"
    own, floor = read_results(results / "one.json")
    groups = (own.groups[0], replace(own.groups[1], level=nasty))
    bad = replace(own, label=nasty, protocol=nasty, groups=groups)
    other = replace(floor, label=nasty + "2", protocol=nasty)
    write_results(tmp_path / "r.json", [bad, other])
    text = card(small(), replace(NOTHING, results=(tmp_path / "r.json",), label=nasty))
    data = parsed(text)
    assert data.license == "unknown"
    assert {r.dataset_config for r in data.eval_results} == {"all", " ".join(nasty.split())}
    body = text.split("\n---\n", 1)[1]
    assert "<script" not in body
    assert "](http" not in body
    assert "\n---\n" not in body
    tables = [line for line in body.splitlines() if line.startswith("| ") and "alert" in line]
    assert len(tables) == 3
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 + len(NAMES) for line in tables)


def test_a_readme_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    small().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    (tmp_path / "README.md").unlink()
    small().save_pretrained(tmp_path)
    small().save_pretrained(tmp_path, licence="mit")
    assert parsed((tmp_path / "README.md").read_text()).license == "mit"


def test_an_untrained_model_has_no_origin(tmp_path):
    small().save_pretrained(tmp_path)
    assert "training" not in json.loads((tmp_path / "config.json").read_text())
    assert from_pretrained(tmp_path).origin == UNKNOWN
    assert "ask who published them what they were trained on" in (tmp_path / "README.md").read_text()
