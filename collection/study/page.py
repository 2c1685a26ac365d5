"""The page of a study: one self-contained HTML file, in the look of the report."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from collection.study.findings import AXES, MAIN, YARDSTICKS, Column, Study
from collection.study.numbers import Estimate
from mlst.files import atomic


def write_page(path: Path, study: Study) -> None:
    """Write the page `path`."""
    style = (files("collection.report") / "templates" / "report.css").read_text(encoding="utf-8")
    text = (
        _environment()
        .get_template("study.html.j2")
        .render(
            study=study,
            style=style,
            ranked={axis: ranked(study.columns, axis) for axis in AXES},
            swept={
                sweep.name: [rise for rise in sweep.columns if rise.column in shown(study)] for sweep in study.sweeps
            },
        )
    )
    with atomic(path) as file:
        file.write(text.encode())


def ranked(columns: tuple[Column, ...], axis: str) -> list[Column]:
    """Columns by how well they agree with the axis's main yardstick."""
    return sorted(columns, key=lambda column: -column.of(YARDSTICKS[MAIN[axis]]).value)


def shown(study: Study) -> frozenset[str]:
    """Columns whose sweeps are on the page: what decides, and the best three of each axis."""
    best = (column.name for axis in AXES for column in ranked(study.columns, axis)[:3])
    return frozenset((*study.deciders, *best))


def figure(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def interval(one: Estimate) -> str:
    """A correlation and its interval."""
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def percent(value: float) -> str:
    """A share."""
    return f"{100 * value:.1f} %"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("collection.study"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters.update(figure=figure, interval=interval, percent=percent)
    return made
