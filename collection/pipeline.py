"""The whole build, top to bottom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from collection.engine.run import Driver, Result
from collection.engine.waves import fetch_and_scan
from collection.fetch.stage import FetchStage
from collection.order import Order
from collection.pack.assemble import Inputs, write_dataset
from collection.pack.stage import Packed, PackStage, plan_shards
from collection.scan.stage import ScanStage
from collection.select import Selection, complete, select
from collection.workspace.folder import Workspace
from mlst.dataset.description import Dataset
from mlst.exits import Exit, UserError
from mlst.records import Scan, Source, Video


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build: the dataset, why candidates were left out, and what became of every item."""

    dataset: Dataset
    selection: Selection
    results: tuple[Result[Video], Result[Scan], Result[Packed]]


class NothingChosenError(UserError, RuntimeError):
    """No clip is left to make a dataset of."""

    exit_code = Exit.WRONG


def build(order: Order, out: Path | Workspace, do: Driver) -> Built:
    """From a manifest's rows to a dataset at `out`. Raises `NothingChosenError`."""
    recipe = order.recipe
    fetch, scan, pack = stages(order)

    seen = fetch_and_scan(fetch, scan, by_id(order.sources), do)  # Source -> Video -> Scan: shots, measured clips
    sources = completed(order.sources, seen.fetched.outputs)
    selection = select(seen.scanned.outputs, sources, order.levels, recipe.select, order.preferred)  # levels, quotas
    with plan_shards(_some(selection).chosen, seen, sources, recipe.pack) as plans:  # which clip in which shard
        packed = do(pack, plans)  # ShardPlan -> Packed
    inputs = Inputs(recipe, order.recipe_toml, order.levels_toml, sources, seen, order.exclusions_txt)
    dataset = write_dataset(out, do.work, tuple(packed.outputs), inputs)

    return Built(dataset, selection, (seen.fetched, seen.scanned, packed))


def stages(order: Order) -> tuple[FetchStage, ScanStage, PackStage]:
    """The stages in the order of the build, with the settings of this one."""
    return order.fetch, ScanStage(order.recipe.scan, order.levels.active_picture, order.columns), PackStage()


def by_id(sources: Iterable[Source]) -> list[Source]:
    """Sources in the order in which all is done: that of the manifest means nothing."""
    return sorted(sources, key=lambda source: source.id)


def completed(rows: Iterable[Source], videos: Iterable[Video]) -> Mapping[str, Source]:
    """The sources that were fetched, by id, with what their sites said of them."""
    listed = {row.id: row for row in rows}
    return {video.source: complete(listed[video.source], video.upstream) for video in videos}


def _some(selection: Selection) -> Selection:
    if selection.chosen:
        return selection
    reasons = ", ".join(f"{count} {reason}" for reason, count in selection.reasons().items()) or "there was none"
    raise NothingChosenError(f"no clip could be chosen ({reasons}); the table says what became of each source")
