"""Evaluation against the same scores computed at once; tables; pictures."""

import json

import numpy as np
import pytest
import torch

from astm.data.clips import ordered_batches
from astm.data.mlst import Mlst, MlstSettings
from astm.data.moving_mnist import MovingMnist
from astm.evaluation import figures, tables
from astm.evaluation.cost import Stopwatch
from astm.evaluation.evaluate import Tally, bootstrap, evaluate, markdown
from astm.metrics import metric
from astm.models import create
from astm.predictor import Predictor, model
from astm.results import EvaluationError, base_and_ending, read_results, sampled_names, write_results
from astm.training.settings import presets
from tests.astm.data.media import experiment, mlst_dataset, mnist

CPU = torch.device("cpu")
NAMES = ("mse_sum", "psnr_frame", "ssim_sk_u8")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return MovingMnist(experiment(mnist(tmp_path_factory.mktemp("mnist"))).data_settings, "test")


@pytest.fixture(scope="module")
def levelled(tmp_path_factory):
    root = tmp_path_factory.mktemp("mlst")
    mlst_dataset(root, splits=("test",))
    return Mlst(MlstSettings(root=str(root), past=2, horizon=3, size=24), "test")


def scored(clips, label="copy", name="copy_last", dataset="moving_mnist", **options):
    values = {"batch_size": 3, **options}
    return evaluate(create(name), clips, dataset=dataset, label=label, device=CPU, metrics=NAMES, **values)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_streaming_equals_all_at_once(clips, batch_size):
    """7 clips: the last batch of 3 has one clip, which counts as much as any other."""
    result = scored(clips, batch_size=batch_size).result
    (batch,) = ordered_batches(clips, 0, 100, 0, CPU)
    predicted = create("copy_last")(batch.past, 2)
    for name in NAMES:
        expected = metric[name](predicted, batch.future).numpy()
        score = result.score(name)
        assert score.mean == pytest.approx(expected.mean(), rel=1e-12)
        assert score.per_frame == pytest.approx(expected.mean(axis=0), rel=1e-12)
        assert (score.low, score.high) == pytest.approx(bootstrap(expected.mean(axis=1)))
        assert score.low < score.mean < score.high
    assert result.clips == 7


def test_levels_add_up(levelled):
    result = scored(levelled, dataset="mlst").result
    assert [(g.level, g.clips) for g in result.groups] == [("all", 6), ("s0t0", 3), ("s2t1", 3)]
    for name in NAMES:
        parts = [result.score(name, level).mean for level in ("s0t0", "s2t1")]
        assert result.score(name).mean == pytest.approx(np.mean(parts))
    with pytest.raises(KeyError, match="copy has no mse_sum for s1t1"):
        result.score("mse_sum", "s1t1")


def test_bootstrap():
    """Against the normal approximation, and the same each time."""
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap(values)
    assert (low, high) == bootstrap(values)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * 0.1, values.mean() + 1.96 * 0.1), abs=0.03)
    assert bootstrap(np.array([3.0])) == (3, 3)


def test_tally_keeps_no_pictures():
    tally = Tally(["x"])
    tally.add({"x": np.array([[1.0, 2.0]])}, ["k"], ["a"])
    tally.add({"x": np.array([[3.0, 4.0], [5.0, 6.0]])}, ["l", "m"], ["b", "b"])
    assert [(g.level, g.clips, g.scores[0].mean) for g in tally.groups()] == [
        ("all", 3, 3.5),
        ("a", 1, 1.5),
        ("b", 2, 4.5),
    ]


class Guesses(Predictor):
    """The last frame, and samples that are brighter by up to a half."""

    def forward(self, past, horizon):
        return past[:, -1:].repeat(1, horizon, 1, 1, 1)

    def samples(self, past, horizon, count, seeds):
        for k in range(count):
            light = [np.random.default_rng([seed, k]).random((horizon, 1, 1, 1)) / 2 for seed in seeds]
            yield self(past, horizon) + torch.from_numpy(np.stack(light)).to(past)


