"""Spliced ground truth: real single-shot footage joined by transitions whose frames are known exactly.

Between the transitions lie distractors that must not be taken for one: flashes, brightness steps, freezes, whip pans.
The result is encoded with x264, so that detectors see real codec noise.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from collection.detectors import Thumb, make_detector, thumb
from mlst.pictures.frames import Picture, PictureFormat
from mlst.records import Transition

WIDTH, HEIGHT, RATE = 320, 180, 30

CLIPS = Path(__file__).parent.parent / "manifests" / "demo" / "clips"

Frames = NDArray[np.uint8]
"""(T, 270, 320) uint8: frames in I420 layout, limited range."""


@dataclass(frozen=True)
class Footage:
    """Frames `[start, end)` of a file that are one shot."""

    file: str
    start: int
    end: int


TUNING = (
    Footage("crystal_orbit_12s_720x480.mp4", 0, 359),
    Footage("his_girl_friday_6s_640x480.mp4", 0, 185),
    Footage("asl_signer_book_4s_640x480.mkv", 0, 109),
    Footage("static_road_cars_30s_768x432.mp4", 0, 240),
    Footage("bbb_opening_30s_854x480.mp4", 60, 280),
    Footage("bbb_opening_30s_854x480.mp4", 290, 374),
    Footage("bbb_opening_30s_854x480.mp4", 384, 490),
    Footage("bbb_opening_30s_854x480.mp4", 556, 600),
)
"""Footage on which the thresholds of the `mlst` detector were set."""

HOLD_OUT = (
    Footage("pig_zoom_7s_720x480.mp4", 0, 196),
    Footage("rabbit_orbit_8s_320x240.mp4", 0, 234),
    Footage("flower_timelapse_5s_960x540.mp4", 0, 150),
    Footage("stream_of_water_3s_480x360.webm", 0, 90),
    Footage("talking_head_24s_320x192.mp4", 0, 300),
    Footage("tractor_pan_10s_512x288_vp9.webm", 0, 248),
    Footage("sintel_trailer_52s_480x204.mp4", 456, 493),
    Footage("sintel_trailer_52s_480x204.mp4", 792, 826),
    Footage("sintel_trailer_52s_480x204.mp4", 872, 940),
    Footage("bbb_trailer_33s_640x360.webm", 232, 278),
    Footage("bbb_trailer_33s_640x360.webm", 348, 374),
    Footage("bbb_trailer_33s_640x360.webm", 378, 399),
    Footage("bbb_trailer_33s_640x360.webm", 625, 649),
)
"""Other footage, on which the detectors are compared."""


@dataclass(frozen=True)
class Recipe:
    """What a splice is made of."""

    transitions: int = 24
    kinds: tuple[tuple[str, float], ...] = (("cut", 0.5), ("dissolve", 0.3), ("fade", 0.2))
    """Kind and share."""
    distractors: float = 0.5
    """Chance that a shot contains one."""
    shortest: int = 10
    longest: int = 110
    """Frames of a shot without its transitions."""


@dataclass(frozen=True)
class Splice:
    """Frames and the truth about them."""

    frames: Frames
    transitions: tuple[Transition, ...]
    distractors: tuple[Transition, ...]
    """Kind and frames `[start, end)` of what must not be found."""


DISSOLVES = (2, 3, 6, 8, 11, 13, 16, 20, 23, 29, 36)
"""Lengths in frames: the deciles (0.02 to 0.95) of the 2301 gradual transitions in ClipShots' test annotations."""


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


def splice(shots: Sequence[Frames], recipe: Recipe, seed: int) -> Splice:
    """Shots drawn from `shots`, no two neighbours from the same, joined by `recipe.transitions` transitions."""
    rng = np.random.default_rng(seed)
    names, shares = zip(*recipe.kinds, strict=True)
    parts: list[Frames] = []
    truth: list[Transition] = []
    distractors: list[Transition] = []
    length = 0
    previous = -1
    kinds = [str(kind) for kind in rng.choice(names, recipe.transitions, p=np.array(shares) / sum(shares))]
    tails: Frames | None = None
    for kind in [*kinds, ""]:
        which = int(rng.choice([i for i in range(len(shots)) if i != previous]))
        head = _gradual_length(rng)
        body = int(np.clip(rng.lognormal(np.log(40), 0.7), recipe.shortest, recipe.longest))
        lead = len(tails) if tails is not None else 0
        material = _material(shots[which], lead + body + head, rng)
        if tails is not None:
            parts.append(_mix(tails, material[:lead], truth[-1].kind))
        middle, rest = material[lead : lead + body], material[lead + body :]
        if rng.random() < recipe.distractors and body >= 24:
            changed, found = _distract(material[lead:], body, rng)
            middle, rest = changed[:body], changed[body:]
            distractors.append(Transition(found.kind, length + found.start, length + found.end))
        parts.append(middle)
        length += body
        if kind == "cut":
            truth.append(Transition("cut", length, length))
            tails = None
        elif kind:
            tails = rest
            truth.append(Transition(kind, length, length + len(rest)))
            length += len(rest)
        previous = which
    return Splice(np.concatenate(parts), tuple(truth), tuple(distractors))


VIEWS = ((10, 20, 200, 112), (100, 30, 200, 112), (60, 60, 200, 112), (0, 0, 256, 144))
"""Left, top, width and height of four views of one scene, as cameras before the same wall would have them."""


def same_scene(frames: Frames, cuts: int, seed: int) -> Splice:
    """One shot seen by four cameras in turn: neighbours share the scene, its light and its colours. All are cuts."""
    rng = np.random.default_rng(seed)
    views = [_view(frames, *view) for view in VIEWS]
    parts: list[Frames] = []
    truth: list[Transition] = []
    previous, length = -1, 0
    for n in range(cuts + 1):
        previous = int(rng.choice([i for i in range(len(views)) if i != previous]))
        parts.append(_material(views[previous], int(rng.integers(20, 45)), rng, mirrored=False))
        length += len(parts[-1])
        if n < cuts:
            truth.append(Transition("cut", length, length))
    return Splice(np.concatenate(parts), tuple(truth), ())


