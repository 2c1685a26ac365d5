"""Workers find everything imported that their stages need."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

from collection.executors import Local
from collection.fetch.stage import NOBODY, FetchStage
from collection.fetch.ytdlp import Access
from collection.media.probe import probe
from collection.recipe import FetchSettings, Limits, ScanSettings
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END, STATISTICS, Source, Video
from tests.collection.executors.imports import Importing
from tests.synthetic import Spec, write


def test_workers_import_nothing(tmp_path: Path) -> None:
    """What a worker imports, every worker imports; and no full collection makes it copy what the server holds."""
    path = write(tmp_path / "a.mp4", Spec(frames=36, width=64, height=64, rate=Fraction(30)))
    source = Source("a", "a.mp4", Fraction(0), OPEN_END, "CC0-1.0", "", "", "a", "a test")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    seen = probe(path, Limits())
    video = Video("a", Fraction(0), OPEN_END, "a.mp4", path.stat().st_size, sha256, Fraction(0), seen, NOBODY)
    fetch: Any = Importing(FetchStage(FetchSettings(local=True), str(tmp_path), Access()))
    scan: Any = Importing(ScanStage(ScanSettings(), "brightest", STATISTICS))
    work = Workspace(tmp_path, "importing")
    found = [*Local(1)(fetch, [source], work), *Local(1)(scan, [video], work)]
    assert [(one.kind, one.detail) for one in found] == [("imported", ""), ("imported", "")]
