"""The public files of Moving MNIST and KTH, fetched and checked; an interrupted download goes on where it stopped."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import urllib3

from astm.data.clips import DataError
from mlst.files import move

CHUNK = 1 << 20
TIMEOUT = urllib3.Timeout(connect=15, read=60)
UNFINISHED = ".{name}.part"
"""What a download is called until it is checked; a hidden neighbour."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A public file."""

    name: str
    address: str
    """Of the folder that it lies in, with a slash at the end."""
    algorithm: str
    """Of the published hash, as `hashlib` names it; "" where none is published."""
    expected: str
    """The hash, hex; "" where none is published."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is there."""

    name: str
    size: int
    sha256: str
    checked: str
    """What its content was compared with, in words."""


MNIST, TORONTO = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://www.cs.toronto.edu/~nitish/unsupervised_video/",
)
KTH = "https://www.csc.kth.se/cvap/actions/"
ACTIONS = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")

FILES: Mapping[str, tuple[Remote, ...]] = {
    "moving_mnist": (
        Remote(
            "train-images-idx3-ubyte.gz",
            MNIST,
            "sha256",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Remote(
            "t10k-images-idx3-ubyte.gz",
            MNIST,
            "sha256",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Remote("mnist_test_seq.npy", TORONTO, "md5", "be083ec986bfe91a449d63653c411eb2"),  # torchvision's
    ),
    "kth": (
        Remote("00sequences.txt", KTH, "", ""),
        *(Remote(f"{action}.zip", KTH, "", "") for action in ACTIONS),
    ),
}


def fetch(remote: Remote, folder: Path, progress: Callable[[int, int], None]) -> Fetched:
    """A file of a folder, downloaded unless it is there.

    Parameters
    ----------
    progress: called with the bytes that are there and all of them, 0 where the server does not say.

    Raises
    ------
    DataError: the server refuses or cannot be reached (what came is kept, and the same again goes on from there), or
        the content is not the published one (it is deleted).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / remote.name, folder / UNFINISHED.format(name=remote.name)
    if not path.is_file():
        try:
            _download(urljoin(remote.address, remote.name), part, progress)
        except (urllib3.exceptions.HTTPError, OSError) as why:
            raise DataError(
                f"{remote.name}: {why}; do the same again, which goes on, or name a mirror (--from)"
            ) from None
        _check(remote, part)
        move(part, path)
    return _check(remote, path)


def _download(url: str, part: Path, progress: Callable[[int, int], None]) -> None:
    """Append to `part` what of the file is missing there."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with urllib3.PoolManager(timeout=TIMEOUT) as pool:
        answer = pool.request("GET", url, headers=headers, preload_content=False)
        if answer.status == 416:  # nothing is missing, or the file has become shorter: its hash will tell
            return
        if answer.status not in (200, 206):
            raise DataError(f"{url} answers {answer.status} {answer.reason or ''}; name a mirror (--from)")
        goes_on = answer.status == 206
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise DataError(f"{url} sends another part than was asked for; delete {part}, or name a mirror (--from)")
        done = have if goes_on else 0
        total = done + int(answer.headers.get("Content-Length", -done))
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in answer.stream(CHUNK, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)


def _check(remote: Remote, path: Path) -> Fetched:
    """Compare with what is published. Raises `DataError`, after deleting the file, where it is another."""
    sha256 = _hash(path, "sha256")
    found = sha256 if remote.algorithm == "sha256" else _hash(path, remote.algorithm) if remote.algorithm else ""
    if found != remote.expected:
        path.unlink()
        raise DataError(
            f"{remote.name} has the {remote.algorithm} {found}, published is {remote.expected}; it was deleted: do "
            f"the same again, or name another mirror (--from)"
        )
    checked = (
        f"{remote.algorithm} as published" if remote.algorithm else "no hash is published: nothing to compare with"
    )
    return Fetched(remote.name, path.stat().st_size, sha256, checked)


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
