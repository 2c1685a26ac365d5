"""Spans are exact: each packet of the copy is one of the source's, at the source's time."""

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from collection.engine.stage import Rejected, Retry
from collection.fetch.spans import BLOCK, Distant, RangeFile, Whole, copy_span
from mlst.pictures.presentation import Crop, declared_crop
from mlst.records import OPEN_END
from tests.collection.sandbox.test_sandbox import SEALED, connect, tried
from tests.odd_media import clapped, streams
from tests.synthetic import Spec, write

CLIPS = Path(__file__).parents[3] / "manifests/demo/clips"
X264 = "keyint=24:bframes=2:b-adapt=0:scenecut=0:threads=1"
SIZE = (64, 48)


def written(
    path: Path, rate: Fraction, ticks: Iterator[int], base: Fraction, params: str = X264, options: Any = None
) -> Path:
    """200 frames of noise at the pts that `ticks` gives."""
    codec = {".webm": "libvpx-vp9"}.get(path.suffix, "libx264")
    container = {".webm": "webm", ".mkv": "matroska"}.get(path.suffix, "mp4")
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        x264 = {"x264-params": params, "preset": "ultrafast"}
        stream.options = x264 if codec == "libx264" else {"deadline": "realtime", "cpu-used": "8", "g": "24"}
        rng = np.random.default_rng(0)
        for _ in range(200):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
            frame.pts, frame.time_base = next(ticks), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def even(step: int, first: int = 0) -> Iterator[int]:
    value = first
    while True:
        yield value
        value += step


def uneven() -> Iterator[int]:
    value = 0
    for step in cycle((1001, 2002, 1500, 900, 3300)):
        yield value
        value += step


SOURCES = {
    "23.976": ("a.mp4", Fraction(24000, 1001), lambda: even(1001), Fraction(1, 24000), X264, {}),
    "29.97 front index": (
        "a.mp4",
        Fraction(30000, 1001),
        lambda: even(1001),
        Fraction(1, 30000),
        X264,
        {"movflags": "faststart"},
    ),
    "59.94": ("a.mp4", Fraction(60000, 1001), lambda: even(1001), Fraction(1, 60000), X264, {}),
    "variable": ("a.mp4", Fraction(30), uneven, Fraction(1, 30000), X264, {}),
    "late start": ("a.mp4", Fraction(25), lambda: even(1, 50), Fraction(1, 25), X264, {}),
    "open GOP": ("a.mp4", Fraction(25), lambda: even(1), Fraction(1, 25), X264 + ":open-gop=1", {}),
    "no B-frames": (
        "a.mp4",
        Fraction(25),
        lambda: even(1),
        Fraction(1, 25),
        "keyint=24:bframes=0:scenecut=0:threads=1",
        {},
    ),
    "DASH": (
        "a.mp4",
        Fraction(30000, 1001),
        lambda: even(1001),
        Fraction(1, 30000),
        X264,
        {"movflags": "dash+global_sidx"},
    ),
    "fragmented": (
        "a.mp4",
        Fraction(25),
        lambda: even(1),
        Fraction(1, 25),
        X264,
        {"movflags": "frag_keyframe+empty_moov"},
    ),
    "WebM": ("a.webm", Fraction(30000, 1001), lambda: even(1001), Fraction(1, 30000), "", {}),
}


def packets(path: Path) -> dict[Fraction, bytes]:
    """Payload by time on the file's clock."""
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        return {p.pts * stream.time_base: bytes(p) for p in media.demux(stream) if p.size}


def frames(path: Path, origin: Fraction, start: Fraction, end: Fraction) -> dict[Fraction, bytes]:
    """Decoded pictures by time on the source's clock."""
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        shown = {f.pts * stream.time_base - origin: bytes(f.to_ndarray()) for f in media.decode(stream)}
    return {time: picture for time, picture in shown.items() if start <= time < end}


