"""Some thousand sources through everything but decoding; what a million take stands in docs/scale.md."""

import tracemalloc
from pathlib import Path

import pytest

from benchmarks import scale
from mlst.pictures import fingerprints

pytestmark = pytest.mark.slow


def peak(rows: int, folder: Path) -> tuple[scale.Measured, int]:
    """A run and the most bytes that its objects took at a time."""
    folder.mkdir()
    tracemalloc.start()
    try:
        return scale.measure(rows, folder), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_sources_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes and clips add up, and a source takes less than 2 kB: those of a million fit into 2 GiB."""
    monkeypatch.setattr(scale, "WAVE", 100)
    monkeypatch.setattr(fingerprints, "CHUNK", 200)
    few, many = 300, 1500
    _, before = peak(few, tmp_path / "few")
    run, after = peak(many, tmp_path / "many")
    there = [n for n in range(many) if not scale.is_gone(n)]
    assert (run.fetched, run.fresh) == (len(there), 0)
    assert run.candidates == sum(scale.CLIPS[n % len(scale.CLIPS)] for n in there)
    assert run.chosen == run.planned == run.candidates - sum(run.reasons.values())
    assert run.reasons["leak"] + run.reasons["duplicate"] == 2 * many // scale.COPIES
    assert run.reasons["quota"] > 0
    assert run.shards == 27
    assert (after - before) / (many - few) < 2000
