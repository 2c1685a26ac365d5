"""Records as JSON: what `encode` gives, `decode` takes back, and nothing else."""

import dataclasses
import json
from fractions import Fraction

import pytest

from mlst.records import Clip, Scan, canonical_json, decode, encode
from tests import tiny


@pytest.fixture
def scan() -> Scan:
    return tiny.scan("video", [(0, 1), (2, 2)], [b"x", b"yz"])


def plainly(value: object) -> object:
    """`encode`, spelled out."""
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if dataclasses.is_dataclass(value):
        fields = [f for f in dataclasses.fields(value) if not f.metadata or getattr(value, f.name) != f.default]
        return {field.name: plainly(getattr(value, field.name)) for field in fields}
    return [plainly(item) for item in value] if isinstance(value, tuple | list) else value


def test_a_record_goes_to_json_and_back(scan: Scan) -> None:
    for record in (scan, tiny.video("video", scan), tiny.source("video")):
        assert encode(record) == plainly(record)
        assert decode(type(record), json.loads(canonical_json(record))) == record


def test_what_a_record_got_later_costs_nothing_until_it_says_something(scan: Scan) -> None:
    assert {"repaired", "dropped"}.isdisjoint(encode(scan.stream))
    odd = dataclasses.replace(scan.stream, repaired=3)
    assert encode(odd) == encode(scan.stream) | {"repaired": 3}
    assert decode(type(odd), encode(odd)) == odd
    assert decode(type(odd), encode(scan.stream) | {"repaired": 0, "dropped": 0}) == scan.stream


def test_records_inside_lists_and_tuples_are_encoded(scan: Scan) -> None:
    assert encode([scan.clips, Fraction(1, 3), {"a": 1}]) == [[plainly(c) for c in scan.clips], "1/3", {"a": 1}]
    assert decode(tuple[Clip, ...], encode(scan.clips)) == scan.clips


@pytest.mark.parametrize("place", [(), ("stream",), ("clips", 1), ("clips", 0, "statistics")])
def test_missing_and_unknown_fields_are_refused_wherever_they_are(scan: Scan, place: tuple[str | int, ...]) -> None:
    for change in (lambda record: record.popitem(), lambda record: record.update(odd=1)):
        value = inner = encode(scan)
        for step in place:
            inner = inner[step]
        change(inner)
        with pytest.raises(ValueError, match="fields differ"):
            decode(Scan, value)


def test_canonical_json_refuses_what_json_does_not_know() -> None:
    assert canonical_json([{"b": 1, "a": "é"}, Fraction(1, 2)]) == '[{"a":"\\u00e9","b":1},"1/2"]'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
