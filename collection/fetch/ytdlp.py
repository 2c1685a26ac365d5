"""The edge to yt-dlp: the only file that knows its interface.

Everything that could run a program, read a file of the user or load foreign code is switched off; what yt-dlp asks the
network for passes `Politeness`. Here yt-dlp only extracts: the media itself is read by `fetch.stage` through the
same connections, because it needs ranges, sizes and typed refusals.
"""

import contextlib
import hashlib
import io
import itertools
import math
import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yt_dlp
import yt_dlp.globals
import yt_dlp.version
from yt_dlp.networking import Request
from yt_dlp.networking._requests import RequestsRH
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import ExtractorError, UnsupportedError, YoutubeDLError

from collection.engine.stage import FAILED, REJECTED, Rejected, Retry
from collection.fetch import extras
from collection.fetch.extras import ConfigurationError
from collection.fetch.fragments import Fragment, of_manifest
from collection.fetch.pace import PacedRH
from collection.fetch.reach import JudgedRH
from collection.fetch.reasons import Reason, classify, redact, retry_after, typed
from collection.politeness.budget import Budget, Patience, Politeness
from mlst.records import Upstream
from mlst.text import one_line

TOOL = f"yt-dlp {yt_dlp.version.__version__}"

RUNTIMES = ("deno", "node")
"""JavaScript runtimes that may solve YouTube's player challenges, best first. yt-dlp starts both without access to
files (`deno run` without permissions, `node --permission`), deno also without network; others it does not confine."""

CODECS = ("avc1", "vp9", "vp09", "av01")
"""Preferred first. H.264 takes least time to decode and comes in MP4, whose time base holds every pts exactly;
YouTube's VP9 comes in WebM with pts rounded to milliseconds, and AV1 costs most."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the network is used. Changes no byte of the dataset, so it is part of no fingerprint."""

    cookies: str = ""
    """Path of a Netscape cookie file, readable by its owner only; "" for none."""
    proxy: str = ""
    """URL; "" for what the environment says."""
    extractor_args: tuple[str, ...] = ()
    """Arguments of extractors as yt-dlp takes them, e.g. `youtube:player_client=web,tv`; see `extras.ALLOWED`."""
    extractor_args_file: str = ""
    """Path of a file of such arguments, one a line, readable by its owner only; "" for none."""
    plugins: tuple[str, ...] = ()
    """Installed packages whose plug-ins of yt-dlp are used."""
    egress: str = "default"
    """Names the address that requests leave from: workers that give the same name share one budget."""
    budget: Budget = field(default_factory=Budget)
    patience: Patience = field(default_factory=Patience)
    state: str = ""
    """Folder of the budget's state; "" for `politeness` in the workspace."""
    run: str = field(default_factory=lambda: secrets.token_hex(8), compare=False)
    """Names the run, for the breaker."""

    @property
    def address(self) -> str:
        """Names the address that requests leave from; a proxy has one of its own, and its URL is not shown."""
        return f"{self.egress}-{hashlib.sha256(self.proxy.encode()).hexdigest()[:8]}" if self.proxy else self.egress

    def check(self) -> None:
        """Raises `ConfigurationError` when a file that is named is missing, no plain file or open to others, an
        argument is not allowed or a plug-in is not installed."""
        _cookie_text(self.cookies)
        extras.arguments(self.extractor_args, self.extractor_args_file, self.plugins)
        extras.named(self.plugins)


@dataclass(frozen=True, slots=True)
class Rendition:
    """Where one rendition of a video lies. The URL carries the user's address and a signature: never record it."""

    url: str
    headers: tuple[tuple[str, str], ...]
    chunk: int
    """The most bytes that one request may ask for; 0 for no limit. YouTube throttles longer answers."""
    size: int
    """Bytes as announced; 0 where unknown."""
    playlist: bool
    """Whether a playlist of fragments (HLS) lies at `url`."""
    fragments: tuple[Fragment, ...]
    """The fragments that it consists of (DASH); none for a whole file."""
    duration: float
    """Seconds as announced; 0 where unknown."""
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a playlist or channel, as its own page tells it."""

    url: str
    title: str
    channel: str


def listed(info: Mapping[str, Any]) -> Iterator[Listed]:
    """The entries of yt-dlp's flat extraction of a playlist; those without a URL (deleted, hidden) are passed over."""
    for entry in info.get("entries") or ():
        if entry and entry.get("url"):
            owner = next(
                (_text(of, name) for of in (entry, info) for name in ("channel", "uploader") if of.get(name)), ""
            )
            yield Listed(str(entry["url"]), _text(entry, "title"), owner)


