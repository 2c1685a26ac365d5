"""The whole build, top to bottom."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from collection.engine.run import Driver, Result
from collection.engine.waves import Seen, fetch_and_scan
from collection.fetch.sparing import Sparing
from collection.fetch.stage import FetchStage
from collection.order import Order
from collection.pack.assemble import Inputs, locked, needed, tools, write_dataset
from collection.pack.shelf import Shelf
from collection.pack.stage import Packed, PackStage, plan_shards, read_by
from collection.pack.standing import Standing, standing
from collection.scan.stage import ScanStage
from collection.select import Selection, complete, select
from collection.workspace.damage import remove_damaged
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
    mended: tuple[str, ...]
    """Files of the dataset before that were damaged or lost; they are right now, or not part of it any more."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a dataset is put together of, in the workspace."""

    seen: Seen
    selection: Selection
    packed: Result[Packed]
    inputs: Inputs
    damaged: frozenset[str]
    """Files that were not what the ledgers say, and were mended or removed."""


class NothingChosenError(UserError, RuntimeError):
    """No clip is left to make a dataset of."""

    exit_code = Exit.WRONG


class NotPackedError(UserError, RuntimeError):
    """Shards could not be written, so that there is no dataset to put in the place of another."""

    exit_code = Exit.PARTLY


def build(order: Order, out: Path | Workspace, do: Driver) -> Built:
    """From a manifest's rows to a dataset at `out`. Raises `NothingChosenError` and `NotPackedError`; what `out` holds
    is then as it was."""
    before = standing(out, do.work)
    made = make(order, before, do)
    if made.damaged:  # and removed: what they held is missing now, and is made again
        made = make(order, before, do)
    dataset = write_dataset(before, do.work, _all(made), made.inputs)
    return Built(dataset, made.selection, (made.seen.fetched, made.seen.scanned, made.packed), before.damaged)


def make(order: Order, before: Standing, do: Driver) -> Made:
    """From a manifest's rows to shards in the workspace. Raises `NothingChosenError`."""
    recipe = order.recipe
    pack = PackStage()

    seen = look(order, do)  # Source -> Video -> Scan: shots, measured clips
    sources = completed(order.sources, seen.fetched.outputs)
    selection = select(seen.scanned.outputs, sources, order.levels, recipe.select, order.preferred, order.review)
    shown = seen.of(_some(selection).sources())
    with plan_shards(selection.chosen, shown, sources, recipe.pack) as plans:  # which clip in which shard
        packed = do(pack, plans)  # ShardPlan -> Packed
        clips = read_by(plans, {outcome.key for outcome in packed.outcomes.undone})
        damaged = remove_damaged(do.work, chain(clips, needed(before, packed.outputs)), Shelf(before.out))

    inputs = Inputs(
        recipe,
        order.recipe_toml,
        order.levels_toml,
        locked(sources, seen),
        tools(order.filter),
        order.exclusions_txt,
        order.review_csv,
    )
    return Made(seen, selection, packed, inputs, damaged)


def look(order: Order, do: Driver) -> Seen:
    """Fetch and scan the sources."""
    fetch, scan, _ = stages(order)
    return fetch_and_scan(fetch, scan, by_id(order.sources), replace(do, executor=Sparing(do.executor)))


def stages(order: Order) -> tuple[FetchStage, ScanStage, PackStage]:
    """The stages in the order of the build, with the settings of this one."""
    scan = ScanStage(order.recipe.scan, order.levels.active_picture, order.columns, order.filter)
    return order.fetch, scan, PackStage()


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


def _all(made: Made) -> tuple[Packed, ...]:
    """Every shard: without one of them, the others would take the place of a dataset that is whole."""
    packed = made.packed
    if made.damaged:
        raise NotPackedError(
            f"{min(made.damaged)} was damaged again after it was made again, so the dataset is as it was; look after "
            "the disk of the workspace, and run the same command again"
        )
    if undone := list(packed.outcomes.undone):
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in undone).items())
        raise NotPackedError(
            f"{len(undone)} of {len(packed.outcomes)} shards could not be written ({kinds}), so the dataset is as it "
            "was; run the same command again, with --retry if that does not help"
        )
    return tuple(packed.outputs)
