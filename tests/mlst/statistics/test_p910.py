"""SI and TI against siti-tools, published vectors, and a float64 transcription of the definition."""

import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from siti_tools.siti import ColorRange, SiTiCalculator

from mlst.pictures.frames import PictureFormat
from mlst.statistics import p910
from tests.mlst.pictures.pictures import codes, texture

FORMATS = [PictureFormat(depth, full, Fraction(1)) for depth in (8, 10) for full in (True, False)]


def si(plane: NDArray[Any], scale: p910.Scale) -> float:
    sums = p910.spatial_sums(p910.looked_up(plane, scale.table), scale.fraction_bits)
    return p910.deviation(*sums, scale.fraction_bits) * scale.unit


def ti(plane: NDArray[Any], previous: NDArray[Any], scale: p910.Scale) -> float:
    return (
        p910.deviation(*p910.temporal_sums(p910.looked_up(plane, scale.table), p910.looked_up(previous, scale.table)))
        * scale.unit
    )


def fresh(fmt: PictureFormat, seed: int, size: tuple[int, int] = (90, 161)) -> list[NDArray[Any]]:
    """Frames of smooth texture, an edge and noise, with the ends of the nominal range in them."""
    frames = []
    for n in range(3):
        view = texture(*size, seed=seed + n) * 0.8
        view[:, size[1] // 2 :] *= 0.4
        view += np.random.default_rng(seed + n).uniform(0, 0.05, size)
        view[0, 0], view[0, 1] = 0, 1
        frames.append(codes(view.clip(0, 1), fmt))
    return frames


@pytest.mark.parametrize(
    ("top", "few", "bits"),
    [(3, np.uint8, 23), (255, np.uint8, 23), (2**20, np.float32, 0), (2**24, np.float64, 10)],
    ids=["two bits", "bytes", "singles", "doubles"],
)
@pytest.mark.parametrize("size", [(3, 3), (2, 5), (240, 426), (960, 240)])
def test_sums_are_those_of_whole_numbers(size: tuple[int, int], top: int, few: type, bits: int) -> None:
    """In Python's integers, and the steepest edges among them."""
    draw, wide = np.random.default_rng(top), np.float64 if few is np.float64 else np.float32
    stripes = np.broadcast_to(np.arange(size[1]) // 2 % 2 * top, size)
    for one, other in ((draw.integers(0, top + 1, size), draw.integers(0, top + 1, size)), (stripes, top - stripes)):
        n, total, squares = p910.temporal_sums(one.astype(few), other.astype(few))
        assert (n, total, squares) == (
            one.size,
            int((one - other).sum()),
            sum(v * v for v in (one - other).ravel().tolist()),
        )
        x, y = (ndimage.sobel(one, axis)[1:-1, 1:-1].astype(wide) for axis in (1, 0))
        gradients = x * x + y * y
        magnitudes = np.sqrt(gradients)
        rounded = [round(m * 2**bits) for m in magnitudes.ravel().tolist()]
        expected = (gradients.size, sum(rounded), sum(map(int, gradients.ravel().tolist())))
        assert p910.spatial_sums(one.astype(few), bits) == (expected if min(size) > 2 else (1, 0, 0))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("seed", [1, 20, 300])
def test_equals_siti_tools(fmt: PictureFormat, seed: int) -> None:
    frames = fresh(fmt, seed)
    oracle = SiTiCalculator(color_range=ColorRange.FULL if fmt.full_range else ColorRange.LIMITED, bit_depth=fmt.depth)
    normal = [oracle.normalize_between_0_1(f.astype(np.float64)) for f in frames]
    bright = [oracle.oetf_pq(oracle.apply_display_model(f)) for f in normal]
    for scale, views in (
        (p910.legacy(fmt.depth, fmt.full_range), normal),
        (p910.pq(fmt.depth, fmt.full_range), bright),
    ):
        for frame, view in zip(frames, views, strict=True):
            assert si(frame, scale) == pytest.approx(255 * oracle.si(view), rel=1e-6)
        for i in (1, 2):
            expected = 255 * oracle.ti(views[i], views[i - 1])
            assert ti(frames[i], frames[i - 1], scale) == pytest.approx(expected, rel=1e-6)


def test_equals_siti_tools_on_a_file(tmp_path: Path) -> None:
    """siti-tools reading, ranging and measuring by itself."""
    frames = fresh(PictureFormat(8, True, Fraction(1)), 7, (96, 128))
    header, grey = b"YUV4MPEG2 W128 H96 F25:1 Ip A1:1 C420jpeg\n", bytes([128]) * (64 * 48 * 2)
    (tmp_path / "x.y4m").write_bytes(header + b"".join(b"FRAME\n" + f.tobytes() + grey for f in frames))
    for legacy, scale in ((True, p910.legacy(8, True)), (False, p910.pq(8, True))):
        sis, tis, _ = SiTiCalculator(color_range=ColorRange.FULL, legacy=legacy).calculate(str(tmp_path / "x.y4m"))
        assert [si(f, scale) for f in frames] == pytest.approx(sis, rel=1e-6)
        assert [ti(b, a, scale) for a, b in pairwise(frames)] == pytest.approx(tis, rel=1e-6)


@pytest.mark.parametrize("fmt", [*FORMATS, PictureFormat(16, True, Fraction(1))], ids=str)
def test_equals_definition_in_floating_point(fmt: PictureFormat) -> None:
    """Also with codes outside the nominal range, which siti-tools refuses, and at 16 bits, where sums are long."""
    rng = np.random.default_rng(5)
    lo, hi = fmt.nominal
    a, b = (rng.integers(0, 1 << fmt.depth, (50, 71)).astype(np.uint16 if fmt.depth > 8 else np.uint8) for _ in "ab")
    x, y = ((f.astype(np.float64).clip(lo, hi) - lo) * (255 / (hi - lo)) for f in (a, b))
    magnitude = np.hypot(ndimage.sobel(x, axis=0), ndimage.sobel(x, axis=1))[1:-1, 1:-1]
    scale = p910.legacy(fmt.depth, fmt.full_range)
    assert si(a, scale) == pytest.approx(magnitude.std(), rel=1e-8)
    assert ti(b, a, scale) == pytest.approx((y - x).std(), rel=1e-8)


def checkerboard(square: int, low: int, high: int) -> NDArray[np.uint16]:
    row, column = np.indices((240, 320)) // square
    return np.where((row + column) % 2, low, high).astype(np.uint16 if high > 255 else np.uint8)


@pytest.mark.parametrize(
    ("plane", "scale", "expected"),
    [
        (np.full((240, 320), 16, np.uint8), p910.pq(8, False), 0.0),
        (np.full((240, 320), 235, np.uint8), p910.pq(8, False), 0.0),
        (checkerboard(1, 16, 235), p910.pq(8, False), 0.0),
        (checkerboard(32, 16, 235), p910.pq(8, True), 154.778),
        (checkerboard(32, 64, 940), p910.pq(10, False), 178.7397),
    ],
    ids=["black", "white", "checkerboard-1x1", "checkerboard-8x8", "checkerboard-8x8-10bpp-limited"],
)
def test_published_synthetic_vectors(plane: NDArray[Any], scale: p910.Scale, expected: float) -> None:
    """siti-tools, test/ground_truth, as far as its sources are plain to make: 8 x 8 means squares of 32 pixels."""
    assert si(plane, scale) == pytest.approx(expected, abs=5e-4)


FOREMAN_SI = (
    79.4786357, 79.2626152, 79.1876112, 79.4498538, 79.2055513,
    79.1684545, 79.1756636, 79.3929465, 79.3260679, 79.5760529,
)  # fmt: skip
FOREMAN_TI = (
    10.5255888, 10.8826671, 10.2756103, 10.1085028, 8.8858161, 8.1406202, 9.2365286, 10.9907667, 10.6903621,
)  # fmt: skip
FOREMAN_SI_PQ = {0: 39.3424988, 1: 39.2287249, 2: 39.2242604, 3: 39.4584811, 4: 39.2122678, 9: 39.5038198}
FOREMAN_TI_PQ = {1: 5.0065956, 2: 5.2911718, 3: 5.0803877, 4: 4.8537777, 5: 4.2200065, 9: 4.7700243}


@pytest.mark.skipif("MLST_FOREMAN_Y4M" not in os.environ, reason="set MLST_FOREMAN_Y4M to siti-tools' foreman_cif.y4m")
def test_published_vectors_of_foreman() -> None:
    """siti-tools, test/ground_truth/foreman_cif.json and foreman_cif-legacy.json, ten frames, full range."""
    with av.open(os.environ["MLST_FOREMAN_Y4M"]) as container:
        planes = [frame.to_ndarray()[:288] for frame in container.decode(video=0)]
    legacy, pq = p910.legacy(8, True), p910.pq(8, True)
    assert [si(plane, legacy) for plane in planes] == pytest.approx(FOREMAN_SI, abs=1e-6)
    assert [ti(b, a, legacy) for a, b in pairwise(planes)] == pytest.approx(FOREMAN_TI, abs=1e-6)
    assert {i: si(planes[i], pq) for i in FOREMAN_SI_PQ} == pytest.approx(FOREMAN_SI_PQ, rel=1e-6)
    assert {i: ti(planes[i], planes[i - 1], pq) for i in FOREMAN_TI_PQ} == pytest.approx(FOREMAN_TI_PQ, rel=1e-6)


def test_sums_beyond_53_bits_are_exact() -> None:
    rows = np.full((3, 700), 2.0**53 - 1)
    rows[0, 0] = 3
    exact = sum(int(v) for v in rows.ravel())
    assert p910._exact(rows) == exact != int(rows.sum())


def test_order_of_summation_does_not_matter() -> None:
    """The same numbers from the picture turned over, in both scales."""
    plane = fresh(FORMATS[0], 3)[0]
    for scale in (p910.legacy(8, True), p910.pq(8, True)):
        for turned in (plane[:, ::-1], plane[::-1], plane.T):
            assert si(np.ascontiguousarray(turned), scale) == si(plane, scale)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (9, 2), (3, 3)])
def test_no_inside_no_gradient(size: tuple[int, int]) -> None:
    plane = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    assert si(plane, p910.legacy(8, True)) == 0
