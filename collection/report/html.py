"""The report of a build: one self-contained HTML page."""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from collection.engine.run import Result
from collection.engine.stage import DONE
from collection.report.figures import level_sheet, png, scatter
from collection.report.rows import read_rows
from collection.report.status import tally
from collection.workspace.folder import Workspace
from mlst.dataset.description import INDEX
from mlst.files import atomic
from mlst.levels.levels import Levels
from mlst.records import SPLITS
from mlst.text import one_line

WORST = 200
"""Outcomes other than done that are listed one by one."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One level of the 3 x 3 grid."""

    name: str
    clips: int
    megabytes: float
    splits: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One item that is not done."""

    stage: str
    key: str
    kind: str
    detail: str


def problems(results: Sequence[Result]) -> Iterator[Problem]:
    """Every item that is not done, with the last line of what was said."""
    for result in results:
        for outcome in result.outcomes.undone:
            said = one_line((outcome.detail.strip().splitlines() or [""])[-1])
            yield Problem(result.stage, outcome.key, outcome.kind, said)


def write_report(
    path: Path, dataset: Workspace, title: str, levels: Levels, results: Sequence[Result], dropped: Counter[str]
) -> None:
    """Write the page `path` about the dataset `dataset` and the stages that made it.

    `dropped` counts, by reason, the candidates that were not chosen. Titles and details are somebody else's text: they
    are escaped, and the page loads nothing from anywhere.
    """
    rows = read_rows(dataset.path(INDEX))
    cells = []
    for t in range(3):
        for s in range(3):
            here = [row for row in rows if (row.s, row.t) == (s, t)]
            counts = tuple((split, sum(row.split == split for row in here)) for split in SPLITS)
            cells.append(Cell(f"S{s}T{t}", len(here), sum(row.size for row in here) / 1e6, counts))
    lines = [line for result in results for line in tally(result.stage, result.outcomes.counts)]
    environment = Environment(
        loader=PackageLoader("collection.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        cells=cells,
        rows=len(rows),
        sources=len({row.source for row in rows}),
        shards=len({row.shard for row in rows}),
        megabytes=sum(row.size for row in rows) / 1e6,
        levels=levels,
        tally=lines,
        problems=list(islice(problems(results), WORST)),
        more=max(0, sum(line.count for line in lines if line.status != DONE) - WORST),
        dropped=sorted(dropped.items(), key=lambda item: (-item[1], item[0])),
        sheet=_embedded(png(level_sheet(dataset, rows))),
        scatter=_embedded(png(scatter(rows, levels))),
    )
    with atomic(path) as file:
        file.write(page.encode())


def _embedded(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()
