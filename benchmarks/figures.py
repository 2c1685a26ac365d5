"""What a benchmark claims: figures with their aims, as a table and as JSON.

Every benchmark of the suite ends with `publish`; `suite` reads the JSON of all with `read` and makes one table.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Bound = Literal["at most", "at least", "none"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number, and what it should be."""

    claim: str
    unit: str
    measured: float
    bound: Bound = "none"
    aim: float = 0.0
    """Of no meaning without a bound."""

    @property
    def verdict(self) -> str:
        """Whether the aim is met."""
        met = {"at most": self.measured <= self.aim, "at least": self.measured >= self.aim}
        return ("met" if met[self.bound] else "not met") if self.bound in met else ""

    @property
    def row(self) -> str:
        """In a table under `HEAD`."""
        aim = f"{self.bound} {number(self.aim)}" if self.bound != "none" else ""
        return f"| {self.claim} | {aim} | {number(self.measured)} | {self.unit} | {self.verdict} |"


HEAD = "| claim | aim | measured | unit | |\n|---|---|---:|---|---|"


def number(value: float) -> str:
    """Three figures of it, or its whole part if that has more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Iterable[Figure]) -> str:
    """Markdown."""
    return "\n".join([HEAD, *(figure.row for figure in figures)])


def publish(figures: Sequence[Figure], path: Path | None, **details: Any) -> None:
    """Print the table; write it as JSON, with whatever else was measured, to `path` if there is one."""
    print(f"\n{table(figures)}", flush=True)
    if path:
        found = {"figures": [asdict(figure) | {"verdict": figure.verdict} for figure in figures], "details": details}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"load": os.getloadavg()[0], **found}, indent=1) + "\n")


def read(path: Path) -> list[Figure]:
    """The figures of a file that `publish` wrote; none if there is no such file."""
    rows: list[Mapping[str, Any]] = json.loads(path.read_text())["figures"] if path.exists() else []
    return [Figure(**{name: row[name] for name in Figure.__slots__}) for row in rows]
