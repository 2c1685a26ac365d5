"""Run a stage over its items: skip what is known, do the rest, record each outcome, give outputs in input order.

State is one folder per stage and fingerprint of its settings, with a ledger that the driver alone
writes. Deleting a folder redoes its stage.
"""

import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Generic, Protocol, Self

from collection.engine.ledger import PENDING, Ledger, Outcomes, Outputs
from collection.engine.stage import DONE, FAILED, REJECTED, AnyStage, In, Out, Out_co, Outcome, Stage
from collection.workspace.damage import parts
from collection.workspace.folder import Workspace, sweep
from mlst.records import Part, digest

ATTEMPTS = 3
"""An item that broke its worker this often is quarantined: it stays failed until `--retry`."""

ITEMS = "items.txt"
"""The keys of a stage's items, one per line: what the outcomes have to add up to while a build runs."""


class Executor(Protocol):
    """Exactly one outcome per item, in any order; never raises because of an item; never touches a ledger."""

    def __call__(self, stage: Stage[In, Out], items: Iterable[In], work: Workspace) -> Iterator[Outcome[Out]]:
        """Run `attempt(stage, item, work)` somewhere for every item."""


class Watcher(Protocol):
    """Who is told how the stages go on; more than one may be under way."""

    def begin(self, stage: str, total: int, known: int) -> None:
        """A stage starts with `total` items, `known` of which are finished already."""

    def start(self, stage: str, key: str) -> None:
        """An item is handed to whoever works on it."""

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """One more item has ended."""

    def fewer(self, stage: str) -> None:
        """One item that was counted on will not come."""

    def end(self, stage: str) -> None:
        """The stage is over."""


@dataclass(frozen=True, slots=True)
class Together:
    """A watcher that tells others what it is told."""

    watchers: tuple[Watcher, ...]

    def begin(self, stage: str, total: int, known: int) -> None:
        """See `Watcher.begin`."""
        for one in self.watchers:
            one.begin(stage, total, known)

    def start(self, stage: str, key: str) -> None:
        """See `Watcher.start`."""
        for one in self.watchers:
            one.start(stage, key)

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """See `Watcher.outcome`."""
        for one in self.watchers:
            one.outcome(stage, outcome)

    def fewer(self, stage: str) -> None:
        """See `Watcher.fewer`."""
        for one in self.watchers:
            one.fewer(stage)

    def end(self, stage: str) -> None:
        """See `Watcher.end`."""
        for one in self.watchers:
            one.end(stage)


@dataclass(frozen=True, slots=True)
class Result(Generic[Out_co]):
    """What a stage came to."""

    stage: str
    folder: str
    outcomes: Outcomes[Out_co]
    """One per item, in the order of the items."""
    fresh: int
    """Items that this run worked on; 0 when everything was known."""
    seconds: float
    """Wall clock that this run spent on them."""

    @property
    def outputs(self) -> Outputs[Out_co]:
        """Outputs of the items that are done, in input order, whoever finished first."""
        return Outputs(self.outcomes)


@dataclass(frozen=True, slots=True)
class Driver:
    """How stages are run: where results go, who does the work, who watches, and what is done besides."""

    work: Workspace
    executor: Executor
    watcher: Watcher
    retry: bool
    """Try items again that are quarantined."""
    wave: int
    """Sources that are fetched and scanned at a time."""
    keep_videos: bool
    """Leave fetched videos in the workspace when they are scanned."""

    def start(self, stage: Stage[In, Out]) -> "Run[In, Out]":
        """Take up a stage where it was left."""
        return Run(stage, self)

    def __call__(self, stage: Stage[In, Out], items: Iterable[In]) -> Result[Out]:
        """Every item's outcome; only what is not known yet is worked on. `items` is gone through twice."""
        with self.start(stage) as run:
            rows = run.expect(items)
            todo = bytes(run.known(row).open for row in rows)
            self.watcher.begin(stage.name, len(rows), len(rows) - sum(todo))
            if any(todo):
                run(compress(items, todo))
            self.watcher.end(stage.name)
            return run.result(rows)


