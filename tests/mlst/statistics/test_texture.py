"""Texture statistics against plain loops, scikit-image and OpenCV."""

import os
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.fft import dctn
from skimage.feature import graycomatrix, graycoprops

from mlst.statistics import audit, motion
from mlst.statistics import luma as lm
from mlst.statistics import texture as tx
from tests.mlst.pictures.pictures import FULL, clip, codes, texture


def noisy(seed: int, size: tuple[int, int] = (240, 320)) -> NDArray[np.uint8]:
    view = texture(*size, seed=seed) + np.random.default_rng(seed).uniform(-0.1, 0.1, size)
    return codes(view.clip(0, 1), FULL)


def looped_energy(block: NDArray[Any], size: int, low_pass: bool) -> tuple[int, int]:
    """Energy and DC of one block in Python integers, coefficient by coefficient, rows first."""
    values = [[int(v) for v in row] for row in block]
    side = size
    total = sum(map(sum, values))
    if low_pass:
        side = size // 2
        values = [
            [
                (
                    values[2 * r][2 * c]
                    + values[2 * r][2 * c + 1]
                    + values[2 * r + 1][2 * c]
                    + values[2 * r + 1][2 * c + 1]
                )
                // 4
                for c in range(side)
            ]
            for r in range(side)
        ]
    basis = [[int(v) for v in row] for row in tx.hevc_matrix(side)]
    bits = side.bit_length() - 1
    energy = dc = 0
    for u in range(side):
        for v in range(side):
            total2 = 0
            for r in range(side):
                first = sum(values[r][c] * basis[v][c] for c in range(side))
                first = (first + (1 << (bits - 2))) >> (bits - 1)
                total2 += first * basis[u][r]
            coefficient = (total2 + (1 << (bits + 5))) >> (bits + 6)
            dc = coefficient if u == v == 0 else dc
            weight = int(255 * np.exp((((u + 1) * (v + 1)) / size**2) ** 2 - 1))
            weight = {0: 0, 1: 27}.get(u + v, weight)
            energy += weight * abs(coefficient) // 256
    return (2 * energy, total >> {16: 1, 32: 3}[size]) if low_pass else (energy, dc)


@pytest.mark.parametrize(("size", "low_pass"), [(8, False), (16, False), (16, True), (32, True)])
def test_block_energies_equal_plain_loops(size: int, low_pass: bool) -> None:
    """Edges included: neither side is a multiple of the block, the last row and column repeat."""
    picture = noisy(4, (size + 5, 2 * size - 3))
    energies, dcs = tx.block_energies(picture[None], size, low_pass)
    padded = np.pad(picture, ((0, size - 5), (0, 3)), mode="edge")
    blocks = [padded[r : r + size, c : c + size] for r in (0, size) for c in (0, size)]
    expected = [looped_energy(block, size, low_pass) for block in blocks]
    assert list(zip(energies[0].tolist(), dcs[0].tolist(), strict=True)) == expected


@pytest.mark.parametrize("size", [8, 16, 32])
def test_transform_is_a_dct(size: int) -> None:
    """H.265's matrix is 64 sqrt(size) times the orthonormal DCT-II within its rounding."""
    exact = dctn(np.eye(size), type=2, norm="ortho", axes=[0]) * 64 * np.sqrt(size)
    assert np.abs(tx.hevc_matrix(size) - exact).max() < 1.5
    assert (tx.hevc_matrix(size) == np.rint(tx.hevc_matrix(size))).all()


FOREMAN_VCA = {
    (32, True): ([149, 149, 148, 148], [27.5511, 25.2503, 21.8732]),
    (32, False): ([117, 117, 116, 117], [17.0735, 16.5797, 14.6128]),
    (16, True): ([61, 60, 60, 59], [23.1799, 21.6148, 19.6947]),
    (8, False): ([22, 21, 21, 21], [12.3718, 11.5884, 10.1455]),
}


@pytest.mark.skipif("MLST_FOREMAN_Y4M" not in os.environ, reason="set MLST_FOREMAN_Y4M to siti-tools' foreman_cif.y4m")
@pytest.mark.parametrize(("size", "low_pass"), FOREMAN_VCA)
def test_energies_equal_vca(size: int, low_pass: bool) -> None:
    """What the VCA 2 binary prints for the first four frames: E and L cut to integers, h to four decimals."""
    with av.open(os.environ["MLST_FOREMAN_Y4M"]) as container:
        planes = [frame.to_ndarray()[:288] for frame in container.decode(video=0)][:4]
    energies, dcs = tx.block_energies(np.stack(planes), size, low_pass)
    e, h = FOREMAN_VCA[size, low_pass]
    assert [int(row.mean() / 90) for row in energies] == e
    assert np.abs(np.diff(energies, axis=0)).mean(axis=1) / 18 == pytest.approx(h, abs=6e-5)
    assert [int(np.floor(np.sqrt(row)).mean()) for row in dcs] == [141] * 4


