import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import yt_dlp
from yt_dlp.extractor.youtube import YoutubeTabIE

from collection.engine.stage import Rejected
from collection.fetch.ytdlp import Access, Client, Listed, listed
from collection.manifest.expand import ListError, expand, listers, rows
from collection.manifest.table import read_manifest, write_manifest
from collection.politeness.budget import Budget, Politeness
from collection.recipe import FetchSettings
from mlst.records import OPEN_END, Source
from tests.media_server import MediaServer, Page, serving

YOUTUBE = FetchSettings()
FEED = FetchSettings(extractors=("youtube", "generic"), http=True)


def polite(folder: Path) -> Politeness:
    return Politeness(folder / "politeness", "test", Budget(exempt=("127.0.0.1",)))


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving() as media:
        yield media


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(
        listers(FEED.extractors), Access(), tmp_path / "cache", polite(tmp_path), math.inf, private=True
    ) as opened:
        yield opened


def feed(server: MediaServer) -> str:
    items = [
        ("Rain &amp; wind\x85\x86now", server.url("/rain.mp4")),
        ("A talk", "https://www.youtube.com/watch?v=-2X4mB4hyLA&amp;feature=rss"),
        ("Rain again", server.url("/rain.mp4")),
        ("A file", "file:///etc/passwd"),
        ("A shared video", "https://youtu.be/_26mLl22Zms"),
    ]
    text = "".join(f"<item><title>{title}</title><link>{link}</link></item>" for title, link in items)
    body = f'<?xml version="1.0"?><rss version="2.0"><channel><title>Films</title>{text}</channel></rss>'
    server.pages["/feed.rss"] = Page(body.encode(), kind="application/rss+xml")
    return server.url("/feed.rss")


def test_a_feed_becomes_rows_without_asking_for_its_videos(
    server: MediaServer, client: Client, tmp_path: Path
) -> None:
    address = feed(server)
    found = expand(address, client, FEED, "CC-BY-4.0", 100)
    assert [(source.url, source.title) for source in found] == [
        (server.url("/rain.mp4"), "Rain & wind now"),
        ("https://www.youtube.com/watch?v=-2X4mB4hyLA", "A talk"),
        ("https://www.youtube.com/watch?v=_26mLl22Zms", "A shared video"),
    ]
    assert found[1] == Source(
        "-2X4mB4hyLA",
        "https://www.youtube.com/watch?v=-2X4mB4hyLA",
        found[1].start,
        OPEN_END,
        "CC-BY-4.0",
        "A talk",
        "",
        "-2X4mB4hyLA",
        f"listed by {address}",
    )
    assert {hit.path for hit in server.hits} == {"/feed.rss"}
    write_manifest(tmp_path / "m.csv", found)
    assert read_manifest(tmp_path / "m.csv", FEED) == found


def test_the_limit_counts_entries(server: MediaServer, client: Client) -> None:
    assert [source.title for source in expand(feed(server), client, FEED, "unknown", 2)] == [
        "Rain & wind now",
        "A talk",
    ]


def test_extractors_that_the_recipe_does_not_allow_are_not_asked(server: MediaServer, tmp_path: Path) -> None:
    address = feed(server)
    allowed = FetchSettings(http=True)
    with Client(listers(allowed.extractors), Access(), tmp_path, polite(tmp_path), math.inf, private=True) as client:
        with pytest.raises(Rejected) as refused:
            expand(address, client, allowed, "unknown", 10)
        with pytest.raises(ListError, match="only if the recipe sets"):
            expand(address, client, YOUTUBE, "unknown", 10)
    assert refused.value.kind == "not_allowed"
    assert server.hits == []


def test_a_page_that_is_no_list_is_refused(server: MediaServer, client: Client) -> None:
    server.pages["/film.mp4"] = Page(b"\x00\x00\x00\x18ftypmp42" + bytes(200))
    with pytest.raises(Rejected, match="no playlist or channel"):
        expand(server.url("/film.mp4"), client, FEED, "unknown", 10)
    server.pages["/gone"] = Page(status=404)
    with pytest.raises(Rejected):
        expand(server.url("/gone"), client, FEED, "unknown", 10)


@pytest.mark.parametrize(
    "url", ["-2X4mB4hyLA", "https://youtu.be/-2X4mB4hyLA", "films/a.mp4", "", "ftp://example.org/", "youtube.com/feed"]
)
def test_what_names_no_list_is_refused_before_anything_is_asked(client: Client, url: str) -> None:
    with pytest.raises(ListError, match=r"playlist or channel|cannot be expanded"):
        expand(url, client, FEED.model_copy(update={"local": True}), "unknown", 10)


def test_entries_of_youtubes_own_lists_become_rows() -> None:
    """The entries are made by yt-dlp from what YouTube's pages hold for one video of a list."""
    page = {
        "videoId": "--i-y1v8Hy8",
        "title": {"runs": [{"text": "Waves\u0007\nand wind"}]},
        "lengthText": {"simpleText": "1:02"},
        "ownerText": {"runs": [{"text": "Someone"}]},
    }
    with yt_dlp.YoutubeDL({"quiet": True}) as downloader:
        tab = YoutubeTabIE(downloader)
        entry = tab._extract_video(page)
        nested = tab.url_result("https://www.youtube.com/playlist?list=PLabc", YoutubeTabIE, "PLabc")
    info = {"_type": "playlist", "channel": "A channel", "entries": iter([entry, None, nested, entry])}
    (row,) = rows(listed(info), "https://www.youtube.com/@a/videos", YOUTUBE, "unknown")
    assert (row.id, row.url) == ("--i-y1v8Hy8", "https://www.youtube.com/watch?v=--i-y1v8Hy8")
    assert (row.title, row.channel) == ("Waves and wind", "Someone")
    assert row.provenance == "listed by https://www.youtube.com/@a/videos"


def test_entries_without_a_url_are_passed_over_and_the_lists_channel_stands_in() -> None:
    info = {"channel": "C", "entries": [{"title": "x"}, {"url": "u", "title": "t"}, {"url": "v", "uploader": "U"}]}
    assert list(listed(info)) == [Listed("u", "t", "C"), Listed("v", "", "U")]
