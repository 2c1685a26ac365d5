"""A new build of a published dataset from what it says of itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from collection.engine.run import Driver
from collection.engine.stage import Outcome, Rejected
from collection.engine.waves import fetch_and_scan
from collection.fetch.stage import FetchStage
from collection.order import Order
from collection.pipeline import Built, build, stages
from collection.workspace.folder import Workspace
from mlst.dataset.description import LOCK
from mlst.dataset.lock import read_lock
from mlst.records import Source, Video, digest


class DriftError(RuntimeError):
    """Sources are not what the lock says, so that the dataset cannot be built again as it was."""

    def __init__(self, refused: Sequence[Outcome[object]]) -> None:
        super().__init__(f"{len(refused)} sources are not what the lock says; nothing was written")
        self.refused = tuple(refused)


@dataclass(frozen=True, slots=True)
class LockedFetchStage(FetchStage):
    """Fetches one source and refuses it unless its video packets are those of the lock."""

    packets: Mapping[str, str] = field(default_factory=dict)
    """sha256 by source id."""

    def settings(self) -> Any:
        """Those of any fetch, and the lock."""
        return {"fetch": FetchStage.settings(self), "lock": digest(sorted(self.packets.items()))}

    def __call__(self, source: Source, work: Workspace) -> Iterable[Video]:
        """As any fetch. Raises `Rejected("drift.changed")` besides."""
        return self._same(source, work)

    def _same(self, source: Source, work: Workspace) -> Iterator[Video]:
        for video in FetchStage.__call__(self, source, work):
            found, wanted = video.probe.packets_sha256, self.packets[source.id]
            if found != wanted:
                work.remove(video.file)
                raise Rejected("drift.changed", f"its packets hash to {found[:16]}..., the lock has {wanted[:16]}...")
            yield video


def held_to_lock(order: Order, dataset: Path) -> Order:
    """The order with every source held to the lock of `dataset`."""
    fetch = order.fetch
    packets = {row.source.id: row.probe.packets_sha256 for row in read_lock(dataset / LOCK)}
    held = LockedFetchStage(fetch.recipe, fetch.manifest, fetch.access, fetch.excluded, packets)
    return replace(order, fetch=held)


def rebuild(order: Order, out: Path | Workspace, do: Driver) -> Built:
    """Build, but only if every source is there. Raises `DriftError` else, and writes no dataset."""
    fetch, scan, _ = stages(order)
    seen = fetch_and_scan(fetch, scan, sorted(order.sources, key=lambda source: source.id), do)
    if refused := [*seen.fetched.outcomes.undone, *seen.scanned.outcomes.undone]:
        raise DriftError(refused)
    return build(order, out, do)
