"""`mlst export`: write a dataset in another layout, and read every clip back."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from collection.export.folder import Folder
from collection.export.lance import Lance
from collection.export.lerobot import LeRobot
from collection.export.mds import Mds
from collection.export.origin import ExportError, Origin, origin
from collection.export.parquet import Parquet
from collection.export.pieces import Format, Piece, pieces
from mlst.dataset.card import licence_fields
from mlst.dataset.description import ATTRIBUTION, CARD, DATASET, Dataset
from mlst.files import UNFINISHED, atomic, clean, write
from mlst.inside import UnsafeName, content, file_in, place_in
from mlst.text import one_line

FORMATS: Mapping[str, Format] = {
    "folder": Folder(),
    "parquet": Parquet(),
    "lerobot": LeRobot(),
    "lance": Lance(),
    "mds": Mds(),
}
"""By the name that `--format` takes."""
Progress = Callable[[int, int], object]
CLAIM = "export.json"
"""Written first: what an export is of. The same export goes on in a folder that has it, any other is refused."""
NAMED = 5
"""Wrong clips that an error names."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to."""

    clips: int
    """All of them were read back and have the sha256 of the index."""
    files: int
    """In its folder."""
    written: int
    """Pieces that were missing or wrong, and are written now; the others were there."""


def export(
    place: str | Path, out: Path, name: str, progress: Progress = lambda done, total: None, revision: str = ""
) -> Exported:
    """Write the dataset at `place` to `out` in the format `name`; goes on where an earlier call was interrupted.

    Parameters
    ----------
    place: a folder, or whatever else `mlst.load` takes.
    name: one of `FORMATS`.
    progress: is told how many of how many clips are done, as they are.
    revision: branch, tag or commit on the Hub; "" for the main branch.

    Raises
    ------
    ExportError: no such format, a damaged dataset, an `out` that holds something else, or clips that do not read back.
    """
    if name not in FORMATS:
        raise ExportError(f"unknown format {name!r}; choices are {', '.join(FORMATS)}")
    with origin(place, revision) as source:
        return _exported(source, out, name, progress)


def _exported(source: Origin, out: Path, name: str, progress: Progress) -> Exported:
    form, dataset = FORMATS[name], source.dataset
    parts = pieces(source, form.by, form.most)
    closing = form.closing(out, parts)
    files = {CLAIM, CARD, ATTRIBUTION, *closing, *(file for part in parts for file in form.names(part))}
    try:
        _claim(source, out, _identity(dataset, name), files)
        with atomic(place_in(out, ATTRIBUTION)) as file:
            file.write(source.attribution)
        write(place_in(out, CARD), _words(dataset, form))
        written, done = 0, 0
        for part in parts:
            written += _written(form, out, part)
            progress(done := done + part.clips, dataset.clips)
        for path, make in closing.items():
            written += _closed(place_in(out, path), make())
    except UnsafeName as why:
        raise ExportError(f"{out}: {why}; give --out an empty or new folder") from None
    return Exported(dataset.clips, len(_files(out)), written)


def _written(form: Format, out: Path, piece: Piece) -> bool:
    """Make a piece right; whether anything had to be written. Raises `ExportError` if it does not read back."""
    if missing := any(True for _ in form.wrong(out, piece)):
        form.write(out, piece)
        if wrong := list(form.wrong(out, piece)):
            more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
            raise ExportError(
                f"{', '.join(wrong[:NAMED])}{more} in {out} did not read back as written; the disk fails, or another "
                f"program writes there: run the same command again"
            )
    return missing


def _closed(path: Path, data: bytes) -> bool:
    """Write one of the last files; whether it was not there as it should be."""
    if path.is_file() and content(path, max(path.stat().st_size, 1)) == data:
        return False
    with atomic(path) as file:
        file.write(data)
    return True


def _identity(dataset: Dataset, name: str) -> bytes:
    """What an export is of; the same for equal datasets."""
    values = {"format": f"mlst-export/1 {name}", "dataset": dataset.name, "version": dataset.version}
    return (json.dumps({**values, "fingerprint": dataset.fingerprint}, indent=1) + "\n").encode()


def _claim(source: Origin, out: Path, identity: bytes, files: set[str]) -> None:
    """Make `out`, or find that it holds this export and nothing else. Raises `ExportError`."""
    inner, outer = out.resolve(), source.folder.resolve()
    if source.local and (inner.is_relative_to(outer) or outer.is_relative_to(inner)):
        raise ExportError(f"{out} and the dataset {source.name} lie in each other; give --out another folder")
    out.mkdir(parents=True, exist_ok=True)
    clean(out)
    there = _files(out)
    try:
        mine = not there or content(file_in(out, CLAIM), len(identity)) == identity
    except (OSError, ValueError):
        mine = False
    own = tuple(name for name in files if name.endswith("/"))
    rest = there - files if not own else {name for name in there - files if not name.startswith(own)}
    strange = sorted(one for one in rest if not UNFINISHED.fullmatch(one.rpartition("/")[2]))
    if not mine or strange:
        what = f"{strange[0]!a}, which is no part of it" if mine else "something else than this export"
        raise ExportError(f"{out} holds {what}; give --out an empty or new folder")
    with atomic(place_in(out, CLAIM)) as file:
        file.write(identity)


def _files(out: Path) -> set[str]:
    return {file.relative_to(out).as_posix() for at in os.walk(out) for file in (Path(at[0], one) for one in at[2])}


def _words(dataset: Dataset, form: Format) -> str:
    """`README.md`. It names the page that says whom the clips are of, without which they may not be passed on."""
    front = yaml.safe_dump(licence_fields(dataset.licence or "unknown"))
    return (
        f"---\n{front}---\n\n# {one_line(dataset.title) or dataset.name}\n\n"
        f"{dataset.clips} clips of {dataset.name} {dataset.version}, exported by `mlst export`. Licence: "
        f"{one_line(dataset.licence) or 'see below'}; sources and their licences: [{ATTRIBUTION}]({ATTRIBUTION}). "
        f"`{DATASET}` of the original has the fingerprint `{dataset.fingerprint}`.\n\n"
        f"```python\n{form.load}\n```\n"
    )
