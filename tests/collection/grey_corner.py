"""A clip filter as a user may write it: it greys the upper left quarter of every frame."""

import numpy as np
from numpy.typing import NDArray

VERSION = "1"

Planes = NDArray[np.uint8]


def grey_corner(y: Planes, u: Planes, v: Planes) -> tuple[Planes, Planes, Planes]:
    """Luma 126, the middle of the limited range, and no colour."""
    for plane, grey in ((y, 126), (u, 128), (v, 128)):
        side = plane.shape[1]
        plane[:, : side // 2, : side // 2] = grey
    return y, u, v


def fails(y: Planes, u: Planes, v: Planes) -> tuple[Planes, Planes, Planes]:
    """Raises."""
    raise ZeroDivisionError("no face")


def leaves(y: Planes, u: Planes, v: Planes) -> tuple[Planes, Planes, Planes]:
    """Ends the program."""
    raise SystemExit(3)


def crops(y: Planes, u: Planes, v: Planes) -> tuple[Planes, Planes, Planes]:
    """Gives other shapes."""
    return y[:, 2:], u, v


def floats(y: Planes, u: Planes, v: Planes) -> tuple[Planes, Planes, Planes]:
    """Gives other types."""
    return y / 2, u, v  # type: ignore[return-value]


def two(y: Planes, u: Planes, v: Planes) -> tuple[Planes, Planes]:
    """Gives too little."""
    return y, u


NO_FUNCTION = 1