@pytest.fixture
def guesses(monkeypatch):
    """A model that samples, registered for one test."""
    monkeypatch.setitem(model._entries, "guesses", Guesses)
    return Guesses()


@pytest.mark.parametrize("batch_size", [2, 7])
def test_samples_are_scored_apart(clips, guesses, batch_size):
    """Best by clip and by metric, mean of scores, the first sample: as from all at once, whatever the batches."""
    result = evaluate(
        guesses,
        clips,
        dataset="moving_mnist",
        label="x",
        device=CPU,
        metrics=NAMES,
        batch_size=batch_size,
        keep=0,
        samples=4,
    ).result
    plain = evaluate(guesses, clips, dataset="moving_mnist", label="x", device=CPU, metrics=NAMES, keep=0).result
    (batch,) = ordered_batches(clips, 0, 100, 0, CPU)
    drawn = list(guesses.samples(batch.past, 2, 4, range(7)))
    for name in NAMES:
        scores = np.stack([metric[name](sample, batch.future).numpy() for sample in drawn])  # (4, 7, 2)
        by_clip = scores.mean(axis=2)
        winners = by_clip.argmin(axis=0) if name == "mse_sum" else by_clip.argmax(axis=0)
        expected = {"best_of_4": scores[winners, np.arange(7)], "mean_of_4": scores.mean(0), "one_sample": scores[0]}
        for ending, values in expected.items():
            found = result.score(f"{name}_{ending}")
            assert found.mean == pytest.approx(values.mean(), rel=1e-9)
            assert found.per_frame == pytest.approx(values.mean(axis=0), rel=1e-9)
        assert len(set(winners)) > 1
        assert result.score(name) == plain.score(name), "the model's own prediction is scored as ever"
    assert [s.metric for s in plain.groups[0].scores] == list(NAMES)
    assert "4 samples of each clip" in result.policy
    assert "samples" not in plain.policy


def test_samples_in_markdown_and_json(clips, guesses, tmp_path):
    options = {"keep": 1, "samples": 3}
    made = [
        evaluate(one, clips, dataset="moving_mnist", label=label, device=CPU, metrics=NAMES, **options)
        for label, one in (("guesses", guesses), ("copy", create("copy_last")))
    ]
    results = [one.result for one in made]
    write_results(tmp_path / "r.json", results)
    assert read_results(tmp_path / "r.json") == results
    copied = results[1]
    for name in NAMES:
        plain = copied.score(name)
        for key in sampled_names(name, 3):
            assert copied.score(key).per_frame == plain.per_frame, "one prediction is its own best, mean and sample"
    lines = markdown(results).splitlines()
    assert lines[2].startswith("| model | mse_sum ↓ | psnr_frame ↑ | ssim_sk_u8 ↑ | parameters")
    assert "| model | metric | best of 3 | mean of 3 | one sample |" in lines
    mean = f"{copied.score('mse_sum').mean:.4g}"
    assert f"| copy | mse_sum | {mean} | {mean} | {mean} |" in lines
    paths = figures.draw(tmp_path, results, [one.examples for one in made])
    assert [path.name for path in paths if "curve" in path.name] == [f"curve-{name}.png" for name in NAMES]


@pytest.mark.parametrize("name", ["mse_sum", "mse_sum_raw", "ssim_sk_u8"])
def test_names_of_sampled_scores_come_apart_again(name):
    assert [base_and_ending(key) for key in sampled_names(name, 100)] == [
        (name, ending) for ending in ("best_of_100", "mean_of_100", "one_sample")
    ]
    assert base_and_ending(name) == (name, "")
    assert sampled_names(name, 0) == ()


def test_cost(clips):
    torch.set_num_threads(1)
    e = experiment(clips.settings.root)
    result = evaluate(e.predictor(), clips, dataset="moving_mnist", label="x", device=CPU, metrics=NAMES).result
    spent = result.cost
    assert spent.parameters == sum(p.numel() for p in e.predictor().parameters())
    assert spent.macs > 0
    assert spent.activation_bytes > 0
    assert spent.clips_per_second > 0
    assert scored(clips).result.cost.activation_bytes == 0


