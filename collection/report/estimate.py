"""What a build will take, before any request is made: requests, bytes, disk, time.

Site videos are only known by their spans, so this rests on the assumptions below; each is a constant with its reason.
Local files are measured. A build's own figures (`mlst status`) replace the estimate as it goes on.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from collection.addresses import is_web, youtube_id
from collection.engine.stage import Needs, Rejected, Retry
from collection.fetch.spans import LEAD
from collection.fetch.stage import FetchStage
from collection.media.probe import open_media, sniff
from collection.recipe import Limits, Recipe
from collection.sandbox.apart import apart
from mlst.records import OPEN_END, Source
from mlst.sandbox.kernel import Room

RENDITIONS = ((144, 0.1e6), (240, 0.2e6), (360, 0.4e6), (480, 0.8e6), (720, 1.6e6), (1080, 3.0e6), (2160, 12e6))
"""Short side and bits per second of YouTube's H.264 renditions without sound, typical values."""

UNKNOWN_LENGTH = 600.0
"""Seconds of a video without an end in the manifest: a mere guess, `unknown_length` says how often it was made."""

KEY_FRAMES = 2.5
"""Seconds before a span that are fetched on average because its key frame lies there: half of YouTube's 5 s."""

PAGE_REQUESTS = 5
"""Of yt-dlp before the media of one YouTube video: page, its data, one or two players, at times the player's code."""

MEDIA_REQUESTS = 2
"""The head of the file, and the span; longer videos are read in pieces of `PIECE` bytes."""

PIECE = 10 << 20

BANDWIDTH = 20e6
"""Bits per second that one address gets."""

SPEED = 0.06
"""Processor seconds to scan one second of 360-line video. The demo clips took 0.016 to 0.091 on one x86-64 core with
compiled kernels, between 192 and 720 lines; decoding grows with the pixels, measuring and encoding do not."""

FIXED = 0.6
"""The share of `SPEED` that does not depend on the rendition."""

TOGETHER = 64
"""Files whose headers one fork reads."""
LOOKING = Needs(seconds=60.0, memory=4 << 30, network=False)

CLIP_BITS = 0.3e6
"""Bits per second of the encoded 256x256 clips at the default quality (demo clips: 0.19 to 0.38e6); the scan and the
dataset hold them once each."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """All figures are for a build from an empty workspace."""

    sources: int
    site: int
    """Sources that yt-dlp extracts."""
    http: int
    local: int
    unknown_length: int
    """Sources whose length is a guess: remote, with an open end."""
    seconds_of_video: float
    requests: int
    download_bytes: int
    disk_peak_bytes: int
    """Fetched files of a wave, the clips of the scan and those of the dataset; local files count only as clips."""
    fetch_seconds: float
    """Wall clock: what the request budget and the bandwidth allow, whichever is slower."""
    cpu_seconds: float
    """Of one core, for scanning; divide by the workers."""


@dataclass(frozen=True, slots=True)
class _One:
    """One source's share."""

    seconds: float
    requests: int
    bytes: int
    cost: float
    """Processor seconds per second of video."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a local file says."""

    seconds: float
    side: int
    """The shorter one, pixels."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Of several files."""

    files: tuple[Header, ...]


NOTHING = Header(0.0, 0)


def estimate(sources: Iterable[Source], recipe: Recipe, fetch: FetchStage, wave: int) -> Estimate:
    """What building `recipe` from `sources` will take, the videos of at most `wave` sources on the disk at a time.

    Reads the headers of local files; makes no network requests.
    """
    rows = tuple(sources)
    web = [row for row in rows if is_web(row.url)]
    local = [row for row in rows if not is_web(row.url)]
    extracted = [bool(youtube_id(row.url)) or not recipe.fetch.http for row in web]
    shares = list(map(_remote, web, repeat(recipe), extracted))
    paths = [Path(fetch.manifest) / row.url for row in local]
    shares += map(_local, local, _headers(paths, recipe.fetch.limits))
    seconds, requests = sum(one.seconds for one in shares), sum(one.requests for one in shares)
    download = sum(one.bytes for one in shares)
    largest = sorted((one.bytes for one in shares), reverse=True)
    rate = fetch.access.budget.requests_per_minute / 60
    return Estimate(
        sources=len(rows),
        site=sum(extracted),
        http=len(web) - sum(extracted),
        local=len(local),
        unknown_length=sum(row.end == OPEN_END for row in web),
        seconds_of_video=seconds,
        requests=requests,
        download_bytes=download,
        disk_peak_bytes=sum(largest[:wave]) + round(2 * seconds * CLIP_BITS / 8),
        fetch_seconds=max(requests / rate, download * 8 / BANDWIDTH),
        cpu_seconds=sum(one.seconds * one.cost for one in shares),
    )


def _remote(source: Source, recipe: Recipe, extracted: bool) -> _One:
    whole = source.end == OPEN_END
    seconds = max(UNKNOWN_LENGTH - float(source.start), 0.0) if whole else float(source.end - source.start)
    fetched = seconds if whole and not source.start else seconds + float(LEAD) + KEY_FRAMES
    lines = recipe.fetch.short_side if extracted else 720
    side, bits = next((r for r in RENDITIONS if r[0] >= lines), RENDITIONS[-1])
    size = round(fetched * bits / 8)
    requests = (PAGE_REQUESTS if extracted else 0) + MEDIA_REQUESTS + size // PIECE
    return _One(seconds, requests, size, _cost(side))


def _local(source: Source, header: Header) -> _One:
    return _One(max(min(float(source.end), header.seconds) - float(source.start), 0.0), 0, 0, _cost(header.side))


def _headers(paths: Sequence[Path], limits: Limits) -> Iterator[Header]:
    """Of each file, looked at in a confined fork: nothing for one that cannot be opened, which the build will reject,
    or that ends the fork."""
    for start in range(0, len(paths), TOGETHER):
        some = paths[start : start + TOGETHER]
        try:
            yield from _apart(some, limits)
        except (Rejected, Retry):  # because of one of them
            yield from (_alone(path, limits) for path in some)


def _alone(path: Path, limits: Limits) -> Header:
    try:
        return _apart([path], limits)[0]
    except (Rejected, Retry):
        return NOTHING


def _apart(paths: Sequence[Path], limits: Limits) -> tuple[Header, ...]:
    room = Room(tuple(paths), ())
    found = apart(Headers, lambda: Headers(tuple(_header(path, limits) for path in paths)), LOOKING, room)
    if len(found.files) != len(paths):
        raise Retry("message", f"{len(found.files)} headers of {len(paths)} files")
    return found.files


def _header(path: Path, limits: Limits) -> Header:
    try:
        with open_media(path, sniff(path), limits) as (media, stream):
            own = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            return Header(own or (media.duration or 0) / 1e6, min(stream.width, stream.height))
    except (Rejected, OSError):
        return NOTHING


def _cost(short_side: int) -> float:
    return SPEED * (FIXED + (1 - FIXED) * (short_side / 360) ** 2)
