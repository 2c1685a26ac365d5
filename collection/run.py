"""Run a stage over its items: skip what is known, do the rest, record each outcome, give outputs in input order.

State is one folder per stage and fingerprint of its settings with an append-only JSONL ledger, written by the driver
alone. Deleting a folder redoes its stage; a line torn by a crash is dropped and its item done again.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from collection.stage import DONE, FAILED, REJECTED, Outcome, Stage
from collection.workspace import Workspace, atomic, sweep
from mlst.records import canonical_json, decode, digest, encode

ATTEMPTS = 3
"""An item that broke its worker this often is quarantined: it stays failed until `--retry`."""

BLAMELESS = ("blocked", "network", "disk_full", "unknown")
"""Failures that say nothing about the item; they never lead to quarantine."""

ITEMS = "items.txt"
"""The keys of a stage's items, one per line: what the outcomes have to add up to while a build runs."""

DETAIL = 4000
"""Characters of a detail that are kept: the end of a traceback says most."""


class Executor(Protocol):
    """Exactly one outcome per item, in any order; never raises because of an item; never touches a ledger."""

    def __call__(self, stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome]:
        """Run `attempt(stage, item, work)` somewhere for every item."""


class Watcher(Protocol):
    """Who is told how a stage goes on."""

    def begin(self, stage: str, total: int, known: int) -> None:
        """A stage starts with `total` items, `known` of which are finished already."""

    def outcome(self, outcome: Outcome) -> None:
        """One more item has ended."""

    def end(self) -> None:
        """The stage is over."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of an item: its last outcome, and how often it broke its worker."""

    outcome: Outcome
    breaks: int

    @property
    def quarantined(self) -> bool:
        """Whether the item is not tried again unless asked for."""
        return self.outcome.status == FAILED and self.breaks >= ATTEMPTS


@dataclass(frozen=True, slots=True)
class Ledger:
    """`ledger.jsonl`: a line per attempt."""

    path: Path
    output: type

    def read(self) -> dict[str, Entry]:
        """Every item's entry. A torn last line (no newline) is cut off the file."""
        entries: dict[str, Entry] = {}
        if not self.path.exists():
            return entries
        with self.path.open("rb+") as file:
            whole = 0
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(whole)
                    break
                whole += len(line)
                outcome = self._decode(json.loads(line))
                before = entries[outcome.key].breaks if outcome.key in entries else 0
                entries[outcome.key] = Entry(outcome, before + breaks(outcome))
        return entries

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Add one line per outcome and wait until the last is on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            for outcome in outcomes:
                file.write(canonical_json(encode(replace(outcome, detail=outcome.detail[-DETAIL:]))).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _decode(self, line: dict[str, Any]) -> Outcome:
        outputs: tuple[Any, ...] = tuple(decode(self.output, output) for output in line.pop("outputs"))
        return Outcome(outputs=outputs, **line)


@dataclass(frozen=True, slots=True)
class Result:
    """What a stage came to: one outcome per item, in the order of the items."""

    stage: str
    folder: str
    outcomes: tuple[Outcome, ...]
    fresh: int
    """Items that this run worked on; 0 when everything was known."""

    @property
    def outputs(self) -> tuple[Any, ...]:
        """Outputs of the items that are done, in input order, whoever finished first."""
        return tuple(output for outcome in self.outcomes for output in outcome.outputs)


def breaks(outcome: Outcome) -> bool:
    """Whether an outcome counts towards quarantine: the item failed, and it may be the item's fault."""
    return outcome.status == FAILED and outcome.kind.split(".")[0] not in BLAMELESS


def fingerprint(stage: Stage) -> str:
    """Eight hex digits that change with the stage's version or any of its settings."""
    return digest({"name": stage.name, "version": stage.version, "settings": stage.settings()})[:8]


def folder(stage: Stage) -> str:
    """Name of the stage's folder in the workspace."""
    return f"{stage.name}-{fingerprint(stage)}"


def run(
    stage: Stage,
    items: Sequence[Any],
    work: Workspace,
    executor: Executor,
    watcher: Watcher,
    again: Callable[[Outcome], bool],
) -> Result:
    """Do every item that has no final outcome yet. `again` asks for one more try of an outcome that would be kept."""
    work = replace(work, folder=folder(stage))
    ledger = Ledger(work.path(work.folder) / "ledger.jsonl", stage.output)
    entries = ledger.read()
    keyed = {stage.key(item): item for item in items}
    todo = [item for key, item in keyed.items() if key not in entries or _open(entries[key], work, again)]
    known = {key: entries[key].outcome for key in keyed if key in entries}
    if todo:
        sweep(work.path(work.folder))
        with atomic(work.path(work.folder) / ITEMS) as file:
            file.writelines(f"{key}\n".encode() for key in keyed)
    watcher.begin(stage.name, len(keyed), len(keyed) - len(todo))
    for outcome in executor(stage, todo, work):
        ledger.append([outcome])
        known[outcome.key] = outcome
        watcher.outcome(outcome)
    watcher.end()
    return Result(stage.name, work.folder, tuple(known[key] for key in keyed), len(todo))


def _open(entry: Entry, work: Workspace, again: Callable[[Outcome], bool]) -> bool:
    if again(entry.outcome):
        return True
    if entry.outcome.status == DONE:
        return any(not work.exists(output.file) for output in entry.outcome.outputs if hasattr(output, "file"))
    return entry.outcome.status != REJECTED and not entry.quarantined
