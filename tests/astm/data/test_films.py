"""Files of films that are damaged or made to harm end in a `DataError`; nothing is unpickled."""

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astm.data import films
from astm.data.clips import DataError
from astm.data.films import open_films


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def claims(shape: str) -> bytes:
    """An array of which the header alone is there."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


def shard(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def packed(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def longnames(count: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    return (info.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * count


def negative() -> bytes:
    head = bytearray(tarfile.TarInfo("a.npy").tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (-1024).to_bytes(12, "big", signed=True)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) * 2 + bytes(1024)


PICKLED = saved(np.array([{"a": 1}], dtype=object))
FILM = saved(np.zeros((4, 16, 16), np.uint8))
HOSTILE = {
    "empty.npy": b"",
    "pickled.npy": PICKLED,
    "claims.npy": claims("(100000000, 4, 8000, 8000)"),
    "negative.npy": claims("(-1, 4, 8, 8)") + bytes(1024),
    "archive.npy": packed({"a.npy": FILM}),
    "none.npz": packed({}),
    "no-zip.npz": b"x" * 100,
    "text.npz": packed({"a.txt": b"x", "b.npy": b"not an array"}),
    "pickled.npz": packed({"a.npy": PICKLED}),
    "claims.npz": packed({"a.npy": claims("(100000000, 4, 8000, 8000)")}),
    "empty.tar": shard(("a.npy", b"")),
    "pickled.tar": shard(("a.npy", PICKLED)),
    "claims.tar": shard(("a.npy", claims("(100000000, 8000, 8000)"))),
    "json.tar": shard(("a.npy", FILM), ("a.json", b"[[")),
    "deep.tar": shard(("a.npy", FILM), ("a.json", b"[" * 100_000)),
    "names.tar": longnames(2000) + shard(("a.npy", FILM)),
    "negative.tar": negative(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(DataError, match=name):
        open_films(tmp_path / name)


def test_arrays_that_unpack_to_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(
        tmp_path / "a.npz", first=np.zeros((4, 16, 16), np.uint8), second=np.ones((4, 16, 16), np.uint8)
    )
    found = open_films(tmp_path / "a.npz")
    assert found.keys == ("first", "second")
    assert found.read(1, 1, slice(None)).min() == 1
    monkeypatch.setattr(films, "LARGEST_UNPACKED", 2000)
    with pytest.raises(DataError, match=r"save a \.npy file"):
        open_films(tmp_path / "a.npz")


def test_links_that_lead_out_and_pipes_are_not_read(tmp_path: Path) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    place.mkdir()
    outside.write_bytes(shard(("a.npy", saved(np.zeros((4, 8, 8), np.uint8)))))
    for name in ("a.tar", "a.mp4", "a.png"):
        (place / name).symlink_to(outside)
    for name in ("b.tar", "b.mp4", "b.png"):
        os.mkfifo(place / name)
    with pytest.raises(DataError, match="pipes and links that lead out of it are not read"):
        open_films(place)
    (place / "c.data").write_bytes(outside.read_bytes())
    (place / "c.tar").symlink_to("c.data")
    assert open_films(place).keys == ("a",)
    os.mkfifo(tmp_path / "d.tar")
    with pytest.raises(DataError, match=r"d\.tar has no films"):
        open_films(tmp_path / "d.tar")


def test_a_shard_that_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(shard(("a.npy", bytes(4000)))[:2048])
    with pytest.raises(DataError, match="it is cut off"):
        open_films(tmp_path / "a.tar")
