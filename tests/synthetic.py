"""Small videos whose every frame says which one it is.

A counter is burned in as 4 x 4 black and white blocks in the middle of the picture (Gray code, so one block changes
from frame to frame); it survives scaling to 256x256, cropping to a square, letterboxing and x264. Around it a texture
moves. `write` encodes what a `Spec` says, `read_counter` reads a decoded frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Array = NDArray[np.uint8]
Region = tuple[float, float, float, float]
Painter = Callable[[int, int, int], Array]
"""(frame, height, width) -> (3, height, width) Y, U, V, limited range."""

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
LEFT, TOP, RIGHT, BOTTOM = 0.3, 0.25, 0.7, 0.75
SIDE = 4
BITS = SIDE * SIDE - 2
DARK, BRIGHT = 30, 220


@dataclass(frozen=True)
class Spec:
    """What to encode; the defaults make a plain 25 fps H.264 video."""

    frames: int = 48
    width: int = 160
    height: int = 120
    rate: Fraction = Fraction(25)
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    times: tuple[int, ...] = ()
    """Milliseconds of each frame, for a variable rate."""
    first: int = 0
    """Time of the first frame, in frames; negative ones are hidden by an edit list (mp4)."""
    rotation: int = 0
    """Degrees clockwise by which a player must turn the stored picture to show it upright."""
    mirrored: bool = False
    """Whether a player must also mirror it, left to right."""
    sar: Fraction = Fraction(1)
    full_range: bool = False
    interlaced: bool = False


def counted(frame: int, height: int, width: int) -> Array:
    """A moving texture with the counter in it."""
    return burn(texture(frame, height, width), frame)


def texture(frame: int, height: int, width: int, seed: int = 0) -> Array:
    """Random blots of all sizes that move by 1/160 of the width per frame; another look for each seed."""
    look = _look(height, width, seed)
    return np.ascontiguousarray(np.roll(look, -round(frame * width / 160), axis=2))


@lru_cache(maxsize=8)
def _look(height: int, width: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    planes = []
    for spread, (low, high) in ((45.0, (70, 170)), (20.0, (90, 166)), (20.0, (90, 166))):
        blots = sum(_blots(rng, height, width, max(1.0, height / size)) for size in (4, 12, 40))
        planes.append(np.clip(rng.uniform(low, high) + spread * blots / (np.std(blots) or 1), 16, 235))
    return np.stack(planes).round().astype(np.uint8)


def _blots(rng: np.random.Generator, height: int, width: int, size: float) -> NDArray[np.float32]:
    """Noise smoothed to blots of a size in pixels, of unit deviation, without a seam at the sides."""
    noise = np.tile(rng.normal(size=(height, width)).astype(np.float32), (1, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), size / 2)[:, width : 2 * width]
    return smooth / (smooth.std() or 1)


def burn(picture: Array, number: int) -> Array:
    """`picture` with the counter in its middle, 0 <= number < 2^14."""
    picture = picture.copy()
    code = number ^ (number >> 1)
    bits = [0, *((code >> k) & 1 for k in range(BITS)), 1]
    for (top, bottom, left, right), bit in zip(_blocks(picture.shape[1], picture.shape[2], WHOLE), bits, strict=True):
        picture[0, top:bottom, left:right] = BRIGHT if bit else DARK
        picture[1:, top:bottom, left:right] = 128
    return picture


def _blocks(height: int, width: int, region: Region) -> list[tuple[int, int, int, int]]:
    """Rows and columns of the blocks, where the picture takes `region` (left, top, right, bottom) of a frame."""
    left, top, right, bottom = region
    xs = [round(width * (left + (right - left) * (LEFT + (RIGHT - LEFT) * k / SIDE))) for k in range(SIDE + 1)]
    ys = [round(height * (top + (bottom - top) * (TOP + (BOTTOM - TOP) * k / SIDE))) for k in range(SIDE + 1)]
    return [(ys[r], ys[r + 1], xs[c], xs[c + 1]) for r in range(SIDE) for c in range(SIDE)]


def read_counter(luma: NDArray[np.uint8] | NDArray[np.uint16], region: Region = WHOLE) -> int:
    """The number in a frame's luma, of any depth and range, where the whole picture takes `region` of the frame."""
    means = []
    for top, bottom, left, right in _blocks(*luma.shape, region):
        dy, dx = (bottom - top) // 4, (right - left) // 4
        means.append(
            float(luma[top + dy : max(bottom - dy, top + dy + 1), left + dx : max(right - dx, left + dx + 1)].mean())
        )
    middle = (means[0] + means[-1]) / 2
    assert means[-1] - means[0] > 100, f"no counter in this frame: black {means[0]:.0f}, white {means[-1]:.0f}"
    number = sum((mean > middle) << k for k, mean in enumerate(means[1:-1]))
    shift = 1
    while shift < BITS:
        number ^= number >> shift
        shift *= 2
    return number


def write(path: Path, spec: Spec = Spec(), paint: Painter = counted) -> Path:
    """Encode `spec.frames` pictures of `paint` into `path`, whose suffix names the container."""
    tick = Fraction(1, 1000) if spec.times else 1 / spec.rate
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as media:
        stream = media.add_stream(spec.codec, rate=spec.rate)
        context = stream.codec_context
        turned = spec.rotation in (90, 270)
        context.width, context.height = (spec.height, spec.width) if turned else (spec.width, spec.height)
        context.pix_fmt, context.time_base, context.thread_count = spec.pix_fmt, tick, 1
        context.sample_aspect_ratio = 1 / spec.sar if turned else spec.sar
        context.options = {**_options(spec), **spec.options}
        if spec.full_range:
            context.color_range = 2
        if spec.rotation or spec.mirrored:
            stream.set_display_rotation(-spec.rotation, hflip=spec.mirrored)
        for number in range(spec.frames):
            picture = _stored(paint(number, spec.height, spec.width), spec)
            frame = packed(picture, spec.pix_fmt, spec.full_range)
            frame.pts = (spec.times[number] if spec.times else number) + spec.first
            frame.time_base = tick
            media.mux(stream.encode(frame))
        media.mux(stream.encode())
    return path


