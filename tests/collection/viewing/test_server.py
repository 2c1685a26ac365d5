"""What `mlst view` serves, and what it refuses; the table of clips that the page reads."""

import http.client
import json
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collection.viewing.server import ViewError, serving, shelf
from collection.viewing.table import TABLE, TYPES, table_bytes
from mlst.dataset.description import DATASET, INDEX, read_json
from tests import tiny

KINDS = {name: kind for kind, name in TYPES.items()}


def columns(table: bytes) -> tuple[dict[str, object], dict[str, np.ndarray], dict[str, list[str]]]:
    """Header, columns and sources, read by the words of the documentation."""
    assert table[:8] == b"MLSTVIEW"
    length = int.from_bytes(table[12:16], "little")
    header, at = json.loads(table[16 : 16 + length]), 16 + length
    found = {}
    for name, kind in header["columns"]:
        assert at % 8 == 0
        values = np.frombuffer(table, f"<{KINDS[kind]}", header["clips"], at)
        found[name], at = values, at + -(-values.nbytes // 8) * 8
    return header, found, json.loads(table[at:])


def test_the_table_says_what_the_index_says() -> None:
    folder = tiny.built()
    header, found, sources = columns(table_bytes(folder, read_json(folder / DATASET)))
    index = pq.read_table(folder / INDEX)
    names = [sources["id"][n] for n in found["source"]]
    assert names == index["source"].to_pylist()
    keys = [f"{name}_{start:09d}" for name, start in zip(names, found["start"], strict=True)]
    assert keys == index["key"].to_pylist()
    assert [sources["title"][n] for n in found["source"]] == index["title"].to_pylist()
    assert [header["shards"][n] for n in found["shard"]] == index["shard"].to_pylist()
    assert (512 * found["block"].astype(np.int64)).tolist() == index["offset"].to_pylist()
    assert [header["splits"][n] for n in found["split"]] == index["split"].to_pylist()
    np.testing.assert_allclose(found["texture"], index["si"].to_numpy(), rtol=1e-6)
    low = header["flags"].index("low_resolution")
    assert [bool(bits >> low & 1) for bits in found["flags"]] == index["flag_low_resolution"].to_pylist()


@pytest.mark.parametrize("column", ["key", "offset", "shard"])
def test_an_index_that_is_not_one_is_refused(tmp_path: Path, column: str) -> None:
    folder = shutil.copytree(tiny.built(), tmp_path / "dataset")
    table = pq.read_table(folder / INDEX)
    wrong = {
        "key": pa.array(["x"] * len(table)),
        "offset": pa.array([7] * len(table)),
        "shard": pa.array(["/etc/passwd"] * len(table)),
    }
    pq.write_table(table.set_column(table.schema.names.index(column), column, wrong[column]), folder / INDEX)
    with pytest.raises(ViewError):
        shelf(folder, tmp_path / "review.csv")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of the page, and the review."""
    root = tmp_path_factory.mktemp("view")
    with serving(shelf(tiny.built(), root / "review.csv"), 0) as address:
        yield address, root / "review.csv"


def ask(
    address: str, name: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    connection.request(
        method, name if name.startswith("/") else url.path.rpartition("/")[0] + "/" + name, body, headers
    )
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_ranges_of_shards_are_served(place: tuple[str, Path]) -> None:
    address, _ = place
    row = pq.read_table(tiny.built() / INDEX).slice(1, 1).to_pylist()[0]
    shard = (tiny.built() / row["shard"]).read_bytes()
    first, last = row["offset"], row["offset"] + row["size"] - 1
    status, headers, body = ask(address, row["shard"], Range=f"bytes={first}-{last}")
    assert (status, body) == (206, shard[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/{len(shard)}"
    assert ask(address, row["shard"], Range=f"bytes={len(shard) - 3}-{10**15}")[2] == shard[-3:]
    assert ask(address, row["shard"], Range="bytes=5-")[2] == shard[5:]
    assert ask(address, row["shard"], Range=f"bytes={len(shard)}-")[0] == 416
    assert ask(address, row["shard"])[::2] == (200, shard)
    assert ask(address, row["shard"], "HEAD")[2] == b""


def test_nothing_else_is_served(place: tuple[str, Path]) -> None:
    address, _ = place
    token = urlsplit(address).path.split("/")[1]
    shard = read_json(tiny.built() / DATASET).shards[0].path
    for name in (
        "dataset.json",
        "../dataset.json",
        "data/",
        shard + "/",
        f"data/../{shard}",
        "/etc/passwd",
        f"/{token}//etc/passwd",
    ):
        assert ask(address, name)[0] in (403, 404), name
    assert ask(address, f"/{shard}")[0] == 403
    assert ask(address, f"/{token[:-1]}/{shard}")[0] == 403
    assert ask(address, f"/{token}x/{shard}")[0] == 403
    assert ask(address, shard, Host="evil.example")[0] == 403
    assert ask(address, shard, "POST")[0] == 501
    assert ask(address, shard, "PUT", b"x")[0] == 403


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.built(), tmp_path / "dataset")
    shard = read_json(folder / DATASET).shards[0].path
    (tmp_path / "secret").write_text("x")
    with serving(shelf(folder, tmp_path / "review.csv"), 0) as address:
        (folder / shard).unlink()
        (folder / shard).symlink_to(tmp_path / "secret")
        assert ask(address, shard)[0] == 404
    with pytest.raises(ViewError, match="is a link"):
        shelf(folder, tmp_path / "review.csv")


def test_only_a_review_from_the_page_is_taken(place: tuple[str, Path]) -> None:
    address, review = place
    text = b"key,mark,note\na_000000000,bad_cut,\n"
    own = f"http://{urlsplit(address).netloc}"
    assert ask(address, "review.csv", "PUT", text, Origin="https://evil.example")[0] == 403
    assert ask(address, "review.csv", "PUT", b"key,mark,note\na,maybe,\n", Origin=own)[0] == 400
    assert ask(address, "review.csv")[2] == b"key,mark,note\n"
    assert not review.exists()
    assert ask(address, "review.csv", "PUT", text, Origin=own)[0] == 204
    assert ask(address, "review.csv")[2] == review.read_bytes() == text
    review.unlink()


def test_a_review_that_is_none_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "review.csv").write_text("my notes")
    with pytest.raises(ViewError, match="--review"):
        shelf(tiny.built(), tmp_path / "review.csv")


def test_the_page_allows_nothing_but_its_own_server(place: tuple[str, Path]) -> None:
    status, headers, body = ask(place[0], "viewer.html")
    assert status == 200
    assert (
        b"default-src 'none'; connect-src 'self'; media-src blob:; style-src 'unsafe-inline'; script-src 'sha256-"
        in body
    )
    assert b"http:" not in body.replace(b"/^https?:", b"")
    assert headers["x-content-type-options"] == "nosniff"
    assert ask(place[0], TABLE)[2] == table_bytes(tiny.built(), read_json(tiny.built() / DATASET))


@pytest.mark.parametrize("sent", ["key,mark,note\n", ""])
def test_a_page_that_hangs_up_changes_nothing_and_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sent: str
) -> None:
    review = tmp_path / "review.csv"
    review.write_bytes(b"key,mark,note\nvideo00000__000000000,keep,\n")
    before = review.read_bytes()
    with serving(shelf(tiny.built(), review), 0) as address:
        parts = urlsplit(address)
        way = parts.path.rpartition("/")[0]
        for half_closed in (True, False):
            with socket.create_connection((str(parts.hostname), int(parts.port or 0))) as line:
                line.sendall(f"PUT {way}/review.csv HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode())
                line.sendall(f"Content-Length: 1000\r\n\r\n{sent}".encode())
                if half_closed:
                    line.shutdown(socket.SHUT_WR)
                    assert not line.recv(1)
                else:  # a reset
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        status = ask_again(parts.hostname, parts.port, f"{way}/review.csv")
    assert status == 200
    assert review.read_bytes() == before
    assert not capsys.readouterr().err


def ask_again(host: str | None, port: int | None, way: str) -> int:
    connection = http.client.HTTPConnection(str(host), port)
    connection.request("GET", way)
    return connection.getresponse().status
