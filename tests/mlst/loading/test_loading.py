"""Loading from a folder: frames, selection, batches, position, damage."""

import json
import logging
import pickle
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from datasets import Video, load_dataset
from torch.utils.data import DataLoader

import mlst
from mlst.dataset.description import DATASET, INDEX, read_json
from mlst.loading import (
    Batches,
    ClipDataset,
    CorruptClip,
    Loader,
    LoadError,
    Missing,
    ReadError,
    Sample,
    Share,
    load,
    loader,
    order_of,
)
from mlst.records import FIRST
from tests import tiny
from tests.mlst.loading.loading import (
    HORIZON,
    PAST,
    SHORT,
    by_webdataset,
    copied,
    decoded,
    flip,
    forged,
    rows_of,
    through_json,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clips() -> ClipDataset:
    return load(tiny.built(), **SHORT)


@pytest.mark.slow
def test_import_stays_light() -> None:
    code = "import sys, mlst; print(sorted({'torch', 'cv2', 'av', 'numpy', 'pyarrow'} & set(sys.modules)), mlst.load)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.startswith("[] <function load")
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        mlst.laod  # noqa: B018


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_frames_are_those_that_webdataset_reads(split: str) -> None:
    clips, videos = load(str(tiny.built()), split=split, **SHORT), by_webdataset(tiny.built(), split)
    assert sorted(clips.keys) == sorted(videos)
    for sample in clips:
        assert sample.frames.dtype == torch.uint8
        assert np.array_equal(sample.frames.numpy(), decoded(videos[sample.key]))


def test_bytes_are_those_that_datasets_reads(
    clips: ClipDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.TORCHCODEC_AVAILABLE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    rows = load_dataset(str(tiny.built()), split="train", streaming=True).cast_column("mp4", Video(decode=False))
    rows = list(rows)
    assert [row["__key__"] for row in rows] == clips.keys
    for i, row in enumerate(rows):
        assert clips.read(i) == row["mp4"]["bytes"]
        assert clips.levels[i] == row["json"]["level"]
        assert dict(zip(clips.columns, clips[i].statistics.tolist(), strict=True)) == row["json"]["statistics"]


def test_past_and_horizon_choose_the_first_frames(clips: ClipDataset) -> None:
    short = load(tiny.built(), past=1, horizon=2)
    assert short[3].frames.shape == (3, 3, tiny.SIDE, tiny.SIDE)
    assert torch.equal(short[3].frames, clips[3].frames[:3])
    past, future = clips.cut(torch.stack([clips[0].frames, clips[1].frames]))
    assert past.shape == (2, PAST, 3, tiny.SIDE, tiny.SIDE)
    assert future.shape == (2, HORIZON, 3, tiny.SIDE, tiny.SIDE)
    both = torch.cat([past, future], 1)
    assert both.dtype == torch.float32
    assert torch.equal((both * 255).round().to(torch.uint8)[1], clips[1].frames)
    assert float(both.max()) <= 1


def test_grey_is_the_mean(clips: ClipDataset) -> None:
    grey = load(tiny.built(), colour="grey", **SHORT)
    expected = (clips[5].frames.to(torch.int32).sum(1, keepdim=True) + 1).div(3, rounding_mode="floor")
    assert torch.equal(grey[5].frames.to(torch.int32), expected)


@pytest.mark.parametrize(("size", "how"), [(16, cv2.INTER_AREA), (48, cv2.INTER_LINEAR)])
def test_size(clips: ClipDataset, size: int, how: int) -> None:
    sized = load(tiny.built(), size=size, **SHORT)[2].frames
    assert sized.shape == (6, 3, size, size)
    whole = clips[2].frames.permute(0, 2, 3, 1).numpy()
    for frame, before in zip(sized, whole, strict=True):
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), cv2.resize(before, (size, size), interpolation=how))


