import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlst.text import number_of, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a[31mb"),
        ("a\u202eb", "ab"),
        ("a\ud800b", "ab"),
        ("one\ntwo\t3", "one\ntwo\t3"),
        ("é漢🙂", "é漢🙂"),
    ],
)
def test_what_a_console_may_show(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_kept_is_chosen() -> None:
    assert printable("a\nb\tc", keep="") == "abc"


@pytest.mark.parametrize(
    ("text", "line"), [(" a\n\tb\u2028c ", "a b c"), ("a\ue000\u202eb", "ab"), ("\x00", ""), ("a\u00a0b", "a b")]
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_what_is_counted_is_singular_of_one_alone() -> None:
    assert [number_of(count, "clip") for count in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]
    assert [number_of(count, "is", "are") for count in (1, 2)] == ["1 is", "2 are"]


COUNTED = "clips|errors|fields|files|films|findings|frames|groups|items|models|parts|rows|shards|shots|sources|videos"


def plurals(text: str) -> Iterator[str]:
    """What follows a value in the f-strings of a program and would be wrong of one; "3 of 8 clips" is not."""
    for node in ast.walk(ast.parse(text)):
        before = ""
        for part in node.values if isinstance(node, ast.JoinedStr) else ():
            said = part.value if isinstance(part, ast.Constant) else ""
            if before.endswith("VALUE") and not before.endswith("VALUE of VALUE"):
                yield from re.findall(rf"^ (?:(?!in |of |names )[a-z]+ )?(?:{COUNTED})\b(?!/)", said)
            before += said or "VALUE"


@pytest.mark.parametrize("package", ["collection/cli", "astm/cli"])
def test_messages_of_commands_count_by_the_function_that_knows_how(package: str) -> None:
    assert list(plurals('f"{n} broken files, {n} of {m} clips, {n} in files"')) == [" broken files"]
    files = sorted((Path(__file__).parents[2] / package).glob("*.py"))
    assert len(files) > 10
    assert {file.name: found for file in files if (found := list(plurals(file.read_text())))} == {}
