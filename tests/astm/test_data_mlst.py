"""Clips out of shards: the right bytes, grey or RGB, by split and level."""

import numpy as np
import pytest

from astm.data import DataError
from astm.data.mlst import Mlst, MlstSettings
from tests.astm.media import mlst_dataset


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("mlst")
    return root, mlst_dataset(root)


def clips(root, split="train", **settings):
    return Mlst(MlstSettings(**{"root": str(root), "past": 2, "horizon": 3, "size": 24, **settings}), split)


def test_every_clip_has_its_own_pictures(built):
    root, films = built
    data = clips(root, channels=3, size=32)
    assert len(data) == 6
    for i in range(len(data)):
        sample = data[i]
        film = films[sample.key][:5]
        assert sample.frames.shape == (5, 3, 32, 32)
        assert np.abs(sample.frames[:, :, ::4].astype(int) - film_rows(film)).max() <= 1  # OpenCV rounds weights
        assert sample.key.startswith(f"train{sample.level}")


def film_rows(film):
    """Rows 0, 4, 8 ... of 24 x 32 pictures stretched to 32 x 32, by OpenCV's formula for bilinear upscaling."""
    y = np.clip((np.arange(0, 32, 4) + 0.5) * 24 / 32 - 0.5, 0, 23)
    low, part = np.floor(y).astype(int), (y % 1)[:, None, None]
    rows = film[:, low] * (1 - part) + film[:, np.minimum(low + 1, 23)] * part
    return np.floor(rows + 0.5).astype(np.uint8).transpose(0, 3, 1, 2)


def test_grey_is_the_mean_of_the_channels(built):
    root, _ = built
    sample = clips(root, size=24)[0]
    stretched = clips(root, size=24, channels=3)[0]
    assert sample.frames.shape == (5, 1, 24, 24)
    assert np.abs(sample.frames[:, 0] - stretched.frames.mean(axis=1)).max() <= 0.5


def test_levels_and_fingerprints(built):
    root, _ = built
    chosen = clips(root, levels=("s2t1",))
    assert {chosen[i].level for i in range(len(chosen))} == {"s2t1"}
    assert "3 clips of 1 levels" in chosen.protocol
    prints = {
        clips(root).fingerprint,
        chosen.fingerprint,
        clips(root, "test").fingerprint,
        clips(root, past=1).fingerprint,
    }
    assert len(prints) == 4


def test_refusals(built, tmp_path):
    root, _ = built
    with pytest.raises(DataError, match=r"6 of 6 train clips have fewer than the 10 [+] 20 .* with 6; lower past"):
        clips(root, past=10, horizon=20)
    with pytest.raises(DataError, match=r"has no level s9t9; choices are s0t0, s2t1"):
        clips(root, levels=("s9t9",))
    with pytest.raises(DataError, match=r"build a dataset with `mlst build`"):
        clips(tmp_path)
    mlst_dataset(tmp_path / "small", splits=("train",), levels=("s0t0",), clips=1)
    with pytest.raises(DataError, match=r"has no test clips; its splits are train"):
        clips(tmp_path / "small", "test")


def test_damaged_datasets(tmp_path):
    mlst_dataset(tmp_path, levels=("s0t0",), splits=("train",), clips=2)
    shard = next(tmp_path.rglob("*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:700])
    with pytest.raises(DataError, match=r"ends before byte .*mlst verify"):
        clips(tmp_path)[1]
    shard.write_bytes(bytes(len(whole)))
    with pytest.raises(DataError, match=r"not a readable video"):
        clips(tmp_path)[0]
    shard.unlink()
    with pytest.raises(DataError, match=r"cannot be read"):
        clips(tmp_path)[0]
    (tmp_path / "metadata" / "clips.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"not an index of clips"):
        clips(tmp_path)


def test_shards_outside_the_dataset_are_not_read(tmp_path):
    data_root = tmp_path / "dataset"
    data_root.mkdir()
    mlst_dataset(data_root, levels=("s0t0",), splits=("train",), clips=1)
    (tmp_path / "secret").write_bytes(bytes(100))
    with pytest.raises(DataError, match=r"outside of it"):
        clips(data_root).read("../secret", 0, 10)
