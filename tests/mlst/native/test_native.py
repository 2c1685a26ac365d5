"""Kernels and their plain functions give the same, and what kernels do not take is left to the plain function."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import collection.scan.stage  # noqa: F401 - everything that has twins
from collection.detectors.features import Gram, Small
from collection.detectors.traces import SIZE, Traces
from mlst import native
from mlst.native import USED, compiled, plain
from mlst.pictures import scaling
from mlst.registry import Registry
from mlst.statistics import p910

pytestmark = pytest.mark.skipif(not USED, reason="no compiled kernels here")

Draw = np.random.Generator
SHAPES = ((1, 1), (5, 2), (3, 4), (6, 5000), (37, 3), (64, 65), (90, 160))


def codes(draw: Draw, shape: tuple[int, ...]) -> Any:
    """Bytes, often in a larger array, so that rows lie apart: noise, combed noise, few codes, extremes, one code."""
    padded = draw.integers(0, 256, (*shape[:-1], shape[-1] + 7), np.uint8)
    kind = draw.integers(5)
    if kind == 1:
        padded[..., ::2, :] = padded[..., ::2, :] // 8 + 100
        padded[..., 1::2, :] = padded[..., 1::2, :] // 8 + 60
    if kind == 4:
        padded[:] = padded[..., :1, :1]
    elif kind > 1:
        padded = padded // 64 + 100 if kind == 2 else padded // 128 * np.uint8(255)
    return padded[..., : shape[-1]] if draw.integers(2) else padded[..., : shape[-1]].copy()


def scaled(draw: Draw, shape: tuple[int, int]) -> tuple[Any, tuple[int, ...], p910.Scale]:
    """Pictures of a clip, which of them, and a scale."""
    scale = (p910.legacy, p910.pq)[int(draw.integers(2))](8, bool(draw.integers(2)))
    return codes(draw, (4, *shape)), ((0, 1, 2, 3), (3, 0, 0), (2,), ())[int(draw.integers(4))], scale


def gradient_arguments(draw: Draw, shape: tuple[int, int]) -> tuple[Any, ...]:
    pictures, places, scale = scaled(draw, shape)
    return pictures, places, scale.table, scale.fraction_bits


def change_arguments(draw: Draw, shape: tuple[int, int]) -> tuple[Any, ...]:
    pictures, places, scale = scaled(draw, shape)
    return pictures, places, scale.table


def bar_arguments(draw: Draw, shape: tuple[int, int]) -> tuple[Any, ...]:
    """A picture that is mostly dark up to some row, and what a beginning is."""
    height, width = shape
    likely = np.where(np.arange(height) < draw.integers(0, height + 1), draw.choice([0, 0.02, 0.3]), 0.8)
    lit = draw.random((height, width + 3)) < likely[:, None]
    return lit[:, :width], width // 2, int(draw.integers(1, height + 1)), int(draw.integers(1, 12))


def rows(draw: Draw, shape: tuple[int, int]) -> tuple[Any, ...]:
    """Bytes with signs, pairs of places of their rows, and room for as many products."""
    some, others = draw.integers(0, shape[0], (2, 9))
    return codes(draw, (shape[0], min(shape[1], 864))).view(np.int8), some, others, np.zeros(9)


def numbers(draw: Draw, shape: tuple[int, int]) -> Any:
    """Singles or doubles of many sizes, or few different ones."""
    kind = (np.float32, np.float64)[int(draw.integers(2))]
    values = draw.normal(0, 1, (shape[0], shape[1] + 3)) * 10.0 ** draw.integers(-30, 30)
    return (np.round(draw.normal(0, 2, values.shape)) if draw.integers(2) else values).astype(kind)[:, : shape[1]]


def kept(draw: Draw, shape: tuple[int, int]) -> tuple[Any, ...]:
    """Frames to measure, the last one, and what is kept of those around them: a mix of two, as in a dissolve."""
    n = int(draw.integers(40, 120))
    ends, share = codes(draw, (2, 36, 64)).astype(float), np.clip(draw.normal(0, 0.7, n), 0, 1)[:, None, None]
    lumas, chroma = np.uint8(ends[0] * share + ends[1] * (1 - share)), codes(draw, (18, 32))
    gram = Gram(86)
    traces = Traces(gram)
    for luma in lumas:
        gram.push(Small(luma, chroma, chroma))
        traces.push(luma)
    frames = np.sort(draw.integers(max(0, n - 53), n - 32, min(16, shape[0])))
    return frames, n - 1, traces._products, gram.rows, gram.squares, np.zeros((len(frames), SIZE))


def scaling_arguments(draw: Draw, _: tuple[int, int]) -> tuple[Any, ...]:
    """Room for a plane in another size, the plane, and the filters between them."""
    height, width, rows, columns = map(int, draw.integers(40, (200, 900, 200, 200)))
    made, down = np.zeros((rows, columns), np.uint8), scaling._filter(height, rows, scaling.DOWN)
    return made, codes(draw, (height, width)), *scaling._lanes(width, columns), down.firsts, down.weights


ARGUMENTS: Mapping[str, Callable[[Draw, tuple[int, int]], tuple[Any, ...]]] = {
    "apart_in_histogram": lambda draw, shape: (codes(draw, shape), codes(draw, shape)),
    "beginning": bar_arguments,
    "changes": change_arguments,
    "combed": lambda draw, shape: (codes(draw, (shape[0] + 4, shape[1] + 1)), int(draw.integers(1, 20)), 8),
    "differing": lambda draw, shape: (codes(draw, shape), codes(draw, shape)),
    "energy_sums": lambda draw, shape: (codes(draw, (3, *shape)),),
    "extremes": lambda draw, shape: (codes(draw, shape),),
    "fill_scaled": scaling_arguments,
    "find_edges": lambda draw, _: (codes(draw, (36, 64)), np.zeros(36 * 64, np.int8)),
    "gradients": gradient_arguments,
    "laplacian_sums": lambda draw, shape: (codes(draw, shape),),
    "medians": lambda draw, shape: (numbers(draw, shape),),
    "measure": kept,
    "multiply": rows,
    "neighbours": lambda draw, shape: (codes(draw, (shape[0] + 1, shape[1] + 1)),),
    "outside": lambda draw, shape: (codes(draw, shape)[::2], 16, 235),
    "prediction_errors": lambda draw, shape: (codes(draw, shape),),
    "summarise": lambda draw, _: (
        codes(draw, (36, 64)),
        codes(draw, (18, 32)),
        codes(draw, (18, 32)),
        np.zeros(864, np.int8),
    ),
    "tally": lambda draw, shape: (codes(draw, shape),),
}
"""For every twin, arguments about a picture of some size."""


def alike(one: Any, other: Any) -> bool:
    """Whether two results are of the same types, shapes and values."""
    if isinstance(one, tuple):
        return type(other) is tuple and len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and bool(np.array_equal(one, other))
    return type(one) is type(other) and bool(one == other)


def test_every_twin_is_tested() -> None:
    assert set(ARGUMENTS) == set(plain)


RUN = sorted(ARGUMENTS.keys() - (set() if scaling.COMPILED else {"fill_scaled"}))


@pytest.mark.parametrize("name", RUN)
def test_a_kernel_gives_what_the_plain_function_gives(name: str) -> None:
    draw = np.random.default_rng(len(name))
    for shape in (*SHAPES, *SHAPES, *SHAPES, *SHAPES):
        arguments = ARGUMENTS[name](draw, shape)
        theirs = tuple(value.copy() if isinstance(value, np.ndarray) else value for value in arguments)
        expected, found = plain[name](*theirs), getattr(compiled, name)(*arguments)
        assert alike(found, expected), (shape, found, expected)
        assert alike(theirs, arguments), shape


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_what_a_kernel_does_not_take(name: str) -> None:
    def without_density(value: Any) -> Any:
        return np.repeat(value, 2, axis=-1)[..., ::2] if isinstance(value, np.ndarray) else value

    def wider(value: Any) -> Any:
        return value.astype(np.uint32) if isinstance(value, np.ndarray) else value

    arguments = ARGUMENTS[name](np.random.default_rng(0), (6, 50))
    for change in (without_density, wider):
        assert getattr(compiled, name)(*map(change, arguments)) is None


@pytest.mark.skipif(not scaling.COMPILED, reason="no kernel for this CPU")
@pytest.mark.parametrize(("table", "change"), [(2, 40), (2, -40), (5, 40), (5, -40)])
def test_filters_that_lead_outside_the_plane_are_not_taken(table: int, change: int) -> None:
    made, plane = np.zeros((30, 50), np.uint8), np.zeros((40, 60), np.uint8)
    down = scaling._filter(40, 30, scaling.DOWN)
    arguments = [made, plane, *scaling._lanes(60, 50), down.firsts, down.weights]
    assert compiled.fill_scaled(*arguments) == 30
    arguments[table] = arguments[table] + np.int32(change)
    assert compiled.fill_scaled(*arguments) is None


@pytest.mark.skipif(not scaling.COMPILED, reason="no kernel for this CPU")
def test_a_libswscale_that_rounds_otherwise_scales_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, size = np.random.default_rng(0).integers(0, 256, (90, 122), np.uint8), (41, 67)
    expected = scaling.scaled(plane, size[1], size[0])
    right = scaling._filter(90, 41, scaling.DOWN)
    wrong = scaling.Filter(right.firsts, right.weights[:, ::-1].copy())
    monkeypatch.setattr(scaling, "_filter", lambda *_: wrong)
    scaling._agree.cache_clear()
    try:
        assert np.array_equal(scaling.scaled(plane, size[1], size[0]), expected)
    finally:
        scaling._agree.cache_clear()


@pytest.mark.parametrize("scale", [p910.legacy(8, True), p910.pq(8, False)])
def test_sums_of_the_largest_picture(scale: p910.Scale) -> None:
    """All edges are as steep as they can be: no sum may leave its type."""
    y, x = np.indices((540, 960))
    picture = ((x // 2 + y // 2) % 2 * 255).astype(np.uint8)
    clip, table, bits = np.stack([picture, 255 - picture]), scale.table, scale.fraction_bits
    assert compiled.gradients(clip, (0, 1), table, bits) == plain["gradients"](clip, (0, 1), table, bits)
    assert compiled.changes(clip, (0, 1), table) == plain["changes"](clip, (0, 1), table)
    larger = np.zeros((1, 541, 1024), np.uint8)
    assert compiled.gradients(larger, (0,), table, bits) is compiled.changes(larger, (0,), table) is None


def test_a_module_that_is_older_than_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    def later(value: int) -> int:
        return value + 1

    monkeypatch.setattr(native, "plain", Registry("function with a compiled twin"))
    assert native.twin(later)(1) == 2


def test_kernels_can_be_left_out() -> None:
    code = "import mlst.native, collection.scan.stage; print(mlst.native.USED)"
    environment = os.environ | {"MLST_NATIVE": "0"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert shown.stdout == "False\n"
