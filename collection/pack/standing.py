"""The dataset that is in a place already, and which of its files are what its description says.

Every build looks. Small files are read and hashed. A shard, and any file in a store, is read only where its stamp
(size, times, number) is not the one that the workspace noted when its bytes were last known: what a program changed is
found, what a disk changed by itself is not. `distrust` forgets the notes, so that the next build reads everything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from collection.pack.kept import DESCRIPTION
from collection.workspace.folder import Workspace
from collection.workspace.store import Stored
from mlst.dataset.description import DATASET, EXCLUSIONS, NAMED, File, parse_dataset
from mlst.dataset.shards import PATH
from mlst.exits import UserError
from mlst.records import canonical_json, decode_json

STAMPS = "stamps.json"
"""File of the workspace with the notes."""
RETIRED = ".cache/mlst-replaced.json"
"""The description of a dataset while its files are replaced one by one."""


class TakenError(UserError, ValueError):
    """A dataset would replace files that are not a dataset's."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file of a dataset when its bytes were known."""

    path: str
    sha256: str
    stamp: str
    """See `Workspace.stamp`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is there."""

    out: Workspace
    description: bytes
    """`dataset.json` as it is; empty for none."""
    files: Mapping[str, File]
    """What it lists, or what one listed whose files were being replaced, by path; empty where it cannot be read."""
    sound: frozenset[str]
    """Those of `files` that are there as they are described."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """The others, by path."""
        return tuple(sorted(self.files.keys() - self.sound))

    def has(self, file: File) -> bool:
        """Whether this very file is there."""
        return file.path in self.sound and self.files[file.path] == file


def standing(place: Path | Workspace, work: Workspace) -> Standing:
    """Look at a place, which may be empty or not be there."""
    if isinstance(place, Stored):
        out: Workspace = place
    else:
        out = Workspace((place.root if isinstance(place, Workspace) else place).resolve(), "")
    description = _read(out, DATASET)
    files = _listed(description) or _listed(_read(out, RETIRED))
    noted = {stamp.path: stamp for stamp in _stamps(work)}
    return Standing(out, description, files, frozenset(name for name in files if _sound(out, files[name], noted)))


def check_own(out: Workspace, work: Workspace) -> None:
    """Raise `TakenError` for a place with files that a dataset would replace, as a project's README.md, where no
    dataset is, nor was one begun by a build in the workspace `work`."""
    if any(out.exists(name) for name in (DATASET, RETIRED)) or work.exists(DESCRIPTION):
        return
    if taken := [name for name in NAMED if name != EXCLUSIONS and out.exists(name)]:
        raise TakenError(
            f"the place of the dataset has a {taken[0]}, but no {DATASET}: a build would replace the file, which is "
            f"not a dataset's; give another place, or move it away"
        )


def note(out: Workspace, work: Workspace, files: Iterable[File]) -> None:
    """Note the stamps of files that are known to be there as described."""
    now = tuple(Stamp(file.path, file.sha256, out.stamp(file.path)) for file in files)
    if now != _stamps(work):
        with replace(work, folder="").create(STAMPS) as (file, _):
            file.write(canonical_json(now).encode())


def distrust(work: Workspace) -> None:
    """Forget all notes."""
    work.remove(STAMPS)


def _sound(out: Workspace, file: File, noted: Mapping[str, Stamp]) -> bool:
    if out.size(file.path) != file.size:
        return False
    large = isinstance(out, Stored) or PATH.fullmatch(file.path)
    if large and noted.get(file.path) == Stamp(file.path, file.sha256, out.stamp(file.path)):
        return True
    return out.sha256(file.path) == file.sha256


def _stamps(work: Workspace) -> tuple[Stamp, ...]:
    """The notes; none where they cannot be read."""
    try:
        return decode_json(tuple[Stamp, ...], _read(work, STAMPS))
    except ValueError:
        return ()


def _listed(description: bytes) -> Mapping[str, File]:
    try:
        return {file.path: file for file in parse_dataset(description, DATASET).files}
    except ValueError:
        return {}


def _read(place: Workspace, name: str) -> bytes:
    path = place.path(name)
    return path.read_bytes() if path.is_file() else b""
