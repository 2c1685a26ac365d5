"""The same footage is linked, other footage is not."""

from fractions import Fraction
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mlst import fingerprints
from mlst.fingerprints import fingerprint, link, same_footage
from tests.mlst.pictures import LIMITED, clip, codes, texture


@cache
def scene(seed: int, count: int = 40, size: tuple[int, int] = (270, 480)) -> list[NDArray[Any]]:
    """A slow camera over blobs of many sizes, with an object that crosses; nothing of it recurs at another seed."""
    height, width = size
    wide = np.zeros((height, width + count))
    for k, fine in enumerate((1, 3, 8)):
        part = texture(height * fine // 8 + 1, (width + count) * fine // 8 + 1, seed + 1000 * k, sigma=6)
        wide += cv2.resize(part, (width + count, height), interpolation=cv2.INTER_CUBIC) / 3
    views = []
    for i in range(count):
        view = wide[:, i : i + width].clip(0, 1)
        cv2.circle(view, (width // 4 + 4 * i, height // 2), height // 9, (seed % 5) / 5, -1)
        views.append(0.15 + 0.7 * view)
    return views


def of(views: list[NDArray[Any]], start: int = 0, count: int = 30) -> str:
    """The fingerprint of a clip of `count` frames at 30 Hz, made of its grid frames alone."""
    return fingerprint(
        clip([codes(v.clip(0, 1), LIMITED) for v in views[start : start + count : 3]], LIMITED, Fraction(10))
    )


def compressed(view: NDArray[Any], quality: int) -> NDArray[Any]:
    coded = cv2.imencode(".jpg", np.rint(view.clip(0, 1) * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ]
    return cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE) / 255


def cropped(view: NDArray[Any], rows: float, columns: float) -> NDArray[Any]:
    height, width = view.shape
    top, left = round(height * (1 - rows) / 2), round(width * (1 - columns) / 2)
    return view[top : height - top, left : width - left]


CHANGES = {
    "half size, strong compression": lambda v: compressed(cv2.resize(v, (240, 135), interpolation=cv2.INTER_AREA), 20),
    "larger": lambda v: cv2.resize(v, (854, 480), interpolation=cv2.INTER_CUBIC),
    "letterbox": lambda v: np.pad(v, ((50, 50), (0, 0))),
    "pillarbox": lambda v: np.pad(v, ((0, 0), (90, 90))),
    "centre crop to 4:3": lambda v: cropped(v, 1, 0.75),
    "centre crop to a square": lambda v: cropped(v, 1, 9 / 16),
    "crop 5 %": lambda v: cropped(v, 0.95, 0.95),
    "crop 10 %": lambda v: cropped(v, 0.9, 0.9),
    "crop to wide screen": lambda v: cropped(v, 0.8, 1),
    "contrast": lambda v: 0.85 * v + 0.05,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", [1, 2])
def test_same_footage_after(change: str, seed: int) -> None:
    views = scene(seed)
    assert same_footage(of(views), of([CHANGES[change](v) for v in views]))


@pytest.mark.parametrize("start", [1, 7, 10])
def test_same_footage_cut_elsewhere(start: int) -> None:
    views = scene(3)
    assert same_footage(of(views, 0), of(views, start))


def test_same_footage_at_another_rate() -> None:
    planes = [codes(v, LIMITED) for v in scene(3)]
    slow, fast = (clip(planes[: 15 * k : k], LIMITED, Fraction(30, k)) for k in (2, 1))
    assert len(slow.grid) == 8
    assert same_footage(fingerprint(slow), fingerprint(fast))


def test_other_footage_is_told_apart() -> None:
    prints = [of(scene(seed)) for seed in range(14)]
    assert link(prints) == []
    assert not any(same_footage(prints[0], other) for other in prints[1:])


def card(text: str, ground: int, ink: int) -> list[NDArray[Any]]:
    view = np.full((360, 640), 255 * ground, np.uint8)
    cv2.putText(view, text, (60, 190), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 255 * ink, 5)
    return [view / 255] * 30


def test_black_and_title_cards_match_nothing() -> None:
    for views in (
        [np.zeros((360, 640))] * 30,
        [np.full((360, 640), 0.5)] * 30,
        card("The End", 0, 1),
        card("Act", 1, 0),
    ):
        print_ = of(views)
        assert not same_footage(print_, print_)
        assert set(print_) == {"0"}


def test_form() -> None:
    """48 hex digits per window and frame, 10 frames of 1 s; a long clip has no more than 16."""
    views = scene(1)
    assert len(of(views)) == 10 * 3 * 48
    assert len(of(views * 3, count=120)) == 16 * 3 * 48
    assert of(views) == of(views)


def test_link_finds_what_pairwise_comparison_finds() -> None:
    prints = []
    for seed in range(6):
        views = scene(seed)
        prints += [of(views), of(views, 9), of([compressed(cropped(v, 0.92, 0.92), 30) for v in views])]
    n = len(prints)
    expected = [(i, j) for i in range(n) for j in range(i + 1, n) if same_footage(prints[i], prints[j])]
    assert {i // 3 for i, _ in expected} == set(range(6))
    assert all(i // 3 == j // 3 for i, j in expected)
    assert link(prints) == expected


def test_link_of_few() -> None:
    assert link([]) == []
    assert link([of(scene(1))]) == []


def test_link_connects_a_crowd() -> None:
    """Far more copies than `CROWD`: one component, and not all pairs."""
    print_ = of(scene(1))
    pairs = link([print_] * 400)
    reached = {0}
    for i, j in pairs:
        if i in reached:
            reached.add(j)
    assert len(reached) == 400
    assert len(pairs) < 400 * fingerprints.NEIGHBOURS + 1


def test_cost_grows_with_clips_not_with_pairs() -> None:
    """Of 5000 unrelated fingerprints, 12 million pairs, hardly any are compared."""
    rng = np.random.default_rng(0)
    hashes = [fingerprints._decoded(rng.bytes(10 * 3 * 24).hex()) for _ in range(5000)]
    assert sum(map(len, fingerprints._candidates(hashes))) < 5000
