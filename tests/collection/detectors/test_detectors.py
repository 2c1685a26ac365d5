"""One contract for every registered detector, and PySceneDetect's own reader as the judge of its adapter."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import scenedetect

from benchmarks.shot_scores import evaluate
from collection.detectors import Thumb, detector, features, make_detector, options_of, thumb
from collection.detectors.thumbs import expansion
from mlst.pictures.frames import Picture, PictureFormat
from mlst.records import Transition
from tests.splices import (
    CLIPS,
    HEIGHT,
    RATE,
    TUNING,
    WIDTH,
    Footage,
    Frames,
    Recipe,
    Splice,
    black_frames,
    decoded,
    detect,
    encode,
    load,
    planes,
    same_scene,
    splice,
    thumbs,
)
from tests.splices.joins import JOINS, Join

PEERS = {
    "content": scenedetect.ContentDetector,
    "adaptive": scenedetect.AdaptiveDetector,
    "hash": scenedetect.HashDetector,
    "histogram": scenedetect.HistogramDetector,
    "threshold": scenedetect.ThresholdDetector,
}
EVERY = [name for name in detector if "transnet" not in name]
FIND_CUTS = [name for name in EVERY if name != "threshold"]
RATE_OF_VIDEO = Fraction(RATE)


@pytest.fixture(scope="module")
def shots() -> list[Frames]:
    """Short single shots: a still street, an orbiting camera, talking faces, an animated meadow."""
    return [load(Footage(f.file, f.start, min(f.end, f.start + 100))) for f in (TUNING[0], *TUNING[2:6])]


@pytest.fixture(scope="module")
def cuts(shots: list[Frames]) -> Splice:
    return splice(shots, Recipe(transitions=8, kinds=(("cut", 1.0),), distractors=0, shortest=30, longest=50), seed=5)


@pytest.fixture(scope="module")
def mixed(shots: list[Frames]) -> Splice:
    return splice(shots, Recipe(transitions=10, shortest=30, longest=50), seed=3)


def pan(frame: Frames, n: int) -> Frames:
    """n frames of a picture that moves one pixel each to the left, its mirror image following."""
    y, u, v = planes(frame)
    columns = np.arange(WIDTH // 2)

    def moved(plane: Frames, by: float, scale: int) -> Frames:
        at = (np.arange(columns.size * scale) + round(by)) % (2 * plane.shape[1])
        return plane[:, np.where(at < plane.shape[1], at, 2 * plane.shape[1] - 1 - at)]

    shifted = [(moved(y, i, 2), moved(u, i / 2, 1), moved(v, i / 2, 1)) for i in range(n)]
    return np.stack([np.concatenate([p.reshape(-1, WIDTH) for p in parts]) for parts in shifted])


@pytest.mark.parametrize("name", FIND_CUTS)
def test_cuts_are_found_at_their_exact_frames(name: str, cuts: Splice) -> None:
    found = detect(name, thumbs(cuts.frames))
    assert set(found) <= set(cuts.transitions)
    assert len(found) >= (8 if name == "mlst" else 6)


@pytest.mark.parametrize("name", EVERY)
def test_frames_count_from_the_first_one_pushed(name: str, cuts: Splice) -> None:
    part = cuts.frames[:120]
    shifted = [Transition(t.kind, t.start + 1000, t.end + 1000) for t in detect(name, thumbs(part))]
    assert detect(name, thumbs(part, first=1000)) == shifted


@pytest.mark.parametrize("name", EVERY)
def test_a_still_and_a_slow_pan_are_one_shot(name: str, shots: list[Frames]) -> None:
    assert detect(name, thumbs(np.repeat(shots[0][:1], 60, axis=0))) == []
    assert detect(name, thumbs(pan(shots[0][0], 100))) == []


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_frames(name: str, n: int, shots: list[Frames]) -> None:
    assert detect(name, thumbs(shots[0][:n])) == []


@pytest.mark.parametrize("name", FIND_CUTS)
def test_two_frames_of_two_shots(name: str, shots: list[Frames]) -> None:
    two = np.stack([shots[0][0], shots[3][0]])
    assert len(detect(name, thumbs(two))) <= 1
    assert detect("mlst", thumbs(two)) == [Transition("cut", 1, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_transitions_are_ordered_timely_and_the_same_every_time(name: str, mixed: Splice) -> None:
    detector = make_detector(name, {}, RATE_OF_VIDEO)
    found: list[Transition] = []
    for seen in thumbs(mixed.frames):
        for transition in detector.push(seen):
            assert seen.index <= transition.start + detector.delay
            found.append(transition)
    found += detector.finish()
    assert found
    assert all(0 <= t.start <= t.end <= len(mixed.frames) for t in found)
    assert all((t.kind == "cut") == (t.start == t.end) for t in found)
    assert all(a.end <= b.start and a != b for a, b in pairwise(found))
    assert found == detect(name, thumbs(mixed.frames))


def stored(frames: Frames, depth: int, full_range: bool) -> list[Thumb]:
    """Thumbs of the same content in another bit depth or range."""
    top = 2**depth - 1
    pictures = []
    for i, parts in enumerate(zip(*planes(frames), strict=True)):
        y, u, v = (plane.astype(np.float64) for plane in parts)
        if full_range:
            y, u, v = (
                (y - 16) * top / 219,
                (u - 128) * top / 224 + 2 ** (depth - 1),
                (v - 128) * top / 224 + 2 ** (depth - 1),
            )
        else:
            y, u, v = (p * 2 ** (depth - 8) for p in (y, u, v))
        kind = np.uint8 if depth == 8 else np.uint16
        y, u, v = (np.clip(np.rint(p), 0, top).astype(kind) for p in (y, u, v))
        pictures.append(thumb(Picture(i, i, y, u, v), PictureFormat(depth, full_range, Fraction(1))))
    return pictures


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_bit_depth_and_range_change_nothing(name: str, mixed: Splice) -> None:
    frames = mixed.frames[:240]
    plain = detect(name, stored(frames, 8, False))
    assert plain
    for depth, full_range in ((10, False), (8, True), (10, True)):
        other = detect(name, stored(frames, depth, full_range))
        assert [t.kind for t in other] == [t.kind for t in plain]
        assert all(abs(a.start - b.start) + abs(a.end - b.end) <= 1 for a, b in zip(other, plain, strict=True))


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("full_range", [False, True])
def test_thumbs_do_not_depend_on_bit_depth_and_range(depth: int, full_range: bool, shots: list[Frames]) -> None:
    (plain,) = thumbs(shots[1][:1])
    (other,) = stored(shots[1][:1], depth, full_range)
    pairs = ((plain.y, other.y, 2), (plain.u, other.u, 2), (plain.v, other.v, 2), (plain.bgr(), other.bgr(), 4))
    for a, b, codes in pairs:
        assert a.shape == b.shape
        assert a.dtype == b.dtype == np.uint8
        assert int(np.abs(a.astype(int) - b).max()) <= codes


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (50, 66), (1080, 1919), (640, 360)])
def test_thumbs_of_any_size(size: tuple[int, int]) -> None:
    height, width = size
    y = np.full(size, 235, np.uint8)
    chroma = np.full(((height + 1) // 2, (width + 1) // 2), 128, np.uint8)
    made = thumb(Picture(0, 0, y, chroma, chroma), PictureFormat(8, False, Fraction(1)))
    assert made.y.shape == (36, 64)
    assert made.u.shape == made.v.shape == (18, 32)
    assert made.y.min() == made.bgr().min() == 255
    assert max(made.bgr().shape) <= 256


@pytest.fixture(scope="module")
def files(cuts: Splice, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A splice with fades at constant and at variable frame rate, and the excerpt of a film."""
    folder = tmp_path_factory.mktemp("splices")
    dark = black_frames(20)
    frames = np.concatenate([cuts.frames[:220], dark, cuts.frames[220:]])
    steps = np.random.default_rng(1).choice([1, 1, 2, 3], len(frames))
    encode(frames, folder / "constant.mp4", crf=28)
    encode(frames, folder / "variable.mp4", crf=28, pts=[int(t) * 3000 for t in np.cumsum(steps)])
    return {
        "constant": folder / "constant.mp4",
        "variable": folder / "variable.mp4",
        "film": CLIPS / "sintel_trailer_10s_854x480.mp4",
    }


