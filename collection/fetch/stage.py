"""Source -> Video: take a file from beside the manifest, from a web server, or from a site that yt-dlp knows.

The outcome is a function of the source and the settings alone: a span that was fetched in parts and one that was cut
from a whole download are the same bytes.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from collection.addresses import is_web, watch_url, youtube_id
from collection.engine.stage import Expected, Needs, Rejected, Retry
from collection.fetch.fragments import Place, of_playlist
from collection.fetch.joining import FRAGMENT_BYTES, PLAYLIST_BYTES, Joiner
from collection.fetch.local import local_file
from collection.fetch.spans import Distant, Whole, copy_span
from collection.fetch.transfer import Transfer, Wire
from collection.fetch.ytdlp import TOOL, Access, Client, Rendition
from collection.licences import accepted
from collection.media.probe import CODECS, CONTAINERS, probe, sniff
from collection.politeness.budget import Politeness, retrying
from collection.politeness.keeper import politeness
from collection.recipe import FetchSettings, Limits
from collection.sandbox.apart import apart
from collection.workspace.folder import Span, Workspace
from mlst.files import PART
from mlst.records import OPEN_END, Probe, Source, Upstream, Video, digest
from mlst.sandbox.kernel import Room

T = TypeVar("T")

EXTENSIONS = {"mov": "mp4", "matroska": "mkv", "mpegts": "ts", "mpegps": "mpg", "yuv4mpegpipe": "y4m"}
"""Of stored files, by demuxer; others are named like their demuxer. Nothing ever goes by these names."""

PROBING = Needs(seconds=3600.0, memory=4 << 30, network=False)
"""What looking at a fetched file may use: libav decodes a few frames of it."""

RESERVE = 60.0
"""Seconds of the deadline that are kept for cutting, hashing and probing."""


@dataclass(frozen=True, slots=True)
class FetchStage:
    """Fetches one source. `access` says how the network is used and is part of no fingerprint."""

    name: ClassVar[str] = "fetch"
    version: ClassVar[int] = 3
    output: ClassVar[type[Video]] = Video
    needs: ClassVar[Needs] = Needs(seconds=3600.0, memory=0, network=True)
    """No limit on address space: the JavaScript runtimes that yt-dlp starts reserve many GB without using them."""

    recipe: FetchSettings
    manifest: str
    """The folder of the manifest; local sources are relative to it."""
    access: Access
    excluded: frozenset[str] = frozenset()
    """Ids of sources that must not be used: refused, and what an earlier build fetched of them is not seen."""

    def settings(self) -> Any:
        """Everything in the recipe's table; how the network is used changes no outcome that is kept. What was added
        later is left out at its default, so that videos fetched before are found."""
        settings = self.recipe.model_dump(mode="json")
        return {name: value for name, value in settings.items() if value or name not in ("private", "licences")}

    def key(self, source: Source) -> str:
        """The id, and a digest of what is fetched under it."""
        return f"{source.id}@{'excluded' if source.id in self.excluded else _digest(source)}"

    def reads(self, source: Source) -> Iterable[Span]:
        """Nothing."""
        return ()

    def expects(self, source: Source) -> Expected:
        """The video, in whichever container."""
        name = _media_name(source)
        return Expected(tuple(name + _ending(container) for container in CONTAINERS), 1 << 20)

    def check(self, source: Source, outputs: tuple[Video, ...]) -> None:
        """One video: the span that was asked for, with facts that can be true of it."""
        (found,) = outputs
        facts = found.probe
        if (found.source, found.start, found.end) != (source.id, source.start, source.end) or not found.file:
            raise ValueError(f"a span of {found.source!r} in {found.file!r}")
        if facts.container not in CONTAINERS or facts.codec not in CODECS:
            raise ValueError(f"{facts.codec!r} in {facts.container!r}")
        if _is_nothing(facts):
            raise ValueError("a rate, size or time base that is 0")

    def __call__(self, source: Source, work: Workspace) -> Iterable[Video]:
        """One `Video`. Raises `Rejected` and `Retry` with the kinds in docs/fetching.md."""
        if source.id in self.excluded:
            raise Rejected("excluded", "the recipe's exclusions name it")
        _check_licence(source.licence, self.recipe, "licence", "the manifest")
        with _scratch(work, source) as folder:
            if is_web(source.url):
                found = self._web(source, work, folder, _Web.site, _Web.direct)
            else:
                found = self._local(source, folder)
            yield _video(source, found, work, self.recipe.limits)

    def look(self, source: Source, work: Workspace) -> Upstream:
        """What the site, the server or the file says of a source now. No media is read but the first bytes of a plain
        URL. Raises `Rejected` and `Retry` as a fetch would."""
        if not is_web(source.url):
            return _file(self._path(source))
        with _scratch(work, source) as folder:
            return self._web(source, work, folder, _Web.look_site, _Web.look_direct)

    def _path(self, source: Source) -> Path:
        """Of a local source. Raises `Rejected` and `Retry` where the recipe forbids it or it cannot be used."""
        if not self.recipe.local:
            raise Rejected("not_allowed", "the recipe does not set fetch.local")
        return local_file(source.url, Path(self.manifest))

    def _local(self, source: Source, folder: Path) -> "Found":
        path, copy = self._path(source), folder / "whole"
        said = _file(path)
        _check_size(said.size, self.recipe.limits)
        _link(path, copy)
        return Found(copy, "", Fraction(0), False, said)

    def _web(
        self,
        source: Source,
        work: Workspace,
        folder: Path,
        of_site: "Callable[[_Web, Source, str], T]",
        of_server: "Callable[[_Web, Source], T]",
    ) -> T:
        """Ask the site or the server of a URL, with what budget and breaker allow."""
        polite = politeness(self.access.state or work.budget(), self.access.address, self.access.budget)
        latest = time.monotonic() + self.needs.seconds - RESERVE
        web = _Web(self.recipe, self.access, polite, latest, work.shared("yt-dlp"), folder)
        video = youtube_id(source.url)
        extracted = bool(video) or web.knows(source.url)
        site = "youtube" if video else urlsplit(source.url).hostname or ""
        if not extracted and not self.recipe.http:
            raise Rejected("not_allowed", "the recipe neither sets fetch.http nor names an extractor for this URL")
        item = self.key(source)
        polite.enter(site, item, self.access.run)
        try:
            url = watch_url(video) if video else source.url
            answer = of_site(web, source, url) if extracted else of_server(web, source)
        except (Rejected, Retry) as why:
            own = polite.report(site, item, why.kind)
            if own and why.kind == "blocked.forbidden" and not extracted:
                raise Rejected(
                    "gone.forbidden", f"the server refuses this file and gives others: {why.detail}"
                ) from None
            raise
        polite.report(site, item, "")
        return answer


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was fetched, not yet at its place."""

    path: Path
    container: str
    """"" until it is sniffed."""
    origin: Fraction
    """Of the copy, when `cut`."""
    cut: bool
    """Whether the file holds just the wanted span."""
    upstream: Upstream


