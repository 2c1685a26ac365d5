"""The same clip in other clothes: coded, scaled, thinned, with bars, and measured again."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from collection.engine.stage import Needs
from collection.media.decode import open_video
from collection.media.probe import probe
from collection.recipe import Limits
from collection.sandbox.apart import apart
from collection.study.pieces import Piece
from collection.study.raw import APART, OfPieces, Raw, decoded, opened, plain, rate_of, run
from collection.workspace.folder import Workspace
from mlst.pictures.bars import active_picture
from mlst.pictures.frames import Area, PictureFormat, Reduced, canonical, reduce
from mlst.records import Statistics
from mlst.sandbox.kernel import Room
from mlst.statistics import measure

Rule = Callable[[Sequence[Reduced], PictureFormat], Area]


@dataclass(frozen=True, slots=True)
class Rendition:
    """A way to change a clip that leaves its content as it is."""

    name: str
    filters: str
    """Of ffmpeg, as `-vf` takes them; "" for none."""
    codec: str
    options: Mapping[str, str]
    """Of the encoder."""


X264 = {"preset": "veryfast", "threads": "1", "pix_fmt": "yuv420p"}
X265 = {"preset": "fast", "x265-params": "log-level=none:pools=none:frame-threads=1", "tag:v": "hvc1"}
VP9 = {"b:v": "0", "cpu-used": "4", "deadline": "good", "threads": "1"}
AV1 = {"preset": "8", "svtav1-params": "lp=1"}


UNCHANGED = Rendition("unchanged", "", "libx264", {"preset": "ultrafast", "qp": "0", "threads": "1"})
"""Without loss."""


def h264(name: str, crf: int, filters: str = "", **more: str) -> Rendition:
    """A rendition in H.264."""
    return Rendition(name, filters, "libx264", {**X264, "crf": str(crf), **more})


def lines(count: int) -> str:
    """A filter that brings the short side to so many lines."""
    return f"scale=w='if(gte(iw,ih),-2,{count})':h='if(gte(iw,ih),{count},-2)'"


RENDITIONS = (
    h264("H.264, crf 18", 18),
    h264("H.264, crf 23", 23),
    h264("H.264, crf 28", 28),
    h264("H.264, crf 32", 32),
    Rendition("HEVC, crf 28", "", "libx265", {**X265, "crf": "28"}),
    Rendition("VP9, crf 32", "", "libvpx-vp9", {**VP9, "crf": "32"}),
    Rendition("AV1, crf 35", "", "libsvtav1", {**AV1, "crf": "35"}),
    h264("240 lines, crf 23", 23, lines(240)),
    h264("360 lines, crf 23", 23, lines(360)),
    h264("480 lines, crf 23", 23, lines(480)),
    h264("720 lines, crf 23", 23, lines(720)),
    h264("half the frames, crf 18", 18, "select='not(mod(n,2))'"),
    h264("bars above and below, crf 23", 23, "pad=iw:trunc(ih*0.63)*2:0:trunc(ih*0.06)*2"),
    h264("bars at both sides, crf 23", 23, "pad=trunc(iw*0.63)*2:ih:trunc(iw*0.06)*2:0"),
    h264("turned by 90 degrees, crf 18", 18, "transpose=1"),
    Rendition("10 bit HEVC, crf 20", "", "libx265", {**X265, "crf": "20", "pix_fmt": "yuv420p10le"}),
    h264("full range, crf 18", 18, "scale=in_range=limited:out_range=full", pix_fmt="yuvj420p"),
)


@dataclass(frozen=True, slots=True)
class Remade:
    """A rendition, measured."""

    name: str
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class Remakes:
    """A clip and its renditions, measured alike."""

    key: str
    group: str
    before: Statistics
    """Of the frames as they are, without any coding."""
    after: tuple[Remade, ...]


@dataclass(frozen=True, slots=True)
class RenditionStage(OfPieces):
    """Makes and measures the renditions of one clip: `Piece` in, `Remakes` out."""

    name: ClassVar[str] = "renditions"
    version: ClassVar[int] = 2
    output: ClassVar[type[Remakes]] = Remakes
    needs: ClassVar[Needs] = Needs(seconds=1800.0, memory=0, network=True)
    """ffmpeg is a program of its own, and a stage without network starts none."""

    renditions: tuple[Rendition, ...]
    active_picture: str
    """Rule of `mlst.pictures.bars`."""

    def settings(self) -> Any:
        """The renditions and the rule."""
        return {"renditions": [asdict(one) for one in self.renditions], "active_picture": self.active_picture}

    def __call__(self, item: Piece, work: Workspace) -> Iterator[Remakes]:
        """The renditions of one clip. Raises `Rejected` and `Retry`."""
        with tempfile.TemporaryDirectory(prefix="mlst-") as folder:
            video, path = work.path(item.file), Path(folder, "frames.yuv")
            path.touch()
            raw = apart(Raw, lambda: write_frames(item, video, path), APART, Room((video,), (path,)))
            every = (UNCHANGED, *self.renditions)
            made = [remake(opened(path, raw), one, Path(folder, f"{n}.mp4")) for n, one in enumerate(every)]
            yield apart(Remakes, lambda: self.measured(item, made), APART, Room(tuple(made), ()))

    def measured(self, piece: Piece, files: Sequence[Path]) -> Remakes:
        """The statistics of every file; the first is of the clip unchanged. Raises `Rejected`."""
        before, *after = (statistics(path, active_picture[self.active_picture]) for path in files)
        names = (one.name for one in self.renditions)
        return Remakes(piece.key, piece.group, before, tuple(map(Remade, names, after)))


def write_frames(piece: Piece, video: Path, target: Path) -> Raw:
    """Write the frames of a clip as raw video, in their own size."""
    times: list[Fraction] = []
    shape = (0, 0)
    with target.open("wb") as file:
        for time, frame in decoded(piece, video):
            planes = plain(frame.picture, frame.format)
            file.write(planes.tobytes())
            times.append(time)
            shape = planes.shape
    return Raw(shape[1], shape[0] * 2 // 3, rate_of(times), grey=False)


def remake(video: Any, rendition: Rendition, path: Path) -> Path:
    """The file of a rendition. Raises `Rejected`."""
    options = {"vf": rendition.filters} if rendition.filters else {}
    run(video.output(str(path), vcodec=rendition.codec, fps_mode="passthrough", **options, **rendition.options))
    return path


def statistics(path: Path, active: Rule) -> Statistics:
    """Of all frames of a video. Raises `Rejected`."""
    facts = probe(path, Limits())
    with open_video(path, facts, Limits()) as decoder:
        frames = [(frame.picture.pts * facts.time_base, reduce(frame.picture, decoder.format)) for frame in decoder]
    times, reduced = zip(*frames, strict=True)
    return measure(canonical(reduced, times, decoder.format, active))
