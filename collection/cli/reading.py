"""Built datasets, in folders or stores, as commands read them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from collection.cli.console import counted
from collection.upkeep.repair import Repaired, repair
from collection.workspace.folder import workspace_of
from collection.workspace.store import opened, written
from mlst.checking.verify import Report, verify
from mlst.dataset.remote import is_url, mirrored


def verified(place: str, workers: int) -> Report:
    """Verify a dataset, with a bar."""
    with counted("verify", "shards") as watch:
        return verify(place, workers, watch)


def repaired(dataset: Path, work: str) -> Repaired:
    """Mend a dataset from its workspace."""
    with opened(workspace_of(str(dataset), work)) as here, written(str(dataset), ""):
        return repair(dataset.resolve(), here)


@contextlib.contextmanager
def described(place: str) -> Iterator[Path]:
    """A folder with everything of a dataset, though perhaps without its shards."""
    if not is_url(place):
        yield Path(place)
        return
    with mirrored(place) as here:
        yield here