def choose(formats: Sequence[Mapping[str, Any]], short_side: int) -> Mapping[str, Any]:
    """The smallest rendition whose short side has at least `short_side` pixels.

    Ties: fewer frames per second, codec in the order of `CODECS`, video alone before video with audio, lower bit rate,
    then the id. Upscaled and damaged renditions come last. Whole files over http(s) come first; where none is large
    enough, fragments of DASH and HLS are candidates. Raises `Rejected("no_format")`, `Rejected("gone.drm")` where all
    is encrypted; when no video is offered at all, `Retry("blocked.formats")`.
    """
    videos = [f for f in formats if f.get("vcodec") not in (None, "none") and _short_side(f)]
    if videos and all(f.get("has_drm") is True for f in videos):
        raise Rejected("gone.drm", "every rendition is encrypted")
    whole, parts = [f for f in videos if _is_whole(f)], [f for f in videos if _is_in_parts(f)]
    usable = [*whole, *parts]
    if not usable:
        offered = sorted({str(f.get("protocol")) for f in videos})
        raise Retry(
            "blocked.formats", f"no video is offered that can be fetched (offered: {', '.join(offered) or 'nothing'})"
        )
    large = [f for f in whole if _short_side(f) >= short_side] or [f for f in parts if _short_side(f) >= short_side]
    if not large:
        best = max(_short_side(f) for f in usable)
        raise Rejected(
            "no_format",
            f"the largest rendition that can be fetched has a short side of {best} pixels, "
            f"the recipe asks for {short_side}",
        )
    return min(large, key=_rank)


def _is_whole(f: Mapping[str, Any]) -> bool:
    return f.get("protocol") in ("http", "https") and not f.get("fragments")


def _is_in_parts(f: Mapping[str, Any]) -> bool:
    dash = f.get("protocol") == "http_dash_segments" and bool(f.get("fragments"))
    return (dash or f.get("protocol") in PLAYLISTS) and f.get("has_drm") is not True


def _rank(f: Mapping[str, Any]) -> tuple[Any, ...]:
    codec = next((i for i, name in enumerate(CODECS) if str(f["vcodec"]).startswith(name)), len(CODECS))
    altered = str(f.get("format_id", "")).endswith("-sr") or (f.get("preference") or 0) <= -10
    return (
        altered,
        _short_side(f),
        f.get("dynamic_range") not in (None, "SDR"),
        f.get("fps") or 0,
        codec,
        f.get("acodec") not in (None, "none"),
        f.get("tbr") or math.inf,
        str(f.get("protocol")),
        str(f.get("format_id")),
    )


def _short_side(f: Mapping[str, Any]) -> int:
    sides = [int(f[k]) for k in ("width", "height") if f.get(k)]
    return min(sides, default=0)


HIDDEN = re.compile(r"formats (may|have been)|PO Token|SABR|challenge")
"""What yt-dlp says where it could not see all renditions."""


PLAYLISTS = ("m3u8_native", "m3u8")
"""What yt-dlp calls HLS."""


