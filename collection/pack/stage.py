"""Chosen clips -> shards: planned by a pure function, each written by one attempt."""

import hashlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self

from collection.engine.stage import Expected, Needs, Retry
from collection.recipe import PackSettings
from collection.select import Chosen
from collection.workspace.folder import Span, Workspace
from mlst.dataset.index import ClipInfo, Flags, Row
from mlst.dataset.shards import BLOCK, RECORD, ClipFiles, partition, sample_bytes, shard_path, write_shard
from mlst.levels.flags import telling
from mlst.records import Clip, Count, Part, Scan, Shard, Source, Video, canonical_json, decode_json, digest, measured
from mlst.signed import public


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip, and where its bytes lie."""

    key: str
    json: str
    """Its `ClipInfo` as canonical JSON: what lies beside its video in the shard."""
    fingerprint: str
    file: str
    """Relative to the workspace."""
    offset: int
    size: int
    sha256: str

    @property
    def part(self) -> Part:
        """Its bytes."""
        return Part(self.file, self.offset, self.size, self.sha256)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What one shard will hold, in order."""

    path: str
    """Relative to the dataset."""
    level: str
    split: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A shard to be, by the places of its clips among the chosen."""

    path: str
    level: str
    split: str
    clips: range


class Spill:
    """Pieces in a temporary file, read by number; TMPDIR says where, and a chosen clip takes some 5 kB there."""

    def __init__(self, count: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._offsets, self._lengths = array("Q", bytes(8 * count)), array("Q", bytes(8 * count))
        self.sizes = array("Q", bytes(8 * count))
        """What each clip adds to a shard."""

    def write(self, number: int, piece: Piece, size: int) -> None:
        """Add a piece."""
        self._offsets[number], self.sizes[number] = self._file.tell(), size
        self._lengths[number] = self._file.write(canonical_json(piece).encode())

    def read(self, number: int) -> Piece:
        """A piece that was written."""
        self._file.seek(self._offsets[number])
        return decode_json(Piece, self._file.read(self._lengths[number]))

    def close(self) -> None:
        """Give the space back."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Packed:
    """A written shard, still in the workspace."""

    shard: Shard
    file: str
    """The shard, relative to the workspace."""
    rows: str
    """Its part of the index: a canonical JSON `Row` per line, relative to the workspace."""
    rows_size: Count
    rows_sha256: str

    @property
    def parts(self) -> tuple[Part, ...]:
        """Both files."""
        shard = Part(self.file, 0, self.shard.size, self.shard.sha256)
        return shard, Part(self.rows, 0, self.rows_size, self.rows_sha256)


@dataclass(frozen=True, slots=True)
class PackStage:
    """`ShardPlan` -> `Packed`. How shards are cut is in the plans, so there are no settings."""

    name: ClassVar[str] = "pack"
    version: ClassVar[int] = 2
    output: ClassVar[type[Packed]] = Packed
    needs: ClassVar[Needs] = Needs(seconds=6 * 3600.0, memory=0, network=False)

    def settings(self) -> Any:
        """None."""
        return {}

    def key(self, item: ShardPlan) -> str:
        """The shard's name and a hash of all that goes into it."""
        return f"{item.path}@{digest(item)[:16]}"

    def reads(self, item: ShardPlan) -> Iterator[Span]:
        """The clips."""
        return (Span(piece.file, piece.offset, piece.size) for piece in item.pieces)

    def expects(self, item: ShardPlan) -> Expected:
        """The shard and its rows."""
        name = self._name(item)
        return Expected((name, name + ".rows"), 1 << 20)

    def check(self, item: ShardPlan, outputs: tuple[Packed, ...]) -> None:
        """One shard: the one that was planned."""
        (found,) = outputs
        shard = found.shard
        wanted = (item.path, item.level, item.split, len(item.pieces))
        if (shard.path, shard.level, shard.split, shard.clips) != wanted or found.rows != found.file + ".rows":
            raise ValueError(f"the shard {shard.path!r} of {shard.clips} clips")

    def _name(self, item: ShardPlan) -> str:
        return self.key(item).replace("/", "-")

    def __call__(self, item: ShardPlan, work: Workspace) -> Iterator[Packed]:
        """Write the shard and its rows. Raises `Retry("damaged")` where a clip's bytes are not what was scanned."""
        name = self._name(item)
        with work.create(name) as (file, relative):
            written = write_shard(file, _samples(item.pieces, work))
        rows = (
            Row(_info(piece), piece.fingerprint, item.path, member.offset, member.size, member.sha256)
            for piece, member in zip(item.pieces, written.members, strict=True)
        )
        text = b"".join(canonical_json(row).encode() + b"\n" for row in rows)
        with work.create(name + ".rows") as (lines, rows_name):
            lines.write(text)
        shard = Shard(item.path, item.level, item.split, len(item.pieces), written.size, written.sha256)
        yield Packed(shard, relative, rows_name, len(text), hashlib.sha256(text).hexdigest())


