"""Train the network that finds dissolves and wipes: `python -m benchmarks.train_shots --help`.

It sees the tuning half of `tests/splices` alone: rendered with several seeds, half of the time filmed anew by moving
cameras, many single shots with what must not be taken for a transition, and two whole films. Rendering takes ten
minutes of one core, the training one. The weights go to `collection/detectors/mixing.npz`.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from collection.detectors.features import Gram, Small
from collection.detectors.mixing import CONTEXT, DILATIONS, KINDS, STEP
from collection.detectors.own import GRADUAL_RATE, KEPT
from collection.detectors.thumbs import Thumb
from collection.detectors.traces import REACH, SIZE, Traces
from collection.detectors.traces import STEP as TRACE_STEP
from mlst.records import Transition
from tests.splices import CLIPS, TUNING, decoded, encode
from tests.splices.cameras import moving
from tests.splices.families import Sample, drawn, footage, samples, single_shots
from tests.splices.footage import FILMS, LabelledFilm

WEIGHTS = Path(__file__).parents[1] / "collection" / "detectors" / "mixing.npz"


@dataclass(frozen=True)
class Part:
    """Training material that is rendered together."""

    seed: int
    moved: bool
    """Whether the shots are filmed anew by a moving camera."""
    single: bool
    """Whether it is single shots only."""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{'single' if self.single else 'all'}-{'moving' if self.moved else 'plain'}-{self.seed}"


PARTS = (
    *(Part(seed, False, False) for seed in (1, 101, 102)),
    *(Part(seed, True, False) for seed in (501, 502, 503, 504, 506)),
    *(Part(seed, True, True) for seed in (701, 702, 703, 704)),
    *(Part(seed, False, True) for seed in (711, 712, 713)),
)
FILMS_AGAIN = 4
"""Times that the whole films count, since they are few."""
HIDDEN = 24
EPOCHS, BATCH, CHUNK = 24, 32, 128
"""Passes over the material; pieces of so many frames in a step."""
RATE, DECAY, NOISE, SMOOTHING = 6e-3, 1e-2, 0.03, 0.05
"""Highest rate of learning, decay of weights (AdamW), noise on the traces, smoothing of the labels."""
UNKNOWN = -1
"""Label of a frame that is not judged."""


@dataclass(frozen=True)
class Example:
    """One video."""

    traces: Tensor
    """(96, t)."""
    labels: Tensor
    """(t,) places in `KINDS`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Render what is not in the cache, train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="folder that keeps the traces of the rendered material")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        examples = [example for part in PARTS for example in material(part, cache)]
    examples += FILMS_AGAIN * [whole(film) for film in FILMS["tuning"] if (CLIPS / film.file).is_file()]
    np.savez(options.out, **quantised(trained(examples)))


def material(part: Part, cache: Path) -> Iterator[Example]:
    """The videos of a part, rendered unless they were before."""
    path = cache / f"{part.name}.npz"
    if not path.exists():
        found = [traced(sample) for sample in _samples(part)]
        traces, labels = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        np.savez(path, traces=traces, labels=labels, lengths=[len(y) for _, y in found])
    with np.load(path) as stored:
        ends = np.cumsum(stored["lengths"])[:-1]
        for traces, labels in zip(np.split(stored["traces"], ends), np.split(stored["labels"], ends), strict=True):
            real = torch.from_numpy(traces.T.astype(np.float32) / TRACE_STEP)
            yield Example(real, torch.from_numpy(labels.astype(np.int64)))


def _samples(part: Part) -> Iterator[Sample]:
    rng = np.random.default_rng(part.seed)
    films = footage(TUNING, CLIPS)
    if part.moved:
        films = {name: [moving(shot, rng) for shot in shots] for name, shots in films.items()}
    if part.single:
        return single_shots(films | {f"drawing {i}": [s] for i, s in enumerate(drawn(part.seed))}, part.seed)
    return samples(films, part.seed)


