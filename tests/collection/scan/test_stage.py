"""One decode per video; every clip holds exactly the frames its record names, and none of a transition."""

import hashlib
import io
import shutil
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection.engine.ledger import Ledger
from collection.engine.stage import attempt
from collection.media import decode
from collection.media.probe import probe
from collection.recipe import Limits, ScanSettings
from collection.report.status import Line, times
from collection.scan import cutter as cutting
from collection.scan import stage as scanning
from collection.scan.cutter import ClipFrame, Cutter, Made
from collection.scan.stage import ScanStage, merged, stride_for
from collection.workspace.folder import Workspace
from mlst.records import FIRST, OPEN_END, Clip, Scan, Shot, Transition, Upstream, Video
from mlst.records import decode as read_record
from mlst.records import encode as write_record
from tests.odd_media import TABLE, counted_from, field_pictures, joined, sparse, thinned, without_box
from tests.synthetic import (
    WHOLE,
    Array,
    Region,
    Spec,
    burn,
    counted,
    cuts,
    damaged,
    flat,
    letterboxed,
    noise,
    packed,
    pan,
    read_counter,
    scenes,
    spoiled_reference,
    texture,
    truncated,
    write,
)

NOWHERE = Upstream("file", "", "", "", "", "", "", "", "", "", 0, 0.0, 0, "", "")
SMALL: dict[str, Any] = {"size": 96, "length": 10, "step": 12, "margin": 2}


def settings(**changes: Any) -> ScanSettings:
    return ScanSettings(**{**SMALL, **changes})


def video(
    file: Path, start: Fraction = Fraction(0), end: Fraction = OPEN_END, origin: Fraction | None = None
) -> Video:
    """As fetch would give it: the source's clock begins at the first frame unless told otherwise."""
    facts = probe(file, Limits())
    zero = facts.first_pts * facts.time_base if origin is None else origin
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Video("source", start, end, file.name, file.stat().st_size, sha256, zero, facts, NOWHERE)


def scanned(item: Video, folder: Path, recipe: ScanSettings) -> tuple[Scan, bytes]:
    outcome = attempt(ScanStage(recipe, "brightest", FIRST), item, Workspace(folder, "scan"))
    assert outcome.status == "done", (outcome.kind, outcome.detail)
    (result,) = outcome.outputs
    return result, (folder / result.file).read_bytes()


def pictures(clip: Clip, blob: bytes) -> list[Array]:
    """The luma of a clip's frames."""
    data = blob[clip.offset : clip.offset + clip.size]
    assert hashlib.sha256(data).hexdigest() == clip.sha256
    with av.open(io.BytesIO(data)) as media:
        return [f.to_ndarray()[: f.height] for f in media.decode(video=0)]


def counters(clip: Clip, blob: bytes, region: Region = WHOLE) -> list[int]:
    return [read_counter(luma, region) for luma in pictures(clip, blob)]


def shown(file: Path) -> list[int]:
    """Pts of every frame, by plain libav."""
    with av.open(str(file)) as media:
        return [frame.pts for frame in media.decode(video=0)]


