"""Clips of a dataset, which may be a stranger's, are decoded for pictures in a confined fork."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from collection.report import figures
from mlst.dataset.description import DATASET, read_json
from mlst.pictures.mp4 import NotAClip
from tests import tiny
from tests.collection.sandbox.test_sandbox import SEALED, connect, tried


def test_frames_are_those_that_libav_gives() -> None:
    what, mp4 = read_json(tiny.built() / DATASET), tiny.mp4(1)
    here, apart = (decode(mp4, what, range(5)) for decode in (figures._decoded, figures.decode_frames))
    assert len(apart) == 5
    assert all(np.array_equal(one, other) for one, other in zip(here, apart, strict=True))
    with pytest.raises(NotAClip, match="is no MP4"):
        figures.decode_frames(b"no clip", what, range(5))


@pytest.mark.skipif(not SEALED, reason="seccomp filters are for Linux on x86-64 and aarch64")
def test_a_decoder_that_is_taken_over_reaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")

    what = replace(read_json(tiny.built() / DATASET), side=3)

    def taken_over(*_: object) -> list[figures.RGB]:
        tries = (connect, (tmp_path / "secret").read_bytes, os.fork)
        refused = [str(tried(what)).startswith("PermissionError") for what in tries]
        return [np.full((3, 3, 3), all(refused), np.uint8)]

    monkeypatch.setattr(figures, "_decoded", taken_over)
    (frame,) = figures.decode_frames(b"", what, [0])
    assert frame.all()
