"""`versions.json` beside a run or a result: the libraries that made it, where a newer one may give other numbers."""

import importlib.metadata
import json
import platform
from pathlib import Path

from mlst import __version__
from mlst.dataset.schema import parse_json
from mlst.files import write
from mlst.inside import content

FILE = "versions.json"
LARGEST = 1 << 16
"""Bytes of the file; ours has 0.2 kB."""
LIBRARIES = ("torch", "numpy", "av", "opencv-python-headless", "scipy")
"""Distributions whose version may change frames, weights or scores."""


def versions(device: str) -> dict[str, str]:
    """Versions of what is installed, of Python and of `mlst`, and the device that computes."""
    found = {"mlst": __version__, "python": platform.python_version(), "device": device}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def write_versions(folder: Path, device: str) -> None:
    """Write `versions.json`, whole or not at all."""
    write(folder / FILE, json.dumps(versions(device), indent=1, sort_keys=True) + "\n")


def read_versions(folder: Path) -> dict[str, str]:
    """What `versions.json` says; nothing where there is none, as beside what older versions wrote.

    Raises ValueError where it is not what `write_versions` writes.
    """
    path = folder / FILE
    try:
        values = parse_json(content(path.resolve(), LARGEST), FILE)
    except FileNotFoundError:
        return {}
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"{path} is not a table of versions")
    return values
