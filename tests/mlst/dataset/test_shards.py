import hashlib
import io
import itertools
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlst.dataset.shards import (
    PATH,
    RECORD,
    ClipFiles,
    ShardError,
    partition,
    read_shard,
    sample_bytes,
    shard_path,
    write_shard,
)

SAMPLES = [
    ClipFiles("-begins_with_dash_000000000", b"\0" * 512, b'{"a":1.0}'),
    ClipFiles("b" * 90, b"x" * 513, b"{}"),
    ClipFiles("c_1", b"", b"{}"),
]

keys = st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True)
clip_files = st.builds(ClipFiles, keys, st.binary(max_size=2000), st.binary(max_size=600))
samples = st.lists(clip_files, min_size=1, max_size=8)


def written(content: list[ClipFiles]) -> bytes:
    file = io.BytesIO()
    write_shard(file, content)
    return file.getvalue()


@pytest.mark.slow
@given(samples)
def test_round_trip_and_offsets(content: list[ClipFiles]) -> None:
    content = list({sample.key: sample for sample in content}.values())
    file = io.BytesIO()
    result = write_shard(file, content)
    data = file.getvalue()
    assert (result.size, result.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    back = list(read_shard(io.BytesIO(data)))
    assert [sample for sample, _ in back] == content
    assert [offset for _, offset in back] == [member.offset for member in result.members]
    for sample, member in zip(content, result.members, strict=True):
        assert data[member.offset : member.offset + member.size] == sample.mp4
        assert member.sha256 == hashlib.sha256(sample.mp4).hexdigest()
    body = sum(sample_bytes(len(sample.mp4), len(sample.json)) for sample in content) + 1024
    assert len(data) == -(-body // RECORD) * RECORD


def test_same_bytes_as_tarfile() -> None:
    """Byte for byte what the standard library writes with the same settings."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in SAMPLES:
            for suffix, data in ((".mp4", sample.mp4), (".json", sample.json)):
                info = tarfile.TarInfo(sample.key + suffix)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    assert written(SAMPLES) == file.getvalue()


def test_plain_tar_reads_it(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(written(SAMPLES))
    listed = subprocess.run(["tar", "tvf", tmp_path / "s.tar"], capture_output=True, text=True, check=True, timeout=60)
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert [line[-1] for line in lines] == [s.key + suffix for s in SAMPLES for suffix in (".mp4", ".json")]
    assert {line[0] for line in lines} == {"-rw-r--r--"}
    assert {line[1] for line in lines} == {"0/0"}


def test_one_byte_at_a_time() -> None:
    """A network stream may give less than was asked for."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 7))

    assert [sample for sample, _ in read_shard(Slow(written(SAMPLES)))] == SAMPLES


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "ä", "a b", "x" * 91, "..", "a\n"])
def test_bad_keys_are_not_written(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        written([ClipFiles(key, b"", b"")])


def test_duplicates_and_nothing_are_not_written() -> None:
    with pytest.raises(ValueError, match="duplicate"):
        written([SAMPLES[0], SAMPLES[0]])
    with pytest.raises(ValueError, match="at least one"):
        written([])


def odd_tar(change: str) -> bytes:
    """A tar that breaks one rule."""
    file = io.BytesIO()
    form = tarfile.PAX_FORMAT if change == "pax" else tarfile.GNU_FORMAT if change == "gnu" else tarfile.USTAR_FORMAT
    names = {
        "dot in key": ["a.b.mp4", "a.b.json"],
        "folder": ["d/a.mp4", "d/a.json"],
        "up": ["../a.mp4", "../a.json"],
        "json first": ["a.json", "a.mp4"],
        "no json": ["a.mp4", "b.mp4", "b.json"],
        "no json at the end": ["a.mp4"],
        "other key": ["a.mp4", "b.json"],
        "twice": ["a.mp4", "a.json", "a.mp4", "a.json"],
        "webm": ["a.webm", "a.json"],
        "empty": [],
    }.get(change, ["a.mp4", "a.json"])
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            match change:
                case "mtime":
                    info.mtime = 1
                case "pax":
                    info.pax_headers = {"comment": "x"}
                case "uid":
                    info.uid = 1000
                case "names":
                    info.uname = "bigdata"
                case "mode":
                    info.mode = 0o444
                case "link":
                    info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
                case "directory":
                    info.type, info.size = tarfile.DIRTYPE, 0
            tar.addfile(info, io.BytesIO(b"abc"))
    data = bytearray(file.getvalue())
    match change:
        case "cut in data":
            return bytes(data[:514])
        case "cut at the end":
            return bytes(data[:-1])
        case "longer":
            return bytes(data) + b"\0"
        case "padding":
            data[512 + 100] = 1
        case "after the end":
            data[-1] = 1
        case "checksum":
            data[0] ^= 1
        case "nothing":
            return b""
        case "rubbish":
            return b"<!DOCTYPE html>" * 1000
    return bytes(data)


ODD = """
dot in key|folder|up|json first|no json|no json at the end|other key|twice|webm|empty|mtime|pax|gnu|uid|names|mode|link
directory|cut in data|cut at the end|longer|padding|after the end|checksum|nothing|rubbish
"""


@pytest.mark.parametrize("change", re.split(r"[|\n]", ODD.strip()))
def test_whatever_the_writer_would_not_write_is_refused(change: str) -> None:
    with pytest.raises(ShardError):
        list(read_shard(io.BytesIO(odd_tar(change))))


def test_the_unchanged_tar_is_fine() -> None:
    assert [sample for sample, _ in read_shard(io.BytesIO(odd_tar("none")))] == [ClipFiles("a", b"abc", b"abc")]


def test_a_huge_member_is_not_read() -> None:
    data = bytearray(written([ClipFiles("a", b"abc", b"{}")]))
    info = tarfile.TarInfo("a.mp4")
    info.size = 1 << 40
    data[:512] = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(ShardError, match="1099511627776"):
        list(read_shard(io.BytesIO(bytes(data))))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(9, 30))
def test_partition_is_the_best_there_is(sizes: list[int], limit: int) -> None:
    """Against all ways to cut."""
    ways = []
    for cuts in itertools.product((False, True), repeat=len(sizes) - 1):
        places = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(sizes)]
        sums = [sum(sizes[a:b]) for a, b in itertools.pairwise(places)]
        if max(sums) <= limit:
            ways.append((len(sums), max(sums)))
    counts = partition(sizes, limit)
    items = iter(sizes)
    sums = [sum(itertools.islice(items, count)) for count in counts]
    assert (len(sums), max(sums)) == min(ways)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_partition(sizes: list[int], limit: int) -> None:
    counts = partition(sizes, limit)
    assert sum(counts) == len(sizes)
    assert all(counts)
    begin, parts = 0, []
    for count in counts:
        parts.append(sizes[begin : begin + count])
        begin += count
    assert all(sum(part) <= limit or len(part) == 1 for part in parts)


def test_partition_is_balanced() -> None:
    assert partition([10] * 9, 80) == (5, 4)
    assert partition([], 5) == ()
    assert partition([9, 1], 5) == (1, 1)


def test_paths() -> None:
    path = shard_path("s0t2", "train", 12, 40)
    assert path == "data/s0t2/train-00012-of-00040.tar"
    match = PATH.fullmatch(path)
    assert match is not None
    assert match.groups() == ("s0t2", "train", "00012", "00040")
    assert not PATH.fullmatch("data/s0t2/../train-00012-of-00040.tar")
