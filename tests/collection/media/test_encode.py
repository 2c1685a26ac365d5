"""Pictures of clips: shape, range and depth; mp4 files: the same bytes, exact time, nothing about the machine."""

import io
import os
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection.media.encode import Bytes, Coding, cropped, encode, fitted, inner_size, limited8
from mlst.pictures.decode import Form, decode_into
from mlst.pictures.frames import Picture, PictureFormat, Plane
from mlst.pictures.presentation import MATRICES, TRANSFERS
from tests.synthetic import counted, read_counter, texture

SD = PictureFormat(8, False, Fraction(1))
PLAIN = Coding(Fraction(25), 18, "smpte170m", "bt709")


def picture(planes: Bytes, subsampled: bool = True) -> Picture:
    """From (3, H, W) planes, 4:2:0 or 4:4:4."""
    y, u, v = planes
    half = (-(-y.shape[1] // 2), -(-y.shape[0] // 2))
    if subsampled:
        u, v = (cv2.resize(p, half, interpolation=cv2.INTER_AREA) for p in (u, v))
    return Picture(0, 0, y, u, v)


def uniform(codes: tuple[int, int, int], depth: int) -> Picture:
    kind = np.uint8 if depth == 8 else np.uint16
    y, u, v = (np.full(shape, code, kind) for shape, code in zip(((90, 120), (45, 60), (45, 60)), codes, strict=True))
    return Picture(0, 0, y, u, v)


def decoded(data: bytes) -> list[Bytes]:
    with av.open(io.BytesIO(data)) as media:
        return [frame.to_ndarray() for frame in media.decode(video=0)]


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 16])
def test_the_same_colour_in_any_depth_and_range_gives_the_same_codes(depth: int) -> None:
    y, u, v = 0.4, -0.2, 0.3
    top, unit, middle = (1 << depth) - 1, 1 << (depth - 8), 1 << (depth - 1)
    limited = tuple(round(c) for c in ((16 + 219 * y) * unit, middle + 224 * u * unit, middle + 224 * v * unit))
    full = tuple(round(c) for c in (top * y, middle + top * u, middle + top * v))
    wanted = (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
    for codes, full_range in ((limited, False), (full, True)):
        frame = fitted(uniform(codes, depth), PictureFormat(depth, full_range, Fraction(1)), 64, "stretch")
        found = frame[:64].mean(), frame[64:80].mean(), frame[80:].mean()
        assert found == pytest.approx(wanted, abs=1)
        coded = decoded(encode([frame] * 3, PLAIN))[2]
        assert (coded[:64].mean(), coded[64:80].mean(), coded[80:].mean()) == pytest.approx(wanted, abs=2)


@pytest.mark.parametrize("depth", [8, 10, 16])
def test_black_white_and_grey_are_exact(depth: int) -> None:
    top, unit, middle = (1 << depth) - 1, 1 << (depth - 8), 1 << (depth - 1)
    luma, chroma = limited8(depth, True, False), limited8(depth, True, True)
    assert (luma[0], luma[top], chroma[middle]) == (16, 235, 128)
    luma, chroma = limited8(depth, False, False), limited8(depth, False, True)
    assert (luma[16 * unit], luma[235 * unit], luma[0], luma[top], chroma[middle]) == (16, 235, 0, 255, 128)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(120, 160), (240, 321), (720, 1280), (33, 501), (1, 1), (2, 900)])
@pytest.mark.parametrize("subsampled", [True, False])
def test_every_shape_is_filled_and_keeps_its_mean(shape: tuple[int, int], subsampled: bool) -> None:
    source = picture(texture(4, *shape), subsampled)
    frame = fitted(source, SD, 256, "stretch")
    assert (frame.shape, frame.dtype) == ((384, 256), np.uint8)
    for got, plane in ((frame[:256], source.y), (frame[256:320], source.u), (frame[320:], source.v)):
        assert float(got.mean()) == pytest.approx(float(plane.mean()), abs=1.5)


