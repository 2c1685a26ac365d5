"""What a report holds as JSON: the index in columns, and what goes with it."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from math import exp
from pathlib import Path
from typing import Any

import numpy as np

from collection.report.previews import chosen, preview
from collection.report.prints import told
from collection.report.rows import ReportRow, read_rows
from collection.report.story import UNKNOWN, Story
from collection.report.strips import strips
from collection.workspace.folder import Workspace
from mlst.dataset.card import Measured
from mlst.dataset.description import EXCLUSIONS, INDEX, LARGEST, LOCK, Dataset
from mlst.dataset.exclusions import Exclusions, parse_exclusions
from mlst.dataset.index import Flags, index_columns, read_index_columns
from mlst.dataset.lock import read_lock
from mlst.inside import content
from mlst.levels.levels import Axis, Levels
from mlst.records import SPLITS, STATISTICS

PAIRS = 20_000
"""Near-duplicates, and places where shots are doubtful, that are in a page."""

SECONDS = ("start_seconds", "end_seconds")
"""Columns of the index that the page can filter, colour and sort by."""
MANY = 20_000
"""Clips above which only `MAIN` columns are in the page: 10^5 clips take 11 MB."""
MAIN = ("start_seconds", "end_seconds", "si", "ti10", "dct_energy", "gradient_mean", "flow_mean", "luma_mean", "scale")
PLACES = ("shot", "shot_start", "shot_end", "first_frame")
"""Columns that say where a clip lies in its film."""


@dataclass(frozen=True, slots=True)
class Film:
    """A source as the page shows it."""

    id: str
    title: str
    channel: str
    licence: str
    url: str
    width: int
    height: int
    rate: float
    codec: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a dataset a page shows, besides all of its clips."""

    per_level: int
    """Clips of each level with a moving preview; twice as many strips of each kind."""
    scores: tuple[Measured, ...]
    """Of baselines."""


USUAL = Shown(4, ())
"""What a page shows that is written at the end of a build."""


def page_data(dataset: Workspace, what: Dataset, levels: Levels, story: Story, shown: Shown) -> dict[str, Any]:
    """What the script finds in the page, JSON-ready; `templates/page/` says how it is used."""
    index, rows = dataset.path(INDEX), read_rows(dataset.path(INDEX), levels)
    used = {row.source for row in rows}
    films = [film for film in _films(dataset.path(LOCK)) if film.id in used]
    moving = chosen(rows, shown.per_level)
    place = {row.key: n for n, row in enumerate(rows)}
    prints = told(index, PAIRS)
    cut = {film.source: film.parts for film in story.films}
    return {
        **_columns(index, rows, films, levels),
        "sources": [asdict(film) for film in films],
        "splits": list(SPLITS),
        "frames": max((row.frames for row in rows), default=1),
        "axes": {name: _axis(axis) for name, axis in (("s", levels.s), ("t", levels.t))},
        "previews": {place[row.key]: _video(preview(dataset, what, row)) for row in moving},
        "inGrid": [place[row.key] for row in moving],
        "alike": prints.alike,
        "strips": [asdict(one) for one in strips(dataset, what, rows, prints, 2 * shown.per_level)],
        "outcomes": [asdict(line) for line in story.outcomes],
        "problems": [asdict(problem) for problem in story.problems],
        "leftOut": [asdict(one) for one in story.left_out],
        "copies": [(place[copy.kept], copy.key, copy.reason) for copy in story.copies if copy.kept in place],
        "timelines": [[astuple(part) for part in cut.get(film.id, ())] for film in films],
        "told": story != UNKNOWN,
        "scores": [asdict(one) for one in shown.scores],
        "exclusions": _exclusions(dataset, what),
    }


def _columns(index: Path, rows: Sequence[ReportRow], films: Sequence[Film], levels: Levels) -> dict[str, Any]:
    """The clips, a list or packed array for each property."""
    there = index_columns(index)
    main = dict.fromkeys((*MAIN, levels.s.column, levels.t.column))
    names = [name for name in ((*SECONDS, *STATISTICS) if len(rows) <= MANY else main) if name in there]
    flags = [field.name for field in fields(Flags) if f"flag_{field.name}" in there]
    table = read_index_columns(index, [*names, *(f"flag_{name}" for name in flags), *PLACES])
    bits = sum(table[f"flag_{name}"].to_numpy().astype(np.int64) << bit for bit, name in enumerate(flags))
    shards = sorted({row.shard for row in rows})
    return {
        "key": [row.key for row in rows],
        "source": _among([row.source for row in rows], [film.id for film in films]),
        "level": [3 * row.t + row.s for row in rows],
        "split": _among([row.split for row in rows], SPLITS),
        "flag": np.asarray(bits).tolist(),
        "shard": _among([row.shard for row in rows], shards),
        "offset": [row.offset for row in rows],
        "size": [row.size for row in rows],
        **{name: table[name].to_pylist() for name in PLACES},
        "numbers": {name: _packed(table[name].to_numpy()) for name in names},
        "statistics": [name for name in names if name not in SECONDS],
        "flags": flags,
        "shards": shards,
    }


def _exclusions(dataset: Workspace, what: Dataset) -> dict[str, Any]:
    """What the dataset excludes already, or an empty list that a takedown would begin with."""
    if dataset.exists(EXCLUSIONS):
        listed = parse_exclusions(content(dataset.path(EXCLUSIONS), LARGEST), EXCLUSIONS)
    else:
        listed = Exclusions(what.name, frozenset())
    return {"salt": listed.salt, "hashes": sorted(listed.hashes)}


def _axis(axis: Axis) -> dict[str, Any]:
    return {"column": axis.column, "title": axis.title, "cuts": list(axis.cuts), "margin": exp(axis.margin)}


def _films(lock: Path) -> Iterator[Film]:
    for row in read_lock(lock):
        source, stream = row.source, row.stream
        size = (stream.width, stream.height)
        yield Film(
            *(source.id, source.title, source.channel, source.licence, source.url, *size),
            *(float(stream.rate), row.probe.codec, float(row.probe.duration)),
        )


def _among(values: Sequence[str], those: Sequence[str]) -> list[int]:
    """The places of values in a list."""
    at = {value: n for n, value in enumerate(those)}
    return [at[value] for value in values]


def _packed(values: Any) -> str:
    """Little-endian float32 in base64."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _video(mp4: bytes) -> str:
    return "data:video/mp4;base64," + base64.b64encode(mp4).decode()
