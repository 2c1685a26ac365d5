"""A whole dataset in a second: made-up scan results over real, very small videos, through the real select and pack."""

import atexit
import hashlib
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from collection.engine.stage import DONE, attempt
from collection.pack.assemble import Inputs, locked, tools, write_dataset
from collection.pack.stage import PackStage, plan_shards
from collection.pack.standing import standing
from collection.recipe import Recipe
from collection.review import NO_REVIEW, parse_review
from collection.select import select
from collection.workspace.folder import Workspace
from mlst.dataset.description import Dataset
from mlst.levels.levels import find_levels, read_levels
from mlst.pictures.fingerprints import WINDOWS, WORDS
from mlst.records import FIRST, OPEN_END, Box, Clip, Probe, Scan, Shot, Source, Statistics, Stream, Upstream, Video

SIDE, FRAMES, RATE = 32, 6, 30
P910 = read_levels("p910-240p-v1")
SI, TI = (50.0, 90.0, 130.0), (5.0, 19.0, 40.0)
"""In the middle of the three ranges of `P910`."""

RECIPE = """\
name = "tiny"
version = "1.0.0"
title = "Tiny *test* <set>"
licence = "CC-BY-4.0"
contact = "removals@example.org"
sources = "sources.csv"

[scan]
size = 32
length = 6
step = 6

[select]
splits = { train = 0.5, validation = 0.25, test = 0.25 }
"""


@dataclass(frozen=True)
class Material:
    """What fetching and scanning would have given."""

    sources: dict[str, Source]
    videos: dict[str, Video]
    scans: dict[str, Scan]


@cache
def mp4(seed: int, frames: int = FRAMES, side: int = SIDE, matrix: str = "undef") -> bytes:
    """A real H.264 video of smooth noise, tagged with a colour matrix as x264 names them."""
    rng = np.random.default_rng(seed)
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        with av.open(file.name, "w", options={"movflags": "faststart", "fflags": "+bitexact"}) as video:
            options = {"crf": "30", "preset": "ultrafast", "x264-params": f"colormatrix={matrix}"}
            stream = video.add_stream("libx264", rate=RATE, options=options)
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            stream.thread_count = 1
            for _ in range(frames):
                noise = rng.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
                video.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
            video.mux(stream.encode())
        return Path(file.name).read_bytes()


def source(name: str, **changes: object) -> Source:
    """A row of a manifest; its group is its id."""
    url = f"https://www.youtube.com/watch?v={name}"
    row = Source(name, url, Fraction(0), OPEN_END, "CC-BY-4.0", f"Title of {name}", "A channel", name, "tests")
    return replace(row, **changes)


def statistics(s: int, t: int) -> Statistics:
    """Of a clip in the middle of a level."""
    values = dict.fromkeys(FIRST, 0.5)
    quiet = dict.fromkeys(("black_ratio", "freeze_ratio", "duplicate_ratio", "flash_count", "comb_ratio"), 0.0)
    return Statistics(**{**values, **quiet, "si": SI[s], "ti10": TI[t]})


def fingerprint(seed: int) -> str:
    """Unlike that of any other seed."""
    return random.Random(seed).randbytes(4 * len(WINDOWS) * WORDS * 8).hex()


def clip(name: str, index: int, s: int, t: int, video: bytes, offset: int) -> Clip:
    """Clip number `index` of a source, in a shot of its own."""
    first = index * FRAMES
    seed = int.from_bytes(hashlib.sha256(f"{name} {index}".encode()).digest()[:4], "big")
    return Clip(
        key=f"{name}_{first * 1000 // RATE:09d}",
        source=name,
        shot=index,
        first_frame=first,
        end_frame=first + FRAMES,
        frames=FRAMES,
        stride=1,
        start_pts=first * 512,
        end_pts=(first + FRAMES) * 512,
        time_base=Fraction(1, 512 * RATE),
        statistics=statistics(s, t),
        box=Box(0.0, 0.125, 1.0, 0.875),
        fingerprint=fingerprint(seed),
        offset=offset,
        size=len(video),
        sha256=hashlib.sha256(video).hexdigest(),
    )


