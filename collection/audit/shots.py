"""Are there cuts and dissolves inside clips that should be one shot? A second detector looks at a sample."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from collection.audit.look import Copy, LookStage, Seen
from collection.audit.places import Piece, Sample, cut_by, drawn, pieces
from collection.audit.share import Count, Interval, interval
from collection.detectors import make_detector
from collection.engine.run import Executor, Watcher
from collection.engine.stage import DONE, FULL, Outcome
from collection.workspace.folder import Workspace
from mlst.exits import UserError

FIRST, SECOND = "transnetv2", "mlst"
"""Detectors that look: the first, unless it made the clips."""
BOTH = "mlst+transnet"
"""The detector that is made of the two."""
EVERY = sys.maxsize
PIECE = 1 << 20
"""Bytes copied at a time."""


class AuditError(UserError, ValueError):
    """An audit that cannot be made."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A clip that was looked at."""

    piece: Piece
    seen: Seen

    @property
    def worst(self) -> float:
        """The largest change across one of its transitions; 0 where it has none."""
        return max((found.change for found in self.seen.found), default=0.0)


@dataclass(frozen=True, slots=True)
class Unread:
    """A clip that could not be looked at."""

    piece: Piece
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit came to."""

    place: str
    detector: str
    seed: int
    total: int
    """Clips in the place."""
    judged: tuple[Judged, ...]
    """By key, as are the next."""
    unread: tuple[Unread, ...]

    @property
    def broken(self) -> list[Judged]:
        """Clips with a transition inside, those with the largest change first."""
        return sorted((one for one in self.judged if one.seen.found), key=lambda one: (-one.worst, one.piece.key))

    @property
    def share(self) -> float:
        """Broken ones of those that were looked at, 0..1."""
        return len(self.broken) / max(1, len(self.judged))

    @property
    def interval(self) -> Interval:
        """Of that share, with 95 % confidence."""
        return interval(counts((one.piece, bool(one.seen.found)) for one in self.judged))

    @property
    def sources(self) -> int:
        """How many the clips that were looked at come from; 0 where no source is known."""
        return len({one.piece.source for one in self.judged} - {""})

    def exceeds(self, most: float) -> bool | None:
        """Whether the share lies above `most`; None where this sample cannot tell. Clips that could not be looked at
        may be broken or whole."""
        known = [(one.piece, bool(one.seen.found)) for one in self.judged]
        best, worst = (
            interval(counts([*known, *((u.piece, broken) for u in self.unread)])) for broken in (False, True)
        )
        return True if best.low > most else False if worst.high <= most else None


def counts(clips: Iterable[tuple[Piece, bool]]) -> Mapping[str, Count]:
    """Broken clips and all, by source; a clip whose source is not known stands for itself."""
    found: defaultdict[str, Count] = defaultdict(lambda: Count(0, 0))
    for piece, broken in clips:
        name = f"source {piece.source}" if piece.source else f"clip {piece.key}"
        found[name] = Count(found[name].hits + broken, found[name].of + 1)
    return found


def second(place: Path, wanted: str) -> str:
    """The detector that looks: `wanted`, or one that did not make the clips. Raises `AuditError`."""
    made = cut_by(place)
    name = wanted or (SECOND if made == FIRST else FIRST)
    try:
        make_detector(name, {}, Fraction(25))
    except ValueError as why:
        remedy = "" if wanted or made == SECOND else f"; or give --detector {SECOND}"
        raise AuditError(f"{why}{remedy}") from None
    return name


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be looked at, and by whom."""

    clips: int
    """At most, drawn at random."""
    seed: int
    detector: str


def heavy(detector: str) -> tuple[str, ...]:
    """Modules that a detector takes seconds to import: workers share them if they are imported before."""
    return ("collection.detectors.transnetv2",) if detector in (FIRST, BOTH) else ()


def audit(place: Path, wanted: Wanted, do: Executor, watcher: Watcher, work: Workspace) -> Audit:
    """Look at clips of a place. `work` is for copies, which are all that workers see of it.

    Raises `AuditError` and `PlaceError`.
    """
    stage = LookStage(wanted.detector)
    sample = drawn(pieces(place), wanted.clips, wanted.seed)
    if not sample.pieces:
        raise AuditError(f"{place} holds no clips; give a built dataset, a folder of videos, or WebDataset tars")
    watcher.begin(stage.name, len(sample.pieces), 0)
    outcomes: dict[str, Outcome[Seen]] = {}
    for outcome in do(stage, copies(sample, work), work):
        outcomes[outcome.key] = outcome
        work.remove(outcome.key)
        watcher.outcome(stage.name, outcome)
    watcher.end(stage.name)
    return _told(str(place), wanted, sample, outcomes)


def copies(sample: Sample, work: Workspace) -> Iterator[Copy]:
    """Copies of the clips in the workspace, each made when it is asked for."""
    for number, piece in enumerate(sample.pieces):
        name = str(number)
        try:
            with piece.file.open("rb") as source, work.path(name).open("wb") as target:
                copy_piece(source, target, piece)
        except OSError as why:
            if why.errno in FULL:
                raise
            yield Copy(name, name, 0, f"{piece.file}: {why.strerror}")
            continue
        yield Copy(name, name, piece.size, "")


def copy_piece(source: BinaryIO, target: BinaryIO, piece: Piece) -> None:
    """Copy the bytes of a clip out of the file that holds them."""
    source.seek(piece.offset)
    left = piece.size
    while left and (part := source.read(min(left, PIECE))):
        target.write(part)
        left -= len(part)


def _told(place: str, wanted: Wanted, sample: Sample, outcomes: Mapping[str, Outcome[Seen]]) -> Audit:
    ended = [(piece, outcomes[str(number)]) for number, piece in enumerate(sample.pieces)]
    ended.sort(key=lambda one: one[0].key)
    judged = tuple(Judged(piece, outcome.outputs[0]) for piece, outcome in ended if outcome.status == DONE)
    unread = tuple(Unread(piece, outcome.kind, outcome.detail) for piece, outcome in ended if outcome.status != DONE)
    return Audit(place, wanted.detector, wanted.seed, sample.total, judged, unread)
