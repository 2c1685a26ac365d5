"""Batches in an order that workers and ranks cannot change, and a position in it that can be saved."""

import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from mlst.loading.batch import Batch
from mlst.loading.clips import ClipDataset
from mlst.loading.errors import LoadError
from mlst.loading.filling import AHEAD, Filling, Wanted, schedule
from mlst.loading.memory import Slots
from mlst.loading.order import ClipOrder
from mlst.text import number_of

Last: TypeAlias = Literal["drop", "pad", "keep"]
Sampling: TypeAlias = Literal["shuffle", "index", "balanced"] | Mapping[str, float]
STATE = 1
"""Version of the state's layout."""


@dataclass(frozen=True, slots=True)
class Share:
    """This process's part of the work: `rank` of `world`."""

    rank: int
    world: int


def this_share() -> Share:
    """That of `torch.distributed` where it runs, else what `torchrun` says in RANK and WORLD_SIZE, else all."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Share(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def order_of(clips: ClipDataset, seed: int = 0, sampling: Sampling = "shuffle") -> ClipOrder:
    """The order of a dataset's clips.

    `shuffle` gives every clip once per epoch, `index` the same unshuffled, `balanced` all levels equally often. A
    mapping gives levels weights, e.g. `{"s0t0": 1, "s2t2": 3}`; levels that it does not name are left out.

    Raises
    ------
    LoadError: unknown sampling or level, a weight below 0, no weight above 0, a seed that is not an integer.
    """
    try:
        seed = operator.index(seed)  # of NumPy's integers too: the order depends on how the seed is written
    except TypeError:
        raise LoadError(f"seed = {seed!r} should be an integer") from None
    names = list(clips.settings.levels)
    if isinstance(sampling, str):
        if sampling not in ("shuffle", "index", "balanced"):
            raise LoadError(f"unknown sampling {sampling!r}; choices are shuffle, index, balanced or weights by level")
        weights = (1.0,) * len(names) if sampling == "balanced" else ()
    else:
        if unknown := sorted(set(sampling) - set(names)):
            raise LoadError(f"weights for {', '.join(unknown)}, but the levels loaded are {', '.join(names)}")
        weights = tuple(float(sampling.get(name, 0)) for name in names)
        if not all(math.isfinite(w) and w >= 0 for w in weights) or sum(weights) == 0:
            raise LoadError(f"weights {dict(sampling)} should be 0 or more, and one of them above 0")
    return ClipOrder(_codes(clips.shards), _codes(clips.levels), weights, sampling != "index", seed)


def _codes(names: Sequence[str]) -> NDArray[np.int64]:
    """Ordinal of each name among the sorted distinct ones."""
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)


class Batches(Sampler[list[int]]):
    """Which clips make which batch of this rank: a `batch_sampler` for `torch.utils.data.DataLoader`.

    Of the `world * batch_size` clips that all ranks take at a step, rank r takes places r, r + world ..., so the clips
    of a step depend on that product alone. Iterating gives the batches from the saved position to the end of its
    epoch. As workers fetch ahead, only the user knows which batches were used: `advance()` says that one more was.

    Parameters
    ----------
    order: of all ranks. batch_size: clips per batch and rank.
    last: what becomes of an epoch's last clips if they do not fill a batch on every rank: `drop` them, `pad` with the
        epoch's first ones, or `keep` a smaller batch (with a single rank only). Every rank has equally many batches.
    share: `this_share()` if not given.

    Raises
    ------
    LoadError: for an impossible batch size, share or `last`.
    """

    def __init__(self, order: ClipOrder, batch_size: int, last: Last = "drop", share: Share | None = None) -> None:
        share = this_share() if share is None else share
        if batch_size < 1 or not 0 <= share.rank < share.world:
            raise LoadError(f"batch_size {batch_size} must be above 0 and rank {share.rank} below world {share.world}")
        if last not in get_args(Last) or (last == "keep" and share.world > 1):
            raise LoadError(f"last = {last!r} with {share.world} ranks; choices are drop, pad, and keep with one rank")
        self.order, self.batch_size, self.last, self.share = order, batch_size, last, share
        self.step = batch_size * share.world
        if not len(order) or (last == "drop" and len(order) < self.step):
            raise LoadError(
                f"{number_of(len(order), 'clip does', 'clips do')} not fill a batch of {batch_size} on "
                f"{number_of(share.world, 'rank')}; "
                f"lower batch_size or use last = 'pad'"
            )
        self.epoch = 0
        """The epoch that the next batch is of."""
        self.taken = 0
        """Clips of it that all ranks together have used."""

    def __len__(self) -> int:
        """Batches left in the epoch."""
        left = len(self.order) - self.taken
        return left // self.step if self.last == "drop" else -(-left // self.step)

    def __iter__(self) -> Iterator[list[int]]:
        order, taken, count = self.order.epoch(self.epoch), self.taken, len(self)
        if self.last != "keep":
            order = np.resize(order, taken + count * self.step)
        for i in range(count):
            rows = order[taken + i * self.step :][: self.step]
            yield rows[self.share.rank :: self.share.world].tolist()

    def advance(self) -> None:
        """One batch was used."""
        self._move(self.epoch, self.taken + self.step)

    def state_dict(self) -> dict[str, Any]:
        """The position, JSON-ready. It fits any batch size, number of workers and number of ranks."""
        return {
            "state": STATE,
            "clips": len(self.order),
            "seed": self.order.seed,
            "weights": list(self.order.weights),
            "shuffle": self.order.shuffle,
            "epoch": self.epoch,
            "taken": self.taken,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position. Raises LoadError if the state is of another order."""
        own = self.state_dict()
        if unlike := [name for name in own if name not in ("epoch", "taken") and state.get(name) != own[name]]:
            told = ", ".join(f"{name} {state.get(name)!r} instead of {own[name]!r}" for name in unlike)
            raise LoadError(f"the saved position belongs to another order: {told}")
        epoch, taken = state.get("epoch"), state.get("taken")
        if type(epoch) is not int or type(taken) is not int or epoch < 0 or not 0 <= taken <= len(self.order):
            raise LoadError(
                f"the saved position is invalid: epoch {epoch!r}, {taken!r} of {len(self.order)} clips taken"
            )
        self._move(epoch, taken)

    def _move(self, epoch: int, taken: int) -> None:
        self.epoch, self.taken = epoch, taken
        if not len(self):
            self.epoch, self.taken = epoch + 1, 0


