"""Drawn shots: flat colours, outlines, shapes that move. Cartoons have no noise and little texture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.splices.pictures import HEIGHT, WIDTH, Frames

Bgr = NDArray[np.uint8]


def drawing(seed: int, length: int) -> Frames:
    """One drawn shot: a sky, hills and three to six characters before a camera that drifts; (T, 270, 320)."""
    rng = np.random.default_rng(seed)
    sky, ground, hill = (rng.integers(60, 256, 3) for _ in range(3))
    ridge = HEIGHT * (0.6 + 0.15 * np.sin(np.arange(WIDTH * 2) / rng.uniform(20, 80) + rng.uniform(0, 6)))
    figures = [_figure(rng) for _ in range(int(rng.integers(3, 7)))]
    drift = float(rng.uniform(-0.6, 0.6))
    made = []
    for t in range(length):
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        picture[:] = sky
        left = WIDTH / 2 + drift * t * (1 if drift * length < WIDTH / 2 else 0)
        shore = [(x, int(ridge[int(np.clip(x + left, 0, 2 * WIDTH - 1))])) for x in range(0, WIDTH + 8, 8)]
        outline = np.array([*shore, (WIDTH, HEIGHT), (0, HEIGHT)], np.int32)
        cv2.fillPoly(picture, [outline], [int(c) for c in ground])
        cv2.polylines(picture, [outline], True, [int(c) for c in hill], 2, cv2.LINE_AA)
        for figure in figures:
            _draw(picture, figure, t)
        made.append(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420))
    return np.stack(made)


def _figure(rng: np.random.Generator) -> NDArray[np.float64]:
    """(13,): place, size, amplitude and period of its walk, colour, kind, phase."""
    place, size = rng.uniform((0, 60), (WIDTH, 170)), rng.uniform(12, 48, 2)
    walk = rng.uniform((5, 2, 30, 15), (40, 15, 90, 40))
    return np.concatenate([place, size, walk, rng.integers(0, 256, 3), rng.uniform(0, 2, 2)])


def _draw(picture: Bgr, figure: NDArray[np.float64], t: int) -> None:
    x, y, width, height, right, up, slow, quick, *colour, kind, phase = (float(f) for f in figure)
    x += right * np.sin(2 * np.pi * (t / slow + phase))
    y += up * np.sin(2 * np.pi * (t / quick + phase))
    centre, size = (round(x), round(y)), (round(width), round(height))
    for thickness, ink in ((cv2.FILLED, colour), (2, [20.0, 20.0, 20.0])):
        if kind < 1:
            cv2.ellipse(picture, centre, size, 0, 0, 360, ink, thickness, cv2.LINE_AA)
        else:
            corner = (centre[0] + size[0], centre[1] + size[1])
            cv2.rectangle(picture, (centre[0] - size[0], centre[1] - size[1]), corner, ink, thickness)
    cv2.circle(picture, (centre[0] - size[0] // 3, centre[1] - size[1] // 3), 4, (255, 255, 255), cv2.FILLED)
    cv2.circle(picture, (centre[0] + size[0] // 3, centre[1] - size[1] // 3), 4, (255, 255, 255), cv2.FILLED)
