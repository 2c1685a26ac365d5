"""What a clip costs an encoder and a trivial predictor: yardsticks that no column was made from."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from collection.engine.stage import Needs
from collection.media.encode import fitted
from collection.sandbox.apart import apart
from collection.study.pieces import Piece
from collection.study.raw import APART, OfPieces, Raw, decoded, opened, rate_of, run
from collection.workspace.folder import Workspace
from mlst.pictures.bars import active_picture
from mlst.pictures.frames import canonical, reduce
from mlst.sandbox.kernel import Room

SIDE = 256
"""Of the square clip that a model sees."""
PAST = Fraction(1, 3)
"""Share of a clip's frames that a predictor is shown: 10 of 30."""
QP = 26
"""x264's constant quantiser: fine enough that texture costs bits, coarse enough that grain does not cost most."""
INTRA = {"g": 1}
INTER = {"g": 9999, "bf": 0, "sc_threshold": 0}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a confined process wrote of a clip."""

    square: Raw
    """Frames of `SIDE` x `SIDE`, as in a dataset."""
    canonical: Raw
    """Luma of the grid frames of the canonical picture."""
    copy_last: float
    """Mean squared error (luma, codes of 0..1) of repeating the last frame shown for all that follow."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a clip costs, without its first frame: bits per pixel and frame, or between frames per pixel and second,
    since frames that follow one another faster differ less."""

    key: str
    group: str
    intra: float
    """x264, all key frames, constant quantiser; the square clip."""
    inter: float
    """x264, one key frame, no B-frames, constant quantiser; the square clip."""
    intra_canonical: float
    """The same of the canonical picture on the 10 Hz grid."""
    inter_canonical: float
    copy_last: float
    """See `Shown`."""


@dataclass(frozen=True, slots=True)
class CostStage(OfPieces):
    """Measures what one clip costs: `Piece` in, `Costs` out."""

    name: ClassVar[str] = "costs"
    version: ClassVar[int] = 2
    output: ClassVar[type[Costs]] = Costs
    needs: ClassVar[Needs] = Needs(seconds=900.0, memory=0, network=True)
    """ffmpeg is a program of its own, and a stage without network starts none."""

    active_picture: str
    """Rule of `mlst.pictures.bars`."""
    qp: int = QP

    def settings(self) -> Any:
        """The rule and the quantiser."""
        return {"active_picture": self.active_picture, "qp": self.qp}

    def __call__(self, item: Piece, work: Workspace) -> Iterator[Costs]:
        """The costs of one clip. Raises `Rejected` and `Retry`."""
        with tempfile.TemporaryDirectory(prefix="mlst-") as folder:
            video, square, grid = work.path(item.file), Path(folder, "square.yuv"), Path(folder, "grid.yuv")
            for path in (square, grid):
                path.touch()
            shown = apart(Shown, lambda: self.write(item, video, square, grid), APART, Room((video,), (square, grid)))
            videos = ((square, shown.square), (grid, shown.canonical))
            intra, intra_grid = (bits(path, raw, self.qp, INTRA) for path, raw in videos)
            inter, inter_grid = (float(raw.rate) * bits(path, raw, self.qp, INTER) for path, raw in videos)
            yield Costs(item.key, item.group, intra, inter, intra_grid, inter_grid, shown.copy_last)

    def write(self, piece: Piece, path: Path, square: Path, grid: Path) -> Shown:
        """Write a clip as its square frames, and as the canonical pictures of its grid."""
        times, frames = zip(*decoded(piece, path), strict=True)
        rate = rate_of(times)
        squares = np.stack([fitted(frame.picture, frame.format, SIDE, "stretch") for frame in frames])
        reduced = [reduce(frame.picture, frame.format) for frame in frames]
        pictures = canonical(reduced, times, frames[0].format, active_picture[self.active_picture])
        square.write_bytes(squares.tobytes())
        grid.write_bytes(pictures.luma8.tobytes())
        _, height, width = pictures.luma8.shape
        shown = Raw(width, height, rate_of([times[i] for i in pictures.grid]), grey=True)
        return Shown(Raw(SIDE, SIDE, rate, grey=False), shown, copy_last(squares))


def copy_last(squares: Any) -> float:
    """Of (N, SIDE * 3 / 2, SIDE) frames in limited range, see `Shown`."""
    luma = squares[:, :SIDE].astype(np.float32) / 219
    past = max(1, round(len(luma) * PAST))
    return float(np.mean((luma[past:] - luma[past - 1]) ** 2, dtype=np.float64))


def bits(path: Path, raw: Raw, qp: int, options: dict[str, int]) -> float:
    """Bits per pixel of every frame but the first. Raises `Rejected`."""
    layout = {"pix_fmt": "gray" if raw.grey else "yuv420p", "preset": "medium", "threads": 1}
    coded = opened(path, raw).output("pipe:", f="framecrc", vcodec="libx264", qp=qp, **layout, **options)
    said = run(coded)
    lines = [line for line in said.decode().splitlines() if not line.startswith("#")]
    sizes = [int(line.split(",")[4]) for line in lines]
    return 8 * float(np.mean(sizes[1:])) / (raw.width * raw.height)
