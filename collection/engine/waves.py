"""Fetch and scan a few sources at a time, so that the disk holds the videos of one wave and not those of the manifest.

A fetched video is needed until its scan is final. Then it is removed, and its source is fetched again only where other
scan settings or a lost file ask for the video once more.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from operator import not_

from collection.engine.run import Driver, Known, Result, Run
from collection.engine.stage import Stage
from mlst.records import Scan, Source, Video

NO_ROW = -1

NOTHING, SCAN, FETCH = range(3)
"""What is left to do on a source when a build begins; what is fetched is scanned afterwards."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The videos that were scanned, each with its scan, by source id; read from the ledgers on every pass."""

    fetched: Result[Video]
    scanned: Result[Scan]

    def __iter__(self) -> Iterator[tuple[Video, Scan]]:
        return _together(self.fetched.outputs, self.scanned.outputs)

    def of(self, sources: Collection[str]) -> Iterator[tuple[Video, Scan]]:
        """Those of some sources, by their ids; no other is decoded."""
        return _together(self.fetched.outcomes.outputs_of(sources), self.scanned.outcomes.outputs_of(sources))


def _together(videos: Iterable[Video], scans: Iterable[Scan]) -> Iterator[tuple[Video, Scan]]:
    rest = iter(videos)
    for scan in scans:
        yield next(video for video in rest if video.source == scan.source), scan


def fetch_and_scan(
    fetch: Stage[Source, Video], scan: Stage[Video, Scan], sources: Sequence[Source], do: Driver
) -> Seen:
    """What the videos of the sources show; `sources` by id. What is known already is not done again."""
    with do.start(fetch) as fetching, do.start(scan) as scanning:
        waves = _Waves(fetching, scanning, do, sources)
        needs = bytes(map(waves.need, range(len(sources))))
        waves.announce(needs)
        left = waves.in_order(needs)
        for start in range(0, len(left), do.wave):
            part = left[start : start + do.wave]
            waves.fetch([n for n in part if needs[n] == FETCH])
            waves.scan(part)
        return waves.end()


class _Waves:
    """Sources by number, with the rows of their fetch and of their scan."""

    def __init__(
        self, fetching: Run[Source, Video], scanning: Run[Video, Scan], do: Driver, sources: Sequence[Source]
    ) -> None:
        self.fetching, self.scanning, self.do, self.sources = fetching, scanning, do, sources
        self.fetched = fetching.expect(sources)
        self.scanned = array("q", [NO_ROW]) * len(sources)

    def need(self, n: int) -> int:
        """What is left to do on a source: NOTHING, SCAN or FETCH. Removes the video of one that is finished."""
        fetch = self.fetching.known(self.fetched[n])
        if not fetch.outputs:
            return FETCH if fetch.open else NOTHING
        (video,) = fetch.outputs
        if self._scan(n, video).open:
            return FETCH if fetch.open else SCAN
        if not fetch.open:
            self._drop(n, video)
        return NOTHING

    def announce(self, needs: bytes) -> None:
        """Say how much there is to do, of the whole build."""
        left = len(needs) - needs.count(NOTHING)
        known = sum(row != NO_ROW and need == NOTHING for row, need in zip(self.scanned, needs, strict=True))
        self.do.watcher.begin(self.fetching.stage.name, len(needs), len(needs) - needs.count(FETCH))
        self.do.watcher.begin(self.scanning.stage.name, known + left, known)

    def in_order(self, needs: bytes) -> "array[int]":
        """The sources there is work to do on. Those that failed before come last: what a site refuses to give must not
        stand before all the others in every run."""
        left = array("Q", (n for n, need in enumerate(needs) if need != NOTHING))
        tried = bytes(self.fetching.was_tried(self.fetched[n]) for n in left)
        return array("Q", chain(compress(left, map(not_, tried)), compress(left, tried)))

    def fetch(self, part: Sequence[int]) -> None:
        """Fetch some sources; which of them have a scan is not known until `scan`."""
        self.fetching([self.sources[n] for n in part])
        for n in part:
            self.scanned[n] = NO_ROW

    def scan(self, part: Sequence[int]) -> None:
        """Scan the videos that some sources have, unless they are known as they are, and remove them."""
        videos = {n: video for n in part for video in self.fetching.known(self.fetched[n]).outputs}
        unknown = [video for n, video in videos.items() if self._scan(n, video).open]
        self.scanning(unknown)
        for n, video in videos.items():
            self._drop(n, video)
        for _ in range(len(part) - len(unknown)):
            self.do.watcher.fewer(self.scanning.stage.name)

    def end(self) -> Seen:
        """What came of all sources, finished in whichever run."""
        for run in (self.fetching, self.scanning):
            self.do.watcher.end(run.stage.name)
        scanned = (row for row in self.scanned if row != NO_ROW)
        return Seen(self.fetching.result(self.fetched), self.scanning.result(scanned))

    def _scan(self, n: int, video: Video) -> Known[Scan]:
        """What is known of the scan of a source's video; notes its row."""
        scan = self.scanning.find(video)
        self.scanned[n] = scan.row
        return scan

    def _drop(self, n: int, video: Video) -> None:
        """Remove a video that is not needed any more. Of a local file that is our link, never the user's file."""
        ours = video.file.startswith(f"{self.fetching.work.folder}/")
        if ours and not self.do.keep_videos and self.scanning.is_final(self.scanned[n]):
            self.do.work.remove(video.file)
