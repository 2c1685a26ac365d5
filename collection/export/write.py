"""`mlst export`: write a dataset in another layout, and read every clip back."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from collection.export.folder import Folder
from collection.export.parquet import Parquet
from collection.export.pieces import ExportError, Format, Piece, pieces, readable
from mlst.dataset.card import licence_fields
from mlst.dataset.description import ATTRIBUTION, CARD, DATASET, Dataset, read_dataset
from mlst.files import UNFINISHED, atomic, clean, write
from mlst.inside import UnsafeName, content, file_in, place_in
from mlst.text import one_line

FORMATS: Mapping[str, Format] = {"folder": Folder(), "parquet": Parquet()}
"""By the name that `--format` takes."""
Progress = Callable[[int, int], object]
CLAIM = "export.json"
"""Written first: what an export is of. The same export goes on in a folder that has it, any other is refused."""
LARGEST = 64 << 20
"""Bytes of what is copied beside the clips."""
NAMED = 5
"""Wrong clips that an error names."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to."""

    clips: int
    """All of them were read back and have the sha256 of the index."""
    files: int
    written: int
    """Pieces that were missing or wrong, and are written now; the others were there."""


def export(folder: Path, out: Path, name: str, progress: Progress = lambda done, total: None) -> Exported:
    """Write the dataset in `folder` to `out` in the format `name`; goes on where an earlier call was interrupted.

    Parameters
    ----------
    name: one of `FORMATS`.
    progress: is told how many of how many clips are done, as they are.

    Raises
    ------
    ExportError: no such format, a damaged dataset, an `out` that holds something else, or clips that do not read back.
    """
    if name not in FORMATS:
        raise ExportError(f"unknown format {name!r}; choices are {', '.join(FORMATS)}")
    form = FORMATS[name]
    with readable(folder):
        dataset = read_dataset(folder)
        attribution = content(file_in(folder, ATTRIBUTION), LARGEST)
    parts = pieces(folder, dataset, form.by)
    files = {CLAIM, CARD, ATTRIBUTION, *(file for part in parts for file in form.names(part))}
    try:
        _claim(folder, out, _identity(dataset, name), files)
        with atomic(place_in(out, ATTRIBUTION)) as file:
            file.write(attribution)
        write(place_in(out, CARD), _words(dataset, form))
        written, done = 0, 0
        for part in parts:
            written += _written(form, out, part)
            progress(done := done + len(part.span), dataset.clips)
    except UnsafeName as why:
        raise ExportError(f"{out}: {why}; give --out an empty or new folder") from None
    return Exported(dataset.clips, len(files), written)


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


def _identity(dataset: Dataset, name: str) -> bytes:
    """What an export is of; the same for equal datasets."""
    values = {"format": f"mlst-export/1 {name}", "dataset": dataset.name, "version": dataset.version}
    return (json.dumps({**values, "fingerprint": dataset.fingerprint}, indent=1) + "\n").encode()


def _claim(folder: Path, out: Path, identity: bytes, files: set[str]) -> None:
    """Make `out`, or find that it holds this export and nothing else. Raises `ExportError`."""
    if out.resolve().is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(out.resolve()):
        raise ExportError(f"{out} and the dataset {folder} lie in each other; give --out another folder")
    out.mkdir(parents=True, exist_ok=True)
    clean(out)
    there = {file.relative_to(out).as_posix() for at in os.walk(out) for file in (Path(at[0], one) for one in at[2])}
    try:
        mine = not there or content(file_in(out, CLAIM), len(identity)) == identity
    except (OSError, ValueError):
        mine = False
    strange = sorted(one for one in there - files if not UNFINISHED.fullmatch(one.rpartition("/")[2]))
    if not mine or strange:
        what = f"{strange[0]!a}, which is no part of it" if mine else "something else than this export"
        raise ExportError(f"{out} holds {what}; give --out an empty or new folder")
    with atomic(place_in(out, CLAIM)) as file:
        file.write(identity)


def _words(dataset: Dataset, form: Format) -> str:
    """`README.md`. It names the page that says whom the clips are of, without which they may not be passed on."""
    front = yaml.safe_dump(licence_fields(dataset.licence or "unknown"))
    return (
        f"---\n{front}---\n\n# {one_line(dataset.title) or dataset.name}\n\n"
        f"{dataset.clips} clips of {dataset.name} {dataset.version}, exported by `mlst export`. Licence: "
        f"{one_line(dataset.licence) or 'see below'}; sources and their licences: [{ATTRIBUTION}]({ATTRIBUTION}). "
        f"`{DATASET}` of the original has the fingerprint `{dataset.fingerprint}`.\n\n"
        f"```python\nimport datasets\n\nclips = {form.load.format(out='FOLDER')}\n```\n"
    )
