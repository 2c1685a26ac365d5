"""Video datasets with one known defect each, and the rule that has to find it."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests import synthetic
from tests.synthetic import Array, Painter, Spec

SPEC = Spec(frames=40, width=160, height=120)
HIGH = Spec(frames=4, width=1280, height=720, options={"colorspace": "6"})


def look(seed: int) -> Painter:
    """A texture of its own that flows, with another in the middle that flows the other way: no camera explains it."""

    def paint(frame: int, height: int, width: int) -> Array:
        picture = synthetic.texture(frame, height, width, seed)
        other = synthetic.texture(-2 * frame, height, width, seed + 1000)
        top, left = height // 4, width // 4
        picture[:, top:-top, left:-left] = other[:, top:-top, left:-left]
        return picture

    return paint


def cut(one: Painter, other: Painter) -> Painter:
    return lambda frame, height, width: (one if frame < 20 else other)(frame, height, width)


def dissolve(one: Painter, other: Painter) -> Painter:
    def paint(frame: int, height: int, width: int) -> Array:
        share = min(1.0, max(0.0, (frame - 12) / 12))
        mixed = (1 - share) * one(frame, height, width) + share * other(frame, height, width)
        return np.rint(mixed).astype(np.uint8)

    return paint


def black_from(frame: int, paint: Painter) -> Painter:
    return lambda n, height, width: paint(n, height, width) if n < frame else synthetic.flat(16)(n, height, width)


def held(paint: Painter, every: int) -> Painter:
    """Every so many frames one is shown twice."""
    return lambda n, height, width: paint(n - n // every, height, width)


def stretched(paint: Painter) -> Painter:
    """Full-range codes, whatever the tag says."""

    def wide(n: int, height: int, width: int) -> Array:
        picture = paint(n, height, width).astype(np.float64)
        picture[0] = (picture[0] - 60) * 255 / 130
        return picture.clip(0, 255).astype(np.uint8)

    return wide


def combed(paint: Painter) -> Painter:
    """Odd lines half a frame later, as an interlaced camera stores them."""

    def both(n: int, height: int, width: int) -> Array:
        picture, later = paint(4 * n, height, width), paint(4 * n + 3, height, width)
        picture[:, 1::2] = later[:, 1::2]
        return picture

    return both


def panned(seed: int) -> Painter:
    """A texture that moves as a whole."""
    return lambda n, height, width: synthetic.texture(3 * n, height, width, seed)


def noisy(paint: Painter) -> Painter:
    """A still picture in which a spot flickers."""

    def still(n: int, height: int, width: int) -> Array:
        picture = paint(0, height, width)
        picture[0, 40:44, 40:44] = 60 + 40 * (n % 3)
        return picture

    return still


def uneven() -> tuple[int, ...]:
    """Milliseconds of 40 frames: of each three, two lie close together."""
    return tuple(120 * (n // 3) + (0, 20, 70)[n % 3] for n in range(SPEC.frames))


def spoiled(path: Path, paint: Painter) -> None:
    """A file with a stretch of packets overwritten."""
    whole = synthetic.write(path.with_name("whole.mp4"), replace(SPEC, options={"g": "40"}), paint)
    synthetic.damaged(whole, path, 0.4, 900)
    whole.unlink()


def sound(path: Path) -> None:
    """A file with a tone and no picture."""
    with av.open(str(path), "w", format="mp4") as media:
        stream = media.add_stream("aac", rate=44100)
        for n in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, 1024 * n, Fraction(1, 44100)
            media.mux(stream.encode(frame))
        media.mux(stream.encode())


def clips(seed: int) -> dict[str, Callable[[Path], object]]:
    """What writes a file for each rule on single clips, the clean one for none; another seed gives other pictures."""

    def seen(n: int) -> Painter:
        return look(100 * seed + n)

    return {
        "clean": lambda path: synthetic.write(path, SPEC, seen(1)),
        "cut": lambda path: synthetic.write(path, SPEC, cut(seen(2), seen(3))),
        "gradual": lambda path: synthetic.write(path, SPEC, dissolve(seen(4), seen(5))),
        "black": lambda path: synthetic.write(path, SPEC, black_from(0, seen(6))),
        "frozen": lambda path: synthetic.write(path, SPEC, lambda n, h, w: seen(7)(0, h, w)),
        "stutter": lambda path: synthetic.write(path, SPEC, held(seen(8), 4)),
        "static": lambda path: synthetic.write(path, SPEC, noisy(seen(9))),
        "bars": lambda path: synthetic.write(path, SPEC, synthetic.letterboxed(seen(10))),
        "camera": lambda path: synthetic.write(path, SPEC, panned(100 * seed + 16)),
        "range": lambda path: synthetic.write(path, SPEC, stretched(seen(11))),
        "interlaced": lambda path: synthetic.write(path, SPEC, combed(seen(12))),
        "variable": lambda path: synthetic.write(path, replace(SPEC, times=uneven()), seen(13)),
        "matrix": lambda path: synthetic.write(path, HIGH, seen(14)),
        "decode": lambda path: path.write_bytes(b"not a video at all " * 100),
        "damaged": lambda path: spoiled(path, seen(15)),
        "audio": sound,
    }


CLIPS = clips(0)


def table(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """`metadata.jsonl`."""
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# -- WebDataset


Member = tuple[str, bytes]
Shard = list[Member]


def sample(key: str, **fields: Any) -> Shard:
    """Both members of a sample; the video is none, which only decoding would notice."""
    record = {"source": key, "licence": "CC0-1.0", "score": 0.5, **fields}
    return [(f"{key}.mp4", b"\0" * 600), (f"{key}.json", json.dumps(record).encode())]


def plain(shard: int, count: int = 16) -> Shard:
    """A sound shard."""
    return [member for n in range(count) for member in sample(f"c{shard}{n}")]


def tar(members: Shard) -> bytes:
    """A USTAR archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def with_record(text: bytes) -> Shard:
    return [*plain(1)[:-1], (plain(1)[-1][0], text)]


