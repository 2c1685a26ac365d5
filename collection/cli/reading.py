"""Built datasets, in folders or stores, as commands read them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from collection.cli.console import console, counted, safe
from mlst.checking.verify import Report, verify
from mlst.dataset.remote import is_url, mirrored


def verified(place: str, workers: int) -> Report:
    """Verify a dataset, with a bar."""
    with counted("verify", "shards") as watch:
        return verify(place, workers, watch)


def repair(dataset: Path, work: str) -> None:
    """Mend a dataset from its workspace, and say what was mended and what could not be."""
    from collection.upkeep.repair import repair as mend
    from collection.workspace.folder import workspace_of
    from collection.workspace.store import opened, written

    with opened(workspace_of(str(dataset), work)) as here, written(str(dataset), ""):
        found = mend(dataset.resolve(), here)
    for name in found.mended:
        console.print(safe(f"{name}: mended"))
    for name in found.left:
        console.print(safe(f"{name}: the workspace does not have it either; run `mlst build` again"))


@contextlib.contextmanager
def described(place: str) -> Iterator[Path]:
    """A folder with everything of a dataset, though perhaps without its shards."""
    if not is_url(place):
        yield Path(place)
        return
    with mirrored(place) as here:
        yield here