class _Log:
    """Takes yt-dlp's messages instead of the terminal; keeps the warnings, which say why formats are missing."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        """Dropped: progress, and with `[debug] ` things that may hold URLs."""

    def info(self, message: str) -> None:
        """Dropped."""

    def warning(self, message: str) -> None:
        """Kept."""
        self.warnings.append(message)

    def error(self, message: str) -> None:
        """Dropped: the same text is raised."""


class _Downloader(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """A `YoutubeDL` whose every request, of any part of yt-dlp, waits for its turn until `latest` at most, and, unless
    `private`, goes to the public Internet."""

    def __init__(self, params: dict[str, Any], polite: Politeness, latest: float, private: bool) -> None:
        self._polite, self._latest, self._private = polite, latest, private
        self.hints: list[str] = []
        """What yt-dlp says of renditions that it leaves out, as it now does for the clients it asks by default."""
        self.after = 0.0
        """Seconds of the last Retry-After; 0 for none."""
        super().__init__(params)

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        """As in yt-dlp, with answers that must not dribble; every other handler would be asked if one refuses."""
        paced = [PacedRH if handler is RequestsRH else handler for handler in handlers]
        return super().build_request_director(paced if self._private else (JudgedRH,), preferences)

    def write_debug(self, message: str, only_once: bool = False) -> None:
        """Kept if it says why renditions are missing, else dropped: it may hold URLs."""
        if "formats" in message and HIDDEN.search(message):
            self.hints.append(message)

    def urlopen(self, req: Any) -> Any:
        """As in yt-dlp. A redirect that was followed counts as one more request; a Retry-After holds all workers."""
        asked = req if isinstance(req, str) else req.url
        host = urlsplit(asked).hostname or ""
        self._polite.take(host, self._latest - time.monotonic())
        try:
            response = super().urlopen(req)
        except HTTPError as why:
            self.after = told(why)
            if self.after:
                self._polite.hold(host, self.after)
            raise
        if urlsplit(response.url)[:3] != urlsplit(asked)[:3]:
            self._polite.take(urlsplit(response.url).hostname or "", self._latest - time.monotonic())
        return response


class Client:
    """One worker's access to the network, a context manager.

    `cache` is a folder for yt-dlp's parsed players, which saves requests; no turn is waited for beyond `latest`,
    seconds of `time.monotonic`. `private` allows addresses inside the own network.
    """

    def __init__(
        self,
        extractors: tuple[str, ...],
        access: Access,
        cache: Path,
        polite: Politeness,
        latest: float,
        *,
        private: bool,
    ) -> None:
        if bad := [name for name in extractors if name in ("all", "default") or name.startswith("-")]:
            raise ConfigurationError(
                f"extractors: {', '.join(bad)} names no single extractor; list them, e.g. youtube"
            )
        self._plugins = _plugged(access.plugins)
        self._tool = TOOL + extras.named(access.plugins)
        cookies = _cookie_text(access.cookies)
        given = extras.arguments(access.extractor_args, access.extractor_args_file, access.plugins)
        self.secrets = (*_cookie_values(cookies), *extras.secrets_in(given), urlsplit(access.proxy).password or "")
        self._log = _Log()
        params = _params(extractors, access, cookies, cache) | {"logger": self._log, "extractor_args": given}
        self._ydl = _Downloader(params, polite, latest, private)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._ydl.close()
        self._plugins.cleanup()

    def knows(self, url: str) -> bool:
        """Whether one of the allowed extractors says that the URL is its own; asks nobody."""
        return any(extractor.suitable(url) for extractor in self._ydl._ies.values())

    def rendition(self, url: str, short_side: int) -> Rendition:
        """Ask the site of `url` for its renditions and choose one. Raises `Rejected` or `Retry`."""
        self._log.warnings.clear()
        self._ydl.hints.clear()
        self._ydl._printed_messages.clear()
        self._ydl.after = 0.0
        with self.refusals():
            info = self._extracted(url)
            _refuse_unusual(info)
            self._ydl.format_selector = lambda ctx: [self._choose(ctx["formats"], short_side)]
            info = self._ydl.process_ie_result(info, download=False)
        return _rendition(info, self._tool)

    def listing(self, url: str, most: int) -> tuple[Listed, ...]:
        """The first `most` videos of a playlist or channel; asks for its pages, not for the videos themselves.

        Raises `Rejected`, also for a URL that names no list, or `Retry`.
        """
        with self.refusals():
            self._ydl.params |= {"extract_flat": True, "playlistend": most}
            info = self._ydl.extract_info(url, download=False)
            if not info or info.get("_type") != "playlist":
                raise Rejected("unsupported", "the URL names no playlist or channel")
            return tuple(itertools.islice(listed(info), most))

    def open(self, url: str, headers: Mapping[str, str]) -> Any:
        """yt-dlp's response to a GET, body not yet read. Raises yt-dlp's `RequestError` and its subclasses."""
        return self._ydl.urlopen(Request(url, headers={"Accept-Encoding": "identity", **headers}))

    def _extracted(self, url: str) -> Any:
        """What the site says. A crash of an extractor is yt-dlp's, and its traceback may hold signed URLs."""
        try:
            return self._ydl.extract_info(url, download=False, process=False)
        except (YoutubeDLError, OSError, Retry):
            raise
        except Exception as why:
            text = redact(f"{type(why).__name__}: {why}", self.secrets)
            raise Retry("unknown.extractor", f"yt-dlp failed: {text}") from None

    def _choose(self, formats: Sequence[Mapping[str, Any]], short_side: int) -> Mapping[str, Any]:
        """As `choose`; "too small" is doubted when yt-dlp could not see all renditions."""
        try:
            return choose(formats, short_side)
        except Rejected as why:
            if self._hides(formats):
                said = f"{why.detail}; yt-dlp could not see all formats"
                raise typed(self._hidden(), said) from None
            raise
        except Retry as why:
            raise typed(self._hidden(), why.detail) from None

    def _hides(self, formats: Sequence[Mapping[str, Any]]) -> bool:
        """Whether renditions are likely to be missing. Some clients always get less than others: what yt-dlp only
        hints at counts where no client got more than the one rendition with sound that YouTube gives to all."""
        ladder = [f for f in formats if f.get("vcodec") not in (None, "none") and f.get("acodec") in (None, "none")]
        return any(map(HIDDEN.search, self._log.warnings)) or (not ladder and bool(self._ydl.hints))

    def _hidden(self) -> Reason:
        """Why no rendition can be had, by what yt-dlp said of those it left out."""
        kinds = {classify(said).kind for said in (*self._ydl.hints, *self._log.warnings)}
        kind = next((kind for kind in ("blocked.token", "blocked.sabr") if kind in kinds), "blocked.formats")
        return Reason(FAILED, kind)

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """Turn yt-dlp's errors into `Rejected` and `Retry`; other exceptions are bugs and pass."""
        try:
            yield
        except (YoutubeDLError, OSError) as why:
            if isinstance(why, OSError) and not isinstance(why, YoutubeDLError | ConnectionError | TimeoutError):
                raise
            inner = typed_inside(why)
            if inner is not None:
                raise inner from None
            raise self._typed(why) from None

    def _typed(self, why: BaseException) -> Rejected | Retry:
        """A refusal. Where the error itself says nothing, the warnings before it may: YouTube's extractor turns a
        refused or broken connection to the player API into a warning, and fails later without the cause.
        """
        reason = Reason(REJECTED, "unsupported") if _caused_by(why, UnsupportedError) else classify(str(why))
        text = str(why)
        if reason.kind.startswith("unknown"):
            causes = [(classify(w), w) for w in reversed(self._log.warnings)]
            reason, text = next(
                ((r, w) for r, w in causes if r.kind.startswith(("network.", "blocked."))), (reason, text)
            )
        if reason.kind == "blocked.formats":
            reason = self._hidden()
        return typed(reason, redact(text, self.secrets), told(why) or self._ydl.after)


