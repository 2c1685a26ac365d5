"""Memory for batches that is used again when nobody holds a batch in it any more.

Fresh pages cost a third of the time of decoding into them, and shared ones with a copy as much again as decoding.
"""

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable
from itertools import count
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LANE = 5
"""Batches per worker: two that PyTorch has it make, one that it begins early, and two that the user may hold."""
NONE = -1
"""No slot: memory of its own."""
_tokens = count()
_known: "weakref.WeakValueDictionary[int, Slots]" = weakref.WeakValueDictionary()
"""Of this process by their tokens: batches come back from workers as names of slots."""


class Slots:
    """Room for `LANE` batches of each worker; only what is used takes memory.

    It goes to worker processes of any kind. It is not in `/dev/shm`, which containers often keep small.
    """

    def __init__(self, shape: tuple[int, ...], lanes: int) -> None:
        self.token, self.shape, self.lanes = next(_tokens), shape, lanes
        self.each = -(-math.prod(shape) // mmap.PAGESIZE) * mmap.PAGESIZE
        self.file = _file(self.each * LANE * lanes)
        self._mapped()
        self.lent: set[int] = set()
        """Those that a worker fills, or has filled and not handed over."""
        self.held: set[int] = set()
        """Those in which somebody has a batch."""
        _known[self.token] = self

    def _mapped(self) -> None:
        self._memory = mmap.mmap(self.file, self.each * LANE * self.lanes)
        weakref.finalize(self, os.close, self.file)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("token", "shape", "lanes", "each", "lent", "held")
        return {"file": DupFd(self.file), **{name: getattr(self, name) for name in kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, file=state["file"].detach())
        self._mapped()

    def lend(self, lane: int) -> int:
        """A slot for a batch of a worker, or `NONE` where all are taken: that batch gets memory of its own."""
        free = (s for s in range(lane * LANE, (lane + 1) * LANE) if s not in self.lent and s not in self.held)
        slot = next(free, NONE)
        if slot != NONE:
            self.lent.add(slot)
        return slot

    def array(self, slot: int) -> NDArray[np.uint8]:
        """A slot's memory."""
        size = math.prod(self.shape)
        return np.frombuffer(self._memory, np.uint8, size, slot * self.each).reshape(self.shape)

    def taken(self, slot: int, clips: int) -> Tensor:
        """The first `clips` of the batch in a slot; the slot is free when the last tensor on it is gone."""
        array = self.array(slot)[:clips]
        self.held.add(slot)
        self.lent.discard(slot)
        weakref.finalize(array, self.held.discard, slot).atexit = False
        return torch.from_numpy(array)


class Filled:
    """Frames in a slot, on their way from a worker: unpickled they are a tensor."""

    def __init__(self, token: int, slot: int, clips: int) -> None:
        self.named = token, slot, clips

    def __reduce__(self) -> tuple[Callable[[int, int, int], Tensor], tuple[int, int, int]]:
        return _tensor, self.named


def _tensor(token: int, slot: int, clips: int) -> Tensor:
    return _known[token].taken(slot, clips)


def _file(size: int) -> int:
    """A file without a name."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("mlst-batches")
    else:
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    os.ftruncate(file, size)
    return file
