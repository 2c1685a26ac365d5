"""Decoding in a confined process: the same frames, and a clip that harms its process is corrupt, no more."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mlst.loading import CorruptClip, LoadError, load, loader
from mlst.pictures import confined
from mlst.sandbox.kernel import missing
from tests import tiny
from tests.mlst.loading.loading import SHORT, copied, rows_of

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No process is left over."""
    yield
    if helper := getattr(confined._own, "helper", None):
        helper.close()
        del confined._own.helper


@needs_sandbox
@pytest.mark.parametrize(("workers", "threads"), [(0, 0), (2, 0), (0, 2)])
def test_batches_are_the_same(workers: int, threads: int) -> None:
    plain = load(tiny.built(), **SHORT)
    clips = load(tiny.built(), confined=True, **SHORT)
    assert clips.fingerprint == plain.fingerprint
    for batch in loader(clips, 8, workers=workers, threads=threads):
        for frames, row in zip(batch.frames, batch.rows.tolist(), strict=True):
            assert torch.equal(frames, plain[row].frames)


def process() -> int:
    return int(confined._own.helper._process._process.pid)


@needs_sandbox
def test_a_clip_that_kills_its_process_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = load(tiny.built(), confined=True, **SHORT)
    expected, first = clips[0].frames, process()
    os.kill(first, signal.SIGKILL)
    with pytest.raises(CorruptClip, match="does not decode: its process was killed by signal 9"):
        clips[0]
    assert torch.equal(clips[0].frames, expected)
    assert process() != first


@needs_sandbox
def test_a_clip_that_stops_its_process_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "SECONDS", 0.3)
    clips = load(tiny.built(), confined=True, **SHORT)
    clips[0]
    os.kill(process(), signal.SIGSTOP)
    with pytest.raises(CorruptClip, match="gave no answer in time"):
        clips[0]
    clips[0]


@needs_sandbox
def test_what_is_wrong_with_a_clip_comes_over(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    row = rows_of(folder, "train")[0]
    number = [r["key"] for r in rows_of(folder, "train")].index(row["key"])
    with (folder / row["shard"]).open("r+b") as shard:
        shard.seek(row["offset"])
        shard.write(b"no MP4 at all")
    clips = load(folder, confined=True, verify=False, **SHORT)
    with pytest.raises(CorruptClip, match=f"clip {row['key']} is no MP4: it begins with 6e 6f"):
        clips[number]


def test_a_machine_that_cannot_confine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlst.loading.clips.missing", lambda: "this kernel has no Landlock")
    with pytest.raises(LoadError, match="confined=True: this kernel has no Landlock; load without it, or on Linux"):
        load(tiny.built(), confined=True, **SHORT)
