"""One line for each problem that pydantic finds in settings, naming the setting, its value and the choices."""

import reprlib
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 200


def problems(why: ValidationError, kind: type[BaseModel], table: str = "") -> Iterator[str]:
    """A line for each problem of values that are no `kind`; `table` is the dotted name of where they stand."""
    return (problem(error, kind, table) for error in why.errors())


def first_problem(why: ValidationError) -> str:
    """What is wrong first in a file, without the value, which may be anybody's: `0.label: Input should be ...`."""
    error = why.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, error["loc"])), error["msg"])))


def problem(error: ErrorDetails, kind: type[BaseModel], table: str = "") -> str:
    """One problem as a line, e.g. `scan.length = 1: Input should be greater than or equal to 2`."""
    name, value = ".".join([table] * bool(table) + [str(part) for part in error["loc"]]), _shown(error["input"])
    if error["type"] == "missing":
        return f"{name}: missing"
    if error["type"] == "extra_forbidden":
        return f"{name} = {value}: unknown setting; choices are {', '.join(_choices(error, kind))}"
    return f"{name} = {value}: {error['msg']}"


def _shown(value: object) -> str:
    """As Python writes it, shortened; a value too deep or too long for that is not shown."""
    try:
        return _brief.repr(value)
    except (RecursionError, ValueError):
        return "..."


def _choices(error: ErrorDetails, kind: Any) -> list[str]:
    """The settings of the table that has an unknown one, the most alike first."""
    *tables, name = map(str, error["loc"])
    for table in tables:
        kind = kind.model_fields[table].annotation
    return sorted(kind.model_fields, key=lambda choice: -SequenceMatcher(None, name, choice).ratio())