def test_dct_columns() -> None:
    frames = clip([noisy(1), noisy(1), noisy(1), noisy(2)])
    first, second = (tx.block_energies(noisy(i)[None], 16, True)[0] for i in (1, 2))
    assert tx.dct_energy(frames) == pytest.approx((first.mean() + second.mean()) / 2 / 90)
    assert tx.dct_change(frames) == pytest.approx(np.abs(second - first).mean() / 18)


def test_cooccurrence_equals_scikit_image() -> None:
    frames = clip([noisy(1), noisy(1)])
    levels = frames.luma8[0] // 16
    both = graycomatrix(levels, [1], [0, np.pi / 2], levels=16, symmetric=True).sum(axis=3, keepdims=True)
    p = both / both.sum()
    assert np.allclose(tx.cooccurrence(frames)[0], p[:, :, 0, 0], atol=1e-12)
    assert tx.glcm_contrast(frames) == pytest.approx(graycoprops(p, "contrast")[0, 0])
    positive = p[p > 0]
    assert tx.glcm_entropy(frames) == pytest.approx(-(positive * np.log2(positive)).sum())


def test_laplacian_equals_opencv() -> None:
    frames = clip([noisy(1), noisy(1), noisy(1), noisy(2)])
    expected = [cv2.Laplacian(noisy(i).astype(np.float64), cv2.CV_64F)[1:-1, 1:-1].var() for i in (1, 2)]
    assert tx.laplacian_var(frames) == pytest.approx(np.mean(expected))


def test_gradient_equals_opencv() -> None:
    plane = noisy(1).astype(np.float64)
    magnitude = np.hypot(cv2.Sobel(plane, cv2.CV_64F, 1, 0), cv2.Sobel(plane, cv2.CV_64F, 0, 1))[1:-1, 1:-1]
    assert tx.gradient_mean(clip([noisy(1), noisy(1)])) == pytest.approx(magnitude.mean(), rel=1e-6)


def test_interpolation_error_equals_loops() -> None:
    plane = noisy(3)
    p = plane.astype(int).tolist()
    sums = [0.0, 0.0, 0.0]
    luma = 0
    for r in range(1, 239):
        for c in range(1, 319):
            left, right, above, below, here = p[r][c - 1], p[r][c + 1], p[r - 1][c], p[r + 1][c], p[r][c]
            sums[0] += abs(here - (left + right + above + below) / 4)
            sums[1] += abs(here - (left + right) / 2)
            sums[2] += abs(here - (above + below) / 2)
            luma += here
    assert tx.interpolation_error(clip([plane, plane])) == pytest.approx(sum(sums) / 3 / luma)


def test_even_texture_has_energy_but_little_spread() -> None:
    """What the second opinion is for: SI falls when texture fills the picture evenly, DCT energy does not."""
    even = np.random.default_rng(1).integers(64, 192, (240, 320)).astype(np.uint8)
    half = even.copy()
    half[:, 160:] = 128
    whole, part = clip([even, even]), clip([half, half])
    assert tx.dct_energy(whole) > 1.5 * tx.dct_energy(part)
    assert tx.gradient_mean(whole) > 1.5 * tx.gradient_mean(part)


@pytest.mark.parametrize("size", [(240, 320), (240, 960), (960, 240)])
def test_sums_over_pixels_are_those_of_plain_integers(size: tuple[int, int]) -> None:
    """Of noise and of the steepest edges, where sums are largest."""
    noise = np.random.default_rng(8).integers(0, 256, size).astype(np.uint8)
    chess = (np.indices(size).sum(axis=0) % 2 * 255).astype(np.uint8)
    frames = clip([noise, chess, noise[::-1], noise // 90, chess], FULL, Fraction(10))
    assert frames.luma.shape == (5, *size)
    luma = frames.luma.astype(np.int64)
    assert np.array_equal(lm.histogram(frames), [np.bincount(p.ravel(), minlength=256) for p in luma])
    assert np.array_equal(audit.brightness(frames), luma.sum(axis=(1, 2)) / luma[0].size)
    assert audit.black_ratio(frames) == np.mean((luma <= 25).mean(axis=(1, 2)) >= audit.BLACK_SHARE)
    spread = np.maximum(lm.moments(frames)[1:, 1], 1.0)
    assert motion.frame_difference(frames) == np.mean(np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2)) / spread)
    assert tx.interpolation_error(frames) == np.mean([plain_interpolation_error(p) for p in luma])


def plain_interpolation_error(picture: NDArray[np.int64]) -> float:
    here = picture[1:-1, 1:-1]
    across = picture[1:-1, :-2] + picture[1:-1, 2:]
    down = picture[:-2, 1:-1] + picture[2:, 1:-1]
    ends = np.abs(2 * here - across).sum() + np.abs(2 * here - down).sum()
    return float((np.abs(4 * here - across - down).sum() / 4 + ends / 2) / (3 * here.sum()))