VARIANTS = {
    "25.mp4": Spec(),
    "23976.mp4": Spec(rate=Fraction(24000, 1001)),
    "2997.mkv": Spec(rate=Fraction(30000, 1001)),
    "5994.mp4": Spec(frames=96, rate=Fraction(60000, 1001)),
    "120.mp4": Spec(frames=192, rate=Fraction(120)),
    "variable.mp4": Spec(times=tuple(k * 40 + (k * k * 7) % 19 for k in range(48))),
    "b-frames.mp4": Spec(options={"bf": "3", "preset": "fast"}),
    "edit-list.mp4": Spec(frames=58, first=-10, options={"bf": "2", "preset": "fast"}),
    "late.ts": Spec(first=125),
    "turned.mp4": Spec(rotation=90),
    "mirrored.mp4": Spec(mirrored=True, rotation=270),
    "odd-444.mp4": Spec(width=321, height=241, pix_fmt="yuv444p"),
    "10-bit.mp4": Spec(pix_fmt="yuv420p10le"),
    "wide-pixels.mp4": Spec(sar=Fraction(16, 11)),
    "interlaced.mp4": Spec(interlaced=True),
    "grey.mp4": Spec(pix_fmt="gray"),
    "full-range.mp4": Spec(full_range=True),
    "vp9.webm": Spec(codec="libvpx-vp9", rate=Fraction(30)),
    "h264.avi": Spec(options={"bf": "3", "preset": "fast"}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_clips_hold_exactly_the_frames_they_name(tmp_path: Path, name: str) -> None:
    spec = VARIANTS[name]
    file = write(tmp_path / name, spec)
    result, blob = scanned(video(file), tmp_path, settings())
    hidden, stride = max(0, -spec.first), {"5994.mp4": 2, "120.mp4": 4}.get(name, 1)
    frames = spec.frames - hidden
    assert (result.stream.frames, result.stream.stride, result.stream.decode_errors) == (frames, stride, 0)
    assert result.shots == (Shot(0, frames, result.stream.first_pts, result.shots[0].end_pts),)
    assert [c.first_frame for c in result.clips] == [first for first, _ in offline([(0, frames)], stride, settings())]
    assert len(result.clips) >= 3
    pts = shown(file) if not name.endswith("avi") else list(range(48))
    for clip in result.clips:
        assert counters(clip, blob) == [hidden + clip.first_frame + k * stride for k in range(10)]
        assert clip.start_pts == pts[clip.first_frame]
        assert clip.end_pts == pts[clip.end_frame]
        assert clip.end_frame == clip.first_frame + 10 * stride
        start = (clip.start_pts - pts[0]) * clip.time_base
        assert clip.key == f"source_{int(start * 1000):09d}"
        with av.open(io.BytesIO(blob[clip.offset : clip.offset + clip.size])) as media:
            assert media.streams.video[0].average_rate == result.stream.rate / stride
    assert result.shots[0].end_pts >= pts[-1] + (pts[-1] - pts[-2]) // 2
    assert read_record(Scan, write_record(result)) == result


@pytest.mark.parametrize(
    ("rate", "highest", "stride"),
    [("30", "30", 1), ("30000/1001", "30", 1), ("303/10", "30", 1), ("30.4", "30", 2), ("60", "30", 2), ("5", "30", 1),
     ("60000/1001", "30", 2), ("60000/1001", "29.97", 2), ("120", "30", 4), ("50", "30", 2), ("100", "24", 5)],
)  # fmt: skip
def test_stride_is_the_smallest_that_is_slow_enough(rate: str, highest: str, stride: int) -> None:
    found = stride_for(Fraction(rate), Fraction(highest))
    assert found == stride
    assert Fraction(rate) / found <= Fraction(highest) * Fraction(101, 100)
    assert found == 1 or Fraction(rate) / (found - 1) > Fraction(highest) * Fraction(101, 100)


class Watched:
    """A packet that counts how often it is decoded and what comes of it."""

    calls: list[int]
    frames: list[int]

    def __init__(self, packet: Any) -> None:
        self._packet = packet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._packet, name)

    def decode(self) -> Any:
        self.calls.append(id(self._packet))
        frames = self._packet.decode()
        self.frames.append(len(frames))
        return frames


def test_every_frame_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Watched.calls, Watched.frames = [], []
    plain = decode.packets
    keep: list[Watched] = []

    def watched(*args: Any) -> Iterator[Watched]:
        for packet in plain(*args):
            keep.append(Watched(packet))
            yield keep[-1]

    monkeypatch.setattr(decode, "packets", watched)
    file, _ = cuts(tmp_path / "a.mp4", [40, 40], Spec(options={"bf": "2", "preset": "fast"}))
    result, _ = scanned(video(file), tmp_path, settings(step=8))
    assert len(result.clips) > 5
    assert len(Watched.calls) == len(set(Watched.calls)) == len(keep) == 81
    assert sum(Watched.frames) == len(shown(file)) == result.stream.frames == 80


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most = [0], [0]
    plain = cutting.fitted

    def gone() -> None:
        alive[0] -= 1

    def watched(*args: Any) -> Array:
        planes = plain(*args)
        weakref.finalize(planes, gone)
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return planes

    monkeypatch.setattr(cutting, "fitted", watched)
    peaks = []
    for frames in (150, 450):
        most[0] = 0
        file = write(tmp_path / "a.mp4", Spec(frames=frames, width=64, height=48), pan)
        result, _ = scanned(video(file), tmp_path, settings(detector="adaptive", step=40))
        assert len(result.clips) >= frames // 60
        assert alive[0] == 0
        peaks.append(most[0])
    assert peaks[0] == peaks[1] <= SMALL["length"] + SMALL["margin"] + 3


def test_the_same_again_in_another_folder(tmp_path: Path) -> None:
    file, _ = cuts(tmp_path / "a.mp4", [30, 40])
    other = tmp_path / "elsewhere"
    other.mkdir()
    shutil.copy(file, other)
    assert scanned(video(file), tmp_path, settings()) == scanned(video(other / "a.mp4"), other, settings())


@pytest.mark.parametrize("detector", ["mlst", "content", "adaptive"])
def test_no_clip_contains_a_cut(tmp_path: Path, detector: str) -> None:
    lengths = [33, 23, 28, 20]
    file, truth = cuts(tmp_path / "a.mp4", lengths)
    result, blob = scanned(video(file), tmp_path, settings(detector=detector, step=7))
    assert tuple(t.start for t in result.transitions) == truth
    assert {t.kind for t in result.transitions} == {"cut"}
    bounds = [0, *truth, sum(lengths)]
    assert [(s.start, s.end) for s in result.shots] == list(pairwise(bounds))
    assert {c.shot for c in result.clips} == {0, 1, 2, 3}
    assert [c.first_frame for c in result.clips] == [
        a for a, _ in offline(list(pairwise(bounds)), 1, settings(step=7))
    ]
    for clip in result.clips:
        numbers = counters(clip, blob)
        assert numbers == list(range(clip.first_frame, clip.first_frame + 10))
        assert bounds[clip.shot] + 2 <= numbers[0]
        assert numbers[-1] < bounds[clip.shot + 1] - 2
        assert clip.end_frame <= bounds[clip.shot + 1]


def test_a_fade_is_in_no_clip(tmp_path: Path) -> None:
    def paint(frame: int, height: int, width: int) -> Array:
        light = min(1.0, abs(frame - 60) / 15)
        picture = scenes([60, 60])(frame, height, width).astype(float)
        return ((picture - [[[16]], [[128]], [[128]]]) * light + [[[16]], [[128]], [[128]]]).round().astype(np.uint8)

    file = write(tmp_path / "a.mp4", Spec(frames=120), paint)
    result, blob = scanned(video(file), tmp_path, settings(step=5))
    assert len(result.clips) > 5
    for clip in result.clips:
        assert clip.end_frame <= 50 or clip.first_frame > 70
        brightness = [float(luma.mean()) for luma in pictures(clip, blob)]
        assert min(brightness) > 40


def test_only_the_wanted_span_becomes_clips_and_decoding_stops_behind_it(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec(frames=400, rate=Fraction(10), width=96, height=64, options={"g": "20"}))
    plain = settings(detector="content", size=64)
    result, blob = scanned(video(file, Fraction(3), Fraction(61, 10)), tmp_path, plain)
    assert [counters(c, blob) for c in result.clips] == [list(range(30, 40)), list(range(42, 52))]
    assert [c.key for c in result.clips] == ["source_000003000", "source_000004200"]
    assert 61 < result.stream.frames < 61 + 15 + 5
    late, blob = scanned(video(file, Fraction(25), Fraction(27)), tmp_path, plain)
    assert [counters(c, blob) for c in late.clips] == [list(range(250, 260))]
    assert late.stream.frames < 100
    first = late.stream.first_pts * late.stream.time_base * 10
    assert first + late.clips[0].first_frame == 250
    assert late.clips[0].key == "source_000025000"


def test_the_way_to_a_span_is_sought_on_the_files_clock(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec(frames=400, rate=Fraction(10), width=96, height=64, options={"g": "20"}))
    item = video(file, Fraction(120), Fraction(122), origin=Fraction(-118))
    result, blob = scanned(item, tmp_path, settings(detector="content", size=64))
    assert [counters(c, blob) for c in result.clips] == [list(range(20, 30))]


def test_a_fade_that_is_reported_late_takes_its_clips_away(tmp_path: Path) -> None:
    def paint(frame: int, height: int, width: int) -> Array:
        return (flat(16) if 30 <= frame < 100 else texture)(frame, height, width)

    file = write(tmp_path / "a.mp4", Spec(frames=130, width=64, height=48), paint)
    result, blob = scanned(video(file), tmp_path, settings(detector="threshold", size=64))
    assert [(t.kind, t.start, t.end) for t in result.transitions] == [("fade", 30, 100)]
    assert [c.first_frame for c in result.clips] == [2, 14, 102, 114]
    assert len(blob) > sum(c.size for c in result.clips), "no clip of the dark run was ever made"


def test_the_sources_clock_may_differ_from_the_files(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec(first=50))
    result, blob = scanned(video(file, Fraction(100), Fraction(101), origin=Fraction(-98)), tmp_path, settings())
    assert [c.key for c in result.clips] == ["source_000100080", "source_000100560"]
    assert [counters(c, blob)[0] for c in result.clips] == [2, 14]
    nothing, blob = scanned(video(file, Fraction(0), Fraction(1), origin=Fraction(-98)), tmp_path, settings())
    assert (nothing.clips, blob) == ((), b"")


@pytest.mark.parametrize(
    ("fit", "region"),
    [("stretch", WHOLE), ("crop", (-1 / 6, 0.0, 7 / 6, 1.0)), ("pad", (0.0, 0.125, 1.0, 0.875))],
)
def test_every_fit_shows_the_picture_where_it_should(tmp_path: Path, fit: str, region: Region) -> None:
    file = write(tmp_path / "a.mp4", Spec(frames=20))
    result, blob = scanned(video(file), tmp_path, settings(fit=fit))
    (clip,) = result.clips
    assert counters(clip, blob, region) == list(range(2, 12))


def test_bars_are_cut_off_before_measuring(tmp_path: Path) -> None:
    plain, _ = scanned(video(write(tmp_path / "a.mp4", Spec(frames=20), pan)), tmp_path, settings())
    boxed = write(tmp_path / "b.mp4", Spec(frames=20, height=160), letterboxed(pan, 0.125))
    result, _ = scanned(video(boxed), tmp_path, settings())
    box = result.clips[0].box
    assert (box.left, box.right) == (0, 1)
    assert box.top == pytest.approx(0.125, abs=0.02)
    assert box.bottom == pytest.approx(0.875, abs=0.02)
    assert result.clips[0].statistics.si == pytest.approx(plain.clips[0].statistics.si, rel=0.05)


def test_no_clip_spans_a_hole_or_a_change_of_size(tmp_path: Path) -> None:
    times = tuple(40 * k + 3000 * (k >= 24) for k in range(48))
    file = write(tmp_path / "a.mp4", Spec(times=times))
    result, blob = scanned(video(file), tmp_path, settings(step=2))
    assert Transition("break", 24, 24) in result.transitions
    assert {counters(c, blob)[0] < 24 for c in result.clips} == {True, False}
    for clip in result.clips:
        assert clip.first_frame + 9 < 22 or clip.first_frame >= 26

    parts = [(Spec(), counted), (Spec(width=320, height=240, first=48), lambda k, h, w: counted(k + 48, h, w))]
    joined = tmp_path / "b.ts"
    joined.write_bytes(b"".join(write(tmp_path / f"{k}.ts", *part).read_bytes() for k, part in enumerate(parts)))
    result, blob = scanned(video(joined), tmp_path, settings())
    assert 48 in {t.end for t in result.transitions if t.kind == "break"}
    assert {c.shot for c in result.clips} == {0, 1}
    assert [counters(c, blob) for c in result.clips] == [
        list(range(c.first_frame, c.first_frame + 10)) for c in result.clips
    ]


@pytest.mark.slow
@pytest.mark.parametrize("at", [0.3, 0.5, 0.7])
def test_damaged_pictures_are_in_no_clip(tmp_path: Path, at: float) -> None:
    whole = write(tmp_path / "a.mkv", Spec(frames=120, options={"g": "24", "bf": "2", "preset": "fast", "crf": "8"}))
    file = damaged(whole, tmp_path / "b.mkv", at=at)
    result, blob = scanned(video(file), tmp_path, settings(step=5))
    assert {t.kind for t in result.transitions} <= {"break", "cut"}  # a leap over lost frames is a cut, too
    assert result.transitions
    assert len(result.clips) > 5
    for clip in result.clips:
        first = round(clip.start_pts * clip.time_base * 25)
        assert counters(clip, blob) == list(range(first, first + 10))


@pytest.mark.slow
def test_frames_that_a_damaged_reference_spoils_are_in_no_clip(tmp_path: Path) -> None:
    def paint(frame: int, height: int, width: int) -> Array:
        return burn(
            ((texture(frame, height, width) * 3.0 + noise(frame // 4, height, width)) / 4).astype(np.uint8), frame
        )

    options = {"g": "48", "bf": "3", "b_strategy": "0", "preset": "fast", "crf": "8"}
    whole = write(tmp_path / "a.mkv", Spec(frames=72, options=options), paint)
    spoiled = spoiled_reference(whole, tmp_path / "b.mkv")
    wrong = set()
    with av.open(str(whole)) as one, av.open(str(spoiled)) as other:
        for index, pair in enumerate(zip(one.decode(video=0), other.decode(video=0), strict=False)):
            if not np.array_equal(*(frame.to_ndarray() for frame in pair)):
                wrong.add(index)
    result, _ = scanned(video(spoiled), tmp_path, settings(step=1, margin=0))
    assert wrong
    assert len(result.clips) > 5
    for clip in result.clips:
        assert not wrong & set(range(clip.first_frame, clip.first_frame + 10))


@pytest.mark.parametrize("frames", [1, 2, 13, 14])
def test_a_short_video_is_done_without_clips(tmp_path: Path, frames: int) -> None:
    result, blob = scanned(video(write(tmp_path / "a.mp4", Spec(frames=frames))), tmp_path, settings())
    assert len(result.clips) == (frames == 14)
    assert [(s.start, s.end) for s in result.shots] == [(0, frames)]
    assert bool(blob) == (frames == 14)


def test_frames_too_close_to_show_motion_make_no_clip(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec(times=tuple(k if k < 14 else 40 * k for k in range(48))))
    result, blob = scanned(video(file), tmp_path, settings(margin=0))
    assert result.stream.stride == 1
    assert [counters(c, blob)[0] for c in result.clips] == [14, 26, 38]


def test_files_that_break_after_fetching_end_in_a_typed_outcome(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec())
    item, stage, work = video(file), ScanStage(settings(), "brightest", FIRST), Workspace(tmp_path, "scan")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 3])
    outcome = attempt(stage, item, work)
    assert (outcome.status, outcome.kind) == ("failed", "damaged"), "what a disk lost is no verdict on the video"
    item = replace(item, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    outcome = attempt(stage, item, work)
    assert (outcome.status, outcome.kind) == ("rejected", "corrupt")
    assert not list(tmp_path.glob("scan/clips/*"))
    flac = write(tmp_path / "b.mkv", Spec())
    part = truncated(flac, tmp_path / "c.mkv", 0.6)
    result, blob = scanned(video(part), tmp_path, settings())
    assert [counters(c, blob)[0] for c in result.clips] == [c.first_frame for c in result.clips]


def test_rgb_and_flat_sources_are_measured_too(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.gif"), "w") as media:
        stream = media.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 60, "rgb8"
        for number in range(30):
            frame = packed(burn(texture(number, 60, 80), number), "yuv444p", False).reformat(format="rgb8")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            media.mux(stream.encode(frame))
        media.mux(stream.encode())
    result, blob = scanned(video(tmp_path / "a.gif"), tmp_path, settings())
    assert [counters(c, blob) for c in result.clips] == [list(range(2, 12)), list(range(14, 24))]
    black, _ = scanned(video(write(tmp_path / "b.mp4", Spec(), flat(16))), tmp_path, settings())
    for clip in black.clips:
        assert clip.statistics.black_ratio == 1


def test_the_key_changes_with_what_the_scan_depends_on(tmp_path: Path) -> None:
    item, stage = video(write(tmp_path / "a.mp4", Spec(frames=4))), ScanStage(settings(), "brightest", FIRST)
    changes = [{"start": Fraction(1)}, {"end": Fraction(2)}, {"origin": Fraction(1, 3)}, {"sha256": "0" * 64}]
    fields = {name: getattr(item, name) for name in Video.__slots__}
    keys = {stage.key(Video(**{**fields, **change})) for change in ({}, {"file": "elsewhere.mp4"}, *changes)}
    assert len(keys) == 1 + len(changes)
    assert all(key.startswith("source@") for key in keys)
    assert stage.settings() != ScanStage(settings(crf=19), "brightest", FIRST).settings()


def offline(shots: Sequence[tuple[int, int]], stride: int, recipe: ScanSettings) -> list[tuple[int, int]]:
    """First and last frames of all windows, by the definition."""
    found = []
    for start, end in shots:
        first = -(-(start + recipe.margin) // stride) * stride
        while first + (recipe.length - 1) * stride < end - recipe.margin:
            found.append((first, first + (recipe.length - 1) * stride))
            first += recipe.step * stride
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, ScanSettings, list[tuple[Transition, int]]]:
    """(frames, promised delay, settings, transitions with the frame at which each is reported)."""
    frames, delay = draw(st.integers(0, 120)), draw(st.integers(0, 25))
    recipe = settings(length=draw(st.integers(4, 12)), step=draw(st.integers(1, 15)), margin=draw(st.integers(0, 5)))
    position, found = 0, []
    while (position := position + draw(st.integers(1, 50))) < frames:
        end = min(frames, position + draw(st.sampled_from([0, 0, 1, 4, 12])))
        found.append(
            (Transition("cut" if end == position else "fade", position, end), position + draw(st.integers(0, delay)))
        )
        position = end
    return frames, delay, recipe, found


@given(histories(), st.integers(1, 4))
def test_windows_cut_while_decoding_equal_those_cut_afterwards(
    history: tuple[int, int, ScanSettings, list[tuple[Transition, int]]], stride: int
) -> None:
    frames, delay, recipe, found = history
    buffered = [0]

    def make(window: Sequence[ClipFrame]) -> Iterator[Made]:
        assert [b.index - a.index for a, b in pairwise(window)] == [stride] * (recipe.length - 1)
        yield Made(window[0].index, window[-1].index, 0, len(window), None, None, "", 0, 0, "")  # type: ignore[arg-type]

    cutter = Cutter(recipe, stride, make)
    for index in range(frames):
        if index % stride == 0:
            cutter.keep(ClipFrame(index, index, None, None, None, None))  # type: ignore[arg-type]
        cutter.report([t for t, when in found if when == index])
        cutter.decide(index - delay)
        buffered.append(len(cutter._ring))
    cutter.report([t for t, when in found if when >= frames])
    cutter.decide(frames - 1)
    starts = [0, *(t.end for t, _ in found)]
    ends = [*(t.start for t, _ in found), frames]
    assert [(m.first, m.last) for m in cutter.made] == offline(list(zip(starts, ends, strict=True)), stride, recipe)
    assert max(buffered) <= recipe.length + (delay + recipe.margin) // stride + 1


def test_a_transition_reported_too_late_takes_its_clips_away() -> None:
    recipe = settings(length=5, step=5, margin=1)
    cutter = Cutter(recipe, 1, lambda w: [Made(w[0].index, w[-1].index, 0, 5, None, None, "", 0, 0, "")])  # type: ignore[arg-type,list-item]
    for index in range(30):
        cutter.keep(ClipFrame(index, index, None, None, None, None))  # type: ignore[arg-type]
        cutter.decide(index)
    assert [m.first for m in cutter.made] == [1, 6, 11, 16, 21]
    late = Transition("cut", 12, 12)
    cutter.report([late])
    cutter.decide(29)
    assert [m.first for m in cutter.made if not scanning._touches(m, late, 1)] == [1, 6, 16, 21]


def test_transitions_are_merged_where_they_meet() -> None:
    cut, dissolve, same = Transition("cut", 20, 20), Transition("dissolve", 15, 25), Transition("break", 20, 20)
    assert merged([same, cut]) == (cut,)
    assert merged([cut, dissolve]) == (dissolve,)
    assert merged([Transition("fade", 20, 30), dissolve]) == (Transition("dissolve", 15, 30),)
    assert merged([Transition("break", k, k + 1) for k in (5, 3, 4)]) == (Transition("break", 3, 6),)
    assert merged([Transition("cut", 25, 25), dissolve]) == (dissolve, Transition("cut", 25, 25))


def test_fields_in_packets_of_their_own_make_frames_not_twice_as_many(tmp_path: Path) -> None:
    item = video(field_pictures(tmp_path / "a.mkv", 60))
    assert item.probe.rate == 50
    result, blob = scanned(item, tmp_path, settings())
    assert (result.stream.frames, result.stream.rate, result.stream.stride) == (60, 25, 1)
    assert [counters(clip, blob) for clip in result.clips[:2]] == [list(range(2, 12)), list(range(14, 24))]


@pytest.mark.slow
def test_a_rate_that_the_first_frames_do_not_tell_is_found_and_the_scan_made_again(tmp_path: Path) -> None:
    """The first 50 of 120 frames have one packet each."""
    item = video(field_pictures(tmp_path / "a.mkv", 120, woven=50))
    assert item.probe.rate == 50
    result, blob = scanned(item, tmp_path, settings())
    assert (result.stream.frames, result.stream.rate, result.stream.stride) == (120, 25, 1)
    assert counters(result.clips[0], blob) == list(range(2, 12))
    assert counters(result.clips[-1], blob) == list(range(98, 108))


def test_clips_begin_where_their_frames_are_shown_though_some_chunks_give_none(tmp_path: Path) -> None:
    result, blob = scanned(video(sparse(tmp_path / "a.avi", 80, 5, coded=True)), tmp_path, settings())
    assert (result.stream.rate, result.stream.variable) == (25, True)
    for clip in result.clips:
        assert int(clip.key.split("_")[1]) == counters(clip, blob)[0] * 40
    cut, blob = scanned(video(tmp_path / "a.avi", Fraction(2), Fraction(3)), tmp_path, settings())
    assert [counters(clip, blob)[0] for clip in cut.clips] == [50]


def test_no_clip_spans_a_change_of_pixel_shape_and_each_has_its_own(tmp_path: Path) -> None:
    parts = [(Spec(frames=30), counted), (Spec(frames=30, first=30, sar=Fraction(4, 3)), counted_from(30))]
    item = video(joined(tmp_path / "a.ts", *parts))
    result, blob = scanned(item, tmp_path, settings(fit="pad"))
    assert Transition("break", 30, 30) in result.transitions
    assert [clip.first_frame for clip in result.clips] == [2, 14, 32, 44]
    bars = [int((pictures(clip, blob)[0].max(axis=1) < 20).sum()) for clip in result.clips]
    # 160 x 120 is 4:3; with pixels of 4:3 it is 16:9 and leaves 42 lines of a square of 96.
    assert bars == pytest.approx([24, 24, 42, 42], abs=2)


def test_frames_without_a_usable_time_are_counted_for_status_and_report(tmp_path: Path) -> None:
    file = without_box(
        write(tmp_path / "a.mp4", Spec(options={"bf": "3", "preset": "fast"})), tmp_path / "b.mp4", *TABLE, b"ctts"
    )
    work = Workspace(tmp_path, "x")
    sound, odd = (
        attempt(ScanStage(settings(), "brightest", FIRST), video(f), work) for f in (tmp_path / "a.mp4", file)
    )
    repaired = odd.outputs[0].stream.repaired
    assert repaired > 20
    with Ledger(work, Scan) as ledger:
        for outcome in (sound, odd):
            ledger.add(outcome)
        both = ledger.outcomes([ledger.row(sound.key), ledger.row(odd.key)])
        assert times(both) == [Line("frames", "repaired", "time", repaired)]
        assert times(ledger.outcomes([ledger.row(sound.key)])) == []


def test_a_scan_that_is_refused_at_its_end_leaves_no_file(tmp_path: Path) -> None:
    file = thinned(write(tmp_path / "a.ts", Spec(frames=120)), tmp_path / "b.ts", 100)
    outcome = attempt(ScanStage(settings(), "brightest", FIRST), video(file), Workspace(tmp_path, "scan"))
    assert (outcome.status, outcome.kind) == ("rejected", "no_timestamps")
    assert not [path for path in (tmp_path / "scan").rglob("*") if path.is_file()]
