"""A new build of a published dataset from what it says of itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collection.engine.run import Driver, Executor
from collection.engine.stage import REJECTED, In, Out, Outcome, Stage
from collection.fetch.stage import FetchStage
from collection.order import Order
from collection.pipeline import Built, build, look
from collection.workspace.folder import Workspace
from mlst.dataset.description import LOCK
from mlst.dataset.lock import read_lock
from mlst.records import Video, digest
from mlst.text import number_of


class DriftError(RuntimeError):
    """Sources are not what the lock says, so that the dataset cannot be built again as it was."""

    def __init__(self, refused: Sequence[Outcome[object]]) -> None:
        super().__init__(
            f"{number_of(len(refused), 'source is', 'sources are')} not what the lock says; nothing was written"
        )
        self.refused = tuple(refused)


@dataclass(frozen=True, slots=True)
class LockedFetchStage(FetchStage):
    """Fetches as any fetch does, into a folder of its own for each lock, where `Holding` lets nothing else in."""

    lock: str = ""
    """Digest of the packets that the lock wants."""

    def settings(self) -> Any:
        """Those of any fetch, and the lock."""
        return {"fetch": FetchStage.settings(self), "lock": self.lock}


@dataclass(frozen=True, slots=True)
class Holding:
    """An executor that refuses videos whose packets are not those of a lock.

    The driver compares, because what a stage is made of travels with each item: the hashes of a million sources
    are 81 MB.
    """

    executor: Executor
    packets: Mapping[str, str]
    """sha256 by source id."""

    def __call__(self, stage: Stage[In, Out], items: Iterable[In], work: Workspace) -> Iterator[Outcome[Out]]:
        """As the executor, but with `rejected("drift.changed")` for other packets; their file is removed."""
        for outcome in self.executor(stage, items, work):
            yield next(self._refused(outcome, work), outcome)

    def _refused(self, outcome: Outcome[Out], work: Workspace) -> Iterator[Outcome[Out]]:
        for video in outcome.outputs:
            if isinstance(video, Video) and video.probe.packets_sha256 != self.packets[video.source]:
                work.remove(video.file)
                found, wanted = video.probe.packets_sha256[:16], self.packets[video.source][:16]
                detail = f"its packets hash to {found}..., the lock has {wanted}..."
                yield Outcome(outcome.key, REJECTED, "drift.changed", detail, ())


def held_to_lock(order: Order, dataset: Path) -> Order:
    """The order with every source held to the lock of `dataset`, to be given to `rebuild`."""
    fetch = order.fetch
    lock = digest(sorted(_packets(dataset).items()))
    return replace(order, fetch=LockedFetchStage(fetch.recipe, fetch.manifest, fetch.access, fetch.excluded, lock))


def rebuild(order: Order, dataset: Path, out: Path | Workspace, do: Driver) -> Built:
    """Build what `held_to_lock` gave for `dataset`, but only if every source is there and as it was.

    Raises `DriftError` else, and writes no dataset.
    """
    do = replace(do, executor=Holding(do.executor, _packets(dataset)))
    seen = look(order, do)
    if refused := [*seen.fetched.outcomes.undone, *seen.scanned.outcomes.undone]:
        raise DriftError(refused)
    return build(order, out, do)


def _packets(dataset: Path) -> Mapping[str, str]:
    return {row.source.id: row.probe.packets_sha256 for row in read_lock(dataset / LOCK)}
