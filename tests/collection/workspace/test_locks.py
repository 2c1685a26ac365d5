"""Files of locks, and what a planted link in their place does: nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from collection.politeness.budget import Budget, Politeness
from collection.workspace.folder import DATASET_LOCK, held, writing
from collection.workspace.store import scratch


def polite(folder: Path) -> None:
    Politeness(folder, "a", Budget()).take("host")


def entered(manager: Callable[[Path], object]) -> Callable[[Path], None]:
    def call(folder: Path) -> None:
        with manager(folder):  # type: ignore[attr-defined]
            pass

    return call


HOLDERS = {
    "politeness": (polite, "*.lock"),
    "workspace": (entered(held), "lock"),
    "scratch": (entered(scratch), ".lock"),
    "dataset": (entered(writing), DATASET_LOCK),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_no_lock_is_taken_through_a_link(tmp_path: Path, name: str) -> None:
    call, pattern = HOLDERS[name]
    place, precious = tmp_path / "place", tmp_path / "precious"
    place.mkdir()
    call(place)
    (lock,) = [*place.glob(pattern)] or [place / pattern]
    lock.parent.mkdir(exist_ok=True)
    lock.unlink(missing_ok=True)
    lock.symlink_to(precious)
    with pytest.raises((OSError, ValueError), match=r"symbolic link|cannot be"):
        call(place)
    assert not precious.exists()
