"""A damaged dataset mended from the workspace that built it: no network, nothing decoded, no recipe.

Small files come from the copies that the workspace keeps, shards from those that were packed there. Where these are
damaged too, as under the two names of a hard link, a shard is packed again from its clips. Every file must have the
sha256 of `dataset.json`, so that a repair cannot make it another dataset.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from collection.engine.ledger import Ledger
from collection.engine.stage import Out, attempt
from collection.pack.kept import DESCRIPTION, KEPT
from collection.pack.stage import Packed, PackStage, Piece, ShardPlan
from collection.pack.standing import Standing, distrust, standing
from collection.report.status import read_note
from collection.workspace.folder import Workspace
from collection.workspace.store import copy_file
from mlst.dataset.description import DATASET, EXCLUSIONS, INDEX, File, parse_dataset
from mlst.dataset.index import Row, read_index
from mlst.dataset.shards import PATH
from mlst.exits import UserError
from mlst.records import Clip, Scan, canonical_json

ROOM = "repair"
"""Folder of the workspace for shards that are packed again."""


class RepairError(UserError, ValueError):
    """Nobody can say what the dataset should be."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair came to, by path."""

    mended: tuple[str, ...]
    left: tuple[str, ...]
    """What the workspace does not have either."""


def repair(dataset: Path, work: Workspace) -> Repaired:
    """Mend what of a dataset is lost or is not what its description says. Both must be held; all of it is read.

    Raises `RepairError`.
    """
    described = _describe(dataset, work)
    distrust(work)
    before = standing(dataset, work)
    small = [name for name in before.damaged if not PATH.fullmatch(name)]
    mended = [name for name in small if _put(before, name, work, f"{KEPT}/{before.files[name].sha256}")]
    shards = [name for name in before.damaged if PATH.fullmatch(name)]
    mended += _packed(before, work, shards)
    if INDEX in mended or INDEX in before.sound:
        mended += _packed_again(before, work, [name for name in shards if name not in mended])
    left = sorted(set(before.damaged) - set(mended))
    return Repaired(tuple(sorted([*described, *mended])), tuple(left))


def _describe(dataset: Path, work: Workspace) -> list[str]:
    """Make sure of a description that can be read. One that is not of this very dataset would undo a takedown."""
    out, path = Workspace(dataset, ""), work.path(DESCRIPTION)
    readable = bool(standing(dataset, work).files)
    if readable and (not path.is_file() or not _is_damaged(out, path.read_bytes())):
        return []
    if not path.is_file():
        raise RepairError(f"{dataset}: {DATASET} cannot be read, and the workspace keeps none; run `mlst build` again")
    kept = {file.path: file.sha256 for file in parse_dataset(path.read_bytes(), DESCRIPTION).files}
    if out.exists(EXCLUSIONS) and out.sha256(EXCLUSIONS) != kept.get(EXCLUSIONS):
        raise RepairError(f"{dataset} has other {EXCLUSIONS} than the workspace; run `mlst build` again")
    copy_file(work, DESCRIPTION, out, DATASET)
    return [DATASET]


def _is_damaged(out: Workspace, kept: bytes) -> bool:
    """Whether a description that can be read is not what it was: one of another dataset has another fingerprint and
    lists other files, and damage does not change both."""
    found = out.path(DATASET).read_bytes()
    if found == kept:
        return False
    one, two = parse_dataset(found, DATASET), parse_dataset(kept, DESCRIPTION)
    return one.fingerprint == two.fingerprint or one.files == two.files


def _put(before: Standing, name: str, work: Workspace, source: str) -> bool:
    """Put a file of the workspace in its place, if it is what it should be there."""
    wanted = before.files[name]
    if work.size(source) != wanted.size or work.sha256(source) != wanted.sha256:
        return False
    copy_file(work, source, before.out, name)
    return True


def _packed(before: Standing, work: Workspace, names: Sequence[str]) -> list[str]:
    """Mend shards from those that were packed: the names of what could be."""
    wanted = {before.files[name].sha256: name for name in names}
    made = _outputs(work, Packed, read_note(work).folders[2]) if names else ()
    found = [(wanted[one.shard.sha256], one.file) for one in made if one.shard.sha256 in wanted]
    return [name for name, source in found if _put(before, name, work, source)]


def _packed_again(before: Standing, work: Workspace, names: Sequence[str]) -> list[str]:
    """Mend shards by packing their clips again: the names of what could be."""
    rows: dict[str, list[Row]] = {name: [] for name in names}
    for row in read_index(before.out.root / INDEX) if names else ():
        if row.shard in rows:
            rows[row.shard].append(row)
    wanted = {row.sha256 for part in rows.values() for row in part}
    scans = _outputs(work, Scan, read_note(work).folders[1]) if names else ()
    clips = {clip.sha256: (scan.file, clip) for scan in scans for clip in scan.clips if clip.sha256 in wanted}
    return [name for name in names if _pack(before.files[name], rows[name], clips, before, work)]


def _pack(
    file: File, rows: Sequence[Row], clips: Mapping[str, tuple[str, Clip]], before: Standing, work: Workspace
) -> bool:
    if not rows or any(row.sha256 not in clips for row in rows):
        return False
    pieces = tuple(_piece(row, *clips[row.sha256]) for row in rows)
    plan = ShardPlan(file.path, rows[0].info.level, rows[0].info.split, pieces)
    outcome = attempt(PackStage(), plan, replace(work, folder=ROOM))
    done = any(_put(before, file.path, work, packed.file) for packed in outcome.outputs)
    for packed in outcome.outputs:
        work.remove(packed.file)
        work.remove(packed.rows)
    return done


def _piece(row: Row, file: str, clip: Clip) -> Piece:
    return Piece(row.info.key, canonical_json(row.info), row.fingerprint, file, clip.offset, clip.size, clip.sha256)


def _outputs(work: Workspace, output: type[Out], folder: str) -> Iterator[Out]:
    """All outputs of a stage that can be read."""
    with Ledger(replace(work, folder=folder), output) as ledger:
        for row in range(len(ledger)):
            yield from ledger.outputs(row)
