"""Files made to harm whoever opens them: playlists, bombs, references to other files, mutants of real media."""

import os
import random
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from collection.engine.stage import Needs, Outcome, Rejected, Retry, attempt
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.media.decode import open_video
from collection.media.probe import open_media, packets, probe
from collection.recipe import FetchSettings, Limits
from collection.sandbox.apart import apart
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END, Probe, Source
from mlst.sandbox.kernel import Room
from tests.collection.engine.stages import Text
from tests.collection.sandbox.test_sandbox import SEALED, connect, tried
from tests.media_mutations import CHANGES, Change, mutate
from tests.synthetic import Spec, write

ROOT = Path(__file__).parents[3]
CLIPS = ROOT / "manifests" / "demo" / "clips"
MiB = 1 << 20

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
    "hls of a file": "#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "m3u without a header": "{url}\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
    "smooth": "<SmoothStreamingMedia/>",
    "xspf": '<playlist version="1"><trackList><track><location>{url}</location></track></trackList></playlist>',
    "asx": '<ASX version="3.0"><ENTRY><REF HREF="{url}"/></ENTRY></ASX>',
    "smil": '<smil><body><video src="{url}"/></body></smil>',
    "pls": "[playlist]\nFile1={url}\n",
    "reference": "[Reference]\nRef1={url}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{url}'\n",
    "concat without a header": "file '{url}'\n",
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    "rtsp text": "rtsptext\n{url}\n",
    "url shortcut": "[InternetShortcut]\nURL={url}\n",
    "cue": 'FILE "{url}" WAVE\n',
    "image sequence": "%d.png",
    "subtitle": "1\n00:00:00,000 --> 00:00:10,000\n{url}\n",
    "script": "#!/bin/sh\ncurl {url}\n",
    "hls in avi": "RIFF\0\0\0\0GAB2\0#EXTM3U\n{url}\n",
    "wide hls": "\0#\0E\0X\0T\0M\0\x33\0U\0\n{url}",
}


