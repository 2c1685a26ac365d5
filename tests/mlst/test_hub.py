"""A machine without a connection to the Hub is told so at once, and reads what it has."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from mlst import hub
from mlst.loading.errors import ReadError
from mlst.loading.stores import Hub, on_hub

REPO, COMMIT = "someone/tiny", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """Has the port of the Hub, and refuses connections until it listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(hub, "getproxies", dict)
        yield taken


def test_the_reason_names_the_host_and_the_remedy(server: socket.socket) -> None:
    said = hub.unreachable()
    assert "127.0.0.1 cannot be reached" in said
    assert "HTTPS_PROXY" in said
    server.listen()
    assert hub.unreachable() == ""


def test_behind_a_proxy_and_in_offline_mode_only_the_client_can_tell(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "getproxies", lambda: {"http": "http://proxy:3128"})
    monkeypatch.setattr(hub, "proxy_bypass", lambda host: False)
    assert hub.unreachable() == ""
    monkeypatch.setattr(hub, "proxy_bypass", lambda host: True)
    assert "cannot be reached" in hub.unreachable()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.unreachable() == ""


def test_a_dataset_that_was_read_before_is_read_again(server: socket.socket, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"someone/tiny is not a folder here, nor in the cache .* cannot be reached"):
        on_hub(REPO, "", cached=True)
    folder = tmp_path / "datasets--someone--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "dataset.json").write_text("{}")
    assert on_hub(REPO, "", cached=True) == Hub(REPO, COMMIT, True)
