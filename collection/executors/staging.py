"""An item's files, brought to its worker and back.

A worker that decodes a stranger's video may write in a folder of its own alone, and has no network, so it cannot reach
an object store. Whoever starts it downloads what the item reads, lets it work in that folder, and puts the files that
the outcome names, once it is believed, at their places.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from collection.engine.stage import DONE, FAILED, In, Out, Outcome, Stage, of_system
from collection.sandbox.outcome import files
from collection.workspace.folder import Desk, Workspace
from collection.workspace.store import Stored, machine_folder, scratch
from mlst.files import PART, remove_tree


class Confined(Protocol):
    """Does one item in a worker of its own, and never raises because of it."""

    def __call__(self, stage: Stage[In, Out], item: In, work: Workspace) -> Outcome[Out]:
        """The item's outcome."""


def staged(stage: Stage[In, Out], item: In, work: Workspace, keeper: str, confined: Confined) -> Outcome[Out]:
    """Do an item of any workspace on this machine; `keeper` has the request budget of all machines, see `Desk`."""
    try:
        if isinstance(work, Stored):
            return _carried(stage, item, work, keeper, confined)
        if stage.needs.network:
            desk = Desk(work.root, work.folder, work.root, work.shared("."), keeper) if keeper else work
            return _cleaned(confined(stage, item, desk), stage, item, work)
        with _own_folder(work) as folder:
            desk = Desk(folder, work.folder, work.root, work.shared("."), "")
            return _kept(confined(stage, item, desk), folder, work)
    except FileNotFoundError as why:
        return Outcome(stage.key(item), FAILED, "damaged", f"{why} is not in the workspace any more", ())
    except OSError as why:
        return of_system(stage.key(item), why, "network.store" if isinstance(work, Stored) else "error")


def _cleaned(outcome: Outcome[Out], stage: Stage[In, Out], item: In, work: Workspace) -> Outcome[Out]:
    """Remove what an unconfined worker, which writes in the workspace itself, made of an item that is not done."""
    for name in stage.expects(item).files if outcome.status != DONE else ():
        work.remove(f"{work.folder}/{name}")
    return outcome


def _carried(stage: Stage[In, Out], item: In, work: Stored, keeper: str, confined: Confined) -> Outcome[Out]:
    machine = machine_folder(work.store.url)
    with scratch(machine / "items") as folder:
        (folder / work.folder).mkdir(parents=True)
        work.store.read(stage.reads(item), folder)
        desk = Desk(folder, work.folder, folder, machine, keeper if stage.needs.network else "")
        return _kept(confined(stage, item, desk), folder, work)


@contextlib.contextmanager
def _own_folder(work: Workspace) -> Iterator[Path]:
    """A folder on the workspace's disk for one worker, with the stage's in it; `workspace.folder.sweep` removes what a
    killed driver left."""
    place = work.root / work.folder
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".item-", suffix=PART, dir=place))
    try:
        (folder / work.folder).mkdir(parents=True)
        yield folder
    finally:
        remove_tree(folder)


def _kept(outcome: Outcome[Out], folder: Path, work: Workspace) -> Outcome[Out]:
    """Move the files that a finished item's outputs speak of from a worker's `folder` to the workspace."""
    names = sorted(set(files(outcome))) if outcome.status == DONE else []
    for name in names:
        if not _is_plain(folder, name):
            return Outcome(outcome.key, FAILED, "message", f"the worker made no plain file {name!r}", ())
    for name in names:
        work.keep(folder / name, name)
    return outcome


def _is_plain(folder: Path, name: str) -> bool:
    """Whether a worker's file is one, and not reached through a link."""
    *parents, last = name.split("/")
    if ".." in parents:
        return False
    place = str(folder)
    try:
        for parent in parents:
            place = f"{place}/{parent}"
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                return False
        return stat.S_ISREG(os.lstat(f"{place}/{last}").st_mode)
    except OSError:
        return False
