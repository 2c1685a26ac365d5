"""How long files say that they are: those of libav's muxers, cut and with more behind."""

import io
from pathlib import Path

import pytest

from collection.fetch.extent import extent
from tests.synthetic import Spec, write

NAMES = {"a.mp4": "mov", "a.mov": "mov", "a.mkv": "matroska", "a.avi": "avi"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_its_length_wherever_it_is_cut(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name, Spec(frames=12)).read_bytes()
    assert extent(io.BytesIO(data), NAMES[name]) == len(data)
    for cut in (len(data) - 1, len(data) // 2, len(data) // 3):
        assert extent(io.BytesIO(data[:cut]), NAMES[name]) > cut
    for more in (b"x", b"junk behind the end of it", bytes(100)):
        assert extent(io.BytesIO(data + more), NAMES[name]) <= len(data)


@pytest.mark.parametrize("container", ["mov", "matroska", "avi", "mpegts"])
@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0\0\x01mdat", b"\x1aE\xdf\xa3", b"RIFF\xff\xff\xff\xffAVI ", bytes(99)]
)
def test_what_says_nothing(container: str, data: bytes) -> None:
    assert extent(io.BytesIO(data), container) <= max(len(data), 8)
