"""Every oddity of a video, decided as `media.decode` says; frames told apart by the counter burned into them."""

import gc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from collection.engine.stage import Rejected
from collection.media.decode import FROM_THE_BEGINNING, Decoded, Decoder, depth_of, facts, open_video, planes
from collection.media.probe import open_media, probe
from collection.recipe import Limits
from mlst.pictures.times import REORDER
from mlst.records import Stream
from tests.synthetic import (
    Array,
    Spec,
    burn,
    counted,
    damaged,
    flat,
    noise,
    packed,
    read_counter,
    spoiled_reference,
    texture,
    truncated,
    write,
)

WOBBLY = tuple(k * 40 + (k * k * 7) % 19 for k in range(48))

VARIANTS = {
    "25.mp4": Spec(),
    "23976.mp4": Spec(rate=Fraction(24000, 1001)),
    "2997.mp4": Spec(rate=Fraction(30000, 1001)),
    "5994.mp4": Spec(rate=Fraction(60000, 1001)),
    "variable.mp4": Spec(times=WOBBLY),
    "b-frames.mp4": Spec(options={"bf": "3", "preset": "fast"}),
    "edit-list.mp4": Spec(first=-10, options={"bf": "2", "preset": "fast"}),
    "late.mp4": Spec(first=125),
    "late.mkv": Spec(first=125),
    "late.ts": Spec(first=125),
    "turned-90.mp4": Spec(rotation=90),
    "turned-180.mp4": Spec(rotation=180),
    "turned-270.mp4": Spec(rotation=270),
    "mirrored.mp4": Spec(mirrored=True),
    "mirrored-90.mp4": Spec(mirrored=True, rotation=90),
    "odd-444.mp4": Spec(width=161, height=121, pix_fmt="yuv444p"),
    "odd-420.mkv": Spec(codec="ffv1", width=161, height=121),
    "odd-turned.mkv": Spec(codec="ffv1", width=161, height=121, rotation=270),
    "422.mp4": Spec(pix_fmt="yuv422p"),
    "411.mkv": Spec(codec="ffv1", pix_fmt="yuv411p"),
    "10-bit.mp4": Spec(pix_fmt="yuv420p10le"),
    "16-bit.mkv": Spec(codec="ffv1", pix_fmt="yuv422p16le"),
    "wide-pixels.mp4": Spec(sar=Fraction(16, 11)),
    "wide-pixels-turned.mp4": Spec(sar=Fraction(16, 11), rotation=90),
    "interlaced.mp4": Spec(interlaced=True),
    "grey.mp4": Spec(pix_fmt="gray"),
    "full-range.mp4": Spec(full_range=True),
    "alpha.mkv": Spec(codec="ffv1", pix_fmt="yuva420p"),
    "vp9.webm": Spec(codec="libvpx-vp9", rate=Fraction(30)),
    "mpeg4.avi": Spec(codec="mpeg4", options={"bf": "2", "qscale": "2"}),
    "h264.avi": Spec(options={"bf": "3", "preset": "fast"}),
    "mpeg2.mpg": Spec(codec="mpeg2video", options={"bf": "2", "qscale": "2"}),
    "mjpeg.mov": Spec(codec="mjpeg", pix_fmt="yuvj420p", full_range=True, options={"qscale": "2"}),
}


def decoded(
    file: Path, since: Fraction = FROM_THE_BEGINNING, limits: Limits | None = None
) -> tuple[list[Decoded], Stream]:
    limits = limits or Limits()
    with open_video(file, probe(file, limits), limits, since) as video:
        return list(video), video.stream(1)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_frame_comes_once_upright_in_order_and_on_time(tmp_path: Path, name: str) -> None:
    spec = VARIANTS[name]
    frames, stream = decoded(write(tmp_path / name, spec))
    hidden = max(0, -spec.first)
    assert [read_counter(f.picture.y) for f in frames] == list(range(hidden, 48))
    assert [f.picture.index for f in frames] == list(range(48 - hidden))
    times = [(f.picture.pts - stream.first_pts) * stream.time_base for f in frames]
    wanted = [Fraction(t, 1000) for t in spec.times] or [k / spec.rate for k in range(48)]
    tick = stream.time_base if stream.time_base.denominator in (1000, 16000) else Fraction(0)
    assert max(abs(a - b + wanted[0]) for a, b in zip(times, wanted[: len(times)], strict=True)) <= tick
    assert not any(f.broken or f.damaged for f in frames)
    assert (stream.frames, stream.decode_errors, stream.rate) == (
        len(frames), 0, Fraction(1000, 41) if spec.times else spec.rate,
    )  # fmt: skip
    assert {f.picture.y.shape for f in frames} == {(spec.height, spec.width)} == {(stream.height, stream.width)}
    assert (stream.rotation, stream.sar, stream.full_range) == (spec.rotation, spec.sar, spec.full_range)
    assert stream.variable == bool(spec.times)
    assert stream.interlaced == spec.interlaced


