"""Excluded sources are refused where the list of them is, and not by workers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from collection.engine.run import Executor
from collection.engine.stage import In, Out, Outcome, Stage, attempt
from collection.fetch.stage import FetchStage
from collection.workspace.folder import Workspace


@dataclass(frozen=True, slots=True)
class Sparing:
    """An executor that hands on no excluded source and no list of them: what a stage is made of travels with each
    item, and a hundred thousand ids are 1.5 MB."""

    executor: Executor

    def __call__(self, stage: Stage[In, Out], items: Iterable[In], work: Workspace) -> Iterator[Outcome[Out]]:
        """As the executor; an excluded source that it passes over comes after its next outcome."""
        if not isinstance(stage, FetchStage):
            yield from self.executor(stage, items, work)
            return
        refused: list[Any] = []
        free: Any = replace(stage, excluded=frozenset())
        for outcome in self.executor(free, _allowed(stage, items, refused), work):
            yield outcome
            yield from (attempt(stage, refused.pop(), work) for _ in range(len(refused)))
        yield from (attempt(stage, item, work) for item in refused)


def _allowed(stage: FetchStage, items: Iterable[Any], refused: list[Any]) -> Iterator[Any]:
    """The items that are not excluded; the others are added to `refused`."""
    for item in items:
        if item.id in stage.excluded:
            refused.append(item)
        else:
            yield item