NOBODY = Upstream("", "", "", "", "", "", "", "", "", "", 0, 0.0, 0, "", "")
"""Says nothing."""


def _file(path: Path) -> Upstream:
    return replace(NOBODY, extractor="file", size=path.stat().st_size)


@dataclass(frozen=True, slots=True)
class _Web:
    """Fetching over the network for one source."""

    recipe: FetchSettings
    access: Access
    polite: Politeness
    latest: float
    cache: Path
    folder: Path

    def knows(self, url: str) -> bool:
        """Whether an extractor that the recipe allows, other than YouTube's, says that the URL is its own."""
        others = tuple(name for name in self.recipe.extractors if name != "youtube")
        if not others:
            return False
        with self._client(others) as client:
            return client.knows(url)

    def site(self, source: Source, url: str) -> Found:
        """A video of a site that yt-dlp extracts; asked again from the page on when its media link is refused."""
        with self._client(self.recipe.extractors) as client:
            try:
                return self._fetched(source, self._rendition(source, url, client), client)
            except Retry as why:
                if why.kind != "blocked.forbidden":
                    raise
            return self._fetched(source, self._rendition(source, url, client), client)

    def direct(self, source: Source) -> Found:
        """A media URL of the manifest itself."""
        with self._client(()) as client:
            return self._take(source, _plain(source), client, direct=True)

    def look_site(self, source: Source, url: str) -> Upstream:
        """What a site says of the rendition that would be taken."""
        with self._client(self.recipe.extractors) as client:
            return self._rendition(source, url, client).upstream

    def look_direct(self, source: Source) -> Upstream:
        """What a server says of a media URL, by its first bytes."""
        with self._client(()) as client, client.refusals():
            transfer = self._transfer(_plain(source), client, direct=True)
            transfer.begin()
            self._sniffed(transfer)
            return _told(transfer)

    def _client(self, extractors: tuple[str, ...]) -> Client:
        private = self.recipe.private or extractors == ("youtube",)
        return Client(extractors, self.access, self.cache, self.polite, self.latest, private=private)

    def _rendition(self, source: Source, url: str, client: Client) -> Rendition:
        again = retrying(self.access.patience, self.latest, time.monotonic, time.sleep)
        found: Rendition = again(client.rendition, url, self.recipe.short_side)
        _check_length(source, found.duration, self.recipe.limits)
        if found.upstream.licence:
            _check_licence(found.upstream.licence, self.recipe, "licence.conflict", "the site")
        return found

    def _transfer(self, rendition: Rendition, client: Client, direct: bool) -> Transfer:
        limit = self.recipe.limits.bytes
        return Transfer(rendition, Wire(client.open, self.access.patience, limit, self.latest, direct, client.secrets))

    def _fetched(self, source: Source, rendition: Rendition, client: Client) -> Found:
        if rendition.playlist or rendition.fragments:
            with client.refusals():
                return self._join(source, rendition, client)
        return self._take(source, rendition, client, direct=False)

    def _join(self, source: Source, rendition: Rendition, client: Client) -> Found:
        """A video in fragments: all of it, or those of the span."""

        def read(place: Place) -> bytes:
            one = self._transfer(replace(rendition, url=place.url), client, direct=True)
            return one.body(place.start, place.stop, FRAGMENT_BYTES)

        fragments = rendition.fragments
        if rendition.playlist:
            text = self._transfer(rendition, client, direct=False).body(0, 0, PLAYLIST_BYTES)
            fragments = of_playlist(text.decode("utf-8", "replace"), rendition.url)
        joiner, target = Joiner(fragments, read, self.folder, self.recipe.limits.bytes), self.folder / "joined"
        if source.start > 0 or source.end < OPEN_END:
            origin = joiner.span(source.start, source.end, target)
            return Found(target, "", origin, True, rendition.upstream)
        joiner.whole(target)
        return Found(target, "", Fraction(0), False, replace(rendition.upstream, size=target.stat().st_size))

    def _sniffed(self, transfer: Transfer) -> str:
        """The demuxer by the first bytes. Raises `Rejected` or `Retry` for what is not a video file."""
        try:
            return _sniffed(transfer.head, self.folder)
        except Rejected as why:
            raise transfer.unlike_media(why) from None

    def _take(self, source: Source, rendition: Rendition, client: Client, direct: bool) -> Found:
        transfer = self._transfer(rendition, client, direct)
        with client.refusals():
            transfer.begin()
            container = self._sniffed(transfer)
            span = source.start > 0 or source.end < OPEN_END
            cut = self.folder / "cut"
            if span and transfer.ranges and not _scattered(container, transfer.head):
                file = Distant(transfer.read, transfer.size, transfer.head, 256 << 10)
                with contextlib.suppress(Whole):
                    origin = copy_span(file, container, source.start, source.end, cut)
                    return Found(cut, container, origin, True, _told(transfer))
            whole = self.folder / "whole"
            with whole.open("w+b") as out:
                transfer.save(out, container)
        said = _told(transfer)
        if span:
            with contextlib.suppress(Whole):
                origin = copy_span(whole, container, source.start, source.end, cut)
                return Found(cut, container, origin, True, said)
        return Found(whole, container, Fraction(0), False, said)


