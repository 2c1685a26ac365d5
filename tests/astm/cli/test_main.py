"""The `astm` command end to end, on small data."""

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from astm.cli.commands import app
from astm.cli.films import beside
from astm.cli.listeners import LogFile
from astm.cli.measuring import model_row
from astm.cli.scoring import labels
from astm.data.video import frames_of
from astm.evaluation.clip_scores import read_clip_scores
from astm.predictor import Predictor, model
from astm.results import read_results
from astm.training.train import Validated
from mlst import __version__
from tests.astm.data.media import encode, film, mlst_dataset, mnist

TINY = ["model.hidden=[4]", "model.patch=8", "data.size=32", "data.past=3", "data.horizon=2", "train.batch_size=2"]
REPOSITORY = Path(__file__).parents[3]
runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mnist(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    ran = run(
        *("train", "convlstm", "--out", out, "--device", "cpu", "--json", f"data.root={root}", *TINY),
        *("--set", "train.steps=6", "--set", "train.validate_on=2", "--set", "run.log_every=2"),
    )
    assert ran.exit_code == 0, ran.output
    return out, ran


def test_train(trained):
    out, ran = trained
    result = json.loads(ran.stdout)
    assert (result["finished"], result["step"], result["best_step"]) == (True, 6, 6)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6, 6]
    assert {path.name for path in out.iterdir()} == {
        *("log.jsonl", "last.safetensors", "best.safetensors", "experiment.toml", "versions.json", "pretrained")
    }
    assert re.search(r"step 4/6: loss 0\.\d+, [\d.]+ clips/s, 0:00:\d\d left", ran.stderr)


def test_training_again_says_that_nothing_was_left_to_do(trained, root):
    out, ran = trained
    again = run(
        *("train", "convlstm", "--out", out, "--device", "cpu", f"data.root={root}", *TINY),
        *("train.steps=6", "train.validate_on=2", "run.log_every=2"),
    )
    assert "finished 6 steps in " in ran.stderr
    assert f"all 6 steps were done before; best model in {out}/pretrained" in again.stderr


def test_lines_from_the_first_step_on(trained):
    """`run.log_every` is 2; without a terminal the first step is told as soon as it is done."""
    assert re.search(r"^step 1/6: loss 0\.\d+$", trained[1].stderr, re.M)


