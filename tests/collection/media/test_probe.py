"""Containers by their bytes, hostile files, exact times and rates."""

import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st

from collection.engine.stage import Rejected
from collection.media.probe import RATES, frame_rate, open_media, packets, probe, sniff
from collection.recipe import Limits
from tests.synthetic import Spec, damaged, packed, texture, truncated, write

CONTAINERS = {
    "a.mp4": ("mov", Spec()),
    "a.mov": ("mov", Spec(codec="mjpeg", pix_fmt="yuvj420p", full_range=True)),
    "a.mkv": ("matroska", Spec()),
    "a.webm": ("matroska", Spec(codec="libvpx-vp9")),
    "a.avi": ("avi", Spec(codec="mpeg4")),
    "a.ts": ("mpegts", Spec()),
    "a.mpg": ("mpeg", Spec(codec="mpeg2video")),
    "a.m2v": ("mpegvideo", Spec(codec="mpeg2video")),
    "a.flv": ("flv", Spec(codec="flv")),
    "a.ivf": ("ivf", Spec(codec="libvpx")),
    "a.gif": ("gif", Spec(codec="gif", pix_fmt="rgb8")),
    "a.y4m": ("yuv4mpegpipe", Spec(codec="wrapped_avframe")),
    "a.ogv": ("ogg", Spec(codec="libvpx")),
}


def make(path: Path, spec: Spec) -> Path:
    """As `write`, and GIF, whose palette has no planes to fill."""
    if spec.codec != "gif":
        return write(path, Spec(**{**vars(spec), "frames": 12}))
    with av.open(str(path), "w") as media:
        stream = media.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for number in range(12):
            frame = packed(texture(number, 48, 64), "yuv444p", False).reformat(format="rgb8")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            media.mux(stream.encode(frame))
        media.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_container_is_read_off_the_bytes_whatever_the_name(tmp_path: Path, name: str) -> None:
    demuxer, spec = CONTAINERS[name]
    file = make(tmp_path / name, spec).rename(tmp_path / "playlist.m3u8")
    assert sniff(file) == demuxer
    found = probe(file, Limits())
    assert (found.container, found.packets) == (demuxer, 12)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"

HOSTILE = {
    "empty": (b"", "corrupt"),
    "zeros": (bytes(4096), "corrupt"),
    "hls": (PLAYLIST, "not_media"),
    "hls behind a mark": (b"\xef\xbb\xbf\r\n" + PLAYLIST, "not_media"),
    "concat": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "not_media"),
    "dash": (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "not_media"),
    "xspf": (b'<playlist version="1"><trackList/></playlist>', "not_media"),
    "pls": (b"[playlist]\nFile1=http://127.0.0.1/\n", "not_media"),
    "sdp": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "not_media"),
    "html": (b"  <!DOCTYPE html><html><body>Sign in</body></html>", "not_media"),
    "json": (b'{"error": 403}', "not_media"),
    "text": (b"Too many requests", "not_media"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "not_media"),
    "webp": (b"RIFF\0\0\0\0WEBPVP8 ", "not_media"),
    "avif": (b"\0\0\0\x1cftypavif\0\0\0\0mif1", "not_media"),
    "mp3": (b"ID3\x04\0\0\0\0\0\0", "no_video"),
    "flac": (b"fLaC\0\0\0\x22", "no_video"),
    "box without content": (b"\0\0\0\x20ftypisom\0\0\0\0isomiso2avc1mp41", "corrupt"),
    "cut box": (b"\0\0\xff\xffmoov", "corrupt"),
    "ebml alone": (b"\x1aE\xdf\xa3", "corrupt"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_video_is_refused_with_a_kind(tmp_path: Path, name: str) -> None:
    data, kind = HOSTILE[name]
    file = tmp_path / "video.mp4"
    file.write_bytes(data)
    with pytest.raises(Rejected) as refusal:
        probe(file, Limits())
    assert refusal.value.kind == kind
    assert str(tmp_path) not in refusal.value.detail


def test_libav_never_guesses_another_container(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mkv", Spec(frames=3))
    with pytest.raises(Rejected, match="mov demuxer"), open_media(file, "mov", Limits()):
        pass


def test_truncated_and_damaged_files_end_in_a_kind_or_in_fewer_packets(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", Spec(frames=30))
    with pytest.raises(Rejected) as refusal:
        probe(truncated(whole, tmp_path / "cut.mp4", 0.5), Limits())
    assert refusal.value.kind == "corrupt"
    stream = write(tmp_path / "whole.ts", Spec(frames=30))
    assert 1 < probe(truncated(stream, tmp_path / "cut.ts", 0.5), Limits()).packets < 30
    assert probe(damaged(whole, tmp_path / "bad.mp4", at=0.3), Limits()).packets == 30


def test_sound_and_cover_art_are_not_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 800, "NONE", ""))
        sound.writeframes(bytes(1600))
    with pytest.raises(Rejected, match="audio"):
        probe(tmp_path / "a.wav", Limits())
    for cover in (False, True):
        file = tmp_path / f"{cover}.mp4"
        with av.open(str(file), "w") as media:
            audio = media.add_stream("aac", rate=8000, layout="mono")
            if cover:
                picture = media.add_stream("mjpeg", rate=1)
                picture.width, picture.height, picture.pix_fmt = 16, 16, "yuvj420p"
                picture.disposition = Disposition.attached_pic
                media.mux(picture.encode(packed(texture(0, 16, 16), "yuvj420p", True)))
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.sample_rate = 8000
            media.mux(audio.encode(block))
            media.mux(audio.encode())
            if cover:
                media.mux(picture.encode())
        with pytest.raises(Rejected) as refusal:
            probe(file, Limits())
        assert refusal.value.kind == "no_video"
        assert ("attached" in refusal.value.detail) == cover


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        (Limits(bytes=1000), "too_large"),
        (Limits(pixels=160 * 120 - 1), "too_large"),
        (Limits(frames=47), "too_long"),
        (Limits(volume=48 * 160 * 120 - 1), "too_large"),
        (Limits(seconds=1.9), "too_long"),
        (Limits(rate=24.9), "too_fast"),
    ],
)
def test_every_limit_has_its_kind_and_is_inclusive(tmp_path: Path, limits: Limits, kind: str) -> None:
    file = write(tmp_path / "a.mp4", Spec())
    with pytest.raises(Rejected) as refusal:
        probe(file, limits)
    assert refusal.value.kind == kind
    size = file.stat().st_size
    most = Limits(bytes=size, pixels=160 * 120, frames=48, seconds=1.92, rate=25, volume=48 * 160 * 120)
    assert probe(file, most).packets == 48


