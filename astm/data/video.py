"""Video files to frames and back, with PyAV. One thread per file: loaders already run in parallel.

Which stream, which part of a frame, which way up, in which colours and when it is shown is decided in
`mlst.pictures.presentation` and `mlst.pictures.times`, as for the videos that a dataset is made of.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from astm.data.clips import DataError
from mlst.files import whole
from mlst.pictures.presentation import (
    MATRICES,
    Crop,
    UnreadableColourError,
    colours,
    declared_crop,
    display_matrix,
    main_video,
    orientation,
)
from mlst.pictures.times import Claim, Order, Times, in_order_only

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


FIELDS = ("h264", "hevc", "mpeg2video", "vc1")
"""Codecs that may put each field of an interlaced frame into a packet of its own."""
PROGRESSIVE = 1
"""libav's `AV_FIELD_PROGRESSIVE`."""
AHEAD = 16
"""Frames that show whether stored times can be believed."""


def frames_of(path: Path, suffix: str, pixels: str) -> Iterator[NDArray[np.uint8]]:
    """Decode from the beginning.

    Parameters
    ----------
    suffix: that the file counts as having, a key of `DEMUXERS`.
    pixels: `rgb24` gives (H, W, 3), `gray` gives (H, W), full range; upright and cropped as the file says.

    Raises
    ------
    DataError: not a video of that kind, or without a picture.
    """
    with _opened(path, suffix) as film:
        for frame, _ in film.frames():
            yield film.picture(frame, pixels)


def presentation_times(path: Path) -> list[int]:
    """Ticks at which every frame is shown, ascending. What an edit list cuts off is not a frame.

    From the packets, without decoding, where these say it; else from the frames.
    """
    return list(_index(path, _changed(path)).times)


def frames_at(path: Path, times: Sequence[int]) -> NDArray[np.uint8]:
    """(T, H, W, 3) RGB frames at these of `presentation_times`, ascending; decodes from the keyframe before the first,
    or from the beginning where packets do not say when frames are shown."""
    wanted, found = set(times), []
    from_packets = _index(path, _changed(path)).from_packets
    with _opened(path, path.suffix) as film:
        if from_packets:
            film.seek(times[0])
        shown = ((frame, frame.pts) for frame, _ in film.frames()) if from_packets else film.timed()
        for frame, time in shown:
            if time in wanted:
                found.append(film.picture(frame, "rgb24"))
            if time is not None and time >= times[-1]:
                break
    if len(found) != len(times):
        raise DataError(f"{path}: {len(times) - len(found)} of {len(times)} frames from pts {times[0]} do not decode")
    if sizes := {f"{frame.shape[1]} x {frame.shape[0]}" for frame in found if frame.shape != found[0].shape}:
        raise DataError(f"{path} changes its size within a clip, to {', '.join(sorted(sizes))}; encode it again")
    return np.stack(found)


