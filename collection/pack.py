"""Chosen clips -> shards: planned by a pure function, each written by one attempt."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from collection.recipe import PackSettings
from collection.select import Chosen
from collection.stage import Needs
from collection.workspace import Workspace
from mlst.dataset import ClipInfo, Flags, Row, fields_of
from mlst.records import Scan, Shard, Source, Video, canonical_json, digest
from mlst.shards import BLOCK, RECORD, Sample, partition, sample_bytes, shard_path, write_shard


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip, and where its bytes lie."""

    info: ClipInfo
    fingerprint: str
    file: str
    """Relative to the workspace."""
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What one shard will hold, in order."""

    path: str
    """Relative to the dataset."""
    level: str
    split: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A written shard, still in the workspace."""

    shard: Shard
    file: str
    """The shard, relative to the workspace."""
    rows: str
    """Its part of the index: a canonical JSON `Row` per line, relative to the workspace."""


@dataclass(frozen=True, slots=True)
class PackStage:
    """`ShardPlan` -> `Packed`. How shards are cut is in the plans, so there are no settings."""

    name: ClassVar[str] = "pack"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Packed
    needs: ClassVar[Needs] = Needs(seconds=6 * 3600.0, memory=0, network=False)

    def settings(self) -> Any:
        """None."""
        return {}

    def key(self, item: ShardPlan) -> str:
        """The shard's name and a hash of all that goes into it."""
        return f"{item.path}@{digest(item)[:16]}"

    def __call__(self, item: ShardPlan, work: Workspace) -> Iterator[Packed]:
        """Write the shard and its rows. Raises OSError or ValueError where a clip's bytes are not what was scanned."""
        name = self.key(item).replace("/", "-")
        with work.create(name) as (file, relative):
            written = write_shard(file, _samples(item.pieces, work))
        rows = (
            Row(piece.info, piece.fingerprint, item.path, member.offset, member.size, member.sha256)
            for piece, member in zip(item.pieces, written.members, strict=True)
        )
        with work.create(name + ".rows") as (lines, rows_name):
            lines.writelines(canonical_json(row).encode() + b"\n" for row in rows)
        shard = Shard(item.path, item.level, item.split, len(item.pieces), written.size, written.sha256)
        yield Packed(shard, relative, rows_name)


def plan_shards(
    chosen: Sequence[Chosen],
    scans: Mapping[str, Scan],
    videos: Mapping[str, Video],
    sources: Mapping[str, Source],
    settings: PackSettings,
) -> tuple[ShardPlan, ...]:
    """The shards that hold `chosen`, in the order of their paths; scans, videos and sources by source id.

    Within a level and split the clips keep the order of `Selection.chosen` (by hash of the key), cut into as few
    shards as `shard_bytes` allows, of sizes as equal as clips allow. A level and split without clips has no shard.
    """
    limit = settings.shard_bytes // RECORD * RECORD - 2 * BLOCK
    plans: list[ShardPlan] = []
    for (level, split), cell in groupby(chosen, key=lambda c: (c.candidate.level.name, c.candidate.split)):
        pieces = [_piece(c, scans, videos, sources) for c in cell]
        counts = partition([sample_bytes(p.size, len(canonical_json(p.info))) for p in pieces], limit)
        begin = 0
        for index, count in enumerate(counts):
            path = shard_path(level, split, index, len(counts))
            plans.append(ShardPlan(path, level, split, tuple(pieces[begin : begin + count])))
            begin += count
    return tuple(sorted(plans, key=lambda plan: plan.path))


def _piece(
    chosen: Chosen, scans: Mapping[str, Scan], videos: Mapping[str, Video], sources: Mapping[str, Source]
) -> Piece:
    clip = chosen.candidate.clip
    info = describe(chosen, scans[clip.source], videos[clip.source], sources[clip.source])
    return Piece(info, clip.fingerprint, chosen.candidate.file, clip.offset, clip.size, clip.sha256)


def describe(chosen: Chosen, scan: Scan, video: Video, source: Source) -> ClipInfo:
    """The record that lies beside a clip's video."""
    candidate, clip = chosen.candidate, chosen.candidate.clip
    shot = scan.shots[clip.shot]
    start = clip.start_pts * clip.time_base - video.origin
    end = clip.end_pts * clip.time_base - video.origin
    return ClipInfo(
        key=clip.key,
        source=source.id,
        url=source.url,
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
        flags=Flags(**{name: name in candidate.flags for name in fields_of(Flags)}),
    )


def _samples(pieces: Sequence[Piece], work: Workspace) -> Iterator[Sample]:
    for piece in pieces:
        mp4 = _bytes(work.path(piece.file), piece)
        yield Sample(piece.info.key, mp4, canonical_json(piece.info).encode())


def _bytes(path: Path, piece: Piece) -> bytes:
    with path.open("rb") as file:
        file.seek(piece.offset)
        mp4 = file.read(piece.size)
    if hashlib.sha256(mp4).hexdigest() != piece.sha256:
        raise ValueError(
            f"{path.name}: the {piece.size} bytes at {piece.offset} are not clip {piece.info.key} as scanned; "
            "delete the file and build again"
        )
    return mp4
