"""Films of one's own: windows, splits, sizes that are not square, and classes of one's own."""

import sys

import cv2
import numpy as np
import pytest

from astm.cli.experiment import data_of, experiment_of
from astm.data import DataError, dataset, open_clips
from astm.data.own import FilmsSettings, OwnFilms, as_pictures
from astm.data.video import frames_of
from astm.training.settings import SettingsError
from tests.astm.cli.test_main import run
from tests.astm.data.media import film


def stack(count, frames=7, height=16, width=24):
    return np.random.default_rng(0).integers(0, 256, (count, frames, height, width), np.uint8)


def own(root, split="train", **settings):
    values = {"root": str(root), "size": 16, "width": 24, "past": 2, "horizon": 1, **settings}
    return OwnFilms(FilmsSettings(**values), split)


def test_windows_of_a_stack_in_files_by_split(tmp_path):
    frames = stack(2)
    np.save(tmp_path / "train.npy", frames)
    np.save(tmp_path / "test.npy", frames[:1])
    clips = own(tmp_path)
    assert len(clips) == 4
    assert [clips[i].key for i in range(4)] == ["000000@0", "000000@3", "000001@0", "000001@3"]
    assert np.array_equal(clips[3].frames[:, 0], frames[1, 3:6])
    assert np.array_equal(own(tmp_path, stride=3)[1].frames[:, 0], frames[1, ::3])
    assert len(own(tmp_path, "test")) == 2
    assert clips.video("000001@3") == "000001"
    with pytest.raises(DataError, match=r"has train.npy, test.npy, but no validation"):
        own(tmp_path, "validation")
    with pytest.raises(DataError, match=r"none of 2 train films has 9 \+ 1 frames .* the longest has 7"):
        own(tmp_path, past=9)
    prints = [own(tmp_path, **more).fingerprint for more in ({}, {"stride": 3}, {"width": 8})]
    assert len(set(prints)) == 3
    np.save(tmp_path / "train.npy", frames ^ 1)
    assert own(tmp_path).fingerprint != prints[0]


def test_folders_of_frames_and_splits_by_hash(tmp_path):
    frames = film(4, 16, 24, 3)
    for name in range(40):
        (tmp_path / f"f{name}").mkdir()
        for t, picture in enumerate(frames):
            cv2.imwrite(str(tmp_path / f"f{name}" / f"{t}.png"), picture[..., ::-1])
    found = [own(tmp_path, split, channels=3) for split in ("train", "validation", "test")]
    assert sum(map(len, found)) == 40
    assert len(found[0]) > 25
    assert np.array_equal(found[0][0].frames, frames[:3].transpose(0, 3, 1, 2))


def test_pictures_of_another_size_and_channels():
    frames = stack(1)[0][:, None]
    assert as_pictures(frames, 3, (16, 24)).shape == (7, 3, 16, 24)
    assert np.array_equal(as_pictures(as_pictures(frames, 3, (16, 24)), 1, (16, 24)), frames)
    assert np.array_equal(as_pictures(np.float32(frames) / 255, 1, (16, 24)), frames)
    halves = as_pictures(frames, 1, (8, 12))
    mean = frames.reshape(7, 1, 8, 2, 12, 2).mean(axis=(3, 5))
    assert np.abs(halves - mean).max() <= 0.5


def test_sides_that_patches_do_not_tile_are_named():
    with pytest.raises(SettingsError, match=r"data.width = 20 is not a multiple of model.patch = 8"):
        experiment_of("convlstm", "films", "", ["model.patch=8", "data.size=16", "data.width=20"])


def test_a_model_is_trained_and_scored_on_pictures_that_are_not_square(tmp_path):
    for split in ("train", "validation", "test"):
        np.save(tmp_path / f"{split}.npy", stack(4))
    common = ("model.hidden=[4]", "model.patch=8", "data.size=16", "data.width=24", "data.past=2", "data.horizon=2")
    where = ("--data", "films", "--device", "cpu", "--out", tmp_path / "run")
    ran = run("train", "convlstm", *where, f"data.root={tmp_path}", *common, "train.steps=1", "train.batch_size=2")
    assert ran.exit_code == 0, ran.output
    scored = run("evaluate", tmp_path / "run", "--out", tmp_path / "results", "--device", "cpu")
    assert scored.exit_code == 0, scored.output
    shown = run("predict", tmp_path / "run", tmp_path / "test.npy", "--film", 0, "--out", tmp_path / "film.mp4")
    assert shown.exit_code == 0, shown.output
    assert next(frames_of(tmp_path / "film.mp4", ".mp4", "rgb24")).shape == (16, 24 + 4 + 24, 3)


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    np.save(tmp_path / "train.npy", stack(2))
    monkeypatch.chdir(tmp_path)
    assert f"films of {tmp_path.name};" in own(".").protocol


OWN = """
import numpy as np
from astm.data import ClipFrames, Clips, DataSettings

class Ramps(Clips):
    '''Brightness rises.'''

    protocol = "ramps"
    fingerprint = "0" * 64

    def __len__(self):
        return 4

    def __getitem__(self, index):
        s = self.settings
        frames = np.arange(s.length, dtype=np.uint8)[:, None, None, None] * 9 + np.uint8(index)
        return ClipFrames(frames + np.zeros((s.channels, s.size, s.size), np.uint8), f"{self.split}{index}", "all")

nothing = 3
"""


def test_a_class_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_ramps.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    ran = run(
        *("train", "convlstm", "--data", "my_ramps:Ramps", "--device", "cpu", "--out", "run", "data.size=16"),
        *("model.hidden=[4]", "model.patch=8", "train.steps=1", "train.batch_size=2", "data.past=2"),
    )
    assert ran.exit_code == 0, ran.output
    assert "ramps" in ran.stderr
    name, settings = data_of(["run"], "", "", [])
    assert len(open_clips(name, settings, "test")) == 4
    assert "" not in sys.path[:1]
    dataset._entries.pop("my_ramps:Ramps")
    np.save("film.npy", stack(1, height=16, width=16))
    used = run("predict", "run", "film.npy", "--horizon", 2)  # by a process of its own, which imported nothing
    assert used.exit_code == 0, used.output
    refused = run("evaluate", "run")
    assert refused.exit_code == 2
    assert "only what a command names is imported: add --data my_ramps:Ramps" in refused.stderr
    for wrong, why in (
        ("my_ramps:Missing", "has no attribute"),
        ("no_such:X", "No module"),
        ("my_ramps:nothing", "no subc"),
    ):
        refused = run("train", "convlstm", "--data", wrong)
        assert refused.exit_code == 2
        assert why in refused.stderr