def _params(extractors: tuple[str, ...], access: Access, cookies: str, cache: Path) -> dict[str, Any]:
    """Parameters of `YoutubeDL`. What is not named here is off by default: programs to run, netrc, browsers' cookies,
    external downloaders, remote components, files beside the media. Only its command line reads configuration files.
    """
    params: dict[str, Any] = {
        "allowed_extractors": [re.escape(name) for name in extractors],
        "cachedir": str(cache),
        "check_formats": False,
        "enable_file_urls": False,
        "extractor_retries": 0,
        "geo_bypass": False,
        "ignoreerrors": False,
        "js_runtimes": {name: {} for name in RUNTIMES},
        "no_color": True,
        "noplaylist": True,
        "noprogress": True,
        "postprocessors": [],
        "quiet": True,
        "remote_components": [],
        "skip_download": True,
        "socket_timeout": access.patience.silence,
    }
    if cookies:
        params["cookiefile"] = io.StringIO(cookies)
    if access.proxy:
        params["proxy"] = access.proxy
    return params


def _plugged(plugins: tuple[str, ...]) -> "tempfile.TemporaryDirectory[str]":
    """A folder of plug-ins for as long as a client works, and yt-dlp told to look there and nowhere else."""
    folder = tempfile.TemporaryDirectory(prefix="yt-dlp-plugins-")
    extras.link(plugins, Path(folder.name))
    yt_dlp.globals.plugin_dirs.value = [folder.name] if plugins else []
    if plugins:
        yt_dlp.globals.all_plugins_loaded.value = False
    return folder