def _check_licence(said: str, recipe: FetchSettings, kind: str, who: str) -> None:
    if recipe.licences and not accepted(said, recipe.licences):
        raise Rejected(kind, f"{who} says {said or 'nothing'!r}; fetch.licences has {', '.join(recipe.licences)}")


def _plain(source: Source) -> Rendition:
    """The file that a media URL of the manifest names."""
    upstream = replace(NOBODY, extractor="http", protocol=urlsplit(source.url).scheme, tool=TOOL)
    return Rendition(
        url=source.url,
        headers=(),
        chunk=0,
        size=0,
        playlist=False,
        fragments=(),
        duration=0.0,
        upstream=upstream,
    )


def _told(transfer: Transfer) -> Upstream:
    """What is known of a file once its first bytes are here. A site's own word on its revision is the only one that
    can be had without asking for media, so it is not replaced."""
    said = transfer.rendition.upstream
    revision = transfer.version.name[:200] if transfer.wire.direct else said.revision
    return replace(said, size=transfer.size or said.size, revision=revision)


def _video(source: Source, found: Found, work: Workspace, limits: Limits) -> Video:
    """Check a fetched file and move it to its place."""
    container = found.container or sniff(found.path)
    facts = apart(Probe, lambda: probe(found.path, limits), PROBING, Room((found.path,), ()))
    if _is_nothing(facts):
        raise Rejected("corrupt", f"{facts.width}x{facts.height} pixels at {facts.rate} Hz, {facts.duration} s")
    zero = facts.first_pts * facts.time_base
    origin = found.origin if found.cut else zero
    end = zero + facts.duration - origin
    if source.start >= end:
        raise Rejected("span", f"the video ends {float(source.start - end):.3f} s before the span begins")
    name = f"{work.folder}/{_media_name(source)}{_ending(container)}"
    with found.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = found.path.stat().st_size
    work.keep(found.path, name)
    return Video(
        source=source.id,
        start=source.start,
        end=source.end,
        file=name,
        size=size,
        sha256=sha256,
        origin=origin,
        probe=facts,
        upstream=found.upstream,
    )


