"""HLS and DASH from a loopback site: every frame of the whole and of a span at its exact time, or a typed refusal.

Playlists and fragments are made by libav's muxers; what is encrypted here is so by another library than ours.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from collection.engine.stage import FAILED, REJECTED, Outcome, Rejected, Retry, attempt
from collection.fetch.fragments import Key, Place, of_manifest, of_playlist
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END
from tests.collection.fetch.test_stage import fetched, pictures, server, source, stage, watch, work
from tests.collection.fetch.test_youtube import YouTube, fetch, youtube
from tests.media_server import MediaServer, Page
from tests.synthetic import Spec, counted, read_counter, write

pytestmark = pytest.mark.slow

__all__ = ["server", "work", "youtube"]

SECONDS, RATE = 12, 25
SAMPLES = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"'
KEY, URL = b"sixteen bytes !!", "https://example.org/v/index.m3u8"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s at 25 fps, a key frame every second, B-frames."""
    options = {"x264-params": "keyint=25:bframes=2:b-adapt=0:scenecut=0:threads=1", "preset": "ultrafast"}
    spec = Spec(frames=SECONDS * RATE, width=128, height=96, options=options)
    return write(tmp_path_factory.mktemp("film") / "film.mp4", spec)


def muxed(film: Path, name: Path, container: str, **options: str) -> Path:
    """The film's packets in another container."""
    name.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(film)) as media, av.open(str(name), "w", format=container, options=options) as out:
        stream = media.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in media.demux(stream):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    return name.parent


HLS = {
    "ts": {},
    "fmp4": {"hls_segment_type": "fmp4"},
    "ranges": {"hls_flags": "single_file"},
    "fmp4 ranges": {"hls_segment_type": "fmp4", "hls_flags": "single_file"},
}


def hls(film: Path, folder: Path, kind: str) -> Path:
    options = {"hls_time": "2", "hls_list_size": "0", "hls_playlist_type": "vod", **HLS[kind]}
    return muxed(film, folder / "index.m3u8", "hls", **options)


def serve(server: MediaServer, folder: Path, change: Callable[[str], str] = str) -> str:
    """Put a folder on the site; the page of a video whose only rendition is the playlist there."""
    for path in folder.iterdir():
        body = change(path.read_text()).encode() if path.suffix == ".m3u8" else path.read_bytes()
        server.pages[f"/hls/{path.name}"] = Page(body)
    form = {"format_id": "h", "protocol": "m3u8_native", "url": server.url("/hls/index.m3u8")}
    return watch(server, formats=[form | {"width": 128, "height": 96, "vcodec": "avc1", "acodec": "none"}])


def check(outcome: Outcome, work: Workspace, film: Path, span: tuple[Fraction, Fraction]) -> None:
    video = fetched(outcome)
    found = pictures(work.path(video.file), video.origin, *span)
    assert found == pictures(film, Fraction(0), *span)
    assert len(found) == (min(span[1], SECONDS) - span[0]) * RATE


WHOLE = (Fraction(0), Fraction(OPEN_END))
SPANS = [WHOLE, (Fraction(5), Fraction(7)), (Fraction(0), Fraction(1)), (Fraction(9), Fraction(OPEN_END))]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("kind", HLS)
def test_hls(
    tmp_path: Path, work: Workspace, server: MediaServer, film: Path, kind: str, span: tuple[Fraction, Fraction]
) -> None:
    page = serve(server, hls(film, tmp_path / "hls", kind))
    check(attempt(stage(tmp_path), source(page, *span), work), work, film, span)
    if span == (5, 7):
        names = {(hit.path, hit.range) for hit in server.hits if not hit.path.endswith("m3u8")}
        assert len(names) <= 6, "the first fragment, those of the span, a header"


def encrypted(folder: Path, vector: bytes | None) -> Callable[[str], str]:
    """Encrypt the segments in a folder; how the playlist changes."""
    for n, path in enumerate(sorted(folder.glob("*.ts"), key=lambda path: int(re.sub(r"\D", "", path.stem) or 0))):
        padder = PKCS7(128).padder()
        cipher = Cipher(algorithms.AES(KEY), modes.CBC(vector or n.to_bytes(16, "big"))).encryptor()
        path.write_bytes(cipher.update(padder.update(path.read_bytes()) + padder.finalize()) + cipher.finalize())
    (folder / "key").write_bytes(KEY)
    said = f",IV=0x{vector.hex()}" if vector else ""
    return lambda text: text.replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="key"{said}\n#EXTINF', 1)


