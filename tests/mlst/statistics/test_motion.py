"""Optical flow of known motion."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from mlst.statistics import motion
from tests.mlst.pictures.pictures import FULL, clip, codes, pan, texture


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("rate", [24, 30])
def test_pan_has_its_speed(step: float, rate: int) -> None:
    """`step` of 426 pixels per frame; a pan is camera motion, hardly anything is left."""
    frames = clip([codes(v, FULL) for v in pan(240, 426, step, sigma=8)], rate=Fraction(rate))
    truth = 100 * step * rate / 426
    assert motion.flow_camera(frames) == pytest.approx(truth, rel=0.02)
    assert motion.flow_median(frames) == pytest.approx(truth, rel=0.02)
    assert motion.flow_mean(frames) == pytest.approx(truth, rel=0.03)
    assert motion.flow_residual(frames) < 0.08 * truth
    x, y = motion.camera(frames).mean(axis=0)
    assert x == pytest.approx(-truth, rel=0.04)
    assert abs(y) < 0.02 * truth


def test_object_is_not_camera() -> None:
    """A quarter of the picture moves before a fixed background."""
    still = codes(texture(240, 426, 5, sigma=6), FULL)
    views = []
    for moving in pan(120, 213, 2.0, seed=9, sigma=6):
        view = still.copy()
        view[60:180, 106:319] = codes(moving, FULL)
        views.append(view)
    frames = clip(views)
    truth = 100 * 2.0 * 30 / 426
    assert motion.flow_camera(frames) < 0.05 * truth
    assert motion.flow_residual(frames) == pytest.approx(truth / 4, rel=0.25)
    assert motion.flow_p95(frames) == pytest.approx(truth, rel=0.1)


def test_zoom_is_no_translation() -> None:
    wide = texture(480, 852, 3, sigma=8)
    views = []
    for i in range(13):
        matrix = cv2.getRotationMatrix2D((426, 240), 0, 1 + 0.01 * i)
        views.append(codes(cv2.warpAffine(wide, matrix, (852, 480))[120:360, 213:639].clip(0, 1), FULL))
    frames = clip(views)
    assert motion.flow_camera(frames) < 0.2 * motion.flow_mean(frames)
    assert motion.flow_residual(frames) == pytest.approx(motion.flow_mean(frames), rel=0.1)


def test_flicker_is_not_motion() -> None:
    """A change of brightness has TI-like difference but no flow to speak of."""
    view = texture(240, 426, 3, sigma=6) * 0.6
    flicker = clip([codes(view + 0.1 * ((i // 3) % 2), FULL) for i in range(13)])
    moving = clip([codes(v, FULL) for v in pan(240, 426, 3, sigma=6)])
    assert motion.frame_difference(flicker) > 0.3
    assert motion.flow_mean(flicker) < 0.1 * motion.flow_mean(moving)


def test_still_and_flat_pictures_do_not_move() -> None:
    view = codes(texture(240, 426, 3), FULL)
    assert motion.flow_mean(clip([view] * 7)) < 0.05
    noise = np.random.default_rng(0).integers(16, 18, (7, 240, 426)).astype(np.uint8)
    assert motion.flow_mean(clip(list(noise))) == 0


def test_frame_difference_equals_definition() -> None:
    planes = [codes(texture(240, 320, seed), FULL) for seed in (1, 1, 1, 2, 2, 2, 3)]
    a, b, c = (planes[i].astype(float) for i in (0, 3, 6))
    expected = (np.abs(b - a).mean() / b.std() + np.abs(c - b).mean() / c.std()) / 2
    assert motion.frame_difference(clip(planes)) == pytest.approx(expected)


@pytest.mark.parametrize("size", [(240, 960), (427, 240), (100, 1000)])
def test_flow_of_any_aspect(size: tuple[int, int]) -> None:
    frames = clip([codes(v, FULL) for v in pan(*size, 4, sigma=8)])
    assert motion.flow_camera(frames) == pytest.approx(100 * 4 * 30 / size[1], rel=0.1)
