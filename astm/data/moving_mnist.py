"""Moving MNIST: digits that move in straight lines and bounce off the walls (Srivastava et al. 2015, 1502.04681).

Training clips are made on the fly from MNIST's own files, as everybody does; the standard test set is the fixed file
`mnist_test_seq.npy`. Trajectories follow the generator that the PredRNN family shares: positions in [0, 1], speed 0.1
per frame, one move before the first frame, clamped at the walls, truncated to pixels, digits composed by the maximum.
"""

import gzip
import hashlib
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from astm.data.clips import ALL, ClipFrames, Clips, DataError, DataSettings, dataset, fitting
from mlst.draws import splitmix, stream, uniform
from mlst.records import digest
from mlst.text import number_of

DIGIT = 28
SPEED = 0.1
"""Of the way from wall to wall, per frame."""

TRAIN_IMAGES, TEST_IMAGES = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
GENERATED = "generated"
TEST_FILE = "mnist_test_seq.npy"


class MovingMnistSettings(DataSettings):
    """Where each split comes from: `generated`, or a file in `root`, .npy (T, N, H, W) or PredRNN's .npz."""

    root: str = "data/mnist"
    channels: Literal[1] = 1
    train: str = GENERATED
    validation: str = GENERATED
    test: str = TEST_FILE
    digits: Annotated[int, Field(ge=1, le=16)] = 2
    train_count: Annotated[int, Field(ge=1)] = 10_000
    """Sequences per epoch, where generated."""
    validation_count: Annotated[int, Field(ge=1)] = 1_000
    test_count: Annotated[int, Field(ge=1)] = 10_000
    fresh: bool = True
    """New training sequences in each epoch; otherwise always the same `train_count`, as in the paper."""
    data_seed: int = 0
    """Names the sequences; independent of the seed of a run."""


@dataset.named("moving_mnist")
class MovingMnist(Clips):
    """Training and validation sequences use the digits of MNIST's training file, test sequences those of its test
    file; their trajectories come from streams of their own."""

    Settings = MovingMnistSettings

    settings: MovingMnistSettings

    def __init__(self, settings: MovingMnistSettings, split: str) -> None:
        super().__init__(settings, split)
        root, name = Path(settings.root), str(getattr(settings, split))
        self.generated = name == GENERATED
        if self.generated:
            if settings.size < DIGIT:
                raise DataError(f"size {settings.size} has no room for digits of {DIGIT} x {DIGIT}; set 64")
            self.source = find_idx(root, TEST_IMAGES if split == "test" else TRAIN_IMAGES)
            self.pictures = read_idx(self.source)
            self.count = int(getattr(settings, f"{split}_count"))
        else:
            self.source = root / name
            self.pictures = read_sequences(self.source, settings, f'put it there, or set data.{split} = "{GENERATED}"')
            self.count = len(self.pictures)
        self.stream = stream("moving_mnist", split, settings.data_seed)
        fixed = f"{name}, digits of {self.source.name}, seed {settings.data_seed}" if self.generated else name
        self.protocol = f"moving_mnist {split}: {fixed}; {settings.past} -> {settings.horizon}, {settings.size} px"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> ClipFrames:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[ClipFrames]:
        chosen = np.asarray(indices)
        frames = self.generate(chosen) if self.generated else self.pictures[chosen]
        keys = (f"{self.split}-{index:08d}" for index in indices)
        return [ClipFrames(clip[:, None], key, ALL) for clip, key in zip(frames, keys, strict=True)]

    @cached_property
    def fingerprint(self) -> str:
        s = self.settings
        if not self.generated:
            return digest([s.past, s.horizon, sha256(self.source)])
        images = hashlib.sha256(self.pictures.tobytes()).hexdigest()
        return digest([s.past, s.horizon, s.size, s.digits, s.data_seed, self.split, self.count, images])

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Never seen before in each epoch where `fresh`; otherwise shuffled."""
        if self.generated and self.settings.fresh and self.split == "train":
            return super().order(seed, epoch) + epoch * self.count
        return super().order(seed, epoch)

    def generate(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(N, T, H, W): sequences of any indices >= 0."""
        s = self.settings
        u = uniform(splitmix(self.stream, index, 4 * s.digits)).reshape(len(index), s.digits, 4)
        which = (u[..., 0] * len(self.pictures)).astype(np.int64)
        places = trajectories(u[..., 1:3], u[..., 3] * 2 * np.pi, s.length, s.size - DIGIT)
        return compose(self.pictures[which], places, s.size)


def trajectories(start: NDArray[np.float64], angle: NDArray[np.float64], length: int, room: int) -> NDArray[np.int64]:
    """Corners of digits, in pixels from 0 to `room`.

    Parameters
    ----------
    start: (N, D, 2), x and y in [0, 1]. angle: (N, D), radians.

    Returns
    -------
    (N, D, length, 2), x and y.
    """
    at, speed = start.copy(), SPEED * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    places = np.empty((*angle.shape, length, 2))
    for t in range(length):
        at = at + speed
        speed = np.where((at <= 0) | (at >= 1), -speed, speed)
        at = at.clip(0, 1)
        places[:, :, t] = at
    return (room * places).astype(np.int64)


