"""Video files to frames and back, with PyAV. One thread per file: loaders already run in parallel."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from astm.data.clips import DataError
from astm.files import whole

DEMUXERS = {
    ".avi": "avi",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".mov": "mov",
    ".mp4": "mov",
    ".m4v": "mov",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
}
"""Which demuxer opens a file of which suffix; it is never guessed from the content."""


def frames_of(path: Path, suffix: str, pixels: str) -> Iterator[NDArray[np.uint8]]:
    """Decode from the beginning.

    Parameters
    ----------
    suffix: that the file counts as having, a key of `DEMUXERS`.
    pixels: `rgb24` gives (H, W, 3), `gray` gives (H, W), full range.

    Raises
    ------
    DataError: not a video of that kind, or without a picture.
    """
    with _opened(path, suffix) as container:
        for frame in _decoded(container, path):
            yield frame.to_ndarray(format=pixels)


def presentation_times(path: Path) -> list[int]:
    """Pts of every frame, ascending, from the packets: nothing is decoded. What an edit list cuts off is no frame."""
    with _opened(path, path.suffix) as container:
        try:
            packets = [p.pts for p in container.demux(container.streams.video[0]) if p.size and not p.is_discard]
        except av.FFmpegError as why:
            raise DataError(f"{path} cannot be read: {why}") from None
    if None in packets:
        raise DataError(f"{path} has frames without timestamps; remux it, e.g. to .mp4")
    return sorted({pts for pts in packets if pts is not None})


def frames_at(path: Path, times: Sequence[int]) -> NDArray[np.uint8]:
    """(T, H, W, 3) RGB frames at these ascending pts; decodes from the keyframe before the first one."""
    wanted, found = set(times), []
    with _opened(path, path.suffix) as container:
        try:
            container.seek(times[0], stream=container.streams.video[0])
        except av.FFmpegError as why:
            raise DataError(f"{path} cannot be sought: {why}") from None
        for frame in _decoded(container, path):
            if frame.pts in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if frame.pts is not None and frame.pts >= times[-1]:
                break
    if len(found) != len(times):
        raise DataError(f"{path}: {len(times) - len(found)} of {len(times)} frames from pts {times[0]} do not decode")
    if sizes := {f"{frame.shape[1]} x {frame.shape[0]}" for frame in found if frame.shape != found[0].shape}:
        raise DataError(f"{path} changes its size within a clip, to {', '.join(sorted(sizes))}; encode it anew")
    return np.stack(found)


def frame_rate(path: Path) -> Fraction:
    """Frames per second, 25 where the file does not say."""
    with _opened(path, path.suffix) as container:
        return Fraction(container.streams.video[0].average_rate or 25)


def resize(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(T, H, W, 3) stretched to (T, size, size, 3): area average down, bilinear up."""
    if frames.shape[1:3] == (size, size):
        return frames
    down = size <= min(frames.shape[1:3])
    how = cv2.INTER_AREA if down else cv2.INTER_LINEAR
    resized = np.empty((len(frames), size, size, 3), np.uint8)
    for source, target in zip(frames, resized, strict=True):
        cv2.resize(source, (size, size), dst=target, interpolation=how)
    return resized


def planes(frames: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """(T, H, W, 3) RGB to (T, C, H, W); grey is the mean of R, G and B, as the paper's authors read MLST."""
    if channels == 3:
        return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    total: NDArray[np.uint16] = frames.sum(axis=-1, dtype=np.uint16)
    mean: NDArray[np.uint8] = ((total + 1) // 3).astype(np.uint8)
    return mean[:, None]


def write_video(path: Path, frames: NDArray[np.uint8], rate: Fraction) -> None:
    """Encode (T, H, W, 3) RGB as H.264 in .mp4; odd sides lose a row or column to chroma subsampling."""
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    with whole(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in frames:
            image = np.ascontiguousarray(picture[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _opened(path: Path, suffix: str) -> Any:
    if suffix.lower() not in DEMUXERS:
        raise DataError(f"{path}: cannot read {suffix!r} files; choices are {', '.join(DEMUXERS)}")
    try:
        container = av.open(str(path), format=DEMUXERS[suffix.lower()], options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as why:
        raise DataError(f"{path} is not a readable video: {why}") from None
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} has no video stream")
    container.streams.video[0].thread_type = "NONE"
    container.streams.video[0].codec_context.thread_count = 1
    return container


def _decoded(container: Any, path: Path) -> Iterator[Any]:
    try:
        yield from container.decode(video=0)
    except av.FFmpegError as why:
        raise DataError(f"{path} stops decoding: {why}") from None
