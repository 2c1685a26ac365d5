"""Other people's predictions: every kind of file, pairing, and the same scores as of our own evaluation."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from astm.data import DataError
from astm.data.films import arranged, open_films
from astm.evaluation.clip_scores import read_clip_scores
from astm.evaluation.predictions import About, about, paired, score_films
from astm.results import EvaluationError, read_results
from tests.astm.cli.test_main import run
from tests.astm.data.media import encode, film, mlst_dataset, mnist

NAMES = ("mse_sum", "ssim_wang")


def stack(count=3, frames=5, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, channels, 16, 20), np.uint8)


def scores(truth, predicted, metrics=NAMES):
    known = about(truth, Path(truth.place))
    scored = score_films(truth, predicted, known, label="x", model="x", metrics=metrics, batch_size=2, keep=1)
    return scored, scored.result.groups[0].scores


def saved(folder, name, array):
    np.save(folder / name, array)
    return open_films(folder / name)


def test_predictions_of_an_evaluation_score_the_same(tmp_path):
    """To the last bit, by clip and by level, and on clips with the same fingerprint, so that they can be compared."""
    mlst_dataset(tmp_path / "data", splits=("test",))
    data = ("--data", "mlst", "--set", f"data.root={tmp_path / 'data'}", "--set", "data.size=24")
    frames = ("--set", "data.past=2", "--set", "data.horizon=3", "--device", "cpu")
    kept = tmp_path / "kept"
    ran = run("evaluate", "copy_last", *data, *frames, "--save-predictions", kept, "--out", tmp_path / "a")
    assert ran.exit_code == 0, ran.output
    assert {path.name for path in kept.iterdir()} == {"truth.npy", "truth.json", "copy_last.npy"}
    again = run("score", kept / "truth.npy", kept / "copy_last.npy", "--label", "theirs", "--out", tmp_path / "b")
    assert again.exit_code == 0, again.output
    (ours,), (theirs,) = (read_results(tmp_path / name / "results.json") for name in "ab")
    assert theirs.groups == ours.groups
    assert (theirs.fingerprint, theirs.protocol) == (ours.fingerprint, ours.protocol)
    assert "| theirs |" in again.stdout
    assert again.stdout.count("| - | - | - | - |") == 1
    assert (tmp_path / "b" / "filmstrip-0.png").is_file()
    (a,), (b,) = (read_clip_scores(tmp_path / name / "clips.parquet") for name in "ab")
    assert (a.keys, a.videos, a.levels) == (b.keys, b.videos, b.levels)
    compared = run("compare", "copy_last", "theirs", "--results", tmp_path / "a", "--results", tmp_path / "b")
    assert compared.exit_code == 0, compared.output


def test_a_broken_prediction_loses_no_other(tmp_path):
    truth = stack()
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "good.npy", truth[:, 3:])
    np.save(tmp_path / "short.npy", truth[:2, 3:])
    ran = run("score", tmp_path / "truth.npy", tmp_path / "short.npy", tmp_path / "good.npy", "--out", tmp_path / "o")
    assert ran.exit_code == 3
    assert "short.npy has 2 films and" in ran.stderr
    assert [result.label for result in read_results(tmp_path / "o" / "results.json")] == ["good"]


def test_results_of_other_models_are_not_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("truth.npy", stack())
    np.save("a.npy", stack()[:, 3:])
    np.save("b.npy", stack()[:, 3:])
    assert run("score", "truth.npy", "a.npy", "--keep", 0).exit_code == 0
    assert Path("scored", "results.json").is_file()
    assert not Path("results").exists(), "where `astm evaluate` writes"
    refused = run("score", "truth.npy", "b.npy", "--keep", 0)
    assert refused.exit_code == 2
    assert "has results of a, which would be lost; give another folder with --out" in refused.stderr
    assert run("score", "truth.npy", "b.npy", "a.npy", "--keep", 0).exit_code == 0


@pytest.mark.parametrize(("layout", "axes"), [("TNHW", (1, 0, 3, 4)), ("NTHWC", (0, 1, 3, 4, 2)), ("", (0, 1, 3, 4))])
def test_layouts_of_stacks(layout, axes):
    frames = stack()
    there = (
        frames[:, :, 0].transpose([axis - (axis > 2) for axis in axes]) if len(axes) == 4 else frames.transpose(axes)
    )
    assert np.array_equal(arranged(there, layout, "x"), frames)


def test_every_kind_of_file_holds_the_same_films(tmp_path):
    """Exact ones are exact, and videos near."""
    frames = np.stack([film(5, 32, 48, i) for i in range(2)])  # (N, T, H, W, 3)
    truth = saved(tmp_path, "truth.npy", frames.transpose(0, 1, 4, 2, 3))
    np.savez(tmp_path / "named.npz", b=frames[1], a=frames[0])
    for key, pictures in zip("ab", frames, strict=True):
        for folder in ("frames", "videos"):
            (tmp_path / folder / key).mkdir(parents=True)
        for t, picture in enumerate(pictures):
            cv2.imwrite(str(tmp_path / "frames" / key / f"{t + 8}.png"), picture[..., ::-1])
        (tmp_path / "videos" / f"{key}.mp4").write_bytes(encode(pictures))
        (tmp_path / "videos" / key).rmdir()
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for key, pictures in zip("ab", frames, strict=True):
            made = io.BytesIO()
            np.save(made, pictures.transpose(0, 3, 1, 2))
            for suffix, content in ((".npy", made.getvalue()), (".json", b'{"level": "s1t2"}')):
                info = tarfile.TarInfo(key + suffix)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    for name in ("named.npz", "frames", "shard.tar"):
        films = open_films(tmp_path / name)
        assert sorted(films.keys) == ["a", "b"]
        assert all(np.array_equal(x, y) for x, y in paired(open_films(tmp_path / "frames"), films)), name
    assert open_films(tmp_path / "shard.tar").levels == {"a": "s1t2", "b": "s1t2"}
    _, exact = scores(truth, open_films(tmp_path / "frames"))
    assert [score.mean for score in exact] == [0, 1]
    _, near = scores(truth, open_films(tmp_path / "videos"), ("psnr_frame",))
    assert near[0].mean > 30


def test_named_films_are_paired_by_name(tmp_path):
    frames = stack(2)
    np.savez(tmp_path / "truth.npz", a=frames[0], b=frames[1])
    np.savez(tmp_path / "swapped.npz", b=frames[1, 3:], a=frames[0, 3:])
    truth = open_films(tmp_path / "truth.npz")
    scored, (mse, _) = scores(truth, open_films(tmp_path / "swapped.npz"))
    assert mse.mean == 0
    assert (scored.result.past, scored.result.horizon) == (3, 2)
    np.savez(tmp_path / "less.npz", a=frames[0, 3:], c=frames[1, 3:])
    with pytest.raises(EvaluationError, match=r"has no prediction of 1 of 2 films of .*: b"):
        scores(truth, open_films(tmp_path / "less.npz"))


def test_a_fingerprint_is_of_the_pictures(tmp_path):
    """Of the same films in another form the same, of others another."""
    frames, guess = stack(), saved(tmp_path, "guess.npy", stack()[:, 3:])
    prints = [
        scores(saved(tmp_path, name, array), guess)[0].result.fingerprint
        for name, array in (("a.npy", frames), ("b.npy", np.float32(frames) / 255), ("c.npy", stack(seed=1)))
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("truth", "guess", "message"),
    [
        (stack(), stack(3, 6), r"6 frames are predicted, the film has 5"),
        (stack(), stack(3, 2, 3), r"has 3 channels, the other one 1"),
        (stack().astype(np.float32), stack(3, 2), r"values up to 2\d\d; floating point must be from 0 to 1"),
        (stack(), stack(3, 2).astype(np.float32), r"values up to 2\d\d; floating point must be from 0 to 1"),
        (stack(), stack(3, 2).astype(np.int64), r"of type int64; give uint8"),
        (stack(20), stack(2), r"2 films and .* has 20; if axes are in another order.*TNHW"),
    ],
    ids=["longer", "channels", "truth-255", "prediction-255", "integers", "counts"],
)
def test_what_cannot_be_paired_is_named(tmp_path, truth, guess, message):
    with pytest.raises(EvaluationError, match=message):
        scores(saved(tmp_path, "t.npy", truth), saved(tmp_path, "p.npy", guess))


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"has no films; give a .npy or .npz file, a folder of videos"):
        open_films(tmp_path)
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"pickled arrays are never loaded"):
        open_films(tmp_path / "pickled.npy")
    np.save(tmp_path / "flat.npy", np.zeros((4, 5)))
    with pytest.raises(DataError, match=r"shape \(4, 5\), which is not NTHW, NTCHW or NTHWC; name the order"):
        open_films(tmp_path / "flat.npy")
    (tmp_path / "torn.tar").write_bytes(b"no tar")
    with pytest.raises(DataError, match=r"not a readable tar file"):
        open_films(tmp_path / "torn.tar")


def test_a_foreign_truth_json_is_refused(tmp_path):
    np.save(tmp_path / "truth.npy", stack())
    (tmp_path / "truth.json").write_text(json.dumps({"keys": []}))
    with pytest.raises(EvaluationError, match=r"was not written by `astm evaluate --save-predictions`"):
        about(open_films(tmp_path / "truth.npy"), tmp_path / "truth.npy")
    assert About.__dataclass_fields__.keys() > {"keys"}


def test_moving_mnist_is_scored_from_its_file(tmp_path):
    """In the layout of `mnist_test_seq.npy`."""
    root = mnist(tmp_path)
    frames = stack(4, 20)
    np.save(root / "seq.npy", frames[:, :, 0].transpose(1, 0, 2, 3))
    np.save(root / "mine.npy", frames[:, 10:].transpose(0, 1, 3, 4, 2))
    ran = run(
        "score", root / "seq.npy", root / "mine.npy", "--truth-layout", "TNHW", "--out", tmp_path / "o", "--json"
    )
    assert ran.exit_code == 0, ran.output
    (result,) = json.loads(ran.stdout)
    assert (result["past"], result["horizon"], result["clips"]) == (10, 10, 4)
    assert next(s["mean"] for s in result["groups"][0]["scores"] if s["metric"] == "mse_sum") == 0
