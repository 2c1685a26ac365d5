"""Texture of the grid frames: DCT energy, gradients, grey-level co-occurrence, interpolation error.

SI is the spread of gradients, not their amount: a picture filled evenly with fine texture has a lower SI than one
half filled. These columns say the rest.
"""

import math
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mlst.native import twin
from mlst.pictures.frames import Frames, counts, shared
from mlst.statistics import p910
from mlst.statistics.base import statistic

BLOCK = 16
"""Side of the blocks of `dct_energy` and `dct_change`."""
SHORT = 8
"""Points of the transform that low-pass blocks of 16 x 16 need."""
GREYS = 16
"""Grey levels of the co-occurrence matrix."""
# fmt: off
HEVC_COSINES = (
    64, 90, 90, 90, 89, 88, 87, 85, 83, 82, 80, 78, 75, 73, 70, 67,
    64, 61, 57, 54, 50, 46, 43, 38, 36, 31, 25, 22, 18, 13, 9, 4,
)
# fmt: on
"""ITU-T H.265, 8.6.4.2: entry k of the 32-point transform's first column, about 64 sqrt(2) cos(k pi / 64)."""


@cache
def hevc_matrix(size: int) -> NDArray[np.float64]:
    """(size, size) integer DCT-II of H.265 for 8, 16 or 32 points; row i is the basis function of frequency i."""
    table = np.array([*HEVC_COSINES, 0])
    k = (32 // size) * np.outer(np.arange(size), 2 * np.arange(size) + 1) % 128
    k = np.minimum(k, 128 - k)
    matrix = np.where(k > 32, -table[np.minimum(64 - k, 32)], table[np.minimum(k, 32)])
    matrix[0] = 64
    return matrix.astype(np.float64)


@cache
def vca_weights(size: int) -> NDArray[np.float64]:
    """(size, size) weights of VCA: floor(255 exp((ij / size^2)^2 - 1)), 1-based; 0 for DC, 27 for its neighbours."""
    index = np.arange(1, size + 1)
    weights: NDArray[np.float64] = np.floor(255 * np.exp((np.outer(index, index) / size**2) ** 2 - 1))
    weights[0, 0], weights[0, 1], weights[1, 0] = 0, 27, 27
    return weights


def block_energies(pictures: NDArray[np.uint8], size: int, low_pass: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """((N, K) energies, (N, K) DC coefficients) of the K `size` x `size` blocks of (N, H, W) pictures: whole numbers.

    The energy of Menon et al. 2022, VCA: Video Complexity Analyzer, as its version 2 computes it on 8-bit luma: the
    edge is padded by replication, the transform is that of H.265 with its rounding shifts, along rows first, and a
    block's energy is sum floor(weight |C| / 256). With `low_pass` (size 16 and 32) blocks are halved first by 2 x 2
    means, the transform is of half the size, and energies are doubled.
    """
    count, height, width = pictures.shape
    edges = ((0, 0), (0, -height % size), (0, -width % size))
    picture = (np.pad(pictures, edges, mode="edge") if height % size or width % size else pictures).astype(np.uint16)
    if low_pass:
        picture = picture[:, 0::2] + picture[:, 1::2]
        picture = picture[..., 0::2] + picture[..., 1::2]
    side = size // 2 if low_pass else size
    _, height, width = picture.shape
    blocks = picture.reshape(count, height // side, side, width // side, side).swapaxes(2, 3).reshape(-1, side, side)
    total = blocks.sum(axis=(1, 2), dtype=np.int64)
    coefficients = _hevc_transform(blocks >> 2 if low_pass else blocks)
    weighted = np.abs(coefficients) * (vca_weights(size)[:side, :side] / 256)
    energies = np.floor(weighted, out=weighted).reshape(count, -1, side * side).sum(axis=2)
    if low_pass:
        return 2 * energies, (total >> (1 if size == 16 else 3)).reshape(count, -1)
    return energies, coefficients[:, 0, 0].reshape(count, -1)


def _hevc_transform(blocks: NDArray[Any]) -> NDArray[Any]:
    """(K, S, S) coefficients of 8-bit blocks, frequencies of columns first: H.265's forward transform, transposed.

    All numbers are whole. With 8 points they and their sums stay below 255 * 512 / 4 * 512 + 256 < 2^24, and are exact
    in single precision.
    """
    side = blocks.shape[-1]
    shift = side.bit_length() - 1
    basis = hevc_matrix(side).T.astype(np.float32 if side == SHORT else np.float64)
    rows = blocks.reshape(-1, side).astype(basis.dtype) @ basis
    _shift(rows, shift - 1)
    columns: NDArray[Any] = np.ascontiguousarray(rows.reshape(blocks.shape).swapaxes(1, 2)).reshape(-1, side) @ basis
    _shift(columns, shift + 6)
    return columns.reshape(blocks.shape)


def _shift(values: NDArray[Any], bits: int) -> None:
    """Divide whole numbers by 2^bits, halves rounded upwards."""
    values += 2 ** (bits - 1)
    values *= 0.5**bits
    np.floor(values, out=values)


@twin
def energy_sums(pictures: NDArray[np.uint8]) -> tuple[int, int, int]:
    """(blocks of a picture, sum of energies, sum of their absolute changes from one picture to the next): of low-pass
    blocks of `BLOCK` x `BLOCK` of (N, H, W) pictures."""
    energies = block_energies(pictures, BLOCK, low_pass=True)[0]
    return energies.shape[1], int(energies.sum()), int(np.abs(np.diff(energies, axis=0)).sum())


@shared
def energies(frames: Frames) -> tuple[int, int, int]:
    """`energy_sums` of the grid frames."""
    return energy_sums(frames.luma8)


@statistic
def dct_energy(frames: Frames) -> float:
    """VCA's E: mean block energy / 90, not truncated to an integer. 16 x 16 blocks, low-pass."""
    blocks, total, _ = energies(frames)
    return total / (blocks * len(frames.grid)) / 90


@statistic
def dct_change(frames: Frames) -> float:
    """VCA's h: mean absolute change of block energy between grid neighbours / 18."""
    blocks, _, change = energies(frames)
    return change / (blocks * len(frames.intervals)) / 18


@statistic
def gradient_mean(frames: Frames) -> float:
    """Mean magnitude of the Sobel gradient, on the scale of `si`."""
    return float(p910.spatial(frames)[:, 1].mean())


@statistic
def laplacian_var(frames: Frames) -> float:
    """Mean variance of the Laplacian: sharpness, very sensitive to coding."""
    return float(np.mean([_variance(*laplacian_sums(picture)) for picture in frames.luma8]))


def _variance(pixels: int, total: int, squares: int) -> float:
    """The square of the standard deviation that OpenCV gives."""
    if not pixels:
        return 0.0
    mean = total * (1 / pixels)
    return math.sqrt(max(0.0, squares * (1 / pixels) - mean * mean)) ** 2


@twin
def laplacian_sums(picture: NDArray[np.uint8]) -> tuple[int, int, int]:
    """(pixels, sum, sum of squares) of the Laplacian (4 neighbours) inside an (H, W) picture, without the border."""
    inner = _inner(cv2.Laplacian(picture, cv2.CV_16S)).astype(np.float64)
    return inner.size, int(inner.sum()), int(np.vdot(inner, inner))


@shared
def cooccurrence(frames: Frames) -> NDArray[np.float64]:
    """(G, GREYS, GREYS) symmetric frequencies of grey levels at right and lower neighbours."""
    matrices = []
    for picture in frames.luma8:
        matrix = np.frombuffer(neighbours(picture), np.int64).reshape(GREYS, GREYS)
        matrices.append((matrix + matrix.T) / (2 * matrix.sum()))
    return np.stack(matrices)


@twin
def neighbours(picture: NDArray[np.uint8]) -> bytes:
    """The memory of (GREYS, GREYS) int64: how often a pixel of some grey has one of another to its right or below."""
    grey = picture // (256 // GREYS)
    rows = grey * GREYS
    pairs = rows[:, :-1] | grey[:, 1:], rows[:-1] | grey[1:]
    return sum(map(counts, pairs), np.zeros(GREYS**2, np.int64)).tobytes()


@statistic
def glcm_contrast(frames: Frames) -> float:
    """Haralick's contrast: mean squared difference of neighbouring grey levels, of 16."""
    level = np.arange(GREYS)
    return float((cooccurrence(frames) * (level[:, None] - level) ** 2).sum(axis=(1, 2)).mean())


@statistic
def glcm_entropy(frames: Frames) -> float:
    """Entropy of the co-occurrence matrix in bits, 0 to 8: how widely luma spreads."""
    p = cooccurrence(frames)
    return float(-(p * np.log2(np.where(p > 0, p, 1))).sum(axis=(1, 2)).mean())


@statistic
def interpolation_error(frames: Frames) -> float:
    """Mean of three errors of predicting a pixel from its neighbours (all four, left and right, above and below).

    Each is a sum of absolute errors over the sum of luma: WebRTC's spatial prediction errors (`content_analysis`).
    """
    errors = []
    for picture in frames.luma8:
        all_four, across, down, total = prediction_errors(picture)
        errors.append((all_four / 4 + (across + down) / 2) / (3 * max(1.0, total)))
    return float(np.mean(errors))


@twin
def prediction_errors(picture: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Sums over the inside of an (H, W) picture: the magnitudes of four times the error from all four neighbours, of
    twice those from left and right and from above and below; luma."""
    bends = (
        cv2.Laplacian(picture, cv2.CV_16S),
        *(cv2.Sobel(picture, cv2.CV_16S, *axes, ksize=1) for axes in ((2, 0), (0, 2))),
    )
    all_four, across, down = (_sum(_inner(bend)) for bend in bends)
    return all_four, across, down, _sum(_inner(picture))


def _inner(values: NDArray[Any]) -> NDArray[Any]:
    return values[1:-1, 1:-1]


def _sum(values: NDArray[Any]) -> int:
    """Sum of absolute values of an (H, W) array of integers."""
    return int(cv2.norm(values, cv2.NORM_L1)) if values.size else 0