def frame_rate(path: Path) -> Fraction:
    """Frames per second, from the median distance of the frames; 25 where there are none."""
    times = presentation_times(path)
    with _opened(path, path.suffix) as film:
        steps = sorted(b - a for a, b in itertools.pairwise(times))
        declared = Fraction(film.stream.average_rate or 25)
        if not steps:
            return declared
        shown = 1 / (steps[len(steps) // 2] * film.tick)
        return declared if abs(shown - declared) * 10 < declared else shown.limit_denominator(1001)


def resize(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(T, H, W, 3) stretched to (T, *size, 3): area average down, bilinear up."""
    if frames.shape[1:3] == size:
        return frames
    down = size[0] <= frames.shape[1] and size[1] <= frames.shape[2]
    how = cv2.INTER_AREA if down else cv2.INTER_LINEAR
    resized = np.empty((len(frames), *size, 3), np.uint8)
    for source, target in zip(frames, resized, strict=True):
        cv2.resize(source, size[::-1], dst=target, interpolation=how)
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


@dataclass(frozen=True, slots=True)
class _Index:
    """When the frames of a file are shown."""

    times: tuple[int, ...]
    from_packets: bool


def _changed(path: Path) -> int:
    """When; 0 where it cannot be seen."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=256)
def _index(path: Path, _when: int) -> _Index:
    """Remembered until the file changes."""
    with _opened(path, path.suffix) as film:
        try:
            packets = [(p.pts, p.dts, p.size) for p in film.container.demux(film.stream) if not p.is_discard]
        except av.FFmpegError as why:
            raise DataError(f"{path} cannot be read: {why}") from None
        shown = [pts for pts, _, size in packets if size]
        empty = any(not size and dts is not None for _, dts, size in packets)
        if not empty and film.tells(shown):
            return _Index(tuple(sorted(pts for pts in shown if pts is not None)), True)
    with _opened(path, path.suffix) as film:
        return _Index(tuple(time for _, time in film.timed()), False)


@dataclass(frozen=True, slots=True)
class _Film:
    """An opened video."""

    path: Path
    container: InputContainer
    stream: VideoStream
    crop: Crop

    @property
    def tick(self) -> Fraction:
        """Seconds."""
        return Fraction(self.stream.time_base or 1)

    def tells(self, pts: Sequence[int | None]) -> bool:
        """Whether the times of packets, in decoding order, are those of the frames: all there, none twice, not of
        single fields, and in another order where the codec reorders frames."""
        codec, times = self.stream.codec_context, [time for time in pts if time is not None]
        if self.container.format.name == "avi" or len(set(times)) < len(pts):
            return False
        fields = codec.name in FIELDS and int(codec.field_order) != PROGRESSIVE
        return not fields and not (codec.has_b_frames and times == sorted(times))

    def seek(self, time: int) -> None:
        """To the keyframe before."""
        try:
            self.container.seek(time, stream=self.stream)
        except av.FFmpegError as why:
            raise DataError(f"{self.path} cannot be sought: {why}") from None

    def frames(self) -> Iterator[tuple[VideoFrame, int | None]]:
        """As decoded, each with the time that its place in the order gives."""
        order, codec = Order(), self.stream.codec_context
        try:
            for packet in self.container.demux(self.stream):
                if packet.size or packet.dts is None:
                    frames = packet.decode()
                    yield from zip(frames, _ordered(order, packet, len(frames), codec.reorder_depth), strict=True)
        except av.FFmpegError as why:
            raise DataError(f"{self.path} stops decoding: {why}") from None

    def timed(self) -> Iterator[tuple[VideoFrame, int]]:
        """Frames with rising times, from the beginning."""
        claims = ((frame, Claim(frame.pts, ordered, frame.key_frame)) for frame, ordered in self.frames())
        ahead = list(itertools.islice(claims, AHEAD))
        stores = self.container.format.name != "avi"
        in_order = not stores or in_order_only(claim for _, claim in ahead)
        step = round(1 / (Fraction(self.stream.average_rate or 25) * self.tick))
        times = Times(step, round(1 / self.tick), in_order, stores)
        for frame, claim in itertools.chain(ahead, claims):
            if (time := times(claim)) is not None:
                yield frame, time.ticks

    def picture(self, frame: VideoFrame, pixels: str) -> NDArray[np.uint8]:
        """(H, W, 3) or (H, W), as it is to be seen."""
        try:
            matrix = colours(frame).matrix
            unsaid = int(frame.colorspace) not in MATRICES and matrix == "bt709"
            picture = frame.to_ndarray(format=pixels, src_colorspace=Colorspace.ITU709 if unsaid else None)
        except (UnreadableColourError, av.FFmpegError) as why:
            raise DataError(f"{self.path} cannot be converted: {why}") from None
        left, top, right, bottom = self.crop.box(frame.width, frame.height)
        return orientation(display_matrix(frame))(picture[top:bottom, left:right])


def _ordered(order: Order, packet: "Packet[Any]", frames: int, depth: int) -> list[int | None]:
    if packet.size and not packet.is_discard:
        return order.sent(packet.dts, frames, depth)
    return order.taken(frames)


@contextmanager
def _opened(path: Path, suffix: str) -> Iterator[_Film]:
    if suffix.lower() not in DEMUXERS:
        raise DataError(f"{path}: cannot read {suffix!r} files; choices are {', '.join(DEMUXERS)}")
    try:
        container = av.open(str(path), format=DEMUXERS[suffix.lower()], options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as why:
        raise DataError(f"{path} is not a readable video: {why}") from None
    with container:
        stream = main_video(container)
        if stream is None or stream.codec_context is None:
            raise DataError(f"{path} has no video stream")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield _Film(path, container, stream, declared_crop(container, stream))