def _cookie_text(path: str) -> str:
    """The user's cookie file, read once: yt-dlp gets a copy in memory and cannot write to the file."""
    if not path:
        return ""
    text = extras.private_text(path, "cookies")
    if not re.match(r"#\s*(netscape|http) ", text, re.IGNORECASE):
        raise ConfigurationError(f"cookies: {path} is no Netscape cookie file; its first line must say so")
    return text


def _cookie_values(text: str) -> tuple[str, ...]:
    """Values of at least 4 characters; shorter ones are flags, and hiding them would garble every message."""
    rows = [line.removeprefix("#HttpOnly_").split("\t") for line in text.splitlines()]
    return tuple(sorted({row[6].strip() for row in rows if len(row) == 7 and len(row[6].strip()) >= 4}))


def _refuse_unusual(info: Mapping[str, Any] | None) -> None:
    if info is None or info.get("_type", "video") != "video":
        kind = "nothing" if info is None else info["_type"]
        raise Rejected("unsupported", f"the URL names {kind}, not one video")
    status = info.get("live_status") or ("is_live" if info.get("is_live") else "")
    if status in ("is_live", "is_upcoming", "post_live"):
        raise Rejected("gone.upcoming" if status == "is_upcoming" else "gone.live", f"live status is {status}")


def _rendition(info: Mapping[str, Any], tool: str) -> Rendition:
    headers = {k: str(v) for k, v in (info.get("http_headers") or {}).items() if k.lower() != "cookie"}
    return Rendition(
        url=info["url"],
        headers=tuple(sorted(headers.items())),
        chunk=int((info.get("downloader_options") or {}).get("http_chunk_size") or 0),
        size=int(info.get("filesize") or 0),
        playlist=info.get("protocol") in PLAYLISTS,
        fragments=of_manifest(info["fragments"], str(info.get("fragment_base_url") or info["url"]))
        if info.get("fragments")
        else (),
        duration=float(info.get("duration") or 0),
        upstream=Upstream(
            extractor=_text(info, "extractor"),
            format_id=_text(info, "format_id"),
            protocol=_text(info, "protocol"),
            title=_text(info, "title"),
            channel=_text(info, "channel") or _text(info, "uploader"),
            channel_id=_text(info, "channel_id") or _text(info, "uploader_id"),
            licence=_text(info, "license"),
            upload_date=_text(info, "upload_date"),
            availability=_text(info, "availability"),
            live_status=_text(info, "live_status"),
            age_limit=int(info.get("age_limit") or 0),
            duration=float(info.get("duration") or 0),
            size=int(info.get("filesize") or 0),
            revision=_modified(info["url"]),
            tool=tool,
        ),
    )


def _modified(url: str) -> str:
    """When YouTube made a rendition, in its own count; of a media URL that is dropped then. "" elsewhere."""
    found = re.search(r"[?&]lmt=(\d{1,20})(&|$)", url)
    return found[1] if found else ""


def _text(info: Mapping[str, Any], name: str) -> str:
    return one_line(str(info.get(name) or ""))


def told(error: BaseException) -> float:
    """Seconds of the Retry-After header of the HTTP answer that an error goes back to; 0 for none."""
    answer = next((e for e in _chain(error) if isinstance(e, HTTPError)), None)
    return retry_after(answer.response.headers.get("Retry-After") or "", time.time()) if answer else 0.0


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    return any(isinstance(e, kind) for e in _chain(error))


def typed_inside(error: BaseException) -> Rejected | Retry | None:
    """Our own refusal that yt-dlp wrapped in one of its errors on the way up, e.g. of the request budget."""
    return next((e for e in _chain(error) if isinstance(e, Rejected | Retry)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        info = getattr(error, "exc_info", None)
        inner = info[1] if info and info[1] is not error else None
        error = inner or getattr(error, "cause", None) or error.__cause__ or error.__context__
        if not isinstance(error, BaseException):
            return


__all__ = [
    "Access",
    "Client",
    "ConfigurationError",
    "ExtractorError",
    "HTTPError",
    "Listed",
    "Rendition",
    "RequestError",
    "choose",
    "listed",
    "told",
    "typed_inside",
]
