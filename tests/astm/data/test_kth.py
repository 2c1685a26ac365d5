"""KTH in both layouts: windows of the PredRNN protocol, persons of a split, cached frames."""

import cv2
import numpy as np
import pytest

from astm.data import DataError
from astm.data.kth import Kth, KthSettings, Window, backwards, find_videos, manifest
from astm.training.settings import parse
from tests.astm.data.media import encode, film


def predrnn(numbers, length, category):
    """The published search, its category 1 being all actions but jogging and running (kth_action.py)."""
    found, index = [], len(numbers) - 1
    while index >= length - 1:
        if numbers[index] - numbers[index - length + 1] == length - 1:
            found.append(index - length + 1)
            index -= length - 1 if category == 1 else 2
        index -= 1
    return found


@pytest.mark.parametrize(("step", "category"), [(20, 1), (3, 2)])
def test_windows_are_those_of_the_published_search(step, category):
    generator = np.random.default_rng(0)
    for _ in range(50):
        numbers = np.flatnonzero(generator.random(200) < 0.97).tolist()
        assert backwards(numbers, 20, step) == predrnn(numbers, 20, category)
    assert backwards(list(range(1, 46)), 20, 20) == [25, 5]
    assert backwards(list(range(1, 46)), 20, 3) == [25, 22, 19, 16, 13, 10, 7, 4, 1]
    assert backwards([1, 2, 3, 5, 6, 7], 4, 4) == []


def picture_folder(root, person, action, numbers, scenario=1):
    folder = root / action / f"person{person:02d}_{action}_d{scenario}_uncomp"
    folder.mkdir(parents=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"image-{number:04d}.png"), np.full((12, 16), number, np.uint8))


@pytest.fixture
def frames(tmp_path):
    root = tmp_path / "frames"
    for person in (1, 2, 3, 17):
        picture_folder(root, person, "boxing", [*range(1, 9), *range(20, 27)])
        picture_folder(root, person, "running", range(1, 10))
    return root


def kth(root, split, cache, **settings):
    return Kth(KthSettings(root=str(root), cache=str(cache), size=16, past=2, horizon=3, **settings), split)


def test_frame_folders(frames, tmp_path):
    data = kth(frames, "test", tmp_path / "cache")
    boxing = [Window("person17_boxing_d1", first, 5) for first in (22, 4)]
    assert data.windows == [*boxing, *(Window("person17_running_d1", first, 5) for first in (5, 2))]
    sample = data[1]
    assert sample.frames.shape == (5, 1, 16, 16)
    assert sample.frames[:, 0, 0, 0].tolist() == [4, 5, 6, 7, 8]
    assert (sample.key, sample.level) == ("person17_boxing_d1-0004", "boxing")


def test_decoded_once(frames, tmp_path):
    first = kth(frames, "test", tmp_path / "cache")[0].frames
    for picture in (frames / "boxing" / "person17_boxing_d1_uncomp").iterdir():
        picture.write_bytes(bytes(picture.stat().st_size))
    assert np.array_equal(kth(frames, "test", tmp_path / "cache")[0].frames, first)
    with pytest.raises(DataError, match=r"not a readable picture"):
        kth(frames, "test", tmp_path / "other")[0]


def test_the_cache_may_be_elsewhere_when_training_goes_on(frames, tmp_path):
    one, other = (
        parse(
            {
                "model": {"name": "convlstm"},
                "data": {"name": "kth", "root": root, "cache": f"{root}/cache", "past": past},
            }
        )
        for root, past in (("/a", 10), ("/b", 9))
    )
    assert [str(change) for change in other.difference(one)] == ["data.past is 9, was 10"]


def test_validation_is_kept_from_training_by_video(frames, tmp_path):
    names = {
        split: {w.video for w in kth(frames, split, tmp_path, validation_share=0.5).windows}
        for split in ("train", "validation", "test")
    }
    assert not names["train"] & names["validation"]
    assert {name for split in names.values() for name in split} == {v.name for v in find_videos(frames)}
    assert all("person17" in name for name in names["test"])
    assert len(kth(frames, "train", tmp_path, validation_share=0).windows) == 12


def test_manifest_and_fingerprint(frames, tmp_path):
    data = kth(frames, "test", tmp_path)
    assert manifest(reversed(data.windows)) == manifest(data.windows)
    assert manifest(data.windows).splitlines()[0] == "person17_boxing_d1 4 5"
    assert "1 persons, 2 videos, 4 windows" in data.protocol
    longer = Kth(data.settings.model_copy(update={"horizon": 4}), "test")
    assert longer.fingerprint != data.fingerprint


def test_official_videos(tmp_path):
    root = tmp_path / "videos"
    (root / "walking").mkdir(parents=True)
    pictures = film(20, 48, 64, 0)
    (root / "walking" / "person18_walking_d3_uncomp.avi").write_bytes(encode(pictures, "avi", "mpeg4"))
    (root / "00sequences.txt").write_text("person18_walking_d3\t\tframes\t1-6, 7-9, 15-30\r\n")
    data = kth(root, "test", tmp_path / "cache")
    assert [w.first for w in data.windows] == [26, 21, 16, 5]
    shown = data[3].frames[:, 0]
    expected = [
        cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_LINEAR)
        for p in pictures[4:9]
    ]
    assert np.abs(shown.astype(int) - np.stack(expected)).mean() < 3
    with pytest.raises(DataError, match=r"ends before the annotated frame 30"):
        data[0]


def test_refusals(frames, tmp_path):
    picture_folder(tmp_path / "few", 1, "boxing", range(1, 9))
    with pytest.raises(DataError, match=r"no KTH videos for test .persons 17-25.*it has persons 1"):
        kth(tmp_path / "few", "test", tmp_path)
    with pytest.raises(DataError, match=r"person01_boxing_d1_uncomp.avi.*csc.kth.se"):
        kth(tmp_path / "none", "test", tmp_path)
    with pytest.raises(DataError, match=r"no 2 [+] 30 consecutive frames in the 2 test videos .* longest of 15"):
        Kth(KthSettings(root=str(frames), past=2, horizon=30), "test")
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "person01_boxing_d1_uncomp.avi").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"person01_boxing_d1 is not in a 00sequences.txt"):
        kth(tmp_path / "loose", "train", tmp_path)
