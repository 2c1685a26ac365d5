"""Files that say something else than they show: which frames come, when, and how large."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from collection.engine.stage import Rejected
from collection.media.decode import Decoded, open_video
from collection.media.probe import probe, sniff
from collection.recipe import Limits
from mlst.records import Stream
from tests.odd_media import (
    TABLE,
    Track,
    clapped,
    counted_from,
    encoded,
    encrypted,
    field_pictures,
    joined,
    lasting,
    matroska,
    scrambled,
    sparse,
    streams,
    thinned,
    video_for_windows,
    without_box,
)
from tests.synthetic import Spec, counted, flat, read_counter, write

REORDERED = {"bf": "3", "b_strategy": "0", "preset": "fast"}
FILM = Spec(frames=60, options=REORDERED)
MPEG4 = Spec(frames=60, codec="mpeg4", options={"qscale": "2"})


def decoded(file: Path) -> tuple[list[Decoded], Stream]:
    with open_video(file, probe(file, Limits()), Limits()) as video:
        return list(video), video.stream(1)


def counters(frames: list[Decoded]) -> list[int]:
    return [read_counter(frame.picture.y) for frame in frames]


def seconds(frames: list[Decoded], stream: Stream) -> list[Fraction]:
    """From the first frame on."""
    return [(frame.picture.pts - stream.first_pts) * stream.time_base for frame in frames]


def evenly(count: int) -> list[Fraction]:
    return [Fraction(k, 25) for k in range(count)]


Make = Callable[[Path], Path]
MISTIMED: dict[str, tuple[Make, int]] = {
    "mp4 without ctts": (
        lambda t: without_box(
            without_box(write(t / "a.mp4", FILM), t / "b.mp4", *TABLE, b"ctts"), t / "c.mp4", b"moov", b"trak", b"edts"
        ),
        60,
    ),
    "ts with a time every five frames": (lambda t: thinned(write(t / "a.ts", Spec(frames=60)), t / "b.ts", 5), 60),
    "ts with a time every five frames, reordered": (lambda t: thinned(write(t / "a.ts", FILM), t / "b.ts", 5), 60),
    "mpeg2 ts with a time every nine frames": (
        lambda t: thinned(
            write(t / "a.ts", Spec(frames=60, codec="mpeg2video", options={"bf": "2", "qscale": "2"})), t / "b.ts", 9
        ),
        60,
    ),
    "reordered, as VfW": (lambda t: video_for_windows(t / "a.mkv", FILM), 60),
    "a field in each packet": (lambda t: field_pictures(t / "a.mkv", 60), 60),
    "a field in each packet later": (lambda t: field_pictures(t / "a.mkv", 60, woven=12), 60),
}


@pytest.mark.parametrize("name", MISTIMED)
def test_every_frame_comes_in_order_and_on_time(tmp_path: Path, name: str) -> None:
    make, count = MISTIMED[name]
    file = make(tmp_path)
    frames, stream = decoded(file)
    assert stream.first_pts == probe(file, Limits()).first_pts
    assert counters(frames) == list(range(count))
    assert seconds(frames, stream) == evenly(count)
    assert (stream.frames, stream.rate, stream.dropped, stream.decode_errors) == (count, 25, 0, 0)
    assert not any(frame.broken or frame.damaged for frame in frames)
    assert (stream.repaired > 0) == ("field" not in name and "mpeg2" not in name), "libav's parser counts on in MPEG-2"


def test_packets_that_an_edit_list_hides_take_their_frames_along(tmp_path: Path) -> None:
    """Without `ctts` the edit list, which begins at the first frame shown, hides the first two packets."""
    frames, stream = decoded(without_box(write(tmp_path / "a.mp4", FILM), tmp_path / "b.mp4", *TABLE, b"ctts"))
    assert len(frames) == 58
    assert counters(frames)[-50:] == list(range(10, 60))
    assert seconds(frames, stream) == evenly(58)


def test_times_that_nothing_can_repair_are_a_refusal(tmp_path: Path) -> None:
    file = thinned(write(tmp_path / "a.ts", Spec(frames=120)), tmp_path / "b.ts", 100)
    with pytest.raises(Rejected, match="74 of 120 frames have no usable time") as refusal:
        decoded(file)
    assert refusal.value.kind == "no_timestamps"


@pytest.mark.parametrize("coded", [True, False])
def test_a_frame_takes_the_time_of_its_chunk(tmp_path: Path, coded: bool) -> None:
    frames, stream = decoded(sparse(tmp_path / "a.avi", 60, 5, coded=coded))
    numbers = [k + k // 4 for k in range(60)]
    assert counters(frames)[:60] == numbers
    assert seconds(frames, stream)[:60] == [Fraction(k, 25) for k in numbers]
    assert (stream.rate, stream.variable, stream.repaired, stream.decode_errors) == (25, True, 0, 0)
    assert not any(frame.damaged for frame in frames)


def test_empty_blocks_repeat_a_frame_and_damage_none(tmp_path: Path) -> None:
    packets = encoded(MPEG4)
    blocks = [(pts * 80, data, key) for pts, _, data, key in packets]
    blocks += [(pts * 80 + 40, b"", False) for pts, *_ in packets]
    frames, stream = decoded(matroska(tmp_path / "a.mkv", Track("V_MPEG4/ISO/ASP", b"", 160, 120, sorted(blocks))))
    assert counters(frames) == list(range(60))
    assert seconds(frames, stream) == [2 * time for time in evenly(60)]
    assert (stream.decode_errors, any(frame.damaged for frame in frames)) == (0, False)


STILL = Spec(frames=1, width=640, height=480, codec="mjpeg", pix_fmt="yuvj420p", full_range=True)
PREVIEW = Spec(frames=60, width=64, height=48)


def mpeg4(spec: Spec, default: bool = True) -> Track:
    blocks = [(pts * 40, data, key) for pts, _, data, key in encoded(spec)]
    return Track("V_MPEG4/ISO/ASP", b"", spec.width, spec.height, blocks, default)


SEVERAL: dict[str, Make] = {
    "a still first, mp4": lambda t: streams(t / "a.mp4", STILL, FILM),
    "a still first, mkv": lambda t: streams(t / "a.mkv", STILL, FILM),
    "a preview first, mp4": lambda t: streams(t / "a.mp4", PREVIEW, FILM),
    "a preview first, mkv": lambda t: streams(t / "a.mkv", PREVIEW, FILM),
    "a preview last, ts": lambda t: streams(t / "a.ts", FILM, PREVIEW),
    "the second is the default": lambda t: matroska(
        t / "a.mkv", mpeg4(Spec(**{**vars(MPEG4), "width": 320, "height": 240}), default=False), mpeg4(MPEG4)
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_the_main_stream_is_taken_not_the_first(tmp_path: Path, name: str) -> None:
    file = SEVERAL[name](tmp_path)
    assert probe(file, Limits()).streams == 2
    frames, stream = decoded(file)
    assert (counters(frames), stream.width, stream.height) == (list(range(60)), 160, 120)


@pytest.mark.parametrize("rotation", [0, 90])
def test_the_containers_crop_is_applied_before_the_turn(tmp_path: Path, rotation: int) -> None:
    """Left 24, right 8, top 8, bottom 16 pixels of the stored picture."""
    upright = write(tmp_path / "a.mp4", Spec(frames=3, rotation=rotation))
    whole, _ = decoded(upright)
    width, height = (160, 120) if rotation == 0 else (120, 160)
    size, offset = (width - 32, height - 24), (8, -4)
    frames, stream = decoded(clapped(upright, tmp_path / "b.mp4", size, offset))
    y = whole[0].picture.y
    wanted = y[8:-16, 24:-8] if rotation == 0 else y[24:-8, 16:-8]
    assert np.array_equal(frames[0].picture.y, wanted)
    assert frames[0].picture.u.shape == tuple(side // 2 for side in wanted.shape)
    assert (stream.height, stream.width) == wanted.shape


def test_matroskas_crop_is_applied(tmp_path: Path) -> None:
    blocks = [(pts * 40, data, key) for pts, _, data, key in encoded(MPEG4)]
    whole, cut = (
        decoded(matroska(tmp_path / "a.mkv", Track("V_MPEG4/ISO/ASP", b"", 160, 120, blocks, crop=crop)))
        for crop in ((0, 0, 0, 0), (8, 16, 12, 4))
    )
    for a, b in zip(whole[0], cut[0], strict=True):
        assert np.array_equal(a.picture.y[12:-4, 8:-16], b.picture.y)
    assert (cut[1].width, cut[1].height) == (136, 104)


def test_a_change_of_pixel_shape_is_a_break_and_holds_from_there_on(tmp_path: Path) -> None:
    parts = [(Spec(frames=30), counted), (Spec(frames=30, first=30, sar=Fraction(4, 3)), counted_from(30))]
    frames, stream = decoded(joined(tmp_path / "a.ts", *parts))
    assert counters(frames) == list(range(60))
    assert [frame.picture.index for frame in frames if frame.broken] == [30]
    assert [frame.format.sar for frame in frames] == [Fraction(1)] * 30 + [Fraction(4, 3)] * 30
    assert stream.sar == 1


def test_a_change_of_colours_is_a_break_and_holds_from_there_on(tmp_path: Path) -> None:
    tagged = {"x264-params": "colormatrix=bt709:no-mbtree=1"}
    parts = [(Spec(frames=30), counted), (Spec(frames=30, first=30, options=tagged), counted_from(30))]
    frames, _ = decoded(joined(tmp_path / "a.ts", *parts))
    assert [frame.picture.index for frame in frames if frame.broken] == [30]
    assert [frame.facts.matrix for frame in frames] == ["smpte170m"] * 30 + ["bt709"] * 30


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        *(
            ("libx264", {"x264-params": f"colormatrix={matrix}"})
            for matrix in ("YCgCo", "bt2020c", "ICtCp", "chroma-derived-nc")
        ),
        # One thread and no B-frames: with its thread pool a busy machine has made packets without a time.
        ("libx265", {"x265-params": "colormatrix=ycgco:log-level=none:bframes=0:frame-threads=1:pools=none"}),
    ],
)
def test_colours_that_readers_cannot_convert_are_a_refusal(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    file = write(tmp_path / "a.mp4", Spec(frames=2, codec=codec, options=options), flat(100))
    with pytest.raises(Rejected, match="common readers cannot convert") as refusal:
        decoded(file)
    assert refusal.value.kind == "colour"


ENCRYPTED: dict[str, Make] = {
    "mp4": lambda t: encrypted(write(t / "a.mp4", Spec(frames=6)), t / "b.mp4"),
    "ts": lambda t: scrambled(write(t / "a.ts", Spec(frames=6)), t / "b.ts"),
    "mkv": lambda t: matroska(
        t / "a.mkv", Track("V_MPEG4/ISO/ASP", b"", 160, 120, [(0, bytes(range(200)), True)], encrypted=True)
    ),
}


@pytest.mark.parametrize("name", ENCRYPTED)
def test_encryption_is_no_damage(tmp_path: Path, name: str) -> None:
    with pytest.raises(Rejected, match=r"encrypted|scrambled") as refusal:
        probe(ENCRYPTED[name](tmp_path), Limits())
    assert refusal.value.kind == "gone.drm"


@pytest.mark.parametrize("cut", [1, 100, 187, 188 + 20])
def test_a_transport_stream_may_begin_within_a_packet(tmp_path: Path, cut: int) -> None:
    whole = write(tmp_path / "a.ts", Spec(frames=60)).read_bytes()
    (tmp_path / "b.ts").write_bytes(whole[-cut:] + whole)
    assert sniff(tmp_path / "b.ts") == "mpegts"
    assert counters(decoded(tmp_path / "b.ts")[0]) == list(range(60))


def test_a_program_stream_may_begin_within_a_packet(tmp_path: Path) -> None:
    spec = Spec(frames=60, codec="mpeg2video", options={"g": "6", "qscale": "2"})
    whole = write(tmp_path / "a.mpg", spec).read_bytes()
    (tmp_path / "b.mpg").write_bytes(whole[900:])
    assert sniff(tmp_path / "b.mpg") == "mpeg"
    assert counters(decoded(tmp_path / "b.mpg")[0]) == list(range(6, 60))


@pytest.mark.parametrize(("first", "second"), [(0, 25 * 72000), (25 * 72000, 0)])
def test_limits_apply_to_what_is_shown_not_to_jumps_of_the_clock(tmp_path: Path, first: int, second: int) -> None:
    parts = (Spec(frames=30, first=first), counted), (Spec(frames=30, first=second), counted_from(30))
    file = joined(tmp_path / "a.ts", *parts)
    frames, stream = decoded(file)
    assert counters(frames) == list(range(60))
    assert [frame.picture.index for frame in frames if frame.broken] == [30]
    assert (stream.rate, stream.dropped) == (25, 0)
    assert probe(file, Limits(seconds=3)).rate == 25
    with pytest.raises(Rejected, match="too_long"):
        probe(file, Limits(seconds=2))


def test_a_last_frame_of_hours_is_one_frame(tmp_path: Path) -> None:
    file = lasting(write(tmp_path / "a.mp4", Spec(frames=30)), tmp_path / "b.mp4", 5 * 3600)
    with open_video(file, probe(file, Limits(seconds=2)), Limits()) as video:
        assert counters(list(video)) == list(range(30))
        assert (video.last_end - video.pts[0]) * video.probe.time_base == Fraction(30, 25)
