"""The types that cross a seam: frozen, JSON-encodable, nothing optional.

Time is exact. A position in a video is a frame ordinal (0 = first decoded frame) together with a pts and a time base;
seconds are `Fraction`. Every interval is half open, `[start, end)`.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R")

OPEN_END = Fraction(10**9)
"""A span with this end (seconds; 31 years) runs to the end of its video."""

SOURCE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a source id may look like: safe as a file name and as the first part of a shard key."""

SPLITS = ("train", "validation", "test")


def later(default: Any) -> Any:
    """A field that its record got after datasets had been written: left out of JSON while it has its default, so that
    it costs no byte where there is nothing to say, and old files are read."""
    return dataclasses.field(default=default, metadata={"later": True})


@cache
def later_fields(kind: Any) -> dict[str, Any]:
    """Defaults of the fields of a record that `later` made."""
    return {field.name: field.default for field in dataclasses.fields(kind) if field.metadata.get("later")}


@dataclass(frozen=True, slots=True)
class Source:
    """One row of a manifest."""

    id: str
    """`SOURCE_ID`, unique in the manifest, case-sensitive; YouTube ids fit and may begin with `-`."""
    url: str
    """A YouTube watch URL, any http(s) media URL, or the path of a local file relative to the manifest."""
    start: Fraction
    """Seconds from the beginning of the video."""
    end: Fraction
    """Seconds; `OPEN_END` for the rest of the video."""
    licence: str
    """SPDX-like, e.g. `CC-BY-4.0`; `unknown` where nobody said."""
    title: str
    channel: str
    group: str
    """Sources of one group never end up in different splits."""
    provenance: str
    """Where the row came from: a list and its version, or a person."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the site said of a video when it was fetched; "" and 0 where it said nothing."""

    extractor: str
    """yt-dlp's name of the extractor, `http` for a plain media URL, `file` for a local file."""
    format_id: str
    protocol: str
    title: str
    channel: str
    channel_id: str
    licence: str
    upload_date: str
    """YYYYMMDD."""
    availability: str
    live_status: str
    age_limit: int
    duration: float
    """Seconds, as announced."""
    size: int
    """Bytes of the whole file, as announced."""
    revision: str
    """Names this version of the file: YouTube's `lmt` of a rendition, the ETag or Last-Modified of a plain URL."""
    tool: str
    """Name and version of the program that asked."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the packets of a file's main video stream say, without decoding."""

    container: str
    """Name of the demuxer that was asked for, e.g. `mov`, `matroska`; never guessed from the file's name."""
    codec: str
    width: int
    """Coded size from the stream header, before rotation and pixel aspect ratio."""
    height: int
    time_base: Fraction
    """Seconds per tick of a pts."""
    first_pts: int
    """Smallest pts of any packet that is presented."""
    last_pts: int
    duration: Fraction
    """Seconds from the first pts to the end of the last frame."""
    rate: Fraction
    """Packets per second, from the usual distance of neighbouring pts; see `collection.media.probe.frame_rate`."""
    packets: int
    packets_sha256: str
    """Over the payloads of the video packets in decoding order: survives remuxing, changes with re-encoding."""
    streams: int = later(1)
    """Video streams in the file, of which this is the main one (`mlst.pictures.presentation`)."""