def _view(frames: Frames, left: int, top: int, width: int, height: int) -> Frames:
    """A part of every frame, enlarged to all of it."""

    def enlarged(plane: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        part = plane[top // scale : (top + height) // scale, left // scale : (left + width) // scale]
        return np.asarray(cv2.resize(part, (WIDTH // scale, HEIGHT // scale), interpolation=cv2.INTER_LINEAR))

    return np.stack(
        [pack(enlarged(y, 1), enlarged(u, 2), enlarged(v, 2)) for y, u, v in zip(*planes(frames), strict=True)]
    )


def _gradual_length(rng: np.random.Generator) -> int:
    at = rng.uniform(0, len(DISSOLVES) - 1)
    return round(float(np.interp(at, range(len(DISSOLVES)), DISSOLVES)))


def _material(shot: Frames, length: int, rng: np.random.Generator, mirrored: bool = True) -> Frames:
    """`length` frames in a row, mirrored half of the time if wanted; footage that is too short goes to and fro."""
    start = int(rng.integers(0, max(1, len(shot) - length)))
    path = np.arange(start, start + length) % (2 * len(shot) - 2)
    frames = shot[np.where(path < len(shot), path, 2 * len(shot) - 2 - path)]
    if mirrored and rng.random() < 0.5:
        y, u, v = planes(frames)
        return pack(y[..., ::-1], u[..., ::-1], v[..., ::-1])
    return frames


def _mix(old: Frames, new: Frames, kind: str) -> Frames:
    """The frames of a transition; both shots go on moving. A fade falls to black, stays and rises again."""
    n = len(old)
    if kind == "dissolve":
        weight = (np.arange(1, n + 1) / (n + 1))[:, None, None]
        return np.rint(old * (1 - weight) + new * weight).astype(np.uint8)
    black = black_frames(n)
    rise = (n + 2) // 3
    at = np.arange(1, n + 1)
    falling = np.clip(at / rise, 0, 1)[:, None, None]
    rising = np.clip((n + 1 - at) / rise, 0, 1)[:, None, None]
    first = (at <= (n + 1) // 2)[:, None, None]
    mixed = np.where(first, old * (1 - falling) + black * falling, new * (1 - rising) + black * rising)
    return np.rint(mixed).astype(np.uint8)


def black_frames(n: int) -> Frames:
    frames = np.full((n, HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    frames[:, :HEIGHT] = 16
    return frames


def _distract(frames: Frames, body: int, rng: np.random.Generator) -> tuple[Frames, Transition]:
    """The frames with one distractor, which is over by frame `body`; what it moves or dims stays so."""
    name = str(rng.choice(sorted(DISTRACTORS)))
    start = int(rng.integers(6, body - 17))
    changed = frames.copy()
    length = DISTRACTORS[name](changed, start, rng)
    return changed, Transition(name, start, start + length)


def flash(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """One to three frames towards white, decaying: lightning, photographers."""
    n = int(rng.integers(1, 4))
    strength = rng.uniform(0.45, 0.9) * np.linspace(1, 0.6, n)
    for i, s in enumerate(strength):
        y = frames[start + i, :HEIGHT]
        y[:] = np.rint(y + (235 - y.astype(float)) * s)
        chroma = frames[start + i, HEIGHT:]
        chroma[:] = np.rint(128 + (chroma.astype(float) - 128) * (1 - s))
    return n


def brightness_step(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """A lamp goes on or off: from here on luma is multiplied."""
    gain = float(rng.choice([0.55, 0.7, 1.35, 1.6]))
    y = frames[start:, :HEIGHT]
    y[:] = np.clip(np.rint((y.astype(float) - 16) * gain) + 16, 16, 235)
    return 1


def freeze(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """The picture stands still and then goes on from where it would have been."""
    n = int(rng.integers(5, 16))
    frames[start : start + n] = frames[start]
    return n


def whip_pan(frames: Frames, start: int, rng: np.random.Generator) -> int:
    """The camera is swung by one to two picture widths within 8 to 14 frames, blurring as it goes."""
    n = int(rng.integers(8, 15))
    total = float(rng.uniform(1.0, 2.0)) * WIDTH * (1 if rng.random() < 0.5 else -1)
    phase = np.arange(0, len(frames) - start + 1) / n
    path = total * np.where(phase < 1, (1 - np.cos(np.pi * np.minimum(phase, 1))) / 2, 1)
    for i in range(1, len(frames) - start):
        y, u, v = planes(frames[start + i])
        speed = abs(path[i] - path[i - 1])
        frames[start + i] = pack(
            *(_shift(p, path[i] * p.shape[1] / WIDTH, speed * p.shape[1] / WIDTH) for p in (y, u, v))
        )
    return n


def _shift(plane: NDArray[np.uint8], by: float, blur: float) -> NDArray[np.uint8]:
    """Moved sideways into its own mirror images; motion blur over `blur` pixels."""
    width = plane.shape[1]
    columns = (np.arange(width) + round(by)) % (2 * width)
    moved = plane[:, np.where(columns < width, columns, 2 * width - 1 - columns)]
    size = max(1, round(blur))
    return np.asarray(cv2.blur(moved, (size, 1)))


DISTRACTORS: dict[str, Callable[[Frames, int, np.random.Generator], int]] = {
    "flash": flash,
    "brightness": brightness_step,
    "freeze": freeze,
    "whip": whip_pan,
}


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