def test_a_finished_run_goes_on_and_another_starts_from_it(trained, root, tmp_path):
    """Both by the options of the command; the setting that is refused names the option that allows it."""
    out = tmp_path / "longer"
    shutil.copytree(trained[0], out)
    common = ("--device", "cpu", f"data.root={root}", *TINY, "train.validate_on=2")
    refused = run("train", "convlstm", "--out", out, *common, "train.steps=8")
    assert refused.exit_code == 2
    assert "or those of train as --override:\ntrain.steps is 8, was 6" in refused.stderr
    longer = run("train", "convlstm", "--out", out, *common, "train.steps=6", "--override", "train.steps=8")
    assert longer.exit_code == 0, longer.output
    assert "from step 6 on train.steps is 8, was 6\nresumes after step 6" in longer.stderr
    again = run("train", "convlstm", "--out", out, *common, "--override", "train.steps=8", "--rollback")
    assert "8 steps" in again.stderr
    fresh = run("train", "convlstm", "--out", tmp_path / "new", *common, "train.steps=1", "--from", out)
    assert fresh.exit_code == 0, fresh.output
    assert f"starts from {out}: " in fresh.stderr
    seed = run("train", "convlstm", "--out", out, *common, "--override", "train.seed=3")
    assert seed.exit_code == 2
    assert "a run keeps train.seed to its end" in seed.stderr


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is an extra")
def test_tensorboard_has_scores_and_pictures(root, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ran = run("train", "convlstm", "--out", tmp_path, f"data.root={root}", *TINY, "train.steps=1", "--tensorboard")
    assert ran.exit_code == 0, ran.output
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["validation/clips"]
    (picture,) = events.Images("validation/clips")
    assert (picture.height, picture.width) == (2 * 2 * 32, 5 * 32)
    assert "validation/mse_sum" in events.Tags()["scalars"]


def test_print_config():
    ran = run("train", "astm", "--preset", "authors", "--print-config", "train.lr=0.25")
    assert ran.exit_code == 0
    assert 'norm = "layer"' in ran.stdout
    assert "lr = 0.25" in ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(root, tmp_path, number):
    """A real process, a real signal."""
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "astm", "train", "convlstm", "--out", str(out), "--device", "cpu"),
        *(f"data.root={root}", *TINY, "train.validate_on=0", "run.log_every=1"),
    ]
    process = subprocess.Popen(
        [*command, "train.steps=100000"], cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("step 3/"):
            process.send_signal(number)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 128 + number
    assert "the same command resumes from there" in rest
    assert "Traceback" not in rest
    step = int(re.search(r"stopped after step (\d+)", rest)[1])
    changed = run(
        "train", "convlstm", "--out", out, f"data.root={root}", *TINY, "train.validate_on=0", "train.steps=9"
    )
    assert changed.exit_code == 2
    assert "train.steps is 9, was 100000" in changed.stderr
    log = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert log == list(range(1, step + 1))


@pytest.mark.slow
def test_evaluate_and_table(trained, root, tmp_path):
    out, _ = trained
    ran = run(
        *("evaluate", out, "copy_last", "--out", tmp_path, "--count", 5, "--keep", 1, "--samples", 2),
        *("--json", "--device", "cpu"),
    )
    assert ran.exit_code == 0, ran.output
    assert '"mse_sum_best_of_2"' in ran.stdout
    saved = run(
        "evaluate", "copy_last", out / "pretrained", "--set", f"data.root={root}", "--out", tmp_path / "s", "--json"
    )
    assert [r["fingerprint"] for r in json.loads(saved.stdout)] == [r["fingerprint"] for r in json.loads(ran.stdout)]
    results = json.loads(ran.stdout)
    assert [r["label"] for r in results] == ["small", "copy_last"]
    assert {r["clips"] for r in results} == {5}
    assert {r["dataset"] for r in results} == {"moving_mnist"}
    assert {"results.json", "results.md", "filmstrip-0.png", "errors-0.png"} <= {p.name for p in tmp_path.iterdir()}
    table = run("table", 1, tmp_path / "results.json", "--json")
    assert json.loads(table.stdout)["lines"][-1]["method"] == "ASTM"
    longer = run(
        *(
            "evaluate",
            out / "pretrained",
            "--data",
            "moving_mnist",
            "--set",
            f"data.root={root}",
            "--out",
            tmp_path / "b",
        ),
        *("--set", "data.test=generated", "--set", "data.size=32", "--set", "data.horizon=10", "--count", 3),
        *("--metrics", "psnr_frame, ssim_wang,psnr_frame"),
    )
    assert longer.exit_code == 0, longer.output
    assert "| small | " in longer.stdout
    assert run("table", 1, tmp_path / "b" / "results.json").stdout.count("-") > 10


def evaluate_on_mlst(source, folder, size):
    mlst_dataset(folder / "data", splits=("test",))
    return run(
        *("evaluate", source, "--data", "mlst", "--out", folder / "out", "--device", "cpu"),
        *("--set", f"data.root={folder / 'data'}", "--set", f"data.size={size}"),
        *("--set", "data.past=2", "--set", "data.horizon=3"),
    )


def test_evaluate_by_level(tmp_path):
    ran = evaluate_on_mlst("copy_last", tmp_path, 24)
    assert ran.exit_code == 0, ran.output
    assert "| model | s0t0 (3) | s2t1 (3) |" in ran.stdout
    assert (tmp_path / "out" / "levels-0.png").is_file()


def test_predict(trained, tmp_path):
    out, _ = trained
    video = tmp_path / "in.mp4"
    video.write_bytes(encode(film(9, 40, 60, 0)))
    ran = run("predict", out, video, "--past", 4, "--horizon", 3, "--start", 1, "--out", tmp_path / "o.mp4", "--json")
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.stdout)
    assert len(result["psnr_frame"]) == 3
    frames = np.stack(list(frames_of(tmp_path / "o.mp4", ".mp4", "rgb24"))).astype(int)
    assert frames.shape == (7, 32, 68, 3)
    assert np.abs(frames[:4, :, :32] - frames[:4, :, 36:]).mean() < 3
    assert np.abs(frames[4:, :, :32] - frames[4:, :, 36:]).mean() > 10
    short = run("predict", out, video, "--past", 10)
    assert short.exit_code == 2
    assert "has 9 frames; an input of 10 from frame 0 does not fit: lower --past" in short.stderr
    told = json.loads(run("predict", out, video, "--out", tmp_path / "o.mp4", "--json").stdout)
    assert (told["past"], told["horizon"]) == (3, 2), "as trained"