@dataclass(frozen=True, slots=True)
class Video:
    """A fetched file: what `fetch` makes of a `Source`."""

    source: str
    """`Source.id`."""
    start: Fraction
    """The wanted span, seconds on the source's own clock (0 = its beginning)."""
    end: Fraction
    file: str
    """Path relative to the workspace."""
    size: int
    """Bytes."""
    sha256: str
    """Of the file. YouTube's headers differ from download to download; `probe.packets_sha256` does not."""
    origin: Fraction
    """Seconds on the file's clock (pts * time base) at which the source's own clock shows 0."""
    probe: Probe
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Stream:
    """What decoding a video showed."""

    frames: int
    """Frames decoded, each once."""
    decode_errors: int
    """Packets that the decoder refused, and frames that are damaged."""
    time_base: Fraction
    first_pts: int
    last_pts: int
    rate: Fraction
    """Frames per second before thinning; `Probe.rate` unless several packets make a frame."""
    stride: int
    """Every `stride`-th frame is used, so that `rate / stride` is at most the recipe's rate."""
    variable: bool
    """Whether more than 1 % of the frame distances differ from their median by more than 10 % and one tick."""
    width: int
    """Stored picture after rotation, before pixel aspect ratio."""
    height: int
    sar: Fraction
    """Width of a stored pixel over its height, after rotation."""
    rotation: int
    """Degrees clockwise that were applied: 0, 90, 180 or 270."""
    pixel_format: str
    depth: int
    """Bits per sample."""
    full_range: bool
    matrix: str
    """Of YCbCr to RGB as applied to the clips: `bt709`, `smpte170m`, `bt2020nc` ...; resolved where unspecified."""
    transfer: str
    interlaced: bool
    repaired: int = later(0)
    """Frames that were given another time than the stored one, which is missing or wrong (`mlst.pictures.times`)."""
    dropped: int = later(0)
    """Frames without a usable time, passed over: at most two, or 2 % of all."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of shot; its frames belong to neither shot.

    A cut is empty: `start == end` is the first frame of the new shot. A dissolve or fade covers `[start, end)`.
    A break is no work of an editor: the picture changes its size or a hole gapes in time (empty), or frames are
    damaged.
    """

    kind: str
    """`cut`, `dissolve`, `fade` or `break`."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames `[start, end)` of a video between two transitions."""

    start: int
    end: int
    start_pts: int
    end_pts: int
    """Pts of frame `end`, or the end of the last frame."""