def test_memory_is_that_of_predicting_alone(monkeypatch):
    """Metrics in float64 hold more than most models; they run between predictions. In place of CUDA's, counters that
    act as PyTorch documents them."""
    held, peak = 100, [0]

    def allocate(count):
        peak[0] = max(peak[0], held + count)

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.__setitem__(0, held))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[0])
    watch = Stopwatch(torch.device("cuda"))
    for predicted, scored_afterwards in [(30, 900), (50, 900), (20, 900)]:
        watch.predict(lambda past, horizon, count=predicted: allocate(count), torch.zeros(2), 1)
        allocate(scored_afterwards)
    assert (watch.peak_bytes, watch.clips) == (150, 6)


class Diverged(Guesses):
    """Not a number from the second frame on."""

    def forward(self, past, horizon):
        return super().forward(past, horizon).index_fill(1, torch.arange(1, horizon), float("nan"))


def test_predictions_that_are_not_finite_are_refused(clips):
    with pytest.raises(ValueError, match="the prediction has values that are not finite; the model diverged"):
        evaluate(Diverged(), clips, dataset="moving_mnist", label="x", device=CPU, metrics=NAMES, batch_size=3)


def test_unfit_models_are_refused(clips):
    with pytest.raises(KeyError, match="unknown metric 'psnr'; choices are lpips_alex, mae_sum"):
        evaluate(create("copy_last"), clips, dataset="moving_mnist", label="x", device=CPU, metrics=["psnr"])
    with pytest.raises(ValueError, match="takes 3 channel"):
        evaluate(
            create("convlstm", channels=3, hidden=[2]),
            clips,
            dataset="moving_mnist",
            label="x",
            device=CPU,
            metrics=NAMES,
        )


def test_json_comes_back(levelled, tmp_path):
    result = scored(levelled).result
    write_results(tmp_path / "r.json", [result])
    assert read_results(tmp_path / "r.json") == [result]
    values = json.loads((tmp_path / "r.json").read_text())[0]
    assert values["fingerprint"] == levelled.fingerprint
    assert values["clips"] == 6
    assert "clipped" in values["policy"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"format": "astm-evaluation/1"}]', '[{"format": "other"}]'])
def test_foreign_results(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(EvaluationError, match="not a result of `astm evaluate`"):
        read_results(tmp_path / "r.json")


def test_markdown(levelled):
    result = scored(levelled, label="a|b").result
    lines = markdown([result]).splitlines()
    assert lines[2].startswith("| model | mse_sum ↓ | psnr_frame ↑ | ssim_sk_u8 ↑ | parameters")
    assert lines[4].startswith("| a\\|b | ")
    assert "| model | s0t0 (3) | s2t1 (3) |" in lines
    assert len({line.count("|") for line in lines[2:4]}) == 1


def test_examples_show_every_level(levelled, clips):
    examples = scored(levelled, keep=1).examples
    assert [e.level for e in examples] == ["s0t0", "s2t1"]
    examples = scored(clips, keep=3).examples
    assert [e.key for e in examples] == ["test-00000000", "test-00000001", "test-00000002"]
    assert np.array_equal(examples[1].past, clips[1].frames[:3])
    assert np.array_equal(examples[1].future, clips[1].frames[3:])
    assert np.array_equal(examples[1].predicted, np.repeat(clips[1].frames[2:3], 2, axis=0))
    assert scored(clips, keep=0).examples == ()


def test_pictures(levelled, tmp_path):
    made = [scored(levelled, label=label, keep=1) for label in ("one", "two")]
    paths = figures.draw(tmp_path, [one.result for one in made], [one.examples for one in made])
    assert [path.name for path in paths] == [
        *(name for i in (0, 1) for name in (f"filmstrip-{i}.png", f"errors-{i}.png", f"film-{i}.mp4")),
        *(f"curve-{name}.png" for name in NAMES),
        *("levels-0.png", "levels-1.png"),
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths if path.suffix == ".png")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)