@pytest.mark.parametrize("name", ["turned-90.mp4", "turned-180.mp4", "turned-270.mp4", "10-bit.mp4", "full-range.mp4"])
def test_luma_agrees_with_opencv(tmp_path: Path, name: str) -> None:
    def grey_ones(frame: int, height: int, width: int) -> Array:
        picture = counted(frame, height, width)
        picture[1:] = 128
        return picture

    file = write(tmp_path / name, VARIANTS[name], grey_ones)
    frames, stream = decoded(file)
    colour = cv2.VideoCapture(str(file)).read()[1]
    y = frames[0].picture.y.astype(np.float64) / (1 << stream.depth - 8)
    full = y if stream.full_range else (y - 16) * 255 / 219
    grey = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    assert grey.shape == full.shape
    assert np.abs(full.clip(0, 255) - grey).mean() < 1


@pytest.mark.parametrize("layout", ["yuv420p", "yuvj420p", "yuv444p", "gray", "yuv420p10le"])
def test_planes_are_libavs_own(layout: str) -> None:
    frame = packed(counted(3, 122, 162), layout, full_range=False)
    ours, theirs = planes(frame), frame.to_ndarray()
    if layout == "gray":
        assert np.array_equal(ours[0], theirs)
        assert {ours[1].shape, ours[2].shape} == {(61, 81)}
        assert set(ours[1].ravel()) == set(ours[2].ravel()) == {128}
    else:
        assert np.array_equal(np.concatenate([p.ravel() for p in ours]), theirs.ravel())


@pytest.mark.parametrize(("layout", "depth"), [("nv12", 8), ("nv21", 8), ("yuv420p10be", 10), ("gray16be", 16)])
def test_planes_of_other_orders_equal_the_plain_ones(layout: str, depth: int) -> None:
    plain = {"yuv420p10be": "yuv420p10le", "gray16be": "gray16le"}.get(layout, "yuv420p")
    frame = packed(counted(3, 122, 162), plain, full_range=False)
    other = frame.reformat(format=layout)
    assert depth_of(other.format) == depth
    for a, b in zip(planes(other), planes(frame), strict=True):
        assert np.array_equal(a, b)
        assert a.dtype == b.dtype