def test_predict_beyond_the_end_of_a_film(trained, tmp_path):
    """From its last frames, and from frames of which some have a truth; where there is none, the left half says so."""
    video = tmp_path / "in.mp4"
    video.write_bytes(encode(film(9, 40, 60, 0)))
    asked = ("--past", 4, "--horizon", 3, "--out", tmp_path / "o.mp4", "--json")
    for start, known in ((-4, 0), (4, 1), (2, 3)):
        ran = run("predict", trained[0], video, "--start", start, *asked)
        assert ran.exit_code == 0, ran.output
        result = json.loads(ran.stdout)
        assert (result["with_truth"], len(result["psnr_frame"])) == (known, known)
        frames = np.stack(list(frames_of(tmp_path / "o.mp4", ".mp4", "rgb24"))).astype(int)
        left = frames[4:, :, :32]
        assert frames.shape == (7, 32, 68, 3)
        grey = np.abs(left[:, :4] - 96).max(axis=(1, 2, 3)) < 6
        assert grey.tolist() == [i >= known for i in range(3)]
        assert all(picture.max() > 200 for picture in left[known:]), "the words"


def test_predict_from_arrays_and_folders_of_frames(tmp_path):
    frames = film(5, 16, 24, 0)
    np.save(tmp_path / "two.npy", np.stack([frames, 255 - frames]))
    (tmp_path / "frames").mkdir()
    for t, picture in enumerate(frames):
        cv2.imwrite(str(tmp_path / "frames" / f"{t}.png"), picture[..., ::-1])
    common = ("--past", 3, "--horizon", 2, "--size", "16x24", "--out", tmp_path / "o.mp4", "--json")
    scores = []
    for place in (("two.npy", "--film", 0), ("frames",)):
        ran = run("predict", "copy_last", tmp_path / place[0], *place[1:], *common)
        assert ran.exit_code == 0, ran.output
        scores.append(json.loads(ran.stdout)["psnr_frame"])
        assert next(frames_of(tmp_path / "o.mp4", ".mp4", "rgb24")).shape == (16, 52, 3)
    assert scores[0] == scores[1]
    many = run("predict", "copy_last", tmp_path / "two.npy", *common)
    assert many.exit_code == 2
    assert "has 2 films; choose one with --film, by number or name: 000000, 000001" in many.stderr
    odd = run("predict", "copy_last", tmp_path / "frames", "--size", "16by24")
    assert "--size '16by24' is no size; write 128, or 96x128" in odd.stderr


def test_predict_takes_pictures_that_no_window_of_a_metric_fits(tmp_path):
    video = tmp_path / "in.mp4"
    video.write_bytes(encode(film(20, 40, 60, 0)))
    ran = run("predict", "copy_last", video, "--size", 8, "--out", tmp_path / "o.mp4")
    assert ran.exit_code == 0, ran.output


