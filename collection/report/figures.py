"""Pictures of a built dataset: what the nine levels look like, and where its clips lie between the thresholds."""

import io
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from collection.engine.stage import Needs, Retry
from collection.report.rows import ReportRow, clip_bytes, in_turns
from collection.sandbox.apart import forked
from collection.workspace.folder import Workspace
from mlst.dataset.description import DATASET, Dataset, read_json
from mlst.levels.levels import Axis, Levels
from mlst.pictures.clip import opened_clip
from mlst.pictures.mp4 import NotAClip
from mlst.sandbox.kernel import Room

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RGB = NDArray[np.uint8]

NAMES = ("low", "medium", "high")


DECODING = Needs(seconds=60.0, memory=4 << 30, network=False)
"""What decoding one clip may use."""

_FRAMES, _REFUSED = b"+", b"-"
"""How an answer of the fork begins."""


def spread(frames: int, count: int) -> list[int]:
    """`count` places among so many frames, evenly spread from the first to the last."""
    return [int(place) for place in np.linspace(0, frames - 1, count).round()]


def decode_frames(mp4: bytes, dataset: Dataset, places: Sequence[int]) -> list[RGB]:
    """A clip's frames at `places`, each RGB (side, side, 3), decoded in a confined fork.

    Raises `NotAClip` for what is no clip of the dataset.
    """
    try:
        data = forked(lambda _: _answer(mp4, dataset, places), DECODING, Room((), ()), _nothing)
    except Retry as why:
        raise NotAClip(f"does not decode: {why.kind}, {why.detail}") from None
    if data[:1] == _REFUSED:
        raise NotAClip(data[1:1000].decode("utf-8", "replace"))
    if data[:1] != _FRAMES or len(data) != 1 + len(places) * 3 * dataset.side**2:
        raise NotAClip("does not decode: the confined process sent no frames")
    return list(np.frombuffer(data, np.uint8, offset=1).reshape(len(places), dataset.side, dataset.side, 3))


def _nothing(offset: int, length: int) -> bytes:
    raise ValueError(f"{length} bytes at {offset} of a clip that is here")


def _answer(mp4: bytes, dataset: Dataset, places: Sequence[int]) -> bytes:
    try:
        return _FRAMES + np.stack(_decoded(mp4, dataset, places)).tobytes()
    except (NotAClip, av.FFmpegError, OSError) as why:
        return _REFUSED + (str(why) if isinstance(why, NotAClip) else f"does not decode: {why}").encode()


def _decoded(mp4: bytes, dataset: Dataset, places: Sequence[int]) -> list[RGB]:
    wanted, kept = set(places), dict[int, RGB]()
    with opened_clip(mp4, dataset.side) as (container, stream):
        for place, frame in enumerate(islice(container.decode(stream), dataset.frames)):
            if (frame.width, frame.height) != (dataset.side, dataset.side):
                raise NotAClip(f"has a frame of {frame.width}x{frame.height}")
            if place in wanted:
                kept[place] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    if missing := wanted - kept.keys():
        raise NotAClip(f"has no frame {min(missing)}, {dataset.frames} frames are declared")
    return [kept[place] for place in places]


def strip(dataset: Workspace, what: Dataset, row: ReportRow, count: int) -> RGB:
    """`count` frames of a clip side by side, evenly spread over its time."""
    return np.concatenate(decode_frames(clip_bytes(dataset, row), what, spread(what.frames, count)), axis=1)


def level_sheet(dataset: Workspace, rows: Sequence[ReportRow], levels: Levels, per_level: int = 2) -> "Figure":
    """The 3 x 3 grid of levels, texture rightwards and motion downwards, with `per_level` clips in each cell."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - of releases alone; half a second of every build else

    figure = Figure(figsize=(11, 1.2 + 3.7 * per_level), layout="constrained")
    what = read_json(dataset.path(DATASET))
    figure.suptitle(f"Spatial level: texture (mean {levels.s.title})  \N{RIGHTWARDS ARROW}", fontsize=12)
    figure.supylabel(f"\N{LEFTWARDS ARROW}  Temporal level: motion (mean {levels.t.title}, 10 Hz)", fontsize=12)
    for position, axes in enumerate(figure.subplots(3, 3).flat):
        t, s = divmod(position, 3)
        inside = sorted((row for row in rows if (row.s, row.t) == (s, t)), key=lambda row: row.key)
        cell = in_turns(inside)[:per_level]
        strips = [strip(dataset, what, row, 3) for row in cell]
        side = strips[0].shape[0] if strips else 256
        blank = np.full((side, 3 * side, 3), 245, np.uint8)
        axes.imshow(np.concatenate([*strips, *[blank] * (per_level - len(strips))], axis=0))
        axes.set_title(f"S{s}T{t}: {NAMES[s]} texture, {NAMES[t]} motion", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        values = [f"{levels.s.title} {row.texture:.0f}, {levels.t.title} {row.motion:.1f}" for row in cell]
        axes.set_xlabel(
            "   |   ".join(values) or f"no clips; {_wanted(levels.s, s)}, {_wanted(levels.t, t)}", fontsize=8
        )
    return figure


def _wanted(axis: Axis, level: int) -> str:
    """What would bring a clip to a level of an axis."""
    low, high = axis.cuts
    ranges = (f"below {low:.3g}", f"{low:.3g} to {high:.3g}", f"{high:.3g} or more")
    return f"{axis.title} {ranges[level]}"


def scatter(rows: Sequence[ReportRow], levels: Levels) -> "Figure":
    """Every clip by its two deciding statistics, with the thresholds that cut the plane into levels."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for split, marker in (("train", "o"), ("validation", "s"), ("test", "^")):
        chosen = [row for row in rows if row.split == split]
        axes.scatter(
            [r.texture for r in chosen], [r.motion for r in chosen], s=14, alpha=0.6, marker=marker, label=split
        )
    for cut in levels.s.cuts:
        axes.axvline(cut, color="0.3", linewidth=0.8)
    for cut in levels.t.cuts:
        axes.axhline(cut, color="0.3", linewidth=0.8)
    axes.set_xlabel(f"{levels.s.title} (mean over the clip, 240 lines)")
    axes.set_ylabel(f"{levels.t.title} (mean over the clip, 10 Hz)")
    axes.set_yscale("symlog", linthresh=5)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    return figure


def png(figure: "Figure", dots: int = 110) -> bytes:
    """A figure as PNG bytes without date or software name, so that equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots, metadata={"Software": None})
    return buffer.getvalue()
