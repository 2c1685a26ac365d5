"""Fetching over real connections: yt-dlp and PyAV against a loopback server that serves real and generated files."""

import json
import multiprocessing
import os
import pickle
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yt_dlp.globals
from yt_dlp.extractor import import_extractors
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError

from collection.engine.stage import DONE, FAILED, REJECTED, Outcome, attempt
from collection.fetch import reach
from collection.fetch.stage import FetchStage
from collection.fetch.transfer import HEAD, LARGEST
from collection.fetch.ytdlp import Access, Client, ConfigurationError, choose
from collection.politeness.budget import Budget, Patience, Politeness
from collection.recipe import FetchSettings, Limits
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END, Source, Video, decode, encode
from tests.media_server import MediaServer, Page, serving
from tests.synthetic import Spec, write

pytestmark = pytest.mark.slow

CLIPS = Path(__file__).parents[3] / "manifests/demo/clips"
FAST = Budget(requests_per_minute=60000, burst=1000, spacing=0.0)
HASTY = Patience(attempts=4, base=0.01, longest=0.05, silence=1.0)


class LoopbackIE(InfoExtractor):
    """A video site on the loopback server: its pages are JSON, its refusals YouTube's sentences."""

    IE_NAME = "loopback"
    _VALID_URL = r"http://127\.0\.0\.1:\d+/watch/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        page = self._download_json(url, self._match_id(url))
        for warning in page.pop("warnings", ()):
            self.report_warning(warning)
        for hint in page.pop("hints", ()):
            self.write_debug(hint)
        if "mpd" in page:
            page["formats"] = self._extract_mpd_formats(page.pop("mpd"), "v")
        if "error" in page:
            raise ExtractorError(page["error"], expected=True, video_id=self._match_id(url))
        return {"id": self._match_id(url), "title": "A\n title\ud800\x1b\u202e", **page}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MediaServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    import_extractors()
    monkeypatch.setitem(yt_dlp.globals.extractors.value, "LoopbackIE", LoopbackIE)
    with serving() as media:
        yield media


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work", "fetch-0000")


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """40 s of noise at 25 fps, key frame every second, B-frames: several MB."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.options = {"x264-params": "keyint=25:bframes=2:b-adapt=0:scenecut=0:threads=1", "preset": "ultrafast"}
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(7)]
        for i in range(40 * 25):
            frame = av.VideoFrame.from_ndarray(noise[i % 7], format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path.read_bytes()


def source(url: str, start: Fraction | int = 0, end: Fraction | int = OPEN_END, name: str = "s1") -> Source:
    return Source(name, url, Fraction(start), Fraction(end), "CC0-1.0", "t", "c", "g", "test")


def stage(tmp_path: Path, access: Access | None = None, **settings: Any) -> FetchStage:
    recipe = FetchSettings(
        **{"extractors": ("loopback",), "http": True, "private": True, "local": True, "short_side": 96, **settings}
    )
    return FetchStage(recipe, str(tmp_path), access or Access(budget=FAST, patience=HASTY))


def fetched(outcome: Outcome) -> Video:
    assert (outcome.status, outcome.kind, outcome.detail) == (DONE, "", "")
    (video,) = outcome.outputs
    assert decode(Video, json.loads(json.dumps(encode(video)))) == video
    return video


def pictures(path: Path, origin: Fraction, start: Fraction, end: Fraction) -> dict[Fraction, bytes]:
    """Decoded luma by time on the source's clock."""
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        times = [(f.pts * stream.time_base - origin, bytes(f.to_ndarray()[:96])) for f in media.decode(stream)]
    return {time: luma for time, luma in times if start <= time < end}


def rendition(server: MediaServer, height: int, body: bytes, **more: Any) -> dict[str, Any]:
    """A format as an extractor gives it, and the file it points to."""
    name = more.setdefault("format_id", f"{height}p")
    server.pages[f"/media/{name}.mp4"] = Page(body, **more.pop("page", {}))
    url = server.url(f"/media/{name}.mp4?signature=sEcReT&ip=192.0.2.7")
    return {"url": url, "ext": "mp4", "width": height * 16 // 9, "height": height, "vcodec": "avc1.42c01e"} | {
        "acodec": "none",
        **more,
    }


def watch(server: MediaServer, **page: Any) -> str:
    server.pages["/watch/abc"] = Page(json.dumps(page).encode(), kind="application/json")
    return server.url("/watch/abc")


