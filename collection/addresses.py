"""Where a source may lie: YouTube videos by id, plain http(s) URLs, files beside the manifest.

URLs that go out are built here from validated parts; nothing of a YouTube link but the video's id survives.
"""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from collection.recipe import FetchSettings
from mlst.signed import public

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
"""A YouTube video's id: case-sensitive, may begin with `-`."""

HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com")
_PREFIXES = ("www.", "m.", "music.")
TABS = ("videos", "shorts", "streams")
"""Tabs of a channel that list videos."""

_PLAYLIST = re.compile(r"[A-Za-z0-9_-]{2,64}")
_PATHS = ("shorts", "embed", "live", "v", "e", "vi", "watch")
_WATCHING = ("watch", "watch_popup", "details", "attribution_link")
_WATCH = "https://www.youtube.com/watch?v="
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BARE_HOST = re.compile(
    rf"(?:{'|'.join(map(re.escape, _PREFIXES))})?(?:{'|'.join(map(re.escape, HOSTS))})/", re.IGNORECASE
)
_URL_TEXT = re.compile(r"[\x21-\x7e]+")


def watch_url(video: str) -> str:
    """The canonical URL of the YouTube video with this id. Raises ValueError for what is not an id."""
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
    found = _video_in(text)
    if YOUTUBE_ID.fullmatch(found):
        return found
    raise ValueError(_no_video(text, found))


def _video_in(text: str) -> str:
    """What stands where a YouTube link has the id of a video; "" for links that name something else."""
    parts = urlsplit(_with_scheme(text))
    steps = [re.split(r"[&?]", unquote(step))[0] for step in parts.path.split("/") if step]
    asked = parse_qs(parts.query)
    inside = asked.get("u", [""])[0]
    if steps == ["attribution_link"] and inside.startswith("/"):
        return _video_in(f"https://www.youtube.com{inside}")
    if "v" in asked and (not steps or steps[0] in _WATCHING):
        return re.split(r"[&?/#]", "".join(asked["v"]))[0]
    if _host(text) == "youtu.be" and len(steps) == 1:
        return steps[0]
    return steps[1] if len(steps) == 2 and steps[0] in _PATHS else ""


def _no_video(text: str, found: str) -> str:
    """What is wrong with a link to YouTube that does not name one video."""
    if not found:
        return "a link to one YouTube video; playlists and channels become rows with `mlst manifest expand`"
    return f"a link to one YouTube video; {_no_id(found)}"


def _no_id(found: str) -> str:
    wrong = sorted(set(re.findall(r"[^A-Za-z0-9_-]", found)))
    why = f"has {' '.join(map(ascii, wrong))} in it" if wrong else f"has {len(found)} characters"
    return f"its id is 11 letters, digits, - or _, and {found[:40]!a} {why}"


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
            raise ValueError('a YouTube video only if fetch.extractors in the recipe names "youtube"')
        return watch_url(video)
    if is_web(text):
        return _media_url(text, fetch)
    return _local_path(text, fetch, folder)


def group_of(url: str) -> str:
    """The group of a row that names none: the same for all rows with the same (canonical) url.

    `./` makes no difference; it marks files that would otherwise be YouTube ids. Nor does the signature of an address.
    """
    if url.startswith(_WATCH):
        return url[len(_WATCH) :]
    kind = "url" if is_web(url) else "file"
    return f"{kind}-{hashlib.sha256(public(url).removeprefix('./').encode()).hexdigest()[:16]}"


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
    if "//" not in text and parts.scheme not in ("http", "https"):
        raise ValueError(_no_scheme(text))
    if parts.scheme not in ("http", "https") or not host or not _URL_TEXT.fullmatch(text):
        raise ValueError("an http:// or https:// URL with a host, percent-encoded, without spaces")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without user name and password: manifests are published")
    if not fetch.http and not set(fetch.extractors) - {"youtube"}:
        raise ValueError("an http(s) URL of another site only if the recipe sets fetch.http = true")
    return text


def _no_scheme(text: str) -> str:
    """What is wrong with text before a colon that is no URL's scheme: a name with a colon in it, or a drive's."""
    if re.match(r"[A-Za-z]:[\\/]", text):
        return "a path relative to the manifest's folder, with / between folders; this one begins with a drive"
    return f"an http:// or https:// URL; a file whose name has a colon in it is written as {'./' + text[:40]!a}"


def _local_path(text: str, fetch: FetchSettings, folder: Path) -> str:
    if not fetch.local:
        id_like = re.fullmatch(r"[A-Za-z0-9_-]{8,14}", text)
        raise ValueError(
            f"a YouTube id or link; {_no_id(text)}"
            if id_like
            else "a YouTube id or link; files only if the recipe sets fetch.local = true"
        )
    if unusual := _unusual_name(text):
        raise ValueError(f"a file below the manifest's folder, relative to it; {unusual}")
    parts = text.removeprefix("./").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("a file below the manifest's folder, relative to it, with / between folders and without ..")
    inside = os.path.realpath(folder)
    if not os.path.realpath(os.path.join(inside, text)).startswith(inside.rstrip(os.sep) + os.sep):
        raise ValueError("a file below the manifest's folder; this one is linked to a place outside")
    return text


def _unusual_name(text: str) -> str:
    """What is wrong with characters in a path that other programs give a meaning; "" for nothing."""
    if "\\" in text:
        return "folders are divided by /, also on Windows, and a name with a backslash in it has to be changed"
    if text.startswith("~"):
        return "~ does not stand for a home folder here; write a file that is named so as ./~name"
    return ""