def test_levels(clips: ClipDataset) -> None:
    some = load(tiny.built(), levels=["s2t2", "s0t1"], **SHORT)
    assert some.settings.levels == ("s0t1", "s2t2")
    assert some.keys == [k for k, level in zip(clips.keys, clips.levels, strict=True) if level in ("s0t1", "s2t2")]
    assert some[0].level == "s0t1"
    assert load(tiny.built(), levels="s2t2", **SHORT).keys == some.keys[2:]
    assert clips.settings.levels == tuple(sorted(set(clips.levels)))
    assert load(tiny.built(), levels=clips.settings.levels, **SHORT).fingerprint == clips.fingerprint


def test_fingerprints_tell_datasets_apart(clips: ClipDataset) -> None:
    variants: list[dict[str, Any]] = [{"split": "test"}, {"levels": "s0t0"}, {"past": 1}, {"horizon": 3}]
    variants += [{"size": 16}, {"colour": "grey"}]
    made = [load(tiny.built(), **{**SHORT, **variant}) for variant in variants]
    assert len({clips.fingerprint, *(m.fingerprint for m in made)}) == 1 + len(made)
    assert len({clips.identity, *(m.identity for m in made)}) == 3, "only split and levels choose other clips"


def test_indices(clips: ClipDataset) -> None:
    for index in (len(clips), 10**9):
        with pytest.raises(IndexError):
            clips[index]
    assert clips[-1].key == clips.keys[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "dev"}, "unknown split 'dev'; choices are train, validation, test"),
        ({"levels": []}, r"levels = \[\] names none; leave it out for all levels"),
        ({"levels": ["s0t9"]}, r"no train clips of 's0t9'; levels are s0t0, s0t1"),
        ({"past": 3}, r"24 of 24 train clips have fewer frames than past 3 \+ horizon 4, e.g. .* with 6; lower"),
        ({"past": 0}, "past = 0 should be a whole number from 1 on"),
        ({"horizon": -1}, "horizon = -1"),
        ({"past": 2.0}, "past = 2.0"),
        ({"colour": "bgr"}, "colour = 'bgr' is unknown; choices are rgb, grey"),
        ({"errors": "ignore"}, "choices are raise, skip"),
        ({"revision": "v1"}, "only Hub datasets have revisions"),
    ],
)
def test_refusals(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load(tiny.built(), **{**SHORT, **settings})


def test_a_typo_in_the_name_of_a_folder_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out" / "demo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        LoadError, match="no folder 'out/demmo', though 'out' is one; on the Hub it is hf://datasets/out/demmo"
    ):
        load("out/demmo")


def test_places_that_are_none(tmp_path: Path) -> None:
    for url in ("s3://", "s3://a\x1b[31m/b", "https://[::1", "file:///", "http://\u2100.x/", "://a", "hf://a\nb"):
        with pytest.raises(LoadError, match="is not a URL: ") as refused:
            load(url)
        assert str(refused.value).isprintable()
    with pytest.raises(LoadError, match="not a folder, a URL or a Hub id"):
        load("no such folder")
    with pytest.raises(ReadError, match=r"dataset\.json cannot be read: No such file"):
        load(tmp_path)
    (tmp_path / DATASET).write_text('{"format": "mlst/9"}')
    with pytest.raises(LoadError, match="not a dataset of format 'mlst/1'"):
        load(tmp_path)