@pytest.mark.slow
@pytest.mark.parametrize("which", ["constant", "variable", "film"])
@pytest.mark.parametrize("name", sorted(PEERS))
def test_the_adapter_cuts_where_pyscenedetect_does(name: str, which: str, files: dict[str, Path]) -> None:
    with av.open(str(files[which])) as container:
        stream = container.streams.video[0]
        times = np.array(sorted(float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None))
    times -= times[0]
    theirs = [scene[0].seconds for scene in scenedetect.detect(str(files[which]), PEERS[name]())][1:]
    ours = detect(name, decoded(files[which]))
    split = [t.start if t.kind == "cut" else t.start + round((t.end - t.start) / 2) for t in ours]
    expected = [int(np.abs(times - t).argmin()) for t in theirs]
    if name == "threshold" and which == "variable":
        # They halve the time of a dark run, we its number of frames.
        assert len(split) == len(expected) > 0
        assert all(t.start <= e <= t.end for t, e in zip(ours, expected, strict=True))
    else:
        # libswscale truncates where we round: about one code darker, which may move the middle of a fade by a frame.
        assert len(split) == len(expected)
        assert all(abs(s - e) <= (1 if which == "film" else 0) for s, e in zip(split, expected, strict=True))


@pytest.mark.slow
def test_variable_frame_rate_changes_no_frame_number(files: dict[str, Path]) -> None:
    for name in EVERY:
        constant, variable = detect(name, decoded(files["constant"])), detect(name, decoded(files["variable"]))
        assert [t.kind for t in constant] == [t.kind for t in variable]
        assert all(abs(a.start - b.start) <= 1 for a, b in zip(constant, variable, strict=True))


