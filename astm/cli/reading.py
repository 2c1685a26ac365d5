"""Models and the frames that they are given."""

from collections.abc import Iterator
from contextlib import contextmanager

from astm.data import DataError


@contextmanager
def fits(source: str) -> Iterator[None]:
    """Name the model whose frames do not fit; models check shapes and name the remedy."""
    try:
        yield
    except ValueError as why:
        raise DataError(f"{source}: {why}") from why