# local files


def test_local_file_is_linked_not_copied(tmp_path: Path, work: Workspace) -> None:
    clip = CLIPS / "rabbit_orbit_8s_320x240.mp4"
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "rabbit.mp4").write_bytes(clip.read_bytes())
    video = fetched(attempt(stage(tmp_path), source("clips/rabbit.mp4"), work))
    stored = work.path(video.file)
    assert stored.stat().st_ino == (tmp_path / "clips/rabbit.mp4").stat().st_ino
    assert video.size == clip.stat().st_size
    assert video.upstream.extractor == "file"
    assert video.origin == video.probe.first_pts * video.probe.time_base
    assert video.probe.packets == 234


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("absent.mp4", "gone.missing"),
        ("../up.mp4", "not_allowed"),
        ("/etc/passwd", "not_allowed"),
        (".", "unsupported"),
        ("n" * 300 + ".mp4", "unsupported"),
        ("f" * 300 + "/a.mp4", "unsupported"),
    ],
)
def test_local_refusals(tmp_path: Path, work: Workspace, url: str, kind: str) -> None:
    outcome = attempt(stage(tmp_path), source(url), work)
    assert (outcome.status, outcome.kind) == (REJECTED, kind)


def test_a_file_that_may_not_be_read_is_the_users_to_mend() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder / "a.mp4", Spec(frames=3)).chmod(0)
        one, work = stage(folder), Workspace(folder / "work", "fetch-0000")
        if os.geteuid() == 0:
            (folder / "work").mkdir()
            (folder / "work").chmod(0o777)
            os.seteuid(65534)
        try:
            outcome = attempt(one, source("a.mp4"), work)
        finally:
            os.seteuid(os.getuid())
    assert (outcome.status, outcome.kind) == (FAILED, "unreadable")
    assert outcome.detail == "'a.mp4' beside the manifest cannot be read: Permission denied"


