"""Clips whose black bars are known: real footage and generated scenes, with and without bars, through lossy codecs.

Half of them are for tuning, half are held out; the two have no footage in common.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tests.synthetic import Array, Painter, Spec, flat, texture, write

CLIPS = Path(__file__).parents[1] / "manifests" / "demo" / "clips"
WIDTH, HEIGHT, FRAMES = 640, 360, 16

Sides = tuple[float, float, float, float]
"""Left, top, right, bottom: what bars take, as shares of the width or height."""

NONE: Sides = (0, 0, 0, 0)
CODINGS = {
    "h264": Spec(codec="libx264", options={"preset": "veryfast", "crf": "23", "x264-params": "no-mbtree=1"}),
    "h264 low": Spec(codec="libx264", options={"preset": "veryfast", "crf": "36", "x264-params": "no-mbtree=1"}),
    "hevc": Spec(
        codec="libx265", options={"preset": "ultrafast", "crf": "32", "x265-params": "log-level=none:pools=1"}
    ),
    "vp9": Spec(codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8", "crf": "42", "b": "0"}),
    "av1": Spec(codec="libsvtav1", options={"preset": "12", "crf": "45", "svtav1-params": "lp=1"}),
    "10 bit": Spec(
        codec="libx265", pix_fmt="yuv420p10le", options={"crf": "28", "x265-params": "log-level=none:pools=1"}
    ),
    "full range": Spec(codec="libx264", full_range=True, options={"preset": "veryfast", "crf": "26"}),
    "small": Spec(width=320, height=180, options={"preset": "veryfast", "crf": "30", "x264-params": "no-mbtree=1"}),
    "large": Spec(width=960, height=540, options={"preset": "veryfast", "crf": "30", "x264-params": "no-mbtree=1"}),
}


@dataclass(frozen=True)
class Case:
    """A clip to make, and where its bars are."""

    name: str
    paint: Painter
    bars: Sides
    coding: str
    drawn: Callable[[Array, Sides], None] = field(default_factory=lambda: nothing)
    """Draws on a (3, H, W) picture after the bars: a logo, subtitles."""
    own: Sides = NONE
    """Bars that the footage has itself, where none are added."""

    @property
    def truth(self) -> Sides:
        """All its bars."""
        return self.own if self.bars == NONE else self.bars

    def write(self, path: Path) -> Path:
        """The clip as a Matroska file."""
        return write(path, replace(CODINGS[self.coding], frames=FRAMES, **self._size()), self._paint)

    def _size(self) -> dict[str, int]:
        coding = CODINGS[self.coding]
        return {} if coding.width != Spec().width else {"width": WIDTH, "height": HEIGHT}

    def _paint(self, number: int, height: int, width: int) -> Array:
        """Bars are black lines of whole pixels at `WIDTH` x `HEIGHT`, then all is scaled, as a rendition is."""
        left, top, right, bottom = (round(share * n) for share, n in zip(self.bars, (WIDTH, HEIGHT) * 2, strict=True))
        whole = flat(16)(number, HEIGHT, WIDTH)
        whole[:, top : HEIGHT - bottom, left : WIDTH - right] = self.paint(
            number, HEIGHT - top - bottom, WIDTH - left - right
        )
        self.drawn(whole, self.bars)
        shape = (width, height)
        return np.stack([cv2.resize(plane, shape, interpolation=cv2.INTER_AREA) for plane in whole])


def footage(name: str, start: int, crop: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Painter:
    """Every second frame of a demo clip from `start` on, less (left, top, right, bottom) pixels, scaled."""

    def paint(number: int, height: int, width: int) -> Array:
        left, top, right, bottom = crop
        planes = _frames(name, start)[number]
        h, w = planes[0].shape
        whole = (
            planes[0][top : h - bottom, left : w - right],
            *(p[top // 2 : (h - bottom) // 2, left // 2 : (w - right) // 2] for p in planes[1:]),
        )
        return np.stack(
            [cv2.resize(np.ascontiguousarray(p), (width, height), interpolation=cv2.INTER_AREA) for p in whole]
        )

    return paint


@lru_cache(maxsize=4)
def _frames(name: str, start: int) -> list[tuple[Array, Array, Array]]:
    found: list[tuple[Array, Array, Array]] = []
    with av.open(str(CLIPS / name)) as media:
        for number, frame in enumerate(media.decode(video=0)):
            if number >= start and (number - start) % 2 == 0:
                planes = [
                    np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width] for p in frame.planes
                ]
                found.append((planes[0].copy(), planes[1].copy(), planes[2].copy()))
            if len(found) == FRAMES:
                return found
    raise ValueError(f"{name} has no {FRAMES} frames from {start} on")


def darkened(paint: Painter, contrast: float) -> Painter:
    """A darker version of a scene: contrast below 1 pulls luma towards black."""

    def paint_dark(number: int, height: int, width: int) -> Array:
        picture = paint(number, height, width)
        luma = 16 + (picture[0].astype(np.float64) - 16) * contrast
        return np.stack([luma.round().clip(16, 235).astype(np.uint8), picture[1], picture[2]])

    return paint_dark


def lit(light: Callable[[int, int, int], NDArray[np.float64]]) -> Painter:
    """A scene in the dark: luma 17 with grain, `light` (0..1) of (frame, height, width) on it."""

    def paint(number: int, height: int, width: int) -> Array:
        grain = np.random.default_rng(number).normal(0, 1, (height, width))
        luma = 17 + grain + 200 * light(number, height, width)
        return np.stack([luma.round().clip(16, 235).astype(np.uint8), *flat(16)(0, height, width)[1:]])

    return paint


def vignette(number: int, height: int, width: int) -> Array:
    """A texture that falls off to black towards the corners and sides."""
    picture = texture(number, height, width, seed=5)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    fall = np.clip(1.25 - (x**2 + y**2), 0, 1)
    luma = 16 + (picture[0] - 16.0) * fall
    return np.stack([luma.round().astype(np.uint8), picture[1], picture[2]])


def stars(number: int, height: int, width: int) -> NDArray[np.float64]:
    """A night sky: three hundred points above a ragged sky line with windows."""
    rng = np.random.default_rng(3)
    light = np.zeros((height, width))
    light[rng.integers(0, height * 3 // 4, 300), rng.integers(0, width, 300)] = rng.uniform(0.2, 1, 300)
    edges = np.repeat(rng.uniform(0.6, 0.9, 20), -(-width // 20))[:width]
    below = np.arange(height)[:, None] > edges * height
    return np.asarray(np.maximum(light, below * (0.05 + 0.5 * (rng.random((height, width)) > 0.9))))


def stage(number: int, height: int, width: int) -> NDArray[np.float64]:
    """A figure that moves in a spotlight before black."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    centre = 0.4 + 0.01 * number
    figure = (np.hypot((x - centre) / 0.05, (y - 0.35) / 0.09) < 1) | (np.hypot((x - centre) / 0.1, (y - 1) / 0.6) < 1)
    spot = np.exp(-(((x - centre) / 0.2) ** 2 + ((y - 0.95) / 0.1) ** 2))
    return np.asarray(0.6 * figure + 0.4 * spot)


