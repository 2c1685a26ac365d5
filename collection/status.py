"""What a build has come to so far, read from its ledgers; works while it runs and after it was killed."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from collection.run import ITEMS, Ledger, folder
from collection.stage import DONE, Outcome, Stage
from collection.workspace import atomic
from mlst.records import canonical_json, decode

NOTE = "build.json"


@dataclass(frozen=True, slots=True)
class Note:
    """Left in the workspace by each build: where `status` has to look."""

    recipe: str
    version: str
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """How many items of a stage ended alike; status `pending` for those without an outcome yet."""

    stage: str
    status: str
    kind: str
    count: int


class NoBuildError(ValueError):
    """A folder that no build has worked in."""


def remember(work: Path, recipe: str, version: str, stages: Sequence[Stage]) -> None:
    """Write the note for `status`."""
    with atomic(work / NOTE) as file:
        file.write(canonical_json(Note(recipe, version, tuple(folder(stage) for stage in stages))).encode())


def read_note(work: Path) -> Note:
    """The note of the last build in `work`. Raises `NoBuildError`."""
    try:
        return decode(Note, json.loads((work / NOTE).read_text()))
    except FileNotFoundError:
        raise NoBuildError(f"{work} has no {NOTE}: no build has run there; give the folder of --work") from None


def status(work: Path, stages: Sequence[type[Stage]]) -> list[Line]:
    """Outcomes by stage and reason; `stages` are the types of the stages in the order of the build.

    The counts of a stage add up to its items, whenever this is asked.
    """
    lines: list[Line] = []
    for stage, name in zip(stages, read_note(work).folders, strict=True):
        items = work / name / ITEMS
        if not items.exists():
            continue
        entries = Ledger(work / name / "ledger.jsonl", stage.output).read()
        keys = items.read_text().splitlines()
        outcomes = [entries[key].outcome for key in keys if key in entries]
        lines += tally(stage.name, outcomes, len(keys) - len(outcomes))
    return lines


def tally(stage: str, outcomes: Iterable[Outcome], pending: int) -> list[Line]:
    """Outcomes of a stage by status and kind: what is done first, then the commonest."""
    counted = Counter((outcome.status, outcome.kind) for outcome in outcomes)
    counted["pending", ""] = pending
    order = sorted(counted.items(), key=lambda item: (item[0][0] != DONE, -item[1], item[0]))
    return [Line(stage, state, kind, count) for (state, kind), count in order if count]
