"""The report of a dataset: one self-contained HTML page that asks the network for nothing.

The page holds the data as JSON and its own script, which the content security policy names by its hash; every text of
a stranger's is inserted as text.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from itertools import islice
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from collection.engine.run import Result
from collection.engine.stage import REJECTED
from collection.report.previews import chosen, preview
from collection.report.rows import read_rows
from collection.report.status import Line, tally, times
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from mlst.dataset.description import DATASET, INDEX, LOCK, THRESHOLDS, Dataset, read_json
from mlst.dataset.index import Flags, index_columns
from mlst.dataset.lock import read_lock
from mlst.exits import UserError
from mlst.files import atomic
from mlst.levels.levels import Axis, Levels, read_levels
from mlst.records import SPLITS, STATISTICS
from mlst.text import one_line

WORST = 1000
"""Items that are not done and are listed one by one."""
PER_LEVEL = 4
"""Clips of a level that have a moving preview."""

SECONDS = ("start_seconds", "end_seconds")
"""Columns of the index that the page can filter, colour and sort by."""
MANY = 20_000
"""Clips above which only `MAIN` columns are in the page: 10^5 clips take 11 MB."""
MAIN = ("start_seconds", "end_seconds", "si", "ti10", "dct_energy", "gradient_mean", "flow_mean", "luma_mean", "scale")


@dataclass(frozen=True, slots=True)
class Problem:
    """One item that is not done."""

    stage: str
    key: str
    kind: str
    detail: str


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
class Story:
    """What became of every item on the way to the dataset; empty for one that was built elsewhere."""

    outcomes: tuple[Line, ...]
    problems: tuple[Problem, ...]


UNKNOWN = Story((), ())


def story(results: Sequence[Result[object]], dropped: Mapping[str, int]) -> Story:
    """What the stages came to; `dropped` counts, by reason, the candidates that were not chosen."""
    lines = [line for result in results for line in tally(result.stage, result.outcomes.counts)]
    lines += [line for result in results if result.stage == ScanStage.name for line in times(result.outcomes)]
    left_out = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    lines += [Line("select", REJECTED, reason, count) for reason, count in left_out]
    return Story(tuple(lines), tuple(islice(problems(results), WORST)))


def problems(results: Sequence[Result[object]]) -> Iterator[Problem]:
    """Every item that is not done, with the last line of what was said."""
    for result in results:
        for outcome in result.outcomes.undone:
            said = one_line((outcome.detail.strip().splitlines() or [""])[-1])
            yield Problem(result.stage, outcome.key, outcome.kind, said)


class NoDatasetError(UserError, ValueError):
    """A folder without a dataset that could be reported on."""


def report_on(dataset: Path, page: Path, per_level: int) -> None:
    """Write the file `page` about the dataset in a folder, which may have been built elsewhere. Raises
    `NoDatasetError`."""
    try:
        levels = read_levels(dataset / THRESHOLDS)
        write_report(page, Workspace(dataset, ""), levels, UNKNOWN, per_level)
    except (FileNotFoundError, NotADirectoryError, ValueError) as why:
        raise NoDatasetError(f"{dataset}: {why}; give the folder of a dataset that `mlst verify` finds sound") from why


def write_report(path: Path, dataset: Workspace, levels: Levels, told: Story, per_level: int = PER_LEVEL) -> None:
    """Write the page `path` about the dataset in `dataset`, with `per_level` moving previews of each level."""
    what = read_json(dataset.path(DATASET))
    page = _environment().get_template("report.html.j2")
    script = asset("report.js")
    data = json.dumps(page_data(dataset, levels, told, per_level), separators=(",", ":"), allow_nan=False)
    text = page.render(
        title=f"{what.title or what.name} {what.version}",
        subtitle=f"{what.name} {what.version}, licence {what.licence}, fingerprint {what.fingerprint[:16]}",
        facts=facts(what, dataset.path(INDEX)),
        levels=levels,
        style=asset("report.css"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=data.replace("<", "\\u003c"),
    )
    with atomic(path) as file:
        file.write(text.encode())


def facts(what: Dataset, index: Path) -> list[tuple[str, str]]:
    """The figures at the top: value and name."""
    table = pq.read_table(index, columns=["start_seconds", "end_seconds", "level"])
    seconds = float((table["end_seconds"].to_numpy() - table["start_seconds"].to_numpy()).sum())
    video = sum(shard.size for shard in what.shards)
    return [
        (f"{what.clips:,}", "clips"),
        (f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min", "of video"),
        (f"{what.sources:,}", "sources"),
        (f"{len(set(table['level'].to_pylist()))} of 9", "levels"),
        (f"{len(what.shards):,}", "shards"),
        (f"{video / 1e6:,.1f} MB", "in shards"),
    ]


def page_data(dataset: Workspace, levels: Levels, told: Story, per_level: int) -> dict[str, Any]:
    """What the script finds in the page, JSON-ready; see `report.js` for its use."""
    rows = read_rows(dataset.path(INDEX), levels)
    there = index_columns(dataset.path(INDEX))
    main = dict.fromkeys((*MAIN, levels.s.column, levels.t.column))
    names = [name for name in ((*SECONDS, *STATISTICS) if len(rows) <= MANY else main) if name in there]
    flags = [field.name for field in fields(Flags) if f"flag_{field.name}" in there]
    table = pq.read_table(dataset.path(INDEX), columns=[*names, *(f"flag_{name}" for name in flags), "shot"])
    bits = sum(table[f"flag_{name}"].to_numpy().astype(np.int64) << bit for bit, name in enumerate(flags))
    used = {row.source for row in rows}
    films = [film for film in _films(dataset.path(LOCK)) if film.id in used]
    shown = chosen(rows, per_level)
    place = {row.key: n for n, row in enumerate(rows)}
    shards = sorted({row.shard for row in rows})
    return {
        "key": [row.key for row in rows],
        "source": _places([row.source for row in rows], [film.id for film in films]),
        "level": [3 * row.t + row.s for row in rows],
        "split": _places([row.split for row in rows], SPLITS),
        "flag": np.asarray(bits).tolist(),
        "shot": table["shot"].to_pylist(),
        "shard": _places([row.shard for row in rows], shards),
        "offset": [row.offset for row in rows],
        "size": [row.size for row in rows],
        "numbers": {name: _packed(table[name].to_numpy()) for name in names},
        "statistics": [name for name in names if not name.endswith("_seconds")],
        "sources": [asdict(film) for film in films],
        "splits": list(SPLITS),
        "flags": flags,
        "shards": shards,
        "frames": max((row.frames for row in rows), default=1),
        "axes": {name: _axis(axis) for name, axis in (("s", levels.s), ("t", levels.t))},
        "previews": {place[row.key]: _video(preview(dataset, row)) for row in shown},
        "inGrid": [place[row.key] for row in shown],
        "outcomes": [asdict(line) for line in told.outcomes],
        "problems": [asdict(problem) for problem in told.problems],
    }


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


def _places(values: Sequence[str], among: Sequence[str]) -> list[int]:
    at = {value: n for n, value in enumerate(among)}
    return [at[value] for value in values]


def _packed(values: Any) -> str:
    """Little-endian float32 in base64."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _video(mp4: bytes) -> str:
    return "data:video/mp4;base64," + base64.b64encode(mp4).decode()


def asset(name: str) -> str:
    """A file of the templates, as it is put into pages."""
    return (files("collection.report") / "templates" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("collection.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
