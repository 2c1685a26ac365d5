"""The real YouTube extractor on answers in YouTube's form: its sentences, its choice of formats, its requests.

Nothing leaves the machine: a request handler of yt-dlp's own kind answers for www.youtube.com, and the media lies on
the loopback server.
"""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.networking import Request, RequestHandler, Response
from yt_dlp.networking import common as networking
from yt_dlp.networking.exceptions import HTTPError, UnsupportedRequest

from collection.engine.stage import DONE, FAILED, REJECTED, attempt
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.politeness.budget import Budget, Patience, Politeness
from collection.recipe import FetchSettings
from collection.workspace.folder import Workspace
from mlst.records import encode
from tests.collection.fetch.test_stage import CLIPS, source
from tests.media_server import MediaServer, Page, serving

ID = "-Ab_9xYz012"
PAGE = """<html><title>YouTube</title><script>ytcfg.set({"INNERTUBE_CONTEXT": {"client": {}}});</script></html>"""
OWNER = {
    "owner": {"videoOwnerRenderer": {"title": {"runs": [{"text": "A"}]}}},
    "metadataRowContainer": {
        "metadataRowContainerRenderer": {
            "rows": [
                {
                    "metadataRowRenderer": {
                        "title": {"simpleText": "License"},
                        "contents": [{"simpleText": "Creative Commons Attribution license (reuse allowed)"}],
                    }
                }
            ]
        }
    },
}
NEXT = {
    "contents": {
        "twoColumnWatchNextResults": {"results": {"results": {"contents": [{"videoSecondaryInfoRenderer": OWNER}]}}}
    }
}
CHANNEL = "UC" + "x" * 22
FAST = Budget(requests_per_minute=60000, burst=1000, spacing=0.0)
HASTY = Patience(attempts=3, base=0.01, longest=0.02, silence=1.0)


@dataclass
class YouTube:
    """What www.youtube.com answers to the player request, and what it was asked."""

    player: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def refuse(self, status: str, reason: str, subreason: str = "") -> None:
        """The player says why not."""
        screen = {
            "playerErrorMessageRenderer": {"reason": {"simpleText": reason}, "subreason": {"simpleText": subreason}}
        }
        self.player = {
            "playabilityStatus": {"status": status, "reason": reason} | ({"errorScreen": screen} if subreason else {})
        }

    def play(self, *formats: dict[str, Any], **details: Any) -> None:
        """The player plays."""
        self.player = {
            "playabilityStatus": {"status": "OK"},
            "videoDetails": {"title": "T", "lengthSeconds": "8", "channelId": CHANNEL} | details,
            "streamingData": {"adaptiveFormats": list(formats)},
        }


@pytest.fixture
def youtube(monkeypatch: pytest.MonkeyPatch) -> Iterator[YouTube]:
    answers = YouTube()

    class AnswerRH(RequestHandler):
        _SUPPORTED_URL_SCHEMES = ("https",)

        def _validate(self, request: Request) -> None:
            if not request.url.startswith("https://"):
                raise UnsupportedRequest

        def _send(self, request: Request) -> Response:
            answers.asked.append(request.url.partition("?")[0])
            body: Any = PAGE
            if request.url.startswith("https://www.youtube.com/youtubei/v1/player"):
                if answers.status != 200:
                    refusal = Response(io.BytesIO(), request.url, {"Retry-After": "600"}, status=answers.status)
                    raise HTTPError(refusal)
                body = answers.player
                body.setdefault("videoDetails", {})["videoId"] = ID
            if request.url.startswith("https://www.youtube.com/youtubei/v1/next"):
                body = NEXT
            text = body if isinstance(body, str) else json.dumps(body)
            return Response(io.BytesIO(text.encode()), request.url, {})

    def preferred(handler: RequestHandler, _: Request) -> int:
        return 1000 if isinstance(handler, AnswerRH) else 0

    monkeypatch.setitem(networking._REQUEST_HANDLERS, AnswerRH.RH_KEY, AnswerRH)
    monkeypatch.setattr(networking, "_RH_PREFERENCES", networking._RH_PREFERENCES)
    networking._RH_PREFERENCES.add(preferred)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield answers
    networking._RH_PREFERENCES.remove(preferred)


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving() as media:
        yield media


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work", "fetch-0000")


