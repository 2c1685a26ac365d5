import pytest

from mlst.text import one_line, printable


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