def scan(name: str, levels: Sequence[tuple[int, int]], videos: Sequence[bytes]) -> Scan:
    """A scan with one clip per entry of `levels`, whose bytes are `videos` one behind the other."""
    clips, offset = [], 0
    for index, ((s, t), video) in enumerate(zip(levels, videos, strict=True)):
        clips.append(clip(name, index, s, t, video, offset))
        offset += len(video)
    frames = len(clips) * FRAMES
    shots = tuple(Shot(c.first_frame, c.end_frame, c.start_pts, c.end_pts) for c in clips)
    rate, base = Fraction(RATE), Fraction(1, 512 * RATE)
    stream = Stream(
        frames, 0, base, 0, (frames - 1) * 512, rate, 1, False, 320, 240, Fraction(1), 0, "yuv420p", 8, False, "bt709",
        "bt709", False,
    )  # fmt: skip
    return Scan(name, f"scan-0000/{name}.clips", stream, (), shots, tuple(clips))


def video(name: str, scanned: Scan) -> Video:
    """What fetch would have given for a scan."""
    stream = scanned.stream
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    probe = Probe(
        "mov", "h264", 320, 240, stream.time_base, stream.first_pts, stream.last_pts,
        Fraction(stream.frames, RATE), stream.rate, stream.frames, sha256,
    )  # fmt: skip
    upstream = Upstream(
        "youtube", "134", "https", "", "", "", "", "20200101", "public", "not_live", 0,
        float(probe.duration), 1000, "1577836800000000", "yt-dlp 2026.01.01",
    )  # fmt: skip
    return Video(name, Fraction(0), OPEN_END, f"fetch-0000/{name}.mp4", 1000, sha256, Fraction(0), probe, upstream)


def material(root: Path, count: int = 18) -> Material:
    """`count` sources with three clips each, and their clips' bytes in the workspace `root`."""
    names = [f"{'-' if i % 5 == 0 else 'v'}ideo{i:05d}_" for i in range(count)]
    scans = {}
    for i, name in enumerate(names):
        videos = [mp4(3 * i + j) for j in range(3)]
        scans[name] = scan(name, [(i % 3, j) for j in range(3)], videos)
        path = root / scans[name].file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(videos))
    sources = {name: source(name) for name in names}
    return Material(sources, {name: video(name, scans[name]) for name in names}, scans)


def seen(made: Material) -> list[tuple[Video, Scan]]:
    """Videos and their scans by source id."""
    return [(made.videos[name], made.scans[name]) for name in sorted(made.scans)]


def build(
    root: Path, out: Path, made: Material, recipe_toml: str = RECIPE, shard_bytes: int = 10240, review: bytes = b""
) -> Dataset:
    """Select, pack and assemble."""
    recipe = recipe_of(recipe_toml)
    work = Workspace(root, "pack-0000")
    marks = parse_review(review, "review") if review else NO_REVIEW
    selection = select(list(made.scans.values()), made.sources, P910, recipe.select, review=marks)
    settings = recipe.pack.model_copy(update={"shard_bytes": shard_bytes})
    with plan_shards(selection.chosen, seen(made), made.sources, settings) as plans:
        outcomes = [attempt(PackStage(), plan, work) for plan in plans]
    assert [o.detail for o in outcomes if o.status != DONE] == []
    packed = [output for outcome in outcomes for output in outcome.outputs]
    levels_toml = find_levels("p910-240p-v1", Path()).read_bytes()
    inputs = Inputs(
        recipe, recipe_toml.encode(), levels_toml, locked(made.sources, seen(made)), tools(), review_csv=review
    )
    return write_dataset(standing(out, work), work, packed, inputs)


@cache
def built() -> Path:
    """A finished dataset, made once per test run; copy it before changing it."""
    folder = Path(tempfile.mkdtemp(prefix="mlst-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build(folder / "work", folder / "dataset", material(folder / "work"))
    return folder / "dataset"


def recipe_of(text: str) -> Recipe:
    """The recipe in a TOML text."""
    import tomllib

    return Recipe.model_validate(tomllib.loads(text))
