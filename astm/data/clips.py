"""What every dataset gives: clips by index, the order of an epoch, and batches.

Which sample comes when is a pure function of (seed, epoch): workers and ranks only share the work out.
"""

import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlst.draws import permutation, splitmix, stream
from mlst.exits import UserError
from mlst.loading import Share
from mlst.records import SPLITS
from mlst.registry import Registry
from mlst.text import number_of

GRACE = 30
"""Seconds that a worker continues after SIGTERM; `torchrun` and SLURM kill everything after as many."""

ALL = "all"
"""The level of clips that have none."""


class DataError(UserError, ValueError):
    """Data that is missing or unfit; the message names it and the remedy."""


class DataSettings(BaseModel):
    """What the settings of every dataset share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    places: ClassVar[tuple[str, ...]] = ("root",)
    """Settings that say where pictures lie, not which: they alone may differ between machines."""

    root: str = "data"
    """Folder of the data."""
    past: Annotated[int, Field(ge=1)] = 10
    """Frames a model is shown."""
    horizon: Annotated[int, Field(ge=1)] = 10
    """Frames it predicts."""
    size: Annotated[int, Field(ge=8, le=4096)] = 64
    """Height and width, pixels."""
    channels: Literal[1, 3] = 1
    """1 grey, 3 RGB."""

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.size, self.size

    @property
    def length(self) -> int:
        """Frames of a clip."""
        return self.past + self.horizon


class WindowSettings(DataSettings):
    """What the settings of films share from which windows are cut."""

    width: Annotated[int, Field(ge=0, le=4096)] = 0
    """Pixels; 0 for as many as `size`, which then is the height alone."""
    step: Annotated[int, Field(ge=0)] = 0
    """Frames from the start of one window to the next; 0 for past + horizon, so that windows do not overlap."""
    stride: Annotated[int, Field(ge=1)] = 1
    """Every `stride`-th frame is used."""

    @property
    def picture(self) -> tuple[int, int]:
        return self.size, self.width or self.size

    @property
    def span(self) -> int:
        """Frames of a film that a window covers."""
        return (self.length - 1) * self.stride + 1


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """One clip."""

    frames: NDArray[np.uint8]
    """(past + horizon, C, H, W)."""
    key: str
    level: str
    """`s0t0` ... `s2t2`, or `ALL`."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What models are trained and evaluated on."""

    past: Tensor
    """(B, T, C, H, W) float32 in [0, 1]."""
    future: Tensor
    """(B, T', C, H, W), as `past`."""
    keys: tuple[str, ...]
    levels: tuple[str, ...]