def test_a_torn_line_of_the_log_is_passed_over(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    log = LogFile(path)
    log.began(2, 9, "")
    log.validated(Validated(3, 0.5, True, np.zeros((0, 0, 3), np.uint8)))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.slow
def test_the_row_of_a_model():
    row = model_row("astm", "moving_mnist", "")
    assert row["parameters"] == 18_086_928
    assert row["macs"] == pytest.approx(176e9, rel=0.001)
    assert row["presets"] == "paper, authors, strong, tiny, small"


@pytest.mark.slow
def test_rows_at_another_size():
    larger = {name: model_row(name, "kth", "")["macs"] for name in ("convlstm", "mau", "stam")}
    assert [name for name, count in larger.items() if count is None] == ["mau", "stam"]  # made for 64 x 64


def test_models(monkeypatch):
    """Of a preset of two; each model is counted in its own tests."""
    monkeypatch.setattr("astm.training.settings.presets", lambda data: {"tiny": ("convlstm", "predrnn_pp")})
    assert "predrnn_pp" in run("models", "--data", "kth", "--preset", "tiny").stdout
    rows = json.loads(run("models", "--preset", "tiny", "--json").stdout)
    assert [row["model"] for row in rows] == ["convlstm", "predrnn_pp"]


@pytest.mark.slow
def test_bench():
    bench = json.loads(run("bench", "convlstm", *TINY, "--repeat", 1, "--json", "--device", "cpu").stdout)
    assert bench["training_clips_per_second"] > 0
    assert bench["activation_bytes"] > 0
    assert json.loads(run("bench", "copy_last", "--preset", "", "--repeat", 1, "--json").stdout)["parameters"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "svg"), "unknown model 'svg'; choices are astm"),
        (("train", "astm", "--preset", "huge"), "unknown preset 'huge' of moving_mnist; choices are paper"),
        (("train", "astm", "--data", "mnist"), "unknown dataset 'mnist'; choices are films, folder"),
        (("train", "astm", "train.stpes=1"), "train.stpes = 1: unknown setting; choices are steps"),
        (
            ("train", "astm", "data.root=/nowhere"),
            "/nowhere is not a folder; train-images-idx3-ubyte.gz was expected",
        ),
        (("train", "copy_last", "--preset", ""), "copy_last has no parameters"),
        (("evaluate", "copy_last"), "copy_last does not say what it was trained on; name the dataset with --data"),
        (("evaluate", "/nowhere/best.safetensors"), "/nowhere/best.safetensors is neither a folder, nor a bundled"),
        (("evaluate", "copy_last", "--preset", "tiny"), "--preset tiny is of a dataset; name it with --data"),
        (("publish", "moving-mnist-small", "name", "--dry-run"), "'name' is not OWNER/NAME"),
        (("train", "astm", "--out", "/dev/null/run", "data.root={mnist}"), "/dev/null is not a folder; give"),
        (("bench", "stam", "--preset", "authors", "model.patch=8"), "model: with norm = 'layer' this model is made"),
        (("evaluate", "astm", "--data", "mlst"), "'./data/mlst' is not a folder, a URL or a Hub id"),
        (
            ("evaluate", "copy_last", "--data", "mlst", "--metrics", "psnr"),
            "unknown metric psnr; choices are lpips_alex, mae_sum",
        ),
        (
            ("evaluate", "copy_last", "--data", "kth", "--set", "train.lr=1"),
            "evaluation takes settings of data, not of train",
        ),
        (("predict", "copy_last", "/nowhere.mp4"), "/nowhere.mp4 is not a readable video"),
        (("table", "5"), "no table 5"),
        (("table", "1", "/nowhere.json"), "/nowhere.json: no such file; make one with `astm evaluate`"),
        (("models", "--preset", "huge"), "unknown preset 'huge' of moving_mnist"),
    ],
)
def test_mistakes_are_messages(arguments, message, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run(*(argument.format(mnist=root) for argument in arguments))
    assert ran.exit_code == 2
    assert message in ran.stderr.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


class Buggy(Predictor):
    """Can be described, but not used."""

    def forward(self, past, horizon):
        if not past.is_meta:
            raise ZeroDivisionError("by design")
        return past[:, -1:].repeat(1, horizon, 1, 1, 1)


def test_a_broken_model_loses_no_result_of_others(tmp_path, monkeypatch):
    """An unfit model, a damaged file and a bug, each before a model that works."""
    mlst_dataset(tmp_path / "data", splits=("test",))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    monkeypatch.setitem(model._entries, "buggy", Buggy)
    buggy = tmp_path / "buggy"
    Buggy().save_pretrained(buggy)
    ran = run(
        *(
            "evaluate",
            tmp_path / "broken.safetensors",
            buggy,
            "copy_last",
            "--data",
            "mlst",
            "--out",
            tmp_path / "out",
        ),
        *("--set", f"data.root={tmp_path / 'data'}", "--set", "data.size=24", "--metrics", "mse_sum"),
        *("--set", "data.past=2", "--set", "data.horizon=3", "--device", "cpu"),
    )
    assert ran.exit_code == 3, ran.output
    assert [result.label for result in read_results(tmp_path / "out" / "results.json")] == ["copy_last"]
    (scores,) = read_clip_scores(tmp_path / "out" / "clips.parquet")
    assert (scores.label, len(scores.keys), list(scores.values)) == ("copy_last", 6, ["mse_sum"])
    assert "Traceback" in ran.stderr, "a bug keeps its traceback"
    *_, first, second = ran.stderr.splitlines()
    assert first.startswith("no result of broken.safetensors: ")
    assert second == "no result of buggy: ZeroDivisionError: by design"


def test_frames_that_do_not_fit_are_named(trained, tmp_path):
    ran = evaluate_on_mlst(trained[0], tmp_path, 28)
    assert ran.exit_code == 2
    assert "height 28 is not a multiple of the patch, 8" in ran.stderr.replace("\n", " ")
    assert str(trained[0]) in ran.stderr.replace("\n", "")


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_tensorboard_is_an_extra(root):
    ran = run("train", "convlstm", f"data.root={root}", *TINY, "--tensorboard")
    assert ran.exit_code == 2
    assert "pip install 'mlst[train]'" in ran.stderr


def test_labels(trained, monkeypatch):
    out, _ = trained
    assert labels([str(out), "copy_last"]) == ["small", "copy_last"]
    best = str(out / "best.safetensors")
    assert labels([best, "copy_last"]) == ["small", "copy_last"]
    assert labels([str(out), best]) == [str(out), best]
    monkeypatch.chdir(out)
    assert labels(["."]) == labels(["pretrained"]) == labels(["last.safetensors"]) == ["small"]


def test_films_side_by_side():
    left, right = np.zeros((2, 1, 4, 6), np.uint8), np.full((2, 3, 4, 6), 9, np.uint8)
    film = beside(left, right)
    assert film.shape == (2, 4, 16, 3)
    assert (film[:, :, :6] == 0).all()
    assert (film[:, :, 10:] == 9).all()


HEAVY = ("av", "cv2", "huggingface_hub", "matplotlib", "numpy", "pyarrow", "safetensors", "torch", "yaml")


@pytest.mark.parametrize(
    "code",
    [
        "import astm",
        "from astm.cli.commands import app; app(['--help'], standalone_mode=False)",
        "from astm.cli.commands import app; app(['--version'], standalone_mode=False)",
        "from astm.cli.commands import app; app(['train', '--help'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    code = f"import sys\n{code}\nsys.exit(' '.join(sorted(set({HEAVY}) & set(sys.modules))) or 0)"
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert ran.returncode == 0, f"imported: {ran.stderr}"


def test_the_table_needs_no_torch():
    code = "import sys, astm.evaluation.tables as t; t.markdown(t.shipped(1)); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


def test_version():
    assert run("--version").output == f"astm {__version__}\ntorch {torch.__version__}\n"
