"""Moving MNIST against the published generator written out in plain loops."""

import os
import zipfile

import numpy as np
import pytest

from astm.data import DataError
from astm.data.moving_mnist import MovingMnist, MovingMnistSettings, compose, read_idx, trajectories
from tests.astm.data.media import digits, mnist, write_idx


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mnist(tmp_path_factory.mktemp("mnist"))


def clips(root, split="train", **settings):
    return MovingMnist(MovingMnistSettings(root=str(root), test="generated", **settings), split)


def bounce(x, y, theta, length, room):
    """One digit as in the public code of the PredRNN family."""
    vx, vy, places = np.cos(theta), np.sin(theta), []
    for _ in range(length):
        x, y = x + 0.1 * vx, y + 0.1 * vy
        if x <= 0:
            x, vx = 0, -vx
        if x >= 1:
            x, vx = 1, -vx
        if y <= 0:
            y, vy = 0, -vy
        if y >= 1:
            y, vy = 1, -vy
        places.append((int(room * x), int(room * y)))
    return places


def test_trajectories_are_those_of_the_published_generator():
    generator = np.random.default_rng(0)
    start, angle = generator.random((50, 2, 2)), generator.random((50, 2)) * 2 * np.pi
    places = trajectories(start, angle, 30, 36)
    assert places.min() == 0
    assert places.max() == 36
    for n, d in np.ndindex(50, 2):
        assert places[n, d].tolist() == [list(p) for p in bounce(*start[n, d], angle[n, d], 30, 36)]


def test_digits_are_composed_by_the_maximum():
    shapes = digits(2, 3)[None]
    places = np.array([[[[0, 4], [8, 9]], [[3, 0], [8, 9]]]])
    frames = compose(shapes, places, 40)
    for t in range(2):
        expected = np.zeros((40, 40), np.uint8)
        for d in range(2):
            x, y = places[0, d, t]
            expected[y : y + 28, x : x + 28] = np.maximum(expected[y : y + 28, x : x + 28], shapes[0, d])
        assert np.array_equal(frames[0, t], expected)


def test_a_sequence_depends_on_its_index_alone(root):
    data = clips(root)
    together = data.__getitems__([7, 1_000_003, 2])
    assert np.array_equal(together[0].frames, data[7].frames)
    assert np.array_equal(together[1].frames, clips(root, train_count=5)[1_000_003].frames)
    assert together[2].frames.shape == (20, 1, 64, 64)
    assert not np.array_equal(together[0].frames, together[2].frames)


def test_splits_differ_and_seeds_too(root):
    first = [clips(root, split)[0].frames for split in ("train", "validation", "test")]
    first.append(clips(root, data_seed=1)[0].frames)
    assert len({frames.tobytes() for frames in first}) == 4


def test_epochs_are_new_or_the_same(root):
    fresh, fixed = clips(root, train_count=10), clips(root, train_count=10, fresh=False)
    assert sorted(fresh.order(0, 3)) == list(range(30, 40))
    assert sorted(fixed.order(0, 3)) == list(range(10))


def test_a_longer_clip_begins_the_same(root):
    assert np.array_equal(clips(root, horizon=30)[5].frames[:20], clips(root)[5].frames)


def test_fingerprint(root, tmp_path):
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    write_idx(unpacked / "train-images.idx3-ubyte", digits(40, 0))
    assert clips(root).fingerprint == clips(unpacked).fingerprint
    assert clips(root).fingerprint != clips(root, horizon=20).fingerprint


def test_standard_test_file(root, tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (20, 6, 64, 64), np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", stored)
    data = MovingMnist(MovingMnistSettings(root=str(tmp_path)), "test")
    assert len(data) == 6
    assert np.array_equal(data[4].frames[:, 0], stored[:, 4])
    short = MovingMnist(MovingMnistSettings(root=str(tmp_path), past=3, horizon=4), "test")
    assert np.array_equal(short[4].frames[:, 0], stored[:7, 4])


def test_predrnn_file(tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (3 * 20, 1, 64, 64), np.uint8)
    clips = np.array([[[20 * i, 10] for i in range(3)], [[20 * i + 10, 10] for i in range(3)]])
    path = tmp_path / "moving-mnist-test.npz"
    np.savez_compressed(path, clips=clips, dims=np.array([[1, 64, 64]]), input_raw_data=stored / np.float32(255))
    data = MovingMnist(MovingMnistSettings(root=str(tmp_path), test=path.name), "test")
    assert len(data) == 3
    assert np.array_equal(data[1].frames, stored[20:40])


def test_what_is_missing_is_said(root, tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz.*Put MNIST's files there.*or set data.root"):
        MovingMnist(MovingMnistSettings(root=str(tmp_path)), "train")
    with pytest.raises(DataError, match=r'mnist_test_seq.npy.*set data.test = "generated"'):
        MovingMnist(MovingMnistSettings(root=str(root)), "test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"no idx file at all", "not an IDX file"),
        ("train-images-idx3-ubyte", b"", "not an IDX file"),
        ("train-images-idx3-ubyte.gz", b"\x1f\x8bbroken", "cannot be read"),
        ("x.npy", b"\x93NUMPY\x01\x00broken", "not a file of sequences"),
        ("x.npz", b"PK broken", "not a file of sequences"),
        ("x.pkl", b"cposix\nsystem\n", r"read from .npy and .npz files, not '.pkl'"),
    ],
)
def test_corrupt_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    train = "generated" if name.startswith("train") else name
    with pytest.raises(DataError, match=message):
        MovingMnist(MovingMnistSettings(root=str(tmp_path), train=train), "train")


def test_arrays_of_another_shape(tmp_path):
    for array, message in (
        (np.zeros((20, 2, 32, 32), np.uint8), r"\(2, 20, 32, 32\), not uint8 \(N, T, 64, 64\)"),
        (np.zeros((5, 2, 64, 64), np.uint8), "2 sequences of 5 frames; 10 [+] 10"),
        (np.zeros((20, 2, 64, 64)), "float64"),
    ):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(DataError, match=message):
            MovingMnist(MovingMnistSettings(root=str(tmp_path), test="x.npy"), "test")


def test_pickled_arrays_are_not_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="not a file of sequences"):
        MovingMnist(MovingMnistSettings(root=str(tmp_path), test="x.npy"), "test")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("clips.npy", (tmp_path / "x.npy").read_bytes())
    with pytest.raises(DataError, match="not a file of sequences"):
        MovingMnist(MovingMnistSettings(root=str(tmp_path), test="x.npz"), "test")


@pytest.mark.skipif("MLST_MNIST" not in os.environ, reason="MLST_MNIST names no folder with MNIST's files")
def test_real_mnist():
    data = clips(os.environ["MLST_MNIST"])
    assert data.pictures.shape == (60000, 28, 28)
    assert read_idx(data.source).mean() == pytest.approx(33.318, abs=1e-3)  # the well-known mean of MNIST
    frames = np.stack([sample.frames for sample in data.__getitems__(range(500))])
    assert 11 < frames.mean() < 14  # 2 * 33.3 * (28 / 64) ** 2, less overlaps
