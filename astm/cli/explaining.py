"""`astm why`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from astm.cli.options import AsJson
from mlst.exits import Exit
from mlst.text import one_line

if TYPE_CHECKING:
    from astm.why import Why


def why(
    a: Annotated[Path, typer.Argument(metavar="A", help="Run, results file or its folder, or built dataset.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind.")],
    as_json: AsJson = False,
) -> None:
    """Show why two runs, results or datasets differ: data, code, settings, versions of libraries, or the seed.

    Exit code 0 if nothing that both recorded differs, else 1.
    """
    from astm.why import why as compared

    found = compared(a, b)
    if as_json:
        sys.stdout.write(json.dumps(as_values(found), indent=1) + "\n")
    else:
        Console(highlight=False).print(table(found))
    raise typer.Exit(Exit.DONE if found.equal else Exit.WRONG)


def as_values(found: "Why") -> dict[str, object]:
    """For `--json`: the verdict on each part, and what differs with both values."""
    from astm.why import PARTS

    differences = [{"part": f.part, "name": f.name, "a": f.a, "b": f.b} for f in found.differences]
    parts = {part: found.verdict(part) for part in PARTS}
    return {"kind": found.kind, "equal": found.equal, "parts": parts, "differences": differences}


def table(found: "Why") -> Table:
    """A line for each difference; a part without any has one line that says whether it was compared."""
    from astm.why import PARTS

    made = Table()
    for head in ("part", "what", "A", "B"):
        made.add_column(head, overflow="fold")
    for part in PARTS:
        facts = [fact for fact in found.differences if fact.part == part]
        for fact in facts:
            made.add_row(part, *(_cell(text) for text in (fact.name, fact.a or "none", fact.b or "none")))
        if not facts:
            made.add_row(part, found.verdict(part), "", "")
    return made


def _cell(text: str) -> str:
    return one_line(text).replace("[", r"\[")
