"""A clip's canonical picture: the only thing statistics see."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What all pictures of one stream share."""

    depth: int
    """Bits per sample; planes are uint8 for 8, uint16 (right-aligned) above."""
    full_range: bool
    """Whether luma codes span the whole range instead of 16..235 (8 bit)."""
    sar: Fraction
    """Width of a stored pixel over its height."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame: planes as stored, upright, without padding."""

    index: int
    """Ordinal of the frame in its file."""
    pts: int
    y: Plane
    """(H, W) luma codes."""
    u: Plane
    """(h, w) chroma codes, subsampled as stored; mid-grey for grey video."""
    v: Plane
