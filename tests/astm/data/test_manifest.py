"""Films that a CSV file lists: splits, labels, lengths, and what is refused."""

import os

import cv2
import numpy as np
import pytest

from astm.data import DataError, dataset
from astm.data.manifest import ManifestSettings
from tests.astm.data.media import encode, film

FRAMES = film(9, 16, 24, 0)
LIST = """path,split,label,youtube
archery/a.mp4,train,archery,x
take 1,train,,
archery/b.mp4,val,archery,y
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "archery").mkdir()
    for name in "ab":
        (tmp_path / "archery" / f"{name}.mp4").write_bytes(encode(FRAMES))
    (tmp_path / "take 1").mkdir()
    for t, picture in enumerate(FRAMES[:4]):
        cv2.imwrite(str(tmp_path / "take 1" / f"{t}.png"), picture[..., ::-1])
    (tmp_path / "list.csv").write_text(LIST)
    return tmp_path


def listed(at, split="train", text="", **settings):
    if text:
        (at / "list.csv").write_text(text)
    values = {"root": str(at / "list.csv"), "size": 16, "width": 24, "past": 2, "horizon": 2, "channels": 3}
    return dataset["manifest"](ManifestSettings(**{**values, **settings}), split)


def test_windows_of_videos_and_of_folders_of_frames(root):
    clips = listed(root)
    found = [(clip.key, clip.level) for clip in map(clips.__getitem__, range(len(clips)))]
    assert found == [("archery/a.mp4@0", "archery"), ("archery/a.mp4@4", "archery"), ("take 1@0", "all")]
    assert np.array_equal(clips[2].frames, FRAMES[:4].transpose(0, 3, 1, 2))
    assert np.array_equal(clips[1].frames, FRAMES[4:8].transpose(0, 3, 1, 2))
    assert np.array_equal(listed(root, stride=2)[0].frames, FRAMES[:8:2].transpose(0, 3, 1, 2))
    assert clips.video("take 1@0") == "take 1"
    assert len(listed(root, "validation")) == 2
    assert "films train: 3 windows of 2 films of list; 2 -> 2, 16 x 24 px" in clips.protocol


def test_the_list_may_lie_elsewhere(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("lists") / "mine.csv"
    other.write_text(LIST)
    clips = listed(root, root=str(other), folder=str(root))
    assert len(clips) == 3
    assert clips.fingerprint == listed(root).fingerprint


def test_the_fingerprint_is_of_the_files(root):
    before = listed(root).fingerprint
    picture = root / "take 1" / "3.png"
    cv2.imwrite(str(picture), 255 - cv2.imread(str(picture)))
    assert listed(root).fingerprint != before


def test_lengths_that_are_given_are_believed_until_a_film_is_read(root):
    clips = listed(root, text="path,split,frames\ntake 1,train,8\n")
    assert len(clips) == 2
    with pytest.raises(DataError, match=r"take 1 has 4 frames, .*list.csv says 8"):
        clips[1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,label\na,b\n", "has no column split; its first line must name columns"),
        ("path,split\n", "lists no films"),
        ("path,split\ntake 1,train\ntake 1,test\n", "lists take 1 more than once"),
        ("path,split\ntake 1,training\n", "line 2: path 'take 1', split 'training'; splits are train"),
        ("path,split,frames\ntake 1,train,-3\n", "'-3' is no number of frames"),
        ("path,split,frames\ntake 1,train,99999999\n", "'99999999' is no number of frames"),
        ("path,split\n../x,train\n", "../x is not within data.folder"),
        ("path,split\npipe.mp4,train\n", "lacks 1 of 1 train films of list.csv: pipe.mp4"),
        ("path,split\ntake 2,train\n", "lacks 1 of 1 train films of list.csv: take 2"),
        ("path,split\ntake 1,test\n", "has test, but no train"),
    ],
)
def test_what_is_not_such_a_list_is_refused(root, text, why):
    os.mkfifo(root / "pipe.mp4")
    with pytest.raises(DataError, match=why):
        listed(root, text=text)
