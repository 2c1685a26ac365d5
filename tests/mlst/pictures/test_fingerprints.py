"""The same footage is linked, other footage is not."""

from collections import defaultdict
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mlst.pictures import fingerprints
from mlst.pictures.fingerprints import Fingerprints, fingerprint, link, same_footage
from tests.mlst.pictures.pictures import LIMITED, clip, codes, texture


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


def test_a_frame_is_hashed_on_its_own() -> None:
    """Whatever is hashed with it: a clip is found again cut elsewhere."""
    views = [*scene(1, 2), np.zeros((270, 480)), *scene(2, 2), np.full((270, 480), 0.4)]
    lumas = clip([codes(v.clip(0, 1), LIMITED) for v in views], LIMITED, Fraction(10)).luma8
    alone = [fingerprints._of_frames([luma]) for luma in lumas]
    assert [bool(hashes.any()) for hashes in alone] == [True, True, False, True, True, False]
    assert np.array_equal(fingerprints._of_frames(list(lumas)), np.concatenate(alone))


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


def related(count: int, looks: int, seed: int) -> list[str]:
    """Fingerprints of 0 to 16 frames, some left out, more than half of them variants of one of `looks` frames."""
    rng = np.random.default_rng(seed)
    known = rng.integers(0, 2**64, (looks, 3, 3), dtype=np.uint64)
    prints = []
    for _ in range(count):
        hashes = rng.integers(0, 2**64, (rng.integers(0, 17), 3, 3), dtype=np.uint64)
        for frame in (hashes[n] for n in np.flatnonzero(rng.random(len(hashes)) < 0.6)):
            frame[:] = known[rng.integers(looks)]
            for bit in rng.integers(0, 192, rng.integers(0, 45)):
                frame[:, bit // 64] ^= np.uint64(1 << (bit % 64))
        hashes[rng.random(len(hashes)) < 0.1] = 0
        hashes[rng.random(hashes.shape) < 0.02] &= np.uint64(0xFFFFFFFF)
        hashes[rng.random(hashes.shape[:2]) < 0.05] = 0
        prints.append(written(hashes))
    return prints


def linked_plainly(prints: list[str]) -> list[tuple[int, int]]:
    """`link` without arrays: a table of who has which band of a hash."""
    crowds = defaultdict(set)
    for clip_, text in enumerate(prints):
        for at in range(0, len(text), 48):
            for band in range(6) if int(text[at : at + 48], 16) else ():
                crowds[band, text[at + 8 * band : at + 8 * band + 8]].add(clip_)
    pairs = set()
    for crowd in map(sorted, crowds.values()):
        near = fingerprints.NEIGHBOURS if len(crowd) > fingerprints.CROWD else len(crowd)
        pairs |= {(one, other) for n, one in enumerate(crowd) for other in crowd[n + 1 : n + 1 + near]}
    return sorted((i, j) for i, j in pairs if same_footage(prints[i], prints[j]))


@pytest.mark.parametrize(("looks", "crowd"), [(4, 64), (4, 10), (20, 64)])
def test_links_however_much_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch, looks: int, crowd: int) -> None:
    monkeypatch.setattr(fingerprints, "CROWD", crowd)
    prints = related(80, looks, seed=looks)
    pairs = linked_plainly(prints)
    assert len(pairs) > 20
    assert link(prints) == pairs
    monkeypatch.setattr(fingerprints, "CHUNK", 16)
    monkeypatch.setattr(fingerprints, "PAIRS", 7)
    assert link(prints) == pairs


def near(hashes: NDArray[np.uint64], bands: set[int]) -> NDArray[np.uint64]:
    """The same frames, the largest squares one bit off in each of `bands`, the smaller ones unlike."""
    changed = np.random.default_rng(int(hashes[0, 0, 0] % 1000)).integers(0, 2**64, hashes.shape, dtype=np.uint64)
    changed[:, 0] = hashes[:, 0]
    for band in bands:
        changed[:, 0, band // 2] ^= np.uint64(1 << (32 * (1 - band % 2)))
    return changed


def written(hashes: NDArray[np.uint64]) -> str:
    return hashes.astype(">u8").tobytes().hex()


@pytest.mark.parametrize("band", range(6))
def test_one_common_band_is_enough(band: int) -> None:
    """Whatever its value, 0 too."""
    rng = np.random.default_rng(band)
    for trial in range(20):
        hashes = rng.integers(0, 2**64, (2, 3, 3), dtype=np.uint64)
        if trial == 0:
            hashes[:, 0, band // 2] &= np.uint64(0xFFFF_FFFF << (32 * (band % 2)))
        assert link([written(hashes), written(near(hashes, {*range(6)} - {band}))]) == [(0, 1)]


def test_no_common_band_is_not_looked_at() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, (2, 3, 3), dtype=np.uint64)
    other = near(hashes, {*range(6)})
    hashes[:, 2], other[:, 2] = 0, 0  # flat squares are nothing in common
    assert same_footage(written(hashes), written(other))
    assert link([written(hashes), written(other)]) == []


def test_links_among_some(tmp_path: Path) -> None:
    """Of some clips in another order, as of those alone."""
    prints = related(200, 20, seed=2)
    with (tmp_path / "prints").open("w+b") as file:
        known = Fingerprints(file)
        for count, text in enumerate(prints):
            known.add(text)
            if count == 100:
                assert list(known.links(range(100))) == link(prints[:100])
        for numbers in ([*range(200)], [*range(150, 20, -2)], [7], []):
            assert list(known.links(numbers)) == link([prints[n] for n in numbers])


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


def test_cost_grows_with_clips_not_with_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5000 unrelated fingerprints, 12 million pairs, hardly any are compared."""
    compared = []
    same = fingerprints._same
    monkeypatch.setattr(fingerprints, "_same", lambda a, b: compared.append(len(a)) or same(a, b))
    rng = np.random.default_rng(0)
    assert link([rng.bytes(10 * 3 * 24).hex() for _ in range(5000)]) == []
    assert 0 < sum(compared) < 100
