"""The list of sources that must not be used."""

import hashlib

import pytest

from mlst.dataset.exclusions import Exclusions, ExclusionsError, parse_exclusions
from tests import tiny

EMPTY = Exclusions("tiny", frozenset())


def test_hashes_are_sha256_of_salt_and_name() -> None:
    """As `printf tinyabc | sha256sum` gives them."""
    listed = EMPTY.adding([tiny.source("abc")])
    url = "https://www.youtube.com/watch?v=abc"
    assert listed.hashes == {hashlib.sha256(f"tiny{name}".encode()).hexdigest() for name in ("abc", url)}


def test_a_video_is_known_by_id_and_by_address() -> None:
    listed = EMPTY.adding([tiny.source("abc")])
    assert listed.excludes(tiny.source("abc", url="https://elsewhere.example/x.mp4"))
    assert listed.excludes(tiny.source("other", url="https://www.youtube.com/watch?v=abc"))
    assert not listed.excludes(tiny.source("ABC"))
    assert listed.holds("abc")


def test_local_paths_are_no_addresses() -> None:
    listed = EMPTY.adding([tiny.source("abc", url="clips/a.mp4")])
    assert not listed.excludes(tiny.source("other", url="clips/a.mp4"))


def test_the_file_is_read_as_it_was_written_and_names_nobody() -> None:
    listed = EMPTY.adding([tiny.source("abc"), tiny.source("def")])
    text = listed.text()
    assert parse_exclusions(text, "exclusions.txt") == listed
    assert b"abc" not in text.replace(b"salt = tiny", b"").split(b"\n", 1)[0]
    assert text == EMPTY.adding([tiny.source("def"), tiny.source("abc")]).text()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "salt"),
        (b"# nothing\n", "salt"),
        (b"salt = a b\n", "salt"),
        (b"salt = x\nabc\n", ":2:"),
        (b"salt = x\n" + b"G" * 64 + b"\n", ":2:"),
        (b"\xff", "ASCII"),
    ],
)
def test_other_files_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ExclusionsError, match=words):
        parse_exclusions(data, "exclusions.txt")
