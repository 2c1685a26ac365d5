"""Loading from the Hub: the unmodified client against a server on loopback."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mlst.loading import load, loader
from tests import tiny
from tests.hub_server import Hub
from tests.mlst.loading.loading import SHORT, rows_of

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

REPO = "someone/tiny"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    server = Hub(tmp_path_factory.mktemp("hub"))
    yield server
    server.close()


def run(hub: Hub, home: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": hub.token}
    command = [sys.executable, "-m", "tests.mlst.loading.hub_of_loading", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def found(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Any:
    run(hub, tmp_path_factory.mktemp("uploader"), "upload", str(tiny.built()), REPO)
    hub.log.clear()
    return json.loads(run(hub, tmp_path_factory.mktemp("reader"), "load", REPO).splitlines()[-1])


@pytest.mark.parametrize("way", ["streamed", "streamed by workers", "cached", "cached by workers", "offline"])
def test_frames_are_those_of_the_folder(hub: Hub, found: Any, way: str) -> None:
    clips = load(tiny.built(), **SHORT)
    frames = [hashlib.sha256(f.numpy().tobytes()).hexdigest() for b in loader(clips, 6, seed=3) for f in b.frames]
    assert len(frames) == len(clips)
    tagged = hub.commit(hub.repositories[REPO], "v1").oid
    name = f"{REPO}@{tagged[:12]} on the Hub"
    assert found[way] == {"name": name, "fingerprint": clips.fingerprint, "frames": frames}


def test_a_commit_is_read_and_no_branch(hub: Hub, found: Any) -> None:
    """Whatever a tag or branch is moved to meanwhile."""
    tagged = hub.commit(hub.repositories[REPO], "v1").oid
    shards = hub.requests(r"(GET|HEAD) /datasets/.*\.tar")
    assert shards
    assert all(f"/resolve/{tagged}/" in line for line in shards if "/v1/" in line or tagged in line)
    assert not [line for line in shards if "/resolve/v1/" in line or "/resolve/main/" in line]


def test_requests(hub: Hub, found: Any) -> None:
    """Streaming asks once per clip; the cache asks once per shard of the split, whoever reads."""
    rows = rows_of(tiny.built(), "train")
    tagged = hub.commit(hub.repositories[REPO], "v1").oid
    assert len(hub.requests(rf"GET /datasets/.*/{tagged}/data/.*\.tar")) >= 2 * len(rows)
    assert len(hub.requests(rf"HEAD /datasets/.*/{tagged}/data/.*\.tar")) == len({row["shard"] for row in rows})


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("without shards", "Entry Not Found"),
        ("without shards, streamed", "Entry Not Found"),
        ("no such revision", "v9"),
        ("no such dataset", "nobody/nothing is not a folder here"),
        ("offline, not cached", "nobody/nothing is not a folder here"),
        ("offline, streamed", "offline mode is enabled"),
        ("no server, streamed", "refused"),
    ],
)
def test_what_is_not_there(found: Any, case: str, message: str) -> None:
    assert found[case].startswith("Missing: " if case.startswith("without shards") else "ReadError: ")
    assert message in found[case]
