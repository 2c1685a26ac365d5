"""Dissolves and wipes: a small network judges every frame by the traces that gradual transitions leave around it.

`benchmarks/train_shots.py` trains it, on the tuning half of `tests/splices` alone. It is a dense layer and three
convolutions over time with residual connections, 8 thousand weights in all. These, and what
lies between the layers, are multiples of 1/1024, so that float64 holds every sum exactly: all machines decide alike.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from math import log

import cv2
import numpy as np

from collection.detectors.features import Bytes, Gram, Matrix, detail, middle, spread, unexplained
from collection.detectors.traces import REACH, Traces

STEP = 1024
"""Weights and hidden values are multiples of 1 / `STEP`."""
DILATIONS = (1, 3, 9)
"""Frames between the taps of each convolution."""
CONTEXT = sum(DILATIONS)
"""Frames on either side that a judgement depends on, each with its traces."""
BATCH = 16
"""Frames judged at once."""
DELAY = REACH + CONTEXT + BATCH
"""Frames after which a frame has been judged."""
KINDS = ("", "dissolve", "wipe", "fade")
"""What the network tells apart; fades are found by `fades`."""
EDGE_ODDS = -1.5
"""Least odds, as a logarithm, of the frames around a sure one that belong to the same transition."""
LONGEST = 66
"""Frames at most that one find takes. The rest of a longer transition is a find of its own, and missed where its ends
look alike: of a dissolve of 90 frames the first 66 are told."""
OTHER_DETAIL, OTHER_SPREAD = 0.4, 0.6
"""The pictures on either side leave at most so much `detail` and at least that `spread`: of the transitions of the
tuning half 99.5 % leave less than 0.34 and more than 0.63."""
UNEXPLAINED = 0.58
"""Share of the way from the one to the other, by the picture halfway, that motion must leave unexplained: 99 % of
transitions leave 0.61, somebody who nods 0.4, a pan 0.25."""
DETOUR = 16
"""How many times as far it may be from frame to frame as from the one side to the other: 99.5 % of transitions stay
below 15, a counter that changes all the time reaches 20."""


@dataclass(frozen=True, slots=True)
class Found:
    """A dissolve or wipe in frames [start, end)."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution over time."""

    weights: Matrix
    """(taps * n, m)."""
    bias: Matrix
    """(m,)."""

    def __call__(self, rows: Matrix) -> Matrix:
        """(t, taps * n) -> (t, m)."""
        return np.asarray(rows @ self.weights + self.bias)


@dataclass(frozen=True, slots=True)
class Network:
    """First and last layers of one tap, and those of three taps between them."""

    first: Layer
    between: tuple[Layer, ...]
    last: Layer

    def hidden(self, traces: Matrix) -> Matrix:
        """(t, 96) traces -> (t, 24)."""
        return _rectified(self.first(traces))

    def odds(self, hidden: Matrix) -> Matrix:
        """(t + 2 * CONTEXT, 24) -> (t, 4) of `KINDS`, logarithms up to a sum of their own."""
        for layer, apart in zip(self.between, DILATIONS, strict=True):
            taps = [hidden[: len(hidden) - 2 * apart], hidden[apart : len(hidden) - apart], hidden[2 * apart :]]
            hidden = taps[1] + _rectified(layer(np.concatenate(taps, axis=1)))
        return self.last(hidden)


def _rectified(rows: Matrix) -> Matrix:
    return np.asarray(np.rint(np.maximum(rows, 0) * STEP) / STEP)