@pytest.mark.parametrize("vector", [None, b"another sixteen!"])
@pytest.mark.parametrize("span", SPANS[:2])
def test_encrypted_hls(
    tmp_path: Path, work: Workspace, server: MediaServer, film: Path, vector: bytes | None, span: Any
) -> None:
    folder = hls(film, tmp_path / "hls", "ts")
    page = serve(server, folder, encrypted(folder, vector))
    check(attempt(stage(tmp_path), source(page, *span), work), work, film, span)
    assert server.count("/hls/key") == 1


def test_announced_lengths_are_not_believed(tmp_path: Path, work: Workspace, server: MediaServer, film: Path) -> None:
    for n, wrong in enumerate(("1.0", "3.5")):
        folder = hls(film, tmp_path / f"hls{n}", "ts")
        page = serve(server, folder, lambda text, wrong=wrong: re.sub(r"#EXTINF:[\d.]+", f"#EXTINF:{wrong}", text))
        span = (Fraction(7), Fraction(9))
        check(attempt(stage(tmp_path), source(page, *span, name=f"s{n}"), work), work, film, span)


def test_a_missing_fragment(tmp_path: Path, work: Workspace, server: MediaServer, film: Path) -> None:
    page = serve(server, hls(film, tmp_path / "hls", "ts"))
    server.pages["/hls/index4.ts"] = Page(status=404)
    outcome = attempt(stage(tmp_path), source(page), work)
    assert (outcome.status, outcome.kind) == (FAILED, "network.truncated")
    assert "fragment 5 of 6 is missing" in outcome.detail
    span = (Fraction(3), Fraction(5))
    check(attempt(stage(tmp_path), source(page, *span, name="s2"), work), work, film, span)


def test_a_fragment_that_breaks_off_is_asked_for_again(
    tmp_path: Path, work: Workspace, server: MediaServer, film: Path
) -> None:
    page = serve(server, hls(film, tmp_path / "hls", "ts"))
    body = server.pages["/hls/index2.ts"].body
    server.pages["/hls/index2.ts"] = Page(body, status=503, failures=2)
    check(attempt(stage(tmp_path), source(page), work), work, film, WHOLE)
    server.pages["/hls/index2.ts"] = Page(body, cut=len(body) // 2)
    outcome = attempt(stage(tmp_path), source(page, name="s2"), work)
    assert (outcome.status, outcome.kind) == (FAILED, "network.truncated")


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        (lambda text: text.replace("#EXT-X-ENDLIST", ""), REJECTED, "gone.live"),
        (lambda text: text.replace("#EXTINF", "#EXT-X-GAP\n#EXTINF", 3), FAILED, "network.truncated"),
        (
            lambda text: text.replace("#EXTINF", '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF', 1),
            REJECTED,
            "gone.drm",
        ),
        (lambda text: text.replace("index0.ts", "file:///etc/passwd"), REJECTED, "unsupported"),
        (lambda text: "<html>" + text, FAILED, "unknown.page"),
    ],
)
def test_playlists_that_are_refused(
    tmp_path: Path, work: Workspace, server: MediaServer, film: Path, change: Any, status: str, kind: str
) -> None:
    outcome = attempt(stage(tmp_path), source(serve(server, hls(film, tmp_path / "hls", "ts"), change)), work)
    assert (outcome.status, outcome.kind) == (status, kind)


def counters(path: Path) -> list[int]:
    with av.open(str(path)) as media:
        return [read_counter(frame.to_ndarray()[: frame.height]) for frame in media.decode(video=0)]


