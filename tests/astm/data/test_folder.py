"""A folder of videos: windows by frame, splits by folder or hash."""

import io
import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from astm.data import DataError
from astm.data.folder import Folder, FolderSettings
from astm.data.video import frame_rate, frames_at, frames_of, presentation_times, write_video
from tests import odd_media, synthetic
from tests.astm.data.media import encode, film


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


def test_frames_that_an_edit_list_hides_are_none(tmp_path):
    """As in a video that was cut without encoding it anew: its packets begin before its pictures."""
    synthetic.write(tmp_path / "cut.mp4", synthetic.Spec(frames=20, width=32, height=32, first=-6))
    shown = list(frames_of(tmp_path / "cut.mp4", ".mp4", "rgb24"))
    times = presentation_times(tmp_path / "cut.mp4")
    assert len(times) == len(shown) < 20
    assert np.array_equal(frames_at(tmp_path / "cut.mp4", times[:5]), shown[:5])


def test_pictures_that_are_not_square(root):
    data, square = folder(root, size=16, width=24), folder(root, size=16)
    assert data[0].frames.shape == (5, 3, 16, 24)
    assert "16 x 24 px" in data.protocol
    assert square.protocol.endswith("-> 3, 16 px")
    assert data.fingerprint != square.fingerprint == folder(root, size=16, width=16).fingerprint


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


def test_a_split_that_no_name_fell_to(tmp_path):
    (tmp_path / "0.mp4").write_bytes(encode(film(5, 16, 16, 0)))
    for split in ("validation", "test"):
        with pytest.raises(DataError, match=f"none of 1 videos fell to {split}; make folders train, validation, test"):
            folder(tmp_path, split)


def test_fingerprint_follows_the_content(root):
    before = folder(root, "test").fingerprint
    assert folder(root, "test", stride=2).fingerprint != before
    (root / "test" / "still" / "a.mp4").write_bytes(encode(film(23, 32, 32, 7)))
    assert folder(root, "test").fingerprint != before


def test_refusals(root, tmp_path):
    with pytest.raises(DataError, match=r"none of 2 train videos has 30 [+] 3 frames .* longest has 23"):
        folder(root, past=30)
    with pytest.raises(
        DataError, match=r"nothing.train is not a folder; \*.avi or|nothing is not a folder; \*.avi or"
    ):
        folder(tmp_path / "nothing")
    (root / "train" / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"broken.mp4 is not a readable video"):
        folder(root)
    with pytest.raises(DataError, match=r"cannot read '.gif' files; choices are .avi"):
        list(frames_of(root / "x.gif", ".gif", "gray"))


def test_pictures_that_change_size_are_refused(tmp_path):
    """VP8 may do that; two such files one after the other, as one."""
    streams = [encode(film(3, size, 48, 0), "ivf", "libvpx") for size in (32, 64)]
    with av.open(str(tmp_path / "x.webm"), "w") as out:
        for k, data in enumerate(streams):
            with av.open(io.BytesIO(data), format="ivf") as part:
                if k == 0:
                    stream = out.add_stream_from_template(part.streams.video[0])
                for packet in part.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = packet.pts + 3 * k
                        packet.stream = stream
                        out.mux(packet)
    times = presentation_times(tmp_path / "x.webm")
    assert len(times) == 6
    assert frames_at(tmp_path / "x.webm", times[:3]).shape == (3, 32, 48, 3)
    with pytest.raises(DataError, match=r"x.webm changes its size within a clip, to 48 x 64; encode it again"):
        frames_at(tmp_path / "x.webm", times)


def test_written_videos_read_back(tmp_path):
    pictures = np.repeat(film(6, 33, 48, 1)[:, :, :, :1], 3, axis=3)
    write_video(tmp_path / "x.mp4", pictures, Fraction(25))
    assert len(presentation_times(tmp_path / "x.mp4")) == 6
    assert frame_rate(tmp_path / "x.mp4") == 25
    back = np.stack(list(frames_of(tmp_path / "x.mp4", ".mp4", "rgb24")))
    assert back.shape == (6, 32, 48, 3)
    assert np.abs(back.astype(int) - pictures[:, :32]).mean() < 3
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def shown(path, count=10):
    """The counters of the first frames, and the last of the times."""
    times = presentation_times(path)
    return [synthetic.read_counter(frame[..., 1]) for frame in frames_at(path, times[:count])], times