class Plans:
    """The plans of all shards, in the order of their paths, made one at a time from a file: clips may be millions."""

    def __init__(self, cuts: Sequence[Cut], pieces: Spill) -> None:
        self._cuts, self._pieces = cuts, pieces

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.close()

    def __len__(self) -> int:
        return len(self._cuts)

    def __iter__(self) -> Iterator[ShardPlan]:
        for cut in self._cuts:
            yield ShardPlan(cut.path, cut.level, cut.split, tuple(map(self._pieces.read, cut.clips)))


def plan_shards(
    chosen: Sequence[Chosen],
    seen: Iterable[tuple[Video, Scan]],
    sources: Mapping[str, Source],
    settings: PackSettings,
) -> Plans:
    """The shards that hold `chosen`. `seen`, read once, must hold the scan of every chosen clip; `sources` are by id.

    Within a level and split the clips keep the order of `Selection.chosen` (by hash of the key), cut into as few
    shards as `shard_bytes` allows, of sizes as equal as clips allow. A level and split without clips has no shard.
    """
    by_key = {one.candidate.key: one for one in chosen}
    pieces = (
        Piece(
            clip.key, canonical_json(describe(by_key[clip.key], clip, scan, video, sources[scan.source])),
            clip.fingerprint, scan.file, clip.offset, clip.size, clip.sha256,
        )
        for video, scan in seen for clip in scan.clips if clip.key in by_key
    )  # fmt: skip
    return plan_pieces(chosen, pieces, settings)


def plan_pieces(chosen: Sequence[Chosen], pieces: Iterable[Piece], settings: PackSettings) -> Plans:
    """As `plan_shards`, of the pieces of all `chosen`, in any order."""
    spill = Spill(len(chosen))
    places = {one.candidate.key: place for place, one in enumerate(chosen)}
    for piece in pieces:
        spill.write(places[piece.key], piece, sample_bytes(piece.size, len(piece.json)))
    return Plans(sorted(_cuts(chosen, spill.sizes, settings), key=lambda cut: cut.path), spill)


def read_by(plans: Iterable[ShardPlan], keys: Set[str]) -> Iterator[Part]:
    """What the shards with these keys are made of."""
    if keys:
        yield from (piece.part for plan in plans if PackStage().key(plan) in keys for piece in plan.pieces)


def _cuts(chosen: Sequence[Chosen], sizes: Sequence[int], settings: PackSettings) -> Iterator[Cut]:
    limit = settings.shard_bytes // RECORD * RECORD - 2 * BLOCK
    begin = 0
    for (level, split), cell in groupby(chosen, key=lambda c: (c.candidate.level.name, c.candidate.split)):
        counts = partition(sizes[begin : begin + sum(1 for _ in cell)], limit)
        for index, count in enumerate(counts):
            yield Cut(shard_path(level, split, index, len(counts)), level, split, range(begin, begin + count))
            begin += count


_telling = lru_cache(maxsize=64)(telling)
"""The clips of a build are measured alike."""


def describe(chosen: Chosen, clip: Clip, scan: Scan, video: Video, source: Source) -> ClipInfo:
    """The record that lies beside a clip's video."""
    candidate = chosen.candidate
    shot = scan.shots[clip.shot]
    start = clip.start_pts * clip.time_base - video.origin
    end = clip.end_pts * clip.time_base - video.origin
    return ClipInfo(
        key=clip.key,
        source=source.id,
        url=public(source.url),
        title=source.title,
        channel=source.channel,
        licence=source.licence,
        provenance=source.provenance,
        group=candidate.group,
        split=candidate.split,
        level=candidate.level.name,
        number=candidate.level.number,
        s=candidate.level.s,
        t=candidate.level.t,
        margin_s=candidate.margin_s,
        margin_t=candidate.margin_t,
        start=start,
        end=end,
        start_seconds=float(start),
        end_seconds=float(end),
        shot=clip.shot,
        shot_start=shot.start,
        shot_end=shot.end,
        first_frame=clip.first_frame,
        end_frame=clip.end_frame,
        frames=clip.frames,
        stride=clip.stride,
        start_pts=clip.start_pts,
        end_pts=clip.end_pts,
        time_base=clip.time_base,
        rate=scan.stream.rate / clip.stride,
        source_width=scan.stream.width,
        source_height=scan.stream.height,
        box=clip.box,
        statistics=clip.statistics,
        flags=Flags(**{name: name in candidate.flags for name in _telling(measured(clip.statistics))}),
    )


def _samples(pieces: Sequence[Piece], work: Workspace) -> Iterator[ClipFiles]:
    for piece in pieces:
        mp4 = _bytes(work.path(piece.file), piece)
        yield ClipFiles(piece.key, mp4, piece.json.encode())


def _info(piece: Piece) -> ClipInfo:
    return decode_json(ClipInfo, piece.json.encode())


def _bytes(path: Path, piece: Piece) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(piece.offset)
            mp4 = file.read(piece.size)
    except OSError as why:
        raise Retry("damaged", f"{path.name}: clip {piece.key} cannot be read: {why.strerror}") from None
    if hashlib.sha256(mp4).hexdigest() != piece.sha256:
        place = f"{path.name}: the {piece.size} bytes at {piece.offset}"
        raise Retry("damaged", f"{place} are not clip {piece.key} as scanned")
    return mp4