@pytest.mark.parametrize("span", [(0, 1), (Fraction(5, 2), Fraction(7, 2)), (Fraction(1001, 500), OPEN_END)])
@pytest.mark.parametrize("name", SOURCES)
def test_copy_is_exact(tmp_path: Path, name: str, span: Any) -> None:
    file, rate, ticks, base, params, options = SOURCES[name]
    path, (start, end) = written(tmp_path / file, rate, ticks(), base, params, options), map(Fraction, span)
    container = "matroska" if path.suffix == ".webm" else "mov"
    copy = tmp_path / "copy"
    origin = copy_span(path, container, start, end, copy)
    truth = packets(path)
    zero = min(truth)
    found = {time - origin: data for time, data in packets(copy).items()}
    assert all(truth[time + zero] == data for time, data in found.items())
    assert next(iter(found)) == min(found) <= max(start - 1, 0)
    wanted = frames(path, zero, start, end)
    assert len(wanted) >= 15
    assert frames(copy, origin, start, end) == wanted
    assert len(found) < 150 or end == OPEN_END
    data = path.read_bytes()
    remote = Distant(lambda offset, length: data[offset : offset + length], len(data), data[:BLOCK], BLOCK)
    assert copy_span(remote, container, start, end, tmp_path / "remote") == origin
    assert (tmp_path / "remote").read_bytes() == copy.read_bytes()


@pytest.mark.parametrize(
    ("clip", "container"),
    [("sintel_trailer_52s_480x204.mp4", "mov"), ("bbb_trailer_33s_640x360.webm", "matroska")],
)
def test_real_clips(tmp_path: Path, clip: str, container: str) -> None:
    start, end = Fraction(20), Fraction(61, 3)
    origin = copy_span(CLIPS / clip, container, start, end, tmp_path / "copy")
    truth = packets(CLIPS / clip)
    found = {time - origin + min(truth): data for time, data in packets(tmp_path / "copy").items()}
    assert found.items() <= truth.items()
    assert len(found) < len(truth) / 3
    assert frames(tmp_path / "copy", origin, start, end) == frames(CLIPS / clip, min(truth), start, end)