def test_a_row_of_a_filmstrip():
    frames = np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1).repeat(4, axis=2).repeat(4, axis=3)
    row = figures._row(frames, 3)
    assert row.shape == (4, 3 * 4 + 2 * figures.GAP)
    assert (row[:, :4] == 0).all()
    assert (row[:, 4 : 4 + figures.GAP] == 255).all()
    assert (row[:, 4 + figures.GAP : 8 + figures.GAP] == 1).all()
    assert (row[:, 8 + figures.GAP :] == 255).all()


PAPER = {
    1: {
        "ASTM": ("0.944", "37.2", "225MB"),
        "Conv-LSTM": ("0.707", "103.3", "-"),
        "E3D-LSTM": ("0.910", "41.3", "2695MB"),
    },
    2: {"ASTM": ("0.908", "30.02", "0.865", "28.12", "24.73"), "FRNN": ("0.771", "26.12", "0.678", "23.77", "-")},
    3: {
        "Basic Model": ("45.4", "0.905", "25.58", "0.789", "23.21"),
        "ASTM": ("36.2", "0.936", "28.12", "0.865", "24.73"),
    },
}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_published_numbers(number):
    """As printed in the paper, column by column."""
    made = tables.table(number, [])
    lines = {line.method: tuple(cell.published for cell in line.cells) for line in made.lines}
    assert {method: lines[method] for method in PAPER[number]} == PAPER[number]
    assert all(cell.measured == "-" for line in made.lines for cell in line.cells)
    assert all(line.note for line in made.lines)
    defined = {cell.definition for line in made.lines for cell in line.cells}
    assert defined <= {*metric, "memory"}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_comes_with_the_package_fills_the_tables(number):
    made = tables.shipped(number)
    measured = [(cell.column.dataset, cell.measured) for line in made.lines for cell in line.cells]
    assert all(value != "-" for _, value in measured)
    datasets = {column.dataset for column in tables.COLUMNS[number]}
    assert {data for data, value in measured if value == tables.NOT_RUN} == datasets & {"kth"}
    assert {data for data, value in measured if value != tables.NOT_RUN} == datasets - {"kth"}
    assert ("KTH was not run" in tables.markdown(made)) == (number != 1)
    assert len(tables.shipped(3).lines) == 2


def test_shipped_memory_is_that_of_the_full_size_models():
    from astm.evaluation.cost import saved_bytes

    sizes = json.loads((tables.RESULTS / "memory.json").read_text())
    assert sizes.keys() == set(model)
    with torch.device("meta"):
        predictor, clip = create("convlstm"), torch.empty(2, 1, 10, 1, 64, 64)
    assert saved_bytes(predictor, *clip) == sizes["convlstm"]


STILL_GREY = {"swin_lstm"}
"""Starts from grey pictures, and 400 steps do not make them black."""


@pytest.mark.parametrize("data", ["moving_mnist", "mlst"])
def test_every_model_is_in_what_comes_with_the_package(data):
    results = read_results(tables.RESULTS / f"{data}_tiny.json")
    assert {result.model for result in results} == set(presets(data)["tiny"]) | {"copy_last"}
    assert len({(result.fingerprint, result.protocol, result.clips) for result in results}) == 1


def test_models_beat_the_last_frame_in_what_comes_with_the_package():
    scores = {r.model: r.score("mse_sum").mean for r in read_results(tables.RESULTS / "moving_mnist_tiny.json")}
    assert {name for name, score in scores.items() if score >= scores["copy_last"]} == {"copy_last"} | STILL_GREY