def fetch(work: Workspace, short_side: int = 256, **access: Any) -> Any:
    stage = FetchStage(FetchSettings(short_side=short_side), "", Access(budget=FAST, patience=HASTY, **access))
    return attempt(stage, source(f"https://www.youtube.com/watch?v={ID}"), work)


@pytest.mark.parametrize(
    ("said", "status", "kind"),
    [
        (("LOGIN_REQUIRED", "Sign in to confirm you\u2019re not a bot"), FAILED, "blocked.bot"),
        (("LOGIN_REQUIRED", "Sign in to confirm your age", "This video may be inappropriate."), REJECTED, "gone.age"),
        (("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access"), REJECTED, "gone.private"),
        (("ERROR", "Video unavailable"), REJECTED, "gone.unavailable"),
        (("ERROR", "Video unavailable", "This video has been removed by the uploader"), REJECTED, "gone.deleted"),
        (
            ("ERROR", "Video unavailable", "This content isn\u2019t available, try again later."),
            FAILED,
            "blocked.rate",
        ),
        (
            ("UNPLAYABLE", "Video unavailable", "The uploader has not made this video available in your country"),
            REJECTED,
            "gone.region",
        ),
        (
            ("UNPLAYABLE", "Join this channel to get access to members-only content like this video"),
            REJECTED,
            "gone.members",
        ),
        (("UNPLAYABLE", "The page needs to be reloaded."), FAILED, "blocked.session"),
        (("LIVE_STREAM_OFFLINE", "This live event will begin in 3 days."), REJECTED, "gone.upcoming"),
        (("ERROR", "A sentence that nobody has seen yet"), FAILED, "unknown"),
        (("OK", ""), FAILED, "blocked.formats"),
    ],
)
def test_what_youtube_says(work: Workspace, youtube: YouTube, said: tuple[str, ...], status: str, kind: str) -> None:
    youtube.refuse(*said)
    outcome = fetch(work)
    assert (outcome.status, outcome.kind) == (status, kind)
    assert said[-1].rstrip(".").replace(" again later", "") in outcome.detail
    assert "cookies" not in outcome.detail


def test_too_many_requests(work: Workspace, youtube: YouTube) -> None:
    youtube.status = 429
    outcome = fetch(work)
    assert (outcome.status, outcome.kind) == (FAILED, "blocked.rate")
    assert sum("/player" in url for url in youtube.asked) <= 2, "Retry-After of 600 s is left to the next run"


def format_of(server: MediaServer, itag: int, mime: str, width: int, height: int) -> dict[str, Any]:
    server.pages[f"/videoplayback/{itag}"] = Page((CLIPS / "rabbit_orbit_8s_320x240.mp4").read_bytes())
    return {
        "itag": itag,
        "url": server.url(f"/videoplayback/{itag}?itag={itag}&sig=sEcReT"),
        "mimeType": mime,
        "bitrate": 300_000,
        "width": width,
        "height": height,
        "fps": 30,
        "quality": "medium",
        "qualityLabel": f"{height}p",
        "approxDurationMs": "8000",
    }


def test_rendition_of_a_real_list(work: Workspace, youtube: YouTube, server: MediaServer) -> None:
    avc, vp9, av1 = (
        'video/mp4; codecs="avc1.4d401e"',
        'video/webm; codecs="vp9"',
        'video/mp4; codecs="av01.0.01M.08"',
    )
    youtube.play(
        format_of(server, 160, avc, 256, 144),
        format_of(server, 133, avc, 426, 240),
        format_of(server, 243, vp9, 640, 360),
        format_of(server, 396, av1, 640, 360),
        format_of(server, 134, avc, 640, 360),
        format_of(server, 137, avc, 1920, 1080),
    )
    outcome = fetch(work)
    assert outcome.status == DONE, outcome
    (video,) = outcome.outputs
    assert video.upstream.format_id == "134"
    assert video.upstream.extractor == "youtube"
    assert (video.upstream.title, video.upstream.channel, video.upstream.channel_id) == ("T", "A", CHANNEL)
    assert video.upstream.licence == "Creative Commons Attribution license (reuse allowed)"
    assert {hit.path for hit in server.hits} == {"/videoplayback/134"}
    assert "sEcReT" not in json.dumps(encode(video))
    counted = Politeness(work.root / "politeness", "default", FAST).snapshot().requests
    assert counted == len(youtube.asked) + len(server.hits)


