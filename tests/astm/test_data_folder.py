"""A folder of videos: windows by frame, splits by folder or hash."""

from fractions import Fraction

import numpy as np
import pytest

from astm.data import DataError
from astm.data.folder import Folder, FolderSettings
from astm.data.video import frame_rate, frames_of, presentation_times, write_video
from tests.astm.media import encode, film


@pytest.fixture
def root(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "still").mkdir(parents=True)
        (tmp_path / split / "still" / "a.mp4").write_bytes(encode(film(23, 32, 32, 5)))
    (tmp_path / "train" / "b.mkv").write_bytes(encode(film(9, 32, 32, 6), "matroska"))
    (tmp_path / "train" / "notes.txt").write_text("no video")
    return tmp_path


def folder(root, split="train", **settings):
    values = {"root": str(root), "size": 32, "past": 2, "horizon": 3, "channels": 3, **settings}
    return Folder(FolderSettings(**values), split)


def test_windows_show_their_frames(root):
    """Frames are sought behind keyframes, which come every 8 frames."""
    data = folder(root)
    assert [w.key for w in data.windows] == [
        "train/b.mkv@0",
        *(f"train/still/a.mp4@{first}" for first in (0, 5, 10, 15)),
    ]
    still = film(23, 32, 32, 5).transpose(0, 3, 1, 2)
    for i, first in enumerate((0, 5, 10, 15), 1):
        assert np.array_equal(data[i].frames, still[first : first + 5])
        assert data[i].level == "still"
    assert data[0].level == "all"


def test_step_and_stride(root):
    data = folder(root, "test", step=2, stride=4)
    assert [w.key.split("@")[1] for w in data.windows] == ["0", "2", "4", "6"]
    still = film(23, 32, 32, 5).transpose(0, 3, 1, 2)
    assert np.array_equal(data[1].frames, still[2:19:4])


def test_names_decide_where_there_are_no_folders(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.mp4").write_bytes(encode(film(5, 16, 16, i)))
    found = {
        split: {w.file.name for w in folder(tmp_path, split).windows} for split in ("train", "validation", "test")
    }
    assert sum(len(names) for names in found.values()) == len(set().union(*found.values())) == 12
    assert len(found["train"]) > 6


def test_fingerprint_follows_the_content(root):
    before = folder(root, "test").fingerprint
    assert folder(root, "test", stride=2).fingerprint != before
    (root / "test" / "still" / "a.mp4").write_bytes(encode(film(23, 32, 32, 7)))
    assert folder(root, "test").fingerprint != before


def test_refusals(root, tmp_path):
    with pytest.raises(DataError, match=r"none of 2 train videos has 30 [+] 3 frames .* longest has 23"):
        folder(root, past=30)
    with pytest.raises(DataError, match=r"nothing.train is no folder; \*.avi or|nothing is no folder; \*.avi or"):
        folder(tmp_path / "nothing")
    (root / "train" / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"broken.mp4 is not a readable video"):
        folder(root)
    with pytest.raises(DataError, match=r"cannot read '.gif' files; choices are .avi"):
        list(frames_of(root / "x.gif", ".gif", "gray"))


def test_written_videos_read_back(tmp_path):
    pictures = np.repeat(film(6, 33, 48, 1)[:, :, :, :1], 3, axis=3)
    write_video(tmp_path / "x.mp4", pictures, Fraction(25))
    assert len(presentation_times(tmp_path / "x.mp4")) == 6
    assert frame_rate(tmp_path / "x.mp4") == 25
    back = np.stack(list(frames_of(tmp_path / "x.mp4", ".mp4", "rgb24")))
    assert back.shape == (6, 32, 48, 3)
    assert np.abs(back.astype(int) - pictures[:, :32]).mean() < 3
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
