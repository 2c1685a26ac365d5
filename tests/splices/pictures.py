"""Pictures in memory, and their way into files and detectors: what every splice is made with."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from collection.detectors import Thumb, make_detector, thumb
from mlst.pictures.frames import Picture, PictureFormat
from mlst.records import Transition

WIDTH, HEIGHT, RATE = 320, 180, 30

CLIPS = Path(__file__).parents[2] / "manifests" / "demo" / "clips"

Frames = NDArray[np.uint8]
"""(T, 270, 320) uint8: frames in I420 layout, limited range."""


@dataclass(frozen=True)
class Footage:
    """Frames `[start, end)` of a file that are one shot."""

    file: str
    start: int
    end: int


def load(footage: Footage, clips: Path = CLIPS) -> Frames:
    """The footage scaled to 320x180, (T, 270, 320)."""
    with av.open(str(clips / footage.file)) as container:
        frames = []
        for i, frame in enumerate(container.decode(video=0)):
            if i >= footage.end:
                break
            if i >= footage.start:
                picture = frame.reformat(WIDTH, HEIGHT, "yuv420p", dst_color_range="MPEG", interpolation="AREA")
                frames.append(picture.to_ndarray())
    return np.stack(frames)


def black_frames(n: int) -> Frames:
    frames = np.full((n, HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    frames[:, :HEIGHT] = 16
    return frames


def planes(frames: Frames) -> tuple[Frames, Frames, Frames]:
    """Y (..., 180, 320), U and V (..., 90, 160) of frames in I420 layout."""
    lead = frames.shape[:-2]
    u, v = frames[..., HEIGHT : HEIGHT * 5 // 4, :], frames[..., HEIGHT * 5 // 4 :, :]
    half = (*lead, HEIGHT // 2, WIDTH // 2)
    return frames[..., :HEIGHT, :], u.reshape(half), v.reshape(half)


def pack(y: Frames, u: Frames, v: Frames) -> Frames:
    """The reverse of `planes`."""
    quarter = (*y.shape[:-2], HEIGHT // 4, WIDTH)
    return np.concatenate([y, u.reshape(quarter), v.reshape(quarter)], axis=-2)


def thumbs(frames: Frames, first: int = 0) -> Iterator[Thumb]:
    """What detectors see of frames in memory, numbered from `first`."""
    fmt = PictureFormat(8, False, Fraction(1))
    for i, (y, u, v) in enumerate(zip(*planes(frames), strict=True), first):
        yield thumb(Picture(i, i, y, u, v), fmt)


def detect(name: str, seen: Iterable[Thumb], **options: float | bool) -> list[Transition]:
    """All that the detector finds."""
    detector = make_detector(name, options, Fraction(RATE))
    found = [t for thumb in seen for t in detector.push(thumb)]
    return found + detector.finish()


def decoded(path: Path) -> Iterator[Thumb]:
    """What detectors see of a file in yuv420p."""
    fmt = PictureFormat(8, False, Fraction(1))
    with av.open(str(path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            y, u, v = (
                np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
                for plane in frame.planes
            )
            yield thumb(Picture(i, frame.pts or 0, y, u, v), fmt)


def encode(frames: Frames, path: Path, crf: int, pts: Sequence[int] = ()) -> None:
    """Write the frames with x264 at 30 fps, or at the given pts (1/90000 s)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        stream.codec_context.time_base = Fraction(1, 90000)
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "yuv420p")
            frame.pts = pts[i] if pts else i * 90000 // RATE
            frame.time_base = Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
