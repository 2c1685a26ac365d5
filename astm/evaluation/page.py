"""Results as one page that needs nothing beside it: tables, films, filmstrips, difference maps, curves."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2

from astm.metrics import LOWER_IS_BETTER, better
from astm.results import Evaluation, base_and_ending, read_results

KINDS = {".png": "image/png", ".mp4": "video/mp4"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A score in a table."""

    text: str
    best: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A model in a table."""

    label: str
    cells: tuple[Cell, ...]
    parameters: str
    speed: str


@dataclass(frozen=True, slots=True)
class Levels:
    """A table of one metric by level."""

    metric: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A clip's pictures, as data URIs; "" for one that is not there."""

    film: str
    strip: str
    errors: str


def page(folder: Path) -> str:
    """The page of a folder that `astm evaluate` or `astm score` wrote. Raises `EvaluationError`."""
    results = read_results(folder / "results.json")
    first = results[0]
    metrics = [score.metric for score in first.groups[0].scores if not base_and_ending(score.metric)[1]]
    strips = sorted(folder.glob("filmstrip-*.png"), key=_number)
    pictures = {name: sorted(folder.glob(f"{name}-*.png")) for name in ("curve", "levels")}
    template = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        (files("astm.evaluation") / "templates" / "results.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        title=f"{first.dataset} {first.split}: {', '.join(result.label for result in results)}",
        protocol=first.protocol,
        clips=first.clips,
        policy=first.policy,
        interval=first.interval,
        fingerprint=first.fingerprint[:16],
        metrics=metrics,
        arrows={name: "↓" if name.startswith(LOWER_IS_BETTER) else "↑" for name in metrics},
        rows=_rows(results, metrics),
        by_level=[_by_level(results, name) for name in metrics] if len(first.groups) > 1 else [],
        examples=[
            Shown(*map(_uri, (folder / f"film-{i}.mp4", strip, folder / f"errors-{i}.png")))
            for strip in strips
            for i in [_number(strip)]
        ],
        curves=[_uri(path) for path in pictures["curve"]],
        maps=[_uri(path) for path in pictures["levels"]],
    )


def _rows(results: Sequence[Evaluation], metrics: Sequence[str]) -> list[Row]:
    columns = [_column([result.score(name).mean for result in results], name) for name in metrics]
    made = []
    for i, result in enumerate(results):
        scores = [result.score(name) for name in metrics]
        texts = [f"{score.mean:.4g} [{score.low:.4g}, {score.high:.4g}]" for score in scores]
        cells = tuple(Cell(text, best[i]) for text, best in zip(texts, columns, strict=True))
        c = result.cost
        told = (f"{c.parameters:,}", f"{c.clips_per_second:.1f}") if c.device else ("-", "-")
        made.append(Row(result.label, cells, *told))
    return made


def _by_level(results: Sequence[Evaluation], name: str) -> Levels:
    groups = results[0].groups[1:]
    columns = [_column([result.score(name, group.level).mean for result in results], name) for group in groups]
    rows = tuple(
        Row(
            result.label,
            tuple(
                Cell(f"{result.score(name, group.level).mean:.4g}", best[i])
                for group, best in zip(groups, columns, strict=True)
            ),
            *("-", "-"),
        )
        for i, result in enumerate(results)
    )
    return Levels(name, tuple(f"{group.level} ({group.clips})" for group in groups), rows)


def _column(means: Sequence[float], name: str) -> list[bool]:
    """Which of several means is the best; of a single one, none."""
    beaten = [any(better(name, other, mean) for other in means) for mean in means]
    return [len(means) > 1 and not lost for lost in beaten]


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _uri(path: Path) -> str:
    if not path.is_file():
        return ""
    return f"data:{KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
