"""Where a source may lie: YouTube videos by id, plain http(s) URLs, files beside the manifest.

URLs that go out are built here from validated parts; nothing of a YouTube link but the video's id survives.
"""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from collection.recipe import FetchSettings

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
"""A YouTube video's id: case-sensitive, may begin with `-`."""

HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com")
_PREFIXES = ("www.", "m.", "music.")
TABS = ("videos", "shorts", "streams")
"""Tabs of a channel that list videos."""

_PLAYLIST = re.compile(r"[A-Za-z0-9_-]{2,64}")
_PATHS = ("shorts", "embed", "live", "v")
_WATCH = "https://www.youtube.com/watch?v="
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BARE_HOST = re.compile(
    rf"(?:{'|'.join(map(re.escape, _PREFIXES))})?(?:{'|'.join(map(re.escape, HOSTS))})/", re.IGNORECASE
)
_URL_TEXT = re.compile(r"[\x21-\x7e]+")


def watch_url(video: str) -> str:
    """The canonical URL of the YouTube video with this id. Raises ValueError for what is no id."""
    if not YOUTUBE_ID.fullmatch(video):
        raise ValueError(f"{video!r} is no YouTube id: 11 letters, digits, - or _")
    return _WATCH + video


def youtube_id(text: str) -> str:
    """The video's id in a bare id or any form of YouTube link; "" where `text` means something else than YouTube.

    Links may lack the scheme and carry further parameters (`&t=`, `&list=`), which are ignored. Raises ValueError for
    a link to YouTube that names no single video.
    """
    if text.startswith(_WATCH) and YOUTUBE_ID.fullmatch(text, len(_WATCH)):
        return text[len(_WATCH) :]
    if YOUTUBE_ID.fullmatch(text):
        return text
    if not is_youtube(text):
        return ""
    parts = urlsplit(_with_scheme(text))
    steps = [step for step in parts.path.split("/") if step]
    found = ""
    if _host(text) == "youtu.be" and len(steps) == 1:
        found = steps[0]
    elif steps == ["watch"]:
        found = "".join(parse_qs(parts.query).get("v", []))
    elif len(steps) == 2 and steps[0] in _PATHS:
        found = steps[1]
    if not YOUTUBE_ID.fullmatch(found):
        raise ValueError("a link to one YouTube video; playlists and channels become rows with `mlst manifest expand`")
    return found


def listing_url(text: str) -> str:
    """The canonical URL of a YouTube playlist or channel; a channel without a tab means its videos.

    "" where `text` means something else than YouTube. Raises ValueError for a link to YouTube that names no list.
    """
    if not is_youtube(text):
        return ""
    parts = urlsplit(_with_scheme(text))
    steps = [unquote(step) for step in parts.path.split("/") if step]
    playlist = "".join(parse_qs(parts.query).get("list", []))
    if _PLAYLIST.fullmatch(playlist):
        return f"https://www.youtube.com/playlist?list={playlist}"
    named = 1 if steps and steps[0].startswith("@") else 2 if steps and steps[0] in ("channel", "c", "user") else 0
    tab = steps[named] if len(steps) > named else "videos"
    if not named or not named <= len(steps) <= named + 1 or tab not in TABS:
        tabs = ", ".join(TABS)
        raise ValueError(f"a link to a YouTube playlist (list=...) or channel (/@name, /channel/...; tabs {tabs})")
    return "https://www.youtube.com/" + "/".join(quote(step, safe="@") for step in [*steps[:named], tab])


def is_youtube(text: str) -> bool:
    """Whether `text` is an http(s) URL of YouTube, with or without its scheme; bare ids are not URLs."""
    return _host(text) in HOSTS


def is_web(url: str) -> bool:
    """Whether a source's url is a URL, as against the path of a local file."""
    return _SCHEME.match(url) is not None


def locate(text: str, fetch: FetchSettings, folder: Path) -> str:
    """A row's url in canonical form: a watch URL, an http(s) URL or a path relative to the manifest's `folder`.

    Raises ValueError, saying what is allowed, for anything else and for what the recipe's `fetch` settings exclude.
    """
    if video := youtube_id(text):
        if "youtube" not in fetch.extractors:
            raise ValueError('no YouTube videos, unless fetch.extractors in the recipe names "youtube"')
        return watch_url(video)
    if is_web(text):
        return _media_url(text, fetch)
    return _local_path(text, fetch, folder)


def group_of(url: str) -> str:
    """The group of a row that names none: the same for all rows with the same (canonical) url.

    `./` is no difference; it stands before files that would else be YouTube ids.
    """
    if url.startswith(_WATCH):
        return url[len(_WATCH) :]
    kind = "url" if is_web(url) else "file"
    return f"{kind}-{hashlib.sha256(url.removeprefix('./').encode()).hexdigest()[:16]}"


def host_of(url: str) -> str:
    """The host in a canonical url; `file` for a local file."""
    return (urlsplit(url).hostname or "") if is_web(url) else "file"


def _host(text: str) -> str:
    try:
        parts = urlsplit(_with_scheme(text))
        host = (parts.hostname or "") if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""
    for prefix in _PREFIXES:
        host = host.removeprefix(prefix)
    return host


def _with_scheme(text: str) -> str:
    return f"https://{text}" if _BARE_HOST.match(text) else text


def _media_url(text: str, fetch: FetchSettings) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("a well-formed http(s) URL") from None
    if parts.scheme not in ("http", "https") or not host or not _URL_TEXT.fullmatch(text):
        raise ValueError("an http:// or https:// URL with a host, percent-encoded, without spaces")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without user name and password: manifests are published")
    if not fetch.http and not set(fetch.extractors) - {"youtube"}:
        raise ValueError("no http(s) URLs of other sites, unless the recipe sets fetch.http = true")
    return text


def _local_path(text: str, fetch: FetchSettings, folder: Path) -> str:
    if not fetch.local:
        raise ValueError("a YouTube id or link; files only if the recipe sets fetch.local = true")
    parts = text.removeprefix("./").split("/")
    if "\\" in text or text.startswith("~") or any(part in ("", ".", "..") for part in parts):
        raise ValueError("a file below the manifest's folder, relative to it, with / between folders and without ..")
    inside = os.path.realpath(folder)
    if not os.path.realpath(os.path.join(inside, text)).startswith(inside.rstrip(os.sep) + os.sep):
        raise ValueError("a file below the manifest's folder; this one is linked to a place outside")
    return text