def _options(spec: Spec) -> dict[str, str]:
    """Fast, and the same bytes on every run (x264's macroblock tree is not; see `collection.media.encode`)."""
    options = {}
    if spec.codec == "libx264":
        options = {"preset": "ultrafast", "crf": "14", "x264-params": "no-mbtree=1"}
    if spec.codec == "libvpx-vp9":
        options = {"deadline": "realtime", "cpu-used": "8", "crf": "20"}
    if spec.interlaced:
        options["flags"] = "+ildct+ilme"
    return options


def _stored(picture: Array, spec: Spec) -> Array:
    """An upright picture as it is stored: turned and mirrored back."""
    if spec.mirrored:
        picture = picture[:, :, ::-1]
    return np.rot90(picture, k=spec.rotation // 90, axes=(1, 2))


def packed(picture: Array, pix_fmt: str, full_range: bool) -> VideoFrame:
    """(3, H, W) 8 bit limited range as a libav frame of a planar format."""
    height, width = picture.shape[1:]
    frame = VideoFrame(width, height, pix_fmt)
    layout = VideoFormat(pix_fmt, width, height)
    depth = layout.components[0].bits
    if full_range:
        frame.color_range = 2
    for plane, component, samples in zip(frame.planes, layout.components, picture, strict=False):
        codes = cv2.resize(np.ascontiguousarray(samples), (plane.width, plane.height), interpolation=cv2.INTER_AREA)
        if full_range:
            low, span = (16, 219) if component.is_luma else (128, 224)
            codes = np.clip(np.rint((codes - float(low)) * 255 / span + (0 if component.is_luma else 128)), 0, 255)
        values = codes.astype(np.uint8 if depth == 8 else np.uint16) << (depth - 8)
        rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes().ljust(plane.buffer_size, b"\0"))
    return frame


def scenes(lengths: Sequence[int]) -> Painter:
    """Shots of the given lengths in frames, each with a look of its own, cut hard; the counter runs on."""
    starts = np.cumsum([0, *lengths])

    def paint(frame: int, height: int, width: int) -> Array:
        number = int(np.searchsorted(starts, frame, side="right")) - 1
        return burn(texture(frame, height, width, seed=number + 1), frame)

    return paint


def cuts(path: Path, lengths: Sequence[int], spec: Spec = Spec()) -> tuple[Path, tuple[int, ...]]:
    """A video of `scenes`, and the first frames of its shots but the first."""
    spec = Spec(**{**vars(spec), "frames": sum(lengths)})
    return write(path, spec, scenes(lengths)), tuple(int(c) for c in np.cumsum(lengths)[:-1])


def still(_frame: int, height: int, width: int) -> Array:
    """The same picture again and again, without a counter."""
    return texture(0, height, width)


def pan(frame: int, height: int, width: int) -> Array:
    """A fixed random picture that moves 2 % of the width per frame, without a counter."""
    rng = np.random.default_rng(7)
    wide = cv2.GaussianBlur(rng.integers(16, 236, (height, width)).astype(np.uint8), (0, 0), 2)
    grey = np.full_like(wide, 128)
    return np.stack([np.roll(wide, -frame * max(1, width // 50), axis=1), grey, grey])


def noise(frame: int, height: int, width: int) -> Array:
    """Other random luma in every frame."""
    luma = np.random.default_rng(frame).integers(16, 236, (height, width)).astype(np.uint8)
    return np.stack([luma, np.full_like(luma, 128), np.full_like(luma, 128)])


def flat(luma: int, u: int = 128, v: int = 128) -> Painter:
    """One colour."""

    def paint(_frame: int, height: int, width: int) -> Array:
        return np.stack([np.full((height, width), code, np.uint8) for code in (luma, u, v)])

    return paint


def letterboxed(paint: Painter, share: float = 0.12) -> Painter:
    """`paint` between black bars, each `share` of the height."""

    def boxed(frame: int, height: int, width: int) -> Array:
        bar = round(height * share)
        picture = flat(16)(frame, height, width)
        picture[:, bar : height - bar] = paint(frame, height - 2 * bar, width)
        return picture

    return boxed


def truncated(source: Path, target: Path, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def damaged(source: Path, target: Path, at: float, length: int = 200) -> Path:
    """A file with `length` bytes inverted from a position given as a share of its size."""
    data = bytearray(source.read_bytes())
    begin = int(len(data) * at)
    data[begin : begin + length] = bytes(255 - b for b in data[begin : begin + length])
    target.write_bytes(data)
    return target


def spoiled_reference(source: Path, target: Path) -> Path:
    """A Matroska file with the middle of one packet inverted: a reference that B-frames shown before it need."""
    with av.open(str(source)) as media:
        packets = [p for p in media.demux(video=0) if p.size]
    later = [p for p in packets[len(packets) // 3 :] if p.pts - p.dts > 80 and not p.is_keyframe and p.size > 150]
    packet = max(later[:4], key=lambda p: p.size)
    return damaged(source, target, (packet.pos + packet.size / 2) / source.stat().st_size, length=30)
