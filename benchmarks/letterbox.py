"""Do the statistics of a letterboxed film survive coding? `python -m benchmarks.letterbox` prints a table.

Footage of the demo is put between black bars above and below (an eighth of the height each), at 854 x 480, and coded
in several ways. Every statistic is compared with that of the same frames with bars and without coding. Beside it
stands the change of the footage alone, without bars, by the same coding: what is more is the fault of the bars.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bars import decoded
from mlst.pictures.bars import active_picture
from mlst.pictures.frames import canonical
from mlst.records import STATISTICS
from mlst.statistics import measure
from tests.barred import FRAMES, footage
from tests.synthetic import Array, Painter, Spec, flat, write

WIDTH, HEIGHT, BAR = 854, 480, 60
ALLOWED = 0.10
QUIET = 0.1
"""Changes are relative to a value, or to this share of the median over clips where that is more: counts may be 0."""
LOSSLESS = Spec(codec="libx264", options={"preset": "ultrafast", "qp": "0"})
H264 = {"preset": "veryfast", "crf": "23", "x264-params": "no-mbtree=1"}
CODINGS = {
    "H.264, crf 23": Spec(codec="libx264", options=H264),
    "HEVC, crf 28": Spec(
        codec="libx265", options={"preset": "fast", "crf": "28", "x265-params": "log-level=none:pools=1"}
    ),
    "VP9, crf 32": Spec(codec="libvpx-vp9", options={"deadline": "good", "cpu-used": "5", "crf": "32", "b": "0"}),
    "AV1, crf 35": Spec(codec="libsvtav1", options={"preset": "9", "crf": "35", "svtav1-params": "lp=1"}),
    "360 lines, crf 23": Spec(codec="libx264", width=640, height=360, options=H264),
    "1.5 times the size, crf 23": Spec(codec="libx264", width=1280, height=720, options=H264),
}
CLIPS = (
    ("bbb_opening_30s_854x480.mp4", 300),
    ("bbb_opening_30s_854x480.mp4", 600),
    ("crystal_orbit_12s_720x480.mp4", 100),
    ("flower_timelapse_5s_960x540.mp4", 40),
    ("his_girl_friday_6s_640x480.mp4", 60),
    ("pig_zoom_7s_720x480.mp4", 60),
    ("static_road_cars_30s_768x432.mp4", 100),
    ("asl_signer_book_4s_640x480.mkv", 20),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One clip, in one coding, with bars or without: the ratio of a statistic to that before coding, less 1."""

    column: str
    coding: str
    has_bars: bool
    change: float


def framed(paint: Painter, bar: int) -> Painter:
    """A scene between bars of so many of `HEIGHT` lines, scaled to whatever is asked for."""

    def paint_framed(number: int, height: int, width: int) -> Array:
        whole = flat(16)(number, HEIGHT, WIDTH)
        whole[:, bar : HEIGHT - bar] = paint(number, HEIGHT - 2 * bar, WIDTH)
        return np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in whole])

    return paint_framed


def statistics(path: Path, coding: Spec, paint: Painter) -> Mapping[str, float]:
    """Of a scene, coded into the file `path`."""
    size = {} if coding.width != Spec().width else {"width": WIDTH, "height": HEIGHT}
    frames, fmt, times = decoded(write(path, replace(coding, frames=FRAMES, **size), paint))
    return asdict(measure(canonical(frames, times, fmt, active_picture["edges"])))


def rows(folder: Path) -> Iterator[Row]:
    """Every clip in every coding."""
    path = folder / "clip.mkv"
    for has_bars in (True, False):
        paints = [framed(footage(*clip), BAR if has_bars else 0) for clip in CLIPS]
        before = [statistics(path, LOSSLESS, paint) for paint in paints]
        least = {name: max(1e-3, QUIET * float(np.median([abs(b[name]) for b in before]))) for name in STATISTICS}
        for name, coding in CODINGS.items():
            for old, paint in zip(before, paints, strict=True):
                new = statistics(path, coding, paint)
                for column in STATISTICS:
                    change = (new[column] - old[column]) / max(abs(old[column]), least[column])
                    yield Row(column, name, has_bars, change)


def main() -> None:
    """Print, for each statistic, the median and the largest change, and the share of clips within `ALLOWED`."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(rows(Path(folder)))
    print(f"{len(CLIPS)} clips, {len(CODINGS)} codings: {', '.join(CODINGS)}\n")
    print("| statistic | median | largest | within 10 % | without bars: median | largest | within 10 % |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for column in STATISTICS:
        halves = [
            [abs(r.change) for r in found if r.column == column and r.has_bars == bars] for bars in (True, False)
        ]
        print(f"| `{column}` | {' | '.join(map(summary, halves))} |")
    print("\nLargest change of what decides, with bars:")
    for coding in CODINGS:
        largest = {
            column: max(abs(r.change) for r in found if (r.column, r.coding, r.has_bars) == (column, coding, True))
            for column in ("si", "dct_energy", "gradient_mean", "ti10", "flow_mean")
        }
        print(coding, {column: f"{value:.1%}" for column, value in largest.items()})


def summary(changes: Sequence[float]) -> str:
    """Median, largest, and the share within `ALLOWED`."""
    inside = float(np.mean([change <= ALLOWED for change in changes]))
    return f"{np.median(changes):.1%} | {max(changes):.1%} | {inside:.0%}"


if __name__ == "__main__":
    main()
