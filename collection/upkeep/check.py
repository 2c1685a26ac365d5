"""All bytes of a workspace read again: `mlst build --check`."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from collection.engine.ledger import Ledger
from collection.engine.run import folder
from collection.engine.stage import AnyStage
from collection.pack.shelf import Shelf
from collection.pack.standing import distrust
from collection.workspace.damage import parts, remove_damaged
from collection.workspace.folder import Workspace
from mlst.records import Part


def check(work: Workspace, stages: Iterable[AnyStage], out: Workspace) -> frozenset[str]:
    """Read all that the stages have made, and remove what is damaged, so that the next build makes it again; a clip is
    taken from the dataset `out` if it has it. That build reads all of the dataset too. Gives the names of what was
    mended or removed.
    """
    distrust(work)
    return frozenset().union(*(remove_damaged(work, _present(work, stage), Shelf(out)) for stage in stages))


def _present(work: Workspace, stage: AnyStage) -> Iterator[Part]:
    """What the outputs of a stage hold in files that are there: videos are removed once they are scanned."""
    with Ledger(replace(work, folder=folder(stage)), stage.output) as ledger:
        for row in range(len(ledger)):
            yield from (part for part in parts(ledger.outputs(row)) if work.size(part.file) >= 0)
