"""Checkpoints that are part of the package: `from_pretrained("moving-mnist-small")` works without a network.

Each is a folder as `Predictor.save_pretrained` writes it, with `SHA256SUMS`, which `sha256sum --check` reads. The card
in it says how the weights were made: data, seed, every setting, scores.
"""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
SUMS = "SHA256SUMS"


class DamagedError(ValueError):
    """A bundled file is not what was released."""


def names() -> tuple[str, ...]:
    """What there is, sorted."""
    return tuple(sorted(file.parent.name for file in FOLDER.glob(f"*/{SUMS}")))


def folder_of(name: str) -> Path:
    """Where a bundled checkpoint lies, every file compared with `SHA256SUMS`. Raises `DamagedError`, KeyError."""
    if name not in names():
        raise KeyError(f"no bundled checkpoint {name!r}; there are {', '.join(names())}")
    folder = FOLDER / name
    for line in (folder / SUMS).read_text(encoding="ascii").splitlines():
        wanted, _, file = line.partition("  ")
        if not (folder / file).is_file() or _sha256(folder / file) != wanted:
            raise DamagedError(f"{folder / file} is missing or damaged; install the package again")
    return folder


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` of every other file in `folder`."""
    files = sorted(file for file in folder.iterdir() if file.name != SUMS)
    (folder / SUMS).write_text("".join(f"{_sha256(file)}  {file.name}\n" for file in files), encoding="ascii")


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