def whole(film: LabelledFilm) -> Example:
    """A film whose transitions were told by eye; what is a matter of taste is not judged."""
    stride = max(1, round(Fraction(film.rate, GRADUAL_RATE)))
    seen = list(decoded(CLIPS / film.file))[::stride]
    labels = labelled(film.transitions, len(seen), stride)
    for t in film.undecided:
        labels[t.start // stride : -(-t.end // stride)] = UNKNOWN
    return Example(torch.from_numpy(traces_of(seen).T.astype(np.float32)), torch.from_numpy(labels.astype(np.int64)))


def labelled(truth: Sequence[Transition], n: int, stride: int) -> NDArray[np.int8]:
    """(n,) places in `KINDS` of every `stride`-th frame."""
    labels = np.zeros(n, np.int8)
    for t in truth:
        if t.kind in KINDS:
            labels[-(-t.start // stride) : -(-t.end // stride)] = KINDS.index(t.kind)
    return labels


def traced(sample: Sample) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """((t, 96), (t,)) traces in 1/64 and labels of the frames that gradual transitions are looked for in."""
    stride = max(1, round(Fraction(sample.rate, GRADUAL_RATE)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.mp4"
        encode(sample.frames, path, sample.crf, sample.pts)
        seen = list(decoded(path))[::stride]
    return np.rint(traces_of(seen) * TRACE_STEP).astype(np.int16), labelled(sample.truth, len(seen), stride)


def traces_of(seen: Sequence[Thumb]) -> NDArray[np.float64]:
    """(t, 96) of the thumbs of a whole video."""
    gram = Gram(KEPT)
    traces, rows = Traces(gram), []
    smalls = [Small(t.y, t.u, t.v) for t in seen]
    for number, small in enumerate(smalls):
        gram.push(small)
        traces.push(small.y)
        if number >= REACH:
            rows.append(traces.measured(np.array([number - REACH])))
    for frame in range(max(0, len(smalls) - REACH), len(smalls)):
        while traces.count <= frame + REACH:
            traces.push(smalls[-1].y)
        rows.append(traces.measured(np.array([frame])))
    return np.concatenate(rows)


class Net(nn.Module):
    """`collection.detectors.mixing.Network`, to be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(SIZE, HIDDEN, 1)
        self.between = nn.ModuleList(nn.Conv1d(HIDDEN, HIDDEN, 3, dilation=d) for d in DILATIONS)
        self.last = nn.Conv1d(HIDDEN, len(KINDS), 1)

    def forward(self, traces: Tensor) -> Tensor:
        """(n, 96, t) -> (n, 4, t)."""
        rows = pad(torch.relu(self.first(traces)), (CONTEXT, CONTEXT), mode="replicate")
        for layer, apart in zip(self.between, DILATIONS, strict=True):
            rows = torch.relu(layer(rows)) + rows[..., apart:-apart]
        odds: Tensor = self.last(rows)
        return odds


def trained(examples: Sequence[Example]) -> Net:
    """After `EPOCHS` passes."""
    rng = np.random.default_rng(0)
    net = Net()
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(pieces(examples, rng)) // BATCH + 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(ignore_index=UNKNOWN, label_smoothing=SMOOTHING)
    for epoch in range(EPOCHS):
        cut, losses = pieces(examples, rng), []
        for chosen in np.array_split(rng.permutation(len(cut)), len(cut) // BATCH):
            traces, labels = (torch.stack(part) for part in zip(*(cut[i] for i in chosen), strict=True))
            loss = loss_of(net(traces + NOISE * torch.randn_like(traces)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    return net


def pieces(examples: Sequence[Example], rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
    """((96, 128), (128,)) parts of the videos, cut anew at every call."""
    found = []
    for example in examples:
        n = len(example.labels)
        for begin in range(int(rng.integers(-CHUNK // 2, 1)), n, CHUNK):
            low, high = max(0, begin), min(n, begin + CHUNK)
            if high - low > 8:
                found.append(_piece(example, low, high))
    return found


def _piece(example: Example, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Frames [low, high); those whose surroundings are cut off are not judged."""
    labels = torch.full((CHUNK,), UNKNOWN)
    first = low + CONTEXT if low else 0
    last = high if high == len(example.labels) else high - CONTEXT
    labels[first - low : max(first, last) - low] = example.labels[first : max(first, last)]
    taken = example.traces[:, low:high]
    return pad(taken[None], (0, CHUNK - taken.shape[1]), mode="replicate")[0], labels


def quantised(net: Net) -> dict[str, NDArray[np.int16]]:
    """Weights (taps * n, m) and biases (m,) of the layers in order, in 1/1024."""
    arrays = {}
    for number, layer in enumerate((net.first, *net.between, net.last)):
        weights, bias = (p.detach().numpy().astype(np.float64) for p in (layer.weight, layer.bias))
        flat = weights.transpose(2, 1, 0).reshape(-1, weights.shape[0])
        arrays[f"weights{number}"], arrays[f"bias{number}"] = (
            np.rint(a * STEP).astype(np.int16) for a in (flat, bias)
        )
    return arrays


if __name__ == "__main__":
    main()
