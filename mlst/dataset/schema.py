"""JSON from outside against the record types: the fields of a record, and what is wrong with a value that claims to
be one."""

import dataclasses
import json
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from mlst.records import decode, later_fields

R = TypeVar("R")

FRACTION = re.compile(r"-?\d{1,40}/[1-9]\d{0,39}")
VALUES = 2_000_000
"""In a JSON text at most, of some 100 bytes of memory each: 100 000 shards in `dataset.json` have 1.1 million."""

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 200


@cache
def fields_of(kind: type) -> Mapping[str, type]:
    """Name and type of a record's fields, in their order."""
    return get_type_hints(kind)


is_record = cache(dataclasses.is_dataclass)
"""Whether a type is that of a record. Asked for every value of every clip, so that looking it up counts."""


@cache
def given(hint: Any) -> Any:
    """The type of a field's value where there is one: `float` for `float | None`."""
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint) if optional(hint) else hint


@cache
def optional(hint: Any) -> bool:
    """Whether None stands for a field that is left out."""
    return type(None) in get_args(hint)


@cache
def _items(kind: Any) -> Any:
    """The type of a tuple's items; None for what is no tuple."""
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def misfit(kind: Any, value: Any, where: str) -> str:
    """What is wrong with JSON `value` as a record of type `kind`: a sentence that begins with `where`, or "".

    Stricter than `decode`: an int is not a float, a bool not an int; null, NaN, missing and unknown fields are
    refused.
    """
    if is_record(kind):
        if not isinstance(value, dict):
            return f"{where} is {_brief.repr(value)}, not an object"
        fields = fields_of(kind)
        complete = later_fields(kind).keys() | value.keys()
        if complete != fields.keys():
            return f"{where} has missing or unknown fields: {', '.join(sorted(complete ^ fields.keys()))}"
        return next(filter(None, (misfit(fields[name], v, f"{where}.{name}") for name, v in value.items())), "")
    if inner := _items(kind):
        if not isinstance(value, list):
            return f"{where} is {_brief.repr(value)}, not a list"
        return next(filter(None, (misfit(inner, item, f"{where}[{i}]") for i, item in enumerate(value))), "")
    kind = given(kind)
    if kind is Fraction:
        fits = isinstance(value, str) and FRACTION.fullmatch(value) is not None
        return "" if fits else f"{where} is {_brief.repr(value)}, not a fraction like '1001/30000'"
    fits = type(value) is kind and (kind is not float or math.isfinite(value))
    return "" if fits else f"{where} is {_brief.repr(value)}, not {kind.__name__}"


def parse_json(text: bytes, where: str) -> Any:
    """The value of a JSON text: UTF-8, no name twice in an object, no NaN. Raises ValueError, which calls the text
    `where`, where it is not one."""
    if sum(map(text.count, (b",", b"[", b"{"))) > VALUES:
        raise ValueError(f"{where}: more than {VALUES} values")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as why:
        raise ValueError(f"{where}: not JSON: {str(why)[:200]}") from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)[:200]!r} is there twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def record_of(kind: type[R], value: Any, where: str) -> R:
    """The record of type `kind` in a JSON value. Raises ValueError with what `misfit` finds."""
    if wrong := misfit(kind, value, where):
        raise ValueError(wrong)
    return decode(kind, value)
