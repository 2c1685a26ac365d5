"""The whole build, top to bottom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from collection.assemble import Inputs, write_dataset
from collection.fetch import FetchStage
from collection.pack import PackStage, plan_shards
from collection.recipe import Recipe
from collection.run import Executor, Result, Watcher, run
from collection.scan import ScanStage
from collection.select import Selection, complete, select
from collection.stage import Outcome, Stage
from collection.workspace import Workspace
from mlst.dataset import Dataset
from mlst.levels import Levels
from mlst.records import Scan, Source, Video

STAGES: tuple[type[Stage], ...] = (FetchStage, ScanStage, PackStage)
"""In the order of the build; `stages` gives them their settings."""
T = TypeVar("T", Video, Scan)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built, read and checked."""

    recipe: Recipe
    recipe_toml: bytes
    sources: tuple[Source, ...]
    levels: Levels
    levels_toml: bytes
    fetch: FetchStage
    kept: frozenset[str]
    """Keys of clips of an earlier release, preferred wherever there is a choice; see `select`."""


@dataclass(frozen=True, slots=True)
class Driver:
    """How a stage is run: where its results go, who does the work, who watches, what is tried again."""

    work: Workspace
    executor: Executor
    watcher: Watcher
    again: Callable[[Outcome], bool]

    def __call__(self, stage: Stage, items: Sequence[Any]) -> Result:
        """Every item's outcome; only what is not known yet is worked on."""
        return run(stage, items, self.work, self.executor, self.watcher, self.again)


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build: the dataset, why candidates were left out, and what became of every item."""

    dataset: Dataset
    selection: Selection
    results: tuple[Result, ...]


class NothingChosenError(RuntimeError):
    """No clip is left to make a dataset of."""


def build(order: Order, out: Path, do: Driver) -> Built:
    """From a manifest's rows to a dataset in the folder `out`. Raises `NothingChosenError`."""
    recipe = order.recipe
    fetch, scan, pack = stages(order)

    fetched = do(fetch, order.sources)  # Source -> Video
    videos = by_source(fetched.outputs)
    scanned = do(scan, fetched.outputs)  # Video -> Scan: shots, measured and encoded clips
    scans = by_source(scanned.outputs)
    sources = {s.id: complete(s, videos[s.id].upstream) for s in order.sources if s.id in videos}
    candidates = select(scanned.outputs, sources, order.levels, recipe.select, order.kept)  # levels, splits, quotas
    selection = _some(candidates)
    plans = plan_shards(selection.chosen, scans, videos, sources, recipe.pack)  # which clip in which shard
    packed = do(pack, plans)  # ShardPlan -> Packed
    inputs = Inputs(recipe, order.recipe_toml, order.levels_toml, sources, videos, scans)
    dataset = write_dataset(out, do.work, packed.outputs, inputs)

    return Built(dataset, selection, (fetched, scanned, packed))


def stages(order: Order) -> tuple[FetchStage, ScanStage, PackStage]:
    """The stages of `STAGES` as this order wants them."""
    return order.fetch, ScanStage(order.recipe.scan), PackStage()


def _some(selection: Selection) -> Selection:
    if selection.chosen:
        return selection
    reasons = ", ".join(f"{count} {reason}" for reason, count in selection.reasons().items()) or "there was none"
    raise NothingChosenError(f"no clip could be chosen ({reasons}); the table says what became of each source")


def by_source(records: Sequence[T]) -> Mapping[str, T]:
    """Records by the id of their source; each source has one."""
    return {record.source: record for record in records}
