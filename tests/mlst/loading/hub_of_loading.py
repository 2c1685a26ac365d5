"""What `test_loading_hub.py` runs in a process of its own, because the Hub's client reads its environment once.

`python -m tests.mlst.loading.hub_of_loading upload FOLDER REPO` or `... load REPO`; the latter prints JSON.
"""

import hashlib
import json
import socket
import sys
from typing import Any
from unittest import mock


def upload(folder: str, repo: str) -> None:
    """The dataset, tagged v1; then main moves on to a commit without shards."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, repo_type="dataset")
    api.upload_folder(folder_path=folder, repo_id=repo, repo_type="dataset")
    api.create_tag(repo, tag="v1", repo_type="dataset")
    api.delete_folder("data", repo, repo_type="dataset")


def refused(what: Any) -> str:
    """The error that a call raises."""
    try:
        what()
    except (OSError, ValueError) as why:
        return f"{type(why).__name__}: {why}"
    return ""


def load(repo: str) -> None:
    """Load it in every way, by the tag."""
    import torch
    from huggingface_hub import constants

    import mlst

    torch.set_num_threads(1)

    def seen(place: str = repo, workers: int = 0, **settings: Any) -> Any:
        clips = mlst.load(place, past=2, horizon=4, **settings)
        batches = mlst.loader(clips, 6, seed=3, workers=workers)
        frames = [hashlib.sha256(f.numpy().tobytes()).hexdigest() for b in batches for f in b.frames]
        return {"name": clips.store.name, "fingerprint": clips.fingerprint, "frames": frames}

    found: dict[str, Any] = {
        "streamed": seen(revision="v1", cache=False),
        "streamed by workers": seen(f"hf://datasets/{repo}", revision="v1", cache=False, workers=2),
        "cached": seen(revision="v1", levels=None),
        "cached by workers": seen(revision="v1", workers=2),
        "without shards": refused(seen),
        "without shards, streamed": refused(lambda: seen(cache=False)),
        "no such revision": refused(lambda: seen(revision="v9")),
        "no such dataset": refused(lambda: seen("nobody/nothing")),
    }
    opened = mlst.load(repo, past=2, horizon=4, revision="v1", cache=False)
    constants.HF_HUB_OFFLINE = True
    found["offline"] = seen(revision="v1")
    found["offline, streamed"] = refused(lambda: opened[0])
    found["offline, not cached"] = refused(lambda: seen("nobody/nothing"))
    constants.HF_HUB_OFFLINE = False
    with socket.socket() as closed:  # a port that nobody listens on
        closed.bind(("127.0.0.1", 0))
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
        constants.HUGGINGFACE_CO_URL_TEMPLATE = f"http://127.0.0.1:{closed.getsockname()[1]}{''.join(template[1:])}"
        with mock.patch("time.sleep"):  # the client's pauses, 23 s of them
            found["no server, streamed"] = refused(lambda: opened[0])
    print(json.dumps(found))


if __name__ == "__main__":
    {"upload": upload, "load": load}[sys.argv[1]](*sys.argv[2:])