@pytest.mark.parametrize("name", ["adaptive", "content", "hash", "histogram"])
def test_mlst_is_the_best_on_mixed_transitions(name: str, mixed: Splice) -> None:
    seen = list(thumbs(mixed.frames))
    f1 = {n: evaluate(mixed.transitions, detect(n, seen), len(seen), 1).overall.f1 for n in ("mlst", name)}
    assert f1["mlst"] >= 0.95
    assert f1["mlst"] > f1[name]


class TestMlst:
    """What only our own detector promises."""

    def test_kinds_and_extent(self, mixed: Splice) -> None:
        found = detect("mlst", thumbs(mixed.frames))
        assert [t.kind for t in found] == [t.kind for t in mixed.transitions]
        assert {t.kind for t in found} == {"cut", "dissolve", "fade"}
        for a, b in zip(found, mixed.transitions, strict=True):
            assert abs(a.start - b.start) <= 3
            assert abs(a.end - b.end) <= 3

    @pytest.mark.parametrize("length", [1, 2, 3])
    def test_a_flash_is_no_transition(self, length: int, shots: list[Frames]) -> None:
        frames = shots[1][:60].copy()
        frames[30 : 30 + length, :HEIGHT] = 225
        assert detect("mlst", thumbs(frames)) == []

    def test_a_picture_that_shows_through_for_a_moment_is_no_transition(self, shots: list[Frames]) -> None:
        weight = np.concatenate([np.zeros(30), np.linspace(0.2, 1, 5), np.linspace(0.8, 0.2, 4), np.zeros(30)])
        mixed = shots[0][:1] * (1 - weight[:, None, None]) + shots[3][:1] * weight[:, None, None]
        assert detect("mlst", thumbs(np.rint(mixed).astype(np.uint8))) == []

    @pytest.mark.parametrize("speed", [2, 4])
    def test_a_pan_over_a_soft_picture_is_no_dissolve(self, speed: int) -> None:
        meadow = load(Footage("bbb_opening_30s_854x480.mp4", 290, 291))[0]
        assert detect("mlst", thumbs(pan(meadow, 60 * speed)[::speed])) == []

    def test_a_shot_as_short_as_five_frames_is_found(self, shots: list[Frames]) -> None:
        frames = np.concatenate([shots[0][:30], shots[1][:5], shots[3][:30]])
        assert [(t.kind, t.start) for t in detect("mlst", thumbs(frames))] == [("cut", 30), ("cut", 35)]

    def test_a_lamp_that_goes_on_is_no_transition(self, shots: list[Frames]) -> None:
        frames = shots[0][:80].copy()
        frames[40:, :HEIGHT] = np.clip((frames[40:, :HEIGHT].astype(float) - 16) * 1.5 + 16, 16, 235)
        assert detect("mlst", thumbs(frames)) == []

    def test_black_at_the_beginning_and_end(self, shots: list[Frames]) -> None:
        frames = np.concatenate([black_frames(5), shots[0][:60], black_frames(5)])
        assert detect("mlst", thumbs(frames)) == [Transition("fade", 0, 5), Transition("fade", 65, 70)]

    def test_long_black_is_a_shot_between_two_fades(self, shots: list[Frames]) -> None:
        frames = np.concatenate([shots[0][:60], black_frames(200), shots[1][:60]])
        assert detect("mlst", thumbs(frames)) == [Transition("fade", 60, 61), Transition("fade", 259, 260)]

    def test_black_throughout_has_no_transition(self) -> None:
        assert detect("mlst", thumbs(black_frames(10))) == []
        assert detect("mlst", thumbs(black_frames(100))) == []

    def test_a_dissolve_at_60_frames_per_second_may_last_as_long(self, shots: list[Frames]) -> None:
        weight = (np.arange(1, 61) / 61)[:, None, None]
        old, new = np.repeat(shots[0][:1], 140, axis=0), np.repeat(shots[3][:1], 140, axis=0)
        middle = np.rint(old[:60] * (1 - weight) + new[:60] * weight).astype(np.uint8)
        frames = np.concatenate([old, middle, new])
        detector = make_detector("mlst", {}, Fraction(60000, 1001))
        (found,) = [t for seen in thumbs(frames) for t in detector.push(seen)] + detector.finish()
        assert found.kind == "dissolve"
        assert 0 <= 140 - found.start <= 8
        assert 0 <= found.end - 200 <= 8