def compose(digits: NDArray[np.uint8], places: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """(N, T, size, size): digits (N, D, 28, 28) drawn at places (N, D, T, 2), the brighter one on top."""
    n, count, length, _ = places.shape
    canvas = np.zeros((n, length, size, size), np.uint8)
    span = np.arange(DIGIT)
    sample, frame = np.arange(n)[:, None, None, None], np.arange(length)[:, None, None]
    for d in range(count):
        x, y = places[:, d, :, 0], places[:, d, :, 1]
        where = sample, frame, (y[..., None] + span)[..., None], (x[..., None] + span)[..., None, :]
        canvas[where] = np.maximum(canvas[where], digits[:, d, None])
    return canvas


def find_idx(root: Path, name: str) -> Path:
    """MNIST's file, packed or not, in `root` or in the `MNIST/raw` below it where torchvision puts it."""
    names = [name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"]
    for folder in (root, root / "MNIST" / "raw"):
        for candidate in names:
            if (folder / candidate).is_file():
                return folder / candidate
    raise DataError(
        f"{fitting(root, [f'{name}.gz'])}. Put MNIST's files there, "
        "e.g. from https://ossci-datasets.s3.amazonaws.com/mnist/, or set data.root to where they are"
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """(N, 28, 28) images of an IDX file (magic 2051: unsigned bytes, three dimensions)."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
    except (OSError, EOFError) as why:
        raise DataError(f"{path} cannot be read: {why}; fetch it again") from None
    magic, count, height, width = np.frombuffer(data[:16].ljust(16, b"\0"), ">i4")
    if (magic, height, width) != (2051, DIGIT, DIGIT) or len(data) != 16 + count * DIGIT * DIGIT or count == 0:
        raise DataError(
            f"{path} is not an IDX file of {DIGIT} x {DIGIT} images: magic {magic}, {count} of {height} x {width}, "
            f"{len(data)} bytes"
        )
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, DIGIT, DIGIT)


def read_sequences(path: Path, settings: DataSettings, advice: str) -> NDArray[np.uint8]:
    """(N, T, H, W) stored sequences, cut to past + horizon frames; `advice` is for when there is no such file."""
    if not path.is_file():
        raise DataError(f"{fitting(path.parent, [path.name])}: {advice}")
    readers = {".npy": _read_npy, ".npz": _read_npz}
    if path.suffix not in readers:
        raise DataError(f"{path}: sequences are read from {' and '.join(readers)} files, not {path.suffix!r}")
    try:
        frames = readers[path.suffix](path)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as why:
        raise DataError(f"{path} is not a file of sequences: {why}") from None
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[2:] != (settings.size, settings.size):
        raise DataError(
            f"{path} holds {frames.dtype} {frames.shape}, not uint8 (N, T, {settings.size}, {settings.size})"
        )
    if frames.shape[1] < settings.length or not len(frames):
        raise DataError(
            f"{path} holds {number_of(len(frames), 'sequence')} of {number_of(frames.shape[1], 'frame')}; "
            f"{settings.past} + {settings.horizon} frames are needed; lower past or horizon"
        )
    return frames[:, : settings.length]


def _read_npy(path: Path) -> NDArray[np.uint8]:
    """The Toronto file is (T, N, H, W); it stays on disk."""
    frames: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return frames.swapaxes(0, 1)


def _read_npz(path: Path) -> NDArray[np.uint8]:
    """PredRNN's layout: `clips` (2, N, 2), start and length of input and output in `input_raw_data` (F, 1, H, W)."""
    with zipfile.ZipFile(path) as archive:
        with archive.open("clips.npy") as file:
            clips = np.lib.format.read_array(file, allow_pickle=False)
        with archive.open("input_raw_data.npy") as file:
            frames = _bytes(file)
    if clips.ndim != 3 or clips.shape[0] != 2 or clips.shape[2] != 2:
        raise ValueError(f"`clips` has shape {clips.shape}, not (2, N, 2)")
    starts, ends = clips[0, :, 0], clips[1].sum(axis=1)
    if len(set((ends - starts).tolist())) != 1 or starts.min() < 0 or ends.max() > len(frames):
        raise ValueError("`clips` are not all of one length inside `input_raw_data`")
    index: NDArray[np.int64] = starts[:, None] + np.arange(ends[0] - starts[0])
    return frames[index]


def _bytes(file: IO[bytes]) -> NDArray[np.uint8]:
    """Pictures in [0, 1] as bytes, read a part at a time: the training file is 3.3 GB of float32."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a version 1.0 array")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype.kind != "f" or len(shape) != 4 or shape[1] != 1:
        raise ValueError(f"`input_raw_data` is {dtype} {shape}, not float (F, 1, H, W)")
    frames = np.empty((shape[0], *shape[2:]), np.uint8)
    size = dtype.itemsize * shape[2] * shape[3]
    for first in range(0, shape[0], 1000):
        part = frames[first : first + 1000]
        data = file.read(size * len(part))
        if len(data) != size * len(part):
            raise ValueError(f"cut off after frame {first}")
        part[...] = np.rint(np.frombuffer(data, dtype).reshape(part.shape) * 255)
    return frames


def sha256(path: Path) -> str:
    """Of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
