"""The network that judges dissolves and wipes, and the traces that it sees."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.train_shots import Net, quantised
from collection.detectors.features import Gram, Small
from collection.detectors.mixing import BATCH, CONTEXT, KINDS, STEP, Layer, Mixing, Network, Runs, load_network
from collection.detectors.traces import LAGS, REACH, SIZE, Traces

Codes = NDArray[np.uint8]


def video(lumas: NDArray[np.float64]) -> list[Small]:
    """Grey frames of lumas (n, 36, 64)."""
    grey = np.full((18, 32), 128, np.uint8)
    return [Small(np.rint(luma).astype(np.uint8), grey, grey) for luma in lumas]


@pytest.fixture(scope="module")
def ends() -> tuple[Codes, Codes]:
    rng = np.random.default_rng(0)
    a, b = (np.kron(rng.integers(20, 236, (9, 16)), np.ones((4, 4))).astype(np.uint8) for _ in range(2))
    return a, b


def weighted(ends: tuple[Codes, Codes], still: int, span: int) -> list[Small]:
    """A dissolve over `span` frames between two stills of so many."""
    share = np.concatenate([np.zeros(still), np.arange(1, span + 1) / (span + 1), np.ones(still)])[:, None, None]
    return video(ends[0] * (1 - share) + ends[1] * share)


def traced(frames: list[Small], batch: int) -> NDArray[np.float64]:
    gram = Gram(86)
    traces, rows, done = Traces(gram), [], 0
    for frame in frames:
        gram.push(frame)
        traces.push(frame.y)
        if traces.count - REACH - done >= batch:
            rows.append(traces.measured(np.arange(done, done + batch)))
            done += batch
    return np.concatenate(rows)


def test_traces_of_a_dissolve(ends: tuple[Codes, Codes]) -> None:
    """In its middle lies the mean of the frames beside it: half of either's edges, nothing of which is left over."""
    middle = traced(weighted(ends, 60, 31), 1)[75].reshape(len(LAGS), -1)[-2]
    before, after, explained, a, b = middle[[1, 2, 5, 6, 7]]
    assert explained == pytest.approx(1, abs=0.05)
    assert (a, b) == pytest.approx((0.5, 0.5), abs=0.05)
    assert before == pytest.approx(after, abs=0.1)
    assert 0.5 < before < 0.9
    assert middle[11] == pytest.approx(0.5, abs=0.05)


def test_traces_of_a_still_are_those_of_no_change(ends: tuple[Codes, Codes]) -> None:
    still = traced(video(np.repeat(ends[0][None], 80, axis=0)), 4).reshape(-1, len(LAGS), SIZE // len(LAGS))
    assert (still[..., :3] == 1).all()
    assert (still[..., [3, 4, 8, 9, 10, 11, 12, 13, 15]] == 0).all()


def test_traces_do_not_depend_on_batches(ends: tuple[Codes, Codes]) -> None:
    frames = weighted(ends, 90, 20)
    assert np.array_equal(traced(frames, 1)[:160], traced(frames, 16)[:160])


def test_the_network_is_the_trained_one_but_for_rounding() -> None:
    torch.manual_seed(1)
    net = Net()
    arrays = {name: array / STEP for name, array in quantised(net).items()}
    layers = [Layer(arrays[f"weights{i}"], arrays[f"bias{i}"]) for i in range(5)]
    rows = np.random.default_rng(1).integers(-64, 65, (40, SIZE)) / 64
    own = Network(layers[0], tuple(layers[1:-1]), layers[-1])
    hidden = np.pad(own.hidden(rows), ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    theirs = net(torch.from_numpy(rows.T[None].astype(np.float32)))[0].detach().numpy().T
    assert own.odds(hidden) == pytest.approx(theirs, abs=0.05)


def test_the_order_of_sums_changes_nothing() -> None:
    """Weights and hidden values are such that float64 holds every product and every sum."""
    network = load_network()
    rows = np.random.default_rng(2).integers(-128, 129, (2 * CONTEXT + 9, SIZE)) / 64
    backwards = Layer(network.first.weights[::-1], network.first.bias)
    hidden = network.hidden(rows)
    assert np.array_equal(hidden, Network(backwards, network.between, network.last).hidden(rows[:, ::-1]))
    between = tuple(Layer(layer.weights[::-1], layer.bias) for layer in network.between)
    assert len(network.odds(hidden)) == 9
    for layer, other in zip(network.between, between, strict=True):
        taps = np.tile(hidden, 3)
        assert np.array_equal(layer(taps), other(taps[:, ::-1]))


@pytest.mark.parametrize("n", [1, 2, BATCH, REACH + BATCH + 3, 100])
def test_every_frame_is_judged_once(n: int, ends: tuple[Codes, Codes], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Runs, "push", lambda self, odds: seen.append(len(odds)) or [])
    gram = Gram(86)
    mixing = Mixing(gram, 0.9)
    for frame in video(np.repeat(ends[0][None], n, axis=0)):
        gram.push(frame)
        mixing.push(frame.y)
    mixing.finish()
    assert sum(seen) == n


def test_runs_need_a_sure_frame_and_take_the_likely_ones_beside_it() -> None:
    odds = np.full((20, len(KINDS)), -9.0)
    odds[:, 0] = 0
    odds[3:9, 2] = [-1.0, 0.0, 1.0, 3.0, 0.0, -2.0]
    odds[12:16, 1] = 1.0
    runs = Runs(2.0)
    (found,) = [f for part in np.array_split(odds, 7) for f in runs.push(part)] + runs.finish()
    assert (found.kind, found.start, found.end) == ("wipe", 3, 8)


def odds(frames: list[Small], keep: int, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    """Of all frames, where so many are kept."""
    heard: list[NDArray[np.float64]] = []
    monkeypatch.setattr(Runs, "push", lambda _, odds: heard.append(odds) or [])
    gram = Gram(keep)
    mixing = Mixing(gram, 0.85)
    for frame in frames:
        gram.push(frame)
        mixing.push(frame.y)
    mixing.finish()
    return np.concatenate(heard)


@pytest.mark.parametrize("length", [100, 117, 131])
def test_the_last_frames_are_judged_by_those_before_them(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where all are kept: none of these is replaced by the last picture, which is taken to stay."""
    lumas = np.random.default_rng(length).integers(0, 256, (length, 36, 64)).astype(float)
    few, all_kept = (odds(video(lumas), keep, monkeypatch) for keep in (86, 400))
    assert len(few) == length
    assert np.array_equal(few, all_kept)