@pytest.mark.parametrize("name", ["wipe", "iris", "clock", "push", "slide", "zoom"])
def test_wipes_and_moves_are_wipes(name: str, shots: list[Frames]) -> None:
    assert_found(JOINS[name], shots, 16)


@pytest.mark.parametrize("name", ["fade to white", "fade to a colour", "dip to white", "dissolve", "eased dissolve"])
def test_fades_of_any_colour_and_dissolves_of_any_shape(name: str, shots: list[Frames]) -> None:
    assert_found(JOINS[name], shots, 14)


def assert_found(join: Join, shots: list[Frames], length: int) -> None:
    """The detector finds just this transition between two shots, under its name."""
    old, new = shots[0][:80], shots[3][:80]
    middle = join.mix(old[40 : 40 + length], new[:length], np.random.default_rng(3))
    frames = np.concatenate([old[:40], middle, new[length : length + 40]])
    (found,) = detect("mlst", thumbs(frames))
    assert found.kind == join.kind
    assert abs(found.start - 40) <= 4
    assert abs(found.end - 40 - length) <= 4


def test_cuts_between_views_of_one_scene(shots: list[Frames]) -> None:
    """Two faces before the same wall: brightness and large shapes stay, edges do not."""
    made = [same_scene(shot, 6, seed=4) for shot in (shots[0], shots[1])]
    found = [detect("mlst", thumbs(one.frames)) for one in made]
    scores = [evaluate(one.transitions, hits, len(one.frames), 0).cut for one, hits in zip(made, found, strict=True)]
    assert [score.false for score in scores] == [0, 0]
    assert sum(score.hits for score in scores) >= 11


