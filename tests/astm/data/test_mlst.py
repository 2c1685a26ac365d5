"""MLST as models see it: the right bytes, grey or RGB, by split and level; from a folder, a web server, the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tenacity
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from astm.cli.commands import app
from astm.data import DataError
from astm.data.clips import ordered_batches
from astm.data.mlst import Mlst, MlstSettings
from mlst.dataset.description import DATASET, INDEX
from mlst.loading import stores
from tests import tiny
from tests.hub_server import Hub
from tests.media_server import Page, serving
from tests.mlst.loading.loading import by_webdataset, copied, decoded, flip, forged, rows_of

CPU = torch.device("cpu")
SHORT = ["data.size=32", "data.past=2", "data.horizon=3"]
TRAINED = [
    *("train", "convlstm", "--data", "mlst", "--preset", "", "--device", "cpu", *SHORT, "model.hidden=[4]"),
    *("model.patch=8", "train.batch_size=4", "train.steps=3", "train.validate_on=2", "run.log_every=1"),
]
EVALUATED = ["evaluate", "copy_last", "--data", "mlst", "--device", "cpu", "--json", "--metrics", "mse_sum"]


def clips(root=None, split="train", **settings):
    return Mlst(
        MlstSettings(**{"root": str(root or tiny.built()), "past": 2, "horizon": 3, "size": 32, **settings}), split
    )


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def evaluate(root, out, *more):
    settings = [part for setting in (*SHORT, f"data.root={root}", *more) for part in ("--set", setting)]
    return run(*EVALUATED, "--out", out, *settings)


def refusal(ran):
    """The only line that an error is."""
    assert ran.exit_code == 2
    (line,) = [line for line in ran.stderr.splitlines() if not line.startswith("mlst test: ")]
    return line


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_clip_has_its_own_pictures(split):
    data, videos = clips(split=split, channels=3), by_webdataset(tiny.built(), split)
    levels = {row["key"]: row["level"] for row in rows_of(tiny.built(), split)}
    samples = [data[i] for i in range(len(data))]
    assert {sample.key for sample in samples} == set(videos)
    for sample in samples:
        assert sample.frames.shape == (5, 3, 32, 32)
        assert sample.frames.dtype == np.uint8
        assert np.array_equal(sample.frames, decoded(videos[sample.key])[:5])
        assert sample.level == levels[sample.key]


def test_grey_is_the_mean_of_the_channels():
    grey, colour = clips()[3].frames, clips(channels=3)[3].frames
    assert grey.shape == (5, 1, 32, 32)
    assert np.abs(grey[:, 0] - colour.mean(axis=1)).max() <= 0.5


def test_half_the_size_is_the_mean_of_four_pixels():
    half, whole = clips(channels=3, size=16)[3].frames, clips(channels=3)[3].frames
    means = whole.reshape(5, 3, 16, 2, 16, 2).mean(axis=(3, 5))
    assert np.abs(half - means).max() <= 0.5


def test_batches_are_cut_after_the_past():
    (batch,) = ordered_batches(clips(), 3, 8, 0, CPU)
    assert (batch.past.shape, batch.future.shape) == ((3, 2, 1, 32, 32), (3, 3, 1, 32, 32))
    assert np.array_equal((batch.future[2] * 255).round().numpy(), clips()[2].frames[2:])


def test_levels_and_fingerprints():
    chosen = clips(levels=("s2t1", "s0t0"))
    assert {chosen[i].level for i in range(len(chosen))} == {"s0t0", "s2t1"}
    assert chosen.protocol == "mlst train: 6 clips of 2 levels; 2 -> 3, 32 px, grey"
    others = [clips(), clips(split="test"), clips(past=1), clips(horizon=2), clips(size=16), clips(channels=3)]
    assert len({data.fingerprint for data in (chosen, *others)}) == 1 + len(others)
    assert clips(levels=("s0t0", "s2t1")).fingerprint == chosen.fingerprint


def test_the_place_and_the_machine_do_not_matter(tmp_path):
    assert clips(copied(tmp_path)).fingerprint == clips().fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"past": 10, "horizon": 20}, r"24 of 24 train clips have fewer frames .* with 6; lower"),
        ({"levels": ("s9t9",)}, r"no train clips of 's9t9'; levels are s0t0, s0t1"),
        ({"split": "dev"}, r"unknown split 'dev'"),
        ({"revision": "v1"}, r"only Hub datasets have revisions"),
        ({"root": "./no such folder"}, r"not a folder, a URL or a Hub id OWNER/NAME"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(DataError, match=message):
        clips(**settings)


def test_the_default_place_is_never_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"'\./data/mlst' is not a folder"):
        Mlst(MlstSettings(), "train")


def test_damaged_datasets(tmp_path):
    folder = copied(tmp_path)
    first, last = (rows_of(folder, "train")[i] for i in (0, -1))
    flip(folder, first)
    with pytest.raises(DataError, match=rf"{first['shard']}: clip {first['key']} has sha256 .* not {first['sha256']}"):
        clips(folder)[0]
    with (folder / last["shard"]).open("r+b") as shard:
        shard.truncate(last["offset"] + 9)
    with pytest.raises(DataError, match=f"clip {last['key']} ends after 9 of {last['size']} bytes"):
        clips(folder)[len(clips(folder)) - 1]
    (folder / first["shard"]).unlink()
    with pytest.raises(DataError, match=rf"{first['shard']}.*No such file.*a release without pixels"):
        clips(folder)[0]
    (folder / INDEX).write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"is not the file that dataset\.json lists"):
        clips(folder)
    (folder / DATASET).unlink()
    with pytest.raises(DataError, match=r"dataset\.json cannot be read: No such file"):
        clips(folder)


def test_shards_outside_the_dataset_are_not_read(tmp_path):
    folder = copied(tmp_path)
    forged(folder, lambda row: row.update(shard="../secret.tar", split="train"))
    with pytest.raises(DataError, match=r"names the shard \"\.\./secret\.tar\""):
        clips(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the folder."""
    out = tmp_path_factory.mktemp("folder") / "run"
    ran = run(*TRAINED, "--out", out, f"data.root={tiny.built()}")
    assert ran.exit_code == 0, ran.output
    return out


