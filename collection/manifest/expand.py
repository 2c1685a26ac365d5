"""Playlists and channels -> manifest rows, through yt-dlp's flat extraction, which asks for the lists' pages only."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from collection.addresses import group_of, is_web, listing_url, locate, youtube_id
from collection.fetch.ytdlp import Client, Listed
from collection.manifest.importers import source_id
from collection.manifest.table import clean
from collection.recipe import FetchSettings
from mlst.exits import UserError
from mlst.records import OPEN_END, Source

LISTERS = {"youtube": ("youtube:tab", "youtube:playlist")}
"""yt-dlp extractors that read the lists of a site, by the extractor that reads its videos."""


class ListError(UserError, ValueError):
    """A URL that names no playlist or channel, or one that is not allowed; the text says what is expected."""


def listers(extractors: Iterable[str]) -> tuple[str, ...]:
    """The extractors a client needs for `expand`: the allowed ones and those for the lists of the same sites."""
    return tuple(name for allowed in extractors for name in (allowed, *LISTERS.get(allowed, ())))


def expand(url: str, client: Client, fetch: FetchSettings, licence: str, most: int) -> tuple[Source, ...]:
    """One row per video of a playlist or channel, at most `most`, each video once, in the order of the list.

    `client` must allow `listers(fetch.extractors)`; what `fetch` does not allow is left out. Raises `ListError` for a
    URL that names no list, `Rejected` or `Retry` when the site does not give it.
    """
    try:
        address = listing_url(url) or locate(url, fetch, Path())
    except ValueError as why:
        raise ListError(f"{url!r} cannot be expanded; allowed is {why}") from None
    if not is_web(address) or youtube_id(address):
        raise ListError(f"{url!r} names one video or file; allowed is a link to a playlist or channel")
    return tuple(rows(client.listing(address, most), address, fetch, licence))


def rows(entries: Iterable[Listed], address: str, fetch: FetchSettings, licence: str) -> Iterator[Source]:
    """The rows for the entries of the list at `address`."""
    seen = set()
    for entry in entries:
        try:
            url = locate(entry.url, fetch, Path())
        except ValueError:
            continue
        if url in seen:
            continue
        seen.add(url)
        title, channel = clean(entry.title, "title"), clean(entry.channel, "channel")
        origin = clean(f"listed by {address}", "provenance")
        yield Source(source_id(url), url, Fraction(0), OPEN_END, licence, title, channel, group_of(url), origin)
