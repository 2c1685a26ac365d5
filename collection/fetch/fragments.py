"""A video in fragments: what a media playlist of HLS (RFC 8216) or yt-dlp's reading of a DASH manifest names.

Nothing is fetched here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import urljoin, urlsplit

from collection.engine.stage import Rejected, Retry

MOST = 100_000
"""Fragments of one video at most: a day of one-second fragments is 86 400."""


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes `[start, stop)` of a URL; all of it where `stop` is 0."""

    url: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Key:
    """AES-128 in CBC mode with PKCS #7 padding (RFC 8216, 4.3.2.4)."""

    url: str
    vector: bytes
    """16 bytes."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One fragment; those of a video form one stream when joined in their order, each header before its fragments."""

    place: Place
    seconds: Fraction
    """As announced, which is rounded; 0 where it is not said."""
    header: Place | None
    """Initialization section that must stand before this fragment and those that have the same."""
    key: Key | None
    header_key: Key | None
    anew: bool
    """Whether clock or encoding restart here."""
    missing: bool
    """Whether the playlist itself says that the fragment is not there."""


def of_playlist(text: str, url: str) -> tuple[Fragment, ...]:
    """The fragments of an HLS media playlist that lies at `url`.

    Raises `Rejected`: `gone.live` while it still grows, `gone.drm` for encryption whose key is not given,
    `unsupported` for a playlist of playlists, `too_long`; `Retry("unknown.page")` for what is not a playlist.
    """
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    if not lines or lines[0] != "#EXTM3U":
        raise Retry("unknown.page", "the playlist of fragments begins with something else than #EXTM3U")
    if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
        raise Rejected("unsupported", "a playlist of playlists instead of one of fragments")
    if "#EXT-X-ENDLIST" not in lines:
        raise Rejected("gone.live", "the playlist of fragments has no end: a live stream")
    reader = _Reader(url)
    for line in lines:
        reader.read(line)
    if not reader.found:
        raise Retry("unknown.page", "the playlist names no fragment")
    return tuple(reader.found)


def of_manifest(parts: Sequence[Mapping[str, Any]], base: str) -> tuple[Fragment, ...]:
    """The fragments of a DASH representation as yt-dlp lists them: a part without a duration is the header of those
    behind it. Raises `Rejected`."""
    if len(parts) > MOST:
        raise Rejected("too_long", f"a manifest of more than {MOST} fragments")
    found: list[Fragment] = []
    header, anew = None, False
    for part in parts:
        place = Place(_web(str(part.get("url") or urljoin(base, str(part.get("path", "")))), base), 0, 0)
        if "duration" in part:
            seconds = Fraction(str(part["duration"] or 0))
            found.append(Fragment(place, seconds, header, None, None, anew, False))
            anew = False
        else:
            header, anew = place, bool(found)
    if not found:
        raise Rejected("unsupported", "the manifest names no fragment with a duration")
    return tuple(found)


class _Reader:
    """What the tags of a playlist mean for the fragments that follow."""

    def __init__(self, url: str) -> None:
        self.found: list[Fragment] = []
        self._base, self._number = url, 0
        self._key: tuple[str, bytes] | None = None
        self._header: Place | None = None
        self._header_key: Key | None = None
        self._begin()

    def _begin(self) -> None:
        self._seconds, self._range = Fraction(0), ""
        self._anew = self._missing = False

    def read(self, line: str) -> None:
        """Take one line."""
        tag, _, value = line.partition(":")
        if line and not line.startswith("#"):
            self._fragment(line)
        elif tag == "#EXTINF":
            length = re.match(r"\d{1,9}(\.\d{1,12})?", value)
            self._seconds = Fraction(length[0]) if length else Fraction(0)
        elif tag == "#EXT-X-BYTERANGE":
            self._range = value
        elif tag == "#EXT-X-MEDIA-SEQUENCE":
            self._number = int(value) if re.fullmatch(r"\d{1,18}", value) else 0
        elif tag == "#EXT-X-DISCONTINUITY":
            self._anew = bool(self.found)
        elif tag == "#EXT-X-GAP":
            self._missing = True
        elif tag == "#EXT-X-KEY":
            self._key = self._key_of(_attributes(value))
        elif tag == "#EXT-X-MAP":
            self._map(_attributes(value))

    def _fragment(self, line: str) -> None:
        if len(self.found) == MOST:
            raise Rejected("too_long", f"a playlist of more than {MOST} fragments")
        url = _web(urljoin(self._base, line), self._base)
        before = self.found[-1].place if self.found else None
        follows = before.stop if before and before.url == url else 0
        place = _ranged(url, self._range, follows)
        self.found.append(
            Fragment(place, self._seconds, self._header, self._key_now(), self._header_key, self._anew, self._missing)
        )
        self._number += 1
        self._begin()

    def _key_now(self) -> Key | None:
        if self._key is None:
            return None
        url, vector = self._key
        return Key(url, vector or self._number.to_bytes(16, "big"))

    def _key_of(self, said: Mapping[str, str]) -> tuple[str, bytes] | None:
        if said.get("METHOD") == "NONE":
            return None
        if said.get("METHOD") != "AES-128" or said.get("KEYFORMAT", "identity") != "identity" or not said.get("URI"):
            raise Rejected("gone.drm", f"fragments are encrypted ({said.get('METHOD', 'no method')[:40]})")
        vector = said.get("IV", "")
        if vector and not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,32}", vector):
            raise Retry("unknown.page", "the playlist has an initialization vector that is not a 128-bit number")
        url = _web(urljoin(self._base, said["URI"]), self._base)
        return url, int(vector, 16).to_bytes(16, "big") if vector else b""

    def _map(self, said: Mapping[str, str]) -> None:
        url = _web(urljoin(self._base, said.get("URI", "")), self._base)
        self._header, self._header_key = _ranged(url, said.get("BYTERANGE", ""), 0), self._key_now()


def _attributes(text: str) -> dict[str, str]:
    """An attribute list (RFC 8216, 4.2) with its quotes taken off."""
    return {name: value.strip('"') for name, value in re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)', text)}


def _ranged(url: str, text: str, follows: int) -> Place:
    """`length[@offset]`; without an offset, right after the previous fragment."""
    if not text:
        return Place(url, 0, 0)
    found = re.fullmatch(r"(\d{1,18})(?:@(\d{1,18}))?", text)
    if not found or not int(found[1]):
        raise Retry("unknown.page", f"the playlist has a byte range that is none: {text[:40]!r}")
    start = int(found[2]) if found[2] else follows
    return Place(url, start, start + int(found[1]))


def _web(url: str, base: str) -> str:
    """A fragment's URL, which must be one of http(s): a playlist may name files and programs too."""
    if urlsplit(url).scheme not in ("http", "https"):
        where = urlsplit(base).hostname
        raise Rejected("unsupported", f"the playlist of {where} names something that is not an http(s) URL")
    return url