def test_a_cut_under_lettering_that_stays(shots: list[Frames]) -> None:
    """The edges of a counter burnt into both shots stay where they are; those behind it do not."""
    frames = np.concatenate([shots[0][:30], shots[1][:30]])
    rows, columns = np.indices((64, 160)) // 8
    frames[:, 58:122, 80:240] = np.where((rows + columns) % 2, 235, 16)
    assert detect("mlst", thumbs(frames)) == [Transition("cut", 30, 30)]


def test_a_lamp_leaves_the_edges_where_they_were(shots: list[Frames]) -> None:
    lit = [frame.copy() for frame in shots[1][:40]]
    for frame in lit[20:]:
        frame[:HEIGHT] = 16 + (frame[:HEIGHT].astype(int) - 16) * 2 // 5
    before, after = (next(thumbs(frame[None])).y for frame in (lit[19], lit[20]))
    assert features.detail(before, after) > 0.9
    assert detect("mlst", thumbs(np.stack(lit))) == []


def test_a_leap_within_one_take_is_a_cut(shots: list[Frames]) -> None:
    """A camera that goes round a thing is elsewhere at once; where it only stands still in between, nothing is cut."""
    take = shots[0]
    assert detect("mlst", thumbs(np.concatenate([take[:20], take[80:100]]))) == [Transition("cut", 20, 20)]
    assert detect("mlst", thumbs(np.concatenate([take[:20], np.repeat(take[20:21], 12, axis=0), take[32:60]]))) == []


def test_light_changes_all_pixels_in_one_direction(shots: list[Frames]) -> None:
    a, later = (next(thumbs(shots[1][at : at + 1])).y for at in (0, 60))
    assert features.coherence(a, (a * 0.7).astype(np.uint8)) > 0.99
    assert features.coherence(a, later) < 0.6
    assert features.coherence(a, a) == 0.0


def test_unknown_detectors_and_options_name_the_choices() -> None:
    with pytest.raises(ValueError, match="unknown detector 'contnt'; choices are adaptive, content, hash"):
        make_detector("contnt", {}, RATE_OF_VIDEO)
    with pytest.raises(ValueError, match=r"unknown option 'treshold'.*threshold = 27\.0, min_scene_len = 15"):
        make_detector("content", {"treshold": 20.0}, RATE_OF_VIDEO)


@pytest.mark.parametrize("value", ["15", True, 1.5, -1])
def test_options_of_the_wrong_type_or_range(value: object) -> None:
    with pytest.raises(ValueError, match="min_scene_len"):
        make_detector("content", {"min_scene_len": value}, RATE_OF_VIDEO)  # type: ignore[dict-item]


@pytest.mark.parametrize("name", EVERY)
def test_every_option_is_used_and_documented(name: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "shots.md").read_text(encoding="utf-8")
    defaults = options_of(name)
    assert make_detector(name, defaults, RATE_OF_VIDEO)
    assert all(f"`{key}`" in text for key in defaults)


def test_whole_numbers_do_for_fractional_options(cuts: Splice) -> None:
    assert detect("content", thumbs(cuts.frames[:100]), threshold=27) == detect("content", thumbs(cuts.frames[:100]))
    assert detect("content", thumbs(cuts.frames[:100]), threshold=255) == []


@pytest.mark.parametrize("full_range", [False, True])
def test_thumbs_are_expanded_code_by_code(full_range: bool) -> None:
    luma = np.arange(36 * 64).astype(np.uint8).reshape(36, 64)
    chroma = luma[:18, :32]
    seen = thumb(Picture(0, 0, luma, chroma, chroma), PictureFormat(8, full_range, Fraction(1)))
    assert np.array_equal(seen.y, expansion(8, full_range, False)[luma])
    assert np.array_equal(seen.v, expansion(8, full_range, True)[chroma])