SHARDS: dict[str, tuple[str, bytes | Shard]] = {
    "none": ("", plain(1)),
    "cut off": ("tar", tar(plain(1))[:3000]),
    "bad header": ("tar", tar(plain(1))[:2560] + b"garbage!" * 64 + tar(plain(1))[3072:]),
    "no sample": ("empty", []),
    "small": ("uneven", plain(1, 1)),
    "apart": ("order", [*plain(1), *sample("late")[:1], *sample("other"), *sample("late")[1:]]),
    "member twice": ("member", [*plain(1), *sample("two"), sample("two")[0]]),
    "dot": (
        "dot",
        [*plain(1), ("a.b.mp4", b"\0" * 600), ("a.b.json", b'{"source": "x", "licence": "", "score": 0.1}')],
    ),
    "key twice": ("key", [*plain(1), *sample("c00")]),
    "no record": ("pair", [*plain(1), sample("lonely")[0]]),
    "no video": ("pair", [*plain(1), sample("lonely")[1]]),
    "field missing": ("schema", with_record(b'{"source": "x", "licence": "CC0-1.0"}')),
    "field more": ("schema", [*plain(1), *sample("more", extra=1)]),
    "other type": ("schema", [*plain(1), *sample("whole", score=1)]),
    "null": ("schema", [*plain(1), *sample("null", source=None)]),
    "empty list": ("schema", [*plain(1), *sample("list", score=[])]),
    "not JSON": ("json", with_record(b'{"source": "x"')),
    "NaN": ("json", with_record(b'{"source": "x", "licence": "CC0-1.0", "score": NaN}')),
    "not UTF-8": ("json", with_record('{"source": "é"}'.encode("latin-1"))),
}
"""The rule, and the second of four shards."""


def shards(folder: Path, second: bytes | Shard) -> Path:
    """Four shards and a licence, the second as given."""
    folder.mkdir(parents=True)
    (folder / "LICENSE").write_text("CC0")
    for number in range(4):
        made = second if number == 1 else plain(number)
        (folder / f"train-{number:03}.tar").write_bytes(made if isinstance(made, bytes) else tar(made))
    return folder


# -- LeRobot


def lerobot(folder: Path, lengths: tuple[int, ...], total: int) -> Path:
    """One camera, one file of 40 frames that holds episodes of these lengths."""
    video = folder / "videos" / "observation.images.top" / "chunk-000" / "file-000.mp4"
    video.parent.mkdir(parents=True)
    synthetic.write(video, SPEC, look(20))
    (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    camera = {"dtype": "video", "shape": [120, 160, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": "v3.0",
        "fps": 25,
        "total_frames": total,
        "total_episodes": len(lengths),
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {"observation.images.top": camera, "action": {"dtype": "float32", "shape": [6], "names": None}},
    }
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    place = {"videos/observation.images.top/chunk_index": 0, "videos/observation.images.top/file_index": 0}
    rows = [{"episode_index": n, "length": length, **place} for n, length in enumerate(lengths)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    (folder / "LICENSE").write_text("CC0")
    return folder
