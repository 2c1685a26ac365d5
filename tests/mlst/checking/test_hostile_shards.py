"""Shards from elsewhere: archives made to harm whoever unpacks them, clips that are none."""

import contextlib
import io
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import webdataset

from mlst.checking import judge
from mlst.checking.judge import decoded
from mlst.dataset.shards import LARGEST, PIECE, ClipFiles, ShardError, read_shard, write_shard
from mlst.pictures.decode import Form, decode_into
from mlst.pictures.mp4 import NotAClip
from mlst.sandbox.kernel import missing
from tests import tiny
from tests.mlst.checking.taken_over import dies

MEMBERS = {
    "absolute": {"name": "/etc/passwd.mp4"},
    "up": {"name": "../../a.mp4"},
    "inner up": {"name": "a/../../b.mp4"},
    "hidden": {"name": ".mp4"},
    "null": {"name": "a\0.mp4"},
    "backslash": {"name": "..\\a.mp4"},
    "drive": {"name": "C:a.mp4"},
    "pickle": {"name": "a.pkl"},
    "module": {"name": "a.pyd"},
    "tensor": {"name": "a.pth"},
    "json that is a module": {"name": "a.json.pyd"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd", "size": 0},
    "symbolic link": {"type": tarfile.SYMTYPE, "linkname": "../../a", "size": 0},
    "character device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "size": 0},
    "block device": {"type": tarfile.BLKTYPE, "devmajor": 8, "size": 0},
    "pipe": {"type": tarfile.FIFOTYPE, "size": 0},
    "contiguous": {"type": tarfile.CONTTYPE},
    "sparse": {"type": tarfile.GNUTYPE_SPARSE},
    "set-uid": {"mode": 0o4755},
    "long name": {"name": "a" * 200 + ".mp4"},
}
"""What differs from a plain member `a.mp4`."""


def archive(changes: dict[str, object], form: int = tarfile.GNU_FORMAT, **headers: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, data in (("a.mp4", b"abc"), ("a.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), headers
            if name == "a.mp4":
                for field, value in changes.items():
                    setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("name", MEMBERS)
def test_members_that_the_writer_would_not_write_are_refused(name: str) -> None:
    with pytest.raises(ShardError):
        list(read_shard(io.BytesIO(archive(MEMBERS[name]))))


def test_the_plain_archive_differs_in_its_format_alone() -> None:
    assert len(list(read_shard(io.BytesIO(archive({}, tarfile.USTAR_FORMAT))))) == 1


@pytest.mark.parametrize("headers", [{"path": "../../a.mp4"}, {"size": "99999999999"}, {"linkpath": "/etc"}])
def test_extended_headers_that_speak_for_a_member_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ShardError):
        list(read_shard(io.BytesIO(archive({}, tarfile.PAX_FORMAT, **headers))))


class Asked(io.BytesIO):
    """Notes the largest read."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.most = max(self.most, size or 0)
        return super().read(size)


@pytest.mark.parametrize("size", [LARGEST, LARGEST + 1, (1 << 63) - 1])
def test_a_size_that_is_a_lie_costs_no_memory(size: int) -> None:
    info = tarfile.TarInfo("a.mp4")
    info.size = size
    form = tarfile.USTAR_FORMAT if size < 1 << 33 else tarfile.GNU_FORMAT
    file = Asked(info.tobuf(form) + bytes(5000))
    with pytest.raises(ShardError):
        list(read_shard(file))
    assert file.most <= PIECE


def test_a_member_larger_than_a_piece_is_whole() -> None:
    sample = ClipFiles("a", os.urandom(2 * PIECE + 5), b"{}")
    file = io.BytesIO()
    write_shard(file, [sample])
    file.seek(0)
    assert [found for found, _ in read_shard(file)] == [sample]


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_webdataset_as_the_card_uses_it_unpickles_nothing(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("a.json", b"{}"), ("a.pkl", pickle.dumps(Harm(tmp_path / "harm")))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    shards = webdataset.WebDataset([str(tmp_path / "a.tar")], shardshuffle=False)
    (clip,) = shards.decode(only=["json"])
    assert clip["json"] == {}
    assert not (tmp_path / "harm").exists()
    list(shards.decode())  # its default decoder would
    assert (tmp_path / "harm").exists()


def other_codec() -> bytes:
    """Motion JPEG in mp4, of the right size and length."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as media:
        stream = media.add_stream("mjpeg", rate=30)
        stream.width = stream.height = tiny.SIDE
        stream.pix_fmt = "yuvj420p"
        for _ in range(tiny.FRAMES):
            picture = np.zeros((tiny.SIDE, tiny.SIDE, 3), np.uint8)
            media.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        media.mux(stream.encode())
    return file.getvalue()


FORM = Form(frames=tiny.FRAMES, stored=tiny.SIDE, side=tiny.SIDE, colour="rgb")


def test_clips_of_another_codec_are_not_decoded() -> None:
    assert decoded(tiny.mp4(1), tiny.SIDE, tiny.FRAMES) == (tiny.FRAMES, "")
    count, detail = decoded(other_codec(), tiny.SIDE, tiny.FRAMES)
    assert (count, detail) == (0, "is b'mp4v', not H.264")
    with pytest.raises(NotAClip, match=r"is b'mp4v', not H\.264"):
        decode_into(np.empty(FORM.shape, np.uint8), other_codec(), FORM)


def test_metadata_that_is_no_text_is_no_error() -> None:
    video = tiny.mp4(1).replace(b"VideoHandler", b"\xff\xfedeoHandler")
    assert video != tiny.mp4(1)
    assert decoded(video, tiny.SIDE, tiny.FRAMES) == (tiny.FRAMES, "")
    decode_into(np.empty(FORM.shape, np.uint8), video, FORM)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_clips_are_refused_or_decoded_but_never_anything_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    video = bytearray(tiny.mp4(seed % 3))
    for at in rng.integers(0, len(video), 1 + seed % 12):
        video[at] ^= 1 << int(rng.integers(8))
    small = replace(FORM, frames=2)
    with contextlib.suppress(NotAClip):
        decode_into(np.empty(small.shape, np.uint8), bytes(video), small)
    count, detail = decoded(bytes(video), tiny.SIDE, tiny.FRAMES)
    assert detail or count == tiny.FRAMES


@pytest.mark.skipif(missing() != "", reason="needs a kernel that can confine a process")
def test_clips_are_decoded_in_a_confined_process_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "decoded", lambda *_: pytest.fail("decoded in the process of verify"))
    assert judge.judged(tiny.mp4(1), tiny.SIDE, tiny.FRAMES) == (tiny.FRAMES, "")
    assert judge.judged(other_codec(), tiny.SIDE, tiny.FRAMES) == (0, "is b'mp4v', not H.264")
    monkeypatch.setattr(judge, "WORK", replace(judge.WORK, call=dies))
    for request, said in ((b"crash", "killed by signal 11"), (b"count", "something else"), (b"", "something else")):
        count, detail = judge.judged(request, tiny.SIDE, tiny.FRAMES)
        assert count == 0
        assert said in detail
    assert "PermissionError" in judge.judged(f"write {tmp_path / 'a'}".encode(), tiny.SIDE, tiny.FRAMES)[1]
    assert list(tmp_path.iterdir()) == []
