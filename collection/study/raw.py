"""Frames of a clip as raw video, and what ffmpeg makes of it.

A stranger's file is decoded in a confined process (`sandbox.apart`), which may write nowhere but into the files it is
given. What it writes there is raw video, which ffmpeg reads without a demuxer or a decoder: a process that was taken
over has nothing to take over ffmpeg with.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import cv2
import ffmpeg
import imageio_ffmpeg
import numpy as np

from collection.engine.stage import Expected, Needs, Rejected
from collection.media.decode import Decoded, open_video
from collection.media.encode import Bytes, limited8
from collection.media.probe import probe
from collection.recipe import Limits
from collection.study.pieces import Piece
from collection.workspace.folder import Span
from mlst.pictures.frames import Picture, PictureFormat, Plane, resized
from mlst.records import Count, Rational

APART = Needs(seconds=600.0, memory=6 << 30, network=False)
"""Of a process that decodes one clip."""
LATE = Fraction(1, 1000)
"""Seconds by which a frame may seem earlier than it is: containers round."""


ANSWER = Expected((), 1 << 20)
"""Numbers alone; a clip with all its renditions takes 30 kB."""


class Answer(Protocol):
    """What a stage of the study says of a clip."""

    @property
    def key(self) -> str:
        """The clip's."""

    @property
    def group(self) -> str:
        """The clip's."""


class OfPieces:
    """What the stages of the study have in common: one `Piece` in, one answer about it out."""

    __slots__ = ()

    @staticmethod
    def key(item: Piece) -> str:
        """The clip's."""
        return item.key

    def reads(self, item: Piece) -> Iterable[Span]:
        """The file with its frames."""
        return (Span(item.file, 0, item.size),)

    @staticmethod
    def expects(item: Piece) -> Expected:
        """Numbers."""
        del item
        return ANSWER

    @staticmethod
    def check(item: Piece, outputs: tuple[Answer, ...]) -> None:
        """One answer, for the item."""
        (found,) = outputs
        if (found.key, found.group) != (item.key, item.group):
            raise ValueError(f"an answer for {found.key!r} of {found.group!r}")


@dataclass(frozen=True, slots=True)
class Raw:
    """What a file of raw video holds: yuv420p, 8 bit, limited range, square pixels, upright; or grey."""

    width: Count
    height: Count
    rate: Rational
    grey: bool


def decoded(piece: Piece, path: Path) -> Iterator[tuple[Fraction, Decoded]]:
    """The frames of a clip, each with its time in seconds. Raises `Rejected`."""
    cv2.setNumThreads(1)
    facts = probe(path, Limits())
    with open_video(path, facts, Limits(), piece.start) as decoder:
        timed = ((frame.picture.pts * facts.time_base, frame) for frame in decoder)
        wanted = (item for item in timed if item[0] >= piece.start - LATE)
        yield from islice(wanted, 0, (piece.frames - 1) * piece.stride + 1, piece.stride)


def rate_of(times: Sequence[Fraction]) -> Fraction:
    """Frames per second on average, of at least two frames. Raises `Rejected` for fewer."""
    if len(times) < 2:
        raise Rejected("too_short", f"{len(times)} frames of the clip were found")
    return ((len(times) - 1) / (times[-1] - times[0])).limit_denominator(1001)


def plain(picture: Picture, fmt: PictureFormat) -> Bytes:
    """(H * 3 / 2, W) yuv420p of a picture in its own size: 8 bit, limited range, square pixels, even sides."""
    height, width = picture.y.shape
    width, height = max(2, round(width * fmt.sar / 2) * 2), max(2, height // 2 * 2)
    luma = _eight(resized(picture.y, width, height), fmt, is_chroma=False)
    halves = [_eight(resized(p, width // 2, height // 2), fmt, is_chroma=True) for p in (picture.u, picture.v)]
    return np.concatenate([luma.ravel(), *(half.ravel() for half in halves)]).reshape(height * 3 // 2, width)


def _eight(plane: Plane, fmt: PictureFormat, is_chroma: bool) -> Bytes:
    table = limited8(fmt.depth, fmt.full_range, is_chroma)
    return table[np.minimum(plane, len(table) - 1)]


def opened(path: Path, raw: Raw) -> Any:
    """A file of raw video as ffmpeg's input: a video stream."""
    layout = {"pix_fmt": "gray" if raw.grey else "yuv420p", "s": f"{raw.width}x{raw.height}"}
    return ffmpeg.input(str(path), f="rawvideo", r=str(raw.rate), **layout)["v"]


def run(command: Any) -> bytes:
    """What a command of ffmpeg writes to its standard output. Raises `Rejected` where it fails."""
    try:
        said, _ = command.global_args("-nostdin").run(
            cmd=imageio_ffmpeg.get_ffmpeg_exe(), capture_stdout=True, capture_stderr=True, overwrite_output=True
        )
    except ffmpeg.Error as why:
        raise Rejected("ffmpeg", why.stderr.decode("utf-8", "replace")[-600:]) from None
    return bytes(said)