def test_rgb_is_converted_once_to_limited_bt601(tmp_path: Path) -> None:
    red, green, blue = 200, 80, 30
    colour = np.full((48, 64, 3), (red, green, blue), np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as media:
        track = media.add_stream("ffv1", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "bgr0"
        frame = av.VideoFrame.from_ndarray(colour).reformat(format="bgr0")
        media.mux(track.encode(frame))
        media.mux(track.encode())
    frames, stream = decoded(tmp_path / "a.mkv")
    picture = frames[0].picture
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    wanted = (16 + luma * 219 / 255, 128 + (blue - luma) / 1.772 * 224 / 255, 128 + (red - luma) / 1.402 * 224 / 255)
    assert [float(p.mean()) for p in (picture.y, picture.u, picture.v)] == pytest.approx(wanted, abs=1)
    assert (stream.pixel_format, stream.matrix, stream.full_range, stream.depth) == ("bgr0", "smpte170m", False, 8)


@pytest.mark.parametrize(
    ("width", "height", "options", "matrix", "transfer"),
    [
        (64, 48, "", "smpte170m", "bt709"),
        (1280, 64, "", "bt709", "bt709"),
        (64, 48, "colormatrix=bt709:transfer=smpte2084", "bt709", "smpte2084"),
        (64, 48, "colormatrix=bt2020nc:transfer=arib-std-b67", "bt2020nc", "arib-std-b67"),
    ],
)
def test_colour_tags_are_kept_and_resolved(
    tmp_path: Path, width: int, height: int, options: str, matrix: str, transfer: str
) -> None:
    spec = Spec(frames=2, width=width, height=height, options={"x264-params": options} if options else {})
    _, stream = decoded(write(tmp_path / "a.mp4", spec, texture))
    assert (stream.matrix, stream.transfer) == (matrix, transfer)


def test_a_pixel_format_of_full_range_needs_no_tag() -> None:
    assert facts(packed(counted(0, 48, 64), "yuvj420p", full_range=False)).full_range
    assert not facts(packed(counted(0, 48, 64), "yuv420p", full_range=False)).full_range


@pytest.mark.parametrize(("sar", "kept"), [(Fraction(4, 3), Fraction(4, 3)), (Fraction(50), Fraction(1))])
def test_absurd_pixels_count_as_square(tmp_path: Path, sar: Fraction, kept: Fraction) -> None:
    _, stream = decoded(write(tmp_path / "a.mp4", Spec(frames=2, sar=sar), texture))
    assert stream.sar == kept


def comb(luma: Array) -> float:
    """Mean difference of a line from the mean of its neighbours."""
    lines = luma.astype(np.float64)
    return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())


def test_interlaced_frames_lose_their_combs_and_nothing_else(tmp_path: Path) -> None:
    def fields(frame: int, height: int, width: int) -> Array:
        """Bottom field first: what x264 writes for frames that libav does not flag otherwise."""
        picture = texture(2 * frame + 1, height, width, seed=5)
        picture[:, 1::2] = texture(2 * frame, height, width, seed=5)[:, 1::2]
        return picture

    spec = Spec(frames=10, interlaced=True, options={"crf": "1"})
    frames, stream = decoded(write(tmp_path / "woven.mp4", spec, fields))
    assert stream.interlaced
    assert [f.picture.pts * stream.time_base for f in frames] == [Fraction(k, 25) for k in range(10)]
    truth = [texture(2 * k, 120, 160, seed=5)[0] for k in range(10)]
    for frame, first_field in zip(frames, truth, strict=True):
        assert comb(frame.picture.y) < 0.5 * comb(fields(frame.picture.index, 120, 160)[0])
        assert np.abs(frame.picture.y.astype(float) - first_field).mean() < 3


def joined(target: Path, *specs: tuple[Spec, Callable[[int, int, int], Array]]) -> Path:
    """Transport streams one behind the other."""
    parts = [write(target.with_name(f"{k}.ts"), spec, paint) for k, (spec, paint) in enumerate(specs)]
    target.write_bytes(b"".join(p.read_bytes() for p in parts))
    return target


def test_a_change_of_size_is_a_break_and_loses_no_frame(tmp_path: Path) -> None:
    file = joined(
        tmp_path / "a.ts",
        (Spec(frames=20), counted),
        (Spec(frames=20, width=320, height=240, first=20), lambda k, h, w: counted(k + 20, h, w)),
    )
    frames, stream = decoded(file)
    assert [read_counter(f.picture.y) for f in frames] == list(range(40))
    assert [f.picture.index for f in frames if f.broken] == [20]
    assert (stream.width, stream.height, frames[-1].picture.y.shape) == (160, 120, (240, 320))


def test_a_hole_in_time_is_a_break(tmp_path: Path) -> None:
    times = tuple(40 * k + 3000 * (k >= 24) for k in range(48))
    frames, stream = decoded(write(tmp_path / "a.mp4", Spec(times=times)))
    assert [f.picture.index for f in frames if f.broken] == [24]
    assert not stream.variable or stream.rate == 25
    slow, _ = decoded(write(tmp_path / "b.mp4", Spec(frames=6, rate=Fraction(1, 2))))
    assert not any(f.broken for f in slow)


def test_a_clock_that_jumps_back_is_a_break_and_loses_no_frame(tmp_path: Path) -> None:
    """Two recordings, one behind the other."""
    frames, stream = decoded(joined(tmp_path / "a.ts", (Spec(frames=24), counted), (Spec(frames=12), counted)))
    assert [read_counter(f.picture.y) for f in frames] == [*range(24), *range(12)]
    assert [f.picture.index for f in frames if f.broken] == [24]
    assert [(f.picture.pts - stream.first_pts) * stream.time_base for f in frames] == [
        Fraction(k, 25) for k in range(36)
    ]
    assert (stream.frames, stream.repaired, stream.dropped) == (36, 0, 0)
    assert stream.decode_errors in (0, 1), "the packet at the seam may count as damaged"


@pytest.mark.parametrize("bf", ["0", "2"])
@pytest.mark.parametrize("at", [0.3, 0.4, 0.55])
def test_damage_ends_at_a_key_frame_and_spares_the_rest(tmp_path: Path, bf: str, at: float) -> None:
    whole = write(tmp_path / "a.mkv", Spec(options={"g": "12", "bf": bf, "preset": "fast", "crf": "5"}))
    frames, stream = decoded(damaged(whole, tmp_path / "b.mkv", at=at))
    bad = {k for f in frames if f.damaged for k in range(f.picture.index - REORDER, f.picture.index + 1)}
    good = [f for f in frames if f.picture.index not in bad]
    lost = any(f.broken for f in frames)
    assert stream.decode_errors >= 1 or lost
    assert 12 < len(good) < 48
    for frame in good:
        number = round(frame.picture.pts * stream.time_base * 25)
        assert read_counter(frame.picture.y) == number
        assert np.abs(frame.picture.y - counted(number, 120, 160)[0].astype(float)).mean() < 4


def test_frames_shown_before_a_damaged_reference_are_suspect(tmp_path: Path) -> None:
    options = {"g": "48", "bf": "3", "b_strategy": "0", "preset": "fast", "crf": "8"}
    whole = write(tmp_path / "a.mkv", Spec(frames=60, options=options), noise_behind_counter)
    frames, _ = decoded(spoiled_reference(whole, tmp_path / "b.mkv"))
    first = min(f.picture.index for f in frames if f.damaged)
    _, sound = decoded(whole)
    truth, _ = decoded(whole)
    wrong = [
        a.picture.index
        for a, b in zip(frames, truth, strict=False)
        if np.abs(a.picture.y.astype(float) - b.picture.y).max() > 0
    ]
    assert min(wrong) < first, "this file must show what it is made for"
    assert min(wrong) >= first - REORDER
    assert sound.decode_errors == 0


def noise_behind_counter(frame: int, height: int, width: int) -> Array:
    """Hard to predict, so that every frame leans on its references and errors spread."""
    return burn(((texture(frame, height, width) * 3.0 + noise(frame // 4, height, width)) / 4).astype(np.uint8), frame)


def test_the_end_of_a_truncated_file_is_its_end(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mkv", Spec())
    frames, _ = decoded(truncated(whole, tmp_path / "b.mkv", 0.6))
    good = [f for f in frames if not f.damaged]
    assert 15 < len(good) < 40
    assert [read_counter(f.picture.y) for f in good] == list(range(len(good)))


def test_nothing_to_decode_is_corrupt(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec(frames=6))
    facts, data = probe(file, Limits()), file.read_bytes()
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    file.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    with pytest.raises(Rejected) as refusal, open_video(file, facts, Limits()):
        pass
    assert refusal.value.kind == "corrupt"


def test_a_picture_that_grows_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    grown = (Spec(width=320, height=240, first=20), lambda k, h, w: counted(k + 20, h, w))
    file = joined(tmp_path / "a.ts", (Spec(frames=20), counted), grown)
    facts = probe(file, Limits())
    with open_media(file, "mpegts", Limits()) as (media, track), pytest.raises(Rejected, match="too_large"):
        list(Decoder(media, track, facts, Limits(pixels=160 * 120)))
    volume = 20 * 160 * 120 + 48 * 320 * 240
    with open_media(file, "mpegts", Limits()) as (media, track):
        assert len(list(Decoder(media, track, facts, Limits(volume=volume)))) == 68
    with open_media(file, "mpegts", Limits()) as (media, track), pytest.raises(Rejected, match="together"):
        list(Decoder(media, track, facts, Limits(volume=volume - 1)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_seek_saves_decoding_and_pts_still_tell(tmp_path: Path, name: str) -> None:
    spec = Spec(
        frames=420, rate=Fraction(12), width=96, height=64, options={"g": "24", "bf": "2", "preset": "veryfast"}
    )
    frames, stream = decoded(write(tmp_path / name, spec), since=Fraction(30))
    number = round((frames[0].picture.pts - probe(tmp_path / name, Limits()).first_pts) * stream.time_base * 12)
    assert [read_counter(f.picture.y) for f in frames] == list(range(number, 420))
    assert (frames[0].picture.index, stream.first_pts) == (0, frames[0].picture.pts)
    if name == "a.ts":
        assert number == 0
    else:
        assert 24 * 12 <= number <= 27 * 12


@pytest.mark.parametrize("name", ["25.mp4", "turned-90.mp4"])
def test_frames_are_freed_as_soon_as_they_are_let_go_of(tmp_path: Path, name: str) -> None:
    """Not when the garbage collector comes by: until then a decoder would take new memory for every frame."""
    file = tmp_path / name
    write(file, VARIANTS[name])
    seen = probe(file, Limits())
    gc.collect()
    gc.disable()
    try:
        before = frames_alive()
        with open_video(file, seen, Limits()) as video:
            assert len([frame.picture.pts for frame in video]) == 48
            assert frames_alive() <= before + 1
    finally:
        gc.enable()


def frames_alive() -> int:
    return sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())


def test_a_single_flat_frame_is_a_video(tmp_path: Path) -> None:
    frames, stream = decoded(write(tmp_path / "a.mp4", Spec(frames=1), flat(120)))
    assert (len(frames), stream.variable, stream.first_pts) == (1, False, stream.last_pts)