def test_what_cannot_be_copied_exactly_is_left_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mkv", Fraction(25), even(1), Fraction(1, 25))
    with pytest.raises(Whole):
        copy_span(path, "matroska", Fraction(3), Fraction(4), tmp_path / "copy")
    with pytest.raises(Whole):
        copy_span(path, "avi", Fraction(3), Fraction(4), tmp_path / "copy")
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(100_000))
    with pytest.raises(Whole):
        copy_span(tmp_path / "noise", "mov", Fraction(0), Fraction(1), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_span_behind_the_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", Fraction(25), even(1), Fraction(1, 25))
    copy_span(path, "mov", Fraction(199, 25), Fraction(9), tmp_path / "copy")
    with pytest.raises(Rejected, match="span"):
        copy_span(path, "mov", Fraction(8), Fraction(9), tmp_path / "copy")


def test_refusal_while_reading_passes_through_the_demuxer(tmp_path: Path) -> None:
    data = written(tmp_path / "a.mp4", Fraction(25), even(1), Fraction(1, 25)).read_bytes()

    def fetch(offset: int, length: int) -> bytes:
        raise Retry("blocked.forbidden", "no")

    with pytest.raises(Retry, match=r"blocked\.forbidden"):
        copy_span(Distant(fetch, len(data), data[:BLOCK], BLOCK), "mov", Fraction(5), Fraction(6), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.skipif(not SEALED, reason="seccomp filters are for Linux on x86-64 and aarch64")
def test_libav_has_no_network_and_the_process_with_the_network_no_libav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the demuxer is taken over: it says what it could do in place of copying."""
    theirs = (tmp_path / "theirs").open("w+b")

    def taken_over(*_: object) -> Fraction:
        tries = (connect, (tmp_path / "a.mp4").read_bytes, lambda: os.listdir(tmp_path), os.fork)
        spared = [what for what in tries if not str(tried(what)).startswith("PermissionError")]
        theirs.write(b"x")
        theirs.flush()
        raise Rejected("said", f"{len(spared)} {os.getpid()}")

    path = written(tmp_path / "a.mp4", Fraction(25), even(1), Fraction(1, 25))
    monkeypatch.setattr("collection.fetch.spans._copied_span", taken_over)
    remote = Distant(lambda offset, length: bytes(length), path.stat().st_size, b"", BLOCK)
    with pytest.raises(Rejected) as answer:
        copy_span(remote, "mov", Fraction(0), Fraction(1), tmp_path / "copy")
    spared, process = answer.value.detail.split()
    assert (answer.value.kind, spared) == ("said", "0")
    assert int(process) != os.getpid()
    theirs.seek(0)
    assert theirs.read() == b"", "open files of the parent are not the fork's"


@pytest.mark.parametrize("wish", [(10, 0), (0, 1 << 40), (1 << 62, 1), (99, 2), (-1 % 2**64, 1)])
def test_the_process_with_the_network_reads_inside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: tuple[int, int]
) -> None:
    reads: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> bytes:
        reads.append((offset, length))
        return bytes(length)

    def greedy(file: RangeFile, *_: object) -> Fraction:
        return Fraction(len(file._fetch(*wish)))

    monkeypatch.setattr("collection.fetch.spans._copied_span", greedy)
    with pytest.raises((Whole, ValueError)):
        copy_span(Distant(fetch, 100, b"", BLOCK), "mov", Fraction(0), Fraction(1), tmp_path / "copy")
    assert reads == []


def test_a_demuxer_does_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def endless(file: RangeFile, *_: object) -> Fraction:
        while True:
            file._fetch(0, 1 << 20)

    monkeypatch.setattr("collection.fetch.spans._copied_span", endless)
    remote = Distant(lambda offset, length: (reads.append(length), bytes(length))[1], 1 << 20, b"", BLOCK)
    with pytest.raises(Whole):
        copy_span(remote, "mov", Fraction(0), Fraction(1), tmp_path / "copy")
    assert len(reads) == 8


def test_range_file_reads_like_a_file() -> None:
    data = np.random.default_rng(1).bytes(10 * BLOCK + 17)
    calls: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> bytes:
        calls.append((offset, length))
        return data[offset : offset + length]

    file = RangeFile(fetch, len(data), data[: BLOCK + 5], 2 * BLOCK)
    rng = np.random.default_rng(2)
    for offset, length in zip(rng.integers(0, len(data) + 9, 300), rng.integers(0, 3 * BLOCK, 300), strict=True):
        assert file.seek(int(offset)) == offset
        got = bytearray()
        while piece := file.read(int(length) - len(got)):
            got += piece
        assert bytes(got) == data[offset : offset + length]
        assert file.tell() == offset + len(got)
    assert file.seek(-3, 2) == len(data) - 3
    assert file.read() == data[-3:]
    assert sum(length for _, length in calls) == len(data) - BLOCK
    assert all(offset % BLOCK == 0 for offset, _ in calls)


def test_range_file_holds_a_bounded_part() -> None:
    size = 1 << 30
    file = RangeFile(lambda offset, length: bytes(length), size, b"", 4 << 20)
    for offset in range(0, size, 8 << 20):
        file.seek(offset)
        assert file.read(100) == bytes(100)
    assert sum(map(len, file._blocks.values())) <= 16 << 20


def test_the_main_stream_is_copied_with_its_crop(tmp_path: Path) -> None:
    small, film = Spec(frames=40, width=64, height=48, options={"g": "10"}), Spec(frames=60, options={"g": "10"})
    several = streams(tmp_path / "several.mp4", small, film)
    copy_span(several, "mov", Fraction(1), Fraction(2), tmp_path / "a.mp4")
    cropped = clapped(write(tmp_path / "film.mp4", film), tmp_path / "cropped.mp4", (128, 96), (8, -4))
    copy_span(cropped, "mov", Fraction(1), Fraction(2), tmp_path / "b.mp4")
    for name, crop in (("a.mp4", (0, 0, 0, 0)), ("b.mp4", (24, 8, 8, 16))):
        with av.open(str(tmp_path / name)) as copy:
            (stream,) = copy.streams.video
            assert declared_crop(copy, stream) == Crop(*crop, 160, 120)
            assert 25 <= sum(packet.size > 0 for packet in copy.demux(stream)) <= 50
