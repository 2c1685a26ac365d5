"""Public files from a server on the loopback address."""

import hashlib
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from astm.cli.commands import app
from astm.data import DataError
from astm.data.public import FILES, Remote, fetch
from tests.media_server import Page, serving

BODY = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BODY).hexdigest()


def quiet(done, total):
    """Says nothing."""


@pytest.fixture
def server():
    with serving() as server:
        yield server


def remote(server, page, **changes):
    server.pages["/file"] = page
    return replace(Remote("file", server.url("/"), "sha256", SHA256), **changes)


def test_a_file_is_fetched_once(server, tmp_path):
    wanted, said = remote(server, Page(BODY)), []
    first = fetch(wanted, tmp_path, lambda done, total: said.append((done, total)))
    assert (first.size, first.sha256, first.checked) == (len(BODY), SHA256, "sha256 as published")
    assert said[-1] == (len(BODY), len(BODY))
    assert fetch(wanted, tmp_path, quiet) == first
    assert len(server.hits) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(server, tmp_path, ranges):
    wanted = remote(server, Page(BODY, cut=100_000))
    with pytest.raises(DataError, match="the same again, which goes on"):
        fetch(wanted, tmp_path, quiet)
    assert not (tmp_path / "file").exists()
    kept = (tmp_path / ".file.part").stat().st_size
    assert 0 < kept <= 100_000
    fetched = fetch(remote(server, Page(BODY, ranges=ranges)), tmp_path, quiet)
    assert fetched.sha256 == SHA256
    assert server.hits[-1].range == f"bytes={kept}-"


@pytest.mark.parametrize(
    ("page", "message"),
    [(Page(BODY[:-1] + b"x"), "published is .* it was deleted"), (Page(status=404), "answers 404")],
)
def test_what_is_not_the_published_file_is_refused(server, tmp_path, page, message):
    with pytest.raises(DataError, match=message):
        fetch(remote(server, page), tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_on_disk_is_found(server, tmp_path):
    wanted = remote(server, Page(BODY))
    (tmp_path / "file").write_bytes(b"damaged")
    with pytest.raises(DataError, match="it was deleted"):
        fetch(wanted, tmp_path, quiet)
    assert fetch(wanted, tmp_path, quiet).sha256 == SHA256


def test_without_a_published_hash_the_one_that_was_found_is_said(server, tmp_path):
    fetched = fetch(remote(server, Page(BODY), algorithm="", expected=""), tmp_path, quiet)
    assert (fetched.sha256, fetched.checked) == (SHA256, "no hash is published: nothing to compare with")


def test_the_command_takes_a_mirror(server, tmp_path):
    for one in FILES["kth"]:
        server.pages[f"/mirror/{one.name}"] = Page(one.name.encode())
    ran = CliRunner().invoke(app, ["data", "kth", "--to", str(tmp_path), "--from", server.url("/mirror")])
    assert ran.exit_code == 0, ran.output
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(one.name for one in FILES["kth"])


def test_every_published_hash_is_one():
    for one in (*FILES["moving_mnist"], *FILES["kth"]):
        assert len(one.expected) == {"sha256": 64, "md5": 32, "": 0}[one.algorithm]
        assert one.address.endswith("/")
