"""Clips of a dataset, which may be a stranger's, are decoded for pictures in a confined fork."""

import os
from pathlib import Path

import numpy as np
import pytest

from collection.engine.stage import Retry
from collection.report import figures
from tests.collection.sandbox.test_sandbox import SEALED, connect, tried
from tests.synthetic import Spec, write


def test_frames_are_those_that_libav_gives(tmp_path: Path) -> None:
    mp4 = write(tmp_path / "a.mp4", Spec(frames=5)).read_bytes()
    here, apart = figures._decoded(mp4), figures.decode_frames(mp4)
    assert len(apart) == 5
    assert all(np.array_equal(one, other) for one, other in zip(here, apart, strict=True))
    with pytest.raises(Retry):
        figures.decode_frames(b"no clip")


@pytest.mark.skipif(not SEALED, reason="seccomp filters are for Linux on x86-64 and aarch64")
def test_a_decoder_that_is_taken_over_reaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")

    def taken_over(_: bytes) -> list[figures.RGB]:
        tries = (connect, (tmp_path / "secret").read_bytes, os.fork)
        refused = [str(tried(what)).startswith("PermissionError") for what in tries]
        return [np.full((1, len(refused), 3), all(refused), np.uint8)]

    monkeypatch.setattr(figures, "_decoded", taken_over)
    (frame,) = figures.decode_frames(b"")
    assert frame.all()