@dataclass(frozen=True, slots=True)
class Box:
    """Active picture (without letterbox bars) in units of the whole picture, each in [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """Measured on a clip's canonical picture (`mlst.pictures.frames`); one field per function in `mlst.statistics`."""

    si: float
    """Mean over the 10 Hz grid of P.910's spatial information, range-normalised ("legacy") domain. Decides `s`."""
    si_p95: float
    si_std: float
    si_pq: float
    """As `si` in the PQ domain of P.910 (10/2023)."""
    ti: float
    """Mean temporal information between neighbouring frames of the clip."""
    ti10: float
    """Mean temporal information between neighbours on the 10 Hz grid. Decides `t`."""
    ti10_p95: float
    ti10_max: float
    ti_pq: float
    """As `ti10` in the PQ domain."""
    dct_energy: float
    """VCA's E (block 16, fractional): weighted DCT energy."""
    dct_change: float
    """VCA's h: mean change of block energy between grid neighbours."""
    gradient_mean: float
    laplacian_var: float
    glcm_contrast: float
    glcm_entropy: float
    interpolation_error: float
    """WebRTC's spatial prediction error."""
    frame_difference: float
    """WebRTC's mean |F_n - F_{n-1}| / std(F_n) on the grid."""
    flow_mean: float
    """Optical flow in % of the picture width per second, mean over pixels and grid pairs."""
    flow_median: float
    flow_p95: float
    flow_camera: float
    """Length of the median vector: camera motion, same unit."""
    flow_residual: float
    """Mean distance from the median vector: object motion, same unit."""
    luma_mean: float
    luma_std: float
    luma_p1: float
    luma_p99: float
    colourfulness: float
    """Hasler and Suesstrunk 2003, from chroma."""
    black_ratio: float
    """Share of frames that are black."""
    freeze_ratio: float
    """Share of neighbouring frames with TI below 0.1."""
    duplicate_ratio: float
    """Share of neighbouring frames whose canonical pictures are identical."""
    flash_count: float
    clipped_ratio: float
    """Share of luma samples outside the nominal range."""
    comb_ratio: float
    """Share of pixels that show interlace combing."""
    scale: float
    """Lines of the canonical picture over lines of the source's active picture; above 1 it was enlarged."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A candidate: a fixed number of frames inside one shot, measured and encoded."""

    key: str
    """`<source id>_<start in ms on the source's clock, 9 digits>`; names the clip's files in a shard."""
    source: str
    shot: int
    """Index into `Scan.shots`."""
    first_frame: int
    """Ordinal of the clip's first frame in the decoded file."""
    end_frame: int
    """First ordinal behind the clip: `first_frame + frames * stride`, or less at the end of the shot."""
    frames: int
    stride: int
    start_pts: int
    end_pts: int
    time_base: Fraction
    statistics: Statistics
    box: Box
    fingerprint: str
    """Perceptual hashes of its grid frames (`mlst.pictures.fingerprints`), hex: alike for the same footage."""
    offset: int
    """Where the clip's encoded bytes lie in `Scan.file`."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What one decode of a video gave."""

    source: str
    file: str
    """The encoded clips one behind the other, relative to the workspace."""
    stream: Stream
    transitions: tuple[Transition, ...]
    shots: tuple[Shot, ...]
    clips: tuple[Clip, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """A written shard."""

    path: str
    """Relative to the dataset, e.g. `data/s0t2/train-00000-of-00003.tar`."""
    level: str
    split: str
    clips: int
    size: int
    sha256: str


def encode(value: Any) -> Any:
    """A record as JSON-ready dicts and lists; fractions as "n/d" strings."""
    return _encoder(type(value))(value)  # type: ignore[arg-type]  # a type is hashable


def decode(kind: type[R], value: Any) -> R:
    """The record of type `kind` that `encode` gave `value` for; a missing or unknown field is a ValueError."""
    found: R = _decoder(kind)(value)  # type: ignore[arg-type]  # a type is hashable
    return found


PLAIN = (str, int, float, bool)
"""Types of fields that are in JSON what they are here."""


@cache
def _encoder(kind: Any) -> Callable[[Any], Any]:
    """What encodes values of type `kind`; made once, so that a field is looked at only where there is work to do."""
    if issubclass(kind, Fraction):
        return lambda value: f"{value.numerator}/{value.denominator}"
    if issubclass(kind, tuple | list):
        return lambda value: [encode(item) for item in value]
    if not dataclasses.is_dataclass(kind):
        return lambda value: value
    names = [field.name for field in dataclasses.fields(kind)]
    deep = [field.name for field in dataclasses.fields(kind) if field.type not in PLAIN]
    defaults = later_fields(kind)  # type: ignore[arg-type]  # a type is hashable

    def fields(value: Any) -> dict[str, Any]:
        found = {name: getattr(value, name) for name in names}
        for name, default in defaults.items():
            if found[name] == default:
                del found[name]
        for name in deep:
            found[name] = encode(found[name])
        return found

    return fields


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What decodes values to type `kind`; made once."""
    make: Any = kind
    if get_origin(kind) is tuple:
        inner = _decoder(get_args(kind)[0])
        return lambda value: tuple(inner(item) for item in value)
    if kind is Fraction:
        return _fraction
    if not dataclasses.is_dataclass(kind):
        return lambda value: value
    hints = get_type_hints(kind)
    names = hints.keys()
    deep = [(name, _decoder(hint)) for name, hint in hints.items() if hint not in PLAIN]
    defaults = later_fields(kind)  # type: ignore[arg-type]

    def record(value: Any) -> Any:
        if value.keys() != names and (defaults | value).keys() != names:
            raise ValueError(f"{make.__name__}: fields differ: {sorted((defaults | value).keys() ^ names)}")
        if not deep:
            return make(**value)
        found = dict(value)
        for name, inner in deep:
            found[name] = inner(found[name])
        return make(**found)

    return record


@lru_cache(maxsize=1 << 12)
def _fraction(text: str) -> Fraction:
    return Fraction(text)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no white space, ASCII; NaN and infinity are refused."""
    return _CANONICAL.encode(encode(value))


def digest(value: Any) -> str:
    """sha256, hex, of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
