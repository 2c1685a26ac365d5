"""Motion of the camera: what one affine motion of the whole picture explains of the optical flow, and what is left.

The flow of a pair of grid frames is velocity over place. With places in widths from the picture's middle, the best
affine velocity is v(p) = (x, y) + M p: the scene moves by (x, y), grows by zoom = (M11 + M22) / 2 and turns by roll =
(M21 - M12) / 2. All are in % of the width per second; 1 degree per second of roll is 1.745.
"""

import numpy as np
from numpy.typing import NDArray

from mlst.pictures.frames import Frames, shared
from mlst.statistics import motion
from mlst.statistics.base import statistic

EVERY = 4
"""One in so many rows and columns of the flow is used: it is smooth, as its patches have 8 x 8 pixels."""
ROUNDS = 8
"""Times that the fit is weighted anew: moving objects have little say in the last."""
SPREAD = 2.0
"""Medians of the error at which a place has half a say (Cauchy's weights)."""
LEAST_ERROR = 0.05
"""Of these medians, % of the width per second: below it all places agree."""


@shared
def places(frames: Frames) -> NDArray[np.float64]:
    """(P, 3) 1, x and y of the places of `flows`, in widths from the middle of the picture."""
    height, width = motion.flow(frames).shape[1:3]
    y, x = np.mgrid[0:height:EVERY, 0:width:EVERY].astype(np.float64)
    flat = ((x - (width - 1) / 2) / width).ravel(), ((y - (height - 1) / 2) / width).ravel()
    return np.stack([np.ones(flat[0].size), *flat], axis=1)


@shared
def flows(frames: Frames) -> NDArray[np.float64]:
    """(G - 1, P, 2) flow at every `EVERY`-th row and column."""
    sparse = motion.flow(frames)[:, ::EVERY, ::EVERY].astype(np.float64)
    return sparse.reshape(len(sparse), -1, 2)


@shared
def fits(frames: Frames) -> NDArray[np.float64]:
    """(G - 1, 3, 2) affine velocity of every pair: that of the middle, then its change per width right and down."""
    return affine(places(frames), flows(frames))


def affine(places: NDArray[np.float64], flows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G, 3, 2) affine velocities of (G, P, 2) flows at (P, 3) places, by least squares, weighted anew in every round
    by Cauchy's function of the error."""
    x, y = (np.ascontiguousarray(flows[..., axis]) for axis in (0, 1))
    products = (places[:, :, None] * places[:, None]).reshape(-1, 9)
    weights = np.ones(x.shape)
    for _ in range(ROUNDS):
        normal = (weights @ products).reshape(-1, 3, 3)
        moments = np.stack([(weights * x) @ places, (weights * y) @ places], axis=2)
        fit = np.asarray(np.linalg.solve(normal, moments), np.float64)
        error = np.sqrt(np.square(x - fit[..., 0] @ places.T) + np.square(y - fit[..., 1] @ places.T))
        typical = np.maximum(LEAST_ERROR, np.array(motion.medians(error))[:, None])
        weights = 1 / (1 + np.square(error / (SPREAD * typical)))
    return fit


@statistic
def camera_x(frames: Frames) -> float:
    """Mean velocity of the scene to the right, % of the width per second."""
    return float(fits(frames)[:, 0, 0].mean())


@statistic
def camera_y(frames: Frames) -> float:
    """Mean velocity of the scene downwards, % of the width per second."""
    return float(fits(frames)[:, 0, 1].mean())


@statistic
def camera_zoom(frames: Frames) -> float:
    """Mean growth of the scene, % of the width per second; positive as it comes nearer."""
    return float((fits(frames)[:, 1, 0] + fits(frames)[:, 2, 1]).mean() / 2)


@statistic
def camera_roll(frames: Frames) -> float:
    """Mean turn of the scene, clockwise, % of the width per second one width from the middle."""
    return float((fits(frames)[:, 1, 1] - fits(frames)[:, 2, 0]).mean() / 2)


@statistic
def camera_speed(frames: Frames) -> float:
    """Mean speed over places and pairs by the camera's motion alone, % of the width per second."""
    return float(np.linalg.norm(places(frames) @ fits(frames), axis=2).mean())


@statistic
def camera_residual(frames: Frames) -> float:
    """Mean speed over places and pairs without the camera's motion, % of the width per second: objects, parallax."""
    return float(np.linalg.norm(flows(frames) - places(frames) @ fits(frames), axis=2).mean())


@statistic
def camera_shake(frames: Frames) -> float:
    """Mean change of the scene's velocity from pair to pair, % of the width per second; 0 for a single pair."""
    changes = np.diff(fits(frames)[:, 0], axis=0)
    return float(np.linalg.norm(changes, axis=1).mean()) if len(changes) else 0.0
