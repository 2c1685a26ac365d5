"""Clips to pictures, against libav's own demuxer and conversion; boxes that lie."""

import io
import struct

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from mlst.pictures.decode import Form, decode_into
from mlst.pictures.mp4 import NotAClip, track_of
from mlst.pictures.presentation import rgb, rgb_planes
from tests import tiny

MP4 = tiny.mp4(7)
FORM = Form(6, tiny.SIDE, tiny.SIDE, "rgb")


def replaced(before: bytes, after: bytes) -> bytes:
    assert MP4.count(before) == 1
    return MP4.replace(before, after)


def box(name: bytes) -> int:
    """Where a box of the clip begins."""
    assert MP4.count(name) == 1
    return MP4.index(name) - 4


def with_word(name: bytes, at: int, value: int) -> bytes:
    """The clip with another 32-bit word `at` bytes into the content of a box."""
    place = box(name) + 8 + at
    return MP4[:place] + struct.pack(">I", value) + MP4[place + 4 :]


def test_frames_lie_where_libav_finds_them() -> None:
    with av.open(io.BytesIO(MP4)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        settings = container.streams.video[0].codec_context.extradata
    track = track_of(MP4)
    assert (track.width, track.height, track.settings) == (tiny.SIDE, tiny.SIDE, settings)
    assert [MP4[offset : offset + size] for offset, size in track.samples] == packets


@pytest.mark.parametrize("side", [2, 16, 24, 34, 48, 64, 130, 144, 256])
@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601, Colorspace.SMPTE240M])
@pytest.mark.parametrize("range_", [ColorRange.MPEG, ColorRange.JPEG])
def test_planes_are_those_of_rgb24(side: int, matrix: Colorspace, range_: ColorRange) -> None:
    noise = np.random.default_rng(side).integers(0, 256, (side * 3 // 2, side), np.uint8)
    frame = VideoFrame.from_ndarray(noise, format="yuv420p")
    frame.colorspace, frame.color_range = matrix, range_
    truth = frame.to_ndarray(format="rgb24")
    assert np.array_equal(rgb(frame, VideoReformatter()), truth)
    assert np.array_equal(np.stack([plane.copy() for plane in rgb_planes(frame, VideoReformatter())], 2), truth)


@pytest.mark.parametrize(
    ("mp4", "told"),
    [
        (b"", "it begins with nothing"),
        (b"\x00\x00\x00\x14ftypqt  " + MP4[12:], "is no MP4: it begins with 00 00 00 14 66 74 79 70 71 74"),
        (MP4[:200], "damaged MP4"),
        (MP4[: box(b"mdat")], r"boxes 'moov'|frames at"),
        (replaced(b"avc1\x00", b"mp4v\x00"), "is b'mp4v', not H.264"),
        (replaced(b"vide" + bytes(12), b"soun" + bytes(12)), "has a track of b'soun'"),
        (replaced(b"trak", b"free"), "0 boxes 'trak'"),
        (MP4 + MP4[box(b"moov") :], "2 boxes 'moov'"),
        (with_word(b"stsz", 8, 1 << 31), "2147483648 frames in"),
        (with_word(b"stsz", 8, 5), "is a damaged MP4: 6 frames at"),
        (with_word(b"stsz", 8, 7), "7 numbers in a box|damaged"),
        (with_word(b"stsz", 12, len(MP4)), "6 frames at"),
        (with_word(b"stco", 4, 1 << 30), "1073741824 numbers"),
        (with_word(b"stco", 8, 1 << 31), "6 frames at 2147483648"),
        (with_word(b"stsc", 8, 0), r"chunks begin at \[0"),
        (with_word(b"stsc", 8, 9), r"chunks begin at \[9"),
        (with_word(b"stsc", 12, 1 << 31), "2147483648 frames at"),
        (with_word(b"stsc", 12, 5), "6 frames, 5 of them"),
    ],
)
def test_boxes_that_lie_are_refused(mp4: bytes, told: str) -> None:
    with pytest.raises(NotAClip, match=told):
        track_of(mp4)


@pytest.mark.parametrize(("form", "told"), [(Form(6, 64, 64, "rgb"), "of 32x32, not of 64x64")])
def test_clips_of_another_size_are_refused(form: Form, told: str) -> None:
    with pytest.raises(NotAClip, match=told):
        decode_into(np.empty(form.shape, np.uint8), MP4, form)


def test_a_header_that_declares_fewer_pixels_than_are_coded_is_refused() -> None:
    """By the decoder, before it has memory for them."""
    small = replaced(struct.pack(">2H", 32, 32) + b"\x00\x48", struct.pack(">2H", 16, 16) + b"\x00\x48")
    with pytest.raises(NotAClip):
        decode_into(np.empty((6, 3, 16, 16), np.uint8), small, Form(6, 16, 16, "rgb"))


def test_damaged_bytes_are_a_typed_error_or_pictures() -> None:
    out, rng = np.empty(FORM.shape, np.uint8), np.random.default_rng(1)
    for _ in range(150):
        mp4 = bytearray(MP4)
        for at in rng.integers(0, len(mp4), 3):
            mp4[at] = rng.integers(256)
        try:
            decode_into(out, bytes(mp4), FORM)
        except NotAClip:
            continue
