"""Batches of frames: read, decoded into their place, ahead of time where that helps."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from mlst.loading.batch import Batch
from mlst.loading.clips import ClipDataset
from mlst.loading.errors import CorruptClip
from mlst.loading.memory import NONE, Filled, Slots

AHEAD = 16
"""Clips that are asked for at a time where each takes its time to arrive."""


@dataclass(frozen=True, slots=True)
class Task:
    """A batch to make."""

    rows: tuple[int, ...]
    slot: int
    """Where: a slot of the loader's memory, or `NONE`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker is asked for at a time."""

    now: Task
    then: Task | None
    """The same worker's next batch; None after its last one."""
    later: tuple[int, ...]
    """Clips of those after that, as many as are worth reading early."""


def schedule(batches: Iterable[Sequence[int]], slots: Slots, depth: int) -> Iterator[Wanted]:
    """Each batch with what the worker that makes it will be asked for next; `depth`: how many batches it looks ahead.

    PyTorch gives batch i to worker i modulo their number.
    """
    lanes, rows, number = slots.lanes, iter(batches), 0
    ready, drawn = deque[Task](), deque[Sequence[int]]()
    while True:
        for some in rows:
            drawn.append(some)
            if len(ready) + len(drawn) > lanes * depth:
                break
        while drawn and len(ready) <= lanes:
            ready.append(Task(tuple(drawn.popleft()), slots.lend(number % lanes)))
            number += 1
        if not ready:
            return
        now, then = ready.popleft(), ready[lanes - 1] if len(ready) >= lanes else None
        later = tuple(row for i, some in enumerate(drawn) if i % lanes == lanes - 1 for row in some)
        yield Wanted(now, then, later)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A batch that is being made."""

    frames: NDArray[np.uint8]
    decoded: tuple["Future[str] | None", ...]
    """What is wrong with each clip; None where it is decoded on demand."""


class Filling(Dataset[Batch]):
    """A batch per access; in a worker or not, with threads or not."""

    def __init__(self, clips: ClipDataset, slots: Slots, threads: int) -> None:
        self.clips, self.slots, self.threads = clips, slots, threads
        self._begun: dict[Task, _Begun] = {}
        self._read: dict[int, Future[bytes]] = {}
        self._readers: ThreadPoolExecutor | None = None
        self._decoders: ThreadPoolExecutor | None = None

    def __getitem__(self, wanted: Wanted) -> Batch:
        return self.__getitems__(wanted)

    def __getitems__(self, wanted: Wanted) -> Batch:
        """The batch `wanted.now`, while those after it are begun. Raises CorruptClip as the dataset's `errors` say."""
        begun = self._begun.pop(wanted.now, None) or self._begin(wanted.now)
        if wanted.then and self.threads:
            self._begun[wanted.then] = self._begin(wanted.then)
        if self.clips.store.distant:
            for row in (*(wanted.then.rows if wanted.then else ()), *wanted.later):
                self._fetch(row)
        return self._finished(wanted.now, begun)

    def _begin(self, task: Task) -> _Begun:
        shape = (len(task.rows), *self.clips.form.shape)
        frames = np.empty(shape, np.uint8) if task.slot == NONE else self.slots.array(task.slot)
        if self.clips.store.distant:
            for row in task.rows:
                self._fetch(row)
        if not self.threads:
            return _Begun(frames, (None,) * len(task.rows))
        self._decoders = self._decoders or ThreadPoolExecutor(self.threads, "mlst-decode")
        submit = self._decoders.submit
        return _Begun(frames, tuple(submit(self._decode, row, frames[i]) for i, row in enumerate(task.rows)))

    def _fetch(self, row: int) -> None:
        """Begin to read a clip."""
        if row not in self._read:
            self._readers = self._readers or ThreadPoolExecutor(AHEAD, "mlst-read")
            self._read[row] = self._readers.submit(self.clips.read, row)

    def _decode(self, row: int, out: NDArray[np.uint8]) -> str:
        """What is wrong with a clip, "" if it is in its place."""
        read = self._read.pop(row, None)
        try:
            self.clips.decode_video(row, read.result() if read else self.clips.read(row), out)
        except CorruptClip as why:
            if self.clips.settings.errors == "raise":
                raise
            return str(why)
        return ""

    def _finished(self, task: Task, begun: _Begun) -> Batch:
        wrong = [
            future.result() if future else self._decode(row, begun.frames[i])
            for i, (row, future) in enumerate(zip(task.rows, begun.decoded, strict=True))
        ]
        good = [i for i, why in enumerate(wrong) if not why]
        if not good:
            raise CorruptClip(f"all {len(wrong)} clips of a batch are corrupt, the last because: {wrong[-1]}")
        if len(good) < len(wrong):
            begun.frames[: len(good)] = begun.frames[good]
        rows = [task.rows[i] for i in good]
        keys, levels = self.clips.named(rows)
        statistics, skipped = torch.from_numpy(self.clips.statistics[rows]), tuple(why for why in wrong if why)
        frames = self._handed(task, begun.frames, len(good))
        return Batch(frames, keys, levels, statistics, torch.tensor(rows), skipped)

    def _handed(self, task: Task, frames: NDArray[np.uint8], clips: int) -> Tensor:
        if task.slot == NONE:
            return torch.from_numpy(frames[:clips])
        if get_worker_info():
            return cast(Tensor, Filled(self.slots.token, task.slot, clips))
        return self.slots.taken(task.slot, clips)

    def __getstate__(self) -> dict[str, Any]:
        return {"clips": self.clips, "slots": self.slots, "threads": self.threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