def test_missing_split(tmp_path: Path) -> None:
    tiny.build(tmp_path / "work", tmp_path / "out", tiny.material(tmp_path / "work", 1))
    (split,) = {cell.split for cell in read_json(tmp_path / "out" / DATASET).cells}
    other = next(s for s in ("train", "test") if s != split)
    with pytest.raises(LoadError, match=f"has no {other} clips; its splits are {split}"):
        load(tmp_path / "out", split=other, **SHORT)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_plain_data_loader(clips: ClipDataset, workers: int) -> None:
    """The dataset and the batch sampler under PyTorch's own loader and collate function."""
    batches = Batches(order_of(clips, seed=3), 5, "pad", Share(0, 1))
    expected = list(batches)
    found: list[Sample] = []
    for batch in DataLoader(clips, batch_sampler=batches, num_workers=workers):
        batches.advance()
        found.append(batch)
    assert batches.epoch == 1
    assert [batch.row.tolist() for batch in found] == expected  # type: ignore[attr-defined]
    for batch in found:
        assert batch.frames.shape == (5, 6, 3, tiny.SIDE, tiny.SIDE)
        assert batch.statistics.shape == (5, len(FIRST))
        assert list(batch.key) == [clips.keys[row] for row in batch.row]  # type: ignore[attr-defined]
        assert torch.equal(batch.frames[4], clips[int(batch.row[4])].frames)  # type: ignore[index]


def taken(batches: Loader, count: int) -> list[tuple[Any, ...]]:
    """Everything of the next `count` batches, epoch after epoch."""
    found: list[tuple[Any, ...]] = []
    while len(found) < count:
        for b in islice(batches, count - len(found)):
            found.append((b.keys, b.levels, b.rows.tolist(), b.statistics.tolist(), b.frames.numpy().tobytes()))
    return found


@pytest.mark.slow
def test_workers_change_nothing(clips: ClipDataset) -> None:
    runs = [taken(loader(clips, 5, seed=1, workers=workers), 9) for workers in (0, 1, 2)]
    assert runs[0] == runs[1] == runs[2]
    assert len({key for keys, *_ in runs[0][:4] for key in keys}) == 20, "24 clips make 4 batches of 5"
    assert runs[0][0][0] == tuple(clips.keys[i] for i in order_of(clips, 1).epoch(0)[:5])
    frames = np.frombuffer(runs[0][0][4], np.uint8).reshape(5, 6, 3, tiny.SIDE, tiny.SIDE)
    assert np.array_equal(frames[2], clips[runs[0][0][2][2]].frames.numpy())


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "after"), [(0, 0), (2, 2)])
@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_interrupted_is_uninterrupted(clips: ClipDataset, workers: int, after: int, sampling: Any) -> None:
    """Batches that workers had fetched ahead when the run stopped must come again."""
    whole = taken(loader(clips, 4, seed=2, sampling=sampling), 10)
    for stop in (1, 4, 6, 7):
        first = loader(clips, 4, seed=2, sampling=sampling, workers=workers)
        begun = taken(first, stop)
        second = loader(clips, 4, seed=2, sampling=sampling, workers=after)
        second.load_state_dict(through_json(first.state_dict()))
        assert begun + taken(second, 10 - stop) == whole


def test_a_broken_off_loop_goes_on(clips: ClipDataset) -> None:
    batches = loader(clips, 4, seed=2)
    assert len(batches) == 6
    first = [b.keys for b in islice(batches, 2)]
    assert (len(batches), batches.epoch) == (4, 0)
    rest = [b.keys for b in batches]
    assert sorted(k for keys in first + rest for k in keys) == sorted(clips.keys)
    assert batches.epoch == 1


def test_states_of_other_clips_are_refused(clips: ClipDataset) -> None:
    state = loader(clips, 4).state_dict()
    with pytest.raises(LoadError, match="another dataset, version, split"):
        loader(load(tiny.built(), split="test", **SHORT), 4).load_state_dict(state)
    with pytest.raises(LoadError, match="seed 0 instead of 1"):
        loader(clips, 4, seed=1).load_state_dict(state)


def test_the_global_generator_is_left_alone(clips: ClipDataset) -> None:
    torch.manual_seed(1)
    expected = torch.get_rng_state()
    list(loader(clips, 12))
    assert torch.equal(torch.get_rng_state(), expected)