@dataclass(frozen=True, slots=True)
class Known(Generic[Out_co]):
    """What the ledger knows of an item."""

    row: int
    outputs: tuple[Out_co, ...]
    """None unless it is done."""
    open: bool
    """Whether there is work to do on it: as for lost outputs, as far as was known when the run began."""


class Run(Generic[In, Out]):
    """A stage under way. Its items have rows, see `Ledger`."""

    def __init__(self, stage: Stage[In, Out], driver: Driver) -> None:
        self.stage, self.work = stage, replace(driver.work, folder=folder(stage))
        self._driver = driver
        self._ledger = Ledger(self.work, stage.output)
        self._files: dict[str, Mapping[str, int]] = {}
        self._fresh, self._seconds = 0, 0.0
        sweep(self.work.path(self.work.folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ledger.__exit__(*error)

    def expect(self, items: Iterable[In]) -> Sequence[int]:
        """The rows of all items there will be; `mlst status` counts by their keys."""
        rows = array("Q")
        with self.work.create(ITEMS) as (file, _):
            for item in items:
                key = self.stage.key(item)
                file.write(f"{key}\n".encode())
                rows.append(self._ledger.row(key))
        return rows

    def find(self, item: In) -> Known[Out]:
        """What is known of an item, which need not be one of those that are expected."""
        return self.known(self._ledger.row(self.stage.key(item)))

    def known(self, row: int) -> Known[Out]:
        """What is known of the item of a row."""
        outputs = self._ledger.outputs(row)
        status = self._ledger.status(row)  # pending now where its outputs could not be read
        if status == DONE:
            return Known(row, outputs, not all(map(self._has, parts(outputs))))
        again = self._driver.retry or self._ledger.breaks(row) < ATTEMPTS
        return Known(row, outputs, status == PENDING or (status == FAILED and again))

    def is_final(self, row: int) -> bool:
        """Whether the item will not be worked on again, but on a lost output."""
        return self._ledger.status(row) in (DONE, REJECTED)

    def was_tried(self, row: int) -> bool:
        """Whether an earlier run tried the item and failed; one that was held back by a breaker was not tried."""
        status, kind = self._ledger.end(row)
        return status == FAILED and kind != "blocked.breaker"

    def __call__(self, items: Iterable[In]) -> None:
        """Work on the items and record each outcome; all are safe when this returns."""
        began = time.monotonic()
        for outcome in self._driver.executor(self.stage, self._handed(items), self.work):
            self._ledger.add(outcome)
            self._fresh += 1
            self._driver.watcher.outcome(self.stage.name, outcome)
        self._ledger.sync()
        self._seconds += time.monotonic() - began

    def _handed(self, items: Iterable[In]) -> Iterator[In]:
        """The items, each of which the watcher is told of when an executor asks for it."""
        for item in items:
            self._driver.watcher.start(self.stage.name, self.stage.key(item))
            yield item

    def result(self, rows: Iterable[int]) -> Result[Out]:
        """What became of the items `rows`."""
        return Result(self.stage.name, self.work.folder, self._ledger.outcomes(rows), self._fresh, self._seconds)

    def _has(self, part: Part) -> bool:
        """Whether the workspace had a file as long as that when this run first asked for one of its folder."""
        parent = part.file.rpartition("/")[0]
        if parent not in self._files:
            self._files[parent] = self.work.sizes(parent)
        return self._files[parent].get(part.file, -1) >= part.offset + part.size


def stage_digest(stage: AnyStage) -> str:
    """Eight hex digits that change with the stage's version or any of its settings."""
    return digest({"name": stage.name, "version": stage.version, "settings": stage.settings()})[:8]


def folder(stage: AnyStage) -> str:
    """Name of the stage's folder in the workspace."""
    return f"{stage.name}-{stage_digest(stage)}"