def test_measured_numbers_stand_beside_the_published_ones(clips):
    from dataclasses import replace

    result = evaluate(
        create("copy_last"), clips, dataset="moving_mnist", label="x", device=CPU, metrics=[*NAMES, "ssim_sk_dr2"]
    ).result
    mine = replace(result, model="astm", horizon=10)
    line = next(line for line in tables.table(1, [mine]).lines if line.method == "ASTM")
    assert [cell.measured for cell in line.cells] == [
        f"{result.score('ssim_sk_dr2').mean:.3f}",
        f"{result.score('mse_sum').mean:.2f}",
        "0MiB",
    ]
    assert tables.table(1, [replace(mine, horizon=20)]).lines[-1].method == "ASTM"
    extra = tables.table(1, [replace(result, horizon=10)])
    assert (extra.lines[-1].method, extra.lines[-1].note) == ("x", "not in the paper")
    elsewhere = tables.table(1, [replace(result, model="simvp", horizon=10)]).lines[-1]
    assert [cell.published for cell in elsewhere.cells] == ["0.9402", "26.69", "-"]
    text = tables.markdown(extra)
    assert "| Method | SSIM published | SSIM measured | MSE published | MSE measured |" in text
    assert f"Measured on {clips.protocol}, 7 clips." in text


def test_a_published_best_sample_stands_beside_a_measured_one(clips, guesses):
    from dataclasses import replace

    names = ["ssim_wang", "psnr_frame"]

    def row(samples):
        result = evaluate(
            guesses, clips, dataset="kth", label="x", device=CPU, metrics=names, keep=0, samples=samples
        ).result
        made = tables.table(2, [replace(result, model="savp_vae", horizon=20)])
        return next(line for line in made.lines if line.method == "SAVP-VAE"), result, tables.markdown(made)

    line, result, text = row(5)
    assert [cell.definition for cell in line.cells[:2]] == ["ssim_wang_best_of_5", "psnr_frame_best_of_5"]
    assert line.cells[1].measured == f"{result.score('psnr_frame_best_of_5').mean:.2f}"
    assert line.note.endswith("; measured: best of 5")
    assert "SSIM = ssim_wang_best_of_5" in text
    line, result, _ = row(0)
    assert line.cells[1].measured == f"{result.score('psnr_frame').mean:.2f}"
    assert "measured: one prediction (`astm evaluate --samples 100`" in line.note


def test_there_is_no_table_5():
    for asked in (lambda: tables.table(5, []), lambda: tables.shipped(5)):
        with pytest.raises(tables.TableError, match="no table 5; there are 1, 2, 3, 4"):
            asked()


def test_epochs_are_columns_of_their_own(clips):
    """Three protocols that papers mix; a result stands in that of its label alone."""
    from dataclasses import replace

    line = next(line for line in tables.shipped(4).lines if line.method == "SimVP+gSTA")
    assert [cell.published for cell in line.cells[:3]] == ["26.69", "22.53", "15.05"]
    result = evaluate(
        create("copy_last"), clips, dataset="moving_mnist", label="x", device=CPU, metrics=["mse_sum_raw"]
    ).result
    trained = [replace(result, model="simvp", horizon=10, label=label) for label in ("simvp-2000", "simvp", "x-1200")]
    line = next(line for line in tables.table(4, trained).lines if line.method == "SimVP+gSTA")
    assert [cell.definition for cell in line.cells[:3]] == ["mse_sum_raw"] * 3
    assert [cell.measured for cell in line.cells[:3]] == ["-", "-", f"{result.score('mse_sum_raw').mean:.2f}"]


@pytest.mark.parametrize(
    ("name", "where"), [("stmfanet", "Table 2,"), ("astm_basic", "Table 3,"), ("tau", "not in the")]
)
def test_a_table_knows_where_else_the_paper_has_a_model(clips, name, where):
    from dataclasses import replace

    result = evaluate(
        create("copy_last"), clips, dataset="moving_mnist", label="x", device=CPU, metrics=["mse_sum"]
    ).result
    assert where in tables.table(1, [replace(result, model=name, horizon=10)]).lines[-1].note