def test_recipe_must_allow_each_kind_of_source(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    closed = stage(tmp_path, local=False, http=False, extractors=("youtube",))
    for url in ("a.mp4", server.url("/a.mp4"), server.url("/watch/abc")):
        assert attempt(closed, source(url), work).kind == "not_allowed"
    assert not server.hits


def test_file_that_is_no_video(tmp_path: Path, work: Workspace) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    outcome = attempt(stage(tmp_path), source("list.mp4"), work)
    assert outcome.status == REJECTED
    assert not list(work.root.rglob("*.*"))


# plain http


def test_whole_file_over_http(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    server.pages["/a.mp4"] = Page(body)
    video = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4")), work))
    assert work.path(video.file).read_bytes() == body
    assert (video.upstream.extractor, video.upstream.protocol) == ("http", "http")
    assert [p.name for p in work.path(video.file).parent.iterdir()] == [Path(video.file).name]
    assert server.sent == len(body)


@pytest.mark.parametrize("page", [{"ranges": False}, {"failures": 2, "status": 503}, {"cut": 300_000}])
def test_whole_file_from_a_poor_server(tmp_path: Path, work: Workspace, server: MediaServer, page: Any) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    server.pages["/a.mp4"] = Page(body, **page)
    video = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4")), work))
    assert work.path(video.file).read_bytes() == body


def test_resume_does_not_fetch_bytes_twice(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    server.pages["/a.mp4"] = Page(body, cut=300_000)
    fetched(attempt(stage(tmp_path), source(server.url("/a.mp4")), work))
    assert server.sent <= len(body) + 3 * LARGEST


def test_redirect_is_followed_and_counted(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    body = (CLIPS / "flower_timelapse_5s_960x540.mp4").read_bytes()[:]
    server.pages |= {"/b.mp4": Page(body), "/a.mp4": Page(location="/b.mp4")}
    fetched(attempt(stage(tmp_path), source(server.url("/a.mp4")), work))
    assert requests_counted(work) == len(server.hits)


@pytest.mark.parametrize(
    ("page", "status", "kind", "asked"),
    [
        (Page(status=404), REJECTED, "gone.missing", 1),
        (Page(status=410), REJECTED, "gone.missing", 1),
        (Page(status=403), FAILED, "blocked.forbidden", 1),
        (Page(status=429, retry_after="0"), FAILED, "blocked.rate", 3),
        (Page(status=429, retry_after="999"), FAILED, "blocked.rate", 1),
        (Page(status=500), FAILED, "network.http5xx", 4),
        (Page(status=503), FAILED, "network.http5xx", 4),
        (Page(b"", status=0), REJECTED, "corrupt", 2),
        (Page(b"<html>Sign in</html>", kind="text/html"), FAILED, "unknown.page", 1),
        (Page(b"", kind="text/html"), FAILED, "unknown.page", 2),
        (Page(b"#EXTM3U\nfile:///etc/passwd", kind="application/x-mpegURL"), REJECTED, "unsupported", 1),
        (Page(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", kind="video/mp4"), REJECTED, "not_media", 1),
        (Page(b"<html>not a video</html>" * 99, kind="video/mp4"), REJECTED, "not_media", 1),
        (Page(b"\0" * 4000, stall=100), FAILED, "network.timeout", 4),
        (Page(b"ftyp" * 9000, cut=0), FAILED, "network.", 4),
    ],
)
def test_typed_outcomes(
    tmp_path: Path, work: Workspace, server: MediaServer, page: Page, status: str, kind: str, asked: int
) -> None:
    server.pages["/a.mp4"] = page
    quick = Access(budget=FAST, patience=replace(HASTY, silence=0.2))
    outcome = attempt(stage(tmp_path, quick), source(server.url("/a.mp4?token=sEcReT")), work)
    assert outcome.status == status
    assert outcome.kind.startswith(kind)
    assert "sEcReT" not in outcome.detail
    assert server.count("/a.mp4") == asked
    assert not [p for p in work.root.rglob("*") if p.is_file() and "politeness" not in p.parts]


@pytest.mark.parametrize("length", ["many", "-5", "9" * 5000])
def test_a_length_that_is_none_is_not_believed(
    tmp_path: Path, work: Workspace, server: MediaServer, length: str
) -> None:
    body = (CLIPS / "flower_timelapse_5s_960x540.mp4").read_bytes()
    server.pages["/a.mp4"] = Page(body, ranges=False, length=length)
    video = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4")), work))
    assert work.path(video.file).read_bytes() == body


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("span", [(0, OPEN_END), (7, 9)])
def test_a_server_that_compresses_although_it_was_asked_not_to(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes, ranges: bool, span: Any
) -> None:
    padded = long_video + bytes(8) * 100_000  # compresses to less than the video alone
    server.pages |= {"/a.mp4": Page(padded, gzip=True, ranges=ranges), "/b.mp4": Page(padded)}
    video = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4"), *span), work))
    truth = fetched(attempt(stage(tmp_path), source(server.url("/b.mp4"), *span), work))
    assert (video.sha256, video.probe) == (truth.sha256, truth.probe)
    assert video.upstream.size == len(padded)


def media_in(folder: Path, name: str) -> bytes:
    return write(folder / name, Spec(codec="libvpx" if name.endswith("webm") else "libx264", frames=30)).read_bytes()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_ends_early_without_an_announced_length(
    tmp_path: Path, work: Workspace, server: MediaServer, name: str, compressed: bool
) -> None:
    body = media_in(tmp_path, name)
    whole = Page(body, ranges=False, length="none", gzip=compressed)
    server.pages |= {"/whole": whole, "/cut": replace(whole, cut=len(body) * 2 // 3)}
    video = fetched(attempt(stage(tmp_path), source(server.url("/whole")), work))
    assert work.path(video.file).read_bytes() == body
    outcome = attempt(stage(tmp_path), source(server.url("/cut"), name="s2"), work)
    assert (outcome.status, outcome.kind) == (FAILED, "network.truncated")


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        ({"tags": ('"a"', '"b"', '"c"', '"d"', '"e"', '"f"')}, 3),
        ({"to_range": 501}, 3),
        ({"to_range": 416}, 3),
        ({"to_beyond": 416}, 2),
    ],
)
@pytest.mark.parametrize("span", [(0, OPEN_END), (7, 9)])
def test_a_plain_request_where_ranges_fail(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes, page: Any, asked: int, span: Any
) -> None:
    server.pages |= {"/a.mp4": Page(long_video, **page), "/b.mp4": Page(long_video)}
    video = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4"), *span), work))
    truth = fetched(attempt(stage(tmp_path), source(server.url("/b.mp4"), *span), work))
    assert video.sha256 == truth.sha256
    assert server.count("/a.mp4") <= asked


def test_a_range_that_ends_beyond_a_small_file(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    body = media_in(tmp_path, "small.mp4")
    assert len(body) < HEAD
    server.pages["/a.mp4"] = Page(body, to_beyond=416)
    video = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4")), work))
    assert work.path(video.file).read_bytes() == body


@pytest.mark.parametrize(
    ("tags", "modified"),
    [(('W/"a"', 'W/"b"'), "Thu, 01 Jan 2026 00:00:00 GMT"), (('"a"', 'W/"a"'), ""), (("", '"a"'), "x"), ((), "")],
)
def test_weak_tags_are_no_change(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes, tags: tuple[str, ...], modified: str
) -> None:
    server.pages["/a.mp4"] = Page(long_video, tags=tags * 9, modified=modified)
    fetched(attempt(stage(tmp_path), source(server.url("/a.mp4"), 20, 22), work))
    assert server.sent < len(long_video) / 3


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/json", "application/x-mpegURL", ""])
def test_bytes_are_believed_not_the_header(tmp_path: Path, work: Workspace, server: MediaServer, kind: str) -> None:
    body = media_in(tmp_path, "m.mp4")
    server.pages |= {"/a": Page(body, kind=kind), "/b": Page(body, kind=kind, ranges=False)}
    for name in ("a", "b"):
        video = fetched(attempt(stage(tmp_path), source(server.url(f"/{name}"), name=name), work))
        assert work.path(video.file).read_bytes() == body


def test_nobody_listening(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    outcome = attempt(stage(tmp_path), source("http://127.0.0.1:9/a.mp4"), work)
    assert (outcome.status, outcome.kind) == (FAILED, "network.refused")


def test_file_that_stays_truncated(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    server.pages["/a.mp4"] = Page(body, cut=300_000, ranges=False)
    outcome = attempt(stage(tmp_path), source(server.url("/a.mp4")), work)
    assert (outcome.status, outcome.kind) == (FAILED, "network.truncated")


def test_size_limit_stops_before_the_body(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes
) -> None:
    server.pages["/a.mp4"] = Page(long_video)
    small = Limits(bytes=len(long_video) - 1)
    outcome = attempt(stage(tmp_path, limits=small), source(server.url("/a.mp4")), work)
    assert (outcome.status, outcome.kind) == (REJECTED, "too_large")
    assert server.sent < 2 << 20


@pytest.mark.slow
def test_deadline_of_a_trickling_server(
    tmp_path: Path, work: Workspace, server: MediaServer, monkeypatch: Any
) -> None:
    server.pages["/a.mp4"] = Page((CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes(), rate=4000)
    monkeypatch.setattr(FetchStage, "needs", replace(FetchStage.needs, seconds=61.5))
    began = time.monotonic()
    outcome = attempt(stage(tmp_path), source(server.url("/a.mp4")), work)
    assert (outcome.status, outcome.kind) == (FAILED, "network.deadline")
    assert time.monotonic() - began < 15


# the own network


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_the_own_machine_is_not_asked(tmp_path: Path, work: Workspace, server: MediaServer, host: str) -> None:
    server.pages["/a.mp4"] = Page(b"secret")
    outcome = attempt(stage(tmp_path, private=False), source(f"http://{host}:{server.port}/a.mp4"), work)
    assert (outcome.status, outcome.kind) == (REJECTED, "not_allowed")
    assert "private = true in [fetch]" in outcome.detail
    assert not server.hits


def test_a_site_that_names_a_place_inside_is_not_followed(
    tmp_path: Path, work: Workspace, server: MediaServer
) -> None:
    outcome = attempt(stage(tmp_path, private=False), source(watch(server, formats=[])), work)
    assert (outcome.status, outcome.kind) == (REJECTED, "not_allowed")
    assert not server.hits


def test_a_redirect_into_the_own_network_is_not_followed(
    tmp_path: Path, work: Workspace, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "inside", lambda address: address != "127.0.0.1")
    body = media_in(tmp_path, "m.mp4")
    server.pages |= {"/ok": Page(body), "/to-ok": Page(location="/ok")}
    server.pages |= {"/to-in": Page(location=f"http://127.0.0.2:{server.port}/ok"), "/far": Page(location="/to-in")}
    fetched(attempt(stage(tmp_path, private=False), source(server.url("/to-ok")), work))
    outcome = attempt(stage(tmp_path, private=False), source(server.url("/far"), name="s2"), work)
    assert (outcome.status, outcome.kind) == (REJECTED, "not_allowed")
    assert "127.0.0.2" in outcome.detail


def test_the_connection_goes_to_the_address_that_was_judged(
    tmp_path: Path, work: Workspace, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", server.port))]])
    asked, gone = [], socket.socket.connect

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        return next(answers, [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))])

    def connect(wire: socket.socket, place: Any) -> None:
        asked.append(place[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    once = Access(budget=FAST, patience=replace(HASTY, attempts=1))
    outcome = attempt(stage(tmp_path, once, private=False), source(f"http://rebind.test:{server.port}/a"), work)
    monkeypatch.setattr(socket.socket, "connect", gone)
    assert (outcome.status, outcome.kind) == (FAILED, "network.refused")
    assert asked == ["rebind.test", "93.184.216.34"]


def test_behind_a_proxy_what_a_url_itself_says_is_judged(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    proxied = Access(budget=FAST, patience=HASTY, proxy=server.url("/"))
    outcome = attempt(stage(tmp_path, proxied, private=False), source("http://169.254.169.254/latest/meta-data"), work)
    assert (outcome.status, outcome.kind) == (REJECTED, "not_allowed")
    assert not server.hits


def test_settings_of_earlier_fetches_are_the_same(tmp_path: Path) -> None:
    assert "private" not in stage(tmp_path, private=False).settings()
    assert stage(tmp_path, private=True).settings()["private"] is True


# spans


@pytest.mark.parametrize(
    "span", [(20, 22), (0, 2), (Fraction(39), OPEN_END), (Fraction(1001, 300), Fraction(20017, 5000))]
)
def test_span_takes_part_of_the_file_and_every_frame(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes, span: Any
) -> None:
    server.pages["/a.mp4"] = Page(long_video)
    video = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4"), *span), work))
    (tmp_path / "all.mp4").write_bytes(long_video)
    truth = pictures(tmp_path / "all.mp4", Fraction(0), *span)
    assert pictures(work.path(video.file), video.origin, *span) == truth
    assert len(truth) == (min(span[1], 40) - Fraction(span[0])) // Fraction(1, 25) + (span[0] == Fraction(1001, 300))
    assert server.sent < len(long_video) / 3
    assert len(server.hits) <= 3


def test_span_is_the_same_bytes_without_ranges(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes
) -> None:
    server.pages |= {"/a.mp4": Page(long_video), "/b.mp4": Page(long_video, ranges=False)}
    parts = fetched(attempt(stage(tmp_path), source(server.url("/a.mp4"), 7, 9), work))
    whole = fetched(attempt(stage(tmp_path), source(server.url("/b.mp4"), 7, 9), work))
    assert (parts.sha256, parts.origin, parts.probe) == (whole.sha256, whole.origin, whole.probe)
    assert server.sent > len(long_video)


def test_span_behind_the_end(tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes) -> None:
    server.pages |= {"/a.mp4": Page(long_video), "/b.mp4": Page(long_video, ranges=False)}
    (tmp_path / "c.mp4").write_bytes(long_video)
    for url in (server.url("/a.mp4"), server.url("/b.mp4"), "c.mp4"):
        outcome = attempt(stage(tmp_path), source(url, 41, 43), work)
        assert (outcome.status, outcome.kind) == (REJECTED, "span")


# sites, through yt-dlp


def test_smallest_sufficient_rendition_is_taken(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    formats = [rendition(server, h, body) for h in (1080, 144, 480, 240, 720, 360)]
    page = watch(
        server, formats=formats, duration=8, license="CC BY", channel="C", channel_id="UC1", upload_date="20200101"
    )
    video = fetched(attempt(stage(tmp_path, short_side=256), source(page), work))
    assert video.upstream.format_id == "360p"
    assert {h.path for h in server.hits} == {"/watch/abc", "/media/360p.mp4"}
    assert video.upstream == replace(
        video.upstream, extractor="loopback", protocol="http", title="A title", channel="C", licence="CC BY"
    )
    assert "sEcReT" not in json.dumps(encode(video))
    assert requests_counted(work) == len(server.hits)


def test_a_site_that_states_another_licence_than_the_manifest(
    tmp_path: Path, work: Workspace, server: MediaServer
) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    page = watch(server, formats=[rendition(server, 240, body)], duration=8, license="All rights reserved")
    wanted = replace(source(page), licence="CC-BY-4.0")
    outcome = attempt(stage(tmp_path, licences=("CC-BY-4.0",)), wanted, work)
    assert (outcome.status, outcome.kind) == (REJECTED, "licence.conflict")
    assert not any(hit.path.startswith("/media") for hit in server.hits)


def test_span_through_a_site(tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes) -> None:
    formats = [rendition(server, 96, long_video, downloader_options={"http_chunk_size": 1 << 20})]
    video = fetched(attempt(stage(tmp_path), source(watch(server, formats=formats, duration=40), 10, 12), work))
    assert server.sent < len(long_video) / 3
    assert len(pictures(work.path(video.file), video.origin, Fraction(10), Fraction(12))) == 50


NO_POT = "web client https formats require a GVS PO Token which was not provided"
SABR = "Some web client https formats have been skipped as they are missing a URL. YouTube is forcing SABR streaming"


def test_chunks_are_asked_for_one_by_one(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes
) -> None:
    formats = [rendition(server, 96, long_video, downloader_options={"http_chunk_size": 1 << 20})]
    video = fetched(attempt(stage(tmp_path), source(watch(server, formats=formats, duration=40)), work))
    assert work.path(video.file).read_bytes() == long_video
    lengths = [int(b) - int(a) + 1 for a, b in (h.range[6:].split("-") for h in server.hits if h.range)]
    assert max(lengths) == 1 << 20


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ("Private video. Sign in if you've been granted access to this video", REJECTED, "gone.private"),
        ("Sign in to confirm you\u2019re not a bot. This helps protect our community", FAILED, "blocked.bot"),
        ("Video unavailable. This video has been removed by the uploader", REJECTED, "gone.deleted"),
        ("Something YouTube never said before", FAILED, "unknown"),
    ],
)
def test_refusals_of_a_site(
    tmp_path: Path, work: Workspace, server: MediaServer, error: str, status: str, kind: str
) -> None:
    outcome = attempt(stage(tmp_path), source(watch(server, error=error)), work)
    assert (outcome.status, outcome.kind) == (status, kind)
    assert error.split(".", maxsplit=1)[0].replace("\u2019", "") in outcome.detail.replace("\u2019", "")


@pytest.mark.parametrize(
    ("page", "status", "kind"),
    [
        ({"formats": []}, FAILED, "blocked.formats"),
        ({"formats": "audio"}, FAILED, "blocked.formats"),
        ({"formats": "small"}, REJECTED, "no_format"),
        (
            {"formats": "small", "warnings": ["n challenge solving failed: Some formats may be missing"]},
            FAILED,
            "blocked.",
        ),
        ({"formats": "small", "hints": [NO_POT]}, REJECTED, "no_format"),
        ({"formats": "muxed", "hints": [NO_POT]}, FAILED, "blocked.token"),
        ({"formats": [], "hints": [NO_POT]}, FAILED, "blocked.token"),
        ({"formats": [], "warnings": [SABR]}, FAILED, "blocked.sabr"),
        ({"formats": "good", "live_status": "is_live"}, REJECTED, "gone.live"),
        ({"formats": "good", "live_status": "is_upcoming"}, REJECTED, "gone.upcoming"),
        ({"formats": "good", "duration": 99999}, REJECTED, "too_long"),
        ({"_type": "playlist", "entries": []}, REJECTED, "unsupported"),
    ],
)
def test_unusual_answers_of_a_site(
    tmp_path: Path, work: Workspace, server: MediaServer, page: Any, status: str, kind: str
) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    small, good = rendition(server, 64, body), rendition(server, 240, body)
    muxed = {**small, "acodec": "mp4a.40.2"}
    kinds = {"audio": [{**small, "vcodec": "none"}], "small": [small], "good": [good], "muxed": [muxed]}
    page = {k: kinds[v] if k == "formats" and isinstance(v, str) else v for k, v in page.items()}
    outcome = attempt(stage(tmp_path), source(watch(server, **page)), work)
    assert outcome.status == status
    assert outcome.kind.startswith(kind)


def test_expired_media_link_is_extracted_once_more(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    formats = [rendition(server, 240, body, page={"status": 403, "failures": 1})]
    fetched(attempt(stage(tmp_path), source(watch(server, formats=formats)), work))
    assert server.count("/watch/abc") == 2
    server.clear()
    formats = [rendition(server, 240, body, page={"status": 404})]
    outcome = attempt(stage(tmp_path), source(watch(server, formats=formats), name="s2"), work)
    assert (outcome.status, outcome.kind) == (FAILED, "blocked.forbidden")
    assert server.count("/watch/abc") == 2


def test_link_that_expires_inside_a_span(
    tmp_path: Path, work: Workspace, server: MediaServer, long_video: bytes
) -> None:
    formats = [rendition(server, 96, long_video, page={"status": 403, "after": 1, "failures": 1})]
    video = fetched(attempt(stage(tmp_path), source(watch(server, formats=formats, duration=40), 30, 31), work))
    assert len(pictures(work.path(video.file), video.origin, Fraction(30), Fraction(31))) == 25
    assert server.count("/watch/abc") == 2
    assert server.sent < len(long_video) / 3


# politeness


def requests_counted(work: Workspace) -> int:
    return Politeness(work.root / "politeness", "default", FAST).snapshot().requests


def test_breaker_opens_after_three_and_nobody_is_asked(tmp_path: Path, work: Workspace, server: MediaServer) -> None:
    page = watch(server, error="Sign in to confirm you're not a bot")
    kinds = [attempt(stage(tmp_path), source(page, name=f"s{i}"), work).kind for i in range(5)]
    assert kinds == ["blocked.bot"] * 3 + ["blocked.breaker"] * 2
    assert len(server.hits) == 3
    body = (CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes()
    server.pages["/watch/abc"] = Page(
        json.dumps({"formats": [rendition(server, 240, body)]}).encode(), "application/json"
    )
    assert attempt(stage(tmp_path), source(page), work).kind == "blocked.breaker"


def test_objects_that_are_refused_first_do_not_stop_the_others(
    tmp_path: Path, work: Workspace, server: MediaServer
) -> None:
    body = media_in(tmp_path, "m.mp4")
    bad, good = [f"a{n}" for n in range(3)], [f"b{n}" for n in range(3)]
    server.pages |= {f"/{name}": Page(status=403) for name in bad} | {f"/{name}": Page(body) for name in good}

    def run(names: list[str]) -> dict[str, str]:
        one = stage(tmp_path)
        return {name: attempt(one, source(server.url(f"/{name}"), name=name), work).kind for name in names}

    assert run(bad + good) == dict.fromkeys(bad, "blocked.forbidden") | dict.fromkeys(good, "")
    assert run(bad) == dict.fromkeys(bad, "gone.forbidden")
    assert len(server.hits) == 9


def fetch_one(folder: Path, url: str, name: str) -> None:
    """In a worker of its own: 4 requests a second for all workers, none at once."""
    access = Access(budget=Budget(requests_per_minute=240, burst=1, spacing=0.0), patience=HASTY)
    fetched(attempt(stage(folder, access), source(url, name=name), Workspace(folder / "work", "fetch-0000")))


@pytest.mark.slow
def test_workers_together_keep_the_rate_at_the_server(tmp_path: Path, server: MediaServer) -> None:
    server.pages["/a.mp4"] = Page((CLIPS / "his_girl_friday_6s_640x480.mp4").read_bytes())
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=fetch_one, args=(tmp_path, server.url("/a.mp4"), f"s{i}")) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    times = sorted(hit.time for hit in server.hits)
    assert len(times) == requests_counted(Workspace(tmp_path / "work", "")) == 6
    assert times[-1] - times[0] >= 5 * 0.25 - 0.3, "the way to the server takes a little, not always the same"


# cookies


COOKIES = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t2147483647\tSID\tvErYsEcReT\n"


def test_cookies_are_sent_never_shown_and_the_file_is_untouched(
    tmp_path: Path, work: Workspace, server: MediaServer
) -> None:
    jar = tmp_path / "cookies.txt"
    jar.write_text(COOKIES)
    jar.chmod(0o600)
    access = Access(cookies=str(jar), budget=FAST, patience=HASTY)
    page = watch(server, error="No. Cookie: SID=vErYsEcReT at http://u:p@h/x?sig=vErYsEcReT")
    outcome = attempt(stage(tmp_path, access), source(page), work)
    assert "SID=vErYsEcReT" in server.hits[0].cookie
    assert "vErYsEcReT" not in repr(outcome)
    assert jar.read_text() == COOKIES
    assert not [p for p in work.root.rglob("*") if p.is_file() and b"vErYsEcReT" in p.read_bytes()]


def test_cookie_file_is_checked(tmp_path: Path) -> None:
    jar = tmp_path / "cookies.txt"
    with pytest.raises(ConfigurationError, match=r"cannot be read"):
        Access(cookies=str(jar)).check()
    jar.write_text(COOKIES)
    jar.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Access(cookies=str(jar)).check()
    jar.write_text("SID=1")
    jar.chmod(0o600)
    with pytest.raises(ConfigurationError, match="Netscape"):
        Access(cookies=str(jar)).check()


# the stage itself


def test_key_and_settings(tmp_path: Path) -> None:
    one = stage(tmp_path)
    keys = {one.key(s) for s in (source("a"), source("b"), source("a", 1), source("a", 0, 5), source("a", name="s2"))}
    assert len(keys) == 5
    assert all(re.fullmatch(r"s\d@[0-9a-f]{16}", key) for key in keys)
    other = FetchStage(one.recipe, "/elsewhere", Access(cookies="c", proxy="p"))
    assert other.settings() == one.settings()
    assert other.key(source("a")) == one.key(source("a"))
    assert stage(tmp_path, short_side=128).settings() != one.settings()
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301


def fmt(name: str, width: int, height: int, **more: Any) -> dict[str, Any]:
    return {"format_id": name, "width": width, "height": height, "vcodec": "avc1", "acodec": "none"} | {
        "protocol": "https",
        "url": "https://x/",
        "fps": 30,
        "tbr": 500.0,
        **more,
    }


@pytest.mark.parametrize(
    ("other", "winner"),
    [
        (fmt("z", 480, 854), "z"),
        (fmt("z", 640, 360, vcodec="vp9", tbr=100), "a"),
        (fmt("z", 640, 360, vcodec="av01.0", tbr=100), "a"),
        (fmt("z", 640, 360, acodec="mp4a", tbr=100), "a"),
        (fmt("z", 640, 360, fps=60, tbr=100), "a"),
        (fmt("z", 640, 360, tbr=400), "z"),
        (fmt("a-sr", 480, 270), "a"),
        (fmt("z", 480, 270, protocol="m3u8_native"), "a"),
        (fmt("z", 480, 270, fragments=[{}]), "a"),
        (fmt("z", 480, 270), "z"),
        (fmt("z", 426, 240), "a"),
    ],
)
def test_choice_of_rendition(other: dict[str, Any], winner: str) -> None:
    base = fmt("a", 1138, 640) if other["height"] == 854 else fmt("a", 640, 360)
    for formats in ([base, other], [other, base]):
        assert choose(formats, 256)["format_id"] == winner


# what yt-dlp must not do


def test_no_plugin_configuration_or_cookie_of_the_user_is_used(tmp_path: Path) -> None:
    """In a fresh process whose home holds a plugin, a configuration and a netrc that would leave traces."""
    trace = tmp_path / "trace"
    plugin = tmp_path / "config/yt-dlp/plugins/p/yt_dlp_plugins/extractor"
    plugin.mkdir(parents=True)
    (plugin / "mine.py").write_text(f"open({str(trace)!r}, 'w').write('plugin')\n")
    (tmp_path / "config/yt-dlp/config").write_text(f"--write-info-json\n--exec 'touch {trace}'\n")
    code = (
        "from pathlib import Path; from collection.politeness.budget import Budget, Politeness\n"
        "from collection.fetch.ytdlp import Access, Client; home = Path.home()\n"
        "y = Client(('youtube',), Access(), home, Politeness(home, '', Budget()), 0, private=True)._ydl\n"
        "print(sorted(y._ies), y.params.get('usenetrc'), y.params.get('external_downloader'), len(y.cookiejar))\n"
    )
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": os.environ["PATH"]}
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], env=home, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "['Youtube'] None None 0\n"
    assert not trace.exists()


@pytest.mark.parametrize("name", ["all", "default", "-youtube"])
def test_extractors_are_named_one_by_one(tmp_path: Path, name: str) -> None:
    polite = Politeness(tmp_path, "a", FAST)
    with pytest.raises(ConfigurationError, match="names no single extractor"):
        Client((name,), Access(), tmp_path, polite, 0.0, private=False)
