"""The frames of an ordinary file in one pass: opened once, decoded once, nothing put right.

Most files are ordinary: times that rise, one size, one layout whose planes are read as they are stored, nothing
cropped, interlaced or damaged. Any other is `Odd`, and is read as a build would (`media.probe`, `media.decode`), which
knows of all that and takes longer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from collection.media.decode import CROPPING, Facts, depth_of, facts, planes
from collection.media.probe import frame_rate, open_media, packets, raise_if_short, sniff
from collection.recipe import Limits
from mlst.pictures.frames import Picture, PictureFormat
from mlst.pictures.presentation import declared_crop, pixel_aspect


class OddError(Exception):
    """A file that has to be read with care."""


@dataclass
class Ordinary:
    """A file that is being read; it tells of the frames that were passed on so far."""

    media: InputContainer
    stream: VideoStream
    time_base: Fraction
    format: PictureFormat = field(init=False)
    facts: Facts = field(init=False)
    pts: list[int] = field(default_factory=list)
    _last: int = 0

    def __iter__(self) -> Iterator[Picture]:
        """Raises `OddError`."""
        layout = (0, 0, "")
        for packet in packets(self.media, self.stream):
            if packet.is_corrupt or packet.has_sidedata("encryption_info"):
                raise OddError
            try:
                decoded = packet.decode()
            except FFmpegError as why:
                raise_if_short(why)
                raise OddError from None
            for frame in decoded:
                pts, shape = frame.pts, (frame.width, frame.height, frame.format.name)
                if not self.pts:
                    self._begin(frame)
                    layout = shape
                if pts is None or (self.pts and pts <= self.pts[-1]) or shape != layout:
                    raise OddError
                if frame.is_corrupt or frame.interlaced_frame:
                    raise OddError
                self.pts.append(pts)
                self._last = frame.duration or 0
                turned = self.facts.orientation
                y, u, v = (turned(plane) for plane in planes(frame))
                yield Picture(len(self.pts) - 1, pts, y, u, v)

    def _begin(self, frame: VideoFrame) -> None:
        self.facts = facts(frame)
        depth, sar = depth_of(frame.format), pixel_aspect(self.stream.sample_aspect_ratio)
        if not depth or any(plane.line_size <= 0 for plane in frame.planes):
            raise OddError
        self.format = PictureFormat(depth, self.facts.full_range, 1 / sar if self.facts.orientation.swap else sar)

    @cached_property
    def rate(self) -> Fraction:
        """Frames per second, of all that passed."""
        usual = Fraction(self.stream.average_rate or 1)
        return frame_rate(np.array(self.pts, np.int64), self.time_base, usual)

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last."""
        last = self._last or round(1 / (self.rate * self.time_base))
        return float((self.pts[-1] + last - self.pts[0]) * self.time_base)

    @property
    def said(self) -> tuple[int, float]:
        """Frames and seconds by the container's own word; 0 where it does not say."""
        return said(self.media, self.stream)


def said(media: InputContainer, stream: VideoStream) -> tuple[int, float]:
    """Frames and seconds by the container's own word; 0 where it does not say."""
    lasts = stream.duration * stream.time_base if stream.duration and stream.time_base else None
    whole = media.duration / av.time_base if media.duration and not lasts else 0.0
    return max(0, stream.frames), max(0.0, float(lasts) if lasts else whole)


@contextmanager
def ordinary(path: Path, limits: Limits) -> Iterator[Ordinary]:
    """A file, open. Raises `OddError`, and `Rejected` as `sniff` and `open_media` do."""
    container = sniff(path)
    with open_media(path.absolute(), container, limits) as (media, stream):
        if container == "avi" or not stream.time_base:
            raise OddError
        crop = declared_crop(media, stream) if container in CROPPING else None
        if crop and any((crop.left, crop.right, crop.top, crop.bottom)):
            raise OddError
        yield Ordinary(media, stream, Fraction(stream.time_base))