@pytest.fixture
def site(monkeypatch):
    """The dataset at /sets/tiny of a web server; retries do not wait."""
    monkeypatch.setattr(stores, "_BACKOFF", tenacity.wait_none())
    with serving() as media:
        for path in sorted(tiny.built().rglob("*")):
            if path.is_file():
                media.pages[f"/sets/tiny/{path.relative_to(tiny.built()).as_posix()}"] = Page(path.read_bytes())
        yield media


def assert_same_training(out, trained, places):
    """The same clips in the same order gave the same weights, and the run's settings say where from."""
    expected, found = (load_file(folder / "pretrained" / "model.safetensors") for folder in (trained, out))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)
    assert (out / "experiment.toml").read_text().count(f'root = "{places}"') == 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_training_from_a_web_server(trained, site, tmp_path, workers):
    url = site.url("/sets/tiny")
    ran = run(*TRAINED, "--out", tmp_path, f"data.root={url}", f"run.workers={workers}")
    assert ran.exit_code == 0, ran.output
    assert_same_training(tmp_path, trained, url)
    assert any(hit.range for hit in site.hits)


@pytest.mark.slow
def test_evaluation_from_a_web_server(site, tmp_path):
    results = []
    for root in (tiny.built(), site.url("/sets/tiny/")):
        ran = evaluate(root, tmp_path / "out")
        assert ran.exit_code == 0, ran.output
        results += json.loads(ran.stdout)
    near, far = ({name: value for name, value in result.items() if name != "cost"} for result in results)
    assert far == near
    assert far["clips"] == 18


def test_what_a_web_server_refuses_is_one_line(site, tmp_path):
    assert refusal(evaluate(site.url("/sets"), tmp_path)).endswith("dataset.json: status 404, not there")
    for path in [path for path in site.pages if path.endswith(".tar")]:
        site.pages[path] = Page(site.pages[path].body, status=503)
    assert refusal(evaluate(site.url("/sets/tiny"), tmp_path)).endswith(".tar: status 503, 6 times")


@pytest.fixture
def hub(tmp_path):
    """The dataset is someone/tiny on a Hub, tagged v1; its main branch has lost the shards."""
    server = Hub(tmp_path / "hub")
    try:
        uploaded = on_hub(
            server, tmp_path, "tests.mlst.loading.hub_of_loading", "upload", tiny.built(), "someone/tiny"
        )
        assert uploaded.returncode == 0, uploaded.stderr
        yield server
    finally:
        server.close()


def on_hub(server, folder, module, *arguments):
    """In a process of its own: the Hub's client reads its environment once."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": server.token}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, env=environment | {"OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[3],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


@pytest.mark.slow
def test_training_from_the_hub(hub, trained, tmp_path):
    out, settings = tmp_path / "run", ["data.root=someone/tiny", "data.revision=v1"]
    ran = on_hub(hub, tmp_path, "astm", *TRAINED, "--out", out, *settings)
    assert ran.returncode == 0, ran.stderr
    assert_same_training(out, trained, "someone/tiny")
    assert 'revision = "v1"' in (out / "experiment.toml").read_text()
    shardless = on_hub(hub, tmp_path, "astm", *TRAINED, "--out", tmp_path / "main", settings[0])
    assert shardless.returncode == 2
    assert "Traceback" not in shardless.stderr
    last = shardless.stderr.splitlines()[-1]
    assert last.startswith("astm: ")
    assert "Entry Not Found" in last
