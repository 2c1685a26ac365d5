"""Loading from a Hub that runs here: the requests that `huggingface_hub` really makes, over loopback HTTP."""

import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from astm import ASTM, create
from astm.predictor import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """`/api/models/{id}`, its tree, and `/{id}/resolve/{commit}/{file}` of one repository, someone/astm-tiny."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        super().__init__(*arguments)

    def do_GET(self):
        path = self.path.split("?")[0]
        files = sorted(self.folder.iterdir())
        if path.startswith("/api/models/someone/astm-tiny/tree/"):
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": COMMIT} for f in files]
            self.answer(json.dumps(tree).encode())
        elif path.startswith("/api/models/someone/astm-tiny"):
            siblings = [{"rfilename": file.name} for file in files]
            self.answer(json.dumps({"id": "someone/astm-tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"/someone/astm-tiny/resolve/{COMMIT}/"):
            self.answer((self.folder / path.rsplit("/", 1)[1]).read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    (tmp_path / "repository").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, tmp_path / "repository"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in (
        ("ENDPOINT", address),
        ("HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"),
        ("HF_HUB_CACHE", str(tmp_path / "cache")),
        ("HF_HUB_DISABLE_XET", True),
        ("HF_HUB_OFFLINE", False),
        ("HF_HUB_DISABLE_PROGRESS_BARS", True),
    ):
        monkeypatch.setattr(constants, name, value, raising=False)
    yield tmp_path / "repository"
    server.shutdown()
    server.server_close()


def test_a_model_is_loaded_by_its_hub_id(hub):
    predictor = create("astm", layers=1, hidden=3, kernel=(3, 3, 3), tau=2)
    predictor.save_pretrained(hub)
    (hub / "pytorch_model.bin").write_bytes(b"never asked for")
    loaded = ASTM.from_pretrained("someone/astm-tiny")
    past = torch.rand(1, 2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(past, 2), predictor(past, 2))


def test_a_repository_of_pickles_is_refused(hub):
    create("astm_basic", layers=1, hidden=3, kernel=(3, 3, 3)).save_pretrained(hub)
    (hub / "model.safetensors").rename(hub / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        ASTM.from_pretrained("someone/astm-tiny")


def test_an_unknown_repository_is_named(hub):
    with pytest.raises(CheckpointError, match="'someone/else' is no folder, and the Hub gave no such repository"):
        ASTM.from_pretrained("someone/else")
