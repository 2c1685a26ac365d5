"""Publishing to and loading from a Hub that runs here, by the client's own requests over loopback HTTP."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, constants
from typer.testing import CliRunner

from astm import ASTM, create, from_pretrained
from astm.cli.commands import app
from astm.data.moving_mnist import MovingMnist
from astm.evaluation.evaluate import evaluate
from astm.pretrained.card import TAGS
from astm.pretrained.hub import HubError
from astm.pretrained.store import CARD, CONFIG, WEIGHTS, CheckpointError
from astm.results import write_results
from astm.training.train import PRETRAINED, train
from tests.astm.data.media import experiment, mnist
from tests.hub_server import TOKEN, Hub

REPO = "someone/astm-tiny"
ROOT = Path(__file__).parents[3]

OVER_XET = """
import sys
import torch
from astm import create, from_pretrained

torch.manual_seed(0)
model = create("convlstm", hidden=[3], kernel=3)
commit = model.push_to_hub(sys.argv[1])
past = torch.rand(1, 2, 1, 8, 8)
with torch.no_grad():
    assert torch.equal(from_pretrained(sys.argv[1], commit)(past, 2), model(past, 2))
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub that the client in this process talks to, by LFS."""
    server = Hub(tmp_path / "hub")
    for name, value in (
        ("ENDPOINT", server.url),
        ("HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"),
        ("HF_HUB_CACHE", str(tmp_path / "cache")),
        ("HF_HUB_DISABLE_XET", True),
        ("HF_HUB_OFFLINE", False),
        ("HF_HUB_DISABLE_PROGRESS_BARS", True),
        ("AGENT_HARNESSES_PATH", str(tmp_path / "agents.json")),
        ("HF_TOKEN_PATH", str(tmp_path / "token")),
    ):
        monkeypatch.setattr(constants, name, value, raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.close()


def tiny(name="astm", **settings):
    return create(name, layers=1, hidden=3, kernel=(3, 3, 3), **settings)


def uploaded(folder):
    """Put a folder on the Hub as it is."""
    HfApi().create_repo(REPO)
    HfApi().upload_folder(repo_id=REPO, folder_path=folder)


def same(a, b):
    past = torch.rand(1, 2, 1, 8, 8)
    with torch.no_grad():
        return torch.equal(a(past, 2), b(past, 2))


# ------------------------------------------------------------------------------------------------------------- loading


def test_only_what_is_needed_is_fetched(hub, tmp_path):
    predictor = tiny()
    predictor.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "pytorch_model.bin").write_bytes(b"never asked for")
    uploaded(tmp_path / "saved")
    assert same(ASTM.from_pretrained(REPO), predictor)
    assert {line.rsplit("/", 1)[1] for line in hub.requests("/resolve/")} == {CONFIG, WEIGHTS}


def test_a_repository_of_pickles_is_refused(hub, tmp_path):
    tiny("astm_basic").save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / WEIGHTS).rename(tmp_path / "saved" / "pytorch_model.bin")
    uploaded(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        ASTM.from_pretrained(REPO)


def test_an_unknown_repository_is_named(hub):
    with pytest.raises(CheckpointError, match="'someone/else' is not a folder, and the Hub gave no such repository"):
        ASTM.from_pretrained("someone/else")


# ---------------------------------------------------------------------------------------------------------- publishing


def test_what_is_pushed_is_loaded_bit_for_bit(hub, capsys):
    predictor = tiny(tau=2)
    commit = predictor.push_to_hub(REPO, private=True, licence="mit")
    assert set(hub.files(REPO)) == {CARD, CONFIG, WEIGHTS}
    assert hub.titles(REPO) == ["Model, settings and card", "initial commit"]
    assert hub.repositories[REPO].private
    loaded = from_pretrained(REPO, commit)
    assert same(loaded, predictor)
    weights = predictor.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())
    card = ModelCard.load(REPO)
    assert set(TAGS) <= set(card.data.tags)
    (example,) = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert f'from_pretrained("{REPO}")' in example
    exec(example, {})  # noqa: S102
    assert capsys.readouterr().out == "torch.Size([1, 10, 1, 64, 64])\n"


@pytest.mark.slow
def test_the_same_again_sends_nothing_and_a_change_is_one_commit(hub):
    predictor = tiny()
    first = predictor.push_to_hub(REPO)
    HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id=REPO)
    present = hub.commit(hub.repositories[REPO], "main").oid
    hub.log.clear()
    assert predictor.push_to_hub(REPO) == present
    assert not hub.requests("/commit/|PUT")
    with torch.no_grad():
        next(predictor.parameters()).add_(1)
    second = predictor.push_to_hub(REPO)
    assert len(hub.titles(REPO)) == 4
    assert "notes.txt" in hub.files(REPO)
    assert same(from_pretrained(REPO), predictor)
    assert not same(from_pretrained(REPO, first), from_pretrained(REPO, second))


def test_a_branch(hub):
    predictor = tiny()
    predictor.push_to_hub(REPO, revision="trial")
    assert set(hub.files(REPO, "trial")) == {CARD, CONFIG, WEIGHTS}
    assert hub.files(REPO) == {}
    assert same(from_pretrained(REPO, "trial"), predictor)


def test_a_push_that_is_cut_leaves_nothing_half(hub):
    hub.fail("POST .*/commit/", "cut", times=20)
    with pytest.raises(HubError, match="cannot be reached"):
        tiny().push_to_hub(REPO)
    assert hub.files(REPO) == {}
    hub.faults.clear()
    tiny().push_to_hub(REPO)
    assert set(hub.files(REPO)) == {CARD, CONFIG, WEIGHTS}


@pytest.mark.parametrize(
    ("repository", "token", "message"),
    [
        ("astm", TOKEN, "'astm' is not OWNER/NAME"),
        ("someone/a/b", TOKEN, "is not the name of a repository"),
        ('someone/"); import os', TOKEN, "is not the name of a repository"),
        (REPO, "", "no token: log in with `hf auth login`"),
        (REPO, "hf_wrong", "the Hub refused someone/astm-tiny: .*log in with"),
    ],
)
def test_refusals(hub, monkeypatch, repository, token, message):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=message) as why:
        tiny().push_to_hub(repository)
    assert not hub.repositories
    assert "hf_" not in str(why.value)


def test_a_public_repository_is_not_taken_for_a_private_one(hub):
    tiny().push_to_hub(REPO)
    with pytest.raises(HubError, match="is public; make it private on the Hub first"):
        tiny().push_to_hub(REPO, private=True)
    assert len(hub.titles(REPO)) == 2


@pytest.mark.slow
def test_over_xet(tmp_path):
    """In a process of its own, because the client of Xet reads its settings when it is imported."""
    hub = Hub(tmp_path / "hub")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    command = [sys.executable, "-c", OVER_XET, REPO]
    try:
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=100
        )
        assert ran.returncode == 0, ran.stderr
        assert hub.files(REPO)[WEIGHTS].xet
        assert TOKEN not in ran.stdout + ran.stderr
    finally:
        hub.close()


# --------------------------------------------------------------------------------------------------------- the command


def test_publish_a_run_with_its_results(hub, tmp_path):
    root, out, results = mnist(tmp_path / "mnist"), tmp_path / "run", tmp_path / "results.json"
    e = experiment(root, {"train": {"steps": 2}})
    train(e, out, "cpu")
    trained, clips = from_pretrained(out / PRETRAINED), MovingMnist(e.data_settings, "test")
    options = {"dataset": "moving_mnist", "label": "run", "device": torch.device("cpu"), "metrics": ["mse_sum"]}
    scored = evaluate(trained, clips, **options).result
    write_results(results, [scored])

    def publish(*more):
        arguments = ["publish", str(out), REPO, "--results", str(results), *more]
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    dry = publish("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert not hub.repositories
    done = publish()
    assert done.exit_code == 0, done.output
    commit = hub.commit(hub.repositories[REPO], "main").oid
    assert f"published: {hub.url}/{REPO}/tree/{commit}" in done.stderr
    assert TOKEN not in done.output
    card = ModelCard.load(REPO)
    assert str(card) == dry.stdout
    assert card.data.eval_results[0].metric_value == scored.score("mse_sum").mean
    assert trained.origin.fingerprint in card.text
    assert from_pretrained(REPO).origin == trained.origin
    other = publish("--label", "another")
    assert other.exit_code == 2
    assert "the results have no 'another', convlstm" in other.stderr