def test_sampling(clips: ClipDataset) -> None:
    assert [k for b in loader(clips, 7, sampling="index", last="keep") for k in b.keys] == clips.keys
    for batch in loader(clips, 6, sampling="balanced"):
        assert len(set(batch.levels)) >= 5
    drawn = [level for b in loader(clips, 4, sampling={"s0t0": 1, "s2t2": 3}) for level in b.levels]
    assert (drawn.count("s0t0"), drawn.count("s2t2")) == (6, 18)
    wrong: Any
    for wrong in ("level", {"s9t9": 1.0}, {"s0t0": -1.0}, {"s0t0": 0.0}, {}):
        with pytest.raises(LoadError):
            loader(clips, 4, sampling=wrong)


def test_seeds(clips: ClipDataset) -> None:
    """An integer of NumPy's gives the same order, and a state that JSON takes."""
    one, other = loader(clips, 4, seed=1), loader(clips, 4, seed=np.int64(1))  # type: ignore[arg-type]
    assert one.batches.order.epoch(0).tolist() == other.batches.order.epoch(0).tolist()
    one.load_state_dict(json.loads(json.dumps(other.state_dict())))
    with pytest.raises(LoadError, match=r"seed = 0\.5 should be an integer"):
        loader(clips, 4, seed=0.5)  # type: ignore[arg-type]


def test_goes_to_another_process(clips: ClipDataset) -> None:
    again = pickle.loads(pickle.dumps(clips))  # noqa: S301
    assert torch.equal(again[7].frames, clips[7].frames)
    assert again[7].key == clips[7].key