def _is_nothing(facts: Probe) -> bool:
    """Whether the facts are those of no video: libav opens streams that say no size or rate."""
    sizes = (facts.time_base, facts.rate, facts.width, facts.height, facts.packets)
    return any(size <= 0 for size in sizes) or facts.duration < 0


def _media_name(source: Source) -> str:
    return f"media/{source.id}-{_digest(source)}"


def _ending(container: str) -> str:
    return f".{EXTENSIONS.get(container, container)}"


def _digest(source: Source) -> str:
    return _digest_of(source.url, source.start, source.end)


@lru_cache(maxsize=64, typed=True)
def _digest_of(url: str, start: Fraction, end: Fraction) -> str:
    """Kept for the sources in work, each of which is asked for it some six times."""
    return digest((url, start, end))[:16]


@contextlib.contextmanager
def _scratch(work: Workspace, source: Source) -> Iterator[Path]:
    """A folder for unfinished files, removed afterwards; what a killed attempt left there is removed before."""
    folder = work.root / work.folder / "media" / f".{source.id}-{_digest(source)}{PART}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(path: Path, copy: Path) -> None:
    """A hard link where the file system can; a local source then takes no space a second time."""
    target = path.resolve(strict=True)
    try:
        os.link(target, copy)
    except OSError:
        shutil.copyfile(target, copy)


def _sniffed(head: bytes, folder: Path) -> str:
    """The demuxer by the first bytes. Raises `Rejected` for what is not a video file."""
    path = folder / "head"
    path.write_bytes(head)
    try:
        return sniff(path)
    finally:
        path.unlink()


def _scattered(container: str, head: bytes) -> bool:
    """Whether finding a place in the file means reading it all: a fragmented MP4 without an index (`sidx`)."""
    return container == "mov" and b"moof" in head and b"sidx" not in head


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.bytes:
        raise Rejected("too_large", f"{size} bytes, the recipe allows {limits.bytes}")


def _check_length(source: Source, duration: float, limits: Limits) -> None:
    """By the site's word, before anything is downloaded. The wanted span counts, not the whole video."""
    wanted = min(float(source.end), duration) - float(source.start)
    if duration and wanted > limits.seconds:
        raise Rejected("too_long", f"{wanted:.0f} s, the recipe allows {limits.seconds:.0f}")
    if duration and float(source.start) >= duration + 1:
        raise Rejected("span", f"the video has {duration:.0f} s, the span begins at {float(source.start):.0f} s")