def test_a_discontinuity(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    later = lambda frame, height, width: counted(frame + 1000, height, width)  # noqa: E731
    server.pages["/hls/a.ts"] = Page(write(tmp_path / "a.ts", Spec(frames=100)).read_bytes())
    server.pages["/hls/b.ts"] = Page(write(tmp_path / "b.ts", Spec(frames=50, first=9000), later).read_bytes())
    (tmp_path / "hls").mkdir()
    (tmp_path / "hls" / "index.m3u8").write_text(
        "#EXTM3U\n#EXTINF:4,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\nb.ts\n#EXT-X-ENDLIST\n"
    )
    page = serve(server, tmp_path / "hls")
    video = fetched(attempt(stage(tmp_path), source(page), work))
    assert counters(work.path(video.file)) == [*range(100), *range(1000, 1050)]
    video = fetched(attempt(stage(tmp_path), source(page, 1, 3, name="s2"), work))
    assert counters(work.path(video.file)) == [*range(100)]
    outcome = attempt(stage(tmp_path), source(page, 3, 5, name="s3"), work)
    assert (outcome.status, outcome.kind) == (REJECTED, "discontinuity")
    assert "fragment 2 of 2, at about 4.0 s" in outcome.detail


def test_headers_that_change_cannot_be_joined(
    tmp_path: Path, work: Workspace, server: MediaServer, film: Path
) -> None:
    folder = hls(film, tmp_path / "hls", "fmp4")
    (header,) = folder.glob("init*")
    (folder / "other.mp4").write_bytes(header.read_bytes())
    again = '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="other.mp4"\n\\1'
    page = serve(server, folder, lambda text: re.sub(r"(#EXTINF:[^\n]*\nindex4)", again, text))
    outcome = attempt(stage(tmp_path), source(page), work)
    assert (outcome.status, outcome.kind) == (REJECTED, "discontinuity")
    span = (Fraction(3), Fraction(7))
    check(attempt(stage(tmp_path), source(page, *span, name="s2"), work), work, film, span)


def test_a_playlist_and_fragments_have_a_limit(
    tmp_path: Path, work: Workspace, server: MediaServer, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = serve(server, hls(film, tmp_path / "hls", "ts"))
    for n, name in enumerate(("FRAGMENT_BYTES", "PLAYLIST_BYTES")):
        monkeypatch.setattr(f"collection.fetch.stage.{name}", 100)
        outcome = attempt(stage(tmp_path), source(page, name=f"s{n}"), work)
        assert (outcome.status, outcome.kind) == (REJECTED, "too_large")
    assert server.count("/hls/index0.ts") == 1


def test_whole_files_come_before_fragments(tmp_path: Path, work: Workspace, server: MediaServer, film: Path) -> None:
    serve(server, hls(film, tmp_path / "hls", "ts"))
    server.pages["/media/w.mp4"] = Page(film.read_bytes())
    both = {"vcodec": "avc1", "acodec": "none"}
    parts = {"format_id": "h", "protocol": "m3u8_native", "url": server.url("/hls/index.m3u8"), **both}
    whole = {"format_id": "w", "url": server.url("/media/w.mp4"), "width": 256, "height": 192, **both}
    page = watch(server, formats=[parts | {"width": 128, "height": 96}, whole])
    assert fetched(attempt(stage(tmp_path), source(page), work)).upstream.format_id == "w"
    page = watch(server, formats=[parts | {"width": 512, "height": 384}, whole])
    video = fetched(attempt(stage(tmp_path, short_side=300), source(page), work))
    assert (video.upstream.format_id, video.upstream.protocol) == ("h", "m3u8_native")


@pytest.mark.parametrize("span", SPANS)
def test_dash(tmp_path: Path, work: Workspace, server: MediaServer, film: Path, span: Any) -> None:
    options = {"seg_duration": "2", "use_template": "1", "use_timeline": "0", "single_file": "0"}
    folder = muxed(film, tmp_path / "dash" / "manifest.mpd", "dash", **options)
    chunks = sorted(path.name for path in folder.glob("chunk-*"))
    assert len(chunks) == 6
    for path in folder.iterdir():
        server.pages[f"/dash/{path.name}"] = Page(path.read_bytes())
    (header,) = (path.name for path in folder.glob("init-*"))
    form = {
        "format_id": "d",
        "protocol": "http_dash_segments",
        "url": server.url("/dash/manifest.mpd"),
        "width": 128,
        "height": 96,
        "vcodec": "avc1",
        "acodec": "none",
        "fragment_base_url": server.url("/dash/"),
        "fragments": [{"path": header}, *({"path": name, "duration": 2.0} for name in chunks)],
    }
    page = watch(server, formats=[form])
    check(attempt(stage(tmp_path), source(page, *span), work), work, film, span)


MASTER = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=200000,CODECS="avc1.4d4015",RESOLUTION=128x96,FRAME-RATE=25
{media}
"""


def test_a_video_of_youtube_that_comes_as_hls_alone(
    tmp_path: Path, work: Workspace, server: MediaServer, youtube: YouTube, film: Path
) -> None:
    for path in hls(film, tmp_path / "hls", "ts").iterdir():
        server.pages[f"/videoplayback/itag/230/{path.name}"] = Page(path.read_bytes())
    media = server.url("/videoplayback/itag/230/index.m3u8")
    server.pages["/manifest/index.m3u8"] = Page(MASTER.format(media=media).encode(), "application/x-mpegURL")
    youtube.play()
    youtube.player["streamingData"]["hlsManifestUrl"] = server.url("/manifest/index.m3u8")
    outcome = fetch(work, short_side=96)
    check(outcome, work, film, WHOLE)
    said = outcome.outputs[0].upstream
    assert (said.extractor, said.format_id, said.protocol) == ("youtube", "230", "m3u8_native")


def test_a_manifest_as_yt_dlp_reads_it(tmp_path: Path, work: Workspace, server: MediaServer, film: Path) -> None:
    options = {"seg_duration": "2", "use_template": "1", "use_timeline": "1"}
    for path in muxed(film, tmp_path / "dash" / "manifest.mpd", "dash", **options).iterdir():
        server.pages[f"/dash/{path.name}"] = Page(path.read_bytes())
    span = (Fraction(5), Fraction(7))
    check(
        attempt(stage(tmp_path), source(watch(server, mpd=server.url("/dash/manifest.mpd")), *span), work),
        work,
        film,
        span,
    )
    assert len({hit.path for hit in server.hits}) <= 7, "page, manifest, header, first fragment and those of the span"


def test_what_a_playlist_says() -> None:
    fragments = of_playlist(
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n"
        '#EXT-X-MAP:URI="init.mp4",BYTERANGE="100@20"\n#EXTINF:2.002,\n#EXT-X-BYTERANGE:50@120\na.mp4\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="../k?x=1,2"\n#EXTINF:2,title\n#EXT-X-BYTERANGE:60\na.mp4\n'
        "#EXT-X-KEY:METHOD=NONE\n#EXT-X-DISCONTINUITY\n#EXTINF:1\nhttps://cdn.example.org/b.mp4?s=1\n#EXT-X-ENDLIST\n",
        URL,
    )
    base = "https://example.org/v/"
    assert [one.place for one in fragments] == [
        Place(base + "a.mp4", 120, 170),
        Place(base + "a.mp4", 170, 230),
        Place("https://cdn.example.org/b.mp4?s=1", 0, 0),
    ]
    assert {one.header for one in fragments} == {Place(base + "init.mp4", 20, 120)}
    assert [one.key for one in fragments] == [None, Key("https://example.org/k?x=1,2", (8).to_bytes(16, "big")), None]
    assert [one.seconds for one in fragments] == [Fraction(1001, 500), 2, 1]
    assert [one.anew for one in fragments] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "unknown.page"),
        ("#EXTM3U\n#EXT-X-ENDLIST\n", "unknown.page"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "unsupported"),
        ("#EXTM3U\n#EXTINF:1\n#EXT-X-BYTERANGE:x\na\n#EXT-X-ENDLIST\n", "unknown.page"),
        ('#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k",IV=12\na\n#EXT-X-ENDLIST\n', "unknown.page"),
        ('#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMAT="com.widevine"\na\n#EXT-X-ENDLIST\n', "gone.drm"),
        ('#EXTM3U\n#EXT-X-MAP:URI="data:,x"\na\n#EXT-X-ENDLIST\n', "unsupported"),
    ],
)
def test_playlists_that_say_nothing_usable(text: str, kind: str) -> None:
    with pytest.raises((Rejected, Retry)) as refused:
        of_playlist(text, URL)
    assert refused.value.kind == kind


def test_a_manifest_of_several_periods() -> None:
    parts: list[dict[str, Any]] = [{"path": "i1"}, {"path": "a", "duration": 2}, {"url": "https://x.org/i2"}]
    found = of_manifest([*parts, {"path": "b", "duration": 2.5}], "https://x.org/d/")
    assert [(one.place.url, one.seconds, one.anew) for one in found] == [
        ("https://x.org/d/a", 2, False),
        ("https://x.org/d/b", Fraction(5, 2), True),
    ]
