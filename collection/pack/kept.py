"""Copies of a dataset's small files in its workspace: what shards can be made from again, and `mlst verify --repair`.

A copy shares no byte with the dataset, so that damage in one is not damage in the other. Together they take some 2 %
of what the shards take (docs/scale.md).
"""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from collection.workspace.folder import Workspace
from mlst.dataset.description import DATASET, File
from mlst.dataset.shards import PATH
from mlst.files import clean

KEPT = "kept"
"""Folder of the workspace, with the files named by their sha256."""
DESCRIPTION = f"{KEPT}/{DATASET}"
"""Which dataset they belong to."""


def keep(work: Workspace, folder: Path, files: Iterable[File]) -> None:
    """Keep what is in `folder` of a dataset's small files, and nothing that was kept before or begun to be."""
    top = replace(work, folder="")
    clean(top.root / KEPT)
    names = {f"{KEPT}/{file.sha256}": file for file in files if not PATH.fullmatch(file.path)}
    there = top.sizes(KEPT)
    for name, file in names.items():
        if there.get(name) != file.size:
            _copy(folder / file.path, top, name)
    _copy(folder / DATASET, top, DESCRIPTION)
    for name in there.keys() - names.keys() - {DESCRIPTION}:
        top.remove(name)


def _copy(path: Path, work: Workspace, name: str) -> None:
    with path.open("rb") as data, work.create(name) as (file, _):
        shutil.copyfileobj(data, file, 1 << 20)