def test_live_video_is_not_fetched(work: Workspace, youtube: YouTube, server: MediaServer) -> None:
    youtube.play(format_of(server, 134, 'video/mp4; codecs="avc1.4d401e"', 640, 360), isLive=True, isLiveContent=True)
    outcome = fetch(work)
    assert (outcome.status, outcome.kind) == (REJECTED, "gone.live")
    assert not server.hits


AVC = 'video/mp4; codecs="avc1.4d401e"'
MUXED = 'video/mp4; codecs="avc1.42001E, mp4a.40.2"'
WEB = {"extractor_args": ("youtube:player_client=web",)}


def without_url(format_: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in format_.items() if name != "url"}


def test_streams_that_are_sabr_only(work: Workspace, youtube: YouTube, server: MediaServer) -> None:
    youtube.play(without_url(format_of(server, 134, AVC, 640, 360)))
    outcome = fetch(work, **WEB)
    assert (outcome.status, outcome.kind) == (FAILED, "blocked.sabr")
    assert "name other clients" in outcome.detail


def test_renditions_that_need_a_token(work: Workspace, youtube: YouTube, server: MediaServer) -> None:
    youtube.play(format_of(server, 134, AVC, 640, 360))
    outcome = fetch(work, **WEB)
    assert (outcome.status, outcome.kind) == (FAILED, "blocked.token")
    assert "--yt-dlp-plugin" in outcome.detail
    assert not server.hits


def test_a_token_that_is_given_is_used_and_never_shown(
    tmp_path: Path, work: Workspace, youtube: YouTube, server: MediaServer
) -> None:
    youtube.play(format_of(server, 134, AVC, 640, 360))
    token = base64.urlsafe_b64encode(b"a token that stands for a session").decode()
    file = tmp_path / "args"
    file.write_text(f"# mine\nyoutube:player_client=web;po_token=web.gvs+{token};visitor_data=vIsItOr\n")
    file.chmod(0o600)
    outcome = fetch(work, extractor_args_file=str(file))
    assert outcome.status == DONE, outcome
    assert f"pot={token.rstrip('=')}" in server.hits[0].query.replace("%3D", "=")
    server.pages["/videoplayback/134"] = Page(status=500)
    youtube.refuse("ERROR", f"No. {token} vIsItOr")
    shown = repr(outcome) + repr(fetch(work, extractor_args_file=str(file)))
    files = b"".join(path.read_bytes() for path in work.root.rglob("*") if path.is_file())
    for secret in (token, "vIsItOr"):
        assert secret not in shown
        assert secret.encode() not in files


def test_format_18_alone_is_enough_where_it_is_large_enough(
    work: Workspace, youtube: YouTube, server: MediaServer
) -> None:
    youtube.play(format_of(server, 18, MUXED, 640, 360), without_url(format_of(server, 137, AVC, 1920, 1080)))
    outcome = fetch(work, **WEB)
    assert outcome.status == DONE, outcome
    assert outcome.outputs[0].upstream.format_id == "18"


def test_format_18_alone_is_not_all_there_is(work: Workspace, youtube: YouTube, server: MediaServer) -> None:
    youtube.play(format_of(server, 18, MUXED, 640, 360), without_url(format_of(server, 137, AVC, 1920, 1080)))
    outcome = fetch(work, short_side=480, **WEB)
    assert (outcome.status, outcome.kind) == (FAILED, "blocked.sabr")


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        (("LOGIN_REQUIRED", "Sign in to confirm you\u2019re not a bot"), "blocked.bot", "pause for some hours"),
        (
            ("ERROR", "Video unavailable", "This content isn\u2019t available, try again later."),
            "blocked.rate",
            "--requests-per-minute",
        ),
    ],
)
def test_what_can_be_done_is_said(
    work: Workspace, youtube: YouTube, said: tuple[str, ...], kind: str, remedy: str
) -> None:
    youtube.refuse(*said)
    outcome = fetch(work)
    assert outcome.kind == kind
    assert remedy in outcome.detail