class Clips(Dataset[ClipFrames]):
    """The clips of one split of a dataset.

    A subclass declares its `Settings` and registers itself; constructing it must be cheap enough to do per run, and an
    empty split is a `DataError`.
    """

    Settings: ClassVar[type[DataSettings]] = DataSettings

    protocol: str
    """In words: what was cut from what, for reports."""

    def __init__(self, settings: DataSettings, split: str) -> None:
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}; choices are {', '.join(SPLITS)}")
        self.settings, self.split = settings, split

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> ClipFrames:
        raise NotImplementedError

    def __getitems__(self, indices: Sequence[int]) -> list[ClipFrames]:
        """Several samples at once; a subclass that is faster that way overrides it."""
        return [self[index] for index in indices]

    def video(self, key: str) -> str:
        """The video that a clip was cut from, by the clip's key: scores of its clips are not independent.

        A dataset whose clips are independent of each other gives the key.
        """
        return key

    @property
    def fingerprint(self) -> str:
        """sha256, hex, over everything that decides which pictures `self[0]`, `self[1]` ... are."""
        raise NotImplementedError

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The indices of an epoch: every clip once, shuffled by (seed, epoch)."""
        return permutation(splitmix(stream("order", seed, epoch), np.arange(len(self)), 1)[:, 0])


dataset: Registry[type[Clips]] = Registry("dataset")


def find_dataset(name: str) -> type[Clips]:
    """The dataset of this name, or the class `package.module:Class`, which is then known by that name.

    Only what a user names is imported, from the current folder too; never what a file names.

    Raises
    ------
    DataError: no such dataset, module or class, or a class that is no `Clips`.
    """
    if name in dataset:
        return dataset[name]
    module, colon, kind = name.partition(":")
    if not colon:
        raise DataError(
            f"unknown dataset {name!r}; choices are {', '.join(dataset)}, or a class, package.module:Class"
        )
    if not all(part.isidentifier() for part in (*module.split("."), kind)):
        raise DataError(f"dataset {name!r} must be package.module:Class")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError) as why:
        raise DataError(f"dataset {name!r}: {why}; it must be package.module:Class") from why
    finally:
        sys.path.pop(0)
    if not (isinstance(found, type) and issubclass(found, Clips)):
        raise DataError(f"dataset {name!r} is no subclass of astm.data.Clips; see docs/own-data.md")
    dataset.named(name)(found)
    return found


ALONE = Share(0, 1)


@dataclass(frozen=True, slots=True)
class Stacked:
    """A batch as workers hand it over: a quarter of the bytes of `Pairs`."""

    frames: Tensor
    """(B, T + T', C, H, W) uint8."""
    keys: tuple[str, ...]
    levels: tuple[str, ...]

    def pin_memory(self) -> "Stacked":
        """For `DataLoader`."""
        return Stacked(self.frames.pin_memory(), self.keys, self.levels)


def collate(samples: Sequence[ClipFrames]) -> Stacked:
    """Stack samples."""
    frames = torch.from_numpy(np.stack([sample.frames for sample in samples]))
    return Stacked(frames, tuple(sample.key for sample in samples), tuple(sample.level for sample in samples))


def to_batch(raw: Stacked, past: int, device: torch.device) -> Pairs:
    """Move to the device, scale to [0, 1] and cut after `past` frames."""
    frames = raw.frames.to(device, non_blocking=True).float().div_(255)
    return Pairs(frames[:, :past], frames[:, past:], raw.keys, raw.levels)


def training_batches(
    clips: Clips, seed: int, batch_size: int, start: int, workers: int, device: torch.device, share: Share = ALONE
) -> Iterator[Pairs]:
    """Full batches for ever, epoch after epoch.

    Parameters
    ----------
    seed: with the epoch, it decides the order.
    batch_size: of all ranks together.
    start: batches that were taken before, by an interrupted run.
    workers: processes that load; they never change what comes out.
    share: this rank takes rows rank, rank + world ... of every batch.

    Raises
    ------
    DataError: fewer clips than a batch, or a batch that ranks cannot share equally.
    """
    if len(clips) < batch_size:
        raise DataError(
            f"{clips.protocol}: {number_of(len(clips), 'clip does', 'clips do')} not fill a batch of {batch_size}; "
            "lower batch_size"
        )
    if batch_size % share.world:
        raise DataError(f"batch_size {batch_size} is not a multiple of the {share.world} processes that share it")
    rows = _endless(clips, seed, batch_size, start, share)
    yield from _load(clips, rows, workers, device)


def ordered_batches(
    clips: Clips, count: int, batch_size: int, workers: int, device: torch.device, share: Share = ALONE
) -> Iterator[Pairs]:
    """The first `count` clips (all, if 0), in their own order, each once; the last batch may be smaller."""
    indices = range(len(clips) if count == 0 else min(count, len(clips)))[share.rank :: share.world]
    rows = (list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size))
    yield from _load(clips, rows, workers, device)


def position(clips: Clips, batch_size: int, taken: int) -> tuple[int, int]:
    """(epoch, batches taken in it) after `taken` batches."""
    return divmod(taken, len(clips) // batch_size)


def _endless(clips: Clips, seed: int, batch_size: int, start: int, share: Share) -> Iterator[list[int]]:
    epoch, first = position(clips, batch_size, start)
    while True:
        order = clips.order(seed, epoch)
        for i in range(first, len(clips) // batch_size):
            yield order[i * batch_size : (i + 1) * batch_size][share.rank :: share.world].tolist()
        epoch, first = epoch + 1, 0


def _load(clips: Clips, rows: Iterator[list[int]], workers: int, device: torch.device) -> Iterator[Pairs]:
    loader = DataLoader(
        clips,
        batch_sampler=rows,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # its seed draw would otherwise advance the global state
        worker_init_fn=_quiet,
    )
    try:
        for raw in loader:
            yield to_batch(raw, clips.settings.past, device)
    except DataError as why:  # of a worker, with its traceback: the message is the last part
        raise DataError(str(why).rpartition(f"{DataError.__module__}.{DataError.__name__}: ")[2]) from None


def _quiet(worker: int) -> None:
    """One OpenCV thread in each worker, and no sudden death by a signal to the whole group of processes (Ctrl-C,
    `torchrun`, SLURM): the trainer finishes its step and ends its workers itself.

    Not ignored for good: a process that ends by an exception sends its workers SIGTERM, and waits for them.
    """
    import cv2  # noqa: PLC0415, not every dataset needs it

    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))  # with another status the loader takes it for a crash


def fitting(folder: Path, wanted: Sequence[str]) -> str:
    """For messages: what `folder` contains instead of the files in `wanted`."""
    if not folder.is_dir():
        return f"{folder} is not a folder; {' or '.join(wanted)} was expected there"
    found = sorted(path.name for path in folder.iterdir())[:8]
    return f"{folder} has no {' or '.join(wanted)}; it has {', '.join(found) or 'nothing'}"


def open_clips(name: str, settings: DataSettings, split: str) -> Clips:
    """The clips of a split.

    Raises
    ------
    KeyError: no such dataset. DataError: nothing there, or unfit, or a class of one's own that no command named.
    """
    if ":" in name and name not in dataset:
        raise DataError(f"{name} is a class of your own, and only what a command names is imported: add --data {name}")
    return dataset[name](settings, split)
