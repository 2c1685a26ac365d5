"""Shots filmed anew by a camera that moves: pans, zooms and trembles over what was filmed."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from tests.splices.distractors import window
from tests.splices.pictures import Frames

Vector = NDArray[np.float64]
SHORTEST = 30
"""Frames below which a shot is left as it is."""


def moving(shot: Frames, rng: np.random.Generator) -> Frames:
    """0 to 4 pixels per frame, with or without zooming and trembling; at the border of the picture it turns round."""
    if len(shot) < SHORTEST:
        return shot
    speed = rng.uniform(0.002, 0.012, 2) * rng.choice([-1, 1], 2) * rng.choice([0, 1, 1], 2)
    at = np.arange(len(shot))
    trembling = np.array([gaussian_filter1d(rng.normal(0, 1, len(shot)), 3) for _ in range(3)])
    trembling = trembling * rng.choice([0, 0.01, 0.03])
    x, y = (_turning(rng.uniform() + s * at + shaken) for s, shaken in zip(speed, trembling, strict=False))
    zoomed = 2 * _turning(rng.uniform() + rng.choice([0, 0.003, 0.01, 0.02]) * at) - 1
    share = np.clip(0.6 + 0.15 * zoomed + 0.3 * trembling[2], 0.4, 0.85)
    return np.stack([window(f, float(share[i]), float(x[i]), float(y[i])) for i, f in enumerate(shot)])


def _turning(path: Vector) -> Vector:
    """To and fro between 0 and 1."""
    within = np.mod(path, 2)
    return np.asarray(np.where(within < 1, within, 2 - within))