class Loader:
    """An epoch of batches per iteration, from the saved position on; made by `loader`.

    What was handed out counts as used: after a break, or from a saved state, the next iteration continues with the
    batch that follows, and after the end of an epoch with the next one. Iterate over it once at a time.
    """

    def __init__(self, clips: ClipDataset, batches: Batches, workers: int, threads: int, pin_memory: bool) -> None:
        self.clips, self.batches, self.pin_memory = clips, batches, pin_memory
        self.workers, self.threads = workers, threads
        self._slots = Slots((batches.batch_size, *clips.form.shape), max(workers, 1))
        self.skipped: dict[str, int] = {}
        """How often this rank met which corrupt clip; only with errors="skip"."""

    def __len__(self) -> int:
        """Batches left in the epoch."""
        return len(self.batches)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch is of, from 0."""
        return self.batches.epoch

    def __iter__(self) -> Iterator[Batch]:
        self._slots.lent.clear()  # by an iteration that was broken off
        depth = 1 + (AHEAD // self.batches.batch_size if self.clips.store.distant else 0)
        fetch: DataLoader[Batch] = DataLoader(
            Filling(self.clips, self._slots, self.threads),
            batch_sampler=_Schedule(self.batches, self._slots, depth),  # type: ignore[arg-type]
            num_workers=self.workers,
            collate_fn=_as_it_is,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # otherwise a draw would advance the global generator
        )
        for batch in fetch:
            self.batches.advance()
            for why in batch.skipped:
                self.skipped[why] = self.skipped.get(why, 0) + 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Which clips, and the position among them, JSON-ready."""
        return {"identity": self.clips.identity, **self.batches.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position. Raises LoadError if it is of other clips or another order."""
        if state.get("identity") != self.clips.identity:
            raise LoadError("the saved position belongs to another dataset, version, split or set of levels")
        self.batches.load_state_dict(state)


def loader(
    clips: ClipDataset,
    batch_size: int,
    *,
    seed: int = 0,
    sampling: Sampling = "shuffle",
    last: Last = "drop",
    workers: int = 0,
    threads: int = 0,
    pin_memory: bool = False,
    share: Share | None = None,
) -> Loader:
    """Batches of a dataset, ready to be resumed; see `order_of`, `Batches` and `Loader`.

    `workers` processes make batches, and in each of them (in this one where there are none) `threads` decode clips: of
    the next batch while this one is used. Without either, a batch is made when it is asked for.

    Raises
    ------
    LoadError: for settings that are impossible.
    """
    if min(workers, threads) < 0:
        raise LoadError(f"workers = {workers} and threads = {threads} should be 0 or more")
    batches = Batches(order_of(clips, seed, sampling), batch_size, last, share)
    return Loader(clips, batches, workers, threads, pin_memory)


@dataclass(frozen=True, slots=True)
class _Schedule:
    """`filling.schedule` as PyTorch's loader wants it."""

    batches: Batches
    slots: Slots
    depth: int

    def __iter__(self) -> Iterator[Wanted]:
        return schedule(self.batches, self.slots, self.depth)

    def __len__(self) -> int:
        return len(self.batches)


def _as_it_is(batch: Any) -> Any:
    return batch
