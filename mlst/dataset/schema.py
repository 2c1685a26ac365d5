"""JSON from outside against the record types: the fields of a record, and what is wrong with a value that claims to
be one."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from mlst.records import decode, later_fields

R = TypeVar("R")

FRACTION = re.compile(r"-?\d{1,40}/[1-9]\d{0,39}")


@cache
def fields_of(kind: type) -> Mapping[str, type]:
    """Name and type of a record's fields, in their order."""
    return get_type_hints(kind)


def given(hint: Any) -> Any:
    """The type of a field's value where there is one: `float` for `float | None`."""
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint) if optional(hint) else hint


def optional(hint: Any) -> bool:
    """Whether None stands for a field that is left out."""
    return type(None) in get_args(hint)


def misfit(kind: Any, value: Any, where: str) -> str:
    """What is wrong with JSON `value` as a record of type `kind`: a sentence that begins with `where`, or "".

    Stricter than `decode`: an int is not a float, a bool not an int; null, NaN, missing and unknown fields are
    refused.
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            return f"{where} is {value!r}, not an object"
        fields = fields_of(kind)  # type: ignore[arg-type]
        complete = later_fields(kind).keys() | value.keys()  # type: ignore[arg-type]
        if complete != fields.keys():
            return f"{where} has missing or unknown fields: {', '.join(sorted(complete ^ fields.keys()))}"
        return next(filter(None, (misfit(fields[name], v, f"{where}.{name}") for name, v in value.items())), "")
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            return f"{where} is {value!r}, not a list"
        (inner, _) = get_args(kind)
        return next(filter(None, (misfit(inner, item, f"{where}[{i}]") for i, item in enumerate(value))), "")
    kind = given(kind)
    if kind is Fraction:
        fits = isinstance(value, str) and FRACTION.fullmatch(value) is not None
        return "" if fits else f"{where} is {value!r}, not a fraction like '1001/30000'"
    fits = type(value) is kind and (kind is not float or math.isfinite(value))
    return "" if fits else f"{where} is {value!r}, not {kind.__name__}"


def parse_json(text: bytes, where: str) -> Any:
    """The value of a JSON text. Raises ValueError, which calls the text `where`, where it is not one."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as why:
        raise ValueError(f"{where}: not JSON: {why}") from None


def record_of(kind: type[R], value: Any, where: str) -> R:
    """The record of type `kind` in a JSON value. Raises ValueError with what `misfit` finds."""
    if wrong := misfit(kind, value, where):
        raise ValueError(wrong)
    return decode(kind, value)