def lamp(number: int, height: int, width: int) -> NDArray[np.float64]:
    """One bright rectangle in the dark."""
    light = np.zeros((height, width))
    light[height // 3 : height // 2, width // 2 : width // 2 + width // 6] = 0.9
    return light


def campfire(number: int, height: int, width: int) -> NDArray[np.float64]:
    """A flickering glow low in the middle."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    strength = 0.6 + 0.3 * np.random.default_rng(number).random()
    return np.asarray(strength * np.exp(-(((x - 0.5) / 0.15) ** 2 + ((y - 0.8) / 0.2) ** 2)))


def dusk(number: int, height: int, width: int) -> NDArray[np.float64]:
    """A sky that brightens smoothly from black to a dim horizon."""
    return np.asarray(np.broadcast_to(np.linspace(0, 0.5, height)[:, None] ** 2, (height, width)))


def title(number: int, height: int, width: int) -> NDArray[np.float64]:
    """Words on black."""
    card = np.zeros((height, width), np.uint8)
    for row, words in enumerate(("A FILM BY SOMEBODY", "and everybody else")):
        cv2.putText(card, words, (width // 8, height // 2 + 40 * row), cv2.FONT_HERSHEY_SIMPLEX, width / 500, 255, 2)
    return card / 280.0


def fading(paint: Painter) -> Painter:
    """A scene that comes out of black."""
    return lambda number, height, width: darkened(paint, number / FRAMES)(number, height, width)


def fireworks(number: int, height: int, width: int) -> NDArray[np.float64]:
    """Sparks on rings that grow, in a black sky."""
    rng, light = np.random.default_rng(8), np.zeros((height, width))
    for _ in range(5):
        y, x, speed = rng.uniform(0.2, 0.6) * height, rng.uniform(0.2, 0.8) * width, rng.uniform(1, 3)
        for angle in rng.uniform(0, 2 * np.pi, 60):
            place = round(x + speed * number * np.cos(angle)), round(y + speed * number * np.sin(angle))
            cv2.circle(light, place, 1, float(rng.uniform(0.4, 1)), -1)
    return light


def headlights(number: int, height: int, width: int) -> NDArray[np.float64]:
    """A road by night: two beams on a wedge of ground below a black sky."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    wedge = np.clip((y - 0.55) * 2, 0, 1) * (np.abs(x - 0.5) < (y - 0.45))
    lamps = np.exp(-(((np.abs(x - 0.5) - 0.05 - 0.004 * number) / 0.02) ** 2 + ((y - 0.55) / 0.03) ** 2))
    return np.asarray(0.35 * wedge + 0.9 * lamps)


def moon(number: int, height: int, width: int) -> NDArray[np.float64]:
    """A moon, and its path on a sea that is hardly brighter than the sky."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    path = (y > 0.6) * np.exp(-(((x - 0.6) / 0.06) ** 2)) * np.random.default_rng(number).random((height, width))
    return np.asarray((np.hypot((x - 0.6) * 16 / 9, y - 0.25) < 0.06) * 0.9 + 0.6 * path + 0.02 * (y > 0.6))


def credit_roll(number: int, height: int, width: int) -> NDArray[np.float64]:
    """Names that rise over black."""
    card = np.zeros((height, width), np.uint8)
    for row in range(-2, 8):
        place = (width // 4, height // 6 * row - 2 * number + height // 4)
        cv2.putText(card, "Name Surname  of something", place, cv2.FONT_HERSHEY_SIMPLEX, width / 900, 255, 1)
    return card / 300.0


def nothing(picture: Array, bars: Sides) -> None:
    """Draws nothing."""


def logo(picture: Array, bars: Sides) -> None:
    """A station's mark in the upper bar, to the right."""
    height = round(bars[1] * picture.shape[1])
    cv2.putText(picture[0], "TV7", (WIDTH - 90, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 200, 3)


def subtitles(picture: Array, bars: Sides) -> None:
    """A line of text in the lower bar, over two thirds of the width."""
    middle = round((1 - bars[3] / 2) * picture.shape[1]) + 6
    cv2.putText(
        picture[0], "Where were you all that time, Maria?", (100, middle), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 220, 2
    )


LETTER, SCOPE, THIN = (0, 0.12, 0, 0.12), (0, 0.128, 0, 0.131), (0, 0.014, 0, 0.014)
PILLAR, PHONE, WINDOW = (0.125, 0, 0.125, 0), (0.34, 0, 0.34, 0), (0.125, 0.12, 0.125, 0.12)
TOP, LEFT, RIGHT, UNEVEN = (0, 0.15, 0, 0), (0.2, 0, 0, 0), (0, 0, 0.25, 0), (0, 0.1, 0, 0.19)

SIGNER, ROAD = footage("asl_signer_book_4s_640x480.mkv", 0), footage("static_road_cars_30s_768x432.mp4", 40)
MEADOW, FILM = footage("bbb_opening_30s_854x480.mp4", 300), footage("sintel_trailer_52s_480x204.mp4", 876)
FLOWER, WATER = footage("flower_timelapse_5s_960x540.mp4", 20), footage("stream_of_water_3s_480x360.webm", 10)
TRACTOR, RABBIT = footage("tractor_pan_10s_512x288_vp9.webm", 30), footage("rabbit_orbit_8s_320x240.mp4", 60)

OTHERS = {
    "hill": footage("bbb_opening_30s_854x480.mp4", 70),
    "rabbit hole": footage("bbb_opening_30s_854x480.mp4", 600),
    "big rabbit": footage("bbb_trailer_33s_640x360.webm", 262),
    "arrow": footage("bbb_trailer_33s_640x360.webm", 476),
    "desert": footage("sintel_trailer_52s_480x204.mp4", 940),
    "dragon": footage("sintel_trailer_52s_480x204.mp4", 730),
    "talk": footage("talking_head_24s_320x192.mp4", 100),
}
KINDS = (
    ("letterbox", LETTER, "h264 low", nothing),
    ("pillarbox", PILLAR, "vp9", nothing),
    ("windowbox", WINDOW, "av1", nothing),
    ("scope", SCOPE, "small", nothing),
    ("phone", PHONE, "hevc", nothing),
    ("bar above", TOP, "large", nothing),
    ("bar at the left", LEFT, "av1", nothing),
    ("subtitles", UNEVEN, "h264", subtitles),
    ("logo", LETTER, "hevc", logo),
    ("thin bars", THIN, "vp9", nothing),
    ("scope, full range", SCOPE, "full range", nothing),
    ("bar at the right", RIGHT, "10 bit", nothing),
)
DARKER = {
    "fireworks": lit(fireworks),
    "headlights": lit(headlights),
    "moon": lit(moon),
    "credits": lit(credit_roll),
    "arrow, dark": darkened(footage("bbb_trailer_33s_640x360.webm", 476), 0.3),
    "dragon, fading": fading(footage("sintel_trailer_52s_480x204.mp4", 730)),
}

TUNING = (
    Case("signer, letterbox", SIGNER, LETTER, "h264"),
    Case("signer, letterbox, low rate", SIGNER, LETTER, "h264 low"),
    Case("signer, pillarbox", SIGNER, PILLAR, "hevc"),
    Case("signer, windowbox", SIGNER, WINDOW, "vp9"),
    Case("signer, bar at the left", SIGNER, LEFT, "h264 low"),
    Case("signer, logo in the bar", SIGNER, LETTER, "h264", logo),
    Case("signer, subtitles in the bar", SIGNER, UNEVEN, "h264 low", subtitles),
    Case("signer, dark, letterbox", darkened(SIGNER, 0.2), LETTER, "hevc"),
    Case("road, letterbox, small", ROAD, LETTER, "small"),
    Case("road, letterbox, large", ROAD, SCOPE, "large"),
    Case("road, phone", ROAD, PHONE, "av1"),
    Case("road, bar above", ROAD, TOP, "vp9"),
    Case("road, thin bars", ROAD, THIN, "h264"),
    Case("road, windowbox, 10 bit", ROAD, WINDOW, "10 bit"),
    Case("road, letterbox, full range", ROAD, SCOPE, "full range"),
    Case("meadow, letterbox", MEADOW, SCOPE, "av1"),
    Case("meadow, bar at the right", MEADOW, RIGHT, "hevc"),
    Case("meadow, subtitles in the bar", MEADOW, SCOPE, "vp9", subtitles),
    Case("meadow, fading, letterbox", fading(MEADOW), LETTER, "h264"),
    Case("crystal, as it is", footage("crystal_orbit_12s_720x480.mp4", 9), NONE, "h264", own=(8 / 720, 0, 8 / 720, 0)),
    Case("signer", SIGNER, NONE, "h264 low"),
    Case("road", ROAD, NONE, "hevc"),
    Case("meadow", MEADOW, NONE, "av1"),
    Case("road, dark", darkened(ROAD, 0.08), NONE, "h264 low"),
    Case("signer, fading", fading(SIGNER), NONE, "h264"),
    Case("stars", lit(stars), NONE, "h264"),
    Case("stars, low rate", lit(stars), NONE, "h264 low"),
    Case("lamp", lit(lamp), NONE, "hevc"),
    Case("dusk", lit(dusk), NONE, "h264 low"),
    Case("black", flat(16), NONE, "h264"),
    Case("flower, letterbox", FLOWER, LETTER, "hevc"),
    Case("flower, letterbox, low rate", FLOWER, SCOPE, "h264 low"),
    Case("flower, pillarbox", FLOWER, PILLAR, "av1"),
    Case("flower, windowbox", FLOWER, WINDOW, "h264"),
    Case("flower, logo in the bar", FLOWER, LETTER, "vp9", logo),
    Case("flower, dark, letterbox", darkened(FLOWER, 0.2), LETTER, "h264 low"),
    Case("water, letterbox", WATER, SCOPE, "vp9"),
    Case("water, phone", WATER, PHONE, "h264 low"),
    Case("water, bar above", WATER, TOP, "hevc"),
    Case("water, bar at the right", WATER, RIGHT, "av1"),
    Case("water, subtitles in the bar", WATER, LETTER, "h264", subtitles),
    Case("water, letterbox, small", WATER, LETTER, "small"),
    Case("tractor, letterbox, large", TRACTOR, LETTER, "large"),
    Case("tractor, letterbox, 10 bit", TRACTOR, SCOPE, "10 bit"),
    Case("tractor, bar at the left", TRACTOR, LEFT, "h264"),
    Case("tractor, thin bars", TRACTOR, THIN, "av1"),
    Case("film, letterbox", FILM, SCOPE, "h264 low"),
    Case("film, windowbox, full range", FILM, WINDOW, "full range"),
    Case("film, subtitles in the bar", FILM, UNEVEN, "hevc", subtitles),
    Case("film, fading, letterbox", fading(FILM), SCOPE, "vp9"),
    Case("rabbit, pillarbox", RABBIT, PILLAR, "h264 low"),
    Case("pig, as it is", footage("pig_zoom_7s_720x480.mp4", 10), NONE, "h264", own=(8 / 720, 0, 8 / 720, 0)),
    Case("talk, as it is", footage("his_girl_friday_6s_640x480.mp4", 9), NONE, "av1", own=(6 / 640, 0, 6 / 640, 0)),
    Case(
        "trailer, as it is",
        footage("sintel_trailer_10s_854x480.mp4", 100),
        NONE,
        "h264",
        own=(0, 58 / 480, 0, 58 / 480),
    ),
    Case("flower", FLOWER, NONE, "h264 low"),
    Case("water", WATER, NONE, "vp9"),
    Case("tractor", TRACTOR, NONE, "av1"),
    Case("film", FILM, NONE, "hevc"),
    Case("film, dark", darkened(FILM, 0.08), NONE, "h264 low"),
    Case("rabbit, fading", fading(RABBIT), NONE, "h264"),
    Case("vignette", vignette, NONE, "h264 low"),
    Case("stage", lit(stage), NONE, "h264"),
    Case("stage, low rate", lit(stage), NONE, "h264 low"),
    Case("campfire", lit(campfire), NONE, "hevc"),
    Case("title", lit(title), NONE, "h264"),
)
"""Cases by which the constants of `mlst.pictures.bars` were chosen."""

HOLD_OUT = (
    *(
        Case(f"{name}, {kind}, {coding}", paint, bars, coding, drawn)
        for number, (name, paint) in enumerate(OTHERS.items())
        for kind, bars, coding, drawn in (*KINDS[number % 3 :: 3], KINDS[(number + 1) % 3 + 3 * (number % 4)])
    ),
    *(
        Case(f"{name}, {coding}", paint, NONE, coding)
        for name, paint in DARKER.items()
        for coding in ("vp9", "h264 low")
    ),
    *(Case(name, paint, NONE, "hevc") for name, paint in OTHERS.items()),
    Case("snow, as it is", footage("sintel_trailer_10s_854x480.mp4", 40), NONE, "av1", own=(0, 58 / 480, 0, 58 / 480)),
    Case(
        "old man, as it is",
        footage("sintel_trailer_10s_854x480.mp4", 180),
        NONE,
        "h264",
        own=(0, 58 / 480, 0, 58 / 480),
    ),
    Case(
        "crystal later, as it is",
        footage("crystal_orbit_12s_720x480.mp4", 200),
        NONE,
        "vp9",
        own=(8 / 720, 0, 8 / 720, 0),
    ),
)
"""Cases of other scenes, looked at once the constants were settled."""