@cache
def load_network() -> Network:
    """The trained one. The fork server reads it for all workers."""
    with files("collection.detectors").joinpath("mixing.npz").open("rb") as file, np.load(file) as stored:
        arrays = {name: stored[name].astype(np.float64) / STEP for name in stored.files}
    layers = [Layer(arrays[f"weights{i}"], arrays[f"bias{i}"]) for i in range(len(arrays) // 2)]
    return Network(layers[0], tuple(layers[1:-1]), layers[-1])


class Mixing:
    """Finds dissolves and wipes, `DELAY` frames late at most."""

    def __init__(self, gram: Gram, sure: float) -> None:
        self._traces, self._network = Traces(gram), load_network()
        self._runs = Runs(round(log(sure / (1 - sure)) * STEP) / STEP)
        self._lumas: deque[Bytes] = deque(maxlen=LONGEST + DELAY + 2)
        self._count, self._measured = 0, 0
        """Frames seen, and those whose traces are known."""
        self._hidden = np.zeros((0, 0))
        """Of frames not judged yet, and of the `CONTEXT` before them."""

    def push(self, luma: Bytes) -> list[Found]:
        """What is certain now. Call after the frame was pushed to the `Gram`."""
        self._traces.push(luma)
        self._lumas.append(luma)
        self._count += 1
        return self._true(self._judged(BATCH)) if self._count - REACH - self._measured >= BATCH else []

    def finish(self) -> list[Found]:
        """What the end of the video makes certain: its last picture stays."""
        if self._count == self._measured:
            return []
        found: list[Found] = []
        while self._measured < self._count:
            n = min(BATCH, self._count - self._measured)
            while self._traces.count < self._measured + n + REACH:
                self._traces.push(self._lumas[-1])
            found += self._judged(n)
        self._hidden = np.concatenate([self._hidden, np.repeat(self._hidden[-1:], CONTEXT, axis=0)])
        return self._true(found + self._runs.push(self._network.odds(self._hidden)) + self._runs.finish())

    def _judged(self, n: int) -> list[Found]:
        """Measures `n` more frames and judges those whose surroundings are known."""
        hidden = self._network.hidden(self._traces.measured(np.arange(self._measured, self._measured + n)))
        self._measured += n
        before = self._hidden if len(self._hidden) else np.repeat(hidden[:1], CONTEXT, axis=0)
        self._hidden = np.concatenate([before, hidden])
        if len(self._hidden) <= 2 * CONTEXT:
            return []
        odds = self._network.odds(self._hidden)
        self._hidden = self._hidden[len(odds) :]
        return self._runs.push(odds)

    def _true(self, found: Sequence[Found]) -> list[Found]:
        """Those that lead from one thing to another."""
        return [f for f in found if leads_on([self._luma(at) for at in range(f.start - 1, f.end + 1)])]

    def _luma(self, frame: int) -> Bytes:
        """Of a frame, or of the nearest one known."""
        oldest = self._count - len(self._lumas)
        return self._lumas[min(max(frame, oldest), self._count - 1) - oldest]


def leads_on(lumas: Sequence[Bytes]) -> bool:
    """Whether the first and the last of some pictures show different things, no motion leads from one to the other by
    way of the one in the middle, and it is not much farther from picture to picture than from end to end."""
    a, between, b = lumas[0], lumas[len(lumas) // 2], lumas[-1]
    if max(detail(a, b), detail(middle(a), middle(b))) > OTHER_DETAIL or spread(a, b) < OTHER_SPREAD:
        return False
    if sum(cv2.norm(p, q) for p, q in pairwise(lumas)) > DETOUR * cv2.norm(a, b):
        return False
    ways = ((a, between), (between, a), (between, b), (b, between))
    return sum(unexplained(p, q) for p, q in ways) >= len(ways) * UNEXPLAINED


class Runs:
    """Makes transitions of the odds of frames: runs of likely ones with a sure one among them."""

    def __init__(self, sure: float) -> None:
        self._sure = sure
        self._count, self._start, self._peak = 0, -1, 0.0
        self._sums = np.zeros(len(KINDS))
        """Of the run in progress: its first frame or -1, its highest odds, and what speaks for each kind."""

    def push(self, odds: Matrix) -> list[Found]:
        """Given those of the next frames, (n, 4)."""
        within = odds[:, 1:3].max(axis=1) - np.maximum(odds[:, 0], odds[:, 3])
        found: list[Found] = []
        for row, least in zip(odds, within, strict=True):
            if self._start >= 0 and (least < EDGE_ODDS or self._count - self._start >= LONGEST):
                found += self.finish()
            if least >= EDGE_ODDS:
                if self._start < 0:
                    self._start, self._peak, self._sums = self._count, float(least), np.zeros(len(KINDS))
                self._peak = max(self._peak, float(least))
                self._sums += row
            self._count += 1
        return found

    def finish(self) -> list[Found]:
        """The run in progress, if it is one."""
        start, self._start = self._start, -1
        if start < 0 or self._peak < self._sure:
            return []
        return [Found(KINDS[1 + int(self._sums[2] > self._sums[1])], start, self._count)]
