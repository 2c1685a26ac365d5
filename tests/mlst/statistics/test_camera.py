"""The camera's motion against moves whose size is known."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mlst.levels.flags import camera_only, shaky
from mlst.levels.levels import read_levels
from mlst.pictures.frames import Frames
from mlst.statistics import camera, measure
from tests.mlst.pictures.pictures import FULL, clip, codes, texture

LEVELS = read_levels("p910-240p-v1")
WIDE = texture(900, 1600, 3, sigma=6)
Move = tuple[float, float, float, float]
"""x, y, zoom, roll, % of the width per second."""


def view(place: Move) -> NDArray[Any]:
    """426 x 240 of the middle of a large texture that was moved, grown and turned by so many % of the view's width."""
    x, y, zoom, roll = place
    scale, angle = math.exp(zoom / 100), roll / 100
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([212.5, 119.5]) + np.array([x, y]) / 100 * 426
    matrix = np.hstack([turn, (middle - turn @ (800, 450))[:, None]])
    return codes(cv2.warpAffine(WIDE, matrix, (426, 240), flags=cv2.INTER_CUBIC).clip(0, 1), FULL)


def moved(move: Move, count: int = 13) -> Frames:
    """Views at 30 per second of a steady move, in the middle of which nothing is off centre."""
    times = [(i - (count - 1) / 2) / 30 for i in range(count)]
    return clip([view((move[0] * t, move[1] * t, move[2] * t, move[3] * t)) for t in times])


@pytest.mark.parametrize(
    "move",
    [(10, 0, 0, 0), (-30, 12, 0, 0), (0, -6, 0, 0), (0, 0, 10, 0), (0, 0, -25, 0), (0, 0, 0, 15), (8, -3, 12, 9)],
)
def test_a_move_has_its_size(move: Move) -> None:
    frames = moved(move)
    found = [f(frames) for f in (camera.camera_x, camera.camera_y, camera.camera_zoom, camera.camera_roll)]
    assert found == pytest.approx(move, rel=0.1, abs=0.3)
    assert camera.camera_residual(frames) < 0.1 * camera.camera_speed(frames)
    statistics = measure(frames)
    assert camera_only(statistics, LEVELS)
    assert not shaky(statistics, LEVELS)


def test_a_thing_that_moves_is_no_camera() -> None:
    """Before a still ground, and before one that the camera moves."""
    for ground in ((0.0, 0.0, 0.0, 0.0), (10.0, 0.0, 0.0, 0.0)):
        views = []
        for i in range(13):
            picture = view((ground[0] * i / 30, 0, 0, 0))
            picture[70:170, 40 + 6 * i : 190 + 6 * i] = codes(texture(100, 150, 9, sigma=5), FULL)
            views.append(picture)
        frames = clip(views)
        assert camera.camera_x(frames) == pytest.approx(ground[0], abs=1)
        assert not camera_only(measure(frames), LEVELS)


def test_a_shaking_camera() -> None:
    steps = np.random.default_rng(2).normal(0, 1.5, (5, 2))
    frames = clip([view((float(x), float(y), 0, 0)) for x, y in np.repeat(steps, 3, axis=0)])
    changes = np.diff(steps, n=2, axis=0) * 10
    assert camera.camera_shake(frames) == pytest.approx(np.linalg.norm(changes, axis=1).mean(), rel=0.1)
    assert shaky(measure(frames), LEVELS)


def test_what_was_not_measured_raises_no_flag() -> None:
    statistics = measure(moved((10, 0, 0, 0)), LEVELS.columns)
    assert statistics.camera_speed is None
    assert not camera_only(statistics, LEVELS)
    assert not shaky(statistics, LEVELS)


def test_the_fit_is_that_of_its_definition() -> None:
    """Pair by pair, with norms as NumPy has them."""
    frames = clip([codes(texture(240, 320, seed=9 + i), FULL) for i in range(7)], FULL)
    places, flows = camera.places(frames), camera.flows(frames)
    for flow, fit in zip(flows, camera.fits(frames), strict=True):
        weights = np.ones((len(places), 1))
        for _ in range(camera.ROUNDS):
            weighted = places * weights
            expected = np.linalg.solve(weighted.T @ places, weighted.T @ flow)
            error = np.linalg.norm(flow - places @ expected, axis=1, keepdims=True)
            least = max(camera.LEAST_ERROR, float(np.median(error)))
            weights = 1 / (1 + (error / (camera.SPREAD * least)) ** 2)
        assert fit == pytest.approx(expected, rel=1e-9, abs=1e-9)
