"""A video in fragments, or the span of one, as one file: each fragment fetched by a request of our own, decrypted, and
written after the one before. Nothing is decoded but, for a span, the times of packets.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from Cryptodome.Cipher import AES
from Cryptodome.Util.Padding import unpad

from collection.engine.stage import Needs, Rejected, Retry
from collection.fetch.fragments import Fragment, Key, Place
from collection.fetch.spans import LEAD
from collection.media.probe import GUARDS, sniff
from collection.sandbox.apart import apart
from mlst.records import OPEN_END
from mlst.sandbox.kernel import Room

TIMING = Needs(seconds=600.0, memory=4 << 30, network=False)
"""What reading the times of fragments may use."""

PLAYLIST_BYTES, FRAGMENT_BYTES = 16 << 20, 256 << 20
"""The most that a playlist and a fragment may have: both are held in memory."""

Read = Callable[[Place], bytes]
"""Gives the bytes of a place, by one polite request with its retries."""


@dataclass(frozen=True, slots=True)
class Times:
    """When video packets of a file are shown, in ticks of `time_base` seconds."""

    first: int
    """Of the smallest pts."""
    key: int
    """Of the first key frame."""
    last: int
    """Of the largest pts."""
    time_base: Fraction


@dataclass(slots=True)
class Joiner:
    """The fragments of one video; `folder` takes unfinished files, `limit` is the most bytes that the video may
    have."""

    fragments: tuple[Fragment, ...]
    read: Read
    folder: Path
    limit: int
    _keys: dict[str, bytes] = field(default_factory=dict)
    _headers: dict[Place, bytes] = field(default_factory=dict)

    def whole(self, target: Path) -> None:
        """Join all fragments. Raises `Rejected` and `Retry`.

        Transport streams may start anew within (ISO/IEC 13818-1, 2.4.3.5): whoever reads the file finds a break there.
        """
        if any(fragment.header for fragment in self.fragments):
            self._check(0, len(self.fragments))
        self._join(0, len(self.fragments), target)

    def span(self, start: Fraction, end: Fraction, target: Path) -> Fraction:
        """Join the fragments that show `[start, end)` and a key frame at least `LEAD` before, or the beginning.

        `start` and `end` are seconds on the source's own clock, whose 0 is the first video frame. Announced lengths
        only say where to look; the times of the packets decide. Returns the time on the clock of the file at which the
        source's shows 0.
        """
        low, high = self._guess(start, end)
        self._check(0, high)
        self._join(0, 1, target)
        times = _times(target)
        zero = times.first * times.time_base
        while True:
            self._check(0, high)
            self._join(low, high, target)
            times = _times(target)
            if low and times.key * times.time_base - zero > max(start - LEAD, Fraction(0)):
                low -= 1
            elif high < len(self.fragments) and times.last * times.time_base - zero < end:
                high += 1
            else:
                return zero

    def _guess(self, start: Fraction, end: Fraction) -> tuple[int, int]:
        at, low, high = Fraction(0), 0, 0
        for n, fragment in enumerate(self.fragments):
            if at <= start - LEAD:
                low = n
            if end == OPEN_END or at < end:
                high = n + 1
            at += fragment.seconds
        return low, max(high, low + 1)

    def _check(self, low: int, high: int) -> None:
        """Refuse fragments that cannot be joined into one stream with one clock."""
        for n in range(low + 1, high):
            one, before = self.fragments[n], self.fragments[n - 1]
            if one.anew or one.header != before.header:
                at = float(sum(fragment.seconds for fragment in self.fragments[:n]))
                raise Rejected(
                    "discontinuity",
                    f"fragment {n + 1} of {len(self.fragments)}, at about {at:.1f} s, begins a clock or an encoding "
                    "of its own: times behind it are not known exactly; spans before it can be had",
                )

    def _join(self, low: int, high: int, target: Path) -> None:
        with target.open("wb") as out:
            header = self.fragments[low].header
            if header:
                if header not in self._headers:
                    self._headers[header] = self._plain(header, self.fragments[low].header_key)
                out.write(self._headers[header])
            for n in range(low, high):
                self._append(n, out)

    def _append(self, n: int, out: BinaryIO) -> None:
        stored = self.folder / f"fragment-{n}"
        if not stored.exists():
            stored.write_bytes(self._fragment(n))
        out.write(stored.read_bytes())
        if out.tell() > self.limit:
            raise Rejected("too_large", f"more than {self.limit} bytes, which the recipe allows")

    def _fragment(self, n: int) -> bytes:
        fragment = self.fragments[n]
        if fragment.missing:
            raise Retry(
                "network.truncated", f"fragment {n + 1} of {len(self.fragments)} is missing, its playlist says"
            )
        try:
            return self._plain(fragment.place, fragment.key)
        except Rejected as why:
            if why.kind != "gone.missing":
                raise
            detail = f"fragment {n + 1} of {len(self.fragments)} is missing: {why.detail}"
            raise Retry("network.truncated", detail) from None

    def _plain(self, place: Place, key: Key | None) -> bytes:
        """The bytes of a place, decrypted."""
        data = self.read(place)
        if key is None:
            return data
        if key.url not in self._keys:
            self._keys[key.url] = self.read(Place(key.url, 0, 0))
        secret = self._keys[key.url]
        if len(secret) != 16:
            raise Rejected("gone.drm", f"the key of the fragments has {len(secret)} bytes, not 16")
        try:
            return unpad(AES.new(secret, AES.MODE_CBC, key.vector).decrypt(data), AES.block_size)
        except ValueError as why:
            raise Retry(
                "network.truncated", f"an encrypted fragment of {len(data)} bytes cannot be read: {why}"
            ) from None


def _times(path: Path) -> Times:
    """Read apart from the network, as every demuxer of fetched files."""
    container = sniff(path)
    return apart(Times, lambda: _shown(path, container), TIMING, Room((path,), ()))


def _shown(path: Path, container: str) -> Times:
    try:
        with av.open(f"file:{path}", "r", format=container, options=GUARDS, metadata_errors="replace") as media:
            (stream, *_) = media.streams.video
            packets = [(packet.pts, packet.is_keyframe) for packet in media.demux(stream) if packet.size]
            keys = [pts for pts, key in packets if key and pts is not None]
            shown = [pts for pts, _ in packets if pts is not None]
            if not keys or stream.time_base is None:
                raise Rejected("no_timestamps", "fragments without a key frame that says when it is shown")
            return Times(min(shown), keys[0], max(shown), stream.time_base)
    except (av.FFmpegError, ValueError) as why:
        raise Rejected("corrupt", f"fragments that the {container} demuxer cannot read: {why}") from None