def test_frames_are_upright(tmp_path):
    for rotation, mirrored in ((0, False), (90, False), (180, False), (270, True)):
        path = tmp_path / f"{rotation}.mp4"
        synthetic.write(path, synthetic.Spec(frames=12, rotation=rotation, mirrored=mirrored))
        assert shown(path)[0] == list(range(10))
        assert next(frames_of(path, ".mp4", "gray")).shape == (120, 160)


def test_frames_are_cropped_as_the_container_says(tmp_path):
    whole = synthetic.write(tmp_path / "a.mp4", synthetic.Spec(frames=12))
    cut = odd_media.clapped(whole, tmp_path / "b.mp4", (128, 96), (8, -4))
    for a, b in zip(frames_of(whole, ".mp4", "rgb24"), frames_of(cut, ".mp4", "rgb24"), strict=True):
        assert np.array_equal(a[8:-16, 24:-8], b)


def test_the_main_stream_is_read_not_the_first(tmp_path):
    small, film = synthetic.Spec(frames=12, width=64, height=48), synthetic.Spec(frames=20)
    path = odd_media.streams(tmp_path / "a.mkv", small, film)
    numbers, times = shown(path, 20)
    assert (numbers, len(times)) == (list(range(20)), 20)


def test_times_that_packets_do_not_tell_come_from_the_frames(tmp_path):
    reordered = synthetic.Spec(frames=40, options={"bf": "3", "b_strategy": "0", "preset": "fast"})
    (tmp_path / "plain").mkdir()
    noctts = odd_media.without_box(
        synthetic.write(tmp_path / "plain" / "a.mp4", reordered), tmp_path / "b.mp4", *odd_media.TABLE, b"ctts"
    )
    noctts = odd_media.without_box(noctts, tmp_path / "noctts.mp4", b"moov", b"trak", b"edts")
    fields = odd_media.field_pictures(tmp_path / "fields.mkv", 40)
    windows = odd_media.video_for_windows(tmp_path / "windows.mkv", reordered)
    for path in (noctts, fields, windows):
        numbers, times = shown(path, 40)
        assert numbers == list(range(40))
        assert {b - a for a, b in itertools.pairwise(times)} == {times[1] - times[0]}
        assert frame_rate(path) == 25


def test_chunks_without_a_frame_are_no_frames(tmp_path):
    path = odd_media.sparse(tmp_path / "a.avi", 40, 5, coded=True)
    numbers, times = shown(path)
    chunks = [time // (times[1] - times[0]) for time in times]
    assert numbers == chunks[:10] == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]
    assert frame_rate(path) == 25
    found = frames_at(path, times[20:25])
    assert [synthetic.read_counter(frame[..., 1]) for frame in found] == chunks[20:25] == [25, 26, 27, 28, 30]


def test_colours_that_cannot_be_converted_are_an_error(tmp_path):
    path = synthetic.write(tmp_path / "a.mp4", synthetic.Spec(frames=2, options={"x264-params": "colormatrix=YCgCo"}))
    with pytest.raises(DataError, match="common readers cannot convert"):
        list(frames_of(path, ".mp4", "rgb24"))


def test_large_pictures_that_do_not_say_are_bt709(tmp_path):
    """As players and `collection` take them; swscale would take BT.601."""
    red = synthetic.flat(63, 102, 240)
    small, large = (
        next(frames_of(synthetic.write(tmp_path / f"{width}.mp4", synthetic.Spec(2, width, 64), red), ".mp4", "rgb24"))
        for width in (64, 1280)
    )
    luma, u, v = (63 - 16) * 255 / 219, (102 - 128) * 255 / 224, (240 - 128) * 255 / 224
    for picture, kr, kb in ((small, 0.299, 0.114), (large, 0.2126, 0.0722)):
        red_, blue = luma + 2 * (1 - kr) * v, luma + 2 * (1 - kb) * u
        green = (luma - kr * red_ - kb * blue) / (1 - kr - kb)
        wanted = np.clip([red_, green, blue], 0, 255)
        assert picture[32, 32] == pytest.approx(wanted, abs=3)
