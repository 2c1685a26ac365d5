"""Records as JSON: what `encode` gives, `decode` takes back, and nothing else."""

import dataclasses
import json
import math
import random
import struct
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, get_args, get_origin, get_type_hints
from uuid import uuid4

import numpy as np
import pytest

from collection.pack.stage import Packed
from collection.upkeep.drift import Drift
from mlst import records
from mlst.dataset.index import Row
from mlst.dataset.lock import LockRow
from mlst.records import LONGEST_TEXT, Clip, Scan, Video, canonical_json, decode, decode_json, encode, later
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


@pytest.mark.parametrize("place", [(), ("stream",), ("clips", 1), ("clips", 0, "box")])
def test_missing_and_unknown_fields_are_refused_wherever_they_are(scan: Scan, place: tuple[str | int, ...]) -> None:
    for change in (lambda record: record.popitem(), lambda record: record.update(odd=1)):
        value = inner = encode(scan)
        for step in place:
            inner = inner[step]
        change(inner)
        with pytest.raises(ValueError, match=r"not a Scan: .*(required|Unexpected)"):
            decode(Scan, value)


def leaves(kind: Any) -> set[Any]:
    """The types of all fields below a record type, as they are annotated."""
    if dataclasses.is_dataclass(kind):
        return set[Any]().union(*map(leaves, get_type_hints(kind, include_extras=True).values()))
    return leaves(get_args(kind)[0]) if get_origin(kind) is tuple else {kind}


@pytest.mark.parametrize("kind", [Video, Scan, Drift, Packed, Row, LockRow])
def test_numbers_that_are_read_are_bounded(kind: type) -> None:
    """Of workers' outputs, and of what a dataset's own files say."""
    assert not {int, Fraction} & leaves(kind)


BAD = [
    ("file", 7),
    ("file", "x" * (LONGEST_TEXT + 1)),
    ("size", "5"),
    ("size", True),
    ("size", 5.0),
    ("size", None),
    ("size", -1),
    ("size", 1 << 63),
    ("size", 10**4000),
    ("start", 0),
    ("start", []),
    ("start", "0"),
    ("start", "1/0"),
    ("start", "1e2000000"),
    ("start", "1/-2"),
    ("start", "9" * 41 + "/1"),
    ("start", "\u0661/\u0662"),
    ("probe", []),
    ("probe", {}),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_values_that_are_not_the_fields_are_refused(scan: Scan, name: str, value: object) -> None:
    video = encode(tiny.video("video", scan))
    with pytest.raises(ValueError, match=f"not a Video: {name}"):
        decode_json(Video, json.dumps(video | {name: value}).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"', b"NaN"])
def test_texts_that_are_not_json_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a Video"):
        decode_json(Video, text)


def test_numbers_are_finite(scan: Scan) -> None:
    for odd in ("NaN", "Infinity", "1e999"):
        text = canonical_json(scan).replace('"dct_energy":0.5', f'"dct_energy":{odd}', 1)
        with pytest.raises(ValueError, match=r"clips.0.statistics.dct_energy"):
            decode_json(Scan, text.encode())


def numbers() -> list[float]:
    """Of all sizes, and on both sides of wherever a notation may change."""
    rng = random.Random(5)
    edges = [10.0**n for n in range(-8, 24)] + [2.0**n for n in (-1074, -14, -13, 52, 53, 54, 63, 64, 1023)]
    near = [math.nextafter(edge, way) for edge in edges for way in (0, math.inf)]
    bits = [x for (x,) in struct.iter_unpack("<d", rng.randbytes(8 * 700)) if math.isfinite(x)]
    spread = [round(10 ** rng.uniform(-6, 18), rng.randrange(20)) for _ in range(700)]
    return [0.0, *edges, *near, *bits, *spread]


@dataclasses.dataclass(frozen=True, slots=True)
class Odd:
    """A record with a field of each kind."""

    z: float
    a: float | None
    whole: int
    text: str
    inner: tuple[float | Fraction | bool, ...]
    last: float = later(1.0)


def test_canonical_json_is_the_text_of_the_standard_library(scan: Scan) -> None:
    values: list[object] = [scan, tiny.video("video", scan), (scan.source, Fraction(-1, 3)), [], "", None, 1 << 80]
    values += [(x, -x, Odd(x, -x, -7, "", (x, True, -x), -x)) for x in numbers()]
    values += [chr(n) for n in (*range(0x300), 0x2028, 0xD800, 0xDFFF, 0xFFFF, 0x10000, 0x10FFFF)]
    values += [Odd(0.5, None, 1 << 80, text, ()) for text in ("a\ud800", "é\x7f\U0001f600\u2028\\'/\"", "1e-05")]
    values += [Odd(np.float64(1e-5), None, 0, "", (np.float64(0.1),)), {"b": 1e-5, "a": [{"d": 1, "c": 1.0}]}]
    for value in values:
        wanted = json.dumps(plainly(value), sort_keys=True, separators=(",", ":"))
        assert canonical_json(value) == wanted


def test_what_is_prepared_is_not_looked_at_again(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process prepares before it forks what each of its forks would do anew."""
    records._preparer.cache_clear()
    records.prepare(Scan)
    monkeypatch.delattr(records, "get_type_hints")
    assert json.loads(canonical_json(scan))
    records._preparer.cache_clear()
    with pytest.raises(NameError):
        canonical_json(scan)


def test_canonical_json_refuses_what_json_does_not_know() -> None:
    assert canonical_json([{"b": 1, "a": "é"}, Fraction(1, 2)]) == '[{"a":"\\u00e9","b":1},"1/2"]'
    for odd in (math.nan, math.inf, -math.inf):
        for value in (odd, [odd], Odd(odd, None, 0, "", ()), Odd(0.5, odd, 0, "", ()), Odd(0.5, None, 0, "", (odd,))):
            with pytest.raises(ValueError, match="JSON"):
                canonical_json(value)
    for unknown in (b"", {1}, uuid4(), datetime.now(UTC), np.int64(1), Odd(np.float32(0.5), None, 0, "", ())):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="JSON"):
            canonical_json(unknown)
