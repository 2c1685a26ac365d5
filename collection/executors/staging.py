"""An item's files, brought to its worker's machine and back.

A worker that decodes a stranger's video has no network, so it cannot reach an object store. Whoever starts it
downloads what the item reads, lets it work on plain files in a folder of its own, and uploads what it has made.
"""

import traceback
from typing import Protocol

from collection.engine.stage import DONE, FAILED, FULL, In, Out, Outcome, Stage
from collection.workspace.folder import Desk, Workspace
from collection.workspace.store import Stored, finished, machine_folder, scratch


class Confined(Protocol):
    """Does one item in a worker of its own, and never raises because of it."""

    def __call__(self, stage: Stage[In, Out], item: In, work: Workspace) -> Outcome[Out]:
        """The item's outcome."""


def staged(stage: Stage[In, Out], item: In, work: Workspace, keeper: str, confined: Confined) -> Outcome[Out]:
    """Do an item of any workspace on this machine; `keeper` has the request budget of all machines, see `Desk`."""
    if isinstance(work, Stored):
        return _carried(stage, item, work, keeper, confined)
    desk = Desk(work.root, work.folder, work.shared("."), keeper) if keeper else work
    return confined(stage, item, desk)


def _carried(stage: Stage[In, Out], item: In, work: Stored, keeper: str, confined: Confined) -> Outcome[Out]:
    machine, key = machine_folder(work.store.url), stage.key(item)
    try:
        with scratch(machine / "items") as folder:
            own = folder / work.folder
            own.mkdir(parents=True)
            work.store.read(stage.reads(item), folder)
            outcome = confined(stage, item, Desk(folder, work.folder, machine, keeper))
            if outcome.status == DONE:
                for path in finished(own):
                    work.store.put(path, path.relative_to(folder).as_posix())
            return outcome
    except FileNotFoundError as why:
        return Outcome(key, FAILED, "error", f"{why} is not in the workspace any more", ())
    except OSError as why:
        return Outcome(key, FAILED, FULL.get(why.errno or 0, "network.store"), traceback.format_exc(), ())
