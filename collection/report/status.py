"""What a build has come to so far, read from its ledgers; works while it runs and after it was killed."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from collection.engine.ledger import Ledger, Outcomes, Outputs
from collection.engine.run import ITEMS, folder
from collection.engine.stage import DONE, AnyStage, Out
from collection.pack.stage import Packed
from collection.workspace.folder import Workspace
from mlst.exits import UserError
from mlst.records import Scan, Video, canonical_json, decode, later

NOTE = "build.json"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a stage cost in one run of a build."""

    stage: str
    items: int
    """Those that this run worked on."""
    seconds: float
    """Wall clock."""
    cpu_seconds: float
    """Of the driver and its workers on this machine."""
    bytes: int
    """Written to the workspace: videos, clips, shards."""
    bytes_per_second: float
    frames: int
    """Decoded; of `scan` alone."""
    frames_per_second: float


@dataclass(frozen=True, slots=True)
class Note:
    """Left in the workspace by each build: where `status` has to look."""

    recipe: str
    version: str
    folders: tuple[str, ...]
    spent: tuple[Spent, ...] = later(())
    """What the last run cost; nothing while it runs and after it was killed."""


@dataclass(frozen=True, slots=True)
class Line:
    """How many items of a stage ended alike; status `pending` for those without an outcome yet."""

    stage: str
    status: str
    kind: str
    count: int


class NoBuildError(UserError, ValueError):
    """A folder that no build has worked in."""


def remember(work: Workspace, recipe: str, version: str, stages: Sequence[AnyStage]) -> None:
    """Write the note for `status`."""
    _write(work, Note(recipe, version, tuple(folder(stage) for stage in stages)))


def finish(work: Workspace, spent: tuple[Spent, ...]) -> None:
    """Add to the note of a build that has ended what it cost. What a full disk or a lost store does not take is left
    out: a build does not fail for its note."""
    with contextlib.suppress(OSError, UserError):
        _write(work, replace(read_note(work), spent=spent))


def _write(work: Workspace, note: Note) -> None:
    with replace(work, folder="").create(NOTE) as (file, _):
        file.write(canonical_json(note).encode())


def read_note(work: Workspace) -> Note:
    """The note of the last build in `work`. Raises `NoBuildError`."""
    if not work.exists(NOTE):
        raise NoBuildError(f"{work.path('')} has no {NOTE}: no build has run there; give the folder of --work")
    return decode(Note, json.loads(work.path(NOTE).read_text()))


def status(work: Workspace) -> list[Line]:
    """Outcomes of the last build in `work` by stage and reason. Raises `NoBuildError`.

    Those of `fetch` add up to the rows of the manifest and those of `scan` to the fetched videos, whenever this is
    asked; shards are listed once they are planned. Lines of `frames` follow where there is something to say.
    """
    from collection.scan.stage import ScanStage  # noqa: PLC0415 - brings OpenCV and detectors, and the console needs this

    fetch, scan, pack = (replace(work, folder=name) for name in read_note(work).folders)
    fetched = _outcomes(fetch, Video, _items(fetch))
    scanned = _outcomes(scan, Scan, (ScanStage.key(video) for video in Outputs(fetched)))
    packed = _outcomes(pack, Packed, _items(pack))
    found = (("fetch", fetched), ("scan", scanned), ("pack", packed))
    return [line for stage, outcomes in found for line in tally(stage, outcomes.counts)] + times(scanned)


def _items(work: Workspace) -> Iterator[str]:
    """Keys of the items of a stage that has begun."""
    name = f"{work.folder}/{ITEMS}"
    if work.exists(name):
        with work.path(name).open(encoding="utf-8") as file:
            yield from map(str.strip, file)


def _outcomes(work: Workspace, output: type[Out], keys: Iterable[str]) -> Outcomes[Out]:
    with Ledger(work, output) as ledger:
        return ledger.outcomes(map(ledger.row, keys))


def tally(stage: str, counts: Mapping[tuple[str, str], int]) -> list[Line]:
    """Outcomes of a stage by status and kind: what is done first, then the commonest."""
    order = sorted(counts.items(), key=lambda item: (item[0][0] != DONE, -item[1], item[0]))
    return [Line(stage, state, kind, count) for (state, kind), count in order if count]


def times(scanned: Outcomes[Any]) -> list[Line]:
    """Frames of the scanned videos that had no usable time, by what became of them."""
    found = scanned.saying(b'"repaired":', b'"dropped":')
    streams = [scan.stream for outcome in found for scan in outcome.outputs]
    counts = {name: sum(getattr(stream, name) for stream in streams) for name in ("repaired", "dropped")}
    return [Line("frames", name, "time", count) for name, count in counts.items() if count]