def test_times_are_exact(tmp_path: Path) -> None:
    ntsc = probe(write(tmp_path / "a.mp4", Spec(rate=Fraction(30000, 1001))), Limits())
    assert (ntsc.rate, ntsc.duration) == (Fraction(30000, 1001), 48 * Fraction(1001, 30000))
    late = probe(write(tmp_path / "late.mp4", Spec(first=125)), Limits())
    assert late.first_pts * late.time_base == 5
    coarse = probe(write(tmp_path / "a.mkv", Spec(rate=Fraction(24000, 1001))), Limits())
    assert (coarse.time_base, coarse.rate) == (Fraction(1, 1000), Fraction(24000, 1001))


def test_what_an_edit_list_hides_counts_for_the_hash_alone(tmp_path: Path) -> None:
    found = probe(write(tmp_path / "a.mp4", Spec(first=-10, options={"bf": "2"})), Limits())
    assert (found.packets, found.first_pts, found.duration) == (48, 0, 38 * Fraction(1, 25))


def test_avi_counts_frames(tmp_path: Path) -> None:
    found = probe(write(tmp_path / "a.avi", Spec(options={"bf": "3", "preset": "fast"})), Limits())
    assert (found.first_pts, found.last_pts, found.rate) == (0, 47, 25)


def test_the_hash_survives_a_remux_but_not_a_new_encoding(tmp_path: Path) -> None:
    first = write(tmp_path / "a.mp4", Spec())
    with av.open(str(first)) as source, av.open(str(tmp_path / "b.mkv"), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    hashes = {probe(file, Limits()).packets_sha256 for file in (first, tmp_path / "b.mkv")}
    assert len(hashes) == 1
    again = probe(write(tmp_path / "c.mp4", Spec(options={"crf": "30"})), Limits())
    assert again.packets_sha256 not in hashes


@given(st.sampled_from(RATES), st.integers(40, 400), st.integers(0, 999), st.randoms())
def test_rates_are_found_behind_a_clock_of_milliseconds(
    rate: Fraction, frames: int, first: int, random: object
) -> None:
    ticks = np.array([first + round(k * 1000 / rate) for k in range(frames)])
    random.shuffle(ticks)  # type: ignore[attr-defined]
    found = frame_rate(ticks, Fraction(1, 1000), Fraction(1))
    assert abs(found - rate) * (frames - 1) * 1000 <= 2 * rate**2
    if rate.denominator == 1 and rate not in (24, 30, 60):
        assert found == rate


def test_a_pause_does_not_change_the_rate_and_a_variable_one_has_its_median() -> None:
    steady = np.array([k * 40 + 5000 * (k > 150) for k in range(300)])
    assert frame_rate(steady, Fraction(1, 1000), Fraction(1)) == 25
    varied = np.cumsum([20, 50, 50, 100, 50, 300, 50, 10])
    assert frame_rate(varied, Fraction(1, 1000), Fraction(1)) == 20
    assert frame_rate(np.array([7]), Fraction(1, 1000), Fraction(12)) == 12


def test_rate_agrees_with_opencv(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec(rate=Fraction(24000, 1001)))
    capture = cv2.VideoCapture(str(file))
    assert float(probe(file, Limits()).rate) == pytest.approx(capture.get(cv2.CAP_PROP_FPS))


def test_streams_that_are_found_while_reading_end_nothing(tmp_path: Path) -> None:
    """What PyAV does of them depends on what was in memory, so a stand-in raises as it was seen to."""

    class Late:
        def __init__(self, media: InputContainer) -> None:
            self.media = media

        def demux(self, stream: VideoStream) -> Iterator[Any]:
            yield from self.media.demux(stream)
            raise IndexError("list index out of range")

    with open_media(write(tmp_path / "a.ts", Spec(frames=6)), "mpegts", Limits()) as (media, stream):
        assert [packet.size > 0 for packet in packets(Late(media), stream)] == [True] * 6 + [False]  # type: ignore[arg-type]


@pytest.mark.parametrize("at", range(4))
def test_a_codec_tag_that_is_not_ascii_ends_nothing(tmp_path: Path, at: int) -> None:
    """libav takes the codec from other boxes then."""
    path = write(tmp_path / "a.mov", Spec(frames=4, codec="mpeg4"))
    data = path.read_bytes()
    tag = bytearray(b"mp4v")
    tag[at] = 0xFF
    path.write_bytes(data.replace(b"mp4v", bytes(tag)))
    assert probe(path, Limits()).codec == "mpeg4"
