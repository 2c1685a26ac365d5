"""Predicted videos beside the true ones."""

from typing import Any

import numpy as np


def beside(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Two films (T, C, H, W) as one (T, H, W', 3), a white line between them."""
    films = [np.repeat(film, 3 // film.shape[1], axis=1).transpose(0, 2, 3, 1) for film in (left, right)]
    line = np.full((*films[0].shape[:2], 4, 3), 255, np.uint8)
    return np.concatenate([films[0], line, films[1]], axis=2)
