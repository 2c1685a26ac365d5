"""`mlst+transnet` with networks that are made up: what it takes from which."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from collection.detectors.ensemble import Both
from collection.detectors.own import Own
from collection.detectors.transnet import Windows
from mlst.records import Transition
from tests.splices import HEIGHT, RATE, TUNING, Footage, Frames, detect, load, thumbs


@pytest.fixture(scope="module")
def shots() -> list[Frames]:
    return [load(Footage(f.file, f.start, f.start + 60)) for f in (TUNING[0], TUNING[2], TUNING[4])]


def excitable(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network that takes every sudden change for a transition: it stands for one with the frame before."""
    changes = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    return np.repeat(np.append(changes > 12, False).astype(np.float32)[:, None], 2, axis=1)


def quiet(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network that finds nothing."""
    return np.zeros((len(frames), 2), np.float32)


def found(both: Both, frames: Frames) -> Sequence[Transition]:
    told = []
    for seen in thumbs(frames):
        for transition in both.push(seen):
            assert seen.index <= transition.start + both.delay
            told.append(transition)
    return told + both.finish()


def test_what_mlst_finds_stays(shots: list[Frames]) -> None:
    frames = np.concatenate([shots[0][:40], shots[1][:40], shots[2][:40]])
    usual = detect("mlst", thumbs(frames))
    assert [t.start for t in usual] == [40, 80]
    for network in (quiet, excitable):
        assert found(Both(Own(Fraction(RATE)), Windows(network, 0.5, 0.1)), frames) == usual


def test_a_cut_that_only_the_network_finds_is_borne_out_by_other_edges(shots: list[Frames]) -> None:
    blind = Own(Fraction(RATE), ratio=1e9)
    frames = np.concatenate([shots[0][:40], shots[1][:60], *[shots[1][59:60]] * 200, shots[2][:40]])
    assert found(Both(blind, Windows(excitable, 0.5, 0.1)), frames) == [
        Transition("cut", 40, 40),
        Transition("cut", 300, 300),
    ]


def test_lights_are_none_whatever_the_network_says(shots: list[Frames]) -> None:
    frames = shots[1][:60].copy()
    frames[20:22, :HEIGHT] = 200 + frames[20:22, :HEIGHT] // 8
    frames[40:, :HEIGHT] = 16 + (frames[40:, :HEIGHT] - 16.0) * 0.5
    network = Windows(excitable, 0.5, 0.1)
    assert [t for seen in thumbs(frames) for t in network.push(seen)] + network.finish()
    assert found(Both(Own(Fraction(RATE)), Windows(excitable, 0.5, 0.1)), frames) == []