@pytest.mark.parametrize(("width", "height", "sar"), [(160, 120, 1), (320, 120, 1), (121, 201, 1), (90, 120, 2)])
def test_crop_shows_the_middle_undistorted(width: int, height: int, sar: int) -> None:
    """Luma and chroma say where they come from: codes rise by one per displayed pixel, from the middle."""
    x = (np.arange(width) - (width - 1) / 2) * sar
    y = np.arange(height) - (height - 1) / 2
    xs, ys = np.meshgrid(x, y)
    frame = fitted(
        picture(np.stack([128 + xs / 2, 128 + xs / 2, 128 + ys / 2]).round().astype(np.uint8), subsampled=False),
        PictureFormat(8, False, Fraction(sar)), 64, "crop",
    )  # fmt: skip
    side = min(width * sar, height)
    for plane, axis in ((frame[:64], 1), (frame[64:80].reshape(32, 32), 1), (frame[80:].reshape(32, 32), 0)):
        ends = np.take(plane, [0, -1], axis=axis).astype(float).mean(axis=1 - axis)
        assert ends.mean() == pytest.approx(128, abs=1.5)
        assert ends[1] - ends[0] == pytest.approx(side / 2 * (1 - 1 / len(plane)), abs=2.5)


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from(["420", "422", "444", "410"]), st.fractions(1 / 4, 4))
def test_cropped_planes_stay_aligned(width: int, height: int, layout: str, sar: Fraction) -> None:
    fx, fy = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "410": (4, 4)}[layout]
    y = np.add.outer(np.arange(height) // fy * 1000, np.arange(width) // fx).astype(np.int32)
    u = np.add.outer(np.arange(-(-height // fy)) * 1000, np.arange(-(-width // fx))).astype(np.int32)
    if (round(height / len(u)), round(width / u.shape[1])) != (fy, fx):
        return
    part = cropped(Picture(0, 0, y, u, u), sar)  # type: ignore[arg-type]
    rows, columns = part.y.shape
    assert np.array_equal(part.y[::fy, ::fx], part.u)
    wanted = min(width * sar, height)
    assert abs(rows - wanted) <= max(fy, wanted / 2 / height + 1)
    assert abs(columns * sar - wanted) <= max(fx, 1) * sar


@pytest.mark.parametrize(("width", "height", "sar", "inner"), [
    (320, 180, Fraction(1), (256, 144)), (180, 320, Fraction(1), (144, 256)), (64, 64, Fraction(2), (256, 128)),
    (1000, 2, Fraction(1), (256, 2)),
])  # fmt: skip
def test_pad_keeps_the_shape_between_black_bars(
    width: int, height: int, sar: Fraction, inner: tuple[int, int]
) -> None:
    source = picture(np.full((3, height, width), 200, np.uint8))
    assert inner_size(source, sar, 256) == inner
    frame = fitted(source, PictureFormat(8, False, sar), 256, "pad")
    luma, chroma = frame[:256], frame[256:320].reshape(128, 128)
    rows, columns = np.flatnonzero((luma == 200).any(1)), np.flatnonzero((luma == 200).any(0))
    assert (len(columns), len(rows)) == inner
    assert abs(int(rows[0]) - (255 - int(rows[-1]))) <= 2
    assert set(np.unique(luma)) <= {16, 200}
    assert set(np.unique(chroma)) <= {128, 200}
    bars = np.flatnonzero((chroma == 200).any(1))
    assert 2 * len(bars) == inner[1]
    assert abs(2 * int(bars[0]) - int(rows[0])) <= 1


def clip(length: int = 30) -> list[Bytes]:
    return [fitted(picture(counted(k, 120, 160)), SD, 128, "stretch") for k in range(length)]


def test_bytes_are_the_same_again_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encode(clip(), PLAIN)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert encode(clip(), PLAIN) == first
    assert not os.listdir(tmp_path)
    for trace in (b"x264", b"Lavf", b"Lavc", b"clip.mp4", str(tmp_path).encode()):
        assert trace not in first
    assert encode(clip(), Coding(Fraction(25), 19, "smpte170m", "bt709")) != first


@pytest.mark.parametrize("size", [64, 96, 176, 256])
def test_bytes_do_not_depend_on_what_was_in_memory(size: int) -> None:
    frames = [fitted(picture(counted(k, 120, 160)), SD, size, "stretch") for k in range(10)]
    seen, litter = set(), []
    for number in range(8):
        litter.append([np.full(n, 37 * number % 256, np.uint8) for n in range(900, 60_000, 1_500)])
        del litter[0][number::3]
        seen.add(encode(frames, PLAIN))
    assert len(seen) == 1


@pytest.mark.parametrize(
    "rate",
    [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25, 2), Fraction(7200, 239), Fraction(1)],
)
def test_time_is_exact(rate: Fraction) -> None:
    data = encode(clip(7), Coding(rate, 18, "bt709", "bt709"))
    with av.open(io.BytesIO(data)) as media:
        stream = media.streams.video[0]
        assert stream.average_rate == rate
        assert stream.duration * stream.time_base == 7 / rate
        assert stream.time_base.denominator < 1 << 20
        times = [frame.pts * stream.time_base for frame in media.decode(stream)]
    assert times == [k / rate for k in range(7)]


def test_readers_find_every_frame_and_one_key_frame() -> None:
    data = encode(clip(), PLAIN)
    assert [read_counter(frame[:128]) for frame in decoded(data)] == list(range(30))
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data)) as media:
        assert [p.is_keyframe for p in media.demux(video=0) if p.size].count(True) == 1
        assert len(media.streams) == 1
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(data)
        file.flush()
        capture = cv2.VideoCapture(file.name)
        seen: list[Plane] = []
        while (got := capture.read())[0]:
            seen.append(cv2.cvtColor(got[1], cv2.COLOR_BGR2GRAY))
    assert [read_counter(grey) for grey in seen] == list(range(30))


def test_pictures_survive() -> None:
    frames = clip()
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(frames, decoded(encode(frames, PLAIN)), strict=True)]
    assert 10 * np.log10(255**2 / max(errors)) > 36


@pytest.mark.parametrize(
    ("matrix", "transfer", "tags"),
    [("bt709", "bt709", (1, 1, 1)), ("smpte170m", "iec61966-2-1", (6, 13, 6)), ("bt2020nc", "smpte2084", (9, 16, 9))],
)
def test_colour_is_tagged(matrix: str, transfer: str, tags: tuple[int, int, int]) -> None:
    data = encode(clip(2), Coding(Fraction(25), 18, matrix, transfer))
    with av.open(io.BytesIO(data)) as media:
        frame = next(media.decode(video=0))
    assert (frame.colorspace, frame.color_trc, frame.color_primaries) == tags
    assert frame.color_range == 1


@pytest.mark.parametrize("matrix", MATRICES.values())
def test_the_loader_converts_every_pair_of_colours_that_may_be_written(matrix: str) -> None:
    for transfer in TRANSFERS.values():
        data = encode(clip(2), Coding(Fraction(25), 18, matrix, transfer))
        pictures = np.zeros((2, 3, 128, 128), np.uint8)
        decode_into(pictures, data, Form(2, 128, 128, "rgb"))
        assert pictures.std() > 5
