"""Versions of everything here that may change a byte of a dataset."""

import importlib.metadata
from collections.abc import Iterable

import av

import mlst

SCAN = 5
"""Raised with every change of the scan that gives other clips or numbers of the same video, between releases too."""
LIBRARIES = (
    "av",
    "numpy",
    "opencv-python-headless",
    "pyarrow",
    "scenedetect-headless",
    "yt-dlp",
)
"""Distributions whose version may change a byte of a dataset."""


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of installed distributions, of the FFmpeg libraries that PyAV brings, of `mlst` and of its scan.

    Raises `importlib.metadata.PackageNotFoundError` for one that is not installed.
    """
    found = {name: importlib.metadata.version(name) for name in distributions}
    found |= {f"ffmpeg {name}": ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return found | {"mlst": mlst.__version__, "mlst scan": str(SCAN)}