def test_batches_can_be_pinned(clips: ClipDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = islice(loader(clips, 3), 1)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    pinned = torch.utils.data._utils.pin_memory.pin_memory(batch)
    assert pinned.keys == batch.keys
    assert pinned.frames is batch.frames


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A dataset with two damaged clips, and their rows."""
    folder = copied(tmp_path)
    rows = [rows_of(folder, "train")[i] for i in (4, 17)]
    for row in rows:
        flip(folder, row)
    return folder, rows


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_is_reported(damaged: tuple[Path, list[dict[str, Any]]], workers: int) -> None:
    folder, rows = damaged
    clips = load(folder, **SHORT)
    with pytest.raises(CorruptClip, match=re.escape(f"{rows[0]['shard']}: clip {rows[0]['key']} has sha256")):
        clips[4]
    with pytest.raises(CorruptClip, match=f"clip {rows[0]['key']} has sha256 .* not {rows[0]['sha256']}"):
        list(loader(clips, 4, sampling="index", workers=workers))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_damage_is_skipped_when_asked(
    damaged: tuple[Path, list[dict[str, Any]]], workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder, rows = damaged
    clips, keys = load(folder, errors="skip", **SHORT), {row["key"] for row in rows}
    batches = loader(clips, 4, workers=workers)
    found = list(batches)
    assert len(found) == 6
    good = sorted(set(clips.keys) - keys)
    assert sorted(k for batch in found for k in batch.keys) == good
    assert all(len(b.keys) == len(b.frames) == len(b.rows) == len(b.statistics) for b in found)
    for batch in found:
        for frames, row in zip(batch.frames, batch.rows.tolist(), strict=True):
            assert torch.equal(frames, clips[row].frames)
    assert {key for why in batches.skipped for key in keys if key in why} == keys
    assert list(batches.skipped.values()) == [1, 1]
    list(batches)
    assert list(batches.skipped.values()) == [2, 2]
    with caplog.at_level(logging.WARNING), pytest.raises(CorruptClip):
        clips[4]
    plain = DataLoader(clips, batch_size=4, num_workers=workers)
    assert sorted(k for batch in plain for k in batch.key) == good


def test_a_batch_of_nothing_is_an_error(damaged: tuple[Path, list[dict[str, Any]]]) -> None:
    clips = load(damaged[0], errors="skip", **SHORT)
    with pytest.raises(CorruptClip, match="all 1 clips of a batch are corrupt"):
        list(loader(clips, 1))
    with pytest.raises(CorruptClip, match="all 2 clips of a batch"):
        clips.__getitems__([4, 17])


def test_without_verification_only_the_reader_complains(damaged: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = damaged
    with (folder / rows[0]["shard"]).open("r+b") as shard:
        shard.seek(rows[0]["offset"])
        shard.write(bytes(rows[0]["size"]))
    clips = load(folder, verify=False, **SHORT)
    clips[17]
    with pytest.raises(CorruptClip, match=f"clip {rows[0]['key']} is no MP4: it begins with 00"):
        clips[4]


def test_cut_off_shard(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    row = rows_of(folder, "train")[-1]
    with (folder / row["shard"]).open("r+b") as shard:
        shard.truncate(row["offset"] + 100)
    with pytest.raises(CorruptClip, match=f"{row['key']} ends after 100 of {row['size']} bytes"):
        load(folder, **SHORT)[-1]
    (folder / row["shard"]).unlink()
    skipping = load(folder, errors="skip", **SHORT)
    with pytest.raises(Missing, match=f"{row['shard']}.*; a release without pixels has no shards"):
        list(loader(skipping, 4))


def other_video(**changes: Any) -> bytes:
    return tiny.mp4(99, **changes)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (lambda: other_video(side=64), "is H.264 of 64x64, not of 32x32"),
        (lambda: other_video(frames=5), "has 5 frames, 6 are wanted"),
        (lambda: b"\x00\x00\x00\x20ftypisom" + bytes(500), "is a damaged MP4|is an MP4 with 0 boxes"),
        (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" * 20, "is no MP4: it begins with 23 45 58 54"),
    ],
)
def test_videos_that_are_not_ours(tmp_path: Path, video: Any, message: str) -> None:
    """With an index that vouches for them."""
    import hashlib

    folder, data = copied(tmp_path), video()
    row = rows_of(folder, "train")[0]
    number = next(i for i, r in enumerate(every_row(folder)) if r["key"] == row["key"])
    (folder / row["shard"]).write_bytes(data)
    forged(folder, lambda r: r.update(offset=0, size=len(data), sha256=hashlib.sha256(data).hexdigest()), [number])
    with pytest.raises(CorruptClip, match=message):
        load(folder, **SHORT)[0]


def every_row(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return list(pq.read_table(folder / INDEX).to_pylist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard": "../../../etc/passwd"}, "names the shard"),
        ({"shard": "/etc/passwd"}, "names the shard"),
        ({"shard": "data/s0t0/../../x/train-00000-of-00001.tar"}, "names the shard"),
        ({"size": 1 << 40}, "claims 1099511627776 bytes"),
        ({"size": 0}, "claims 0 bytes"),
        ({"offset": -5}, "bytes at offset -5"),
    ],
)
def test_malicious_index(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = copied(tmp_path)
    forged(folder, lambda row: row.update(change, split="train"))
    with pytest.raises(LoadError, match=message):
        load(folder, **SHORT)


def test_changed_index_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    data = bytearray((folder / INDEX).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / INDEX).write_bytes(data)
    with pytest.raises(LoadError, match=r"not the file that dataset\.json lists"):
        load(folder, **SHORT)
    (folder / INDEX).write_bytes(data + b"more")
    with pytest.raises(ReadError, match="has more than"):
        load(folder, **SHORT)
    text = (folder / DATASET).read_text()
    (folder / DATASET).write_text(text.replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(LoadError, match="does not match its own fingerprint"):
        load(folder, **SHORT)


def test_foreign_index_is_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from tests.mlst.loading.loading import vouch

    folder = copied(tmp_path)
    table = pq.read_table(folder / INDEX)
    pq.write_table(table.drop_columns(["ti10", "offset"]), folder / INDEX)
    vouch(folder)
    with pytest.raises(LoadError, match=r"no .*ti10.*; no .*offset"):
        load(folder, **SHORT)
    (folder / INDEX).write_bytes(b"PAR1 nonsense PAR1")
    vouch(folder)
    with pytest.raises(LoadError, match="not a sound Parquet file"):
        load(folder, **SHORT)