@pytest.mark.parametrize("name", ["video.mp4", "index.m3u8", "a.ffconcat", "video.mkv"])
def test_playlists_are_refused_before_anything_is_asked_for(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/segment.ts"
        for kind, text in PLAYLISTS.items():
            (tmp_path / name).write_bytes(text.format(url=url).encode())
            with pytest.raises(Rejected) as refusal:
                probe(tmp_path / name, Limits())
            assert refusal.value.kind in ("not_media", "corrupt"), kind
            outcome = fetched(tmp_path, name)
            assert (outcome.status, outcome.kind) == ("rejected", refusal.value.kind), kind
        with pytest.raises(BlockingIOError):
            server.accept()


def fetched(folder: Path, name: str) -> Outcome:
    """Outcome of fetching a file beside the manifest."""
    stage = FetchStage(FetchSettings(local=True), str(folder), Access())
    source = Source("a", name, Fraction(0), OPEN_END, "unknown", "", "", "a", "test")
    return attempt(stage, source, Workspace(folder / "work", "fetch"))


def ivf(
    header: tuple[int, int], frame: tuple[int, int], rate: tuple[int, int] = (25, 1), step: int = 1, count: int = 3
) -> bytes:
    """VP8 key frames that say their own size (RFC 6386, 9.1)."""
    data = b"\x10\x02\0\x9d\x01\x2a" + struct.pack("<HH", *frame) + bytes(40)
    head = b"DKIF" + struct.pack("<HH4sHHIIII", 0, 32, b"VP80", *header, *rate, count, 0)
    return head + b"".join(struct.pack("<IQ", len(data), n * step) + data for n in range(count))


def y4m(size: str, rate: str) -> bytes:
    return f"YUV4MPEG2 {size} F{rate} Ip A1:1 C420jpeg\n".encode() + (b"FRAME\n" + bytes(384)) * 4


def gif(width: int, height: int) -> bytes:
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b"\x2c\0\0\0\0" + size + b"\0\x02\x02\x44\x01\0\x3b"


def edited(kind: bytes, offset: int, layout: str, *values: int) -> Callable[[bytes], bytes]:
    """Numbers inside the first MP4 box of a type."""

    def edit(data: bytes) -> bytes:
        made = bytearray(data)
        struct.pack_into(layout, made, data.index(kind) + 4 + offset, *values)
        return bytes(made)

    return edit


def big_jpeg(data: bytes) -> bytes:
    """Motion JPEG whose frames claim 65500 x 65500 pixels."""
    at = data.index(b"\xff\xc0") + 5
    return data.replace(data[at : at + 4], struct.pack(">HH", 65500, 65500))


MP4, AVI = Spec(frames=30), Spec(codec="mjpeg", pix_fmt="yuvj420p", full_range=True, frames=5)
BOMBS: dict[str, tuple[bytes | tuple[str, Spec, Callable[[bytes], bytes]], tuple[str, ...]]] = {
    "vp8 of 15000 x 15000": (ivf((15000, 15000), (15000, 15000)), ("too_large",)),
    "vp8 behind a small header": (ivf((64, 48), (15000, 15000)), ("too_large", "corrupt")),
    "hours of 8192 x 4320 in 2 MB": (ivf((8192, 4320), (8192, 4320), count=30_000), ("too_large",)),
    "gif of 15000 x 15000": (gif(15000, 15000), ("too_large", "corrupt")),
    "raw of 100000 x 100000": (y4m("W100000 H100000", "25:1"), ("too_large", "corrupt")),
    "raw of one line": (y4m("W40000000 H1", "25:1"), ("too_large", "corrupt")),
    "jpeg of 65500 x 65500": (("a.avi", AVI, big_jpeg), ("too_large", "corrupt")),
    "a million frames per second": (y4m("W16 H16", "1000000:1"), ("too_fast",)),
    "a million ivf frames per second": (ivf((64, 48), (64, 48), rate=(10**6, 1)), ("too_fast",)),
    "frames that last for weeks": (y4m("W16 H16", "1:1000000"), ("too_long",)),
    "times near the end of int64": (ivf((64, 48), (64, 48), step=1 << 60), ("too_long",)),
    "durations near the end of int32": (("a.mp4", MP4, edited(b"stts", 8, ">II", 30, 0x7FFFFFFF)), ("too_long",)),
    "four thousand million frames": (("a.mp4", MP4, edited(b"stts", 8, ">II", 0xFFFFFFFF, 1 << 30)), ("too_long",)),
    "two thousand million samples": (("a.mp4", MP4, edited(b"stsz", 4, ">II", 1, 0x7FFFFFFF)), ("corrupt",)),
    "a table of 16 GiB": (("a.mp4", MP4, edited(b"stsz", 8, ">I", 0xFFFFFFFF)), ("corrupt", "too_long")),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_without_much_memory(tmp_path: Path, name: str) -> None:
    content, kinds = BOMBS[name]
    file = tmp_path / "bomb"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        where, spec, change = content
        file.write_bytes(change(write(tmp_path / where, spec).read_bytes()))

    def look() -> Text:
        try:
            with open_video(file, probe(file, Limits()), Limits()) as decoder:
                return Text("done", str(len(list(decoder))))
        except Rejected as why:
            return Text(why.kind, why.detail)

    found = apart(Text, look, Needs(30.0, size_now() + 256 * MiB, network=False), Room((tmp_path,), ()))
    assert found.item in kinds, found
    assert str(tmp_path) not in found.file


def size_now() -> int:
    """Address space of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_without_the_limit_a_bomb_would_take_the_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(gif(15000, 15000))
    limits = Limits(pixels=1 << 40)

    def look() -> Text:
        with open_video(tmp_path / "bomb", probe(tmp_path / "bomb", limits), limits):
            return Text("done", "")

    with pytest.raises(Retry) as failure:
        apart(Text, look, Needs(30.0, size_now() + 256 * MiB, network=False), Room((tmp_path,), ()))
    assert failure.value.kind == "memory"


def tracks(data: bytes, more: int) -> bytes:
    """An MP4 whose track stands `more` times again."""
    at, track = data.index(b"moov") - 4, data.index(b"trak") - 4
    size, length = (struct.unpack_from(">I", data, place)[0] for place in (at, track))
    head = data[:at] + struct.pack(">I", size + more * length) + data[at + 4 : track]
    return head + data[track : track + length] * more + data[track:]


@pytest.mark.parametrize(("spare", "ends"), [(4 << 30, Rejected), (1 << 30, Retry)])
def test_what_libav_calls_want_of_memory_is_doubted_where_there_is_enough(
    tmp_path: Path, spare: int, ends: type[Exception]
) -> None:
    (tmp_path / "a.mp4").write_bytes(tracks(write(tmp_path / "own.mp4", Spec(frames=3)).read_bytes(), 1000))
    with pytest.raises(ends) as refusal:
        apart(
            Probe,
            lambda: probe(tmp_path / "a.mp4", Limits()),
            Needs(30.0, memory=size_now() + spare, network=False),
            Room((tmp_path,), ()),
        )
    assert refusal.value.args[0] == {Rejected: "corrupt", Retry: "memory"}[ends]


def linked(data: bytes, name: str) -> bytes:
    """An MP4 whose samples are said to lie in another file beside it: an alias record in `dref` (QuickTime File
    Format, data reference atoms)."""
    path = b"/" + name.encode()
    path += bytes(len(path) % 2)
    alias = bytes(10 + 1 + 27 + 12 + 1 + 63 + 16) + struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(path)) + path + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = data.index(b"dref") + 12
    made = bytearray(data[:at] + entry + data[at + 12 :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = made.index(kind, data.index(b"moov")) - 4
        struct.pack_into(">I", made, start, struct.unpack_from(">I", made, start)[0] + len(entry) - 12)
    return bytes(made)


def test_samples_in_other_files_are_not_read(tmp_path: Path) -> None:
    own = write(tmp_path / "own.mp4", Spec(frames=12)).read_bytes()
    (tmp_path / "secret.bin").write_bytes(bytes(byte ^ 0x55 for byte in own))
    (tmp_path / "a.mp4").write_bytes(linked(own, "secret.bin"))
    with av.open(str(tmp_path / "own.mp4")) as media:
        mine = payload(media.demux(video=0))
    with av.open(str(tmp_path / "a.mp4"), format="mov", options={"enable_drefs": "1"}) as media:
        assert payload(media.demux(video=0)) == bytes(byte ^ 0x55 for byte in mine)  # libav follows where it may
    with open_media(tmp_path / "a.mp4", "mov", Limits()) as (media, stream):
        assert payload(packets(media, stream)) == b""
    assert fetched(tmp_path, "a.mp4").kind == "corrupt"


def payload(found: Iterable[av.Packet]) -> bytes:
    return b"".join(bytes(packet) for packet in found)


def test_metadata_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", Spec(frames=12))
    data = bytearray(file.read_bytes())
    at = data.index(b"VideoHandler")
    data[at : at + 2] = b"\xff\xfe"
    file.write_bytes(data)
    assert probe(file, Limits()).packets == 12


def test_local_sources_are_plain_files_below_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "manifest"
    folder.mkdir()
    write(tmp_path / "secret.mp4", Spec(frames=3))
    os.mkfifo(folder / "pipe.mp4")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "zero.mp4").symlink_to("/dev/zero")
    (folder / "folder.mp4").mkdir()
    kinds = {name: fetched(folder, name).kind for name in ("pipe.mp4", "link.mp4", "zero.mp4", "folder.mp4", "none")}
    assert kinds == {
        "pipe.mp4": "unsupported",
        "link.mp4": "not_allowed",
        "zero.mp4": "not_allowed",
        "folder.mp4": "unsupported",
        "none": "gone.missing",
    }


@pytest.mark.skipif(not SEALED, reason="seccomp filters are for Linux on x86-64 and aarch64")
def test_fetched_files_are_looked_at_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken_over(path: Path, limits: Limits) -> Probe:
        raise Rejected("corrupt", str(tried(connect)))

    monkeypatch.setattr("collection.fetch.stage.probe", taken_over)
    write(tmp_path / "a.mp4", Spec(frames=3))
    assert fetched(tmp_path, "a.mp4").detail.startswith("PermissionError")


@pytest.mark.parametrize("change", dict.fromkeys(CHANGES), ids=lambda change: change.__name__)
@pytest.mark.parametrize("data", [b"", b"\0", b"\x1aE\xdf\xa3", b"\0\0\0\x08moov" * 3, bytes(5000)])
def test_changes_work_on_anything(change: Change, data: bytes) -> None:
    for seed in range(20):
        change(bytearray(data), b"other", random.Random(seed))


def test_mutants_are_the_same_for_the_same_seed() -> None:
    data = (CLIPS / "tractor_pan_10s_512x288_vp9.webm").read_bytes()[:20_000]
    made = [mutate(data, data[::-1], seed) for seed in range(40)]
    assert made == [mutate(data, data[::-1], seed) for seed in range(40)]
    assert len({mutant.data for mutant in made}) > 35


@pytest.mark.slow
def test_a_small_fuzz_run_ends_every_item_with_a_kind() -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz", "--count", "60", "--seed", "7"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    items = re.findall(r"^\| (\w+) \| (\w+) \| ([\w.]*) \| (\d+) \|$", ran.stdout, re.MULTILINE)
    assert sum(int(count) for stage, *_, count in items if stage == "fetch") == 60
    assert {status for _, status, *_ in items} == {"done", "rejected"}, ran.stdout
    peaks = dict(re.findall(r"memory of (a worker|the driver) (\d+) MiB", ran.stdout))
    assert 0 < int(peaks["a worker"]) < 1500
    assert 0 < int(peaks["the driver"]) < 500
    assert "processes left over 0" in ran.stdout
    assert "files left over 0, and 0 unfinished" in ran.stdout
